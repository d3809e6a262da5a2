"""Closing a dispatcher: nothing begins any more, what is under way may end by itself for a while, and the rest is cancelled."""

import contextlib
import math
import threading
import time

import pytest

from llmdispatcher import Cancelled, Config, ConfigError, Dispatcher, Request, VendorUnavailable
from llmdispatcher.testing import FakeVendor

from ..conftest import PATIENCE, SLACK

ASK = Request("any-model", "hello")


class Gated(FakeVendor):
    """Answers when its gate opens; ``asked`` counts those that wait."""

    def __init__(self):
        super().__init__("at last")
        self.gate = threading.Event()
        self.asked = threading.Semaphore(0)

    def _wait_latency(self, deadline):
        self.asked.release()
        while not self.gate.wait(0.005):
            deadline.check()


@pytest.fixture
def vendor():
    return Gated()


@pytest.fixture
def dispatcher(vendor):
    with Dispatcher(Config(timeout=50)) as dispatcher:
        dispatcher.register_vendor(vendor)
        yield dispatcher


def called(dispatcher):
    """A call in a thread of its own, and where its end will be found."""
    ends = []

    def call():
        try:
            ends.append(dispatcher.send(ASK).content)
        except Exception as error:
            ends.append(type(error))

    thread = threading.Thread(target=call)
    thread.start()
    return thread, ends


def closed_in_background(dispatcher, seconds):
    thread = threading.Thread(target=dispatcher.close, kwargs={"drain": seconds})
    thread.start()
    while not dispatcher._in_flight._closed:
        time.sleep(0.001)
    return thread


def test_calls_under_way_end_by_themselves(dispatcher, vendor):
    """A call and a stream that end within the time are whole, and closing is over as soon as they are."""
    stream = dispatcher.send_streaming(ASK)
    thread, ends = called(dispatcher)
    assert vendor.asked.acquire(timeout=PATIENCE)
    assert vendor.asked.acquire(timeout=PATIENCE)
    closing = closed_in_background(dispatcher, 45)
    started = time.monotonic()
    vendor.gate.set()
    thread.join(PATIENCE)
    closing.join(PATIENCE)

    assert (["at last"], "at last", False) == (ends, stream.response().content, closing.is_alive())
    assert time.monotonic() - started < SLACK


def test_what_does_not_end_in_time_is_cancelled(dispatcher, vendor):
    """The reader of a stream and the caller of a call hear that the dispatcher was closed, soon after the time is over."""
    stream = dispatcher.send_streaming(ASK)
    thread, ends = called(dispatcher)
    assert vendor.asked.acquire(timeout=PATIENCE)
    assert vendor.asked.acquire(timeout=PATIENCE)
    started = time.monotonic()
    dispatcher.close(drain=0.2)
    with pytest.raises(Cancelled, match="the dispatcher was closed"):
        stream.response()
    thread.join(PATIENCE)

    assert [Cancelled] == ends
    assert 0.2 <= time.monotonic() - started < SLACK


def test_nothing_begins_while_it_drains(dispatcher, vendor):
    """New calls and streams are refused at once, although an old call still has its time."""
    thread, ends = called(dispatcher)
    assert vendor.asked.acquire(timeout=PATIENCE)
    closing = closed_in_background(dispatcher, 45)
    for call in (dispatcher.send, dispatcher.send_streaming):
        with pytest.raises(ConfigError, match="closed"):
            call(ASK)
    vendor.gate.set()
    thread.join(PATIENCE)
    closing.join(PATIENCE)

    assert (["at last"], 1) == (ends, vendor.hits)


def test_without_calls_there_is_nothing_to_wait_for(dispatcher):
    """A minute's drain of an idle dispatcher takes no time; closing again neither."""
    started = time.monotonic()
    dispatcher.close(drain=60)
    dispatcher.close(drain=60)

    assert time.monotonic() - started < SLACK


def test_two_may_drain_at_once(dispatcher, vendor):
    """Whoever closes it, everybody is let go when the last call has ended."""
    thread, _ = called(dispatcher)
    assert vendor.asked.acquire(timeout=PATIENCE)
    closers = [closed_in_background(dispatcher, 45) for _ in range(3)]
    vendor.gate.set()
    for one in (thread, *closers):
        one.join(PATIENCE)

    assert [False] * 3 == [closer.is_alive() for closer in closers]


@pytest.mark.parametrize("drain", [-1, math.inf, math.nan, "5", None, True])
def test_the_time_is_a_number(dispatcher, drain):
    """Anything else is refused, and the dispatcher stays open."""
    with pytest.raises(ConfigError, match="drain"):
        dispatcher.close(drain=drain)

    dispatcher.get_vendor("fake").gate.set()
    assert "at last" == dispatcher.send(ASK).content


@pytest.mark.parametrize("answer", ["fine", VendorUnavailable("down", retry_here=False)])
def test_every_end_is_an_end(answer):
    """Neither an answer nor a failure, of a call or a stream, is waited for once it is there."""
    dispatcher = Dispatcher()
    dispatcher.register_vendor(FakeVendor(answer))
    for ask in (dispatcher.send, lambda request: dispatcher.send_streaming(request).response()):
        with contextlib.suppress(VendorUnavailable):
            ask(ASK)
    started = time.monotonic()
    dispatcher.close(drain=60)

    assert time.monotonic() - started < SLACK
