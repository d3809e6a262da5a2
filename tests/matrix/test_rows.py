"""The fault matrix through real sockets: every row, every variant, four vendors, plain and streamed, each call with the invariants.

I1 the call ends in time, I2 with exactly one outcome, I3 threads and descriptors are back, I5 no key and no prompt
anywhere. What the caller may see of each row stands in ``EXPECTED``; the table of what he saw is printed at the end.
How late a call may be on a quiet machine is in benchmarks/README.md.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from functools import partial

import pytest

from llmdispatcher.testing import FAULTS, VendorSimulator, faults
from llmdispatcher.vendors import chunk_stream

from ..conftest import SLACK
from .conftest import MODELS, ask, descriptors, hangs, leaks, settled, together, undisturbed, vendor_at

ANSWER = "one two three four five six seven eight nine ten eleven twelve."

UNAVAILABLE, MALFORMED, CUT, LATE = "VendorUnavailable", "MalformedReply", "StreamInterrupted", "DeadlineExceeded"
EXPECTED: dict[str, tuple[set[str], set[str]]] = {
    # row: what a plain call may end with, what a stream may end with
    "N9": ({"ok", UNAVAILABLE}, {"ok", UNAVAILABLE}),
    "H1": ({UNAVAILABLE}, {UNAVAILABLE}),
    "H2": ({UNAVAILABLE}, {UNAVAILABLE}),
    "H3": ({UNAVAILABLE, MALFORMED}, {UNAVAILABLE, MALFORMED}),
    "H4": ({MALFORMED, UNAVAILABLE}, {MALFORMED, UNAVAILABLE}),
    "H5": ({"ok", MALFORMED, UNAVAILABLE}, {"ok", MALFORMED, UNAVAILABLE, CUT}),
    "H6": ({MALFORMED}, {MALFORMED}),
    "B1": ({LATE, UNAVAILABLE}, {LATE, UNAVAILABLE}),
    "B2": ({UNAVAILABLE}, {UNAVAILABLE, CUT}),
    "B3": ({UNAVAILABLE, MALFORMED}, {"ok", UNAVAILABLE, MALFORMED, CUT}),
    "B4": ({UNAVAILABLE, MALFORMED}, {UNAVAILABLE, MALFORMED, CUT}),
    "B5": ({LATE, UNAVAILABLE, MALFORMED}, {LATE, UNAVAILABLE, MALFORMED, CUT}),
    "B6": ({MALFORMED}, {MALFORMED}),
    "B7": ({MALFORMED, UNAVAILABLE}, {MALFORMED, UNAVAILABLE, CUT}),
    "B8": ({"ok", MALFORMED}, {"ok", MALFORMED, CUT}),
    "B9": ({MALFORMED}, {MALFORMED, CUT}),
    "B10": ({"ok", UNAVAILABLE}, {UNAVAILABLE, CUT}),
    "S1": ({"ok"}, {"ok"}),
    "S2": ({"ok"}, {"ok"}),
    "S3": ({"ok"}, {"ok", CUT}),
    "S4": ({UNAVAILABLE, MALFORMED}, {CUT, UNAVAILABLE}),
    "S5": ({"ok", MALFORMED}, {"ok", MALFORMED, CUT}),
    "S6": ({"ok"}, {"ok"}),
    "S7": ({MALFORMED}, {"ok"}),
    "S8": ({MALFORMED, UNAVAILABLE}, {"ok"}),
    "S9": ({LATE}, {UNAVAILABLE}),
    "S10": ({"ok", UNAVAILABLE}, {CUT}),
    "R1": ({"RateLimitError"}, {"RateLimitError"}),
    "R2": ({"RateLimitError"}, {"RateLimitError"}),
    "R3": ({"RateLimitError", "QuotaExceeded"}, {"RateLimitError", "QuotaExceeded"}),
    "R4": ({UNAVAILABLE}, {UNAVAILABLE}),
    "R5": ({"InvalidRequest", "AuthenticationError", "QuotaExceeded", "ModelNotFound", "ContextWindowExceeded", "ContentFiltered"},)
    * 2,
    "R6": ({UNAVAILABLE, "InvalidRequest"}, {UNAVAILABLE, "InvalidRequest"}),
}
HEAVY = {"B6", "B8", "S5"}
"""Rows that move megabytes: shown once, one call after the other."""


@pytest.fixture(scope="module")
def table():
    seen = {row: Counter() for row in FAULTS}
    yield seen
    print("\nrow   what the callers saw")
    for row, counts in seen.items():
        print(f"{row:5} " + ", ".join(f"{name} × {count}" for name, count in sorted(counts.items())))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("row", FAULTS)
def test_row(row, table, log):
    """Every vendor, plain and streamed: in time, one outcome, nothing left behind, nothing leaked."""
    wrong = {fault.name: undisturbed(partial(wrong_in_calls, row, fault, table, log)) for fault in FAULTS[row]}

    assert {} == {name: found for name, found in wrong.items() if found}


def wrong_in_calls(row, fault, table, log, each):
    """What is wrong in calls of all kinds, made at once with limits of so many seconds."""
    base = (threading.active_count(), descriptors())
    ways = list(itertools.product(["openai"] if row in HEAVY else MODELS, (False, True)))
    calls = [partial(wrong_in_call, row, fault, table, kind, streamed, each) for kind, streamed in ways]
    wrong = together(calls, at_once=1 if row in HEAVY else len(calls))
    left = settled(base)
    if left != (0, 0):
        wrong.append(f"I3: {left[0]} threads and {left[1]} descriptors left")
    return wrong + [f"I5: {leak}" for leak in leaks(None, log())]


def wrong_in_call(row, fault, table, kind, streamed, each):
    """What a caller should not have seen, and the invariants that do not hold."""
    limit, each = (3 * each, each) if hangs(fault) else (30.0, 30.0)
    if LATE not in EXPECTED[row][streamed]:
        limit = 30.0  # the vendor's own limits end it, and not whichever of two comes first on a busy machine
    elif {LATE} == EXPECTED[row][streamed]:
        each = 30.0
    with VendorSimulator(responses=ANSWER).always(fault) as simulator:
        vendor = vendor_at(simulator, kind, each=each)
        result = ask([vendor], kind, streamed=streamed, timeout=limit)
        hits = simulator.hits
    table[row][result.name] += 1
    wrong = [f"I5: {leak}" for leak in leaks(result.error, "")]
    if result.name not in EXPECTED[row][streamed]:
        wrong.append(f"{result.name}: {result.error}")
    if result.seconds > limit + SLACK:
        wrong.append(f"I1: took {result.seconds:.2f} s of {limit} s")
    if [result.error] != [outcome.error for outcome in result.outcomes]:
        wrong.append(f"I2: {result.outcomes}")
    if len(result.outcomes[0].attempts) != 1 or hits > 2:
        wrong.append(f"{len(result.outcomes[0].attempts)} attempts, {hits} hits")
    return [f"{kind} {'stream' if streamed else 'plain'}: {what}" for what in wrong]


@pytest.mark.parametrize("kind", ["openai", "azure", "anthropic"])
def test_a_stream_ends_with_its_end_mark(kind):
    """S8: a vendor that then keeps the connection open, or goes on talking, holds nobody up and adds nothing.

    Google's format has no mark but the end of the body.
    """
    ends = []
    for fault in (faults.kept_open(), faults.data_after_end()):
        with VendorSimulator(responses=ANSWER).always(fault) as simulator:
            result = ask([vendor_at(simulator, kind, each=30)], kind, streamed=True, timeout=60)
            ends.append((result.name, result.text, result.seconds < SLACK))

    assert [("ok", ANSWER, True)] * 2 == ends


@pytest.mark.parametrize(("patience", "timeout"), [(0.3, 60), (30, 1.5)])
def test_a_complete_answer_is_not_waited_for(monkeypatch, patience, timeout):
    """S8: where the end has no mark, a vendor has some seconds for its last words, and no longer than the deadline."""
    monkeypatch.setattr(chunk_stream, "LAST_WORDS", patience)
    with VendorSimulator(responses=ANSWER).always(faults.kept_open()) as simulator:
        result = ask([vendor_at(simulator, "google", each=30)], "google", streamed=True, timeout=timeout)

    assert ("ok", ANSWER) == (result.name, result.text)
    assert min(patience, timeout) <= result.seconds < min(patience, timeout) + SLACK


@pytest.mark.parametrize(
    ("fault", "hits"),
    [
        (faults.status(503), 4),
        (faults.status(503, ("x-should-retry", "false")), 1),
        (faults.status(400), 1),
        (faults.status(400, ("x-should-retry", "true")), 4),
    ],
    ids=["503", "503 and false", "400", "400 and true"],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_word_about_retrying_is_obeyed(fault, hits, streamed):
    """R6, R9: so a layer that has retried enough itself is asked once, not once more for each of our retries."""
    with VendorSimulator().always(fault) as simulator:
        ask([vendor_at(simulator, "openai", each=30)], "openai", streamed=streamed, retries=3)

        assert hits == simulator.hits
