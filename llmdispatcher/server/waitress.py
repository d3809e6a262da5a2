"""waitress, with the limits of the gateway: one framing of a body, no client that is slow for ever, and an end that waits."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import BaseWSGIServer, create_server

from ..runtime import SYSTEM_CLOCK
from .gateway.http import BODY_SECONDS

_LOOK = 5
"""Seconds between two looks for clients that are too slow."""


class _Parser(HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
    """Refuses a body with a length and in pieces, which a proxy may frame in another way, and knows when it began."""

    def __init__(self, adj: Any) -> None:
        super().__init__(adj)
        self.began = SYSTEM_CLOCK.monotonic()

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        if self.chunked and "CONTENT_LENGTH" in self.headers:
            raise ParsingError("Content-Length and Transfer-Encoding are both given")


class _Channel(HTTPChannel):  # type: ignore[misc]  # the same
    parser_class = _Parser

    def is_too_slow(self) -> bool:
        """Whether a request has come for too long, or the client has read nothing of what waits for it."""
        arriving = self.request
        if arriving is not None and SYSTEM_CLOCK.monotonic() - arriving.began > BODY_SECONDS:
            return True
        return bool(self.total_outbufs_len and SYSTEM_CLOCK.now().timestamp() - self.last_activity > BODY_SECONDS)


def run_waitress(
    application: Any, *, host: str, port: int, threads: int, drain: float, tell: Callable[[int], None] = lambda _port: None
) -> None:
    """Serve until SIGTERM or SIGINT, and then until no request is left or ``drain`` seconds are over; a second signal ends it.

    ``application`` is a :class:`Gateway`. ``tell`` hears the port.
    """
    server = create_server(
        application,
        host=host,
        port=port,
        threads=threads,
        connection_limit=max(1000, 4 * threads),
        asyncore_use_poll=True,
        channel_timeout=int(BODY_SECONDS) * 4,
        cleanup_interval=_LOOK,
        channel_request_lookahead=1,
        max_request_body_size=application.settings.max_body + 1,
        ident="",
        clear_untrusted_proxy_headers=False,  # whose word counts is told to the gateway
    )
    sockets = limit_clients(server)

    def end(*_: object) -> None:
        if application.draining:
            sys.exit(0)
        application.draining = True
        for one in sockets:
            wasyncore.dispatcher.close(one)
        threading.Thread(target=_when_idle, args=(application, drain), name="llmdispatcher-drain", daemon=True).start()

    tell(int(sockets[0].socket.getsockname()[1]))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    server.run()
    application.close()  # what is left now is cancelled


def limit_clients(server: Any) -> list[Any]:
    """Hold the clients of a server of waitress to the limits; returns its sockets, of which a name may have several."""
    every = server.map if hasattr(server, "map") else server._map
    sockets = [one for one in every.values() if isinstance(one, BaseWSGIServer)]
    for one in sockets:
        one.channel_class = _Channel
        one.maintenance = _with_slow_ones(one)
    return sockets


def _with_slow_ones(server: Any) -> Callable[[float], None]:
    usual = server.maintenance

    def maintenance(now: float) -> None:
        usual(now)
        for channel in list(server.active_channels.values()):
            if (
                channel.is_too_slow()
            ):  # closed at once its descriptor would still be looked at in this round, as that of a new client
                server.trigger.pull_trigger(channel.handle_close)

    return maintenance


def _when_idle(application: Any, seconds: float) -> None:
    end, pause = SYSTEM_CLOCK.monotonic() + seconds, threading.Event()
    while not application.is_idle() and SYSTEM_CLOCK.monotonic() < end:
        pause.wait(0.1)
    pause.wait(0.2)  # for the last bytes
    os.kill(os.getpid(), signal.SIGTERM)
