"""A drain: calls that have asked a vendor end by themselves, those that wait end at once, and nothing more is sent."""

from __future__ import annotations

import threading

import pytest

from llmdispatcher import Cancellation, Cancelled, Dispatcher, Observer, OpenAIVendor, RateLimit, Request
from llmdispatcher.testing import VendorSimulator, faults

from ..conftest import PATIENCE


class Gate:
    """An answer that comes when it is let."""

    def __init__(self):
        self.opened = threading.Event()

    def answer(self, asked):
        """Wait, then answer."""
        assert self.opened.wait(PATIENCE)
        return "Whole."


@pytest.fixture
def gate():
    """It is open at the end, whatever happens."""
    made = Gate()
    yield made
    made.opened.set()


@pytest.fixture
def simulator(gate):
    """A vendor that answers when the gate is open."""
    with VendorSimulator(responses=gate.answer) as running:
        yield running


def dispatcher(simulator, observers=(), **settings):
    """That vendor alone; it comes back to nobody soon."""
    patient = {"retry_policy": {"max_retries": 3, "backoff_strategy": "fixed", "initial_delay": 50}, "timeout": 3000}
    made = Dispatcher(patient, observers=observers)
    made.register_vendor(OpenAIVendor(api_key="simulated", base_url=simulator.openai_url, trust_env=False, **settings))
    return made


class Asking(threading.Thread):
    """A call in a thread of its own; what came of it."""

    def __init__(self, ask):
        super().__init__(daemon=True)
        self._ask = ask
        self.came = None
        self.start()

    def run(self):
        """Ask."""
        try:
            self.came = self._ask()
        except Cancelled as error:
            self.came = error

    def result(self):
        """What it gave or raised, in time."""
        self.join(PATIENCE)
        assert not self.is_alive(), "it still waits"
        return self.came


REQUEST = Request("gpt-4o", "Hello")
WAYS = {
    "whole": lambda made, cancel: made.send(REQUEST, cancel=cancel).content,
    "streamed": lambda made, cancel: made.send_streaming(REQUEST, cancel=cancel).response().content,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_what_was_sent_is_answered(simulator, gate, way):
    """And what comes after the drain is not sent."""
    cancel = Cancellation()
    with dispatcher(simulator) as made:
        asking = Asking(lambda: way(made, cancel))
        assert simulator.await_hits(1, PATIENCE)
        cancel.drain("the process ends")
        gate.opened.set()

        assert "Whole." == asking.result()
        with pytest.raises(Cancelled, match="the process ends"):
            way(made, cancel)
    assert 1 == simulator.hits


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_what_a_cache_was_to_remember_is_answered(simulator, gate, way):
    """Also where a stream may have several readers."""
    cancel = Cancellation()
    with Dispatcher({"cache": {"enabled": True}, "timeout": 3000}) as made:
        made.register_vendor(OpenAIVendor(api_key="simulated", base_url=simulator.openai_url, trust_env=False))
        asking = Asking(lambda: way(made, cancel))
        assert simulator.await_hits(1, PATIENCE)
        cancel.drain("the process ends")
        gate.opened.set()

        assert "Whole." == asking.result()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_wait_for_a_retry_ends_at_once(simulator, way):
    """Nothing is under way meanwhile."""
    cancel = Cancellation()
    simulator.always(faults.status(503))
    failed = threading.Event()
    heard = Observer()
    heard.on_attempt = lambda record: failed.set()
    with dispatcher(simulator, observers=[heard]) as made:
        asking = Asking(lambda: way(made, cancel))
        assert failed.wait(PATIENCE)
        cancel.drain("the process ends")

        assert isinstance(asking.result(), Cancelled)
    assert 1 == simulator.hits


def test_a_wait_for_a_place_ends_at_once(simulator, gate):
    """The call that has the place is answered, the one that waits for it is never sent."""
    cancel = Cancellation()
    with dispatcher(simulator, rate_limit=RateLimit(max_in_flight=1)) as made:
        first = Asking(lambda: WAYS["whole"](made, cancel))
        assert simulator.await_hits(1, PATIENCE)
        second = Asking(lambda: WAYS["whole"](made, cancel))
        while made.get_rate_limit_status("openai", "gpt-4o").waiting == 0:
            threading.Event().wait(0.01)
        cancel.drain("the process ends")

        assert isinstance(second.result(), Cancelled)
        gate.opened.set()
        assert "Whole." == first.result()
    assert 1 == simulator.hits


def test_a_failure_during_a_drain_is_not_retried(simulator):
    """It would be a request more."""
    cancel = Cancellation()

    simulator.always(faults.silent())
    with dispatcher(simulator, first_byte_timeout=0.5) as made:
        asking = Asking(lambda: WAYS["whole"](made, cancel))
        assert simulator.await_hits(1, PATIENCE)
        cancel.drain("the process ends")

        assert isinstance(asking.result(), Cancelled)
    assert 1 == simulator.hits


def test_hedges_are_drained_too(simulator, gate):
    """The leg that has asked may answer."""
    cancel = Cancellation()
    with Dispatcher({"hedge": {"after": 1000}, "timeout": 3000}) as made:
        for name in ("one", "two"):
            made.register_vendor(OpenAIVendor(name=name, api_key="simulated", base_url=simulator.openai_url, trust_env=False))
        asking = Asking(lambda: WAYS["whole"](made, cancel))
        assert simulator.await_hits(1, PATIENCE)
        cancel.drain("the process ends")
        gate.opened.set()

        assert "Whole." == asking.result()
