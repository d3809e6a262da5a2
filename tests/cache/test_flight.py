"""Single flight: one asks, the others wait; whoever leads and fails hands on the lead."""

import itertools
import os
import threading

import attrs
import pytest

from llmdispatcher import Cancellation, Cancelled, Deadline, DeadlineExceeded, InvalidRequest, MalformedReply, VendorUnavailable
from llmdispatcher.cache.entry import CacheTarget
from llmdispatcher.testing import ManualClock

from .conftest import ANSWER, PATIENCE, PLACE, REQUEST, Vendor, cache, cache_request, counts, in_threads, until

COUNT = 32


def waiting(made):
    """How many wait in all flights of a cache."""
    return sum(len(leader.waiting) for leader in made._flights._leaders.values())


def herd(made, ask, count=COUNT, **settings):
    """Results of so many threads that all ask the same."""
    return in_threads(count, lambda _number: made.send(cache_request(**settings), ask))


class Held(Vendor):
    """A vendor that answers when it is let go; its first ``failures`` answers are errors."""

    def __init__(self, answer=ANSWER, failures=()):
        super().__init__(answer)
        self.go = threading.Event()
        self._failures = list(failures)

    def __call__(self):
        failure = self._failures.pop(0) if self._failures else None
        answer = super().__call__()
        assert self.go.wait(PATIENCE)
        if failure is not None:
            raise failure
        return answer


def led(made, vendor, count, ask=cache_request):
    """Start a herd, and let the vendor go when all the others wait."""
    threads = []
    results = []
    lock = threading.Lock()

    def run():
        try:
            result = made.send(ask(), vendor)
        except BaseException as error:
            result = error
        with lock:
            results.append(result)

    for _ in range(count):
        threads.append(threading.Thread(target=run, daemon=True))
        threads[-1].start()
    until(lambda: waiting(made) == count - 1)
    vendor.go.set()
    for thread in threads:
        thread.join(PATIENCE)
    return results


def test_one_asks_for_all():
    """32 at once: the vendor is asked once, and all have the answer; one of them has paid."""
    made, vendor = cache(), Held()
    results = led(made, vendor, COUNT)

    assert 1 == vendor.asked
    assert {"Rayleigh."} == {result.content for result in results}
    assert 1 == sum(not result.cached for result in results)
    assert ANSWER.usage.cost == sum(result.usage.cost for result in results)
    assert {"misses": 1, "shared": COUNT - 1, "stores": 1} == counts(made)


@pytest.mark.parametrize("round_", range(5))
def test_a_race_from_cold(round_):
    """However the threads fall, before, in or after the flight, the vendor is asked once."""
    made, vendor = cache(), Vendor()
    results = herd(made, vendor)

    assert (1, COUNT) == (vendor.asked, len([result for result in results if result.content == "Rayleigh."]))


def test_one_asks_for_all_whoever_is_first():
    """Of vendors that share the calls each call has another one first."""
    places = [PLACE, CacheTarget("azure", "m", "azure")]
    turns = itertools.count()
    made, vendor = cache(), Held()
    results = led(made, vendor, 4, lambda: cache_request(REQUEST, *sorted(places, reverse=next(turns) % 2 == 0), alike=2))

    assert (1, 4) == (vendor.asked, len(results))


def test_other_questions_do_not_wait():
    """Each key has a flight of its own."""
    made, held = cache(), Held()
    thread = threading.Thread(target=made.send, args=(cache_request(), held), daemon=True)
    thread.start()
    until(lambda: held.asked)

    assert not made.send(cache_request(attrs.evolve(REQUEST, seed=1)), Vendor()).cached
    held.go.set()
    thread.join(PATIENCE)


def test_a_failure_is_the_leaders_own():
    """The next one asks for itself and the rest; nobody is told of an error that he might not have had."""
    made, vendor = cache(), Held(failures=[VendorUnavailable("down"), InvalidRequest("no")])
    results = led(made, vendor, 8)
    errors = [type(result).__name__ for result in results if isinstance(result, Exception)]

    assert ["InvalidRequest", "VendorUnavailable"] == sorted(errors)
    assert (3, 6) == (vendor.asked, len(results) - len(errors))


def test_whatever_ends_the_leader_hands_on_the_lead():
    """Also what is no error of ours."""
    made, vendor = cache(), Held(failures=[KeyboardInterrupt()])
    results = led(made, vendor, 3)

    assert (1, 2) == (sum(isinstance(result, KeyboardInterrupt) for result in results), vendor.asked)


def test_all_may_fail():
    """Each once, each with an error of its own, and nothing is left behind."""
    made, vendor = cache(), Vendor(lambda: VendorUnavailable("down"))
    results = herd(made, vendor)

    assert (COUNT, COUNT) == (vendor.asked, len({id(result) for result in results}))
    assert {} == made._flights._leaders


def test_a_cancelled_leader_hands_on_the_lead():
    """His own wish is not the others'."""
    made, vendor, cancellation = cache(), Vendor(), Cancellation()
    deadline = Deadline.after(None, cancellation=cancellation)
    results = []

    def wait_for_cancel():
        deadline.sleep(PATIENCE)

    def lead():
        try:
            made.send(cache_request(deadline=deadline), wait_for_cancel)
        except Cancelled as error:
            results.append(error)

    threads = [threading.Thread(target=lead, daemon=True)]
    threads[0].start()
    until(lambda: made._flights._leaders)
    threads.append(threading.Thread(target=lambda: results.append(made.send(cache_request(), vendor)), daemon=True))
    threads[1].start()
    until(lambda: waiting(made) == 1)
    cancellation.cancel("enough")
    for thread in threads:
        thread.join(PATIENCE)

    assert (1, {"Cancelled", "Response"}) == (vendor.asked, {type(result).__name__ for result in results})


def follower(made, deadline, told):
    """A thread that waits in a flight, and where its end is put."""
    ended = []

    def run():
        try:
            ended.append(made.send(cache_request(deadline=deadline, fail=told.append), Vendor()))
        except Exception as error:
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    until(lambda: waiting(made) == 1)
    return thread, ended


def test_a_waiter_keeps_to_its_own_deadline():
    """It gives up, settles its call as failed, and the flight goes on without it."""
    clock = ManualClock(blocking=True)
    made, held, told = cache(clock), Held(), []
    leader = threading.Thread(target=made.send, args=(cache_request(clock=clock), held), daemon=True)
    leader.start()
    until(lambda: held.asked)
    thread, ended = follower(made, Deadline.after(5, clock=clock), told)
    assert clock.await_sleepers(timeout=PATIENCE)
    clock.advance(5)
    thread.join(PATIENCE)
    left = waiting(made)
    held.go.set()
    leader.join(PATIENCE)

    assert ([DeadlineExceeded], ended, 0) == ([type(error) for error in ended], told, left)


def test_a_waiter_can_be_cancelled():
    """At once, also without a deadline."""
    made, held, told, cancellation = cache(), Held(), [], Cancellation()
    leader = threading.Thread(target=made.send, args=(cache_request(), held), daemon=True)
    leader.start()
    until(lambda: held.asked)
    thread, ended = follower(made, Deadline.after(None, cancellation=cancellation), told)
    cancellation.cancel("enough")
    thread.join(PATIENCE)
    held.go.set()
    leader.join(PATIENCE)

    assert [Cancelled] == [type(error) for error in ended] == [type(error) for error in told]


def test_an_answer_that_does_not_pass_is_not_shared():
    """Each that waits asks for itself, one after the other."""

    def refuse(_response):
        raise MalformedReply("no JSON")

    made, vendor = cache(), Vendor()
    results = herd(made, vendor, 6, check=refuse)

    assert (6, 6) == (vendor.asked, sum(not result.cached for result in results))
    assert {"misses": 6} == counts(made)


def test_an_answer_that_was_cut_off_is_shared_but_not_kept():
    """It is the answer to what all of them have just asked, but not worth an hour."""
    made, vendor = cache(), Held(attrs.evolve(ANSWER, finish_reason="length"))
    results = led(made, vendor, 4)

    assert (1, {"length"}) == (vendor.asked, {result.finish_reason for result in results})
    assert not made.send(cache_request(), vendor).cached


def test_an_answer_that_is_no_json_is_shared_but_not_kept():
    """A vendor of the user's own put an object there."""
    odd = attrs.evolve(ANSWER, usage=attrs.evolve(ANSWER.usage, raw={"x": object()}))
    made, vendor = cache(), Held(odd)
    results = led(made, vendor, 4)

    assert (1, 3, "Rayleigh.") == (vendor.asked, sum(result.cached for result in results), results[0].content)
    assert "stores" not in counts(made)


def test_a_leader_that_asks_again_does_not_wait_for_itself():
    """A vendor may itself be made of a dispatcher."""
    made, vendor = cache(), Vendor()

    outer, inner = cache_request(seconds=PATIENCE), cache_request(seconds=PATIENCE)
    assert "Rayleigh." == made.send(outer, lambda: made.send(inner, vendor)).content


def test_a_forked_child_waits_for_nobody():
    """Who led at the fork does not exist in the child."""
    made, held = cache(), Held()
    leader = threading.Thread(target=made.send, args=(cache_request(), held), daemon=True)
    leader.start()
    until(lambda: held.asked)
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if made.send(cache_request(seconds=PATIENCE), Vendor()).content == "Rayleigh." else 1)
        finally:
            os._exit(2)
    held.go.set()
    leader.join(PATIENCE)

    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
