"""Addresses where nobody ever answers: what goes wrong before a request is read (RELIABILITY.md N1, N2, N6, N7)."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType

from ..loopback import LoopbackServer, Peer

# A queue of length 0 still takes one or two connections; these fill it.
_PENDING = 4


@contextlib.contextmanager
def refused() -> Iterator[str]:
    """A port that is taken but does not listen: every connect is refused at once (N1)."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """A port whose queue is full: a connect is neither accepted nor refused (N2, Linux)."""
    with contextlib.ExitStack() as open_sockets:
        listener = open_sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(_PENDING):
            pending = open_sockets.enter_context(socket.socket())
            pending.setblocking(False)
            pending.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def mute(scheme: str = "http") -> Iterator[str]:
    """A server that accepts and neither reads nor writes: an upload larger than the buffers stalls (N7)."""
    with LoopbackServer(lambda _peer, _request: True, greet=_say_nothing, receive_buffer=4096) as server:
        yield f"{scheme}://127.0.0.1:{server.port}"


def _say_nothing(peer: Peer) -> None:
    peer.wait()


def mute_tls() -> AbstractContextManager[str]:
    """The same behind https: the handshake gets no answer (N6)."""
    return mute("https")


UNREACHABLE: Mapping[str, Callable[[], AbstractContextManager[str]]] = MappingProxyType(
    {"N1": refused, "N2": black_hole, "N6": mute_tls, "N7": mute}
)
"""By row of RELIABILITY.md §2: ``with UNREACHABLE["N2"]() as url: ...``"""
