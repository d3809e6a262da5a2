"""Waiting in tests for what another thread does."""

from __future__ import annotations

import threading
import time

from ..conftest import PATIENCE


def soon(condition, within=PATIENCE):
    """Whether ``condition`` comes true in time."""
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            return False
        threading.Event().wait(0.002)
    return True
