"""Clients of Redis, by the package redis, which is an extra: of one server, of a cluster, or of the master that Sentinels name.

A client belongs to the process that made it; a forked child makes its own and leaves the inherited one alone. A client that an
application has made is used as it is: redis-py sees to its forks, and nobody here closes it.

A client of one server keeps the time-out that it is made with. That of a cluster or of Sentinels may ask several servers in turn,
and an application's own may have any retries: a thread asks them, and a call waits for it no longer than the time-out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, TypeVar

from ..errors import ConfigError
from .forks import new_lock
from .parallel import TimedCalls

_inherited: list[Any] = []
"""Clients of a parent process, kept so that they are not closed here: that would write to the parent's connections."""
MOST = 32
"""Threads that ask at once."""
T = TypeVar("T")
_OF_SENTINEL = "sentinel_"
"""How the parameters of an address begin that are for the Sentinels, and not for the servers that they watch."""


class RedisClients:
    """The client of this process, made at its first use; ``url`` is the first server's, as redis-py reads it.

    ``kind`` is "server", "cluster" or "sentinel"; the latter two have several ``hosts``, the last a ``service``. ``timeout`` is the
    seconds for an answer and for a connection, unless the address has its own. Raises :class:`ConfigError` that begins with
    ``field`` for parameters of the address that redis-py does not know.
    """

    def __init__(  # noqa: PLR0913 - what an address consists of, by keyword
        self,
        url: str,
        *,
        field: str,
        timeout: float,
        kind: str = "server",
        hosts: Sequence[tuple[str, int]] = (),
        service: str = "",
        client: Any = None,
    ) -> None:
        self._kind = kind
        self._hosts = hosts
        self._service = service
        self._given = client
        self._lock = new_lock()
        self._client: Any = None
        self._pid = os.getpid()
        self._calls = TimedCalls(MOST) if client is not None or kind != "server" else None
        self._settings = {} if client is not None else self._read(url, field, timeout)
        self._timeout = max(timeout, self._settings.get("socket_timeout", timeout))

    def ask(self, work: Callable[[Any], T], seconds: float | None = None) -> T:
        """Return what ``work`` returns of this process's client; ``seconds`` is for work that may take longer than the time-out.

        Raises redis-py's errors, and :class:`TimeoutError`.
        """
        if self._calls is None:
            return work(self.own())
        return self._calls.run(lambda: work(self.own()), self._timeout if seconds is None else seconds)

    def own(self) -> Any:
        """Return the client of this process. That of a cluster asks a node at once, and raises redis-py's errors."""
        if self._given is not None:
            return self._given
        with self._lock:
            if self._pid != os.getpid():
                _inherited.append(self._client)
                self._client, self._pid = None, os.getpid()
            client = self._client
        if client is not None:
            return client
        made = self._connect()
        with self._lock:
            kept = self._client = self._client or made
        if kept is not made:
            made.close()
        return kept

    def close(self) -> None:
        """Close the connections of this process; the next use opens others."""
        if self._pid != os.getpid():
            return  # the client is the parent's, and own() keeps it open
        with self._lock:
            client, self._client = self._client, None
        if client is None:
            return
        client.close()
        for sentinel in getattr(getattr(client, "sentinel_of", None), "sentinels", ()):
            sentinel.close()

    def _read(self, url: str, field: str, timeout: float) -> dict[str, Any]:
        """The settings of a connection: a time-out is not retried, and a connection that the server has closed is opened again."""
        redis = import_module("redis")
        try:
            said = import_module("redis.connection").parse_url(str(url))
            of_sentinel = {name: said.pop(name) for name in list(said) if name.startswith(_OF_SENTINEL)}
            redis.ConnectionPool(**said).make_connection()  # which opens nothing, and knows all parameters
            if of_sentinel and self._kind != "sentinel":
                raise TypeError
            redis.Redis(**{name.removeprefix(_OF_SENTINEL): value for name, value in of_sentinel.items()}).close()
        except (ValueError, TypeError, redis.RedisError):
            raise ConfigError(
                f"{field}: redis-py does not know a parameter of this address, or its value (it is not shown, it may hold a"
                " password); what stands behind the ? are keywords of redis.Redis, such as ssl_ca_certs=/etc/ca.pem"
            ) from None
        return {"socket_timeout": timeout, "socket_connect_timeout": timeout, **said, **of_sentinel}

    def _connect(self) -> Any:
        """A client; but for a cluster's it has no connection yet."""
        redis = import_module("redis")
        once = import_module("redis.retry").Retry(import_module("redis.backoff").NoBackoff(), 1, (redis.ConnectionError,))
        settings = dict(self._settings)
        if self._kind == "server":
            return redis.Redis.from_pool(redis.ConnectionPool(**settings, retry=once))
        secured = settings.pop("connection_class", None) is redis.SSLConnection
        settings = {name: value for name, value in settings.items() if name not in ("host", "port")}
        if secured:
            settings["ssl"] = True
        if self._kind == "cluster":
            settings.pop("db", None)
            nodes = [import_module("redis.cluster").ClusterNode(*host) for host in self._hosts]
            return redis.RedisCluster(startup_nodes=nodes, retry=once, require_full_coverage=False, **settings)
        return self._connect_master(settings, once)

    def _connect_master(self, settings: dict[str, Any], once: Any) -> Any:
        """A client of whatever server the Sentinels name as master when a connection is opened.

        They are asked in turn, so they share the time-out; redis-py itself would ask each of them eleven times.
        """
        own = {name: settings.pop(name) for name in list(settings) if name.startswith(_OF_SENTINEL)}
        asked = {name: value for name, value in settings.items() if name.startswith(("socket_", "ssl"))} | {"retry": once}
        for name in ("socket_timeout", "socket_connect_timeout"):
            asked[name] /= len(self._hosts)
        asked |= {name.removeprefix(_OF_SENTINEL): value for name, value in own.items()}
        sentinel = import_module("redis.sentinel").Sentinel(list(self._hosts), sentinel_kwargs=asked, **settings, retry=once)
        client = sentinel.master_for(self._service)
        client.sentinel_of = sentinel
        return client
