"""The door: so many calls under way and no more, fair to those who wait, and every place comes back once."""

import contextlib
import os
import random
import threading

import pytest

from llmdispatcher import Admission, Cancelled, ConfigError, Deadline, Overloaded, Request
from llmdispatcher.resilience import AdmissionController
from llmdispatcher.resilience import admission_of as admission
from llmdispatcher.resilience.admission import MOST_CALLS
from llmdispatcher.runtime import SYSTEM_CLOCK
from llmdispatcher.testing import ManualClock

from ..conftest import PATIENCE
from ..threads import in_threads
from ..turns import best_in_turns

ANYBODY = Request("m", "hi")


def of(user):
    return Request("m", "hi", user=user)


class Waiter(threading.Thread):
    """A call that enters, notes that it is in, and leaves when it is told to."""

    def __init__(self, door, request=ANYBODY, seconds=2 * PATIENCE, arrived=None, clock=SYSTEM_CLOCK):
        super().__init__(daemon=True)
        self.deadline = Deadline.after(seconds, clock=clock)
        self.request, self.arrived = request, arrived
        self.door, self.error = door, None
        self.go = threading.Event()

    def run(self):
        try:
            self.door.enter(self.request, self.deadline)
            if self.arrived is not None:
                self.arrived.append(self.request.user)
            assert self.go.wait(PATIENCE)
        except Exception as error:
            self.error = error
        finally:
            self.door.leave(self.deadline.cancellation)

    def begin(self, running, waiting):
        """Start, and be back when so many are under way and so many wait."""
        self.start()
        holds(self.door, running, waiting)
        return self


def holds(door, running, waiting):
    end = Deadline.after(5.0)
    while door.status() != (running, waiting):
        end.check()


def entered(door, seconds=30.0):
    """A call that is in, in this thread."""
    deadline = Deadline.after(seconds, clock=door._clock)
    door.enter(ANYBODY, deadline)
    return deadline.cancellation


def refused(door, **settings):
    with pytest.raises(Overloaded) as caught:
        entered(door, **settings)
    return caught.value


def door(clock=None, **settings):
    return AdmissionController(Admission(**settings), clock or SYSTEM_CLOCK)


def queue(made, *users, arrived, already=0):
    """One call after the other, of these users."""
    return [Waiter(made, of(user), arrived=arrived).begin(1, already + place + 1) for place, user in enumerate(users)]


def served(made, first, guests):
    """Let all go, one after the other."""
    made.leave(first)
    for guest in guests:
        guest.go.set()
    for guest in guests:
        guest.join(PATIENCE)


def test_so_many_and_no_more():
    """Whoever leaves makes room for one."""
    made = door(max_calls=2, max_wait=0)
    first = entered(made)
    entered(made)
    refused(made)
    made.leave(first)
    entered(made)

    assert (2, 1) == (made.status()[0], len(made._guests) - 1)


def test_a_call_leaves_once():
    """Of two that left twice there are not three places."""
    made = door(max_calls=2, max_wait=0)
    first, _ = entered(made), entered(made)
    made.leave(first)
    made.leave(first)
    entered(made)

    assert "2 calls are under way" in str(refused(made))


def test_a_wait_ends_when_it_has_lasted_long_enough():
    """On the clock, not before and not after; and the place in the line is given up."""
    clock = ManualClock()
    made = door(clock, max_calls=1, max_wait=12.5)
    entered(made)
    deadline = Deadline.after(60, clock=clock)
    with pytest.raises(Overloaded, match=r"for 12\.5 s no place was free"):
        made.enter(ANYBODY, deadline)

    assert (12.5, (1, 0), {0: 12.5}) == (sum(clock.sleeps), made.status(), {0: clock.monotonic() - 1_000.0})


@pytest.mark.parametrize("longest", [None, 100.0])
def test_a_wait_never_lasts_beyond_the_deadline(longest):
    """That is overload too: nobody was asked."""
    clock = ManualClock()
    made = door(clock, max_calls=1, max_wait=longest)
    entered(made)
    error = refused(made, seconds=7.0)

    assert (7.0, False, "unsent") == (sum(clock.sleeps), error.sent, error.failure_class)


def test_without_patience_nobody_waits():
    """``max_wait=0`` refuses at once."""
    clock = ManualClock()
    made = door(clock, max_calls=1, max_wait=0)
    entered(made)
    refused(made)

    assert [] == clock.sleeps


def test_overload_tells_when_to_come_back():
    """By how many wait, and how often a call ended in the last minute: here every two seconds."""
    clock = ManualClock()
    made = door(clock, max_calls=1, max_wait=0)
    first = entered(made)
    unknown = refused(made)
    made.leave(first)
    clock.advance(100)
    for _ in range(5):
        made.leave(entered(made))
        clock.advance(2.0)
    entered(made)

    assert (None, 2.0) == (unknown.retry_after, refused(made).retry_after)


def test_ends_of_long_ago_tell_nothing():
    """Only those of the last minute count."""
    clock = ManualClock()
    made = door(clock, max_calls=1, max_wait=0)
    made.leave(entered(made))
    clock.advance(61)
    entered(made)

    assert refused(made).retry_after is None


def test_who_comes_first_is_let_in_first():
    """And nobody who comes later overtakes."""
    made, arrived = door(max_calls=1), []
    first = entered(made)
    guests = [Waiter(made).begin(1, place + 1) for place in range(5)]
    for guest in guests:
        guest.arrived, guest.request = arrived, of(str(guests.index(guest)))
    served(made, first, guests)

    assert ["0", "1", "2", "3", "4"] == arrived


def test_tenants_are_let_in_by_turns():
    """A flood of one stands behind itself, not before the others; of each tenant the first comes first."""
    made, arrived = door(max_calls=1), []
    first = entered(made)
    flood = queue(made, *["flood"] * 5, arrived=arrived)
    small = queue(made, "small", "other", "small", arrived=arrived, already=5)
    served(made, first, [*flood, *small])

    assert ["flood", "small", "other", "flood", "small", "flood", "flood", "flood"] == arrived


def test_a_request_without_a_tenant_stands_in_a_line_too():
    """All of them in one."""
    made, arrived = door(max_calls=1), []
    first = entered(made)
    guests = queue(made, None, None, "somebody", arrived=arrived)
    served(made, first, guests)

    assert [None, "somebody", None] == arrived


@pytest.mark.parametrize(
    ("tenant", "request_of"),
    [
        (None, lambda name: Request("m", "hi", user=name)),
        ("team", lambda name: Request("m", "hi", metadata={"team": name})),
        (lambda request: [request.metadata["team"]], lambda name: Request("m", "hi", metadata={"team": name})),
    ],
    ids=["user", "metadata", "function"],
)
def test_whose_a_request_is(tenant, request_of):
    """Its user, a key of its metadata, or what a function says, also where that cannot be a key of a dict."""
    made, lines = door(max_calls=1, tenant=tenant), []
    first = entered(made)
    guests = [Waiter(made, request_of(name)).begin(1, place + 1) for place, name in enumerate(["a", "b", "a"])]
    lines = [len(line) for line in made._queue._lines.values()]
    served(made, first, guests)

    assert [2, 1] == lines


def test_a_tenant_function_that_fails_is_felt_by_nobody(caplog):
    """Such calls stand in one line; the log says it once, without what the function said."""
    made = door(max_calls=1, tenant=lambda request: request.metadata["secret"])
    first = entered(made)
    guests = [Waiter(made).begin(1, place + 1) for place in range(2)]
    served(made, first, guests)

    assert [None, None] == [guest.error for guest in guests]
    assert ["admission: its tenant function raised KeyError; such calls wait in one line"] == caplog.messages


def test_who_gives_up_leaves_the_line_of_his_tenant_whole():
    """The turn of the tenant stays."""
    made, arrived = door(max_calls=1), []
    first = entered(made)
    guests = queue(made, "a", "a", "b", arrived=arrived)
    guests[0].deadline.cancellation.cancel()
    guests[0].join(PATIENCE)
    served(made, first, guests[1:])

    assert (Cancelled, ["a", "b"]) == (type(guests[0].error), arrived)


def test_a_cancelled_wait_ends_at_once():
    """With the reason that was given; the line is as if it had never come."""
    made = door(max_calls=1)
    entered(made)
    guest = Waiter(made).begin(1, 1)
    guest.deadline.cancellation.cancel("enough")
    guest.join(PATIENCE)

    assert ("enough", (1, 0)) == (guest.error.message, made.status())


def test_a_place_that_comes_together_with_the_cancel_goes_on():
    """To the next in the line."""
    for _ in range(50):
        made = door(max_calls=1)
        first = entered(made)
        guest, second = Waiter(made).begin(1, 1), Waiter(made).begin(1, 2)
        both = threading.Barrier(2)
        canceller = threading.Thread(target=lambda both=both, guest=guest: (both.wait(), guest.deadline.cancellation.cancel()))
        canceller.start()
        both.wait()
        made.leave(first)
        canceller.join(PATIENCE)
        guest.go.set()
        second.go.set()
        guest.join(PATIENCE)
        second.join(PATIENCE)

        assert (None, (0, 0), {}) == (second.error, made.status(), made._guests)


def test_a_storm_of_threads_and_cancels_loses_no_place():
    """A hundred threads, each ten calls that end, are cancelled or come too late; never more than five are in."""
    made, inside, most = door(max_calls=5, max_wait=0.02), [], []
    start = threading.Barrier(100)

    def call(number):
        dice = random.Random(number)
        start.wait()
        for _ in range(10):
            deadline = Deadline.after(dice.choice([0.005, 5.0]))
            with contextlib.suppress(Overloaded, Cancelled):
                try:
                    cancel = threading.Thread(target=deadline.cancellation.cancel) if dice.random() < 0.3 else None
                    if cancel is not None:
                        cancel.start()
                    made.enter(of(str(number % 7)), deadline)
                    inside.append(number)
                    most.append(len(inside))
                    inside.remove(number)
                finally:
                    made.leave(deadline.cancellation)
                    if cancel is not None:
                        cancel.join()

    in_threads(call, range(100))

    assert ((0, 0), {}, 0, {}) == (made.status(), made._guests, len(made._room.seats), made._queue._lines)
    assert 0 < max(most) <= 5


def test_a_line_that_was_lost_on_the_way_is_joined_again(monkeypatch):
    """A signal may interrupt the one who moves it to the back; those in it look again now and then."""
    monkeypatch.setattr("llmdispatcher.resilience.admission._GLANCE", 0.02)
    made = door(max_calls=1)
    first = entered(made)
    guest = Waiter(made).begin(1, 1)
    made._queue.clear()
    holds(made, 1, 1)
    served(made, first, [guest])

    assert guest.error is None


def test_a_place_that_nobody_was_told_of_is_found(monkeypatch):
    """As above: a place was taken back, and the one who should hand it on was interrupted."""
    monkeypatch.setattr("llmdispatcher.resilience.admission._GLANCE", 0.02)
    made = door(max_calls=1)
    entered(made)
    guest = Waiter(made).begin(1, 1)
    made._room.seats.clear()
    holds(made, 1, 0)
    guest.go.set()
    guest.join(PATIENCE)

    assert guest.error is None


def test_a_forked_child_starts_empty():
    """Nobody of the parent's is in or waits there, and who entered in the parent frees nothing by leaving in the child."""
    made = door(max_calls=2, max_wait=0)
    first = entered(made)
    entered(made)
    child = os.fork()
    if child == 0:
        try:
            entered(made)
            made.leave(first)
            entered(made)
            refused(made)
            os._exit(0 if made.status() == (2, 0) else 2)
        except BaseException:
            os._exit(1)

    assert (0, (2, 0)) == (os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), made.status())


@pytest.mark.usefixtures("untraced")
def test_a_door_that_is_not_full_takes_no_time():
    """In and out cost no more than six pairs of a semaphore of the standard library, measured in turns; it is two (3 µs)."""
    made, semaphore = door(max_calls=50), threading.BoundedSemaphore(50)
    deadline = Deadline.after(30)

    def pass_through():
        made.enter(ANYBODY, deadline)
        made.leave(deadline.cancellation)

    def plain():
        semaphore.acquire()
        semaphore.release()

    through, acquired = best_in_turns(pass_through, plain)
    assert through < 6 * acquired


def test_the_setting_has_short_forms():
    """A number, True for what one process carries, or a dict."""
    assert [None, None, Admission(), Admission(max_calls=7), Admission(max_calls=7, max_wait=2)] == [
        admission(value) for value in (None, False, True, 7, {"max_calls": 7, "max_wait": 2})
    ]
    assert MOST_CALLS == Admission().max_calls == 2_000


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "admission.max_calls: 0 would let nothing through"),
        (-1, "admission.max_calls: -1 would let nothing through"),
        (2.5, "admission: float is not a Admission"),
        ("50", "admission: str is not a Admission"),
        ({"max_calls": True}, "admission.max_calls: True is not a whole number"),
        ({"max_wait": -1}, "admission.max_wait: -1 is not a number ≥ 0"),
        ({"max_wait": float("inf")}, "admission.max_wait: inf is not a number ≥ 0"),
        ({"tenant": ""}, "admission.tenant: '' names no tenant"),
        ({"tenant": 5}, "admission.tenant: 5 names no tenant"),
        ({"calls": 5}, "admission: unknown key 'calls'"),
    ],
)
def test_a_wrong_setting_is_named(value, said):
    """With its path and the remedy."""
    with pytest.raises(ConfigError) as caught:
        admission(value)

    assert str(caught.value).startswith(said)
