"""Public test tools: a simulator of every vendor, faults, a fake vendor, cassettes, a manual clock, a raw server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from . import faults
    from .answers import SimulatedResponse
    from .cassette import Cassette, UnmatchedRequest
    from .doubles import FakeVendor, ManualClock
    from .faults import FAULTS, PEER_FAULTS, UNREACHABLE, Fault
    from .formats import ApiError, SimulatedRequest
    from .loopback import LoopbackServer, Peer, WireRequest
    from .simulator import OK, VendorSimulator
else:
    __getattr__, __dir__ = door(
        __name__,
        {
            "answers": ("SimulatedResponse",),
            "cassette": ("Cassette", "UnmatchedRequest"),
            "doubles": ("FakeVendor", "ManualClock"),
            "faults": ("FAULTS", "PEER_FAULTS", "UNREACHABLE", "Fault"),
            "formats": ("ApiError", "SimulatedRequest"),
            "loopback": ("LoopbackServer", "Peer", "WireRequest"),
            "simulator": ("OK", "VendorSimulator"),
        },
    )

__all__ = [
    "FAULTS",
    "OK",
    "PEER_FAULTS",
    "UNREACHABLE",
    "ApiError",
    "Cassette",
    "FakeVendor",
    "Fault",
    "LoopbackServer",
    "ManualClock",
    "Peer",
    "SimulatedRequest",
    "SimulatedResponse",
    "UnmatchedRequest",
    "VendorSimulator",
    "WireRequest",
    "faults",
]
