"""Outages, simulated with a clock that is moved by hand: how much is asked, and how soon it recovers."""

import random

import pytest

from llmdispatcher import Capabilities, Config, Dispatcher, DispatchError, Request, Response, RetryPolicy, VendorUnavailable
from llmdispatcher.testing import ManualClock

CALLS_PER_SECOND = 100

pytestmark = pytest.mark.usefixtures("untraced")  # tens of thousands of calls, whose every line is covered elsewhere


class Shaky:
    """A vendor that fails as it is told, and counts how often it was asked."""

    capabilities = Capabilities(models=("m",))

    def __init__(self, name, fails):
        self.name = name
        self.fails = fails
        self.asked = 0

    def send(self, request, deadline):
        self.asked += 1
        if self.fails(deadline.clock.monotonic()):
            raise VendorUnavailable("503", status=503)
        return Response(content="ok", finish_reason="stop")

    def stream(self, request, deadline):
        raise NotImplementedError

    def is_available(self):
        return True


def simulated(seconds, *vendors, clock):
    """So many seconds of calls; gives for each second the part that succeeded."""
    dispatcher = Dispatcher(Config(retry_policy=RetryPolicy(max_retries=3, initial_delay=0.0)), clock=clock)
    for vendor in vendors:
        dispatcher.register_vendor(vendor)
    shares = []
    for _ in range(seconds):
        good = 0
        for _ in range(CALLS_PER_SECOND):
            try:
                dispatcher.send(Request("m", "hi"))
                good += 1
            except DispatchError:
                pass
            clock.advance(1 / CALLS_PER_SECOND)
        shares.append(good / CALLS_PER_SECOND)
    return shares


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_full_outage_is_no_storm(count):
    """However short, it costs at most a quarter more attempts than calls; the retries come first."""
    clock = ManualClock()
    vendors = [Shaky(f"v{number}", lambda now: True) for number in range(count)]
    simulated(15, *vendors, clock=clock)

    assert sum(vendor.asked for vendor in vendors) <= 1.25 * 15 * CALLS_PER_SECOND


@pytest.mark.parametrize("count", [1, 2])
def test_it_recovers_within_two_probe_periods(count):
    """When the vendors are back, calls succeed again without anybody's help."""
    clock = ManualClock()
    start = clock.monotonic()
    vendors = [Shaky(f"v{number}", lambda now: now - start < 20) for number in range(count)]
    shares = simulated(32, *vendors, clock=clock)

    assert 0.0 == max(shares[:19])
    assert min(shares[30:]) >= 0.99


def test_one_vendor_down_is_not_felt():
    """The other takes over; the first is asked by a probe now and then."""
    clock = ManualClock()
    down, well = Shaky("down", lambda now: True), Shaky("well", lambda now: False)
    shares = simulated(20, down, well, clock=clock)

    assert 1.0 == min(shares)
    assert down.asked < 15


def test_random_errors_are_retried_away():
    """Of ten calls one fails at first; all but one in a hundred succeed."""
    clock, chance = ManualClock(), random.Random(1)
    shares = simulated(20, Shaky("v", lambda now: chance.random() < 0.1), clock=clock)

    assert sum(shares) / len(shares) >= 0.99
