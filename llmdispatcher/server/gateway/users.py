"""The users of an application that mounts the gateway, in the place of keys: who asks, and from which page.

Their browsers show cookies by themselves, also where a foreign page sends the request. So what changes something or costs something
must be JSON, which a page cannot send elsewhere without being allowed to, and come from the application's own origin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, cast
from urllib.parse import urlsplit

import attrs

from ..._text import room_logger
from ...errors import ConfigError
from ..keys import ApiKey
from ..policies import check_name, read_settings
from .formats import GatewayError
from .http import Incoming

logger = room_logger("server")
_SCOPES = ("gateway",)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PORTS = {"http": 80, "https": 443}


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@attrs.frozen(kw_only=True)
class GatewayUser:
    """A user of the application: an organization, an id within it, and what a key may have, too.

    ``models`` are globs of names, ``None`` for all. ``budget`` is US dollars, as in "5/day", "100/month", or "20" in all. What was
    spent and counted belongs to the organization and id, whatever the limits are in a later request.
    """

    organization: str
    id: str
    models: tuple[str, ...] | None = attrs.field(default=None, converter=_as_tuple)
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    in_flight: int | None = None
    budget: str | None = None
    tags: tuple[str, ...] = attrs.field(default=(), converter=_as_tuple)


Users = Callable[[dict[str, Any]], GatewayUser | None]
"""Tells who sends a request, by its environ; ``None`` for somebody unknown."""


def key_of_user(users: Users, incoming: Incoming, origins: Sequence[str]) -> ApiKey:
    """What stands for a key in a request of a user of the application.

    Raises :class:`GatewayError` for nobody, for a request that a foreign page may have sent, and for an identity that cannot be,
    which the log tells.
    """
    identity = users(cast(dict[str, Any], incoming.environ))
    if identity is None:
        raise GatewayError("sign in first", status=401, code="not_signed_in")
    if incoming.method not in ("GET", "HEAD"):
        _check_sender(incoming, origins)
    try:
        if not isinstance(identity, GatewayUser):
            raise ConfigError(f"users: it returned {type(identity).__name__}; return a GatewayUser, or None")
        return _key_of(identity)
    except ConfigError as error:
        logger.error("%s: the identity of a user cannot be: %s", incoming.request_id, error)
        raise GatewayError("the gateway failed; tell whoever runs it", status=500, code="internal") from None


@lru_cache(maxsize=4096)
def _key_of(identity: GatewayUser) -> ApiKey:
    given = attrs.asdict(identity, recurse=False)
    organization, own = given.pop("organization"), given.pop("id")
    check_name("organization", organization)
    check_name("id", own)
    if "/" in organization:
        raise ConfigError(
            f"organization: {organization[:80]!r} has a slash; give a name without one"
        )  # the id below tells them apart
    settings = read_settings({"label": own, **given})
    return ApiKey(
        id=f"{organization}/{own}", organization=organization, shown=own[:32], scopes=_SCOPES, created_at=_EPOCH, **settings
    )


def _check_sender(incoming: Incoming, origins: Sequence[str]) -> None:
    """Raise for what a page of another origin may have sent with the user's cookies."""
    kind = incoming.environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise GatewayError("Content-Type: send application/json", status=415, code="not_json")
    origin = incoming.header("origin")
    if origin is None:
        fetched = (incoming.header("sec-fetch-site") or "none").lower()
        foreign = fetched not in ("same-origin", "none")
    else:
        foreign = _place(origin) not in {_own(incoming), *map(_place, origins)}
    if foreign:
        text = "this page is of another origin; whoever runs the gateway can name it in GatewaySettings(origins=...)"
        raise GatewayError(text, status=403, code="foreign_origin")


def _own(incoming: Incoming) -> tuple[str, str, int | None] | None:
    return _place(f"{incoming.environ.get('wsgi.url_scheme', 'http')}://{incoming.environ.get('HTTP_HOST', '')}")


def _place(origin: str) -> tuple[str, str, int | None] | None:
    """Scheme, host and port of an origin; none of a text that is no origin, such as ``null``, which equals nothing."""
    try:
        parts = urlsplit(origin)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    return (parts.scheme, host, port or _PORTS.get(parts.scheme)) if host else None
