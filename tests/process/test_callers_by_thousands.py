"""P2: thousands of callers who block in one process at once. Each has exactly one end, and memory is bounded."""

import json
import subprocess
import sys

import pytest

from ..conftest import PATIENCE
from .conftest import ROOT

MANY = 1_999


def ran(start):
    """What a run told whose callers had so many seconds to be there, or None where the machine needs longer."""
    command = [sys.executable, "-m", "benchmarks.callers", "--callers", str(MANY), "--start", str(start), "--spread", "1"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=start + PATIENCE, check=False)
    except subprocess.TimeoutExpired:  # a deadline that passed before its call was made keeps the others waiting for it
        return None
    return done if json.loads(done.stdout or "{}").get("all blocked at once") else None


@pytest.mark.timeout(150)
def test_two_thousand_blocked_callers():
    """As many outcomes as calls and one end each, at most 32 KiB of memory for each, no thread left; 10,000: benchmarks.callers."""
    done = ran(3) or ran(10) or ran(60)

    assert done is not None, "not all blocked at once"
    assert (0, "") == (done.returncode, done.stderr)
    told = json.loads(done.stdout)
    assert {"Cancelled": MANY - MANY // 3, "DeadlineExceeded": MANY // 3} == told["ends"]
    assert (MANY, True, 0) == (told["outcomes"], told["all blocked at once"], told["threads left"])
    assert told["memory, MiB"] < MANY * 32 / 1024
