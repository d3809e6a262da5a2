"""The I/O context of one call (time limits, phase, the right to wake it up), and the translation of foreign exceptions.

A context's box holds at most one way to wake the call: shut down its socket, or release its gate. The thread that takes it from
the box owns it, and taking is atomic. So a late cancel finds the box empty and cannot touch a socket that another call uses by now,
and no lock is needed on which a finalizer or a signal handler could block.

Of a foreign exception only the kind of failure is kept. The exceptions of requests hold the request and so the key; they are never
chained, quoted or logged.
"""

from __future__ import annotations

import math
import os
import socket
import ssl
import threading
import zlib
from collections.abc import Callable, Iterator
from http.client import HTTPException
from typing import Any

import attrs
from requests import RequestException
from urllib3.exceptions import ClosedPoolError, EmptyPoolError, HTTPError

from ..errors import Cancelled, DispatchError, Overloaded, VendorUnavailable
from ..runtime import AttemptMetrics, Deadline

_LONGEST = 1e6
"""Seconds that one wait may last; poll() counts milliseconds in a C int, which ends after 24 days."""
_HANDOVER = 1.0
"""Seconds to wait for a canceller in the middle of its shutdown; it needs microseconds."""


@attrs.frozen(kw_only=True)
class IoLimits:
    """How long one attempt may take, in seconds, ``None`` for no limit of its own beside the call's deadline.

    ``connect`` covers name, TCP and TLS over all addresses together; ``first_byte`` the time from the request being sent to
    the whole response head; ``idle`` the silence between two reads of the body; ``total`` the whole attempt.
    ``max_body`` is the most decoded bytes that one answer may have. ``kept`` is how long a connection may lie idle and be used
    again: a NAT or a load balancer may forget it without a word, and then a request on it is never answered.
    """

    connect: float | None = 5.0
    first_byte: float | None = 60.0
    idle: float | None = 60.0
    total: float | None = None
    max_body: int = 8 << 20
    kept: float | None = 60.0


Admit = Callable[[tuple[Any, ...]], None]
"""Raises where one of a host's resolved addresses must not be connected to."""

_SILENCE = {
    "dns": ("dns", "the name was not resolved", "connect"),
    "connect": ("connect", "no connection was made", "connect"),
    "tls": ("tls", "the TLS handshake did not end", "connect"),
    "send": ("send", "the request was not taken", "first_byte"),
    "first_byte": ("first_byte", "no answer began", "first_byte"),
    "body": ("idle", "the answer fell silent", "idle"),
}
"""Phase -> the phase to report, what did not happen, and the limit that governs it."""


class IoContext:
    """One call under its deadline and limits. Entered phases move ``until``, the end of the present wait.

    ``idle`` is the most seconds of silence within the body. ``placed`` tells whether the call has a place in the connection pool,
    ``fresh`` that it must not use a kept connection.
    ``connect`` is the most seconds for name, TCP and TLS together: the limit, or the attempt's share where that is less.
    ``admit`` raises where one of the resolved addresses must not be connected to. ``meter`` counts bytes and connections.
    ``setting`` names the setting that has the address of the present peer: that of a proxy until its tunnel is there.
    """

    __slots__ = (
        "_box",
        "_busy",
        "_key",
        "_total",
        "admit",
        "cancellation",
        "connect",
        "deadline",
        "fresh",
        "host",
        "idle",
        "limits",
        "meter",
        "now",
        "phase",
        "placed",
        "setting",
        "until",
    )

    def __init__(self, deadline: Deadline, limits: IoLimits, host: str, admit: Admit | None = None) -> None:
        self.deadline = deadline
        self.admit = admit
        self.limits = limits
        self.idle = limits.idle
        self.connect = deadline.connect if limits.connect is None else min(limits.connect, deadline.connect)
        self.host = host
        self.meter = deadline.meter or AttemptMetrics()
        self.meter.wired = True
        self.phase = "pool"
        self.fresh = False
        self.placed = False
        self.setting = "base_url"
        self.now = deadline.clock.monotonic
        self._total = math.inf if limits.total is None else self.now() + limits.total
        self.until = min(deadline.at, self._total)
        self._box: list[Callable[[], None]] = []
        self._busy = threading.Lock()
        self.cancellation = deadline.cancellation
        self._key = deadline.cancellation.subscribe(self.wake)

    @property
    def sent(self) -> bool:
        """Whether the request may have reached the vendor."""
        return self.phase in ("send", "first_byte", "body")

    def enter(self, phase: str, limit: float | None) -> float:
        """Begin a phase of at most ``limit`` seconds, within the attempt; returns and raises what :meth:`left` does.

        The deadline is read anew, since it may be moved.
        """
        if self.cancellation.cancelled:
            raise Cancelled(self.cancellation.reason)
        now, until = self.now(), self.deadline.at
        if self._total < until:
            until = self._total
        if limit is not None and now + limit < until:
            until = now + limit
        self.phase, self.until = phase, until
        left = until - now
        if left <= 0:
            raise self.late()
        return left if left < _LONGEST else _LONGEST

    def left(self) -> float:
        """Seconds for the next operation; raises what ended the call when there are none."""
        if self.cancellation.cancelled:
            raise Cancelled(self.cancellation.reason)
        left = self.until - self.now()
        if left <= 0:
            raise self.late()
        return left if left < _LONGEST else _LONGEST

    def hurry(self, seconds: float) -> None:
        """Wait no longer than ``seconds`` for each further piece of the body."""
        self.idle = min(seconds, self.idle or math.inf)
        self.limits = attrs.evolve(self.limits, idle=self.idle)

    def finish_within(self, seconds: float) -> None:
        """End the attempt in ``seconds``, if it does not end earlier."""
        self._total = min(self._total, self.now() + seconds)

    def check(self) -> None:
        """Raise if the call was cancelled."""
        if self.cancellation.cancelled:
            raise Cancelled(self.cancellation.reason)

    def ended(self) -> DispatchError | None:
        """What ended the call from outside: the caller's cancel, or its deadline."""
        if self.cancellation.cancelled:
            return Cancelled(self.cancellation.reason)
        if self.now() >= self.deadline.at:
            return self.deadline.to_error().with_facts(phase=self.phase, sent=self.sent)
        return None

    def late(self) -> DispatchError:
        """The error for time that has run out: that of the widest limit which has passed."""
        ended = self.ended()
        if ended is not None:
            return ended
        if self.phase == "pool":
            busy = self.limits.total or math.inf
            text = f"{self.host}: all connections stayed busy for {busy:g} s; raise pool_size, or send less at once"
            return Overloaded(text, phase="pool", sent=False)
        if self.now() >= self._total:
            text = (
                f"{self.host}: the attempt took longer than its {self.limits.total or math.inf:g} s; raise timeout= or ask for less"
            )
            return VendorUnavailable(text, phase="total", sent=self.sent, timed_out=True)
        phase, what, name = _SILENCE[self.phase]
        limit = self.connect if name == "connect" else getattr(self.limits, name)
        text = f"{self.host}: {what} within {name}={limit or math.inf:g} s; try again, ask another vendor, or raise that limit"
        return VendorUnavailable(text, phase=phase, sent=self.sent, timed_out=True)

    def own(self, wake: Callable[[], None]) -> None:
        """Put the way to wake this call into the box; raises if it is cancelled already."""
        self._box.append(wake)
        if self.cancellation.cancelled:
            self.disown()
            self.check()

    def disown(self) -> bool:
        """Empty the box; False where a canceller was first. It has finished by then."""
        try:
            self._box.pop()
        except IndexError:
            if self._busy.acquire(timeout=_HANDOVER):
                self._busy.release()
            return False
        return True

    def wake(self) -> None:
        """Wake the call's wait, once; never blocks, never raises."""
        if not self._busy.acquire(blocking=False):
            return
        try:
            wake = self._box.pop() if self._box else None
            if wake is not None:
                wake()
        except (IndexError, OSError, RuntimeError):
            pass  # taken back by its owner, closed by the peer, or a gate that is open already
        finally:
            self._busy.release()

    def wait(self, gate: threading.Lock, seconds: float) -> None:
        """Wait until the held ``gate`` is released, for ``seconds``, or for what is left; raises what ended the call."""
        self.own(gate.release)
        try:
            self.deadline.clock.wait(gate, min(seconds, self.left()))
        finally:
            self.disown()
        self.check()

    def leave(self) -> None:
        """Forget the caller's cancellation; the call is over."""
        self.cancellation.unsubscribe(self._key)


class _Active(threading.local):
    """``context`` is that of the call which this thread is making; the libraries in between have no parameter to pass it on.

    Put back what was there after a call: a signal handler may make one on top of another.
    """

    context: Any = None


active = _Active()


HANG_UPS = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""What a peer that closes raises, in TCP and in TLS."""

_DOING = {
    "pool": "while waiting for a connection",
    "dns": "while resolving the name",
    "connect": "while connecting",
    "tls": "in the TLS handshake",
    "send": "while the request was sent",
    "first_byte": "before an answer began",
    "body": "in the middle of the answer",
}


class StaleConnection(Exception):
    """A kept connection was closed before a byte of the answer came; the request may be sent again on a new one."""


FOREIGN: tuple[type[Exception], ...] = (
    DispatchError,
    StaleConnection,
    OSError,
    ValueError,
    HTTPException,
    HTTPError,
    RequestException,
    zlib.error,
    MemoryError,
)
"""What sockets, urllib3 and requests raise. All else is passed on, such as what a caller's signal handler raises: it is no failure
of the vendor. (A handler's TimeoutError cannot be told from a socket's.)"""


def translate(foreign: BaseException, context: IoContext) -> DispatchError:
    """Our error for ``foreign``: that of the caller's cancel or deadline, if one has ended the call, whatever was raised."""
    ended = context.ended()
    if ended is not None:
        return ended
    causes = list(_causes(foreign))
    for cause in causes:
        if isinstance(cause, DispatchError):
            return cause
    for cause in causes:
        if isinstance(cause, TimeoutError | EmptyPoolError):
            return context.late()
        if isinstance(cause, ssl.SSLError):
            return _tls_error(cause, context)
        if isinstance(cause, MemoryError):
            text = f"{context.host}: no memory {_DOING[context.phase]}; send less at once"
            return Overloaded(text, phase=context.phase, sent=context.sent)
        if isinstance(cause, ClosedPoolError):
            return Overloaded(f"{context.host}: the transport was closed; open a new dispatcher", phase="pool", sent=False)
        if isinstance(cause, OSError) and cause.errno is not None:
            return _broken_error(_reason(cause), context)
    return _broken_error(_describe(causes[-1]), context)


def clean(error: DispatchError) -> DispatchError:
    """Remove foreign exceptions and frames, which may hold secrets, from ``error``; returns it."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def hang_up_error(context: IoContext) -> DispatchError:
    """The error for a connection that the peer has closed."""
    peer = "vendor" if context.setting == "base_url" else "proxy"
    return context.ended() or _broken_error(f"the {peer} closed the connection", context)


def _causes(foreign: BaseException) -> Iterator[BaseException]:
    """An exception and what it was raised from or wraps, outermost first."""
    seen: set[int] = set()
    waiting: list[object] = [foreign]
    while waiting and len(seen) < 16:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            waiting += [*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__]


def _tls_error(cause: ssl.SSLError, context: IoContext) -> DispatchError:
    alert = (getattr(cause, "reason", None) or "").partition("_ALERT_")[2]  # errors of Python's own have none
    if alert in _ABOUT_CERTIFICATE or (alert == "HANDSHAKE_FAILURE" and context.phase == "tls"):
        return _certificate_error(alert, context)
    if context.phase != "tls" or isinstance(cause, HANG_UPS):
        return _broken_error("the TLS connection broke", context)
    reason = getattr(cause, "verify_message", None) or (cause.reason or "no TLS spoken").replace("_", " ").lower()
    is_plain = cause.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST")  # what a server says that speaks HTTP without TLS
    todo = (
        f"if it speaks plain HTTP, begin {context.setting} with http://"
        if is_plain
        else f"check {context.setting}, or give the CA that signed its certificate as ca_bundle"
    )
    what = "TLS" if context.setting == "base_url" else "TLS with the proxy"
    text = f"{context.host}: {what} failed: {reason}; {todo}"
    return VendorUnavailable(text, retry_here=False, phase="tls", sent=False)


_ABOUT_CERTIFICATE = (
    *("CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "UNSUPPORTED_CERTIFICATE", "CERTIFICATE_REVOKED", "CERTIFICATE_EXPIRED"),
    *("CERTIFICATE_UNKNOWN", "UNKNOWN_CA", "ACCESS_DENIED", "DECRYPT_ERROR"),
)
"""Alerts (RFC 8446 section 6.2) by which a server refuses a client's certificate. In TLS 1.3 they come after the handshake."""


def _certificate_error(alert: str, context: IoContext) -> DispatchError:
    """The error for a server that refuses the handshake; it has not read the request."""
    told = alert.replace("_", " ").lower()
    if alert == "CERTIFICATE_REQUIRED":
        what, todo = "the server wants a client certificate", "give one as client_cert"
    elif alert == "HANDSHAKE_FAILURE":
        what, todo = f"TLS failed: {told}", "if the server wants a client certificate, give one as client_cert"
    else:
        what, todo = f"the server refuses the client certificate ({told})", "check client_cert; if there is none, give one"
    return VendorUnavailable(f"{context.host}: {what}; {todo}", retry_here=False, phase="tls", sent=False)


def _reason(cause: OSError) -> str:
    if isinstance(cause, socket.gaierror):
        return cause.strerror or "the name is unknown"
    return os.strerror(cause.errno or 0).lower()


def _describe(cause: BaseException) -> str:
    """Name an exception without an error number."""
    return type(cause).__name__


def _broken_error(reason: str, context: IoContext) -> VendorUnavailable:
    text = f"{context.host}: {reason} {_DOING[context.phase]}; check {context.setting} and the network, or ask another vendor"
    return VendorUnavailable(text, phase=context.phase, sent=context.sent)
