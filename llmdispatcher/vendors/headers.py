"""Headers of a request of the user's: which vendors they go to, and which of a vendor's own they may replace."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import attrs

from ..catalog import VendorRow
from ..errors import ConfigError, InvalidRequest
from ..runtime import from_environment
from ..types import HttpCall, Secret
from .secrets import PUBLIC_HEADERS, of_header

_CARRIED = re.compile(r"[!-~]{1,256}")
_FAMILIES: Mapping[str, Collection[str]] = {
    "anthropic-": ("anthropic_messages",),
    "openai-": ("openai", "azure", "local"),
    "x-goog-": ("gemini",),
}
"""Beginnings of names that mean something to one API alone: its format, or the vendors of the catalog that speak it.

Gateways refuse what they do not know, and some vendors charge another organization for it.
"""


def merge_headers(own: Mapping[str, str], further: Mapping[str, str]) -> dict[str, str]:
    """The headers of both; of one name, in whatever case, the further one."""
    names = {name.lower() for name in further}
    return {**{name: text for name, text in own.items() if name.lower() not in names}, **further}


def environment_headers(row: VendorRow) -> dict[str, str]:
    """The headers of a vendor that variables of the environment give. Raises :class:`ConfigError` with the variable's name."""
    found = {name: text for name, variable in row.header_env if (text := from_environment((variable,))) is not None}
    for name, variable in row.header_env:
        if not _CARRIED.fullmatch(found.get(name, "x")):
            raise ConfigError(f"{variable}: it has blanks or letters that no header can carry; copy it again, or unset it")
    return found


class CallHeaders:
    """What becomes of the headers of a request at one vendor: ``sent`` go out, ``dropped`` mean nothing to it.

    ``secrets`` are the words of them that no error may show. Raises :class:`InvalidRequest` for one that the vendor's settings
    have as a credential.
    """

    __slots__ = ("dropped", "secrets", "sent")

    def __init__(self, given: Mapping[str, str], row: VendorRow, configured: Mapping[str, str]) -> None:
        kept = {name.lower() for name in configured} - PUBLIC_HEADERS | {row.key_header.lower()}
        foreign = [name for name in given if _is_foreign(name.lower(), row)]
        self.sent = {name: Secret(text.strip()) for name, text in given.items() if name not in foreign}
        self.dropped = tuple([f"headers: {name!r}" for name in foreign])
        self.secrets = tuple([Secret(word) for name, text in self.sent.items() for word in of_header(name, text)])
        for name in self.sent:
            if name.lower() in kept:
                raise InvalidRequest(
                    f"headers: {name!r} is among the settings of this vendor, which no request replaces; leave it out, or give it"
                    " to another vendor of its own"
                )


_TRACES = frozenset({"b3", "traceparent", "tracestate"})
"""Headers of observers that hold no secret: https://www.w3.org/TR/trace-context. Some vendors make the id of a call of them."""


def with_observed(call: HttpCall, further: Mapping[str, str]) -> HttpCall:
    """The call with the headers that observers add; they replace none, and no error may show what of them may be secret."""
    taken = {name.lower() for name in call.headers}
    added = {name: text for name, text in further.items() if name.lower() not in taken}
    words = [Secret(word) for name, text in added.items() if name.lower() not in _TRACES for word in of_header(name, text)]
    return attrs.evolve(call, headers={**call.headers, **added}, secrets=(*call.secrets, *words))


def _is_foreign(name: str, row: VendorRow) -> bool:
    """Whether a header is another API's."""
    return any(name.startswith(start) and row.codec not in whose and row.name not in whose for start, whose in _FAMILIES.items())


def with_beta(headers: Mapping[str, str], beta: str) -> dict[str, str]:
    """The headers with one more beta of Anthropic's."""
    asked = next((text for name, text in headers.items() if name.lower() == "anthropic-beta"), "")
    return dict(headers) if beta in asked else merge_headers(headers, {"anthropic-beta": f"{asked},{beta}" if asked else beta})
