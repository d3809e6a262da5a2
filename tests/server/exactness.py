"""How exact budgets and limits are over hosts: two gateways of two workers each, over PostgreSQL and Redis, under many threads.

``python -m tests.server.exactness`` runs the long form (64 threads a worker), with workers killed, PostgreSQL restarted and Redis
killed under load, and prints the figures; the short form is in ``test_exactness.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import requests
import sqlalchemy as sa

from llmdispatcher import Response, Usage
from llmdispatcher.server import KeyStore
from llmdispatcher.testing import OK, VendorSimulator

from ..loopback_postgres import Postgres, binaries
from ..loopback_redis import Server, quiet_port
from ..orphans import mortal
from .away import _children, away

USAGE = Usage(input_tokens=1000, output_tokens=100)
BODY = {"model": "gpt-4o-mini", "max_tokens": 200, "messages": [{"role": "user", "content": "Why is the sky blue? " * 20}]}
LONG = {"messages": [{"role": "user", "content": "Why is the sky blue? " * 200}]}
"""A question for which more is reserved than the answer costs."""
_CONFIG = """default_vendor = "openai"
retry_policy = {{ max_retries = 0 }}
[vendors.openai]
api_key = "sk-of-the-gateway"
base_url = "{url}"
"""


class Fleet:
    """The gateways, their stores, and the simulated vendor, which counts what it served."""

    def __init__(self, place: str, redis: str, folder: Path, *, hosts: int = 2, workers: int = 2, threads: int = 64) -> None:
        self.simulator = VendorSimulator(latency=0.02, keep=100)
        self.simulator.always(Response(content="hi", model="gpt-4o-mini", vendor="openai", finish_reason="stop", usage=USAGE))
        self.store = KeyStore(place)
        self.store.budgets.prepare()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.urls: list[str] = []
        self._folder, self._place, self._redis = folder, place, redis
        self._workers, self._threads = workers, threads
        (folder / "config.toml").write_text(_CONFIG.format(url=self.simulator.openai_url))
        for _ in range(hosts):
            self._start()

    def _start(self) -> None:
        port = quiet_port()
        patient = f"{self._redis}?socket_timeout=20&socket_connect_timeout=20"  # this measures exactness, and not the machine
        words = ["serve", "--config", str(self._folder / "config.toml"), "--database", self._place, "--redis", patient]
        words += ["--port", str(port), "--workers", str(self._workers), "--threads", str(self._threads * 16), "--drain", "5"]
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "TMPDIR")}
        with (self._folder / f"log-{port}").open("wb") as log:
            process = subprocess.Popen(
                mortal([sys.executable, "-m", "llmdispatcher", *words], ending=signal.SIGTERM),
                env={**kept, "HOME": str(self._folder), "PYTHONUTF8": "1"},
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        url = f"http://127.0.0.1:{port}"
        self.urls.append(url)
        end = time.monotonic() + 300
        while time.monotonic() < end:
            assert process.poll() is None, (self._folder / f"log-{port}").read_text()
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(f"{url}/readyz", timeout=10).status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError("a gateway does not start")

    def cost(self) -> Decimal:
        """What one answer costs."""
        _, secret = self.store.create("to see a cost")
        return Decimal(self.ask(secret).headers["x-llmdispatcher-cost"])

    def ask(self, secret: str, number: int = 0, **more: Any) -> requests.Response:
        """One question, to one host after the other."""
        url = self.urls[number % len(self.urls)]
        headers = {"Authorization": f"Bearer {secret}"}
        return requests.post(f"{url}/v1/chat/completions", json={**BODY, **more}, headers=headers, timeout=120)

    def load(self, secret: str, calls: int, threads: int, **more: Any) -> Counter[int | str]:
        """So many questions of so many threads at once: how often each status came, or code of 503; 0 is a broken connection."""

        def one(number: int) -> int | str:
            try:
                answer = self.ask(secret, number, **more)
            except requests.RequestException:
                return 0
            return answer.status_code if answer.status_code != 503 else str(answer.json()["error"]["code"])

        with ThreadPoolExecutor(threads) as pool:
            return Counter(pool.map(one, range(calls)))

    def balance(self, key_id: str) -> tuple[Decimal, Decimal]:
        """What stands in the account of a key: spent, and reserved."""
        url = sa.make_url(self._place).set(drivername="postgresql+psycopg")
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        query = sa.text("SELECT spent, reserved FROM llmdispatcher_budgets WHERE share = :share AND name LIKE 'key/%'")
        with engine.connect() as connection:
            row = connection.execute(query, {"share": key_id}).one_or_none()
        return (Decimal(0), Decimal(0)) if row is None else (Decimal(row[0]).scaleb(-12), Decimal(row[1]).scaleb(-12))

    def settled(self, key_id: str, seconds: float = 60.0) -> tuple[Decimal, Decimal]:
        """The account when nothing is reserved any more, or seconds have passed."""
        end = time.monotonic() + seconds
        while self.balance(key_id)[1] and time.monotonic() < end:
            time.sleep(0.1)
        return self.balance(key_id)

    def worker_pids(self) -> list[int]:
        """The processes that answer."""
        return [child for process in self.processes for child in _children(process.pid)]

    def close(self) -> None:
        """End all."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.store.close()
        self.simulator.close()


def fleet(place: str, redis: str, folder: Path, **sizes: int) -> contextlib.closing[Fleet]:
    """A fleet that ends with the block."""
    return contextlib.closing(Fleet(place, redis, folder, **sizes))


def budget_is_exact(made: Fleet, *, strict: bool, answers: int, calls: int, threads: int) -> dict[str, Any]:
    """Ask for more than a budget has: the figures, which are asserted."""
    cost, before = made.cost(), made.simulator.hits
    limit = cost * answers
    key, secret = made.store.create("a budget", budget=f"{limit:f}", strict=strict)
    before = made.simulator.hits
    statuses = made.load(secret, calls, threads)
    spent, reserved = made.settled(key.id)
    served = made.simulator.hits - before
    assert set(statuses) <= {200, 402, "budget_unavailable"}, statuses
    assert (served, Decimal(0)) == (statuses[200], reserved)
    assert served * cost == spent
    overshoot = max(Decimal(0), spent - limit)
    assert overshoot == 0 if strict else overshoot <= threads * cost, (spent, limit)
    if spent >= limit:
        assert 402 == made.ask(secret).status_code
    return {"statuses": dict(statuses), "answered": served, "limit": limit, "spent": spent, "overshoot": overshoot}


def limits_are_exact(made: Fleet, *, requests_per_minute: int, calls: int, threads: int) -> dict[str, Any]:
    """Ask more often than a minute allows, and the same of calls in flight."""
    _, secret = made.store.create("a limit", requests_per_minute=requests_per_minute)
    begun = time.monotonic()
    statuses = made.load(secret, calls, threads)
    minutes = int((time.monotonic() - begun) // 60) + 1
    assert set(statuses) <= {200, 429}, statuses
    assert requests_per_minute <= statuses[200] <= minutes * requests_per_minute, statuses
    _, flying = made.store.create("in flight", in_flight=4)
    most, now, lock = [0], [0], threading.Lock()

    def answer(_body: Any) -> str:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.05)
        with lock:
            now[0] -= 1
        return "hi"

    always = made.simulator._always
    made.simulator.always(OK)
    made.simulator.responses = answer
    flights = made.load(flying, calls // 2, threads)
    made.simulator.responses = None
    made.simulator.always(always)
    assert set(flights) <= {200, 429}
    assert 1 <= most[0] <= 4, most
    return {"answered": statuses[200], "limit": requests_per_minute, "most in flight": most[0]}


def failures_lose_nothing(
    made: Fleet, postgres: Postgres, redis: Server, *, calls: int, threads: int, pause: float = 2.0
) -> dict[str, Any]:
    """Kill workers, PostgreSQL and Redis under load: what was served is spent, or reserved still by calls that were killed.

    The load comes in rounds of ``calls`` until the last server is back; ``pause`` is in seconds.
    The database goes last: a worker that is killed while that is away takes along what it has granted since.
    """
    cost = made.cost()
    key, secret = made.store.create("a key", budget="1000", in_flight=10_000)
    before = made.simulator.hits
    statuses: Counter[int | str] = Counter()
    over = threading.Event()

    def load() -> None:
        while not over.is_set():
            statuses.update(made.load(secret, calls, threads, **LONG))

    loading = threading.Thread(target=load)
    loading.start()
    for step in ("worker", "redis", "worker", "postgres"):
        time.sleep(pause)
        if step == "worker":
            os.kill(made.worker_pids()[-1], signal.SIGKILL)
        else:
            with away({"redis": redis, "postgres": postgres}[step], "kill"):
                time.sleep(pause / 2)
    over.set()
    loading.join()
    spent, reserved = made.settled(key.id, 15.0)
    served = made.simulator.hits - before
    assert spent + reserved >= served * cost, (spent, reserved, served * cost)
    assert spent <= served * cost
    return {
        "statuses": dict(statuses),
        "served": served,
        "bill": served * cost,
        "spent": spent,
        "reserved by killed calls": reserved,
    }


def main() -> None:
    """The long form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=256, help="of all clients together: two hosts x two workers x 64")
    parser.add_argument("--calls", type=int, default=4000)
    options = parser.parse_args()
    programs = binaries()
    assert programs is not None, "PostgreSQL is not installed"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pg").mkdir()
        folder.chmod(0o755)
        postgres, redis = Postgres(programs, folder / "pg"), Server(folder)
        postgres.create()
        postgres.start()
        redis.start()
        try:
            with fleet(postgres.database(), redis.url, folder) as made:
                size = {"calls": options.calls, "threads": options.threads}
                print("strict:", budget_is_exact(made, strict=True, answers=options.calls // 4, **size), flush=True)
                print("estimate:", budget_is_exact(made, strict=False, answers=options.calls // 4, **size), flush=True)
                print("limits:", limits_are_exact(made, requests_per_minute=options.calls // 8, **size), flush=True)
                print("failures:", failures_lose_nothing(made, postgres, redis, **size), flush=True)
        finally:
            redis.stop()
            postgres.stop()


if __name__ == "__main__":
    main()
