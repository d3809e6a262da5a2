"""The requests adapter of one origin: pool, proxy and TLS are settled once, each call only passes through.

``HTTPAdapter.send`` itself is left alone, so that ``responses`` and every other tool that hooks it sees each call.
"""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any

from requests.adapters import HTTPAdapter
from requests.models import PreparedRequest, Response
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import PoolManager, ProxyManager, Retry, Timeout
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.util.ssl_ import create_urllib3_context

from ..errors import ConfigError
from ..locks import new_lock
from .connection import POOLS
from .outgoing import Origin, Prepared
from .sockets import TLSSocket

NO_RETRIES = Retry(total=0, connect=0, read=False, redirect=0, status=0, other=0, respect_retry_after_header=False)
NO_TIMEOUT: Any = Timeout(connect=None, read=None)
"""The scope's sockets know theirs. ``HTTPAdapter.send`` takes such an object; its type hints forget to say so."""

_contexts: dict[str, ssl.SSLContext] = {}
_contexts_lock = new_lock()


class OriginAdapter(HTTPAdapter):
    """Sends to one origin, over at most ``pool_size`` connections."""

    def __init__(self, origin: Origin, *, pool_size: int, proxy: str | None, ca_bundle: str | None) -> None:
        self._proxy = proxy
        self._absolute = bool(proxy) and origin.scheme == "http"
        self._ssl = tls_context(ca_bundle) if origin.scheme == "https" else None
        super().__init__(pool_connections=1, pool_maxsize=pool_size, max_retries=NO_RETRIES, pool_block=True)
        self.pool: HTTPConnectionPool = self.poolmanager.connection_from_url(origin.url)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        """Use our pools, behind the proxy if there is one."""
        options |= {"num_pools": connections, "maxsize": maxsize, "block": block, "ssl_context": self._ssl}
        if self._proxy is None:
            self.poolmanager = PoolManager(**options)
        else:
            self.poolmanager = ProxyManager(self._proxy, proxy_headers=self.proxy_headers(self._proxy), **options)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def get_connection_with_tls_context(self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        """The one pool."""
        return self.pool

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing to do: the pool's TLS context verifies, and no call can change that."""

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:
        """The path, or the whole URL for a proxy that forwards."""
        return request.target if isinstance(request, Prepared) and not self._absolute else str(request.url)

    def build_response(self, req: PreparedRequest, resp: Any) -> Response:
        """A response without cookies, around the raw one."""
        response = LeanResponse()
        response.status_code = resp.status
        response.headers = resp.headers
        response.raw = resp
        response.url = req.url  # type: ignore[assignment]  # requests types it as never None
        response.request = req
        return response

    def close(self) -> None:
        """Close the idle connections."""
        self.pool.close()
        super().close()


class LeanResponse(Response):
    """A requests response that begins without the cookie jar and header dict that nobody reads here."""

    def __init__(self) -> None:
        self._content = False  # type: ignore[assignment]  # as requests itself begins
        self._content_consumed = False
        self._next = None
        self.history = []
        self.reason = None  # type: ignore[assignment]  # as requests itself begins
        self.encoding = None
        self.elapsed = timedelta(0)


def tls_context(ca_bundle: str | None) -> ssl.SSLContext:
    """The context for a CA file or directory, made once per process: loading the certificates takes longer than a call."""
    path = str(Path(ca_bundle).expanduser()) if ca_bundle else DEFAULT_CA_BUNDLE_PATH
    with _contexts_lock:
        context = _contexts.get(path)
        if context is None:
            context = _contexts[path] = _verifying(path)
    return context


def _verifying(path: str) -> ssl.SSLContext:
    context = create_urllib3_context(ssl_minimum_version=ssl.TLSVersion.TLSv1_2)
    context.sslsocket_class = TLSSocket
    try:
        if Path(path).is_dir():
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except OSError:
        raise ConfigError(
            f"ca_bundle: {path!r} holds no CA certificates that can be read; give a PEM file or a directory"
        ) from None
    return context
