"""The cache as its dispatcher uses it, with entries in memory."""

import logging
from decimal import Decimal

import attrs
import pytest

from llmdispatcher import AttemptRecord, Cancelled, DispatchError, MalformedReply, Response, StreamChunk, VendorUnavailable
from llmdispatcher.cache.entry import CacheTarget
from llmdispatcher.types import fold

from .conftest import ANSWER, PLACE, REQUEST, Vendor, cache, cache_request, counts, in_threads

OTHER = CacheTarget("anthropic", "c", "anthropic")


def record(vendor="openai", model="m", error=None):
    return AttemptRecord(vendor=vendor, model=model, started=0.0, latency=1.0, error=error)


def test_the_second_answer_is_the_first(clock):
    """The vendor is asked once; the hit is marked, keeps its tokens and costs nothing."""
    made, vendor = cache(clock), Vendor()
    first, second = (made.send(cache_request(), vendor) for _ in range(2))

    assert (1, ANSWER) == (vendor.asked, first)
    assert ("Rayleigh.", True, 10, Decimal(0), "priced") == (
        second.content,
        second.cached,
        second.usage.total_tokens,
        second.usage.cost,
        second.usage.cost_status,
    )


def test_what_was_done_is_counted(clock):
    """With what was saved."""
    made, vendor = cache(clock), Vendor()
    for _ in range(4):
        made.send(cache_request(), vendor)

    assert {"hits": 3, "misses": 1, "stores": 1} == counts(made)
    assert (Decimal("0.75"), 0.75) == (made.stats().saved_cost, made.stats().hit_rate)


def test_nothing_done_is_no_rate():
    """And no division by zero."""
    assert 0.0 == cache().stats().hit_rate


def test_time_to_live(clock):
    """An answer is given until its time is over, to the second."""
    made, vendor = cache(clock, ttl=10), Vendor()
    made.send(cache_request(), vendor)
    clock.advance(9.9)
    before = made.send(cache_request(), vendor).cached
    clock.advance(0.1)

    assert (True, False) == (before, made.send(cache_request(), vendor).cached)


def test_a_requests_own_time_to_live(clock):
    """It is for the answer that this request stores."""
    made, vendor = cache(clock), Vendor()
    made.send(cache_request(attrs.evolve(REQUEST, cache={"ttl_seconds": 5})), vendor)
    clock.advance(5)

    assert not made.send(cache_request(), vendor).cached


def test_the_one_unused_for_longest_goes(clock):
    """When there are more than there may be."""
    made = cache(clock, max_entries=2)
    requests = [attrs.evolve(REQUEST, seed=number) for number in range(3)]
    for request in (requests[0], requests[1], requests[0], requests[2]):
        made.send(cache_request(request), Vendor())

    assert [True, False, True] == [made._store.get(made._slot(cache_request(request)).key) is not None for request in requests]
    assert 1 == counts(made)["evictions"]


@pytest.mark.parametrize("wish", [False, {"enabled": False}])
def test_a_request_may_stay_out(clock, wish):
    """It is neither answered from memory nor remembered."""
    made, vendor = cache(clock), Vendor()
    for _ in range(2):
        made.send(cache_request(attrs.evolve(REQUEST, cache=wish)), vendor)

    assert (2, {}) == (vendor.asked, counts(made))


@pytest.mark.parametrize(
    "answer",
    [
        attrs.evolve(ANSWER, finish_reason="length"),
        attrs.evolve(ANSWER, finish_reason="content_filter"),
        attrs.evolve(ANSWER, refusal="I will not."),
        attrs.evolve(ANSWER, content="x" * 2_000_000),
    ],
    ids=["length", "content_filter", "refusal", "large"],
)
def test_what_is_not_kept(clock, answer):
    """Incomplete answers, refusals, and what is too large."""
    made, vendor = cache(clock), Vendor(answer)

    assert [False, False] == [made.send(cache_request(), vendor).cached for _ in range(2)]


def test_an_error_is_not_kept(clock):
    """The next one asks again."""
    made = cache(clock)
    with pytest.raises(VendorUnavailable):
        made.send(cache_request(), Vendor(VendorUnavailable("down")))

    assert not made.send(cache_request(), Vendor()).cached


def test_tenants_never_share(clock):
    """The same question of another tenant is another question."""
    made, vendor = cache(clock, tenant="tenant"), Vendor()
    asked = [attrs.evolve(REQUEST, metadata={"tenant": name}) for name in ("a", "b", "a", "b")]

    assert [False, False, True, True] == [made.send(cache_request(request), vendor).cached for request in asked]


@pytest.mark.parametrize("metadata", [{}, {"tenant": None}, {"tenant": ""}, {"tenant": object()}])
def test_without_a_tenant_there_is_no_cache(clock, metadata):
    """Whoever forgot to say who it is for shares with nobody."""
    made, vendor = cache(clock, tenant="tenant"), Vendor()
    for _ in range(2):
        made.send(cache_request(attrs.evolve(REQUEST, metadata=metadata)), vendor)

    assert 2 == vendor.asked


def test_a_tenant_function_that_fails_is_no_failure_of_a_call(clock, caplog):
    """It is told, by its class, and the call goes on without a cache."""
    made, vendor = cache(clock, tenant=lambda request: request.metadata["secret"]), Vendor()
    made.send(cache_request(), vendor)

    assert (1, {"errors": 1}) == (vendor.asked, counts(made))
    assert "the response cache: its tenant function fails (KeyError)" in caplog.text
    assert "secret" not in caplog.text


def test_an_answer_is_kept_where_it_came_from(clock):
    """What another target answered in place of the first is not given as the first one's."""
    made, vendor = (
        cache(clock),
        Vendor(attrs.evolve(ANSWER, vendor="anthropic", trace=(record(error="X"), record("anthropic", "c")))),
    )
    made.send(cache_request(REQUEST, PLACE, OTHER), vendor)

    assert not made.send(cache_request(REQUEST, PLACE, OTHER), Vendor()).cached
    assert made.send(cache_request(REQUEST, OTHER), Vendor()).cached


def test_targets_that_share_the_calls_have_one_key(clock):
    """Whoever of them is asked first, and whoever answers; a target after them has its own."""
    twin, made = CacheTarget("azure", "m", "azure"), cache(clock)
    answered = attrs.evolve(ANSWER, trace=(record(),))
    made.send(cache_request(REQUEST, PLACE, twin, OTHER, alike=2), Vendor(answered))

    assert made.send(cache_request(REQUEST, twin, PLACE, OTHER, alike=2), Vendor()).cached
    assert not made.send(cache_request(REQUEST, OTHER), Vendor()).cached


def test_an_answer_from_nowhere_is_not_kept(clock):
    """A place that is not of the route has no key."""
    made, vendor = cache(clock), Vendor(attrs.evolve(ANSWER, trace=(record("another"),)))
    made.send(cache_request(), vendor)

    assert "stores" not in counts(made)


def test_a_model_that_names_itself_in_detail_is_known_by_its_target(clock):
    """The trace tells who was asked, not the answer."""
    made, vendor = cache(clock), Vendor(attrs.evolve(ANSWER, model="m-2026-01-01", trace=(record(),)))
    made.send(cache_request(), vendor)

    assert "m-2026-01-01" == made.send(cache_request(), vendor).model
    assert 1 == vendor.asked


def test_a_hit_is_settled_by_its_caller(clock):
    """``recall`` makes of it what the caller gets."""
    made = cache(clock)
    made.send(cache_request(), Vendor())

    assert 2.5 == made.send(cache_request(recall=lambda hit: attrs.evolve(hit, latency=2.5)), Vendor()).latency


def test_a_hit_that_does_not_pass_is_asked_for_again(clock):
    """Guards and forms may have become stricter since it was kept."""
    made, vendor = cache(clock), Vendor()
    made.send(cache_request(), vendor)

    def refuse(response):
        if response.cached:
            raise MalformedReply("another form")

    assert not made.send(cache_request(check=refuse), vendor).cached


def test_clearing(clock):
    """Nothing is known any more, nor what was asked before and answered after."""
    made, vendor = cache(clock), Vendor()
    made.send(cache_request(), vendor)
    cleared = made.clear()
    made.send(cache_request(), Vendor(lambda: made.clear() and ANSWER))

    assert (True, False) == (cleared, made.send(cache_request(), vendor).cached)


def test_a_miss_looks_once(clock):
    """A store may be a server far away; it is asked again only if an answer was kept here meanwhile."""
    made = cache(clock)
    asked = []
    get, made._store.get = made._store.get, lambda key: asked.append(key) or get(key)
    made.send(cache_request(), Vendor())
    made.send(cache_request(), Vendor())

    assert 2 == len(asked)


def test_an_answer_that_was_kept_between_the_look_and_the_lead_is_found(clock):
    """Whoever looked too early does not ask for what another has just brought."""
    made, vendor = cache(clock), Vendor()
    get = made._store.get

    def late(key):
        made._store.get = get
        found = get(key)
        made.send(cache_request(), vendor)
        return found

    made._store.get = late

    assert (True, 1) == (made.send(cache_request(), vendor).cached, vendor.asked)


def test_a_junk_entry_is_a_miss(clock, caplog):
    """Whatever somebody has put there."""
    made = cache(clock)
    made._store.put(made._slot(cache_request()).key, b'["Usage", {}]', 60)

    assert not made.send(cache_request(), Vendor()).cached
    assert "an entry fails" in caplog.text


def test_a_store_that_fails_is_felt_by_nobody(clock, caplog):
    """Every call is answered; the log has one line a minute, without what the error says."""
    made, vendor = cache(clock), Vendor()

    class Failing:
        def get(self, key):
            raise OSError("secret")

        put = clear = close = get

    made._store._store = Failing()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            made.send(cache_request(), vendor)
        clock.advance(60)
        made.send(cache_request(), vendor)
        made.close()

    assert (4, False) == (vendor.asked, made.clear())
    assert (2, False) == (len(caplog.records), "secret" in caplog.text)


def test_races_in_memory(clock):
    """32 threads that get, put and evict leave no more than there may be, and every answer is to its question."""
    made = cache(clock, max_entries=8)

    def work(number):
        for step in range(50):
            seed = (number * 7 + step) % 20
            request, answer = attrs.evolve(REQUEST, seed=seed), attrs.evolve(ANSWER, content=str(seed))
            assert str(seed) == made.send(cache_request(request), lambda answer=answer: answer).content
        return "done"

    assert ["done"] * 32 == in_threads(32, work)
    assert len(made._store._store._entries) <= 8


class Opened:
    """A stream that has begun, of some chunks."""

    vendor, model, movable = "openai", "m", True

    def __init__(self, chunks, error=None):
        self.batches = ([chunk] for chunk in chunks)
        self.close = self.batches.close
        self.error = error
        self.failed = None

    def finish(self, response):
        if self.error is not None:
            raise self.error
        return attrs.evolve(response, vendor="openai", usage=ANSWER.usage)

    def fail(self, error, partial):
        self.failed = error


CHUNKS = [StreamChunk(content="Ray", model="m"), StreamChunk(content="leigh."), StreamChunk(finish_reason="stop")]


def pumped(opened):
    """What the worker of a stream does: fold all batches, then settle."""
    chunks = [chunk for batch in opened.batches for chunk in batch]
    return chunks, opened.finish(fold(chunks))


def test_a_stream_is_kept_when_it_has_ended(clock):
    """And given again piece by piece, or whole: it is the same answer."""
    made = cache(clock)
    pumped(made.stream(cache_request(), lambda: Opened(CHUNKS)))
    replayed = made.stream(cache_request(), Vendor())
    chunks, whole = pumped(replayed)

    assert ("openai", "m") == (replayed.vendor, replayed.model)
    assert "Rayleigh." == "".join(chunk.content for chunk in chunks) == whole.content
    assert (True, whole) == (whole.cached, made.send(cache_request(), Vendor()))
    assert {"hits": 2, "misses": 1, "stores": 1} == counts(made)


def test_a_call_is_replayed_as_a_stream(clock):
    """The fold of its chunks is the answer that was kept."""
    made = cache(clock)
    made.send(cache_request(), Vendor())
    chunks, whole = pumped(made.stream(cache_request(), Vendor()))

    assert (ANSWER.content, ANSWER.finish_reason) == (fold(chunks).content, fold(chunks).finish_reason)
    assert Decimal(0) == fold(chunks).usage.cost == whole.usage.cost


@pytest.mark.parametrize(
    "opened",
    [Opened([StreamChunk(content="x"), StreamChunk(finish_reason="length")]), Opened(CHUNKS, MalformedReply("no JSON"))],
    ids=["length", "form"],
)
def test_a_stream_that_is_not_whole_is_not_kept(clock, opened):
    """Nor one whose answer is refused at its end."""
    made = cache(clock)
    try:
        pumped(made.stream(cache_request(), lambda: opened))
    except MalformedReply:
        assert opened.error is not None

    assert "stores" not in counts(made)


def test_a_stream_that_fails_is_not_kept(clock):
    """It is settled as it would be without a cache."""
    made, opened, error = cache(clock), Opened(CHUNKS), Cancelled("enough")
    made.stream(cache_request(), lambda: opened).fail(error, Response())

    assert (error, False) == (opened.failed, "stores" in counts(made))


def test_a_replay_that_is_stopped_is_settled(clock):
    """As failed, by its caller."""
    made, told = cache(clock), []
    made.send(cache_request(), Vendor())
    made.stream(cache_request(fail=told.append), Vendor()).fail(DispatchError("stopped"), Response())

    assert ["stopped"] == [error.message for error in told]


def test_a_stream_may_stay_out(clock):
    """It is the very one that was opened."""
    opened = Opened(CHUNKS)

    assert opened is cache(clock).stream(cache_request(attrs.evolve(REQUEST, cache=False)), lambda: opened)


def test_streams_do_not_wait_for_calls(clock):
    """One that comes while the same is asked for asks itself."""
    made = cache(clock)
    answer = made.send(cache_request(), lambda: pumped(made.stream(cache_request(), lambda: Opened(CHUNKS)))[1])

    assert (False, 2) == (answer.cached, counts(made)["misses"])
