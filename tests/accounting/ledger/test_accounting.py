"""Whatever becomes of a call, its rows say so: one for the call, one for each vendor asked, and the sums of the day."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import attrs
import pytest
from sqlalchemy import select

from llmdispatcher import (
    AllTargetsFailed,
    Cancelled,
    Capabilities,
    Config,
    Dispatcher,
    DispatchError,
    Embeddings,
    Hedge,
    Ledger,
    LedgerError,
    Message,
    ModelNotFound,
    RateLimitError,
    Request,
    Response,
    ResponseCache,
    RetryPolicy,
    StreamChunk,
    StreamInterrupted,
    Usage,
    VendorUnavailable,
)
from llmdispatcher.accounting.ledger.call import MOST_METADATA, metadata_json
from llmdispatcher.accounting.ledger.schema import attempts, calls, daily
from llmdispatcher.runtime import SYSTEM_CLOCK, Clock
from llmdispatcher.testing import FakeVendor, ManualClock
from tests.cases import each

from ..conftest import IN_BOTH

SECRET = "the prompt that nobody may read"
ASK = Request("gpt-4o-mini", SECRET, max_tokens=100)
PRICE = Decimal("0.000210000001")
ANSWER = Response(
    content="SECRET ANSWER", usage=Usage(input_tokens=1000, output_tokens=100, cost=PRICE, cost_status="vendor_reported")
)


@pytest.fixture
def ledger(store: str) -> Iterator[Ledger]:
    """A ledger without rows, which is opened by its first."""
    with Ledger(store) as ledger:
        yield ledger


def made(ledger: Ledger, *vendors: FakeVendor, clock: Clock = SYSTEM_CLOCK, **settings: Any) -> Dispatcher:
    """A dispatcher that writes there."""
    dispatcher = Dispatcher(Config(retry_policy=RetryPolicy(max_retries=0), **settings), clock=clock, ledger=ledger)
    for vendor in vendors:
        dispatcher.register_vendor(vendor)
    return dispatcher


def rows(ledger: Ledger, table: Any = calls) -> list[Any]:
    """All rows of a table, in order, when everything has been written."""
    assert ledger.flush()
    with ledger.engine.connect() as connection:
        return list(connection.execute(select(table).order_by(*table.primary_key.columns)))


def sums_are_exact(ledger: Ledger) -> None:
    """The sums of the days are those of the rows."""
    found, kept = rows(ledger), rows(ledger, daily)
    assert len(found) == sum(row.calls for row in kept)
    assert Counter(row.status for row in found) == +Counter(
        {
            status: sum(getattr(row, status) for row in kept)
            for status in ("success", "error", "timeout", "rate_limited", "cancelled")
        }
    )
    for name in ("input_tokens", "output_tokens", "latency_us", "attempts"):
        assert sum(getattr(row, name) or 0 for row in found) == sum(getattr(row, name) for row in kept), name
    assert sum((row.cost or Decimal(0) for row in found), Decimal(0)) == sum((row.cost for row in kept), Decimal(0))


@IN_BOTH
def test_an_answer(ledger):
    """Who, what, when, how long, and what it cost, to the last picodollar."""
    dispatcher = made(ledger, FakeVendor(ANSWER, name="openai"), origin="shop")
    response = dispatcher.send(attrs.evolve(ASK, user="ann", id_at_origin="order-7", metadata={"team": "blue"}))
    (row,) = rows(ledger)
    (attempt,) = rows(ledger, attempts)

    assert response.trace.call_id == row.id == attempt.call_id
    assert ("shop", "order-7", "ann", None, "openai", "gpt-4o-mini", "success", None) == row[3:7] + row[8:12]
    assert (1000, 100, PRICE, "vendor_reported", response.usage.price_version) == (
        row.input_tokens,
        row.output_tokens,
        row.cost,
        row.cost_status,
        row.price_version,
    )
    assert ({"team": "blue"}, 1, False, False, False) == (row.metadata, row.attempts, row.streamed, row.cached, row.hedged)
    assert abs(row.latency_us / 1e6 - response.latency) < 0.05
    assert row.begun_at <= attempt.begun_at <= row.ended_at
    assert (1, "success", response.usage.cost, True) == (attempt.number, attempt.status, attempt.cost, attempt.sent)
    sums_are_exact(ledger)


def test_never_a_prompt_or_an_answer(ledger):
    """Nothing that was said is in any column, of failures neither, in whatever form it was said."""
    dispatcher = made(ledger, FakeVendor(ANSWER, ANSWER, DispatchError(f"vendor says: {SECRET}"), name="openai"))
    dispatcher.send(ASK)
    dispatcher.send(Request("m", [Message("user", SECRET)], metadata={"n": 1}))
    with pytest.raises(DispatchError):
        dispatcher.send(ASK)
    told = repr([rows(ledger), rows(ledger, attempts), rows(ledger, daily)])

    assert "prompt" not in told
    assert "SECRET" not in told


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (VendorUnavailable("x", status=503), "error"),
        (RateLimitError("x", status=429), "rate_limited"),
        (Cancelled("x"), "cancelled"),
    ],
)
def test_a_failure(ledger, error, status):
    """The class of the error and the vendor that failed."""
    with pytest.raises(type(error)):
        made(ledger, FakeVendor(error, name="openai")).send(ASK)
    (row,), (attempt,) = rows(ledger), rows(ledger, attempts)

    assert (status, type(error).__name__, "openai", None, None) == (
        row.status,
        row.error_class,
        row.vendor,
        row.cost,
        row.input_tokens,
    )
    assert (status, type(error).__name__, error.status) == (attempt.status, attempt.error_class, attempt.http_status)
    sums_are_exact(ledger)


def test_a_deadline(ledger):
    """A call that took too long is a time-out, which may have been billed."""
    with pytest.raises(DispatchError):
        made(ledger, FakeVendor("late", latency=5), clock=ManualClock()).send(ASK, timeout=0.5)

    assert ["timeout"] == [row.status for row in rows(ledger)]
    assert [("timeout", True)] == [(row.status, row.possibly_billed) for row in rows(ledger, attempts)]


@IN_BOTH
def test_a_failover(ledger):
    """Each vendor asked has a row, numbered in the order of asking; the call has the one that answered."""
    dispatcher = made(ledger, FakeVendor(VendorUnavailable("x"), name="openai"), FakeVendor(ANSWER, name="azure"))
    dispatcher.send(ASK)

    assert [("azure", "success", 2)] == [(row.vendor, row.status, row.attempts) for row in rows(ledger)]
    assert [(1, "openai", "error", False), (2, "azure", "success", True)] == [
        (row.number, row.vendor, row.status, row.failover) for row in rows(ledger, attempts)
    ]
    sums_are_exact(ledger)


def test_nobody_was_asked(ledger):
    """A call that nobody could be asked for has its row and no attempt, and has cost nothing rather than something unknown."""
    vendor = FakeVendor(capabilities=Capabilities(models=("other",)))
    with pytest.raises((ModelNotFound, DispatchError)):
        made(ledger, vendor).send(ASK)

    assert [("error", 0, None)] == [(row.status, row.attempts, row.vendor) for row in rows(ledger)]
    assert [] == rows(ledger, attempts)
    assert [(1, 0, Decimal(0))] == [(day.calls, day.unpriced, day.cost) for day in rows(ledger, daily)]


def test_all_limited_alike_is_limited(ledger):
    """Where every target failed in the same way the call did too."""
    limited = [FakeVendor(RateLimitError("x", status=429), name=name) for name in ("openai", "azure")]
    with pytest.raises(AllTargetsFailed):
        made(ledger, *limited).send(ASK)

    assert ["rate_limited"] == [row.status for row in rows(ledger)]


def test_a_stream(ledger):
    """The same rows, with the first token."""
    dispatcher = made(ledger, FakeVendor(ANSWER, name="openai"))
    with dispatcher.send_streaming(ASK) as stream:
        assert "SECRET ANSWER" == "".join(chunk.content for chunk in stream)
    (row,) = rows(ledger)

    assert (True, "success", 1000) == (row.streamed, row.status, row.input_tokens)
    assert 0 <= row.first_token_us <= row.latency_us
    assert PRICE == row.cost
    sums_are_exact(ledger)


def test_a_stream_that_its_reader_closes(ledger):
    """It is cancelled, and may be billed."""
    dispatcher = made(ledger, FakeVendor(lambda _request: itertools.repeat("c"), name="openai"))
    with suppress(Cancelled), dispatcher.send_streaming(ASK) as stream:
        next(iter(stream))
    dispatcher.close(drain=5)

    assert [("cancelled", True)] == [(row.status, row.streamed) for row in rows(ledger)]
    assert [("cancelled", True)] == [(row.status, row.possibly_billed) for row in rows(ledger, attempts)]


def test_a_stream_that_breaks(ledger):
    """What it reported before it broke is counted, and costs."""
    said = ["a", StreamChunk(usage=Usage(input_tokens=10, output_tokens=1, cost=PRICE)), StreamInterrupted("cut")]
    dispatcher = made(ledger, FakeVendor(said, name="openai"))
    with pytest.raises(StreamInterrupted):
        list(dispatcher.send_streaming(ASK))

    assert [("error", "StreamInterrupted", 10)] == [(row.status, row.error_class, row.input_tokens) for row in rows(ledger)]
    assert [row.cost for row in rows(ledger)] == [row.cost for row in rows(ledger, attempts)] != [None]
    sums_are_exact(ledger)


def test_an_answer_from_memory(ledger):
    """It costs nothing, nobody was asked, and it is marked."""
    dispatcher = made(ledger, FakeVendor(ANSWER, name="openai"), cache=ResponseCache())
    for _ in range(3):
        dispatcher.send(ASK)

    assert [(False, 1), (True, 0), (True, 0)] == [(row.cached, row.attempts) for row in rows(ledger)]
    assert [Decimal(0), Decimal(0)] == [row.cost for row in rows(ledger)[1:]]
    assert 1 == len(rows(ledger, attempts))
    sums_are_exact(ledger)


def test_a_hedged_call(ledger):
    """The loser has a row too, cancelled and possibly billed; the call is one."""
    slow, fast = FakeVendor("slow", name="openai", latency=40), FakeVendor(ANSWER, name="azure")
    made(ledger, slow, fast, hedge=Hedge(after=0.02, share=1)).send(ASK, timeout=50)

    assert [("azure", "success", True, 2)] == [(row.vendor, row.status, row.hedged, row.attempts) for row in rows(ledger)]
    assert {("openai", "cancelled", False, True), ("azure", "success", True, False)} == {
        (row.vendor, row.status, row.hedge, row.possibly_billed) for row in rows(ledger, attempts)
    }
    assert [1, 2] == [row.number for row in rows(ledger, attempts)]
    sums_are_exact(ledger)


@IN_BOTH
def test_many_at_once(ledger):
    """A fan-out over threads leaves a row for each, and exact sums."""
    dispatcher = made(ledger, FakeVendor(ANSWER, VendorUnavailable("x"), ANSWER, name="openai", cycle=True))
    results = list(dispatcher.map([ASK] * 90, max_workers=8, return_errors=True))

    assert {"success": 60, "error": 30} == Counter(row.status for row in rows(ledger))
    assert 60 == sum(isinstance(result, Response) for result in results)
    assert 90 == len({row.id for row in rows(ledger)})
    sums_are_exact(ledger)


class Embedder(FakeVendor):
    """A vendor that makes vectors."""

    def embed(self, asked: Any, _deadline: Any) -> Embeddings:
        """One for each text."""
        return Embeddings(vectors=[[0.0]] * len(asked.texts), model=asked.model, usage=Usage(input_tokens=5))


def test_vectors(ledger):
    """They are calls like any other, with the origin of the configuration."""
    made(ledger, Embedder(name="openai"), origin="shop").embed("text-embedding-3-small", ["a", "b"], user="ann")

    assert [("shop", "ann", "success", 5)] == [(row.origin, row.user, row.status, row.input_tokens) for row in rows(ledger)]


def test_a_pool_is_an_alias(ledger):
    """The name that was asked for, beside the model that answered."""
    dispatcher = made(ledger, FakeVendor(ANSWER, name="openai"), pools={"smart": ["openai:gpt-4o"]})
    dispatcher.send(Request("smart", "hi"))
    dispatcher.send(ASK)

    assert [("smart", "gpt-4o"), (None, "gpt-4o-mini")] == [(row.alias, row.model) for row in rows(ledger)]


def test_who_asks_wins_over_the_configuration(ledger):
    """A request's own origin counts."""
    made(ledger, FakeVendor(ANSWER), origin="shop").send(attrs.evolve(ASK, origin="till"))

    assert ["till"] == [row.origin for row in rows(ledger)]


@IN_BOTH
def test_an_intent_is_there_while_the_vendor_thinks(ledger):
    """Both rows are open, with who asked, before there is any answer."""
    seen: list[Any] = []

    def think(_request: Request) -> Response:
        seen.extend([rows(ledger), rows(ledger, attempts)])
        return ANSWER

    made(ledger, FakeVendor(think, name="openai"), origin="shop").send(ASK)

    assert [("open", "shop", "openai", None)] == [(row.status, row.origin, row.vendor, row.ended_at) for row in seen[0]]
    assert [("open", 1)] == [(row.status, row.number) for row in seen[1]]
    assert ["success"] == [row.status for row in rows(ledger)]


def test_the_ledger_of_a_path_is_the_dispatchers_own(new_store):
    """It is made by the dispatcher, its tables by its first row; it is reachable, and written when it closes."""
    with Dispatcher(Config(ledger=new_store)) as dispatcher:
        dispatcher.register_vendor(FakeVendor(ANSWER, name="openai"))
        dispatcher.send(ASK)
        assert isinstance(dispatcher.ledger, Ledger)

    with Ledger(new_store) as ledger:
        assert ["success"] == [row.status for row in rows(ledger)]


def test_strict_and_away_sends_nothing(tmp_path):
    """With strict accounting a call whose intent is not safe fails unsent."""
    vendor = FakeVendor(ANSWER)
    (tmp_path / "file").write_text("no folder")
    ledger = Ledger(tmp_path / "file" / "ledger.db", strict_accounting=True, timeout=1, spool=tmp_path / "spool")

    with pytest.raises(LedgerError, match="nothing was sent") as raised:
        made(ledger, vendor).send(ASK)
    assert (0, False) == (vendor.hits, raised.value.sent)
    ledger.close()


@IN_BOTH
def test_strict_is_safe_when_the_answer_is_there(store):
    """Without any flush the row is in the database as soon as the call returns, or the stream ends."""
    with Ledger(store, strict_accounting=True) as ledger, made(ledger, FakeVendor(ANSWER)) as dispatcher:
        for number in range(1, 5):
            dispatcher.send(ASK) if number % 2 else list(dispatcher.send_streaming(ASK))
            with ledger.engine.connect() as connection:
                assert ["success"] * number == list(connection.scalars(select(calls.c.status)))


def test_not_strict_and_away_answers(tmp_path):
    """Without it the caller does not notice."""
    (tmp_path / "file").write_text("no folder")
    ledger = Ledger(tmp_path / "file" / "ledger.db", timeout=1, spool=tmp_path / "spool")

    assert "SECRET ANSWER" == made(ledger, FakeVendor(ANSWER)).send(ASK).content
    assert not ledger.flush(0.1)
    while not (stats := ledger.stats()).spooled:
        time.sleep(0.01)
    assert (0, 0, True) == (stats.dropped, stats.written, stats.spooled > 0)
    ledger.close()


@each(
    "given, kept",
    [
        ({}, None),
        ({"a": 1, "b": [True, None, 1.5, "x"]}, '{"a":1,"b":[true,null,1.5,"x"]}'),
        ({"a": object()}, '{"a":"<object>"}'),
        ({"a": float("nan")}, '{"a":null}'),
        ({"a": "x\0y"}, '{"a":"xy"}'),
        ({1: {"k": {"k": {"k": {"k": {"k": 1}}}}}}, '{"1":{"k":{"k":{"k":{"k":"<dict>"}}}}}'),
    ],
)
def test_metadata_is_bounded_json(given, kept):
    """What is no JSON is named by its class, and no more."""
    assert kept == metadata_json(given)


def test_metadata_is_never_large():
    """However much is given, a row has so many bytes of it at most."""
    assert len((metadata_json({str(number): "x" * 1000 for number in range(1000)}) or "").encode()) <= MOST_METADATA


@IN_BOTH
def test_texts_are_bounded(ledger):
    """A user's name of a megabyte, and one that is no text, do no harm."""
    made(ledger, FakeVendor(ANSWER)).send(attrs.evolve(ASK, user="ü" * 1_000_000, origin="a\0\ud800b"))

    assert [(500, "a?b")] == [(len(row.user.encode()), row.origin) for row in rows(ledger)]
