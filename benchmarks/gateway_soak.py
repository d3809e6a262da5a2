"""``python -m benchmarks.gateway_soak --minutes 60``: the gateway under mixed traffic, and whether its memory stays where it is.

Whole answers, streams, an agent's requests, clients that leave in the middle, wrong keys, models that nobody has, and bodies that
are none, by five keys with limits and budgets. The last figure is the slope of the worker's memory after the warm-up; the status is
1 when it is over its bar.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import attrs

from .gateway import CHAT, MESSAGES, QUESTION, agent_request
from .gateway_servers import Server, ours
from .server import vendor

BAR = 1.0
"""Megabytes for each 100,000 requests after the warm-up."""
WARM, WARM_REQUESTS = 1 / 3, 40_000
"""The part of the time that is warm-up, and the requests; the stats remember some thousands of latencies, routes and names."""
THREADS = 8
NAMES = 200
"""Models that nobody has; what is known of names is remembered, up to some thousands of them."""
EVERY = 5.0
"""Seconds between two looks at the memory."""


@attrs.frozen
class Sample:
    """The memory of the worker, in megabytes, when so many requests were done."""

    requests: int
    rss: float


class Traffic:
    """What the clients do, and how it ended; each thread has a connection of its own."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._agent = json.dumps(agent_request(anthropic=True)).encode()
        self._question = json.dumps(QUESTION).encode()
        self._stream = json.dumps({**QUESTION, "stream": True}).encode()
        self._count = itertools.count(1)
        self.done = 0
        self.ends: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.over = threading.Event()

    def run(self, seed: int) -> None:
        """Ask until it is over."""
        chance = random.Random(seed)
        kinds: list[tuple[Callable[[HTTPConnection, str], str], int]] = [
            (self._whole, 60),
            (self._streamed, 15),
            (self._left, 5),
            (self._agents, 5),
            (self._refused, 15),
        ]
        line = self._connect()
        while not self.over.is_set():
            kind = chance.choices([one for one, _ in kinds], [weight for _, weight in kinds])[0]
            try:
                self.ends[kind(line, chance.choice(self._server.keys))] += 1
            except (OSError, HTTPException) as error:
                self.ends[type(error).__name__] += 1
                line.close()
                line = self._connect()
            self.done = next(self._count)
        line.close()

    def _connect(self) -> HTTPConnection:
        parts = urlsplit(self._server.url)
        return HTTPConnection(parts.hostname or "", parts.port, timeout=60)

    def _ask(self, line: HTTPConnection, body: bytes, key: str, path: str = CHAT) -> tuple[int, bytes]:
        line.request("POST", path, body, {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
        answer = line.getresponse()
        return answer.status, answer.read()

    def _note(self, wanted: int, status: int, body: bytes, end: bytes = b"") -> str:
        if status != wanted or end not in body[-200:]:
            self.wrong = [*self.wrong[-9:], f"{status}: {body[-200:]!r}"]
            return "wrong"
        return f"{status}"

    def _whole(self, line: HTTPConnection, key: str) -> str:
        return self._note(200, *self._ask(line, self._question, key))

    def _streamed(self, line: HTTPConnection, key: str) -> str:
        return self._note(200, *self._ask(line, self._stream, key), end=b"[DONE]")

    def _agents(self, line: HTTPConnection, key: str) -> str:
        return self._note(200, *self._ask(line, self._agent, key, MESSAGES), end=b"message_stop")

    def _left(self, _line: HTTPConnection, key: str) -> str:
        with contextlib.closing(self._connect()) as own:
            own.request("POST", CHAT, self._stream, {"Authorization": f"Bearer {key}"})
            own.getresponse().read(300)
        return "left"

    def _refused(self, line: HTTPConnection, key: str) -> str:
        turn = self.done % 4
        if turn == 0:
            unknown = json.dumps({**QUESTION, "model": f"none-{self.done % NAMES}"}).encode()  # and so without a price
            return self._note(403, *self._ask(line, unknown, key))
        if turn == 1:
            return self._note(400, *self._ask(line, b"{", key))
        if turn == 2:
            return self._note(404, *self._ask(line, self._question, key, f"/v1/nothing-{self.done}"))
        status, body = self._ask(line, self._question, f"wrong-{self.done}")
        return self._note(status if status in (401, 429) else 401, status, body)


def slope(samples: list[Sample]) -> float:
    """Megabytes that the memory grows in 100,000 requests, by the line that fits best."""
    requests, sizes = [float(one.requests) for one in samples], [one.rss for one in samples]
    return statistics.linear_regression(requests, sizes).slope * 1e5


def main() -> int:
    """Soak, and tell."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway_soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long; default: 60")
    parser.add_argument("--samples", type=Path, help="a file for the memory over time, as CSV: requests, megabytes")
    options = parser.parse_args()
    seconds = 60 * options.minutes
    with tempfile.TemporaryDirectory() as name, vendor(chunks=50) as url, ours(url, Path(name), threads=128) as server:
        traffic = Traffic(server)
        clients = [threading.Thread(target=traffic.run, args=(seed,), daemon=True) for seed in range(THREADS)]
        for client in clients:
            client.start()
        samples, began = [], time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            time.sleep(min(EVERY, seconds - passed))
            if time.monotonic() - began > seconds * WARM and traffic.done > WARM_REQUESTS:
                samples.append(Sample(traffic.done, server.rss()))
        traffic.over.set()
        for client in clients:
            client.join(60)
    if len(samples) < 2:
        print(f"only {traffic.done:,} requests; {WARM_REQUESTS:,} are warm-up: give it more minutes")
        return 2
    if options.samples is not None:
        options.samples.write_text("".join([f"{one.requests},{one.rss:.2f}\n" for one in samples]))
    grown = slope(samples)
    first, last = statistics.mean([one.rss for one in samples[:5]]), statistics.mean([one.rss for one in samples[-5:]])
    print(f"requests {traffic.done:,}; after the warm-up {samples[-1].requests - samples[0].requests:,}")
    print("ends " + ", ".join([f"{end}: {count:,}" for end, count in sorted(traffic.ends.items())]))
    most = max([one.rss for one in samples])
    print(f"RSS of the worker after the warm-up {first:.1f} MB, at the end {last:.1f} MB, at most {most:.1f} MB")
    missed = abs(grown) > BAR
    print(f"slope {grown:+.2f} MB for 100,000 requests  bar {BAR:g}  {'MISSED' if missed else 'ok'}")
    for wrong in traffic.wrong[:5]:
        print(wrong)
    return int(missed or bool(traffic.wrong))


if __name__ == "__main__":
    sys.exit(main())
