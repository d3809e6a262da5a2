"""What importing costs, and that memory, threads and descriptors stay where they were over 100,000 calls."""

from __future__ import annotations

import threading
from pathlib import Path

from .calls import Rows, dispatcher_for, ours
from .measure import after_import, import_cpu, rss_kib
from .server import vendor

WARM, CALLS = 10_000, 100_000


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def imports() -> Rows:
    """CPU of the import against ``import requests``, memory, and that nothing is started or opened."""
    everything = "from llmdispatcher import *"
    made = "from llmdispatcher import Dispatcher; Dispatcher({})"
    more = import_cpu(made.format("ledger='nowhere.db'")) - import_cpu(made.format(""))  # nothing is opened before the first call
    base = import_cpu("import requests")
    state = after_import("import llmdispatcher")
    return [
        ("import requests, CPU", base * 1e3, None, "ms"),
        ("import llmdispatcher / import requests", import_cpu("import llmdispatcher") / base, 1.0, "x"),
        ("what a ledger adds to the first Dispatcher() / import requests", more / base, 1.0, "x"),
        ("every public name / import requests", import_cpu(everything) / base, None, "x"),
        ("RSS after import", state["rss_kib"] / 1024, 30.0, "MB"),
        ("RSS after import of every public name", after_import(everything)["rss_kib"] / 1024, None, "MB"),
        ("threads started", state["threads"] - 1, 0.0, ""),
        ("descriptors opened", state["descriptors"], 0.0, ""),
    ]


def memory() -> Rows:
    """RSS growth after the first 10,000 of 100,000 calls; threads and descriptors at the end against the warm start."""
    with vendor() as url:
        call = ours(dispatcher_for(url))
        for _ in range(WARM):
            call()
        rss, threads, descriptors = rss_kib(), threading.active_count(), _descriptors()
        for _ in range(CALLS - WARM):
            call()
        grown = rss_kib() - rss
        left = threading.active_count() - threads
        opened = _descriptors() - descriptors
    return [
        ("RSS growth over 90,000 calls", grown / 1024, 1.0, "MB"),
        ("threads left", left, 0.0, ""),
        ("descriptors left", opened, 0.0, ""),
    ]
