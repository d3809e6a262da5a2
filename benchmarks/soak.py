"""``python -m benchmarks.soak --calls 1000000 --threads 8``: mixed calls with faults; memory, threads, every outcome accounted for.

Plain, streamed, hedged, failed over, balanced, cached, limited, cancelled and late calls, over sockets to vendors in a process of
their own that commit every kind of fault, and to one in this process. Ends with status 1 when a bar is missed. An interruption
(Ctrl-C, SIGTERM) ends it early, with the figures so far.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import random
import signal
import sys
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

from llmdispatcher.dispatcher.stats import WINDOW

from .__main__ import Row, table
from .measure import rss_kib
from .soak_lanes import LEFT, WRONG, Canceller, Lane, Local, lanes
from .soak_vendor import SoakVendors, soak_vendors

SAMPLES = 200
TOO_SHORT = 100_000
"""Calls below which memory is still warming up: its slope is told, not judged."""
SETTLING = 5.0
_NAP = 0.02
"""Seconds; how far a nap overruns is how late the machine itself is, without any call."""


@attrs.define(eq=False)
class Memory:
    """RSS, and Python's own blocks of memory, at moments of the run; fixed in size, so that a look does not grow what it looks at.

    RSS moves with what the allocators keep for later; a leak of whatever kind shows in the blocks. Not counted among those are the
    latencies that the stats remember: they grow up to a fixed number for each vendor, which rare vendors reach late.
    """

    at: array[float] = attrs.field(factory=lambda: array("d", bytes(8 * (SAMPLES + 8))))
    mb: array[float] = attrs.field(factory=lambda: array("d", bytes(8 * (SAMPLES + 8))))
    blocks: array[float] = attrs.field(factory=lambda: array("d", bytes(8 * (SAMPLES + 8))))
    count: int = 0

    def look(self, calls: int, remembered: int) -> None:
        """One sample."""
        if self.count < len(self.at):
            self.at[self.count], self.mb[self.count] = calls, rss_kib() / 1024
            self.blocks[self.count] = sys.getallocatedblocks() - remembered
            self.count += 1

    def slope(self, values: array[float]) -> float:
        """What a call adds over the second half of the run, by linear regression."""
        last = self.at[self.count - 1]
        points = [(x, y) for x, y in zip(self.at[: self.count], values[: self.count], strict=True) if x >= last / 2]
        middle_x = sum(x for x, _ in points) / len(points)
        middle_y = sum(y for _, y in points) / len(points)
        spread = sum((x - middle_x) ** 2 for x, _ in points)
        return sum((x - middle_x) * (y - middle_y) for x, y in points) / spread if spread else 0.0

    def rows(self, *, judged: bool) -> list[Row]:
        """How it ended, and whether it grew."""
        slope, blocks = self.slope(self.mb) * 100_000, self.slope(self.blocks)
        return [
            Row(name="RSS at the end", value=self.mb[self.count - 1], unit="MB"),
            Row(name="RSS slope over the second half, per 100,000 calls", value=slope, bar=0.2 if judged else None, unit="MB"),
            Row(name="slope of live blocks over the second half, per call", value=blocks, bar=0.03 if judged else None),
        ]


def _state() -> tuple[int, int]:
    return threading.active_count(), sum(1 for _ in Path("/proc/self/fd").iterdir())


def _until(settled: Callable[[], bool]) -> None:
    """Wait for workers that are ending, and for requests that are still on their way."""
    end = time.monotonic() + SETTLING
    while not settled() and time.monotonic() < end:
        gc.collect()
        time.sleep(0.02)


class Soak:
    """One run."""

    def __init__(self, servers: SoakVendors, calls: int, threads: int, progress: Callable[[str], None]) -> None:
        self._servers, self._calls, self._progress = servers, calls, progress
        self._local, self._canceller, self._memory = Local(), Canceller(), Memory()
        self._lanes = lanes(servers, self._local, self._canceller)
        self._overslept = 0.0
        self._numbers: Iterator[int] = itertools.count()
        self._callers = [threading.Thread(target=self._call, args=(seed,), daemon=True) for seed in range(threads)]

    def _call(self, seed: int) -> None:
        chance, weights = random.Random(seed), [lane.share for lane in self._lanes]
        while (number := next(self._numbers)) < self._calls:
            chance.choices(self._lanes, weights)[0].call(number, chance)

    def run(self) -> float:
        """Make all calls, or those until an interruption; gives the seconds that they took."""
        started = time.monotonic()
        for caller in self._callers:
            caller.start()
        try:
            self._watch(started)
        except KeyboardInterrupt:
            self._calls = 0
        for caller in self._callers:
            caller.join()
        return time.monotonic() - started

    def _watch(self, started: float) -> None:
        step = max(1, self._calls // SAMPLES)
        for mark in itertools.count(step, step):
            while self._done() < min(mark, self._calls) and any(caller.is_alive() for caller in self._callers):
                began = time.monotonic()
                time.sleep(_NAP)
                self._overslept = max(self._overslept, time.monotonic() - began - _NAP)
            self._memory.look(done := self._done(), self._remembered())
            self._progress(_line(done, self._calls, time.monotonic() - started, self._memory.mb[self._memory.count - 1]))
            if mark >= self._calls:
                break

    def _remembered(self) -> int:
        """How many latencies the stats keep."""
        stats = [lane.dispatcher.get_stats() for lane in self._lanes]
        answered = [
            count for stat in stats for count in (stat.successful_requests, *(v.successes for v in stat.vendor_stats.values()))
        ]
        return sum(min(count, WINDOW) for count in answered)

    def _done(self) -> int:
        return sum(lane.seen.total() for lane in self._lanes)

    def close(self) -> None:
        """Wait for the last outcomes and requests, and close everything."""
        self._canceller.close()
        _until(lambda: all(lane.begun == lane.tally.outcomes.total() for lane in self._lanes))
        _until(lambda: self._missing_requests() == 0)
        for lane in self._lanes:
            lane.dispatcher.close()

    def _missing_requests(self) -> int:
        """Attempts that nobody counted and that were not ended by the caller, or requests beyond the attempts."""
        heard: Counter[str] = sum((lane.tally.attempts for lane in self._lanes), Counter())
        unsure: Counter[str] = sum((lane.tally.unsure for lane in self._lanes), Counter())
        counted = {**self._servers.counts(), "local": self._local.hits}
        wrong = 0
        for vendor, count in counted.items():
            wrong += max(0, count - heard[vendor], heard[vendor] - unsure[vendor] - count)
        return wrong

    def rows(self, seconds: float, left: tuple[int, int]) -> list[Row]:
        """All figures; those with a bar are what the soak is for."""
        every, stats = self._lanes, [lane.dispatcher.get_stats() for lane in self._lanes]
        begun, seen = sum(lane.begun for lane in every), sum((lane.seen for lane in every), Counter[str]())
        heard = sum(lane.tally.attempts.total() for lane in every)
        booked = sum(vendor.requests for stat in stats for vendor in stat.vendor_stats.values())
        zeros = {
            "calls begun and not ended": begun - seen.total(),
            "calls without an outcome": begun - sum(lane.tally.outcomes.total() for lane in every),
            "calls not in the stats": begun - sum(stat.total_requests for stat in stats),
            "ends that callers and observers saw differently": sum(map(_disagreements, every)),
            "attempts heard and not in the stats": heard - booked,
            "attempts that no vendor counted, or requests without an attempt": self._missing_requests(),
            "wrong answers": seen[WRONG],
            "foreign exceptions": sum(count for name, count in seen.items() if name.startswith("FOREIGN")),
            "threads left": left[0],
            "descriptors left": left[1],
        }
        return [
            Row(name="calls", value=begun),
            Row(name="calls a second", value=begun / seconds),
            Row(name="seconds", value=seconds, unit="s"),
            *(Row(name=f"ended with {name}", value=count) for name, count in seen.most_common()),
            Row(name="attempts heard", value=heard),
            Row(name="answers from memory", value=sum(stat.cache_hits for stat in stats)),
            Row(name="later than 50 ms past the deadline", value=sum(lane.late for lane in every)),
            Row(name="latest past the deadline", value=max(lane.latest for lane in every) * 1e3, bar=500.0, unit="ms"),
            Row(name="latest end of a nap, for comparison", value=self._overslept * 1e3, unit="ms"),
            *self._memory.rows(judged=begun >= TOO_SHORT),
            *(Row(name=name, value=abs(value), bar=0.0) for name, value in zeros.items()),
        ]

    def by_lane(self) -> dict[str, Any]:
        """What each kind of call ended with."""
        return {
            lane.name: {"begun": lane.begun, "ended": dict(lane.seen.most_common()), "latest_ms": round(lane.latest * 1e3, 1)}
            for lane in self._lanes
        }


def _disagreements(lane: Lane) -> int:
    """Calls whose caller saw another end than the observer; one who walked away may have missed any end."""
    differences = (lane.seen - lane.tally.outcomes).total() - lane.seen[LEFT]
    return abs(differences)


def _line(done: int, calls: int, seconds: float, mb: float) -> str:
    bar, rate = "#" * round(30 * done / calls), done / seconds
    return f"[{bar:.<30}] {done:,} of {calls:,}  {rate:,.0f}/s  {mb:.1f} MB  {(calls - done) / rate:,.0f} s left"


def _shown(line: str) -> None:
    """On a terminal one line that changes, elsewhere a line for each."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{line}\033[K")
    else:
        sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def soak(calls: int, threads: int, progress: Callable[[str], None] = _shown) -> tuple[list[Row], dict[str, Any]]:
    """Run it; gives the figures, and the ends by kind of call."""
    with soak_vendors() as servers:
        base = _state()
        run = Soak(servers, calls, threads, progress)
        seconds = run.run()
        run.close()
        _until(lambda: _state() <= base)
        now = _state()
        rows = run.rows(seconds, (max(0, now[0] - base[0]), max(0, now[1] - base[1])))
        return rows, run.by_lane()


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    for interruption in (signal.SIGINT, signal.SIGTERM):
        signal.signal(interruption, signal.default_int_handler)
    rows, ends = soak(options.calls, options.threads)
    if options.json:
        print(json.dumps({"rows": [attrs.asdict(row) for row in rows], "lanes": ends}, indent=1))
    else:
        print("", table(rows), *(f"{name}: {ended}" for name, ended in ends.items()), sep="\n")
    return any(row.missed for row in rows)


if __name__ == "__main__":
    sys.exit(main())
