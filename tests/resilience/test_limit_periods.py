"""Rate limits of days and other periods, of input and output apart, warnings before their end, and resets."""

from __future__ import annotations

from datetime import timedelta

import pytest

from llmdispatcher import ConfigError, RateLimit, RateWindow
from llmdispatcher.catalog import Target
from llmdispatcher.resilience import Limits, RateLimitSlot

from ..cases import each
from .test_limits import OTHER, TARGET

DAY = 86_400.0


class Told(Limits):
    """Limits of one vendor, and what they warn of."""

    def __init__(self, **settings):
        self.warnings = []
        super().__init__(warn=self.warnings.append)
        self.set("openai", RateLimit(**settings))


def taken(limits, now, tokens=1, output=0, target=TARGET):
    """Whether a call has a place."""
    return isinstance(limits.take(target, tokens, now, output=output), RateLimitSlot)


@each(
    "settings, call",
    {
        "requests": ({"requests_per_day": 2}, (1, 0)),
        "tokens": ({"tokens_per_day": 20}, (10, 4)),
        "input": ({"input_tokens_per_day": 20}, (14, 4)),
        "output": ({"output_tokens_per_day": 20}, (14, 10)),
        "window": ({"windows": [{"period": "24h", "requests": 2}]}, (1, 0)),
        "timedelta": ({"windows": [RateWindow(period=timedelta(days=1), output_tokens=20)]}, (14, 10)),
    },
)
def test_a_day_is_any_24_hours(settings, call):
    """The third of two waits until the first is a day old."""
    limits = Told(**settings)
    assert taken(limits, 0.0, *call)
    assert taken(limits, 40_000.0, *call)
    place = RateLimitSlot()
    ready = limits.take(TARGET, call[0], 50_000.0, place, call[1])
    assert DAY == ready
    assert "in any 24h" in place.why
    assert not taken(limits, DAY - 1, *call)
    assert taken(limits, ready, *call)
    assert not taken(limits, ready + 1, *call)


def test_input_and_output_are_limited_apart():
    """A call may have room for the one and none for the other; what was really used corrects both."""
    limits = Told(input_tokens_per_minute=100, output_tokens_per_minute=50)
    first = limits.take(TARGET, 130, 0.0, output=50)
    assert not taken(limits, 1.0, 20, 10)
    assert taken(limits, 1.0, 20, 0)
    limits.settle(first, 60, 2.0, 5)
    (into, out) = limits.status(TARGET, 2.0).windows
    assert ("input_tokens", 100, 25, "minute") == (into.unit, into.limit, into.remaining, into.period)
    assert ("output_tokens", 45) == (out.unit, out.remaining)
    assert taken(limits, 2.0, 70, 45)
    assert not taken(limits, 59.0, 20, 1)
    assert taken(limits, 62.0, 100, 50)


def test_a_call_that_was_not_made_gives_all_back():
    """And a vendor's refusal of a key keeps the request alone."""
    limits = Told(requests_per_day=1, tokens_per_day=10, output_tokens_per_minute=10)
    place = limits.take(TARGET, 10, 0.0, output=5)
    limits.give_back(place, 1.0)
    limits.give_back(place, 1.0)
    assert [1, 10, 10] == sorted(one.remaining for one in limits.status(TARGET, 1.0).windows)
    assert taken(limits, 1.0, 10, 5)


def test_a_call_larger_than_the_limit_goes_alone():
    """It could never go otherwise; after it nobody goes for a day."""
    limits = Told(tokens_per_day=100)
    assert taken(limits, 0.0, 500)
    assert not taken(limits, DAY - 1, 1)


def test_what_is_used_within_a_grain_counts_until_its_last():
    """Never too short, and at most a grain too long."""
    limits = Told(requests_per_day=2)
    assert [True, True] == [taken(limits, now) for now in (10.0, 300.0)]
    assert DAY + 300 == limits.take(TARGET, 1, 400.0)


def test_a_month_takes_little_memory():
    """A window of 30 days has at most some 240 amounts, however many calls it counts."""
    limits = Told(windows=[{"period": "30d", "requests": 10**9}])
    for number in range(20_000):
        taken(limits, number * 300.0)
    (count,) = limits._counts[("openai",)].others
    assert len(count._used) <= 242
    assert 30 * DAY / 300 <= count.total <= 30 * DAY / 300 * 1.01


def test_a_warning_comes_once_in_each_period():
    """When so much is used, of each limit; also when the answer was longer than was estimated."""
    limits = Told(requests_per_day=10, output_tokens_per_minute=100, requests_per_minute=1000, warn_at=0.8)
    for number in range(7):
        assert taken(limits, float(number))
    assert [] == limits.warnings
    place = limits.take(TARGET, 10, 8.0)
    (warning,) = limits.warnings
    assert "rate limit 'openai': 8 of 10 requests are used in the last 24h" == str(warning)
    limits.settle(place, 100, 9.0, 90)
    assert ["requests", "output_tokens"] == [one.unit for one in limits.warnings]
    assert taken(limits, 10.0)
    assert 2 == len(limits.warnings)
    for number in range(8):
        assert taken(limits, 2 * DAY + number * 100)
    assert ["requests", "output_tokens", "requests"] == [one.unit for one in limits.warnings]


def test_a_reset_begins_anew():
    """Of a vendor, or of one model where each counts for itself; a settlement of before counts no more."""
    limits = Told(requests_per_day=1, requests_per_minute=1, tokens_per_minute=10)
    place = limits.take(TARGET, 10, 0.0)
    assert not taken(limits, 1.0)
    limits.reset("openai")
    limits.settle(place, 10, 2.0)
    limits.give_back(place, 2.0)
    assert taken(limits, 2.0, 10)

    limits = Told(tokens_per_day=100)
    before = limits.take(TARGET, 90, 0.0)
    limits.reset("openai")
    assert taken(limits, 1.0, 60)
    limits.settle(before, 5, 2.0)
    assert 40 == limits.status(TARGET, 2.0).windows[0].remaining

    limits = Told(requests_per_day=1, per_model=True)
    assert [True, True] == [taken(limits, 0.0, target=target) for target in (TARGET, OTHER)]
    limits.reset("openai", "m")
    assert [True, False] == [taken(limits, 0.0, target=target) for target in (TARGET, OTHER)]
    limits.reset("openai")
    assert [True, True] == [taken(limits, 0.0, target=target) for target in (TARGET, OTHER)]
    with pytest.raises(ConfigError, match="limits: 'nobody' has no rate limit"):
        limits.reset("nobody")
    with pytest.raises(ConfigError, match="the models of 'openai' share one count; leave the model out"):
        Told(requests_per_day=1).reset("openai", "m")


@each(
    "settings, told",
    [
        ({"requests_per_day": 0}, "requests_per_day: 0"),
        ({"windows": [{"period": "month", "requests": 5}]}, r"windows\[0\].period: 'month' is not a period; .*'30d'"),
        ({"windows": [{"period": "2h"}]}, r"windows\[0\].*'2h' has no limit; give one of requests, tokens"),
        ({"windows": [{"period": "2h", "request": 5}]}, r"windows\[0\].*'request'.*did you mean 'requests'"),
        ({"windows": {"period": "2h", "requests": 5}}, "windows: dict is not a list of windows"),
        ({"warn_at": 80}, "warn_at: 80 is not a fraction of the limit"),
        ({"request_per_day": 5}, "request_per_day.*did you mean 'requests_per_day'"),
    ],
)
def test_settings_are_checked(settings, told):
    """What is no setting is told with its field and the remedy."""
    with pytest.raises((ConfigError, TypeError), match=told):
        RateLimit(**settings)


def test_of_two_limits_of_one_period_the_smaller_counts():
    """A day is a window of 24 hours."""
    limits = Told(requests_per_day=5, windows=[{"period": "24h", "requests": 2}, {"period": "1d", "requests": 9}])
    assert [True, True, False] == [taken(limits, 0.0) for _ in range(3)]
    assert [2] == [one.limit for one in limits.status(Target(vendor="openai", model="m"), 0.0).windows]
