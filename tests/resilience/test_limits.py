"""Rate limits, by a clock that is moved by hand."""

import threading

import pytest

from llmdispatcher import ConfigError, RateLimit, RateLimitRemaining
from llmdispatcher.catalog import Target
from llmdispatcher.resilience import Limits, RateLimitSlot

from ..threads import in_threads

TARGET = Target(vendor="openai", model="m")
OTHER = Target(vendor="openai", model="other")


def limits(**settings):
    made = Limits()
    made.set("openai", RateLimit(**settings))
    return made


def test_without_a_limit_nobody_asks():
    """Neither set nor told: there is nothing to take."""
    made = Limits()

    assert (False, None) == (made.in_use, made.take(TARGET, 9, 0.0))


def test_requests_of_a_minute():
    """The third of two has to wait until the first is a minute old."""
    made = limits(requests_per_minute=2)
    taken = [made.take(TARGET, 1, now) for now in (0.0, 10.0)]

    assert [RateLimitSlot, RateLimitSlot] == [type(place) for place in taken]
    assert 60.0 == made.take(TARGET, 1, 20.0)
    assert isinstance(made.take(TARGET, 1, 60.0), RateLimitSlot)


def test_tokens_of_a_minute():
    """A call waits until enough of the tokens before it are a minute old."""
    made = limits(tokens_per_minute=100)
    made.take(TARGET, 60, 0.0)
    made.take(TARGET, 30, 5.0)

    assert [60.0, 65.0] == [made.take(TARGET, tokens, 10.0) for tokens in (20, 80)]
    assert isinstance(made.take(TARGET, 10, 10.0), RateLimitSlot)


def test_a_call_larger_than_the_limit_goes_alone():
    """It could never go otherwise."""
    made = limits(tokens_per_minute=100)
    assert isinstance(made.take(TARGET, 500, 0.0), RateLimitSlot)

    assert 60.0 == made.take(TARGET, 500, 1.0)


def test_what_was_really_used_takes_the_place_of_the_estimate():
    """A dear estimate does not hold others back when the answer was short, nor a cheap one let too much through."""
    made = limits(tokens_per_minute=100)
    made.settle(made.take(TARGET, 90, 0.0), 10)
    assert isinstance(made.take(TARGET, 90, 1.0), RateLimitSlot)

    assert 60.0 == made.take(TARGET, 1, 2.0)


def test_a_call_that_was_not_made_gives_its_place_back():
    """Nothing reached the vendor."""
    made = limits(requests_per_minute=1)
    made.give_back(made.take(TARGET, 1, 0.0))

    assert isinstance(made.take(TARGET, 1, 0.0), RateLimitSlot)


def test_a_vendors_models_share_its_limit_unless_told_otherwise():
    """Vendors mostly count by model; a key of one's own may have one count for all."""
    shared, apart = limits(requests_per_minute=1), limits(requests_per_minute=1, per_model=True)
    for made in (shared, apart):
        made.take(TARGET, 1, 0.0)

    assert 60.0 == shared.take(OTHER, 1, 0.0)
    assert isinstance(apart.take(OTHER, 1, 0.0), RateLimitSlot)


def test_the_vendors_own_word_corrects_the_count():
    """What other processes use is seen only by the vendor."""
    made = Limits()
    made.note_remaining(TARGET, RateLimitRemaining(requests=1, requests_reset=8.0), 0.0)

    assert made.in_use
    assert isinstance(made.take(TARGET, 1, 0.0), RateLimitSlot)
    assert 8.0 == made.take(TARGET, 1, 1.0)
    assert isinstance(made.take(TARGET, 1, 8.1), RateLimitSlot)


def test_too_few_tokens_left_wait_for_the_reset():
    """A call that needs more than the vendor says is left would only be refused."""
    made = Limits()
    made.note_remaining(TARGET, RateLimitRemaining(tokens=100, tokens_reset=6.0), 0.0)

    assert 6.0 == made.take(TARGET, 101, 0.0)
    assert isinstance(made.take(TARGET, 100, 0.0), RateLimitSlot)


@pytest.mark.parametrize(
    "rate_limit_remaining",
    [RateLimitRemaining(), RateLimitRemaining(requests=-1, requests_reset=5.0), RateLimitRemaining(requests=0)],
)
def test_a_word_that_says_nothing_is_not_heard(rate_limit_remaining):
    """No reset, or Azure's minus one for unknown."""
    made = Limits()
    made.note_remaining(TARGET, rate_limit_remaining, 0.0)

    assert not made.in_use


def test_a_hostile_reset_blocks_no_longer_than_a_minute():
    """A hint of a year is a mistake."""
    made = Limits()
    made.note_remaining(TARGET, RateLimitRemaining(requests=0, requests_reset=1e9), 0.0)

    assert 60.0 == made.take(TARGET, 1, 0.0)


def test_the_status_tells_what_is_left():
    """Limit and remainder of both, and when the oldest call is forgotten."""
    made = limits(requests_per_minute=10, tokens_per_minute=100)
    made.take(TARGET, 30, 0.0)
    status = made.status(TARGET, 15.0)

    assert (10, 9, 100, 70, 45.0) == (
        status.requests_limit,
        status.requests_remaining,
        status.tokens_limit,
        status.tokens_remaining,
        status.reset,
    )


def test_threads_never_take_more_than_there_is():
    """A hundred at once, thirty places."""
    made, barrier, taken = limits(requests_per_minute=30), threading.Barrier(100), []

    def ask():
        barrier.wait()
        taken.append(made.take(TARGET, 1, 0.0))

    in_threads(ask, 100)

    assert 30 == sum(isinstance(place, RateLimitSlot) for place in taken)


@pytest.mark.parametrize("value", [0, -1, 1.5, "9", True])
def test_a_wrong_limit_is_told(value):
    """By its name and what it should be."""
    with pytest.raises(ConfigError, match="requests_per_minute"):
        RateLimit(requests_per_minute=value)
