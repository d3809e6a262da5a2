"""Stats: exact under threads, consistent in every snapshot, bounded."""

import threading
from decimal import Context, Decimal, localcontext

import pytest

from llmdispatcher import AttemptRecord, Cancelled, Outcome, RateLimitError, Stats, Usage
from llmdispatcher.dispatcher.stats import WINDOW, StatsBook

USAGE = Usage(input_tokens=10, output_tokens=5, cost=Decimal("0.001"))


def attempt(vendor="openai", error=None, latency=0.5, **marks):
    return AttemptRecord(vendor=vendor, model="m", started=0.0, latency=latency, error=error, **marks)


def outcome(*attempts, error=None, usage=USAGE, latency=1.0, vendor="openai"):
    return Outcome(
        vendor=None if error is not None else vendor,
        model="m",
        error=error,
        attempts=attempts or (attempt(vendor),),
        usage=None if error is not None else usage,
        latency=latency,
        first_token=None,
        streamed=False,
    )


def recorded(*outcomes):
    book = StatsBook()
    for settled in outcomes:
        book.record(settled)
    return book.snapshot()


def test_before_the_first_call_everything_is_zero():
    """No division by nothing."""
    stats = recorded()

    assert Stats() == stats
    assert (0.0, Decimal(0), 0) == (stats.success_rate, stats.average_cost, stats.total_tokens)


def test_calls_are_counted_by_how_they_ended():
    """Success and failure make up the total; a cancelled call is a failed one."""
    stats = recorded(outcome(), outcome(), outcome(error=RateLimitError("")), outcome(error=Cancelled("")))

    assert (4, 2, 2, 1) == (stats.total_requests, stats.successful_requests, stats.failed_requests, stats.cancelled_requests)
    assert 0.5 == stats.success_rate


def test_a_vendor_is_counted_each_time_it_is_asked():
    """A call that failed over counts one request at each vendor; the answer's tokens belong to who gave it."""
    stats = recorded(
        outcome(
            attempt("openai", "RateLimitError"),
            attempt("openai", "VendorUnavailable", retry=True),
            attempt("anthropic", failover=True),
            vendor="anthropic",
        )
    )
    openai, anthropic = stats.vendor_stats["openai"], stats.vendor_stats["anthropic"]

    assert (2, 0, 2, 1, 0) == (openai.requests, openai.successes, openai.failures, openai.retries, openai.failovers)
    assert {"RateLimitError": 1, "VendorUnavailable": 1} == openai.errors
    assert (0, Decimal(0), 0.0) == (openai.total_tokens, openai.total_cost, openai.success_rate)
    assert (1, 1, 1) == (anthropic.requests, anthropic.successes, anthropic.failovers)
    assert (15, Decimal("0.001"), 1.0) == (anthropic.total_tokens, anthropic.total_cost, anthropic.success_rate)
    assert (1, 1, 1) == (stats.total_requests, stats.retries, stats.failovers)


def test_a_call_that_nobody_was_asked_for_counts_for_no_vendor():
    """It failed all the same."""
    stats = StatsBook()
    stats.record(
        Outcome(
            vendor=None, model="m", error=RateLimitError(""), attempts=(), usage=None, latency=0, first_token=None, streamed=False
        )
    )

    assert (1, {}) == (stats.snapshot().failed_requests, stats.snapshot().vendor_stats)


def test_costs_are_summed_exactly():
    """Whatever decimal precision the recording thread has."""
    book = StatsBook()
    with localcontext(Context(prec=2)):
        for _ in range(1000):
            book.record(outcome())

    assert Decimal("1.000") == book.snapshot().total_cost
    assert Decimal("0.001") == book.snapshot().average_cost


def test_an_unknown_cost_counts_as_nothing():
    """Tokens are counted nevertheless."""
    stats = recorded(outcome(usage=Usage(input_tokens=3)), outcome(usage=None))

    assert (Decimal(0), 3) == (stats.total_cost, stats.total_tokens)


def test_percentiles_are_of_answered_calls():
    """A hundred calls of 1 to 100 seconds; failures, however slow, do not count."""
    calls = [outcome(latency=float(seconds)) for seconds in range(100, 0, -1)]
    stats = recorded(*calls, outcome(error=RateLimitError(""), latency=1e6))

    assert (50.5, 51.0, 95.0, 99.0) == (stats.average_latency, stats.p50_latency, stats.p95_latency, stats.p99_latency)


def test_percentiles_of_one_call_are_its_latency():
    """Of the call for all, of the attempt for the vendor."""
    stats = recorded(outcome(attempt(latency=0.25), latency=2.0))

    assert {2.0} == {stats.average_latency, stats.p50_latency, stats.p95_latency, stats.p99_latency}
    assert {0.25} == {stats.vendor_stats["openai"].average_latency, stats.vendor_stats["openai"].p95_latency}


def test_percentiles_forget_what_is_long_past():
    """Memory is bounded: the average is of all calls, percentiles of the latest 4,096."""
    book = StatsBook()
    for latency in [100.0] * WINDOW + [1.0] * WINDOW:
        book.record(outcome(latency=latency))
    stats = book.snapshot()

    assert (50.5, 1.0) == (stats.average_latency, stats.p99_latency)


@pytest.mark.parametrize("threads", [8])
def test_every_snapshot_adds_up_while_threads_record(threads):
    """Success and failure are the total in every snapshot, and nothing is lost in the end."""
    book, start = StatsBook(), threading.Barrier(threads + 1)

    def record():
        start.wait()
        for number in range(500):
            book.record(outcome(error=RateLimitError("")) if number % 5 == 0 else outcome())

    workers = [threading.Thread(target=record) for _ in range(threads)]
    for worker in workers:
        worker.start()
    start.wait()
    snapshots = []
    while any(worker.is_alive() for worker in workers):
        snapshots.append(book.snapshot())
    for worker in workers:
        worker.join()
    last = book.snapshot()

    for stats in (*snapshots, last):
        assert stats.total_requests == stats.successful_requests + stats.failed_requests
        assert stats.total_cost == stats.successful_requests * Decimal("0.001")
    assert (threads * 500, threads * 100) == (last.total_requests, last.failed_requests)
    assert threads * 500 == last.vendor_stats["openai"].requests


def test_a_snapshot_does_not_change():
    """It is of one moment; later calls are in the next one."""
    book = StatsBook()
    book.record(outcome(attempt(error="RateLimitError"), error=RateLimitError("")))
    before = book.snapshot()
    book.record(outcome(attempt(error="RateLimitError"), error=RateLimitError("")))

    assert (1, {"RateLimitError": 1}) == (before.total_requests, before.vendor_stats["openai"].errors)


def test_an_outcome_knows_its_cost():
    """Observers need not look into the usage."""
    assert Decimal("0.001") == outcome().cost
    assert None is outcome(error=RateLimitError("")).cost
