"""Thousands of callers who block in one process at once: ``python -m benchmarks.callers --callers 10000``.

A third is cancelled, a third ends by its deadline, a third by closing the dispatcher, spread over the seconds of ``--spread``. Each
call must have one end and one outcome; the figures go to stdout as JSON.
"""

from __future__ import annotations

import argparse
import collections
import json
import resource
import sys
import threading
import time
from pathlib import Path

from llmdispatcher import Cancellation, Config, Deadline, Dispatcher, DispatchError, Outcome, Request, RetryPolicy
from llmdispatcher.testing import FakeVendor

STACK = 256 * 1024


class Blocking(FakeVendor):
    """Says nothing, and counts who waits."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = threading.Semaphore(0)

    def _wait_latency(self, deadline: Deadline) -> None:
        self.arrived.release()
        deadline.sleep(600)


class Crowd:
    """The callers and how each of them ended."""

    def __init__(self, callers: int, start: float, spread: float) -> None:
        self.outcomes: list[Outcome] = []
        self.ends: list[str] = []
        self.late: list[float] = []
        self.vendor = Blocking()
        self.dispatcher = Dispatcher(Config(retry_policy=RetryPolicy(max_retries=0)), observers=[self.outcomes.append])
        self.dispatcher.register_vendor(self.vendor)
        self.cancels = [Cancellation() for _ in range(callers)]
        self.spread = spread
        self.first = time.monotonic() + start
        self.threads = [threading.Thread(target=self._call, args=(number,)) for number in range(callers)]

    def _call(self, number: int) -> None:
        due = self.first + self.spread * number / len(self.cancels)
        timeout = due - time.monotonic() if number % 3 == 1 else 600
        try:
            self.dispatcher.send(Request("m", "hi"), timeout=timeout, cancel=self.cancels[number])
            self.ends.append("answered")
        except DispatchError as error:
            self.ends.append(type(error).__name__)
        if number % 3 == 1:
            self.late.append(time.monotonic() - due)

    def run(self) -> dict[str, object]:
        """The figures."""
        before, began = memory(), time.monotonic()
        for thread in self.threads:
            thread.start()
        for _ in self.threads:
            self.vendor.arrived.acquire()
        blocked, most = time.monotonic() - began, memory()
        together = not self.ends
        for cancel in self.cancels[0::3]:
            cancel.cancel()
        for thread in (*self.threads[0::3], *self.threads[1::3]):
            thread.join()
        closing = time.monotonic()
        self.dispatcher.close()
        for thread in self.threads:
            thread.join()
        return {
            "callers": len(self.threads),
            "all blocked at once": together,
            "seconds until all were blocked": round(blocked, 2),
            "memory, MiB": round(most - before),
            "lateness of deadlines, p50 and p99, ms": [round(1000 * rank(self.late, part), 1) for part in (0.5, 0.99)],
            "seconds that closing took": round(time.monotonic() - closing, 2),
            "ends": dict(collections.Counter(self.ends)),
            "outcomes": len(self.outcomes),
            "threads left": threading.active_count() - 1,
        }


def rank(values: list[float], part: float) -> float:
    """The value below which that part of all lies."""
    return sorted(values)[int(part * (len(values) - 1))]


def memory() -> float:
    """Resident MiB of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / (1 << 20)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.callers")
    parser.add_argument("--callers", type=int, default=10_000)
    parser.add_argument("--start", type=float, default=45.0, help="seconds to start in, before the first deadline")
    parser.add_argument("--spread", type=float, default=10.0, help="seconds over which the deadlines lie")
    options = parser.parse_args()
    threading.stack_size(STACK)
    sys.setswitchinterval(0.05)  # as docs/reliability.md advises for thousands of threads
    print(json.dumps(Crowd(options.callers, options.start, options.spread).run()))


if __name__ == "__main__":
    main()
