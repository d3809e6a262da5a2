"""What the tests of dispatchers share: a dispatcher of some vendors, and waiting for what another thread does."""

from __future__ import annotations

import threading
import time

from llmdispatcher import Config, Dispatcher
from llmdispatcher.runtime import SYSTEM_CLOCK

from ..conftest import PATIENCE


def dispatcher_of(*vendors, clock=SYSTEM_CLOCK, observers=(), **config):
    """A dispatcher of this configuration, with these vendors."""
    dispatcher = Dispatcher(Config(**config), observers=observers, clock=clock)
    for vendor in vendors:
        dispatcher.register_vendor(vendor)
    return dispatcher


def soon(condition, within=PATIENCE):
    """Whether ``condition`` comes true in time."""
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            return False
        threading.Event().wait(0.002)
    return True
