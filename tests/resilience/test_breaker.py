"""The circuit breaker, by a clock that is moved by hand."""

import math
import threading

import pytest

from llmdispatcher import (
    AuthenticationError,
    Cancelled,
    CircuitBreaker,
    ConfigError,
    DeadlineExceeded,
    InvalidRequest,
    MalformedReply,
    RateLimitError,
    StreamInterrupted,
    VendorUnavailable,
)
from llmdispatcher.catalog import Target
from llmdispatcher.resilience import FREE, Breakers

from ..cases import each
from ..threads import in_threads

TARGET = Target(vendor="openai", model="m")
DOWN = VendorUnavailable("503")


def breakers(**settings):
    return Breakers(CircuitBreaker(**settings))


def tripped(**settings):
    """A breaker whose target has just failed ten times, at second 0."""
    made = breakers(**settings)
    for _ in range(10):
        made.report(TARGET, made.admit(TARGET, 0.0), DOWN, 0.0)
    return made


def test_a_target_without_failures_costs_a_look_up():
    """Successes alone leave nothing behind."""
    made = breakers()
    for _ in range(100):
        made.report(TARGET, made.admit(TARGET, 0.0), None, 0.0)

    assert FREE is made.admit(TARGET, 0.0)
    assert "closed" == made.state(TARGET, 0.0)


def test_it_opens_at_the_rate_and_not_before():
    """Nine failures are too few calls to judge by, the tenth is one too many."""
    made = breakers()
    states = []
    for _ in range(10):
        made.report(TARGET, made.admit(TARGET, 0.0), DOWN, 0.0)
        states.append(made.state(TARGET, 0.0))

    assert ["closed"] * 9 + ["open"] == states
    assert (None, 5.0) == (made.admit(TARGET, 4.9), made.ready_at(TARGET, 0.0))


SILENT = VendorUnavailable("no answer began", timed_out=True)


def silent(made, *moments, waited=50.0):
    """Report a time-out at each of these moments; gives the states after them."""
    states = []
    for now in moments:
        made.report(TARGET, made.admit(TARGET, now), SILENT, now, waited=waited)
        states.append(made.state(TARGET, now))
    return states


def test_it_opens_after_three_time_outs_in_a_row():
    """However long they took, and however long ago they were: few fit into a window."""
    made = breakers()

    assert ["closed", "closed", "open"] == silent(made, 50.0, 100.0, 150.0)


def test_it_stays_open_for_no_less_than_the_time_out_took():
    """Else half of all calls would wait again: 50 s, then the usual doubling where that is more."""
    made = breakers(open_time=40.0)
    silent(made, 50.0, 100.0, 150.0)
    first = made.ready_at(TARGET, 150.0)
    silent(made, 250.0)

    assert (200.0, 330.0) == (first, made.ready_at(TARGET, 250.0))


def probes(made, count, error, waited):
    """Send so many probes that fail, each as soon as it may; gives the numbers of those that were not brief."""
    patient = []
    for number in range(1, count + 1):
        now = made.ready_at(TARGET, 0.0)
        permit = made.admit(TARGET, now)
        if not permit.brief:
            patient.append(number)
        made.report(TARGET, permit, error, now, waited=waited)
    return patient


def test_probes_after_time_outs_are_brief_but_for_a_few():
    """The 8th, 16th, 32nd and so on wait as long as any call."""
    made = breakers()
    silent(made, 50.0, 100.0, 150.0)

    assert [8, 16, 32, 64] == probes(made, 100, SILENT, 5.0)


def test_probes_after_refusals_are_not_brief():
    """They cost no time; once one of them times out, the next ones are brief."""
    made = tripped()

    assert [1, 2, 3] == probes(made, 3, DOWN, None)
    assert [1, 5] == probes(made, 6, SILENT, 50.0)


def test_a_brief_probe_does_not_shorten_the_open_time():
    """The longest time-out counts until the circuit is closed."""
    made = breakers()
    silent(made, 50.0, 100.0, 150.0)
    silent(made, 205.0, waited=5.0)

    assert 255.0 == made.ready_at(TARGET, 205.0)


def test_a_probe_of_a_vendor_that_answers_its_health_check_is_not_brief():
    """It is known to be there, and an honest answer may take long."""
    made = breakers()
    silent(made, 50.0, 100.0, 150.0)
    made.answers_again("openai", 160.0)

    assert not made.admit(TARGET, 160.0).brief


@pytest.mark.parametrize("between", [None, DOWN], ids=["an answer", "a refusal"])
def test_time_outs_that_are_not_in_a_row_do_not_open_it(between):
    """Whoever says anything in between is there."""
    made = breakers()
    for second in range(0, 1_000, 50):
        silent(made, float(second))
        made.report(TARGET, made.admit(TARGET, second + 1.0), between, second + 1.0)

    assert "closed" == made.state(TARGET, 1_000.0)


def test_what_says_nothing_of_the_target_does_not_end_the_row():
    """A cancelled call, a rate limit."""
    made = breakers()
    silent(made, 50.0, 100.0)
    made.report(TARGET, made.admit(TARGET, 120.0), Cancelled("by the caller"), 120.0)

    assert ["open"] == silent(made, 150.0)


def test_a_deadline_that_passed_in_silence_counts_as_a_time_out():
    """Whatever the caller's error is."""
    made = breakers()
    for now in (1.0, 2.0, 3.0):
        made.report(TARGET, made.admit(TARGET, now), DeadlineExceeded("late"), now, waited=1.0)

    assert "open" == made.state(TARGET, 3.0)


def test_time_outs_in_a_row_need_not_count():
    """With 0 there is only the rate."""
    made = breakers(timeouts=0)

    assert "closed" == silent(made, *[50.0 * number for number in range(20)])[-1]


def test_a_target_that_timed_out_once_is_forgotten_after_an_answer():
    """Nothing is kept of it."""
    made = breakers()
    silent(made, 50.0)
    made.report(TARGET, made.admit(TARGET, 100.0), None, 100.0)

    assert not made.circuits


def test_a_target_that_mostly_answers_stays_closed():
    """A third of failures is under the half that opens."""
    made = breakers()
    for number in range(300):
        made.report(TARGET, made.admit(TARGET, 0.0), DOWN if number % 3 == 0 else None, 0.0)

    assert "closed" == made.state(TARGET, 0.0)


def test_old_failures_are_forgotten():
    """What happened before the window does not count."""
    made = breakers()
    for second in range(0, 600, 4):
        made.report(TARGET, made.admit(TARGET, float(second)), DOWN, float(second))

    assert "closed" == made.state(TARGET, 600.0)


CALLERS = (InvalidRequest("400"), AuthenticationError("401"), RateLimitError("429"), Cancelled("by the caller"))
TARGETS = (DOWN, MalformedReply("html"), StreamInterrupted("cut"))


@each("error, count, state", [*[(one, 1_000, "closed") for one in CALLERS], *[(one, 10, "open") for one in TARGETS]])
def test_what_the_target_did_counts_and_what_the_caller_did_never(error, count, state):
    """No answer, a broken one and half of one open the circuit; a storm of wrong requests, keys, limits and cancels does not."""
    made = breakers()
    for _ in range(count):
        made.report(TARGET, made.admit(TARGET, 0.0), error, 0.0)

    assert state == made.state(TARGET, 0.0)


def test_half_open_lets_the_probes_out_and_no_more():
    """A hundred threads at once get one permit."""
    made, barrier, permits = tripped(), threading.Barrier(100), []

    def ask():
        barrier.wait()
        permits.append(made.admit(TARGET, 5.0))

    in_threads(ask, 100)

    assert 1 == sum(permit is not None for permit in permits)


def test_a_probe_that_succeeds_closes_the_circuit():
    """And the next trouble begins with the short open time again."""
    made = tripped()
    made.report(TARGET, made.admit(TARGET, 5.0), None, 5.1)

    assert "closed" == made.state(TARGET, 5.1)
    assert made.admit(TARGET, 5.1) is not None


def test_open_times_double_to_their_most():
    """5, 10, 20 … 300 seconds, while every probe fails."""
    made, now, times = tripped(), 0.0, []
    for _ in range(8):
        times.append(made.ready_at(TARGET, now) - now)
        now = made.ready_at(TARGET, now)
        made.report(TARGET, made.admit(TARGET, now), DOWN, now)

    assert [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0] == times


def test_a_probe_that_is_never_heard_of_is_forgotten():
    """Its lease runs out, and another may go."""
    made = tripped()
    assert made.admit(TARGET, 5.0) is not None

    assert [None, True] == [made.admit(TARGET, 64.9), made.admit(TARGET, 65.1) is not None]


def test_a_probe_that_says_nothing_gives_its_lease_back():
    """A cancelled probe is no result."""
    made = tripped()
    made.report(TARGET, made.admit(TARGET, 5.0), Cancelled("by the caller"), 5.0)

    assert made.admit(TARGET, 5.0) is not None


def test_results_from_before_it_opened_change_nothing():
    """A late success is no proof that the target is well, a late failure no proof that it is not."""
    made = breakers()
    late = [made.admit(TARGET, 0.0) for _ in range(2)]
    for _ in range(10):
        made.report(TARGET, made.admit(TARGET, 0.0), DOWN, 0.0)
    made.report(TARGET, late[0], None, 1.0)
    made.report(TARGET, late[1], DOWN, 1.0)

    assert ("open", 5.0) == (made.state(TARGET, 1.0), made.ready_at(TARGET, 1.0))


def test_a_forced_success_closes_and_a_forced_failure_changes_nothing():
    """Asking the least bad target when nobody else is left is no probe that could be lost."""
    made = tripped()
    made.report(TARGET, made.admit(TARGET, 1.0, forced=True), DOWN, 1.0)
    assert 5.0 == made.ready_at(TARGET, 1.0)
    made.report(TARGET, made.admit(TARGET, 2.0, forced=True), None, 2.0)

    assert -math.inf == made.ready_at(TARGET, 2.0)


def test_processes_do_not_come_back_all_at_once():
    """The jitter makes the open time."""
    assert 6.0 == tripped(jitter=lambda seconds: seconds * 1.2).ready_at(TARGET, 0.0)


def test_a_breaker_that_is_off_never_opens():
    """Whatever happens."""
    assert FREE is tripped(enabled=False).admit(TARGET, 0.0)


@pytest.mark.parametrize("rate", [0, 1.5, -1, "half", None])
def test_a_wrong_rate_is_told(rate):
    """By its name and what it should be."""
    with pytest.raises(ConfigError, match="failure_rate"):
        CircuitBreaker(failure_rate=rate)


def test_a_vendor_that_was_found_down_is_asked_only_where_nobody_else_is_left():
    """A call that succeeds nevertheless ends it; one that fails changes nothing."""
    made = breakers()
    made.ejections.watched = True
    made.found_down("openai", 0.0, 60.0)
    states = [made.admit(TARGET, 1.0), made.ready_at(TARGET, 1.0), made.state(TARGET, 1.0)]
    for error in (DOWN, None):
        made.report(TARGET, made.admit(TARGET, 2.0, forced=True), error, 2.0)
        states.append(made.state(TARGET, 2.0))

    assert [None, 60.0, "open", "open", "closed"] == states


def test_a_finding_that_nobody_renews_is_forgotten():
    """Whoever made it may be gone."""
    made = breakers()
    made.found_down("openai", 0.0, 60.0)

    assert FREE is made.admit(TARGET, 60.0)


def test_a_breaker_that_is_off_heeds_no_finding():
    """Nobody is left alone."""
    made = breakers(enabled=False)

    assert (False, FREE) == (made.found_down("openai", 0.0, 60.0), made.admit(TARGET, 1.0))
