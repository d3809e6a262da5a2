"""How the vendors are, asked without spending money: each lists its models, all at the same time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from .clock import Clock, Deadline
from .errors import AuthenticationError, DispatchError, QuotaExceeded, RateLimitError
from .fanout import fan_out
from .vendors import Vendor

_WORDS: tuple[tuple[type[DispatchError], str], ...] = (
    (AuthenticationError, "unauthorized"),
    (QuotaExceeded, "out_of_quota"),
    (RateLimitError, "rate_limited"),
)


@attrs.frozen(kw_only=True)
class VendorHealth:
    """One vendor's state.

    ``status`` is ``"healthy"`` (it answered), ``"available"`` (it has no way to be asked without a price, but says that it can be),
    ``"unavailable"`` (it lacks a key or an address), ``"unauthorized"``, ``"out_of_quota"``, ``"rate_limited"``, ``"unhealthy"``,
    or ``"unknown"`` (nobody has asked it yet); ``detail`` says more. ``latency`` is seconds, ``age`` seconds since it was asked.
    """

    vendor: str
    status: str
    detail: str | None = None
    latency: float | None = None
    age: float | None = None

    @property
    def ok(self) -> bool:
        """Whether it makes sense to ask it: nothing speaks against it."""
        return self.status in ("healthy", "available", "rate_limited", "unknown")


def health_of(vendors: Mapping[str, Vendor], seconds: float, clock: Clock) -> dict[str, VendorHealth]:
    """The state of each vendor; takes as long as the slowest, and no longer than ``seconds``."""
    if not vendors:
        return {}

    def ask(name: str) -> VendorHealth:
        return looked_at(name, vendors[name], Deadline.after(seconds, clock=clock))[0]

    found: Any = fan_out(ask, vendors, len(vendors), return_errors=False)
    return dict(zip(vendors, found, strict=True))


def looked_at(name: str, vendor: Vendor, deadline: Deadline) -> tuple[VendorHealth, DispatchError | None]:
    """The state of one vendor, and the error that told it, if that was one of ours."""
    try:
        return _asked(name, vendor, deadline), None
    except DispatchError as error:
        status = next((word for kind, word in _WORDS if isinstance(error, kind)), "unhealthy")
        return VendorHealth(vendor=name, status=status, detail=f"{type(error).__name__}: {error.message}"), error
    except Exception as foreign:  # noqa: BLE001 - a vendor of the user's own may raise anything
        return VendorHealth(vendor=name, status="unhealthy", detail=type(foreign).__name__), None


def _asked(name: str, vendor: Vendor, deadline: Deadline) -> VendorHealth:
    if not vendor.is_available():
        tell = getattr(vendor, "missing", None)
        return VendorHealth(vendor=name, status="unavailable", detail=tell() if tell is not None else None)
    listed = getattr(vendor, "list_models", None)
    if listed is None:
        return VendorHealth(vendor=name, status="available")
    began = deadline.clock.monotonic()
    count = len(listed(deadline))
    return VendorHealth(vendor=name, status="healthy", detail=f"{count} models", latency=deadline.clock.monotonic() - began)
