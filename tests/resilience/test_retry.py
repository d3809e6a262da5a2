"""Retries: how long, how often, and whose turn it is next."""

import math

import backoff
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdispatcher import (
    AuthenticationError,
    BackoffStrategy,
    ConfigError,
    ContentFiltered,
    InvalidRequest,
    MalformedReply,
    QuotaExceeded,
    RateLimitError,
    RetryPolicy,
    VendorUnavailable,
)
from llmdispatcher.catalog import Target
from llmdispatcher.resilience import Cooldowns, RetrySchedule
from llmdispatcher.resilience.retry import LASTING

A, B, C = (Target(vendor=name, model="m") for name in "abc")
DOWN = VendorUnavailable("down")


def waits(count=4, **settings):
    policy = RetryPolicy(**settings)
    return [policy.wait(nth) for nth in range(1, count + 1)]


@pytest.mark.parametrize(
    ("strategy", "seconds"),
    [("fixed", [0.5, 0.5, 0.5, 0.5]), ("linear", [0.5, 1.0, 1.5, 2.0]), ("exponential", [0.5, 1.0, 2.0, 4.0])],
)
def test_waits_grow_as_their_strategy_says(strategy, seconds):
    """The same, by steps, by doubling; the first wait is the initial delay."""
    assert seconds == waits(backoff_strategy=strategy, initial_delay=0.5)


@pytest.mark.parametrize("strategy", ["fixed", "linear", "exponential", "jitter"])
def test_no_wait_is_longer_than_the_longest(strategy):
    """``max_delay`` caps every strategy, however many failures there were."""
    policy = RetryPolicy(backoff_strategy=strategy, initial_delay=3.0, max_delay=2.0)

    assert all(policy.wait(nth) <= 2.0 for nth in (1, 2, 50, 2000))


@pytest.mark.parametrize("strategy", ["fixed", "linear", "exponential", "jitter"])
def test_no_delay_is_no_wait(strategy):
    """An initial delay of 0 stays 0."""
    assert [0, 0, 0, 0] == waits(backoff_strategy=strategy, initial_delay=0)
    assert 0 == RetryPolicy(backoff_strategy=strategy, initial_delay=0).wait(2000)


def test_jitter_draws_from_the_whole_of_the_exponential(monkeypatch):
    """Full jitter: anything from nothing to the exponential wait."""
    asked = []
    monkeypatch.setattr(backoff, "full_jitter", lambda delay: asked.append(delay) or delay / 4)

    assert [0.25, 0.5, 1.0, 2.0] == waits(backoff_strategy="jitter")
    assert [1.0, 2.0, 4.0, 8.0] == asked


@pytest.mark.parametrize("strategy", list(BackoffStrategy))
def test_jitter_of_ones_own_serves_every_strategy(strategy):
    """The given function makes the wait of the computed one; dice are not needed to test."""
    plain = waits(backoff_strategy=strategy, jitter=lambda seconds: seconds)

    assert [seconds / 2 for seconds in plain] == waits(backoff_strategy=strategy, jitter=lambda seconds: seconds / 2)


@pytest.mark.parametrize("name", ["EXPONENTIAL", "Exponential", " exponential ", BackoffStrategy.EXPONENTIAL])
def test_strategies_are_known_by_name(name):
    """In any case, as text or as the member."""
    assert BackoffStrategy.EXPONENTIAL is RetryPolicy(backoff_strategy=name).backoff_strategy


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max_retries": -1}, "max_retries: -1"),
        ({"max_retries": 1.5}, "max_retries: 1.5"),
        ({"max_retries": None}, "max_retries: None"),
        ({"backoff_strategy": "random"}, "backoff_strategy: 'random' is not a strategy; use one of fixed, linear"),
        ({"initial_delay": -0.1}, "initial_delay: -0.1"),
        ({"max_delay": float("inf")}, "max_delay: inf"),
        ({"retryable_errors": "timeout"}, "retryable_errors: 'timeout' is not a list"),
        ({"retryable_errors": [""]}, "retryable_errors: ''"),
        ({"jitter": 0.5}, "jitter: 0.5"),
    ],
)
def test_a_wrong_policy_names_field_and_value(settings, named):
    """An empty text in ``retryable_errors`` would retry everything; it is a mistake too."""
    with pytest.raises(ConfigError, match=named):
        RetryPolicy(**settings)


@pytest.mark.parametrize(
    ("texts", "error", "again"),
    [
        ([], VendorUnavailable("x"), True),
        ([], ContentFiltered("x"), False),
        (["Filtered"], ContentFiltered("x"), True),
        (["HICCUP"], InvalidRequest("a hiccup of the vendor"), True),
        (["odd_code"], InvalidRequest("x", code="Odd_Code"), True),
        (["other"], InvalidRequest("x", code="odd"), False),
    ],
)
def test_errors_decide_and_the_user_may_add(texts, error, again):
    """Class name, code and message are searched, in any case."""
    assert again == RetryPolicy(retryable_errors=texts).retryable(error)


def schedule(*targets, cooldowns=None, now=100.0, **settings):
    settings = {"initial_delay": 1.0, **settings}
    return RetrySchedule(targets or (A, B, C), RetryPolicy(**settings), cooldowns or Cooldowns(), now)


def walk(turns, errors, now=100.0, deadline=math.inf):
    """Play a call: each turn fails with the next error, at the moment it is due; tells who was asked and when."""
    played = []
    for error in errors:
        turn = turns.next(deadline)
        if turn is None:
            break
        now = max(now, turn.ready_at)
        played.append((turn.target.vendor, now))
        turns.failed(turn.target, error, now)
    return played


def test_every_target_is_tried_before_one_is_tried_again():
    """Failovers wait for nothing; then the first that failed is ready first, after its backoff."""
    played = walk(schedule(), [DOWN] * 9)

    assert [("a", 100), ("b", 100), ("c", 100), ("a", 101), ("b", 101), ("c", 101)] == played


def test_only_returns_cost_retries():
    """Three targets and no retries are three tries."""
    assert ["a", "b", "c"] == [vendor for vendor, _ in walk(schedule(max_retries=0), [DOWN] * 9)]


def test_the_waits_of_one_target_grow():
    """Alone, it is asked at once and then after 1, 2 and 4 seconds."""
    assert [("a", 100), ("a", 101), ("a", 103), ("a", 107)] == walk(schedule(A), [DOWN] * 9)


def test_a_hint_is_never_undercut():
    """The target that said 5 seconds is asked after 5, the other after its backoff."""
    played = walk(schedule(A, B), [RateLimitError("", retry_after=5.0), DOWN, DOWN, DOWN])

    assert [("a", 100), ("b", 100), ("b", 101), ("b", 103)] == played


def test_a_hint_shorter_than_the_backoff_does_not_hurry():
    """The longer of the two holds."""
    assert [("a", 100), ("a", 104)] == walk(schedule(A, initial_delay=4.0), [RateLimitError("", retry_after=0.5)] * 2)


def test_a_hint_over_a_minute_is_not_waited_for():
    """Whatever the deadline: the target is out for this call."""
    assert [("a", 100)] == walk(schedule(A), [RateLimitError("", retry_after=61.0)] * 3)


def test_a_wait_beyond_the_deadline_is_not_begun():
    """The caller is told at once."""
    assert [("a", 100)] == walk(schedule(A), [RateLimitError("", retry_after=5.0)] * 3, deadline=105.0)


def test_a_target_that_cannot_recover_is_out():
    """A refused key or a spent quota will be the same a second later; another vendor may answer."""
    assert ["a", "b", "b"] == [vendor for vendor, _ in walk(schedule(A, B), [AuthenticationError(""), DOWN, QuotaExceeded("")])]


@pytest.mark.parametrize("error", [InvalidRequest("bad"), ContentFiltered("no")])
def test_a_final_error_ends_all(error):
    """Nobody else would answer differently."""
    turns = schedule(A, B)

    assert ["a"] == [vendor for vendor, _ in walk(turns, [error] * 3)]
    assert None is turns.next(math.inf)


def test_a_final_error_that_the_user_calls_retryable_is_retried_there():
    """On the same target only: the error still says that others would not help."""
    turns = schedule(A, B, retryable_errors=["hiccup"], max_retries=2)

    assert ["a", "a", "a"] == [vendor for vendor, _ in walk(turns, [InvalidRequest("hiccup")] * 5)]


def test_a_final_error_on_a_return_ends_all():
    """What waits its turn is dropped as well."""
    assert ["a", "b", "a"] == [
        vendor for vendor, _ in walk(schedule(A, B), [DOWN, MalformedReply(""), InvalidRequest("")] + [DOWN] * 3)
    ]


def parked(target, until):
    cooldowns = Cooldowns()
    cooldowns.park(target, until, RateLimitError("", retry_after=1.0))
    return cooldowns


def test_a_parked_target_comes_when_it_is_ready():
    """Others are asked first, even again; its first turn costs no retry."""
    played = walk(schedule(A, B, cooldowns=parked(A, 102.5)), [DOWN] * 5)

    assert [("b", 100), ("b", 101), ("a", 102.5), ("b", 103), ("a", 103.5)] == played


def test_a_call_waits_for_its_only_target():
    """If the wait fits the deadline."""
    assert [("a", 130)] == walk(schedule(A, cooldowns=parked(A, 130.0)), [DOWN], deadline=131.0)


def test_a_call_that_cannot_wait_hears_when_to_come_back():
    """The vendor is not asked; the error is of the class that parked it."""
    turns = schedule(A, B, cooldowns=parked(A, 130.0), max_retries=0)
    walk(turns, [AuthenticationError("")])

    assert None is turns.next(110.0)
    assert RateLimitError is type(turns.blocked(110.0))
    assert 20.0 == turns.blocked(110.0).retry_after


def test_nobody_parked_is_nobody_blocked():
    """Then the failures themselves are the reason."""
    turns = schedule(A)
    walk(turns, [DOWN] * 9)

    assert None is turns.blocked(100.0)


def test_the_parking_that_ends_first_is_told():
    """A caller comes back as early as anybody may be asked."""
    cooldowns = parked(A, 190.0)
    cooldowns.park(B, 180.0, QuotaExceeded("spent"))
    turns = schedule(A, B, cooldowns=cooldowns)

    assert None is turns.next(math.inf)
    assert ("b", 80.0) == (turns.blocked(100.0).vendor, turns.blocked(100.0).retry_after)


def test_a_hint_is_heard_by_later_calls():
    """What one call learns, the next one knows."""
    cooldowns = Cooldowns()
    walk(schedule(A, cooldowns=cooldowns), [RateLimitError("", retry_after=20.0)])

    assert 120.0 == schedule(A, cooldowns=cooldowns).next(math.inf).ready_at


def test_a_refusal_of_our_own_parks_nobody():
    """What never reached the vendor is no word of it."""
    cooldowns = Cooldowns()
    walk(schedule(A, cooldowns=cooldowns), [RateLimitError("", retry_after=20.0, sent=False)])

    assert not cooldowns.parked


ERRORS = st.sampled_from(
    [DOWN, RateLimitError("", retry_after=7.0), RateLimitError("", retry_after=90.0), AuthenticationError(""), MalformedReply("")]
)


@given(errors=st.lists(ERRORS, min_size=30, max_size=30), retries=st.integers(0, 5), count=st.integers(1, 3))
def test_no_call_asks_more_often_than_it_may(errors, retries, count):
    """At most one try per target and ``max_retries`` returns; time never goes back; nobody is asked before it is ready."""
    played = walk(schedule(*(A, B, C)[:count], max_retries=retries), errors)
    moments = [moment for _, moment in played]

    assert len(played) <= count + retries
    assert sorted(moments) == moments
    assert len(played) - len({vendor for vendor, _ in played}) <= retries


def test_every_word_of_a_pool_has_its_failure():
    """What a pool may say, and what the schedule knows of it."""
    assert {"context", "policy", "quota", "auth"} == LASTING.keys()
