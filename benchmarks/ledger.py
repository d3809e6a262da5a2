"""``python -m benchmarks.ledger [PATH_OR_URL]``: what a ledger adds to a call, and how many rows it writes in a second."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from llmdispatcher import Dispatcher, Ledger, Request, Response, Usage, open_ledger
from llmdispatcher.accounting.ledger.call import ATTEMPT, CALL, Row
from llmdispatcher.accounting.ledger.database import RowWriter
from llmdispatcher.runtime import SYSTEM_CLOCK, new_id
from llmdispatcher.testing import FakeVendor

ASK = Request("gpt-4o-mini", "Hi", user="ann", metadata={"team": "blue"})
ANSWER = Response(content="Hello.", usage=Usage(input_tokens=100, output_tokens=20))


def main() -> None:
    """Measure, and print."""
    place = sys.argv[1] if len(sys.argv) > 1 else str(Path(tempfile.mkdtemp()) / "ledger.db")
    with open_ledger(place) as ledger:
        thread, process = added(ledger)
        print(f"a call: {thread:.1f} µs of CPU more in its own thread, {process:.1f} µs in the whole process")
        rate, cost = written(ledger)
        print(f"the writer: {rate:,.0f} rows/s, {cost:.1f} µs of CPU each")


def added(ledger: Ledger, rounds: int = 81, calls: int = 100) -> tuple[float, float]:
    """Microseconds of CPU that a call costs more with a ledger than without: of its thread, and of the process."""
    ways = [_dispatcher(None), _dispatcher(ledger)]
    thread: list[float] = []
    process: list[float] = []
    for _ in range(rounds):
        figures = [_cost(way, calls) for way in ways]
        thread.append(figures[1][0] - figures[0][0])
        process.append(figures[1][1] - figures[0][1])
    return statistics.median(thread), statistics.median(process)


def _dispatcher(ledger: Ledger | None) -> Dispatcher:
    dispatcher = Dispatcher({"origin": "benchmark"}, ledger=ledger)
    dispatcher.register_vendor(FakeVendor(ANSWER, name="openai"))
    return dispatcher


def _cost(dispatcher: Dispatcher, calls: int) -> tuple[float, float]:
    thread, process = time.thread_time(), time.process_time()
    for _ in range(calls):
        dispatcher.send(ASK)
    own = time.thread_time() - thread
    if dispatcher.ledger is not None:
        dispatcher.ledger.flush(60)
    return own / calls * 1e6, (time.process_time() - process) / calls * 1e6


def written(ledger: Ledger, batches: int = 20, size: int = 2000) -> tuple[float, float]:
    """Rows a second over whole transactions, calls and attempts by halves, and microseconds of CPU for each here."""
    desk = RowWriter(ledger._connected(), SYSTEM_CLOCK, new_id(SYSTEM_CLOCK), Path(tempfile.mkdtemp()) / "refused")
    desk.open()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(batches):
        calls = [_call(number) for number in range(size // 2)]
        desk.write((calls, [_attempt(row) for row in calls]))
    rows = batches * size
    return rows / (time.perf_counter() - wall), (time.process_time() - cpu) / rows * 1e6


def _call(number: int) -> Row:
    name = new_id(SYSTEM_CLOCK)
    fields = dict.fromkeys(CALL) | {"id": name, "begun_at": int(name[:16], 16), "origin": "app", "user": f"user{number % 50}"}
    fields |= {"vendor": "openai", "model": "gpt-4o-mini", "status": "success", "input_tokens": 100, "output_tokens": 50}
    fields |= {"cost": 45_000_000, "cost_status": "priced", "latency_us": 500_000, "attempts": 1}
    fields |= {"streamed": False, "cached": False, "hedged": False}
    return tuple([fields[column] for column in CALL])


def _attempt(call: Row) -> Row:
    fields = dict.fromkeys(ATTEMPT) | {"call_id": call[0], "number": 1, "begun_at": call[1], "vendor": "openai", "model": "m"}
    fields |= {"status": "success", "http_status": 200, "sent": True, "possibly_billed": False, "latency_us": 500_000}
    fields |= {"retry": False, "failover": False, "hedge": False, "continuation": False}
    return tuple([fields[column] for column in ATTEMPT])


if __name__ == "__main__":
    main()
