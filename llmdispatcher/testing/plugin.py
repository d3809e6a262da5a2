"""The pytest plugin: fixtures ``vendor_simulator``, ``fake_vendor`` and ``manual_clock``. It loads nothing before one is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .doubles import FakeVendor, ManualClock
    from .simulator import VendorSimulator


@pytest.fixture
def vendor_simulator() -> Iterator[VendorSimulator]:
    """One running simulator; set its ``responses``, ``script`` and so on in the test."""
    from .simulator import VendorSimulator

    with VendorSimulator() as simulator:
        yield simulator


@pytest.fixture
def make_vendor_simulator() -> Iterator[Callable[..., VendorSimulator]]:
    """A factory of running simulators, which takes what :class:`VendorSimulator` takes; all close with the test."""
    from .simulator import VendorSimulator

    with ExitStack() as running:
        yield lambda **settings: running.enter_context(VendorSimulator(**settings))


@pytest.fixture
def fake_vendor() -> FakeVendor:
    """A vendor without a network; ``fake_vendor.script(...)`` says what it answers."""
    from .doubles import FakeVendor

    return FakeVendor()


@pytest.fixture
def manual_clock() -> ManualClock:
    """A clock that is moved by hand."""
    from .doubles import ManualClock

    return ManualClock()
