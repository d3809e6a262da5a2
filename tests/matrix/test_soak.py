"""The soak in small: mixed calls with faults, every outcome accounted for. The long run is made by hand (benchmarks/README.md)."""

from __future__ import annotations

import pytest

from benchmarks.soak import soak

from ..conftest import SLACK

CALLS = 800
LATEST = "latest past the deadline"
"""The figure that tells of the machine as well; the long run has a bar for it."""


@pytest.fixture(scope="module")
def ran():
    lines = []
    rows, ends = soak(CALLS, 8, lines.append)
    return rows, ends, lines


def test_every_call_is_accounted_for(ran):
    """Calls, outcomes, stats, attempts and what the vendors counted agree; no wrong answer, no thread or descriptor left."""
    rows, ends, _ = ran

    assert [] == [f"{row.name}: {row.value:g}" for row in rows if row.missed and row.name != LATEST], ends
    assert [True] == [row.value < 1000 * SLACK for row in rows if row.name == LATEST]
    assert CALLS == sum(lane["begun"] for lane in ends.values())


def test_every_kind_of_call_was_made(ran):
    """No lane is left out, and faults were met: a soak in which everything goes well shows nothing."""
    rows, ends, _ = ran
    figures = {row.name: row.value for row in rows}

    assert {"plain", "streamed", "hedged", "failover", "balanced", "cached", "limited", "cancelled", "deadline", "local"} == set(
        ends
    )
    assert all(lane["begun"] for lane in ends.values())
    assert figures["attempts heard"] + figures["answers from memory"] > CALLS
    assert {"ok", "left", "Cancelled", "StreamInterrupted"} <= {name for lane in ends.values() for name in lane["ended"]}


def test_the_progress_tells_how_far_it_is(ran):
    """The last line is a full bar."""
    assert f"{CALLS:,} of {CALLS:,}" in ran[2][-1]
