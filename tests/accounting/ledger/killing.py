"""Kills a process that makes calls, again and again, and compares what the ledger says with what the vendor served.

Run by hand: ``python tests/accounting/ledger/killing.py PATH_OR_URL KILLS [strict]``.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
from sqlalchemy import text

from llmdispatcher import open_ledger
from llmdispatcher.testing import SimulatedResponse, VendorSimulator

WORKER = """
import ctypes, os, sys, threading
from importlib import import_module
from llmdispatcher import Config, Dispatcher, OpenAIVendor, Request
from llmdispatcher import open_ledger
import_module("llmdispatcher.accounting.ledger.database")  # each life has it loaded, so that it is killed while it works
def say(line):
    os.write(1, (line + "\\n").encode())
def work(dispatcher, number, strict):
    for turn in range(10_000):
        ask = Request("gpt-4o", "hi", max_tokens=50, user=f"t{number}")
        if (turn + number) % 3:
            answer = dispatcher.send(ask)
        else:
            with dispatcher.send_streaming(ask) as stream:
                answer = stream.response()
        if strict or (turn % 5 == 0 and dispatcher.ledger.flush()):
            say(f"{answer.trace.call_id} {answer.usage.input_tokens + answer.usage.output_tokens}")
def live(url, place, strict):
    ledger = open_ledger(place, strict_accounting=strict, timeout=20)
    dispatcher = Dispatcher(Config(timeout=60), ledger=ledger)
    dispatcher.register_vendor(OpenAIVendor(api_key="k", base_url=url, trust_env=False))
    for number in range(4):
        threading.Thread(target=work, args=(dispatcher, number, strict)).start()
def end_with(parent):
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG, SIGKILL
    if os.getppid() != parent:
        os._exit(1)
end_with(int(sys.argv[1]))
mother = os.getpid()
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        end_with(mother)
        url, place, strict = line.split()
        live(url, place, strict == "strict")
        threading.Event().wait()
    say(f"born {pid}")
    os.waitpid(pid, 0)
    say("dead")
"""


@attrs.frozen(kw_only=True)
class Tale:
    """What was found: ``acknowledged`` are calls that a process said were safe, and the tokens of their answers."""

    kills: int
    served: int
    acknowledged: dict[str, int]
    statuses: dict[str, int]
    rows: dict[str, tuple[str, int]]
    daily: tuple[int, int, int]
    attempts: int
    open: int

    @property
    def lost(self) -> int:
        """Acknowledged calls that are not in the ledger, or not as they were acknowledged."""
        return sum(("success", tokens) != self.rows.get(call) for call, tokens in self.acknowledged.items())

    @property
    def answered_tokens(self) -> int:
        """Of all rows."""
        return sum(tokens for _status, tokens in self.rows.values())


@contextmanager
def a_mother() -> Iterator[subprocess.Popen[bytes]]:
    """A process that makes those that call."""
    command = [sys.executable, "-c", WORKER, str(os.getpid())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as mother:
        try:
            yield mother
        finally:
            mother.kill()


def kill_often(mother: subprocess.Popen[bytes], place: str, kills: int, *, strict: bool, seed: int = 1) -> Tale:
    """Let processes call and be killed at random moments; then look."""
    chance = random.Random(seed)
    acknowledged: dict[str, int] = {}
    with VendorSimulator(responses=SimulatedResponse("four tokens are these"), latency=0.01) as simulator:
        open_ledger(place).close()
        words = f"{simulator.openai_url} {place} {'strict' if strict else 'behind'}"
        for _ in range(kills):
            acknowledged.update(_one_life(mother, words, chance.randrange(20), chance.random() * 0.05))
    return _found(place, kills, simulator.hits, acknowledged)  # a simulator that is closed has read what it will ever read


def _one_life(mother: subprocess.Popen[bytes], words: str, wanted: int, seconds: float) -> dict[str, int]:
    """Have a process made, kill it so many seconds after it has acknowledged so many calls; gives all that it had."""
    assert mother.stdin is not None
    assert mother.stdout is not None
    mother.stdin.write(f"{words}\n".encode())
    mother.stdin.flush()
    told: dict[str, int] = {}
    child = 0
    while not child or len(told) < wanted:
        child = _heard(mother.stdout.readline(), told) or child
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    while (line := mother.stdout.readline()) != b"dead\n":
        _heard(line, told)
    return told


def _heard(line: bytes, told: dict[str, int]) -> int:
    """Note an acknowledgement; gives the pid of who was born."""
    first, second = line.split()
    if first == b"born":
        return int(second)
    told[first.decode()] = int(second)
    return 0


def _found(place: str, kills: int, served: int, acknowledged: dict[str, int]) -> Tale:
    with open_ledger(place) as ledger:
        assert ledger.flush(60)
        ledger.reconcile()
        with ledger.engine.connect() as connection:
            rows: list[Any] = list(
                connection.execute(
                    text(
                        "SELECT id, status, COALESCE(input_tokens, 0) + COALESCE(output_tokens, 0) AS tokens"
                        " FROM llmdispatcher_calls"
                    )
                )
            )
            sums = connection.execute(
                text("SELECT SUM(calls), SUM(unknown), SUM(input_tokens + output_tokens) FROM llmdispatcher_daily")
            ).one()
            attempts = connection.execute(
                text("SELECT COUNT(*), SUM(CASE WHEN status = 'open' THEN 1 ELSE 0 END) FROM llmdispatcher_attempts")
            ).one()
    return Tale(
        kills=kills,
        served=served,
        acknowledged=acknowledged,
        statuses=dict(Counter(row.status for row in rows)),
        rows={row.id: (row.status, row.tokens) for row in rows},
        daily=tuple(int(value or 0) for value in sums),  # type: ignore[arg-type]  # there are three
        attempts=attempts[0],
        open=attempts[1] or 0,
    )


def check(tale: Tale, *, strict: bool) -> None:
    """No acknowledged row is lost, none is there twice, and the sums are what was served."""
    assert 0 == tale.lost, "acknowledged rows are lost"
    assert not tale.open, "attempts are still open"
    assert "open" not in tale.statuses
    assert (len(tale.rows), tale.statuses.get("unknown", 0), tale.answered_tokens) == tale.daily
    each = next(iter(tale.acknowledged.values()), 0)
    assert tale.statuses.get("success", 0) * each == tale.answered_tokens
    if strict:
        assert tale.served <= tale.attempts, "the vendor served what nobody wrote down"
        assert tale.statuses.get("success", 0) <= tale.served
        assert tale.served <= tale.statuses.get("success", 0) + tale.statuses.get("unknown", 0) + tale.statuses.get("error", 0)


if __name__ == "__main__":
    demanded = "strict" in sys.argv[3:]
    begun = time.monotonic()
    with a_mother() as process:
        story = kill_often(process, sys.argv[1], int(sys.argv[2]), strict=demanded, seed=int(time.time()))
    check(story, strict=demanded)
    shown = {"kills": story.kills, "served": story.served, "acknowledged": len(story.acknowledged), "lost": story.lost}
    shown |= {"rows": len(story.rows), **story.statuses, "sums": str(story.daily), "seconds": str(round(time.monotonic() - begun))}
    Path("/dev/stdout").write_text(json.dumps(shown) + "\n")
