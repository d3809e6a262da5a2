"""Sockets that keep to their call's time limits, and the queue of a connection pool.

Before every operation a socket asks its call's context how long it may take. The queue hands out the connection that was used last,
serves waiting threads in order, and has no lock on which a finalizer could block.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import math
import queue
import select
import socket
import ssl
import sys
import threading
import weakref
from collections.abc import Sequence
from typing import Any

from urllib3.exceptions import ClosedPoolError

from ..errors import DispatchError
from ..runtime import on_fork
from .context import IoContext, active, translate
from .dns import Address


class PoolQueue(queue.LifoQueue[Any]):
    """Replaces ``queue.LifoQueue`` in a urllib3 pool: a finalizer may give a connection back, so ``put`` takes no lock.

    ``get`` ignores ``timeout``: it waits as long as the current call's context allows, and then raises ``queue.Empty``.
    """

    def __init__(self, maxsize: int = 0) -> None:
        self.maxsize = maxsize
        self._items: collections.deque[Any] = collections.deque()
        self._waiting: collections.deque[threading.Lock] = collections.deque()
        self._closed = False

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Return a connection, or ``None`` for the right to open one; the thread that has waited longest gets it."""
        if len(self._items) >= self.maxsize:
            raise queue.Full
        self._items.append(item)
        if self._waiting:
            self._wake_next()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """The connection used last, or ``None``; raises ``queue.Empty`` when none comes in time."""
        try:
            return self._items.pop()
        except IndexError:
            if not block:
                raise queue.Empty from None
        return self._wait()

    def close(self) -> None:
        """End all waits with ``ClosedPoolError``."""
        self._closed = True
        for gate in tuple(self._waiting):
            with contextlib.suppress(RuntimeError):
                gate.release()

    def qsize(self) -> int:
        """How many places are free."""
        return len(self._items)

    def _wait(self) -> Any:
        gate = threading.Lock()
        gate.acquire()
        self._waiting.append(gate)
        try:
            while True:
                with contextlib.suppress(IndexError):
                    return self._items.pop()
                if self._closed:
                    raise ClosedPoolError(self, "closed")  # type: ignore[arg-type]  # only its text uses the pool
                active.context.wait(gate, threading.TIMEOUT_MAX)
                if gate not in self._waiting:
                    self._waiting.appendleft(gate)
        except DispatchError:
            raise queue.Empty from None
        finally:
            self._leave(gate)

    def _leave(self, gate: threading.Lock) -> None:
        try:
            self._waiting.remove(gate)
        except ValueError:
            if self._items:
                self._wake_next()

    def _wake_next(self) -> None:
        while True:
            try:
                self._waiting.popleft().release()
            except RuntimeError:
                continue
            except IndexError:
                pass
            return


RECEIVE = 65536
"""Bytes to ask the kernel for at once."""
_SMALL_READ = 479
"""Bytes to ask for after small reads: CPython's own allocator serves buffers of this size, ``malloc`` larger ones."""
_SMALL_READS = 2
"""Small reads in a row after which no more than that is asked for."""

_SHORT = 0.1
"""Seconds below which a wait is not halved."""
_SLACK = 0.004
"""Seconds by which a wait may be too long: calls with the same limits then need not set it again."""

_open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
"""All sockets, for a forked child to close."""
_adopted: set[socket.socket] = set()
"""The sockets of calls under way: the finalizer of an abandoned reply in a reference cycle must find its socket alive."""


class DeadlineSocket(socket.socket):
    """What both kinds of socket share; ``owner`` is the call that has the socket, ``None`` while it is pooled."""

    owner: IoContext | None = None
    _timeout = math.inf
    """Seconds that the next operation may take as the socket is set now."""
    _small_reads = 0
    """Small reads in a row."""
    _watcher: select.poll | None = None
    """For :meth:`is_readable`; made once."""

    def adopt(self, context: IoContext) -> None:
        """Let ``context`` govern and wake this socket; raises if it is cancelled."""
        self.owner = context
        self._small_reads = 0
        _adopted.add(self)
        context.own(self.wake)

    def release(self) -> bool:
        """Give the socket back; False when a canceller has shut it down, so that it cannot be used again."""
        context, self.owner = self.owner, None
        _adopted.discard(self)
        return context is None or context.disown()

    def detach(self) -> int:
        """Hand the descriptor over to the TLS socket that is being made."""
        if self.owner is not None:
            self.owner.phase = "tls"
        self.release()
        return super().detach()

    def wake(self) -> None:
        """End every operation on it; SSLSocket's own method would hand ciphertext to a reader (cpython #124618)."""
        socket.socket.shutdown(self, socket.SHUT_RDWR)

    def is_readable(self) -> bool:
        """Whether there is something to read, which may be the end."""
        if not hasattr(select, "poll"):  # Windows, whose select() takes any descriptor
            return bool(select.select([self], [], [], 0)[0])
        if self._watcher is None:
            self._watcher = select.poll()
            self._watcher.register(self.fileno(), select.POLLIN)
        return bool(self._watcher.poll(0))

    def settimeout(self, value: float | None, /) -> None:
        """Set the timeout and remember it, to save a system call, which also releases the GIL, where it need not change."""
        self._timeout = math.inf if value is None else value
        super().settimeout(value)

    def receive(self, left: float, *, once: bool = False) -> bytes:
        """Receive at least a byte, or nothing at the end, within ``left`` seconds, which the context has just given.

        ``once`` means that no more reads with this limit are expected, so that the timeout is set to all of it.
        """
        context = self.owner
        if context is None:
            return b""
        while True:
            if self._timeout > left + _SLACK:
                self.settimeout(left if once or left < _SHORT else left / 2)  # half, so that it need not be set for the next reads
            try:
                data = self.recv(_SMALL_READ if self._small_reads >= _SMALL_READS else RECEIVE)
            except TimeoutError as late:
                before, left = left, context.left()
                if late.errno is not None or before - left < self._timeout / 2:
                    raise  # not this timeout: TCP has given the connection up, or a signal handler raised it
                self._timeout = math.inf
            else:
                if context.cancellation.cancelled:  # spares a call for every piece
                    context.check()
                self._small_reads = self._small_reads + 1 if len(data) < _SMALL_READ else 0
                return data

    def receive_within(self, seconds: float) -> bytes:
        """What arrives within ``seconds``, or nothing."""
        self.settimeout(seconds)
        try:
            return self.recv(RECEIVE)
        except (OSError, MemoryError):
            return b""

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        """Read the answer of a proxy to CONNECT, bounded by the context."""
        if self.owner is not None:
            self.settimeout(self.owner.left())
        return super().recv_into(*arguments, **options)


class PlainSocket(DeadlineSocket):
    """A TCP socket."""

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send all of ``data``, bounded by the context."""
        if self.owner is not None:
            left = self.owner.left()
            if not left <= self._timeout <= left + _SLACK:
                self.settimeout(left + _SLACK / 2)
        super().sendall(data, flags)


class TLSSocket(DeadlineSocket, ssl.SSLSocket):
    """A TLS socket; its ``sendall`` calls ``send`` for every record."""

    def getpeername(self) -> Any:
        """Raise where the connection is gone already: ssl would take the error for a socket that is not connected yet."""
        try:
            return super().getpeername()
        except OSError:
            self.close()
            raise ConnectionResetError(errno.ECONNRESET, "reset before the handshake") from None

    def send(self, data: Any, flags: int = 0) -> int:
        """Send one TLS record, bounded by the context."""
        if self.owner is not None:
            self.settimeout(self.owner.left())
        return super().send(data, flags)

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands, bounded by the context, which the TCP socket has just given up."""
        context: IoContext = active.context
        try:
            _open.add(self)
            self.adopt(context)
            self.settimeout(context.left())
            super().do_handshake(block)
        except BaseException:
            self.release()
            self.close()
            raise


_KEEP_ALIVE = tuple(
    [
        (level, getattr(socket, name), value)
        for level, name, value in (
            (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
            (socket.IPPROTO_TCP, "TCP_KEEPALIVE" if sys.platform == "darwin" else "TCP_KEEPIDLE", 60),
            (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 15),
            (socket.IPPROTO_TCP, "TCP_KEEPCNT", 4),
        )
        if hasattr(socket, name)
    ]
)
"""Probe after a minute of silence, so that no NAT or load balancer drops a connection while the model thinks; seconds."""


def dial(
    addresses: Sequence[Address], options: Sequence[tuple[int, int, int | bytes]], context: IoContext
) -> tuple[PlainSocket, Address]:
    """Connect to the first address that answers, each with its share of the time; the context owns the socket."""
    failure: BaseException | None = None
    for number, address in enumerate(addresses):
        try:
            return _connect(address, options, context, len(addresses) - number), address
        except OSError as foreign:
            context.left()
            failure = foreign
    raise translate(failure or OSError("no address"), context)


def _connect(address: Address, options: Sequence[tuple[int, int, int | bytes]], context: IoContext, shares: int) -> PlainSocket:
    family, kind, protocol, where = address
    sock = PlainSocket(family, kind, protocol)
    try:
        _open.add(sock)
        for option in (*_KEEP_ALIVE, *options):
            sock.setsockopt(*option)
        sock.adopt(context)
        sock.settimeout(context.left() / shares)
        sock.connect(where)
        context.check()
    except BaseException:
        sock.release()
        sock.close()
        raise
    return sock


def _drop_inherited() -> None:
    """Close the descriptors that a child has inherited, without a shutdown: the connections are its parent's."""
    for sock in list(_open):
        with contextlib.suppress(OSError):
            sock.close()
    _open.clear()
    _adopted.clear()


on_fork(after_in_child=_drop_inherited)
