"""What is wrong with settings of the gateway, given its vendors: rows that could never be asked, names that nobody has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ...catalog import canonical
from ...errors import ConfigError
from ...types import choices
from ...vendors import HttpVendor
from .http import GatewaySettings, PassthroughRow

if TYPE_CHECKING:
    from ...dispatcher import Dispatcher
    from .routes import PathRoute

ALL = "*"
"""All vendors, in ``drain_vendors``."""


def mistakes_of_rows(
    rows: Iterable[tuple[int, PassthroughRow]], vendors: Collection[str], routes: Sequence[PathRoute], *, stateful: bool
) -> Iterator[str]:
    """What is wrong with numbered rows, given the vendors, the gateway's own paths, and whether what vendors keep may be named."""
    for number, row in rows:
        if not _is_among(row.vendor, vendors):
            yield f"passthrough[{number}].vendor: {row.vendor!r} is not registered; {choices(row.vendor, vendors, 'there are {}')}"
        if "{id}" in row.path and not stateful:
            yield f"passthrough[{number}].path: {row.path!r} names what a vendor keeps; set stateful = true, too"
        example = row.path.replace("{id}", "0")
        if any(route.method in row.methods and route.pattern.fullmatch(example) for route in routes):
            yield f"passthrough[{number}].path: {row.path!r} is a path of the gateway itself, which goes first; leave the row out"


def mistakes_of_drains(names: Iterable[str], vendors: Collection[str]) -> Iterator[str]:
    """The names in ``drain_vendors`` that no vendor has."""
    for name in names:
        if name != ALL and not _is_among(name, vendors):
            yield f"server.drain_vendors: {name!r} is not registered; {choices(name, vendors, 'there are {}')}"


def check_settings(settings: GatewaySettings, dispatcher: Dispatcher, routes: Sequence[PathRoute]) -> None:
    """Raise :class:`ConfigError` for the first mistake in settings, given the dispatcher and the gateway's own paths."""
    known = [name for name in dispatcher.get_vendors() if isinstance(dispatcher.get_vendor(name), HttpVendor)]
    for number, row in enumerate(settings.passthrough):
        for mistake in mistakes_of_rows([(number, row)], known, routes, stateful=settings.stateful):
            raise ConfigError(mistake)
        vendor = dispatcher.get_vendor(row.vendor)
        if isinstance(vendor, HttpVendor) and vendor.takes_client_credentials:
            raise ConfigError(f"passthrough[{number}].vendor: {row.vendor!r} has no key but those of clients; name another vendor")
    for mistake in mistakes_of_drains(settings.drain_vendors, dispatcher.get_vendors()):
        raise ConfigError(mistake)


def _is_among(name: str, vendors: Collection[str]) -> bool:
    return canonical(name) in [canonical(one) for one in vendors]
