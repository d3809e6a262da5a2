"""What the tests of dispatchers share: making one, a vendor that answers when it is let, and waiting for other threads."""

from __future__ import annotations

import threading
import time

from llmdispatcher import Config, Dispatcher
from llmdispatcher.runtime import SYSTEM_CLOCK
from llmdispatcher.testing import FakeVendor

from ..conftest import PATIENCE


def dispatcher_of(*vendors, clock=SYSTEM_CLOCK, observers=(), **config):
    """A dispatcher of this configuration, with these vendors."""
    dispatcher = Dispatcher(Config(**config), observers=observers, clock=clock)
    for vendor in vendors:
        dispatcher.register_vendor(vendor)
    return dispatcher


def in_thread(work, *arguments):
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    return thread


class Gated(FakeVendor):
    """Answers when it is let; ``most`` is how many calls it has had at once, ``order`` whose they were."""

    def __init__(self, rate_limit=None, **settings):
        super().__init__("fine", **settings)
        self.rate_limit = rate_limit
        self.gate = threading.Semaphore(0)
        self.busy = self.most = 0
        self.order = []
        self._counting = threading.Lock()

    def send(self, request, deadline):
        with self._counting:
            self.busy += 1
            self.most = max(self.most, self.busy)
            self.order.append(request.user)
        try:
            while not self.gate.acquire(timeout=0.005):
                deadline.check()
            return super().send(request, deadline)
        finally:
            with self._counting:
                self.busy -= 1

    def answer(self, *threads, calls=1):
        """Let so many calls answer, and wait for the threads."""
        self.gate.release(calls)
        for thread in threads:
            thread.join(PATIENCE)


def soon(condition, within=PATIENCE):
    """Whether ``condition`` comes true in time."""
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            return False
        threading.Event().wait(0.002)
    return True
