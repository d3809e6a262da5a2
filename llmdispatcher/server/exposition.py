"""``--metrics-port``: ``/metrics``, ``/livez`` and ``/readyz`` on a port and in a thread of their own, for one process or for all
workers.

The port answers when every thread of the gateway is taken. It needs no key: bind it where only the operator's systems reach it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app, multiprocess

from ..errors import ConfigError
from .gateway.http import AF_INET6

_PATIENCE = 10.0


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind, without asking the name service for the name of the host, which may take long."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class _Server6(_Server):
    address_family = AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = _PATIENCE  # a client that is silent gives its thread back

    def log_message(self, *_: object) -> None:  # each scrape would be a line
        pass


class Exposition:
    """The port, of the metrics in a registry, or of several processes that count in the files of a folder.

    ``ready`` tells whether requests are taken; of several processes one of them must tell it too, in its metrics.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        registry: CollectorRegistry | None = None,
        folder: str | None = None,
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        self._folder = folder
        self._registry = registry if registry is not None else CollectorRegistry()
        if self._folder is not None:
            multiprocess.MultiProcessCollector(self._registry, path=self._folder)  # type: ignore[no-untyped-call]  # it has no types
        self.ready = ready
        self._metrics = make_wsgi_app(self._registry)
        try:
            self._server = make_server(host, port, self._answer, _Server6 if ":" in host else _Server, _Handler)
        except OSError as error:
            text = f"metrics_port: {host}:{port} cannot be listened on ({error.strerror}); end what listens there"
            raise ConfigError(f"{text}, or give another --metrics-port") from None
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="llmdispatcher-exposition", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(_PATIENCE)

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO")
        if path == "/metrics":
            self._forget_the_dead()
            answer: Iterable[bytes] = self._metrics(environ, start_response)
            return answer
        status, body = {"/livez": ("200 OK", b"ok\n"), "/readyz": self._readiness()}.get(
            path or "", ("404 Not Found", b"there are /metrics, /livez and /readyz\n")
        )
        start_response(status, [("Content-Type", "text/plain"), ("Content-Length", f"{len(body)}"), ("Cache-Control", "no-store")])
        return [body]

    def _readiness(self) -> tuple[str, bytes]:
        if self.ready() and (self._folder is None or self._any_ready()):
            return "200 OK", b"ready\n"
        return "503 Service Unavailable", b"starting, draining, or without a vendor\n"

    def _any_ready(self) -> bool:
        """Whether one of the workers that live takes requests."""
        self._forget_the_dead()
        return bool(self._registry.get_sample_value("llmdispatcher_gateway_ready"))

    def _forget_the_dead(self) -> None:
        """Leave out the gauges of workers that are gone; what they counted stays."""
        if self._folder is None:
            return
        for path in Path(self._folder).glob("gauge_live*_*.db"):
            process = path.stem.rpartition("_")[2]
            if process.isdecimal() and not _lives(int(process)):
                with contextlib.suppress(OSError):
                    multiprocess.mark_process_dead(int(process), self._folder)  # type: ignore[no-untyped-call]  # the same


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
