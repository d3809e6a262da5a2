"""How we measure: CPU of this process, rounds taken in turn, medians, ratios."""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

Taken = TypeVar("Taken")

TURN = 10
"""Calls until the next client has its turn: a machine that is slow for a moment is then slow for all of them."""


def cpu_per_call(clients: Mapping[str, Callable[[], object]], calls: int, rounds: int = 7) -> dict[str, float]:
    """Seconds of CPU per call of each client, median over the turns in which each makes ``calls`` times ``rounds`` calls.

    Each round has an order of its own: who comes after a client that is much like it finds its code in the processor's caches.
    """
    taken: dict[str, list[float]] = {name: [] for name in clients}
    turn = min(calls, TURN)
    for client in clients.values():
        for _ in range(max(3, calls // 10)):
            client()
    for _ in range(rounds * calls // turn):
        for name, client in random.sample(list(clients.items()), len(clients)):
            started = time.process_time()
            for _ in range(turn):
                client()
            taken[name].append((time.process_time() - started) / turn)
    return {name: statistics.median(values) for name, values in taken.items()}


def in_fresh_processes(work: Callable[..., Taken], *arguments: object, processes: int = 7) -> list[Taken]:
    """What ``work`` gives in each of several processes, one after the other.

    Where an interpreter has put its code and its objects makes one process some percent slower than another, for as long as it
    lives: no number of rounds within it shows that.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        return [pool.submit(work, *arguments).result() for _ in range(processes)]


def import_cpu(statement: str, rounds: int = 9) -> float:
    """Seconds of CPU that a fresh interpreter spends on ``statement``, bare start-up not counted, median of rounds."""
    script = f"import time; t = time.process_time()\n{statement}\nprint(time.process_time() - t)"
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(Path.cwd())!r})\n{script}"]
    taken = [float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(rounds)]
    return statistics.median(taken)


def after_import(statement: str) -> dict[str, int]:
    """RSS in KiB, threads, open descriptors (beyond the standard three) and modules after ``statement`` in a fresh interpreter."""
    script = (
        f"import sys, os; sys.path.insert(0, {str(Path.cwd())!r})\n{statement}\n"
        "import pathlib, threading\n"
        "status = dict(line.split(':', 1) for line in pathlib.Path('/proc/self/status').read_text().splitlines())\n"
        "print(status['VmRSS'].split()[0], threading.active_count(), len(os.listdir('/proc/self/fd')) - 4, len(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], check=True, capture_output=True, text=True)
    rss, threads, descriptors, modules = map(int, done.stdout.split())
    return {"rss_kib": rss, "threads": threads, "descriptors": descriptors, "modules": modules}


def rss_kib() -> int:
    """Resident memory of this process in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise OSError("this system does not tell a process its memory")
