"""Public test helpers: servers that misbehave on request, fakes, and a clock that is moved by hand."""

from .loopback import LoopbackServer, Peer, WireRequest

__all__ = ["LoopbackServer", "Peer", "WireRequest"]
