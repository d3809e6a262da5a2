"""Waiting in tests for what another thread does."""

from __future__ import annotations

import threading
import time


def soon(condition, within=10.0):
    """Whether ``condition`` comes true in time."""
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            return False
        threading.Event().wait(0.002)
    return True
