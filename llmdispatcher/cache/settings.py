"""The settings of the response cache (what is cached, for how long, where), and its counters, exact under threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from ..errors import ConfigError
from ..runtime import new_lock
from ..types import (
    EXACT,
    CacheControl,
    Choice,
    DatabaseAddress,
    Request,
    Response,
    Secret,
    ServerAddress,
    Texts,
    at_least,
    boolean,
    is_server,
    mask_store,
    non_negative_integer,
    redis_client,
    redis_prefix,
    secret_address,
    stored_param,
    string_tuple,
    suggest,
)

if TYPE_CHECKING:
    from redis import Redis, RedisCluster
    from sqlalchemy import Engine


@attrs.frozen(kw_only=True)
class CacheStats:
    """What a cache has done in this process: ``shared`` answers came from a call under way, ``hits`` from the store.

    ``errors`` are failures of the store, ``saved_cost`` is US dollars that hits and shared answers did not cost.
    """

    hits: int = 0
    misses: int = 0
    shared: int = 0
    stores: int = 0
    evictions: int = 0
    errors: int = 0
    saved_cost: Decimal = Decimal(0)

    @property
    def hit_rate(self) -> float:
        """Hits and shared responses as a fraction of all look-ups, 0 to 1; 0 before the first."""
        spared = self.hits + self.shared
        return spared / (spared + self.misses) if spared else 0.0


class CacheCounters:
    """The counters of a cache."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._counts: dict[str, int] = {}
        self._saved = Decimal(0)

    def add(self, name: str, step: int = 1) -> None:
        """Add to a counter."""
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + step

    def spared(self, how: str, cost: Decimal | None) -> None:
        """Count a hit or a shared response, and what it cost the first time."""
        with self._lock:
            self._counts[how] = self._counts.get(how, 0) + 1
            if cost:
                self._saved = EXACT.add(self._saved, cost)

    def snapshot(self) -> CacheStats:
        """Return all counts of this moment."""
        with self._lock:
            return CacheStats(**self._counts, saved_cost=self._saved)


MEMORY = "memory"
_STORES = "'memory', the path of a file, 'redis://host:6379/0' or 'postgresql://user@host/name'"


def _above_zero(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    at_least(0)(_instance, attribute, value)
    if not value:
        raise ConfigError(f"{attribute.name}: {value!r} is no time; give a number of seconds > 0, or enabled=False")


def _some(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    non_negative_integer(_instance, attribute, value)
    if not value:
        raise ConfigError(f"{attribute.name}: {value!r} leaves room for nothing; give 1 or more, or enabled=False")


def _place(value: str | Path) -> Any:
    """A path as text; a server's address in its normal form."""
    value = str(value) if isinstance(value, Path) else value
    if not isinstance(value, str) or not is_server(value):
        return value
    if DatabaseAddress.is_one(value):
        found = DatabaseAddress.of(value, "store")
        return Secret(value, found.shown) if isinstance(secret_address(value), Secret) else value
    return ServerAddress.redis(value, "store").url if ServerAddress.is_redis(value) else ServerAddress.of(value, "store").url


def _store(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    known = isinstance(value, str) and ("://" not in value or ServerAddress.is_redis(value) or DatabaseAddress.is_one(value))
    if not known or not value.strip() or value == ":memory:":
        told = repr(mask_store(value)) if value is None or isinstance(value, str) else type(value).__name__
        raise ConfigError(f"{attribute.name}: {told} is no store; use {_STORES}")


def _engine(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and (dialect := DatabaseAddress.dialect_of(value)) != "postgresql":
        raise ConfigError(
            f"{attribute.name}: {dialect!r} is no database for a cache; give an engine of PostgreSQL, or the path of a file"
        )


def _schema(_instance: Any, _attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None:
        DatabaseAddress.quote_schema(value)


def _tenant(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not callable(value) and not (isinstance(value, str) and value):
        raise ConfigError(f"{attribute.name}: {value!r} names no tenant; give a key of the metadata, or a function of the request")


def _reasons(value: Texts) -> tuple[str, ...]:
    return string_tuple("finish_reasons", value)


def attempts_in(response: Response) -> Sequence[Any]:
    """The attempts in a response's trace."""
    return getattr(response.trace, "attempts", response.trace) or ()


@partial(suggest, remedies={"namespace": "the prefix of its keys is prefix="})
@attrs.frozen(kw_only=True)
class ResponseCache:
    """How answers are remembered. ``ttl`` is seconds.

    ``store`` is ``"memory"``, the path of an SQLite file, Redis servers (``"redis://…"``, ``"redis+cluster://…"``,
    ``"redis+sentinel://…"``) or a database (``"postgresql://…"``). Instead of it, ``client`` is a client of redis-py or ``engine``
    SQLAlchemy's engine of PostgreSQL, which an application has made; they are used and never closed. ``prefix`` stands before the
    keys on Redis servers; ``schema`` is where the table is in PostgreSQL, created if it is missing.

    By rule a request is cached whose ``temperature`` is not said or at most ``max_temperature`` (``None``: any), which has no tools
    unless ``tools``, and which continues nothing that the vendor keeps. ``Request.cache`` overrules that; ``enabled=False``
    overrules all. Kept are whole answers: no refusal, no finish reason but ``finish_reasons``, no more than ``max_entry_bytes``.

    ``max_entries`` holds for memory (the one unused for longest goes), file and database (the one that expires first goes); a Redis
    server has its own ``maxmemory-policy``. ``tenant`` is a key of ``Request.metadata`` or a function of the request: two tenants
    never share an answer, and a request without one is not cached. ``store_timeout`` is the seconds that a store may hold up a
    call.
    """

    enabled: bool = attrs.field(default=True, validator=boolean)
    ttl: float = attrs.field(default=3600.0, validator=_above_zero)
    max_entries: int = attrs.field(default=1000, validator=_some)
    max_temperature: float | None = attrs.field(default=0.1, validator=at_least(0))
    tools: bool = attrs.field(default=False, validator=boolean)
    finish_reasons: tuple[str, ...] = attrs.field(default=("stop", "tool_calls"), converter=_reasons)
    max_entry_bytes: int = attrs.field(default=1_000_000, validator=_some)
    store: str = attrs.field(default=MEMORY, converter=_place, validator=_store)
    store_timeout: float = attrs.field(default=0.25, validator=_above_zero)
    tenant: str | Callable[[Request], Any] | None = attrs.field(default=None, validator=_tenant)
    client: Redis | RedisCluster | None = attrs.field(default=None, repr=False, validator=redis_client)
    prefix: str = attrs.field(default="", validator=redis_prefix)
    engine: Engine | None = attrs.field(default=None, repr=False, validator=_engine)
    schema: str | None = attrs.field(default=None, validator=_schema)

    def __attrs_post_init__(self) -> None:
        """Raise :class:`ConfigError` for settings that contradict each other."""
        places = [name for name in ("client", "engine") if getattr(self, name) is not None]
        if len(places) > 1 or (places and self.store != MEMORY):
            raise ConfigError(f"{places[0]}: another place is given, too; give one of store, client and engine")
        if self.prefix and self.kind != "redis":
            raise ConfigError("prefix: it stands before keys on a Redis server; name one with store or client, or leave it out")
        if self.schema is not None and self.kind != "postgresql":
            raise ConfigError("schema: it is for PostgreSQL; name a database with store or engine, or leave it out")

    @property
    def kind(self) -> str:
        """What the store is: "memory", "file", "redis" or "postgresql"."""
        if self.client is not None or ServerAddress.is_redis(self.store):
            return "redis"
        if self.engine is not None or DatabaseAddress.is_one(self.store):
            return "postgresql"
        return MEMORY if self.store == MEMORY else "file"

    @property
    def place(self) -> str:
        """Where the store is, without a password."""
        if self.engine is not None:
            return DatabaseAddress.describe(self.engine)
        return "the application's client of Redis" if self.client is not None else str(mask_store(self.store))

    def ttl_of(self, request: Request) -> float | None:
        """Return the seconds for which a response to this request may be reused, ``None`` if it may not."""
        if request.cache is None:
            return self.ttl if self.enabled and self._by_rule(request) else None
        wish = CacheControl.of(request.cache)
        wanted = wish.enabled if wish.enabled is not None else self._by_rule(request)
        return (wish.ttl_seconds or self.ttl) if wanted and self.enabled else None

    def _by_rule(self, request: Request) -> bool:
        warm, limit = request.temperature, self.max_temperature
        if limit is not None and warm is not None and warm > limit:
            return False
        return (self.tools or not request.tools) and (not request.extra_params or stored_param(request.extra_params) is None)

    def tenant_of(self, request: Request) -> Any:
        """Return the tenant of a request, or ``None``. Raises what a function of the user's raises."""
        if callable(self.tenant):
            return self.tenant(request)
        return request.metadata.get(self.tenant) if self.tenant is not None else None

    def worth_keeping(self, response: Response) -> bool:
        """Tell whether a response is complete, and from one model. Without a finish reason it counts as complete."""
        for record in attempts_in(response):
            if record.continuation:
                return False
        answers: tuple[Response | Choice, ...] = (response, *response.other_choices)
        for answer in answers:
            if answer.refusal is not None or (answer.finish_reason is not None and answer.finish_reason not in self.finish_reasons):
                return False
        return bool(response.content.strip() or response.tool_calls or response.parts)
