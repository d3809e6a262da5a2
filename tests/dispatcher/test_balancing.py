"""Vendors that share the calls, as a dispatcher sees them."""

from collections import Counter

from llmdispatcher import Balance, Config, Dispatcher, Request, VendorUnavailable
from llmdispatcher.testing import FakeVendor

from .parts import dispatcher_of


def dispatcher(*names, **settings):
    return dispatcher_of(*[FakeVendor("hi", name=name) for name in names], **settings)


def shares(made, calls=12):
    return Counter(made.send(Request("m", "hi")).vendor for _ in range(calls))


def test_calls_go_round():
    """A strategy is named in the configuration, and that is all."""
    assert {"a": 4, "b": 4, "c": 4} == shares(dispatcher("a", "b", "c", balance="round_robin"))


def test_the_fallback_vendor_takes_no_part():
    """It is for failures."""
    assert {"a": 6, "b": 6} == shares(dispatcher("a", "b", "c", balance="round_robin", fallback_vendor="c"))


def test_explaining_takes_nobodys_turn():
    """Looking changes nothing."""
    made = dispatcher("a", "b", balance="round_robin")
    for _ in range(3):
        made.explain(Request("m", "hi"))

    assert "balanced, round_robin" in str(made.explain(Request("m", "hi")))
    assert {"a": 1, "b": 1} == shares(made, 2)


def test_a_failure_goes_to_the_next_of_them():
    """The strategy's order is the order of failover."""
    made = Dispatcher(Config(balance=Balance(strategy="round_robin")))
    made.register_vendor(FakeVendor(VendorUnavailable("down"), name="a"))
    made.register_vendor(FakeVendor("hi", name="b"))

    assert {"b": 4} == shares(made, 4)
