"""The anomaly loop's tools: whatever operation a call needs of the system, the n-th of its kind fails, once or from then on."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sqlite3
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from llmdispatcher.transport import dns
from llmdispatcher.transport.sockets import PlainSocket, TLSSocket

HOST = "vendor.test"
"""The name of every vendor here: one that must be looked up, unlike an address."""
DATABASE = "answers.db"

Error = Callable[[], Exception]


def _os(kind: type[OSError], number: int) -> Error:
    return lambda: kind(number, os.strerror(number))


RESET = _os(ConnectionResetError, errno.ECONNRESET)
REFUSED = _os(ConnectionRefusedError, errno.ECONNREFUSED)
BROKEN = _os(BrokenPipeError, errno.EPIPE)
LATE = _os(TimeoutError, errno.ETIMEDOUT)
FULL = _os(OSError, errno.EMFILE)
MEMORY: Error = MemoryError
DEAD = (ConnectionError, TimeoutError, ssl.SSLEOFError)

OPERATIONS: dict[str, dict[str, Error]] = {
    "socket": {"no descriptor": FULL, "no memory": MEMORY},
    "connect": {"reset": RESET, "refused": REFUSED, "late": LATE, "no memory": MEMORY},
    "handshake": {"reset": RESET, "late": LATE, "TLS": lambda: ssl.SSLEOFError(8, "EOF occurred"), "no memory": MEMORY},
    "send": {"reset": RESET, "broken pipe": BROKEN, "late": LATE, "no memory": MEMORY},
    "recv": {"reset": RESET, "late": LATE, "no descriptor": FULL, "no memory": MEMORY},
    "getaddrinfo": {
        "unknown": lambda: socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        "no descriptor": FULL,
        "no memory": MEMORY,
    },
    "Thread.start": {"no thread": lambda: RuntimeError("can't start new thread"), "no memory": MEMORY},
    "open": {"no descriptor": FULL, "no right": _os(PermissionError, errno.EACCES), "no memory": MEMORY},
    "sqlite connect": {"no file": lambda: sqlite3.OperationalError("unable to open database file"), "no memory": MEMORY},
    "execute": {
        "disk": lambda: sqlite3.OperationalError("disk I/O error"),
        "no memory": MEMORY,
    },
}
"""What is needed of the system, and as what the real thing fails."""


@attrs.define(eq=False)
class Saboteur:
    """Counts the operations of the library, and fails one of a kind, or all of that kind from then on."""

    seen: Counter[str] = attrs.field(factory=Counter)
    struck: int = 0
    _operation: str = ""
    _error: Error = Exception
    _turns: range = range(0)
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def plan(self, operation: str, error: Error, turn: int, *, forever: bool) -> None:
        """Count anew, and fail the operation at its turn."""
        with self._lock:
            self.seen.clear()
            self.struck = 0
            self._operation, self._error = operation, error
            self._turns = range(turn, 1_000_000 if forever else turn + 1)

    def rest(self) -> None:
        """Fail nothing more."""
        with self._lock:
            self._turns = range(0)

    def meet(self, operation: str) -> None:
        """An operation is about to happen; raises where it is to fail."""
        with self._lock:
            self.seen[operation] += 1
            if operation != self._operation or self.seen[operation] not in self._turns:
                return
            self.struck += 1
        raise self._error()

    def before(self, operation: str, real: Callable[..., Any], when: Callable[..., bool] = lambda *_: True) -> Callable[..., Any]:
        """The real function, met before it runs."""

        def met(*arguments: Any, **options: Any) -> Any:
            if when(*arguments):
                try:
                    self.meet(operation)
                except DEAD:
                    _cut(arguments[0])
                    raise
            return real(*arguments, **options)

        return met


def planted(patch: pytest.MonkeyPatch) -> Saboteur:
    """A saboteur in the library's way to the system: its sockets, names, threads and files, nobody else's."""
    saboteur = Saboteur()
    before = saboteur.before
    for place, name, operation in (
        (PlainSocket, "__init__", "socket"),
        (PlainSocket, "connect", "connect"),
        (PlainSocket, "sendall", "send"),
        (TLSSocket, "send", "send"),
        (PlainSocket, "recv", "recv"),
        (TLSSocket, "recv", "recv"),
    ):
        patch.setattr(place, name, before(operation, getattr(place, name)))
    handshake = before("handshake", ssl.SSLSocket.do_handshake, lambda sock, *_: isinstance(sock, TLSSocket))
    patch.setattr(ssl.SSLSocket, "do_handshake", handshake)
    patch.setattr(socket, "getaddrinfo", before("getaddrinfo", _at_home))
    patch.setattr(threading.Thread, "start", before("Thread.start", threading.Thread.start, _ours))
    patch.setattr(os, "open", before("open", os.open, lambda path, *_: str(path).endswith(DATABASE)))
    patch.setattr(sqlite3, "connect", before("sqlite connect", _connecting(saboteur)))
    patch.setattr(dns, "FAILED", 0.0)  # a name that could not be found is asked for again at once
    return saboteur


def _cut(sock: socket.socket) -> None:
    """What breaks a connection breaks it for good: the peer sees its end, and whoever reads on finds nothing."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _ours(thread: threading.Thread) -> bool:
    return thread.name.startswith("llmdispatcher-")


_lookup = socket.getaddrinfo


def _at_home(host: str, port: int, **options: Any) -> Any:
    return _lookup("127.0.0.1" if host == HOST else host, port, **options)


def _connecting(saboteur: Saboteur) -> Callable[..., sqlite3.Connection]:
    real = sqlite3.connect

    class Met(sqlite3.Connection):
        execute = saboteur.before("execute", sqlite3.Connection.execute)
        executescript = saboteur.before("execute", sqlite3.Connection.executescript)

    return lambda path, **options: real(path, factory=Met, **options)
