"""The fault matrix for calls that have more than one way: failover, hedged, cached, and the probe of an open circuit.

Every variant of every row, plain and streamed, those of one variant at once. For each: I1 in time, I2 exactly one outcome for each
call, I3 threads and descriptors are back, I4 each request written down, I5 no key and no prompt anywhere, I6 circuit, budget and
limits agree with what was seen, I7 nothing is still taken. The table of what the callers saw is printed at the end (-s).
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import attrs
import pytest

from llmdispatcher import RetryPolicy
from llmdispatcher.testing import FAULTS, Fault, faults

from ..conftest import PATIENCE
from .conftest import descriptors, leaks, settled, together, undisturbed
from .insides import counted, failures_of, opened, parked
from .stage import DAY, FIRST, SECOND, Plan, Stage, staged
from .test_rows import ANSWER, EXPECTED

T = TypeVar("T")
BOTH = ("first", "first")
CUT = ("second", "StreamInterrupted")
LATE = "DeadlineExceeded"
WRONG, REFUSED = ("InvalidRequest",) * 2, ("ContentFiltered",) * 2
ENDS: Mapping[str, tuple[str, str]] = {
    # row, or row and variant: how a call and a stream end that may go on to a healthy vendor, where it is not that one's answer
    "N9 stale": BOTH,
    "H5 folded_header": BOTH,
    "B1": (LATE, "second"),
    "B2 reset_after_3_words": CUT,
    "B3 fin_in_chunk": CUT,
    "B3 fin_before_last_chunk": ("second", "first"),
    "B4": CUT,
    "B5 trickled_chunk_size": (LATE, "second"),
    "B8 huge_integer": BOTH,
    "B8 not_a_number": BOTH,
    "B8 duplicate_keys": BOTH,
    "B8 lone_surrogate": BOTH,
    "B10 error_event_after_3_words": CUT,
    "S1": BOTH,
    "S2": BOTH,
    "S3": BOTH,
    "S4 eof_after_3_words": CUT,
    "S4 cut_after_3_words": CUT,
    "S5 giant_line": ("first", "second"),
    "S5 many_events": ("second", "first"),
    "S5 many_comments": BOTH,
    "S6": BOTH,
    "S7": ("second", "first"),
    "S8": ("second", "first"),
    "S9": (LATE, "second"),
    "S10": CUT,
    "R5 status_400": WRONG,
    "R5 status_413": WRONG,
    "R5 status_422": WRONG,
    "R5 status_451": REFUSED,
    "R5 filtered": REFUSED,
    "R6 status_400": WRONG,
}
RETURNS = {"R6 status_400": 3}
"""Attempts where an error is not the end of the first: the vendor itself asks for another try."""
SILENT: Mapping[str, tuple[bool, bool]] = {
    # row or variant: whether the first vendor says nothing for so long that a call, or a stream, is hedged
    "H1": (True, True),
    "H2": (True, True),
    "B1": (True, True),
    "B5 trickled_chunk_size": (True, True),
    "S8 kept_open": (True, False),
    "S9": (True, True),
    "S10": (True, False),
}
PARKED = {"R1", "R2 rate_limit_1000000000", "R2 rate_limit_1", "R3 quota", "R5 status_402"}
"""Rows and variants after which the vendor is left alone for a while."""
HEAVY = {"gzip_bomb", "giant_json", "giant_line", "many_events", "many_comments"}
"""Variants that move megabytes: shown once."""


def of(table: Mapping[str, T], row: str, fault: Fault, otherwise: T) -> T:
    """The entry of a variant, or of its row."""
    return table.get(f"{row} {fault.name}", table.get(row, otherwise))


def end_of(stage: Stage) -> str:
    """How the call ends that meets the fault and may go on."""
    return of(ENDS, stage.row, stage.fault, ("second", "second"))[stage.streamed]


def differing(stage: Stage, *pairs: tuple[str, object, object]) -> list[str]:
    """Where what is seen is not what is expected; of every way also who was parked."""
    parks = {FIRST} if {stage.row, f"{stage.row} {stage.fault.name}"} & PARKED else set()
    checked = [*pairs, ("parked", parks, stage.parks)]
    return [f"{what}: {seen} instead of {expected}" for what, expected, seen in checked if expected != seen]


def against(stage: Stage) -> list[tuple[str, object, object]]:
    """What the closed circuits hold against each vendor: no more and no less than the attempts that failed by its fault."""
    vendors = stage.dispatcher.get_vendors()
    seen = {name: counted(stage.recent, name, helped=len(vendors) > 1) for name in vendors}
    return [(f"failures of {name}", count, failures_of(stage.dispatcher, name)) for name, count in seen.items()]


def once(stage: Stage) -> None:
    """The faulty vendor is asked; where only a connection that was used before can fail, for the second time."""
    if stage.fault.name == "stale":
        stage.ask()
    stage.faulty.always(stage.fault)
    stage.ask()


def went_on(stage: Stage) -> list[str]:
    """Failed over or not, with exactly so many attempts."""
    end = end_of(stage)
    tries = {"first": 1, "second": 2}.get(end) or of(RETURNS, stage.row, stage.fault, 1)
    hedges = [record for outcome in stage.outcomes for record in outcome.attempts if record.hedge]
    seen = (stage.told[-1], stage.attempts[-1], hedges)
    return differing(stage, ("end, attempts, hedges", (end, tries, []), seen), *against(stage))


def raced(stage: Stage) -> list[str]:
    """Hedged where the first is silent; the loser is written down as cancelled, and that is not held against its vendor."""
    if not silent(stage.row, stage.fault, streamed=stage.streamed):
        return went_on(stage)
    legs = sorted((record.vendor, record.hedge, record.error) for record in stage.outcomes[-1].attempts)
    expected = [(SECOND, True, None), (FIRST, False, "Cancelled")]
    return differing(stage, ("end", "hedge", stage.told[-1]), ("legs", expected, legs), *against(stage))


def silent(row: str, fault: Fault, *, streamed: bool) -> bool:
    """Whether the first vendor keeps a hedged call waiting."""
    return of(SILENT, row, fault, (False, False))[streamed]


def thrice(stage: Stage) -> None:
    """A call that meets the fault, and two that do not; before the second goes the time for which a vendor is left alone."""
    stage.faulty.script(stage.fault)
    stage.ask()
    if parked(stage.dispatcher):
        stage.wait_a_day()
    stage.ask()
    stage.ask()


def remembered_right(stage: Stage) -> list[str]:
    """No failure is remembered; the first answer is, and is given from memory."""
    whole = end_of(stage) == "first"
    failed = stage.told[0]
    return differing(
        stage,
        ("who answered", ["first" if whole else failed, "memory" if whole else "first", "memory"], stage.told),
        ("attempts", [1, 0, 0] if whole else [1, 1, 0], stage.attempts),
        ("entries", [1, 1, 1] if whole else [0, 1, 1], stage.stored),
        ("text", stage.seen[0 if whole else 1].text, stage.seen[2].text),
        ("failed as alone", True, whole or failed in EXPECTED[stage.row][stage.streamed]),
        *against(stage),
    )


def twice(stage: Stage) -> None:
    """A failure that opens the circuit, and a probe that meets the fault."""
    stage.faulty.script(faults.status(503)).always(stage.fault)
    stage.ask()
    stage.ask()


def decided(stage: Stage) -> list[str]:
    """The probe closes the circuit by an answer, opens it again by what speaks against the vendor, and else leaves it as it was."""
    probe = stage.outcomes[-1]
    openings = 0 if probe.error is None else 1 + counted([probe], FIRST)
    return differing(
        stage,
        ("openings in a row", openings, opened(stage.dispatcher, FIRST)),
        ("attempts", [1, 1], stage.attempts),
        ("answered", end_of(stage) == "first", probe.error is None),
        ("failed as alone", True, stage.seen[1].name in EXPECTED[stage.row][stage.streamed]),
    )


@attrs.frozen
class Way:
    """What a dispatcher is made with, what is asked of it, and what must hold besides the invariants."""

    settings: Mapping[str, Any]
    helped: bool
    play: Callable[[Stage], None]
    judge: Callable[[Stage], list[str]]

    def plan(self, row: str, fault: Fault, limit: float, *, streamed: bool) -> Plan:
        """Short limits only where something hangs, and none of them where a hedge comes before they end."""
        settings = dict(self.settings)
        waits = silent(row, fault, streamed=streamed)
        each, timeout = (limit, (4 if self.helped else 2.5) * limit) if waits or fault.endless else (30.0, 30.0)
        if LATE not in EXPECTED[row][streamed]:
            timeout = 30.0  # the vendor's own limits end it, and not whichever of two comes first on a busy machine
        elif {LATE} == EXPECTED[row][streamed]:
            each = 30.0
        if self.judge is raced:
            settings["hedge"] = {"after": limit / 2 if waits else 20.0, "share": 1.0}
            each, timeout = (30.0, 30.0) if waits else (each, timeout)
        return Plan(settings=settings, helped=self.helped, each=each, timeout=timeout)


ONCE = RetryPolicy(max_retries=0)
WAYS = {
    "failover": Way({}, True, once, went_on),
    "hedged": Way({}, True, once, raced),
    "cached": Way({"cache": {"ttl": 10 * DAY}, "retry_policy": ONCE}, False, thrice, remembered_right),
    "probing": Way({"circuit_breaker": {"min_calls": 1, "open_time": 0.0}, "retry_policy": ONCE}, False, twice, decided),
}


@pytest.fixture(scope="module")
def table():
    seen = {(row, way): Counter() for row in FAULTS for way in WAYS}
    base = (threading.active_count(), descriptors())
    yield seen
    assert (0, 0) == settled(base), "something is left after all rows"
    print("\nrow   way       what the callers saw")
    for (row, way), counts in seen.items():
        print(f"{row:5} {way:9} " + ", ".join(f"{name} × {count}" for name, count in sorted(counts.items())))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("row", FAULTS)
def test_row(row, table, log):
    """Each variant ends as promised for each way, called and streamed, and every invariant holds."""
    wrong = {fault.name: undisturbed(partial(wrong_in_ways, row, fault, table, log)) for fault in FAULTS[row]}

    assert {} == {name: found for name, found in wrong.items() if found}


def wrong_in_ways(row, fault, table, log, each):
    """What is wrong in a call and a stream of every way, made at once with limits of so many seconds."""
    base = (threading.active_count(), descriptors())
    ways = list(itertools.product(["failover"] if fault.name in HEAVY else WAYS, (False, True)))
    plays = [partial(wrong_in_play, row, fault, table, way, streamed, each) for way, streamed in ways]
    wrong = together(plays, at_once=1 if fault.name in HEAVY else len(plays))
    left = settled(base)
    if left != (0, 0):
        wrong.append(f"I3: {left[0]} threads and {left[1]} descriptors left")
    return wrong + [f"I5: {leak}" for leak in leaks(None, log())]


def wrong_in_play(row, fault, table, way, streamed, each):
    """What is not as promised for this way, and the invariants that do not hold."""
    with staged(WAYS[way].plan(row, fault, each, streamed=streamed), row, fault, streamed=streamed) as stage:
        WAYS[way].play(stage)
        wrong = stage.broken() + WAYS[way].judge(stage)
        told = " → ".join(stage.told)
    table[row, way][told] += 1
    return [f"{way} {'stream' if streamed else 'plain'}: {told}: {what}" for what in wrong]


@pytest.mark.parametrize("streamed", [False, True])
def test_both_answer_at_once(streamed):
    """G1: of two that answer together one wins, fifty times; each call has one end, and all that was sent is written down."""
    both = threading.Barrier(2)

    def answer(_body):
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(PATIENCE)
        return ANSWER

    plan = Plan(settings={"hedge": {"after": 0.0, "share": 1.0}}, helped=True, each=30.0, timeout=30.0)
    with staged(plan, "G1", faults.status(503), streamed=streamed) as stage:
        stage.faulty.responses = stage.healthy.responses = answer
        for _ in range(50):
            stage.ask()
        wrong = stage.broken()
        texts = {seen.text for seen in stage.seen}
        raced = sum(tries == 2 for tries in stage.attempts)

    assert [] == wrong
    assert {ANSWER} == texts
    assert raced == 50, "not all were asked of both"
