"""P2: thousands of callers who block in one process at once. Each has exactly one end, and memory is bounded."""

import json
import subprocess
import sys

from .conftest import ROOT

MANY = 1_999


def test_two_thousand_blocked_callers():
    """As many outcomes as calls and one end each, at most 32 KiB of memory for each, no thread left; 10,000: benchmarks.callers."""
    command = [sys.executable, "-m", "benchmarks.callers", "--callers", str(MANY), "--start", "5", "--spread", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)

    assert (0, "") == (done.returncode, done.stderr)
    told = json.loads(done.stdout)
    assert {"Cancelled": MANY - MANY // 3, "DeadlineExceeded": MANY // 3} == told["ends"]
    assert (MANY, True, 0) == (told["outcomes"], told["all blocked at once"], told["threads left"])
    assert told["memory, MiB"] < MANY * 32 / 1024
