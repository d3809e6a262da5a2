"""The transport: ``HttpCall`` to ``HttpReply`` over requests and urllib3, with one total deadline, cancellable in every phase."""

from __future__ import annotations

import os
import socket
import sys
from typing import Literal

from .._text import room_logger
from ..errors import ConfigError, MalformedReply
from ..runtime import Deadline, new_lock
from ..types import HttpCall, HttpReply, copy_self, refuse_pickling
from .body import Body, read_refusal
from .connection import Origin, OriginAdapter, OriginRoute, RequestChecker
from .context import FOREIGN, Admit, IoContext, IoLimits, StaleConnection, active, clean, translate
from .http1 import inflater_for
from .proxies import Proxy, environment_bundles, environment_proxy
from .sockets import DeadlineSocket
from .tls import ClientCert, ClientContexts, SslContext, tls_context

logger = room_logger("transport")

MAX_REFUSAL = 256 << 10
"""Bytes of the body of a refusal that are read at most; some vendors send a web page."""
REFUSAL_SECONDS = 1.0
"""Seconds for which that body is read at most, and no more than a quarter of the time left: the head says what counts."""


class Transport:
    """Sends calls to one vendor's origin; share it between threads, keep it across a fork.

    Making one does no I/O. ``proxy`` is the URL of an HTTP or SOCKS proxy, ``ca_bundle`` a PEM file or directory in place of the
    usual CAs, for the proxy too; ``client_cert`` is shown to the vendor alone. ``ssl_context`` stands in for all of these, for
    vendor and proxy. At most ``pool_size`` connections are open at once, and a call that finds all busy waits. There are no
    cookies, no netrc, no redirects and no retries. With ``trust_env``, a proxy or CA bundle that is not given comes from the
    standard environment variables, now; ``proxy=False`` uses none. Limits run on the clock of each call's deadline.
    ``admit`` judges the resolved addresses before any is connected to. A proxy gets such an address instead of the name;
    without ``admit`` it gets the name, unless its scheme is socks4 or socks5. Raises :class:`~llmdispatcher.ConfigError` for a URL
    that cannot be.
    """

    __copy__, __reduce__ = copy_self, refuse_pickling

    def __init__(  # noqa: PLR0913 - a vendor's settings, all by keyword
        self,
        base_url: str,
        *,
        limits: IoLimits = IoLimits(),  # noqa: B008 - a frozen value
        pool_size: int = 128,
        proxy: str | Proxy | Literal[False] | None = None,
        ca_bundle: str | None = None,
        client_cert: ClientCert | None = None,
        ssl_context: SslContext | None = None,
        trust_env: bool = False,
        admit: Admit | None = None,
    ) -> None:
        self.limits = limits
        self._origin = Origin.of(base_url)
        self._checker = RequestChecker(self._origin)
        self._pool_size = pool_size
        self._proxy = Proxy.of(proxy) if isinstance(proxy, str) and proxy else proxy or None
        if self._proxy is None and trust_env and proxy is not False:
            self._proxy = environment_proxy(base_url)
        self._place = (
            self._origin.authority if self._proxy is None else f"{self._origin.authority} by the proxy {self._proxy.authority}"
        )
        bundles = {"ca_bundle": ca_bundle} if ca_bundle else environment_bundles() if trust_env else {}
        self._bundles = tuple(bundles.items())
        self._client_cert = client_cert
        self._ssl_context = ssl_context
        self._admit = admit
        self._adapter: OriginAdapter | None = None
        self._forget()

    def open(self, call: HttpCall, deadline: Deadline, limits: IoLimits | None = None) -> HttpReply:
        """Send ``call`` and return as soon as the head of the answer is there, whatever its status; ``limits`` are for this call.

        Read the body through ``reply.chunks``, and close the reply on every path. Raises ``Cancelled``, ``DeadlineExceeded``,
        ``VendorUnavailable`` (with ``phase`` and ``sent``), ``MalformedReply``, ``Overloaded`` or ``ConfigError``; none of them
        holds a key, a prompt or a foreign exception.
        """
        target = self._checker.check(call)
        adapter = self._adapter if self._pid == os.getpid() else None
        adapter = adapter or self._start()
        context = IoContext(deadline, limits or self.limits, self._place, self._admit)
        before, active.context = active.context, context
        try:
            context.left()
            try:
                body = adapter.exchange(call, target, context)
            except StaleConnection:
                logger.debug("%s had closed a kept connection; sending once more on a new one", self._origin.host)
                context.fresh = True
                context.meter.resent += 1
                context.enter("pool", None)
                body = adapter.exchange(call, target, context)
            return self._reply(body, context, call.max_body or self.limits.max_body)
        except FOREIGN as foreign:
            failure = translate(foreign, context)
        except BaseException:
            context.leave()
            raise
        finally:
            active.context = before
        context.leave()
        raise clean(failure)

    @property
    def proxy_login(self) -> tuple[str, ...]:
        """The proxy's login in all forms that an answer must not show; empty without one."""
        return () if self._proxy is None else self._proxy.secrets

    def close(self) -> None:
        """Close the idle connections. Calls under way go on, and a later call opens new ones."""
        with self._lock:
            adapter, self._adapter = self._adapter, None
        if adapter is not None:
            adapter.close()

    def _reply(self, body: Body, context: IoContext, most: int) -> HttpReply:
        context.phase = "body"
        if not 200 <= body.status < 300:
            if body.status == 407 and self._proxy is not None and self._forwards:
                body.drop()
                raise self._proxy.login_error(body.headers, context)
            return self._refusal(body, context)
        headers, body.most = body.headers, most
        encoding, length = headers.get("content-encoding"), headers.get("content-length", "")
        try:
            body.inflater = inflater_for(encoding) if encoding else None
            if length.isascii() and length.isdecimal() and (len(length) > 18 or int(length) > most):
                text = f"the answer announces {length[:18]} bytes, more than {most:,}; ask for less, or raise max_body"
                raise MalformedReply(text, sent=True)
        except MalformedReply:
            body.drop()
            raise
        return HttpReply(status=body.status, headers=headers, chunks=body, close=body.close, hurry=context.hurry)

    def _refusal(self, body: Body, context: IoContext) -> HttpReply:
        """The reply for a status other than 2xx; a body that cannot be unpacked is not read."""
        context.finish_within(min(REFUSAL_SECONDS, context.deadline.remaining() / 4))
        body.most = MAX_REFUSAL
        try:
            body.inflater = inflater_for(body.headers.get("content-encoding", ""))
            chunks = read_refusal(body)
        except MalformedReply:
            chunks = iter(())
            body.close()
        return HttpReply(status=body.status, headers=body.headers, chunks=chunks, close=body.close)

    def _start(self) -> OriginAdapter:
        _check_gevent()
        if self._pid != os.getpid():
            self._forget()
        with self._lock:
            if self._adapter is None:
                self._adapter = OriginAdapter(self._origin, self._make_route(), pool_size=self._pool_size)
            return self._adapter

    @property
    def _forwards(self) -> bool:
        return self._proxy is not None and not self._proxy.is_socks and self._origin.scheme == "http"

    def _make_route(self) -> OriginRoute:
        """Load the certificates that are needed."""
        proxy, proxy_tls, tls = self._proxy, None, None
        if self._origin.scheme == "https" and self._client_cert:
            tls = ClientContexts(self._bundles, self._client_cert).current
        elif self._origin.scheme == "https":
            context = self._ssl_context or tls_context(self._bundles)
            tls = lambda: context  # noqa: E731 - a name would say no more
        if proxy is not None and proxy.scheme == "https":
            proxy_tls = self._ssl_context or tls_context(self._bundles)
        resolves = proxy is not None and proxy.resolves and self._admit is None
        return OriginRoute(proxy=proxy, tls=tls, proxy_tls=proxy_tls, forwards=self._forwards, resolves=resolves)

    def _forget(self) -> None:
        """Begin without connections; the descriptors of a forked parent's are closed already."""
        self._pid = os.getpid()
        self._lock = new_lock()
        self._adapter = None


def _check_gevent() -> None:
    """Refuse to run where gevent patched ``socket`` after the classes here were made of it: calls would block all greenlets."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("socket") and not issubclass(DeadlineSocket, socket.socket):
        raise ConfigError("gevent's monkey.patch_all() came after llmdispatcher was loaded; call it before anything is imported")
