"""Limits of each of several keys, by a clock that is moved by hand; keys are numbers here, and nothing else is known of them."""

import math
import threading

import pytest

from llmdispatcher import ConfigError, Deadline, RateLimit, RateLimitError, RateLimitRemaining
from llmdispatcher.catalog import Target
from llmdispatcher.resilience import Limits, RateLimitSlot

from ..conftest import PATIENCE
from ..threads import in_threads

TARGET = Target(vendor="openai", model="m")
OTHER = Target(vendor="openai", model="other")
REFUSED = RateLimitError("slow down", status=429)


class Keys:
    """So many keys, of which some rest."""

    def __init__(self, count=2):
        self.key_count = count
        self.resting = set()

    def awake_keys(self):
        return tuple(number for number in range(1, self.key_count + 1) if number not in self.resting) or (1,)


def limits(keys=None, **settings):
    made = Limits()
    made.set("openai", RateLimit(per_key=True, **settings), Keys() if keys is None else keys)
    return made


def numbers(made, times, now=0.0, tokens=1):
    """The keys of so many calls, or when there may be a place."""
    taken = [made.take(TARGET, tokens, now) for _ in range(times)]
    return [each.key if isinstance(each, RateLimitSlot) else each for each in taken]


def test_the_next_key_is_taken_when_one_is_used_up():
    """Each has a minute of its own."""
    made = limits(requests_per_minute=2)

    assert [1, 1, 2, 2, 60.0] == numbers(made, 5)


def test_tokens_are_counted_by_key():
    """A call goes where it fits."""
    made = limits(tokens_per_minute=100)

    assert [1, 2] == numbers(made, 2, tokens=60)
    assert [1, 2, 60.0] == numbers(made, 3, tokens=40)


def test_the_wait_is_for_the_key_that_is_ready_first():
    """Not for the first of them."""
    made = limits(requests_per_minute=1)
    numbers(made, 1, now=0.0)
    numbers(made, 1, now=10.0)

    assert [60.0] == numbers(made, 1, now=20.0)
    assert [1, 70.0] == numbers(made, 2, now=60.0)


def test_a_key_that_rests_is_not_taken():
    """Whatever its limits would allow."""
    keys = Keys(3)
    keys.resting = {1}

    assert [2, 3, 60.0] == numbers(limits(keys, requests_per_minute=1), 3)


def test_the_vendors_word_is_of_the_key_that_it_was_said_to():
    """The others are as free as before."""
    made = limits()
    made.note_remaining(TARGET, RateLimitRemaining(requests=0, requests_reset=8.0), 0.0, 1)

    assert [2, 2] == numbers(made, 2)
    assert [1] == numbers(made, 1, now=9.0)


def test_a_refused_call_goes_on_with_another_key():
    """The refused one has used a request there and no tokens, the other has what the call is estimated to cost."""
    made = limits(requests_per_minute=5, tokens_per_minute=100)
    place = made.take(TARGET, 30, 0.0)
    moved = made.move(place, TARGET, (2,), REFUSED, 1.0)
    made.settle(place, 20)
    first, second = made.status(TARGET, 1.0).keys

    assert (2, 2) == (moved, place.key)
    assert [(4, 100), (4, 80)] == [(key.requests_remaining, key.tokens_remaining) for key in (first, second)]


def test_no_key_is_asked_beyond_its_limit_after_a_refusal():
    """The call then fails over or waits."""
    made = limits(requests_per_minute=1)
    first, _ = made.take(TARGET, 1, 0.0), made.take(TARGET, 1, 0.0)

    assert made.move(first, TARGET, (2,), REFUSED, 1.0) is None
    assert (0, 0) == tuple(key.requests_remaining for key in made.status(TARGET, 1.0).keys)


def test_the_status_is_of_all_and_of_each():
    """The sum first, and the keys by their numbers."""
    made = limits(Keys(3), requests_per_minute=10, tokens_per_minute=100, max_in_flight=1)
    numbers(made, 2, tokens=30)
    status = made.status(TARGET, 15.0)

    assert (30, 28, 300, 240, 45.0) == (
        status.requests_limit,
        status.requests_remaining,
        status.tokens_limit,
        status.tokens_remaining,
        status.reset,
    )
    assert (3, 2, 0) == (status.in_flight_limit, status.in_flight, status.waiting)
    assert [9, 9, 10] == [key.requests_remaining for key in status.keys]
    assert [1, 1, 0] == [key.in_flight for key in status.keys]


def test_what_has_no_limit_has_no_sum():
    """Nor what one key alone was told of."""
    made = limits()
    made.note_remaining(TARGET, RateLimitRemaining(requests=3, requests_reset=8.0), 0.0, 1)
    status = made.status(TARGET, 0.0)

    assert (None, None, None) == (status.requests_limit, status.requests_remaining, status.in_flight_limit)
    assert [3, None] == [key.requests_remaining for key in status.keys]


@pytest.mark.parametrize("keys", [None, Keys(0), Keys(1)], ids=["none", "no list", "one"])
def test_without_several_keys_there_is_one_count(keys):
    """As without the setting."""
    made = Limits()
    made.set("openai", RateLimit(per_key=True, requests_per_minute=1), keys)

    assert [None, 60.0] == numbers(made, 2)
    assert () == made.status(TARGET, 0.0).keys


def test_without_the_setting_keys_share_a_count():
    """As vendors count that count by account."""
    made = Limits()
    made.set("openai", RateLimit(requests_per_minute=1), Keys())

    assert [None, 60.0] == numbers(made, 2)


def test_each_model_of_each_key_can_count_for_itself():
    """Both settings together."""
    made = limits(per_model=True, requests_per_minute=1)
    numbers(made, 1)

    assert [1, 2, 60.0] == [getattr(taken, "key", taken) for taken in [made.take(OTHER, 1, 0.0) for _ in range(3)]]


def test_calls_in_flight_are_counted_by_key():
    """Three of two keys: the third waits, and gets the place that is free first."""
    made = limits(max_in_flight=1)
    first, second, third = made.take(TARGET, 1, 0.0), made.take(TARGET, 1, 0.0), RateLimitSlot()
    full = made.take(TARGET, 1, 0.0, third)
    waiter = threading.Thread(target=lambda: made.wait((TARGET,), third, Deadline.after(30), math.inf))
    waiter.start()
    while made.status(TARGET, 0.0).waiting != 1:
        threading.Event().wait(0.001)
    made.ended(second, None)
    waiter.join(PATIENCE)
    taken = made.take(TARGET, 1, 0.0, third)

    assert (1, 2, math.inf) == (first.key, second.key, full)
    assert (third, 2) == (taken, third.key)
    assert [1, 1] == [key.in_flight for key in made.status(TARGET, 0.0).keys]


def test_who_waits_for_a_place_in_flight_does_not_stand_before_a_key_that_is_used_up():
    """There is room, but no request left in its minute."""
    made = limits(max_in_flight=1, requests_per_minute=1)
    first, second, third = made.take(TARGET, 1, 0.0), made.take(TARGET, 1, 30.0), RateLimitSlot()
    made.ended(second, None)
    waits = [made.take(TARGET, 1, 61.0, third)]  # the first key's minute is over, its call is not
    waiter = threading.Thread(target=lambda: waits.append(made.wait((TARGET,), third, Deadline.after(30), math.inf)))
    waiter.start()
    while made.status(TARGET, 61.0).waiting != 1:
        threading.Event().wait(0.001)
    made.ended(first, None)
    waiter.join(PATIENCE)

    assert [math.inf, TARGET] == waits
    assert 1 == made.take(TARGET, 1, 61.0, third).key


def test_a_place_of_a_key_that_was_laid_to_rest_is_given_back():
    """Between the wait and the turn."""
    keys = Keys()
    made, place = limits(keys, max_in_flight=1), RateLimitSlot()
    made.wait((TARGET,), place, Deadline.after(5), math.inf)
    keys.resting = {1}
    taken = made.take(TARGET, 1, 0.0, place)

    assert 2 == taken.key
    assert [0, 1] == [key.in_flight for key in made.status(TARGET, 0.0).keys]


def test_a_refusal_narrows_the_room_of_its_key_alone():
    """Adaptive concurrency follows each key."""
    made = limits(adaptive={"initial": 10})
    place = made.take(TARGET, 1, 0.0)
    made.move(place, TARGET, (2,), REFUSED, 1.0)

    assert [(7, 0), (10, 1)] == [(key.in_flight_limit, key.in_flight) for key in made.status(TARGET, 1.0).keys]


def test_a_place_that_was_moved_is_given_back_once():
    """And by the key that has it."""
    made = limits(max_in_flight=1, requests_per_minute=5)
    place = made.take(TARGET, 1, 0.0)
    made.move(place, TARGET, (2,), REFUSED, 1.0)
    for _ in range(2):
        made.give_back(place, 1.0)

    assert [(4, 0), (5, 0)] == [(key.requests_remaining, key.in_flight) for key in made.status(TARGET, 1.0).keys]


def test_threads_never_take_more_than_there_is():
    """A hundred at once, three keys with ten places each."""
    made, barrier, taken = limits(Keys(3), requests_per_minute=10), threading.Barrier(100), []

    def ask():
        barrier.wait()
        taken.append(made.take(TARGET, 1, 0.0))

    in_threads(ask, 100)
    keys = [place.key for place in taken if isinstance(place, RateLimitSlot)]

    assert [10, 10, 10] == [keys.count(number) for number in (1, 2, 3)]


def test_the_setting_is_a_flag():
    """Not a number of keys."""
    with pytest.raises(ConfigError, match="per_key"):
        RateLimit(per_key=2)


def test_processes_share_the_count_of_each_key(redis_server):
    """By its number; the keys themselves are nowhere on the server."""
    pytest.importorskip("limits", reason="the extra 'limits' is not installed")
    client = pytest.importorskip("redis").Redis.from_url(redis_server.url)
    client.flushall()
    both = [limits(requests_per_minute=1, storage=redis_server.url) for _ in range(2)]
    taken = [each for made in both for each in numbers(made, 1, now=100.0)]
    names, shared = client.keys(), both[0].status(TARGET, 100.0)
    for made in both:
        made.close()
    client.flushall()
    client.close()

    assert [1, 2] == taken
    assert [True, True] == [any(f"key{number}" in name.decode() for name in names) for number in (1, 2)]
    assert (0, True) == (shared.requests_remaining, shared.shared)
