"""Foreign exceptions become ours, once; nothing of them is kept but the kind of failure.

The exceptions of requests hold the request and so the key; they are never chained, quoted or logged.
"""

from __future__ import annotations

import os
import socket
import ssl
import zlib
from collections.abc import Iterator
from http.client import HTTPException

from requests import RequestException
from urllib3.exceptions import ClosedPoolError, EmptyPoolError, HTTPError

from ..errors import DispatchError, Overloaded, VendorUnavailable
from .scope import Scope

HANG_UPS = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""How a peer that closes looks, in TCP and in TLS."""

_DOING = {
    "pool": "while waiting for a connection",
    "dns": "while resolving the name",
    "connect": "while connecting",
    "tls": "in the TLS handshake",
    "send": "while the request was sent",
    "first_byte": "before an answer began",
    "body": "in the middle of the answer",
}


class Stale(Exception):
    """A kept connection turned out to be closed before a byte of the answer came; a new one may carry the request again."""


FOREIGN: tuple[type[Exception], ...] = (
    DispatchError,
    Stale,
    OSError,
    ValueError,
    HTTPException,
    HTTPError,
    RequestException,
    zlib.error,
    MemoryError,
)
"""What sockets, urllib3 and requests raise. Whatever else flies through, out of the caller's signal handler say, is his own:
it is passed on, never taken for a vendor's failure. (A handler's TimeoutError cannot be told from a socket's.)"""


def translated(foreign: BaseException, scope: Scope) -> DispatchError:
    """The error that ``foreign`` stands for; the caller's own end is judged first, whatever the exception looks like."""
    ended = scope.ended()
    if ended is not None:
        return ended
    causes = list(_causes(foreign))
    for cause in causes:
        if isinstance(cause, DispatchError):
            return cause
    for cause in causes:
        if isinstance(cause, TimeoutError | EmptyPoolError):
            return scope.late()
        if isinstance(cause, ssl.SSLError):
            return _tls(cause, scope)
        if isinstance(cause, MemoryError):
            text = f"{scope.host}: no memory {_DOING[scope.phase]}; send less at once"
            return Overloaded(text, phase=scope.phase, sent=scope.sent)
        if isinstance(cause, ClosedPoolError):
            return Overloaded(f"{scope.host}: the transport was closed; open a new dispatcher", phase="pool", sent=False)
        if isinstance(cause, OSError) and cause.errno is not None:
            return _broken(_reason(cause), scope)
    return _broken(_named(causes[-1]), scope)


def clean(error: DispatchError) -> DispatchError:
    """The error without the foreign exceptions and frames that it met on its way."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def broken_off(scope: Scope) -> DispatchError:
    """The error for a peer that closed without a word more."""
    return scope.ended() or _broken("the vendor closed the connection", scope)


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


def _tls(cause: ssl.SSLError, scope: Scope) -> DispatchError:
    if scope.phase != "tls" or isinstance(cause, HANG_UPS):
        return _broken("the TLS connection broke", scope)
    reason = getattr(cause, "verify_message", None) or (cause.reason or "no TLS spoken").replace("_", " ").lower()
    text = f"{scope.host}: TLS failed: {reason}; check base_url, or give the CA that signed its certificate as ca_bundle"
    return VendorUnavailable(text, retry_here=False, phase="tls", sent=False)


def _reason(cause: OSError) -> str:
    if isinstance(cause, socket.gaierror):
        return cause.strerror or "the name is unknown"
    return os.strerror(cause.errno or 0).lower()


def _named(cause: BaseException) -> str:
    """The kind of an exception without an error number; http.client tells a proxy's refusal in words only."""
    return "the proxy refused the tunnel" if str(cause).startswith("Tunnel connection failed") else type(cause).__name__


def _broken(reason: str, scope: Scope) -> VendorUnavailable:
    text = f"{scope.host}: {reason} {_DOING[scope.phase]}; check base_url and the network, or ask another vendor"
    return VendorUnavailable(text, phase=scope.phase, sent=scope.sent)
