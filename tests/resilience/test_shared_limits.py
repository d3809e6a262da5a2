"""Limits that processes share, on a real Redis server, and on those that fail: refused, mute, full, read-only."""

import logging
import multiprocessing
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from llmdispatcher import Config, ConfigError, Dispatcher, RateLimit, Request, VendorUnavailable
from llmdispatcher.catalog import Target
from llmdispatcher.resilience import Limits, RateLimitSlot
from llmdispatcher.resilience import shared_rate_limit as shared_limits
from llmdispatcher.resilience.shared_rate_limit import REST, SharedLimits
from llmdispatcher.runtime import redis as clients
from llmdispatcher.testing import FakeVendor

from ..conftest import PATIENCE, SLACK
from ..threads import in_threads

pytest.importorskip("limits", reason="the extra 'limits' is not installed")
redis = pytest.importorskip("redis", reason="the extra 'limits' is not installed")

TARGET = Target(vendor="openai", model="m")
NOBODY = "redis://user:geheim@127.0.0.1:1/0"


@pytest.fixture
def server(redis_server, monkeypatch):
    """With patience for a machine that is busy: these tests are about counts, not about haste."""
    monkeypatch.setattr(shared_limits, "TIMEOUT", 10.0)
    monkeypatch.setattr(shared_limits, "PATIENCE", 10.0)
    client = redis.Redis.from_url(redis_server.url)
    client.flushall()
    yield redis_server
    client.flushall()
    client.close()


@pytest.fixture
def admin(server):
    client = redis.Redis.from_url(server.url)
    yield client
    client.close()


@pytest.fixture
def opened():
    """Limits that are closed when the test is over."""
    made = []

    def make(address, **settings):
        limits = Limits(address)
        limits.set("openai", RateLimit(**settings))
        made.append(limits)
        return limits

    yield make
    for limits in made:
        limits.close()


MOMENT = 0.02
"""Seconds at the least between a call and a reset: what is taken within a few milliseconds before it may count."""


def take(limits, tokens=1, now=100.0):
    return limits.take(TARGET, tokens, now)


def kinds(taken):
    """Places, and whether the wait is about a minute: the server's clock goes on while a busy machine asks."""
    return ["place" if isinstance(each, RateLimitSlot) else 30.0 < each - 100.0 <= 60.0 + SLACK for each in taken]


def test_two_share_one_count(server, opened):
    """As two processes would; whoever is refused hears when there may be a place."""
    first, second = (opened(server.url, requests_per_minute=3) for _ in range(2))

    assert ["place", "place", "place", True, True] == kinds(take(limits) for limits in (first, second, first, second, first))


def test_tokens_are_shared(server, opened):
    """A call counts as many as it is estimated to use; one larger than the limit goes when it is alone."""
    first, second = (opened(server.url, tokens_per_minute=100) for _ in range(2))
    large = opened(server.url, tokens_per_minute=50)

    assert ["place", "place", "place"] == kinds([take(first, 60), take(second, 40), take(large, 500)])
    assert all(isinstance(take(limits, 20), float) for limits in (first, second, large))


def test_a_refused_request_keeps_no_tokens(server, opened):
    """What was taken of one limit is given back where the other has no place."""
    first, second = (opened(server.url, requests_per_minute=1, tokens_per_minute=100) for _ in range(2))
    take(first, 10)
    refused = take(second, 50)

    assert (True, 90) == (isinstance(refused, float), second.status(TARGET, 100.0).tokens_remaining)


@pytest.mark.parametrize(("used", "left"), [(10, 90), (95, 5), (500, 0)])
def test_what_was_really_used_takes_the_place_of_the_estimate(server, opened, used, left):
    """For all processes: fewer, more, or more than there is."""
    first, second = (opened(server.url, tokens_per_minute=100) for _ in range(2))
    first.settle(take(first, 60), used, 100.0)

    assert left == second.status(TARGET, 101.0).tokens_remaining


def test_an_estimate_of_a_minute_that_is_over_is_not_corrected(server, opened):
    """It counts less and less by itself; to take it off the minute that runs would let too much through."""
    first, second = (opened(server.url, tokens_per_minute=100) for _ in range(2))
    first.settle(take(first, 60), 10, 100.0 + 150.0)

    assert 40 == second.status(TARGET, 100.0).tokens_remaining


def test_a_call_that_was_not_made_gives_its_place_back(server, opened):
    """Request and tokens, for all processes."""
    first, second = (opened(server.url, requests_per_minute=1, tokens_per_minute=100) for _ in range(2))
    first.give_back(take(first, 60), 100.1)
    status = second.status(TARGET, 100.1)

    assert (1, 100) == (status.requests_remaining, status.tokens_remaining)


def test_the_wait_for_tokens_is_long_enough(server, opened, admin):
    """With a minute that runs and one before: what it tells is when there is room, not before."""
    limits = opened(server.url, tokens_per_minute=100)
    take(limits, 80)
    current = next(key for key in admin.keys("*tokens*") if not key.endswith(b"/-1"))
    admin.pexpire(current, 90_000)  # half of its minute is over
    alone = take(opened(server.url, tokens_per_minute=100), 60) - 100.0
    admin.pexpire(current, 30_000)  # as if it had been over for half a minute: 40 of the 80 count
    other = take(opened(server.url, tokens_per_minute=100), 80) - 100.0

    assert (pytest.approx(60.0, abs=0.2), pytest.approx(15.0, abs=0.2)) == (alone, other)


def test_the_status_tells_what_all_have_left(server, opened):
    """Not just what this process has used; and that the count is shared."""
    first, second = (opened(server.url, requests_per_minute=10, tokens_per_minute=100) for _ in range(2))
    take(first, 30)
    take(second, 20)
    status = first.status(TARGET, 100.0)

    assert (8, 50, True) == (status.requests_remaining, status.tokens_remaining, status.shared)


def _worker(address, barrier, results):
    limits = Limits(address)
    limits.set("openai", RateLimit(requests_per_minute=100))
    counted, lock = [], threading.Lock()

    def work():
        for _ in range(25):
            if isinstance(limits.take(TARGET, 1, time.monotonic()), RateLimitSlot):
                with lock:
                    counted.append(1)

    barrier.wait(PATIENCE)
    in_threads(work, 4)
    results.put((len(counted), limits.status(TARGET, time.monotonic()).shared))
    limits.close()


def test_four_processes_together_never_exceed_the_limit(server):
    """Each with four threads, each wanting the whole limit for itself: exactly the limit is taken."""
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(4), context.Queue()
    workers = [context.Process(target=_worker, args=(server.url, barrier, results)) for _ in range(4)]
    for worker in workers:
        worker.start()
    told = [results.get(timeout=30) for _ in workers]
    for worker in workers:
        worker.join(PATIENCE)

    assert (100, [True] * 4) == (sum(count for count, _ in told), [shared for _, shared in told])


def test_a_forked_child_has_a_client_of_its_own(server, opened):
    """The parent's is not spoken on, and works on; both count together."""
    limits = opened(server.url, requests_per_minute=2)
    assert isinstance(take(limits), RateLimitSlot)
    child = os.fork()
    if child == 0:
        try:
            fine = isinstance(take(limits), RateLimitSlot) and len(clients._inherited) == 1
            os._exit(0 if fine else 1)
        finally:
            os._exit(2)

    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert isinstance(take(limits), float)


def test_a_server_that_is_down_leaves_each_process_its_own_count(opened, caplog):
    """No exception; told once, by its class, without the password."""
    limits = opened(NOBODY, requests_per_minute=2)
    with caplog.at_level(logging.WARNING):
        taken = [take(limits, now=100.0 + step) for step in (0, 6, 12)]

    assert ["place", "place", True] == kinds(taken)
    assert (False, 1) == (limits.status(TARGET, 112.0).shared, len(caplog.records))
    assert "geheim" not in caplog.text


@pytest.fixture
def mute():
    """A port that takes connections and says nothing; ``asked`` counts them."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        listening.setblocking(False)
        yield Mute(listening)


class Mute:
    def __init__(self, listening):
        self._listening = listening
        self.url = f"redis://127.0.0.1:{listening.getsockname()[1]}/0"

    def asked(self):
        """How many connections have come since it was last asked."""
        count = 0
        with suppress(BlockingIOError):
            while True:
                self._listening.accept()[0].close()
                count += 1
        return count


def test_a_mute_server_costs_a_tenth_of_a_second_once_per_rest(opened, mute):
    """And not once per call: the others ask nobody. The tenth is what each operation on the socket is given."""
    limits = opened(mute.url, requests_per_minute=1000, tokens_per_minute=10**6)
    asked, seconds = [], []
    for now in (100.0, 100.1, 102.0, 100.0 + REST + 0.1):
        begun = time.perf_counter()
        assert isinstance(take(limits, now=now), RateLimitSlot)
        seconds.append(time.perf_counter() - begun)
        asked.append(mute.asked())

    assert [1, 0, 0, 1] == asked
    assert shared_limits.TIMEOUT <= 0.1
    assert max(seconds) < SLACK, seconds


def test_a_call_near_its_deadline_is_not_held_up(opened, mute):
    """It goes by its own process's count, and does not wait for a server that may be mute."""
    limits = opened(mute.url, requests_per_minute=2)
    taken = [limits.take(TARGET, 1, 100.0, RateLimitSlot(until=100.05)) for _ in range(3)]

    assert (["place", "place", True], 0) == (kinds(taken), mute.asked())


def test_after_its_rest_one_call_alone_tries(mute):
    """The others go on with their own count meanwhile."""
    shared, limit, barrier = SharedLimits(mute.url), RateLimit(requests_per_minute=9), threading.Barrier(20)
    shared.take("k", limit, 1, 100.0)
    before = mute.asked()

    def ask():
        barrier.wait(PATIENCE)
        shared.take("k", limit, 1, 200.0)

    in_threads(ask, 20)
    shared.close()

    assert (1, 1) == (before, mute.asked())


def test_a_server_that_is_slow_again_and_again_rests(server, opened, monkeypatch):
    """One late answer, as on a busy machine, is as good as any."""
    limits = opened(server.url, requests_per_minute=50)
    monkeypatch.setattr(shared_limits, "PATIENCE", 0.0)
    shared = [limits.status(TARGET, 100.0).shared for _ in range(4)]

    assert [True, True, True, False] == shared


@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_a_server_that_takes_nothing_is_as_good_as_down(server, opened, admin, trouble):
    """Out of memory, or a replica; and it is used again when it is well."""
    limits = opened(server.url, requests_per_minute=5)
    if trouble == "full":
        admin.config_set("maxmemory", 1)
    else:
        admin.replicaof("127.0.0.1", 1)
    try:
        taken = take(limits)
        ill = limits.status(TARGET, 101.0).shared
    finally:
        admin.config_set("maxmemory", 0)
        admin.replicaof("NO", "ONE")
    again = take(limits, now=100.0 + REST + 1)
    status = limits.status(TARGET, 100.0 + REST + 1)

    assert (RateLimitSlot, False, RateLimitSlot, True) == (type(taken), ill, type(again), status.shared)
    assert 3 == status.requests_remaining


def test_a_server_that_goes_and_comes_back(server, opened):
    """The count goes on alone, and together again after the rest."""
    limits = opened(server.url, requests_per_minute=50)
    take(limits)
    server.stop()
    try:
        alone = [type(take(limits, now=101.0)), limits.status(TARGET, 101.0).shared]
    finally:
        server.start()
    together = [type(take(limits, now=110.0)), limits.status(TARGET, 110.0).shared]

    assert ([RateLimitSlot, False], [RateLimitSlot, True]) == (alone, together)


def test_callers_wait_for_a_place_that_another_process_has(server, opened, admin):
    """Two dispatchers as in two processes: the second goes elsewhere while the minute is full."""
    vendors = [FakeVendor("mine", name="openai"), FakeVendor("other", name="b")]
    vendors[0].rate_limit = RateLimit(requests_per_minute=2)
    made = Dispatcher(Config(limits_storage=server.url))
    for vendor in vendors:
        made.register_vendor(vendor)
    elsewhere = opened(server.url, requests_per_minute=2)
    take(elsewhere, now=time.monotonic())
    answers = [made.send(Request("m", "hi")).content for _ in range(3)]
    status = made.get_rate_limit_status("openai")
    made.close()

    assert (["mine", "other", "other"], 0, True) == (answers, status.requests_remaining, status.shared)


@pytest.mark.parametrize("settings", [{"storage": NOBODY}, {}])
def test_without_the_extra_it_is_a_mistake_of_the_configuration(monkeypatch, settings):
    """Told before the first call, with what to install."""
    monkeypatch.setattr(shared_limits, "find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=r"install llmdispatcher\[limits\]"):
        Limits(None if settings else NOBODY).set("openai", RateLimit(**settings))


def test_a_wrong_address_is_told_without_its_password():
    """By the field, not by the value."""
    with pytest.raises(ConfigError, match="storage") as told:
        Limits("redis://user:geheim#1@host")

    assert "geheim" not in str(told.value)


DAYS = {"requests_per_day": 5, "input_tokens_per_day": 100, "output_tokens_per_minute": 60}


def test_days_and_both_kinds_of_tokens_are_shared(server, opened):
    """Two that count together; an estimate is replaced, and what was not sent is given back, in all rules at once."""
    first, second = (opened(server.url, **DAYS) for _ in range(2))
    place = first.take(TARGET, 70, 100.0, output=30)
    assert isinstance(second.take(TARGET, 30, 100.0, output=20), RateLimitSlot)
    assert 0 < second.take(TARGET, 20, 100.0, output=20) - 100 <= 60  # of output, of which 50 are taken
    second.give_back(second.take(TARGET, 50, 100.0, output=0), 100.0)
    first.settle(place, 100, 101.0, 10)
    assert isinstance(second.take(TARGET, 30, 101.0, output=30), RateLimitSlot)
    left = {one.unit: one.remaining for one in first.status(TARGET, 101.0).windows}
    assert {"requests": 2, "input_tokens": 0, "output_tokens": 0} == left
    wait = second.take(TARGET, 1, 101.0) - 101.0
    assert 86_000 <= wait <= 86_400


def test_what_has_left_its_period_counts_no_more(server, opened, admin):
    """The oldest grain goes as a whole; the hash ends with the longest period."""
    limits = opened(server.url, requests_per_day=2)
    for _ in range(2):
        assert isinstance(take(limits), RateLimitSlot)
    (key,) = admin.keys("*rules*")
    assert 86_400_000 < admin.pttl(key) <= 86_761_000
    _forget_own(limits)
    ((field, value),) = [(name, held) for name, held in admin.hgetall(key).items() if name != b"began"]
    used, last = value.decode().split(":")
    for age, has_place in ((86_000, False), (86_401, True)):
        admin.delete(key)
        admin.hset(key, field, f"{used}:{float(last) - age}")
        assert has_place == isinstance(take(limits), RateLimitSlot), age
        _forget_own(limits)


def _forget_own(limits):
    """Have the process itself count nothing."""
    for count in limits._counts.values():
        count.clear()


def test_one_of_all_processes_warns(server):
    """Once in a period, with what all have used; also where the minute is limited alone."""
    for settings, most in (({"requests_per_day": 10}, 10), ({"requests_per_minute": 8}, 8)):
        warnings = []
        several = [Limits(server.url, warn=warnings.append) for _ in range(2)]
        for limits in several:
            limits.set(f"v{most}", RateLimit(warn_at=0.5, **settings))
        for number in range(most):
            assert isinstance(several[number % 2].take(Target(vendor=f"v{most}", model="m"), 1, 100.0), RateLimitSlot)
        assert isinstance(several[0].take(Target(vendor=f"v{most}", model="m"), 1, 100.0), float)
        (warning,) = warnings
        assert (most, most // 2) == (warning.limit, warning.used)
        for limits in several:
            limits.close()


def test_a_reset_holds_for_all(server, opened):
    """Of the limits of a minute, too."""
    for settings in ({"requests_per_day": 1}, {"requests_per_minute": 1, "tokens_per_minute": 10}):
        first, second = (opened(server.url, **settings) for _ in range(2))
        assert ["place", True] == [kinds([take(first)])[0], isinstance(take(second), float)]
        second.reset("openai")
        assert isinstance(take(second), RateLimitSlot)
        first.reset("openai")


def test_what_was_taken_before_a_reset_is_not_settled(server, opened):
    """It would be taken off what others have taken since."""
    first, second, third = (opened(server.url, tokens_per_day=100) for _ in range(3))
    before = take(first, 90)
    second.reset("openai")
    assert isinstance(take(second, 60), RateLimitSlot)
    first.settle(before, 5, 100.0)

    assert 40 == third.status(TARGET, 100.0).windows[0].remaining


@pytest.mark.parametrize(("estimate", "used"), [(30, 90), (90, 5), (40, None)], ids=["more", "less", "not made"])
def test_what_was_taken_before_a_reset_leaves_the_new_minute_alone(server, opened, estimate, used):
    """Whichever process resets, and whether more or less was used, or the call was not made; what was taken since is settled."""
    first, second, third = (opened(server.url, requests_per_minute=10, tokens_per_minute=100) for _ in range(3))
    before = take(first, estimate, time.monotonic())
    time.sleep(MOMENT)
    second.reset("openai")
    after = take(second, 60, time.monotonic())
    first.settle(before, used, time.monotonic()) if used is not None else first.give_back(before, time.monotonic())
    left = [limits.status(TARGET, time.monotonic()) for limits in (first, second, third)]
    second.settle(after, 20, time.monotonic())
    later = first.status(TARGET, time.monotonic())

    assert [(9, 40)] * 3 == [(status.requests_remaining, status.tokens_remaining) for status in left]
    assert (9, 80) == (later.requests_remaining, later.tokens_remaining)


@pytest.mark.parametrize("settings", [{"requests_per_minute": 1}, {"tokens_per_minute": 1}, {"requests_per_day": 1}])
def test_a_reset_by_another_process_frees_this_one(server, opened, settings):
    """It counts nothing from before the reset any more, and what it takes then counts."""
    first, second = (opened(server.url, **settings) for _ in range(2))
    assert isinstance(take(first, now=time.monotonic()), RateLimitSlot)
    assert isinstance(take(first, now=time.monotonic()), float)
    time.sleep(MOMENT)
    second.reset("openai")
    assert isinstance(take(first, now=time.monotonic()), RateLimitSlot)
    assert all(isinstance(take(limits, now=time.monotonic()), float) for limits in (first, second))


@pytest.mark.parametrize("settings", [{"requests_per_minute": 5, "tokens_per_minute": 100}, {"requests_per_day": 5}])
def test_the_status_tells_when_the_oldest_count_of_all_is_forgotten(server, opened, settings):
    """Also in a process that has asked nothing; 0 where nobody has."""
    first, second = (opened(server.url, **settings) for _ in range(2))

    def resets():
        status = second.status(TARGET, 100.0)
        return [status.reset] if not status.windows else [one.reset for one in status.windows]

    nobody = resets()
    take(first, 30)
    (since,) = resets()

    assert [0.0] == nobody
    most = 60 if "requests_per_minute" in settings else 86_400
    assert most - 30 < since <= most


def test_a_reset_that_the_server_does_not_take_is_an_error(opened):
    """Else it would hold in this process alone."""
    with pytest.raises(VendorUnavailable, match="'openai' is not reset: its Redis server fails"):
        opened(NOBODY, requests_per_day=1).reset("openai")


def test_without_the_server_each_process_counts_days_for_itself(opened):
    """As minutes are."""
    limits = opened(NOBODY, requests_per_day=2)
    assert ["place", "place", True] == [*kinds([take(limits), take(limits)]), isinstance(take(limits), float)]


def _take_of_a_day(address, counted):
    limits = Limits(address)
    limits.set("openai", RateLimit(requests_per_day=50, tokens_per_day=200))
    with ThreadPoolExecutor(8) as threads:
        places = list(threads.map(lambda _: limits.take(TARGET, 3, time.monotonic()), range(40)))
    counted.put(len([place for place in places if isinstance(place, RateLimitSlot)]))
    limits.close()


def test_processes_and_threads_never_exceed_a_day(server, opened):
    """Of many calls exactly as many go as there is room for."""
    spawn = multiprocessing.get_context("fork")
    counted = spawn.SimpleQueue()
    children = [spawn.Process(target=_take_of_a_day, args=(server.url, counted)) for _ in range(3)]
    for child in children:
        child.start()
    assert 50 == sum(counted.get() for _ in children)
    for child in children:
        child.join(PATIENCE)
