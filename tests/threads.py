"""Work that several threads do at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

PATIENCE = 120.0
"""Seconds that the threads may need on a busy machine."""


def in_threads(work: Callable[..., object], calls: int | Iterable[Any]) -> None:
    """Call ``work`` in so many threads, or in one with each value; be back when all have ended."""
    values = [()] * calls if isinstance(calls, int) else [(value,) for value in calls]
    threads = [threading.Thread(target=work, args=value, daemon=True) for value in values]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads), f"after {PATIENCE:g} s some threads still work"
