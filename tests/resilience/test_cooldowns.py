"""Parking: a target that asked to be left alone is left alone by every call, for a minute; then one call tries it."""

import math

import pytest

from llmdispatcher import Dispatcher, QuotaExceeded, RateLimitError, Request, VendorUnavailable
from llmdispatcher.catalog import Target
from llmdispatcher.resilience import Cooldowns
from llmdispatcher.resilience import retry as room
from llmdispatcher.resilience.retry import rest_of
from llmdispatcher.testing import FakeVendor, ManualClock

TARGET = Target(vendor="openai", model="gpt-4o")
LIMITED = RateLimitError("slow down", status=429, code="rate_limit_exceeded", retry_after=5.0)


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (RateLimitError("", retry_after=5.0), 5.0),
        (RateLimitError(""), 0.0),
        (RateLimitError("", retry_after=0.0), 0.0),
        (RateLimitError("", retry_after=-1.0), 0.0),
        (RateLimitError("", retry_after=math.nan), 0.0),
        (RateLimitError("", retry_after=1e9), 86_400.0),
        (QuotaExceeded(""), 600.0),
        (QuotaExceeded("", retry_after=30.0), 30.0),
        (VendorUnavailable(""), 0.0),
    ],
)
def test_how_long_a_failed_target_rests(error, seconds):
    """As long as it said, at most a day; ten minutes for a spent quota that says nothing."""
    assert seconds == rest_of(error)


def test_a_parked_target_is_ready_when_it_said():
    """Until the moment, and not a moment longer."""
    cooldowns = Cooldowns()
    cooldowns.park(TARGET, 15.0, LIMITED)

    assert [15.0, 15.0, -math.inf] == [cooldowns.ready_at(TARGET, now) for now in (10.0, 14.9, 15.0)]


def test_who_is_not_parked_is_ready():
    """The same vendor's other models are other targets."""
    cooldowns = Cooldowns()
    cooldowns.park(TARGET, 15.0, LIMITED)

    assert -math.inf == cooldowns.ready_at(Target(vendor="openai", model="gpt-5"), 10.0)


def test_a_parking_is_known_by_name():
    """Two targets of the same vendor and model are one parking place."""
    cooldowns = Cooldowns()
    cooldowns.park(TARGET, 15.0, LIMITED)

    assert 15.0 == cooldowns.ready_at(Target(vendor="openai", model="gpt-4o"), 10.0)


def test_the_longer_parking_stays():
    """A shorter hint of another call does not undercut a longer one."""
    cooldowns = Cooldowns()
    cooldowns.park(TARGET, 15.0, LIMITED)
    cooldowns.park(TARGET, 12.0, LIMITED)

    assert 15.0 == cooldowns.ready_at(TARGET, 10.0)


def test_a_refusal_is_the_same_kind_of_error():
    """The call hears what the vendor said earlier and how long to wait from now, and that nobody was asked."""
    cooldowns = Cooldowns()
    cooldowns.park(TARGET, 15.0, LIMITED)
    refusal = cooldowns.refusal(TARGET, 11.0)

    assert RateLimitError is type(refusal)
    assert ("openai", "gpt-4o", 429, "rate_limit_exceeded", 4.0, False) == (
        refusal.vendor,
        refusal.model,
        refusal.status,
        refusal.code,
        refusal.retry_after,
        refusal.sent,
    )


@pytest.mark.parametrize("now", [15.0, 99.0])
def test_a_parking_that_ended_refuses_nobody(now):
    """There is no error to tell."""
    cooldowns = Cooldowns()
    cooldowns.park(TARGET, 15.0, LIMITED)

    assert None is cooldowns.refusal(TARGET, now)


def test_an_ended_parking_is_forgotten():
    """When the target is asked; nothing is left to look at."""
    cooldowns = Cooldowns()
    cooldowns.park(TARGET, 15.0, LIMITED)
    assert cooldowns.parked

    assert cooldowns.take(TARGET, 20.0) is None
    assert not cooldowns.parked


def test_a_target_that_asked_for_longer_is_tried_by_one_call_a_second():
    """The others still find it parked, for no more than a second."""
    cooldowns = Cooldowns()
    cooldowns.park(TARGET, 60.0, LIMITED, asked=1e20)

    taken = [cooldowns.take(TARGET, now) is None for now in (59.9, 60.0, 60.0, 60.9, 61.0, 61.5)]
    assert [False, True, False, False, True, False] == taken
    assert 62.0 == cooldowns.ready_at(TARGET, 61.5)


def test_an_answer_to_such_a_try_frees_the_target():
    """Everybody may ask it again."""
    cooldowns = Cooldowns()
    cooldowns.park(TARGET, 60.0, LIMITED, asked=1e20)
    cooldowns.take(TARGET, 60.0)
    cooldowns.answered(TARGET)

    assert (None, {}) == (cooldowns.take(TARGET, 60.1), cooldowns.parked)


def test_the_answer_of_a_call_from_before_frees_nobody():
    """It was on its way when another was told to come back later."""
    cooldowns = Cooldowns()
    cooldowns.park(TARGET, 60.0, LIMITED, asked=1e20)
    cooldowns.answered(TARGET)

    assert 60.0 == cooldowns.ready_at(TARGET, 10.0)


def test_a_try_that_is_refused_parks_the_target_again():
    """For as long as the first time."""
    cooldowns = Cooldowns()
    cooldowns.park(TARGET, 60.0, LIMITED, asked=1e20)
    cooldowns.take(TARGET, 60.0)
    cooldowns.park(TARGET, 121.0, LIMITED, asked=1e20)
    cooldowns.answered(TARGET)

    assert 121.0 == cooldowns.ready_at(TARGET, 61.0)


@pytest.mark.parametrize(
    ("asked", "worth"), [(60.0, 60.0), (90.0, math.inf), (69.0, 60.0)], ids=["all of it", "more than a minute", "nearly over"]
)
def test_what_asked_for_more_than_a_minute_is_not_waited_for(asked, worth):
    """It would probably refuse again; as seen at second 10."""
    cooldowns = Cooldowns()
    cooldowns.park(TARGET, 60.0, LIMITED, asked=asked)

    assert worth == cooldowns.held(TARGET, 10.0).worth(10.0)


def test_parking_is_bounded(monkeypatch):
    """When all places are taken, the one that ends first is given up."""
    monkeypatch.setattr(room, "_MOST", 2)
    cooldowns = Cooldowns()
    targets = [Target(vendor="a", model=str(number)) for number in range(3)]
    for target, until in zip(targets, (30.0, 20.0, 10.0), strict=True):
        cooldowns.park(target, until, LIMITED)

    assert [30.0, -math.inf, 10.0] == [cooldowns.ready_at(target, 0.0) for target in targets]


REFUSALS = [RateLimitError("tomorrow", status=429, retry_after=86_400), QuotaExceeded("spent", status=429)]


@pytest.mark.parametrize("error", REFUSALS, ids=repr)
def test_a_target_that_goes_on_refusing_is_asked_once_a_minute(error):
    """Ten calls a second for three minutes, answered by another."""
    clock, asked = ManualClock(), []
    first, second = FakeVendor(error, name="first"), FakeVendor("ok", name="second")
    with Dispatcher({"default_vendor": "first", "fallback_vendor": "second"}, clock=clock) as dispatcher:
        dispatcher.register_vendor(first)
        dispatcher.register_vendor(second)
        for _ in range(1_790):
            hits = first.hits
            dispatcher.send(Request("m", "hi"))
            asked += [round(clock.monotonic())] * (first.hits - hits)
            clock.advance(0.1)

    assert [0, 60, 120] == [moment - asked[0] for moment in asked]
