"""Calls in flight: places, the queue before them, and a number that adapts itself to a vendor that hides its own."""

import heapq
import os
import threading
from contextlib import suppress

import pytest

from llmdispatcher import (
    AdaptiveConcurrency,
    Cancellation,
    Cancelled,
    ConfigError,
    Deadline,
    DeadlineExceeded,
    InvalidRequest,
    QuotaExceeded,
    RateLimit,
    RateLimitError,
    VendorUnavailable,
)
from llmdispatcher.catalog import Target
from llmdispatcher.resilience import Limits, RateLimitSlot
from llmdispatcher.resilience.concurrency import SMALLEST_WINDOW
from llmdispatcher.testing import ManualClock

from ..conftest import PATIENCE
from ..threads import in_threads

TARGET = Target(vendor="openai", model="m")
OTHER = Target(vendor="openai", model="other")
ELSEWHERE = Target(vendor="groq", model="m")
FOREVER = float("inf")


def limits(**settings):
    made = Limits()
    made.set("openai", RateLimit(**settings))
    return made


def taken(made, target=TARGET):
    return made.take(target, 1, 0.0)


class Waiter(threading.Thread):
    """Queues for a place, and tells what came of it."""

    def __init__(self, made, *targets, seconds=30.0):
        super().__init__(daemon=True)
        self.place = RateLimitSlot()
        self.cancellation = Cancellation()
        self.entered = self.error = None
        self._deadline = Deadline.after(seconds, cancellation=self.cancellation)
        self._wait = lambda: made.wait(targets or (TARGET,), self.place, self._deadline, FOREVER)

    def run(self):
        try:
            self.entered = self._wait()
        except Exception as error:
            self.error = error

    def begin(self, made, waiting):
        """Start, and be back when so many wait."""
        self.start()
        deadline = Deadline.after(PATIENCE)
        while made.status(TARGET, 0.0).waiting < waiting:
            deadline.check()
        return self


def test_so_many_calls_and_no_more():
    """The third of two has no moment when it may go: one of the two must end."""
    made = limits(max_in_flight=2)
    first = taken(made)

    assert [RateLimitSlot, FOREVER] == [type(taken(made)), taken(made)]
    made.ended(first, None)
    assert isinstance(taken(made), RateLimitSlot)


def test_a_place_is_given_back_once():
    """A call that ends twice, as an interrupted one may, frees no place of another's."""
    made = limits(max_in_flight=2)
    first = taken(made)
    taken(made)
    made.ended(first, None)
    made.ended(first, None)
    made.give_back(first)

    assert [RateLimitSlot, FOREVER] == [type(taken(made)), taken(made)]


def test_models_share_the_places_unless_told_otherwise():
    """By vendor, or by vendor and model."""
    shared, apart = limits(max_in_flight=1), limits(max_in_flight=1, per_model=True)
    for made in (shared, apart):
        taken(made)

    assert (FOREVER, RateLimitSlot) == (taken(shared, OTHER), type(taken(apart, OTHER)))


def test_a_full_minute_takes_no_place_in_flight():
    """A call that has to wait for the minute does not stand in the way of itself."""
    made = limits(max_in_flight=1, requests_per_minute=1)
    made.ended(taken(made), None)

    assert 60.0 == taken(made)
    assert 0 == made.status(TARGET, 0.0).in_flight


def test_first_come_first_served():
    """A place that becomes free goes to whoever has waited longest, and to nobody new before."""
    made = limits(max_in_flight=1)
    holder = taken(made)
    waiters = [Waiter(made).begin(made, number) for number in (1, 2, 3)]
    served = []
    for waiter in waiters:
        made.ended(holder, None)
        assert FOREVER == taken(made)
        waiter.join(PATIENCE)
        served.append([other.entered for other in waiters].count(TARGET))
        holder = waiter.place

    assert [1, 2, 3] == served


def test_who_waits_is_woken_by_a_cancel():
    """And leaves the queue to others."""
    made = limits(max_in_flight=1)
    holder = taken(made)
    waiter = Waiter(made).begin(made, 1)
    waiter.cancellation.cancel("enough")
    waiter.join(PATIENCE)
    made.ended(holder, None)

    assert isinstance(waiter.error, Cancelled)
    assert isinstance(taken(made), RateLimitSlot)


def test_who_waits_gives_up_at_the_deadline():
    """With the name of the target, and leaves the queue."""
    made = limits(max_in_flight=1)
    taken(made)
    waiter = Waiter(made, seconds=0.05)
    waiter.start()
    waiter.join(PATIENCE)

    assert (DeadlineExceeded, "openai") == (type(waiter.error), waiter.error.vendor)
    assert 0 == made.status(TARGET, 0.0).waiting


def test_who_waits_for_two_takes_the_first_that_is_free():
    """And no place at the other."""
    made = limits(max_in_flight=1)
    made.set("groq", RateLimit(max_in_flight=1))
    holders = [taken(made), taken(made, ELSEWHERE)]
    waiter = Waiter(made, TARGET, ELSEWHERE).begin(made, 1)
    made.ended(holders[1], None)
    waiter.join(PATIENCE)
    made.ended(holders[0], None)

    assert ELSEWHERE is waiter.entered
    assert [RateLimitSlot, FOREVER] == [type(taken(made)), taken(made, ELSEWHERE)]


def test_a_place_that_is_free_already_is_not_waited_for():
    """It became free between the look and the wait."""
    made = limits(max_in_flight=1)

    assert TARGET is made.wait((TARGET,), RateLimitSlot(), Deadline.after(5.0), FOREVER)


def test_waiting_ends_at_the_moment_given():
    """By then another target may be asked."""
    clock = ManualClock()
    made = limits(max_in_flight=1)
    taken(made)

    assert made.wait((TARGET,), RateLimitSlot(), Deadline.after(30.0, clock=clock), clock.monotonic() + 7.0) is None
    assert [7.0] == clock.sleeps


def test_nobody_starves_and_no_place_is_lost():
    """Forty threads, three places, four thousand calls: never more than three at once, and none left behind."""
    made, lock, most = limits(max_in_flight=3), threading.Lock(), []
    busy = 0

    def work():
        nonlocal busy
        for _ in range(100):
            place = RateLimitSlot()
            if made.take(TARGET, 1, 0.0, place) == FOREVER:
                assert TARGET is made.wait((TARGET,), place, Deadline.after(30.0), FOREVER)
                made.take(TARGET, 1, 0.0, place)
            with lock:
                busy += 1
                most.append(busy)
            with lock:
                busy -= 1
            made.ended(place, None)

    in_threads(work, 40)
    status = made.status(TARGET, 0.0)

    assert (4000, True, 0, 0) == (len(most), max(most) <= 3, status.in_flight, status.waiting)


def test_no_place_is_lost_when_callers_give_up():
    """Forty threads that wait no longer than a millisecond: grants and give-ups cross, and in the end all places are free."""
    made = limits(max_in_flight=2)

    def work():
        for _ in range(50):
            place = RateLimitSlot()
            if made.take(TARGET, 1, 0.0, place) == FOREVER:
                with suppress(DeadlineExceeded):
                    made.wait((TARGET,), place, Deadline.after(0.001), FOREVER)
            made.give_back(place)

    in_threads(work, 40)
    status = made.status(TARGET, 0.0)

    assert (0, 0) == (status.in_flight, status.waiting)
    assert [RateLimitSlot, RateLimitSlot, FOREVER] == [type(taken(made)), type(taken(made)), taken(made)]


def test_a_forked_child_begins_with_nobody_in_flight():
    """The parent's calls are not its own; one that it inherits ends without an effect."""
    made = limits(max_in_flight=1)
    inherited = taken(made)
    child = os.fork()
    if child == 0:
        try:
            fine = isinstance(taken(made), RateLimitSlot)
            made.ended(inherited, None)
            os._exit(0 if fine and taken(made) == FOREVER else 1)
        finally:
            os._exit(2)

    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert FOREVER == taken(made)


def test_a_refusal_takes_a_part_away_once_a_round_trip():
    """Calls that were under way at the step back tell nothing new; one sent after it does."""
    made = limits(adaptive=AdaptiveConcurrency(initial=10))
    under_way = [taken(made) for _ in range(10)]
    for place in under_way:
        made.ended(place, RateLimitError("429", status=429))
    once = made.status(TARGET, 0.0).in_flight_limit
    made.ended(taken(made), VendorUnavailable("529", status=529))

    assert (7, 4) == (once, made.status(TARGET, 0.0).in_flight_limit)


@pytest.mark.parametrize(
    "error",
    [
        QuotaExceeded("spent", status=429),
        RateLimitError("our own", sent=False),
        VendorUnavailable("500", status=500),
        InvalidRequest("wrong", status=400),
        Cancelled("enough"),
    ],
)
def test_other_failures_take_nothing_away(error):
    """A spent quota is not more calls than there is room for, nor is what never left."""
    made = limits(adaptive=True)
    made.ended(taken(made), error)

    assert 8 == made.status(TARGET, 0.0).in_flight_limit


def test_a_window_of_successes_adds_one():
    """As long as it is made use of: a vendor that is hardly asked tells nothing of its capacity."""
    used, idle = limits(adaptive=AdaptiveConcurrency(initial=4)), limits(adaptive=AdaptiveConcurrency(initial=4))
    for _ in range(3):
        taken(used)
    for _ in range(SMALLEST_WINDOW):
        used.ended(taken(used), None)
        idle.ended(taken(idle), None)

    assert (5, 4) == (used.status(TARGET, 0.0).in_flight_limit, idle.status(TARGET, 0.0).in_flight_limit)


def test_it_stays_between_minimum_and_maximum():
    """And below the fixed limit, where there is one."""
    made = limits(max_in_flight=5, adaptive=AdaptiveConcurrency(initial=4, minimum=3))
    for _ in range(9):
        made.ended(taken(made), RateLimitError("429", status=429))
    low = made.status(TARGET, 0.0).in_flight_limit
    for _ in range(200):
        for place in [taken(made) for _ in range(low)]:
            made.ended(place, None)

    assert (3, 5) == (low, made.status(TARGET, 0.0).in_flight_limit)


class HiddenCapacity:
    """A vendor that takes a second for a call, and refuses within 50 ms what is more than it can do; callers always want more."""

    def __init__(self, made, clock):
        self.made, self.clock = made, clock
        self.capacity = 0
        self.busy, self.ends, self.number = 0, [], 0

    def run(self, seconds):
        """Answered and refused in that time."""
        end, told = self.clock.monotonic() + seconds, {None: 0, "refused": 0}
        while True:
            self._fill()
            at, _, place, error = heapq.heappop(self.ends)
            if at > end:
                heapq.heappush(self.ends, (at, self.number, place, error))
                self.number += 1
                self.clock.advance(end - self.clock.monotonic())
                return told[None], told["refused"]
            self.clock.advance(at - self.clock.monotonic())
            self.busy -= error is None
            told[None if error is None else "refused"] += 1
            self.made.ended(place, error)

    def _fill(self):
        now = self.clock.monotonic()
        while isinstance(place := self.made.take(TARGET, 1, now), RateLimitSlot):
            full = self.busy >= self.capacity
            self.busy += not full
            error = RateLimitError("too many", status=429) if full else None
            self.number += 1
            taken_for = 0.05 if full else 0.8 + 0.4 * (self.number % 11) / 10
            heapq.heappush(self.ends, (now + taken_for, self.number, place, error))


def shares(vendor, seconds):
    """What part of what it could do the vendor has done, and what part of the calls it has refused."""
    answered, refused = vendor.run(seconds)
    return answered / (vendor.capacity * seconds), refused / (answered + refused)


@pytest.mark.usefixtures("untraced")  # tens of thousands of calls
@pytest.mark.parametrize("capacity", [3, 5, 10, 20, 50, 100])
def test_it_finds_a_hidden_capacity(capacity):
    """In ten minutes of full demand: at least 80 % of what the vendor can do, at most 5 % of the calls refused."""
    made, clock = limits(adaptive=True), ManualClock()
    vendor = HiddenCapacity(made, clock)
    vendor.capacity = capacity
    vendor.run(120)
    done, refused = shares(vendor, 480)

    assert (True, True) == (done >= 0.8, refused <= 0.05), (done, refused)


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize(("before", "after"), [(20, 60), (60, 20), (40, 4), (4, 40)])
def test_it_follows_a_capacity_that_changes(before, after):
    """Two minutes after the change it is there again, and the change itself, up or down, costs few refusals."""
    made, clock = limits(adaptive=True), ManualClock()
    vendor = HiddenCapacity(made, clock)
    vendor.capacity = before
    vendor.run(300)
    vendor.capacity = after
    _, refused_at_once = shares(vendor, 120)
    done, refused = shares(vendor, 300)

    assert (True, True, True) == (done >= 0.8, refused <= 0.05, refused_at_once <= 0.1), (done, refused, refused_at_once)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max_in_flight": 0}, "max_in_flight"),
        ({"adaptive": "yes"}, "adaptive"),
        ({"adaptive": {"initial": 0}}, "adaptive.initial"),
        ({"adaptive": {"initial": 5, "maximum": 4}}, "adaptive.initial"),
        ({"adaptive": {"decrease": 1}}, "adaptive.decrease"),
        ({"storage": "memcached://:geheim@host"}, "storage"),
    ],
)
def test_a_wrong_setting_is_told(settings, named):
    """By its path, and without what may be a password."""
    with pytest.raises(ConfigError, match=named) as told:
        RateLimit(**settings)

    assert "geheim" not in str(told.value)
