"""The faults that the peers were measured with, run against us: the same 14 rows, with what we promise for each.

Short limits where the vendor falls silent, two retries, and, where it says so, a healthy second vendor. Hits are counted exactly.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import attrs
import pytest

from llmdispatcher import Config, Dispatcher, QuotaExceeded, RateLimitError, Request, RetryPolicy
from llmdispatcher.testing import OK, PEER_FAULTS, VendorSimulator
from llmdispatcher.testing.faults import trickle

from ..conftest import SLACK
from .conftest import LIMIT, MODELS, Hurried, Result, ask, vendor_at

ANSWER = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen."
STREAMED = {
    "clean EOF after 9 words, no end marker",
    "connection cut after 9 words",
    "cut after role chunk only",
    "stall after 9 words",
    "malformed SSE line, rest fine",
    "in-band error before text",
}
# row: (with a healthy second vendor: how it ends, hits on the faulty one), (alone: how it ends, hits)
PROMISED = {
    "clean EOF after 9 words, no end marker": (("StreamInterrupted", 1), ("StreamInterrupted", 1)),
    "connection cut after 9 words": (("StreamInterrupted", 1), ("StreamInterrupted", 1)),
    "cut after role chunk only": (("ok", 1), ("VendorUnavailable", 3)),
    "stall after 9 words": (("StreamInterrupted", 1), ("StreamInterrupted", 1)),
    "malformed SSE line, rest fine": (("ok", 1), ("ok", 1)),
    "in-band error before text": (("ok", 1), ("VendorUnavailable", 3)),
    "silent server": (("ok", 1), ("VendorUnavailable", 3)),
    '200 with {"error"} body': (("ok", 1), ("VendorUnavailable", 3)),
    "502 HTML": (("ok", 1), ("VendorUnavailable", 3)),
    "429 Retry-After: 2": (("ok", 1), ("RateLimitError", 1)),
    "429 Retry-After: 90": (("ok", 1), ("RateLimitError", 1)),
    "429 insufficient_quota": (("ok", 1), ("QuotaExceeded", 1)),
    "400 bad request": (("InvalidRequest", 1), ("InvalidRequest", 1)),
}
TRICKLE = "trickle 0.6 s/chunk (12.6 s)"
LIMITS = {"silent server": {"first_byte_timeout": LIMIT}, "stall after 9 words": {"idle_timeout": 1.0}}
TIMEOUTS = {"429 Retry-After: 2": 1.9}
"""Seconds of a whole call where it must be less than the hint."""


def healthy_at(simulator):
    """A vendor to go on to."""
    return vendor_at(simulator, "anthropic", default_model=MODELS["anthropic"])


def test_every_row_of_the_peers_matrix_is_here():
    """No row is left out."""
    assert set(PEER_FAULTS) == set(PROMISED) | {TRICKLE}


@attrs.frozen
class Played:
    """What came of a row: the result, the hits on the faulty and on a healthy vendor, and what was waited in between."""

    result: Result
    hits: tuple[int, int]
    waits: list[float]


def play(row, helped):
    """One call of a vendor with the fault, of which only the limit that ends it is short."""
    clock = Hurried()
    with VendorSimulator(responses=ANSWER).always(PEER_FAULTS[row]) as faulty, VendorSimulator(responses=ANSWER) as healthy:
        vendors = [vendor_at(faulty, "openai", **LIMITS.get(row, {})), *([healthy_at(healthy)] if helped else [])]
        timeout = TIMEOUTS.get(row, 2 * SLACK)
        result = ask(vendors, "openai", streamed=row in STREAMED, timeout=timeout, retries=2, clock=clock)
        return Played(result, (faulty.hits, healthy.hits), clock.waits)


@pytest.fixture(scope="module")
def helped():
    """Every row with a healthy vendor."""
    with ThreadPoolExecutor(len(PROMISED)) as pool:
        return dict(zip(PROMISED, pool.map(lambda row: play(row, helped=True), PROMISED), strict=True))


def assert_promised(played, number):
    """Each row ends as promised, in time, and with exactly the promised number of hits."""
    ends = {row: (one.result.name, one.hits[0]) for row, one in played.items()}
    assert {row: promises[number] for row, promises in PROMISED.items()} == ends
    assert [] == [row for row, one in played.items() if one.result.seconds > SLACK or len(one.result.outcomes) != 1]
    assert [] == [row for row, one in played.items() if sum(one.hits) != len(one.result.outcomes[0].attempts)]


def test_row(helped):
    """Alone and with a healthy vendor each ends as promised."""
    with ThreadPoolExecutor(len(PROMISED)) as pool:
        alone = dict(zip(PROMISED, pool.map(lambda row: play(row, helped=False), PROMISED), strict=True))

    assert_promised(helped, 0)
    assert_promised(alone, 1)


def test_a_healthy_vendor_is_asked_at_once(helped):
    """Where a failure leads to another vendor it does so without a pause, whatever the vendor hints (the peers: 4 to 13 s)."""
    moved = {row: one for row, one in helped.items() if PROMISED[row][0] == ("ok", 1) and "malformed" not in row}
    for one in moved.values():
        failed, answered = one.result.outcomes[0].attempts
        assert ("anthropic", True, []) == (answered.vendor, answered.failover, one.waits)
        assert failed.latency < SLACK


def test_a_broken_stream_keeps_what_had_come(helped):
    """It is never taken for complete: the error holds the nine words, the healthy vendor is not asked behind the reader's back."""
    broken = {row: one for row, one in helped.items() if PROMISED[row][0][0] == "StreamInterrupted"}

    assert 3 == len(broken)
    assert [ANSWER.split()[:9]] * 3 == [one.result.error.partial.content.split() for one in broken.values()]
    assert "idle" == broken["stall after 9 words"].result.error.phase
    assert [(1, 0)] * 3 == [one.hits for one in broken.values()]


def test_a_malformed_line_costs_nothing_but_itself(helped):
    """All words of the other lines are there (the peers: a raw JSONDecodeError)."""
    assert ANSWER == helped["malformed SSE line, rest fine"].result.text


def test_a_bad_request_is_taken_nowhere_else(helped):
    """What is wrong with the request is wrong everywhere: the healthy vendor never hears of it."""
    assert (1, 0) == helped["400 bad request"].hits


def test_a_hint_that_fits_is_waited_for_once():
    """Alone, with time: one wait of the two seconds that were asked for (the peers: 4.0 s), and the answer."""
    with VendorSimulator(responses=ANSWER).script(PEER_FAULTS["429 Retry-After: 2"], OK) as limited:
        clock = Hurried()
        result = ask([vendor_at(limited, "openai")], "openai", streamed=False, retries=2, clock=clock)
    refused, answered = result.outcomes[0].attempts

    assert ("ok", 2, 1) == (result.name, limited.hits, len(clock.waits))
    assert clock.waits[0] <= 2.0 <= answered.started - refused.started


def test_a_spent_quota_parks_the_target_for_a_minute():
    """The second call is told so without asking the vendor again (the peers: three hits a call)."""
    with VendorSimulator().always(PEER_FAULTS["429 insufficient_quota"]) as spent, Dispatcher() as dispatcher:
        dispatcher.register_vendor(vendor_at(spent, "openai"))
        for _ in range(2):
            with pytest.raises(QuotaExceeded) as caught:
                dispatcher.send(Request(model=MODELS["openai"], messages="hi"))

        assert 1 == spent.hits
    assert 50 < caught.value.retry_after <= 60


@pytest.mark.parametrize("streamed", [False, True])
def test_a_trickle_cannot_outlive_the_deadline(streamed):
    """Chunks that keep coming beat every per-read timeout; the call's own deadline ends them (the peers took 12.6 s of 3 s)."""
    with VendorSimulator(responses=ANSWER).always(trickle(0.05)) as faulty:
        result = ask([vendor_at(faulty, "openai")], "openai", streamed=streamed, timeout=0.3)

    assert "DeadlineExceeded" == result.name
    assert result.seconds < 0.3 + SLACK


def test_a_429_parks_the_target_for_the_next_calls_too():
    """Of three calls in a row only the first hits the limited vendor; the others go straight to the free one."""
    with (
        VendorSimulator().always(PEER_FAULTS["429 Retry-After: 90"]) as limited,
        VendorSimulator() as free,
        Dispatcher() as dispatcher,
    ):
        dispatcher.register_vendor(vendor_at(limited, "openai"))
        dispatcher.register_vendor(healthy_at(free))
        for _ in range(3):
            assert "anthropic" == dispatcher.send(Request(model=MODELS["openai"], messages="hi")).vendor

        assert (1, 3) == (limited.hits, free.hits)


def test_without_another_target_a_long_hint_is_handed_to_the_caller():
    """Nobody blocks for 180 s of a shorter timeout: the hint is in the error, at once."""
    with VendorSimulator().always(PEER_FAULTS["429 Retry-After: 90"]) as limited:
        dispatcher = Dispatcher(Config(timeout=40.0, retry_policy=RetryPolicy(max_retries=2)))
        dispatcher.register_vendor(vendor_at(limited, "openai"))
        with dispatcher, pytest.raises(RateLimitError) as caught:
            dispatcher.send(Request(model=MODELS["openai"], messages="hi"))

    assert (90.0, 1) == (caught.value.retry_after, limited.hits)
