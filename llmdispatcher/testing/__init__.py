"""Public test tools: a simulator of every vendor, its faults, a fake vendor, a clock that is moved by hand, a raw server."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import faults
    from .answers import SimulatedResponse
    from .clock import ManualClock
    from .fake import FakeVendor
    from .faults import FAULTS, PEER_FAULTS, UNREACHABLE, Fault
    from .formats import ApiError, SimulatedRequest
    from .loopback import LoopbackServer, Peer, WireRequest
    from .simulator import OK, VendorSimulator

__all__ = [
    "FAULTS",
    "OK",
    "PEER_FAULTS",
    "UNREACHABLE",
    "ApiError",
    "FakeVendor",
    "Fault",
    "LoopbackServer",
    "ManualClock",
    "Peer",
    "SimulatedRequest",
    "SimulatedResponse",
    "VendorSimulator",
    "WireRequest",
    "faults",
]

_ROOMS = {
    "UNREACHABLE": "faults",
    "FAULTS": "faults",
    "OK": "simulator",
    "PEER_FAULTS": "faults",
    "SimulatedResponse": "answers",
    "FakeVendor": "fake",
    "Fault": "faults",
    "LoopbackServer": "loopback",
    "ManualClock": "clock",
    "Peer": "loopback",
    "SimulatedRequest": "formats",
    "ApiError": "formats",
    "VendorSimulator": "simulator",
    "WireRequest": "loopback",
}


def __getattr__(name: str) -> Any:
    room = _ROOMS.get(name)
    if room is not None:
        value = getattr(importlib.import_module(f".{room}", __name__), name)
    elif name == "faults":
        value = importlib.import_module(".faults", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
