"""What a configuration file says to the gateway: ``stateful``, ``cache_marks``, ``[[passthrough]]`` and the table ``[server]``.

The table has two kinds of settings: those of :class:`GatewaySettings`, which a reload takes over, and those of ``serve``, which
count from its start, and only where its command line and the environment say nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import attrs

from ...catalog import vendor_rows
from ...dispatcher import ConfigFile, mistakes_of
from ...errors import ConfigError
from ...types import at_least, build
from .app import ROUTES
from .http import GatewaySettings, PassthroughRow
from .passthrough import read_row, read_rows
from .settings_checks import mistakes_of_drains, mistakes_of_rows

_FLAGS = ("stateful", "cache_marks")


def settings_in(file: ConfigFile, settings: GatewaySettings) -> GatewaySettings:
    """The settings with those of a configuration file. Raises :class:`ConfigError` with the path of a mistake."""
    given = file.gateway
    found: dict[str, Any] = {name: _flag(name, given[name]) for name in _FLAGS if name in given}
    if "passthrough" in given:
        found["passthrough"] = read_rows(given["passthrough"])
    if "server" in given:
        table = _table(given["server"])
        found |= {name: value for name in _OF_GATEWAY if (value := getattr(table, name)) is not None}
    return attrs.evolve(settings, **found)


def start_in(file: ConfigFile) -> dict[str, Any]:
    """What the table ``[server]`` says to ``serve``, by the names of its options. Raises :class:`ConfigError` for a mistake."""
    if "server" not in file.gateway:
        return {}
    found = {field.name: getattr(_table(file.gateway["server"]), field.name) for field in attrs.fields(ServeFields)}
    return {name: str(value) if isinstance(value, str) else value for name, value in found.items() if value is not None}


def gateway_mistakes(file: ConfigFile) -> list[str]:
    """Every mistake of what the gateway reads in a file, each with its path."""
    given = file.gateway
    found = [text for name in _FLAGS if name in given for text in mistakes_of(partial(_flag, name), given[name])]
    vendors = list(file.vendor_names.values()) or [row.name for row in vendor_rows()]
    if "passthrough" in given:
        found += mistakes_of(read_rows, given["passthrough"])
        stateful = given.get("stateful") is not False if "stateful" in given else False
        found += mistakes_of_rows(_readable(given["passthrough"]), vendors, ROUTES, stateful=stateful)
    if "server" in given:
        wrong = mistakes_of(_table, given["server"])
        found += wrong
        if not any("drain_vendors" in text for text in wrong) and isinstance(given["server"], Mapping):
            found += mistakes_of_drains(_listed(given["server"].get("drain_vendors")) or (), vendors)
    return found


def _readable(listed: Any) -> Iterator[tuple[int, PassthroughRow]]:
    """The rows without a mistake of their own, with their numbers."""
    for number, row in enumerate(listed if isinstance(listed, list) else ()):
        try:
            yield number, read_row(row, "passthrough")
        except ConfigError:
            continue


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{name}: {value!r} is no flag; write true or false")
    return value


def _table(value: Any) -> ServerTable:
    return build(ServerTable, value, "server")


def _seconds(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not (isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf):
        raise ConfigError(f"{attribute.name}: {value!r} is not a number of seconds > 0; leave it out for the default")


def _whole(low: int, high: int | None = None) -> Any:
    def check(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is None:
            return
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not is_whole or value < low or (high is not None and value > high):
            span = f"≥ {low}" if high is None else f"from {low} to {high}"
            raise ConfigError(f"{attribute.name}: {value!r} is not a whole number {span}")

    return check


def _text(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not (isinstance(value, str) and value.strip()):
        raise ConfigError(f"{attribute.name}: {value!r} is no text; give one, or leave it out")


def _server(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value not in (None, *SERVERS):
        raise ConfigError(f"{attribute.name}: {value!r} is not known; use {' or '.join(SERVERS)}, or leave it out")


def _boolean(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None:
        _flag(attribute.name, value)


def _names(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not all(isinstance(name, str) and name for name in value):
        raise ConfigError(f"{attribute.name}: {list(value)!r} is no list of vendors' names; write one such as ['openai'], or ['*']")


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value if value is None else (value,)


SERVERS = ("granian", "waitress")
"""What ``serve`` can serve with."""


@attrs.frozen(kw_only=True)
class ServeFields:
    """The options of ``serve`` that the table ``[server]`` may have; what each means says its class of options."""

    host: str | None = attrs.field(default=None, validator=_text)
    port: int | None = attrs.field(default=None, validator=_whole(0, 65535))
    workers: int | None = attrs.field(default=None, validator=_whole(1, 64))
    threads: int | None = attrs.field(default=None, validator=_whole(4, 4096))
    server: str | None = attrs.field(default=None, validator=_server)
    drain: float | None = attrs.field(default=None, validator=at_least(0))
    metrics_port: int | None = attrs.field(default=None, validator=_whole(0, 65535))
    access_log: bool | None = attrs.field(default=None, validator=_boolean)
    public_url: str | None = attrs.field(default=None, validator=_text)
    redis: str | None = attrs.field(default=None, validator=_text, repr=False)

    def __attrs_post_init__(self) -> None:
        check_ports(self.port, self.metrics_port)


@attrs.frozen(kw_only=True)
class ServerTable(ServeFields):
    """The table ``[server]``; what each name means says :class:`GatewaySettings`. ``None`` leaves a setting as it is."""

    timeout: float | None = attrs.field(default=None, validator=_seconds)
    patience: float | None = attrs.field(default=None, validator=_seconds)
    heartbeat: float | None = attrs.field(default=None, validator=_seconds)
    auth_grace: float | None = attrs.field(default=None, validator=at_least(0))
    default_max_tokens: int | None = attrs.field(default=None, validator=_whole(1))
    max_max_tokens: int | None = attrs.field(default=None, validator=_whole(1))
    record_days: int | None = attrs.field(default=None, validator=_whole(1))
    drain_vendors: tuple[str, ...] | None = attrs.field(default=None, converter=_listed, validator=_names)


_OF_GATEWAY = [field.name for field in attrs.fields(ServerTable) if field.name not in attrs.fields_dict(ServeFields)]


def check_ports(port: int | None, metrics_port: int | None) -> None:
    """Raise :class:`ConfigError` where both are one; 0 takes a free one."""
    if port and port == metrics_port:
        raise ConfigError(f"metrics_port: {port} is the port of the gateway itself; give another, or 0 for a free one")
