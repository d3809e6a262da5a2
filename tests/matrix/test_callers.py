"""What callers do to a call over real sockets: walk away, close, cancel, read slowly, stop with an exception."""

from __future__ import annotations

import gc
import signal
import threading
import time

import pytest

from llmdispatcher import Cancellation, Cancelled, Dispatcher, Request, VendorUnavailable
from llmdispatcher.testing import VendorSimulator, faults

from .conftest import MODELS, descriptors, settled, vendor_at

LONG = " ".join(f"word{number}" for number in range(5_000))
KINDS = ["openai", "azure", "anthropic", "google"]


@pytest.fixture
def base():
    return threading.active_count(), descriptors()


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def talking(base, kind):
    """A vendor that talks for a long time, and a dispatcher towards it."""
    with VendorSimulator(answers=LONG, tokens_per_second=200) as simulator, Dispatcher() as dispatcher:
        dispatcher.register_vendor(vendor_at(simulator, kind, first_byte_timeout=30, idle_timeout=30))
        dispatcher.simulator, dispatcher.ask = simulator, Request(model=MODELS[kind], messages="talk", max_tokens=100_000)
        yield dispatcher


def workers():
    return [thread for thread in threading.enumerate() if thread.name.startswith(("llmdispatcher-stream", "llmdispatcher-watch"))]


def seconds_until_gone(within=2.0):
    started = time.monotonic()
    while workers() and time.monotonic() - started < within:
        threading.Event().wait(0.001)
    return time.monotonic() - started


def test_dropping_the_handle_hangs_up(talking):
    """C1: the reader is gone, the worker and its socket follow, also out of a reference cycle."""
    stream = talking.send_streaming(talking.ask)
    next(iter(stream))
    stream.circle = stream
    del stream
    gc.collect()

    assert seconds_until_gone() < 1.0


def test_a_reader_that_breaks_off_hangs_up(talking):
    """C3, C4: leaving the with block, by break or by exception, ends the vendor's stream."""

    def fail(chunk):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), talking.send_streaming(talking.ask) as stream:
        list(map(fail, stream))

    assert seconds_until_gone() < 1.0
    assert "Cancelled" in talking.get_stats().vendor_stats[stream.vendor].errors


def test_a_stalled_vendor_is_left_at_once(base):
    """C3: close() while the worker waits for the vendor's next byte takes milliseconds, not the idle limit."""
    with VendorSimulator(answers=LONG).always(faults.stall_after(3)) as simulator, Dispatcher() as dispatcher:
        dispatcher.register_vendor(vendor_at(simulator, "openai", first_byte_timeout=30, idle_timeout=30))
        stream = dispatcher.send_streaming(Request(model=MODELS["openai"], messages="talk"))
        reader = iter(stream)
        next(reader)
        stream.close()
        stream.close()

        assert seconds_until_gone() < 1.0
        with pytest.raises(Cancelled):
            list(reader)


def test_cancelling_a_plain_call_ends_it_at_once(base):
    """Another thread's cancel wakes a call that waits for a silent vendor; the connection is not reused."""
    cancel, taken = Cancellation(), []
    with VendorSimulator().always(faults.silent()) as simulator, Dispatcher() as dispatcher:
        dispatcher.register_vendor(vendor_at(simulator, "openai", first_byte_timeout=30))

        def stop():
            simulator.await_hits(1)
            taken.append(time.monotonic())
            cancel.cancel("changed my mind")

        stopper = threading.Thread(target=stop)
        stopper.start()
        with pytest.raises(Cancelled, match="changed my mind"):
            dispatcher.send(Request(model=MODELS["openai"], messages="hi"), cancel=cancel)
        taken.append(time.monotonic())
        stopper.join()

    assert taken[1] - taken[0] < 0.5
    assert (0, 0) == settled(base)


def test_late_cancels_never_hurt_the_next_user_of_a_connection():
    """A cancel that comes when its call is over does not touch the pooled connection: 400 calls, no innocent failure."""
    with VendorSimulator(answers="ok") as simulator, Dispatcher() as dispatcher:
        dispatcher.register_vendor(vendor_at(simulator, "openai", first_byte_timeout=30, idle_timeout=30))
        request = Request(model=MODELS["openai"], messages="hi")
        pending: list[Cancellation] = []
        innocent = []

        def call(count):
            for _ in range(count):
                cancel = Cancellation()
                try:
                    dispatcher.send(request, cancel=cancel)
                except VendorUnavailable as error:
                    innocent.append(error)
                pending.append(cancel)
                if len(pending) > 2:
                    pending.pop(0).cancel()

        threads = [threading.Thread(target=call, args=(100,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert [] == innocent


def test_ctrl_c_while_reading_ends_the_stream(talking):
    """C4: KeyboardInterrupt in the reading thread goes up, and nothing is left behind."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt), talking.send_streaming(talking.ask) as stream:
            list(stream)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert seconds_until_gone() < 1.0


def test_closing_from_a_signal_handler_is_safe(talking):
    """C3: the handler interrupts the very thread that reads; close() takes no lock, so nothing can deadlock."""
    stream = talking.send_streaming(talking.ask)
    before = signal.signal(signal.SIGALRM, lambda *_: stream.close())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(Cancelled):
            list(stream)
    finally:
        signal.signal(signal.SIGALRM, before)

    assert seconds_until_gone() < 1.0


def test_a_slow_reader_holds_the_vendor_back():
    """C2: the channel fills, then the socket; the vendor cannot run ahead of a reader that does not read."""
    huge = " ".join("x" * 1_000 for _ in range(5_000))
    with VendorSimulator(answers=huge) as simulator, Dispatcher() as dispatcher:
        dispatcher.register_vendor(vendor_at(simulator, "openai", first_byte_timeout=30, idle_timeout=0.3))
        stream = dispatcher.send_streaming(Request(model=MODELS["openai"], messages="talk", max_tokens=1_000_000))
        reader = iter(stream)
        next(reader)
        threading.Event().wait(
            0.8
        )  # longer than the idle limit: time in which the reader holds us back is not the vendor's silence
        waiting = stream.content_channel.qsize()
        rest = sum(len(chunk.content) for chunk in reader)

    assert waiting <= stream.content_channel.maxsize
    assert rest > 3_900_000


def test_connections_are_reused_and_bounded():
    """N10: 40 calls by 8 threads over a pool of 2 open no more than 2 connections, and all are answered."""
    with VendorSimulator(answers="ok") as simulator, Dispatcher() as dispatcher:
        dispatcher.register_vendor(vendor_at(simulator, "openai", pool_size=2, first_byte_timeout=30))
        requests = [Request(model=MODELS["openai"], messages="hi")] * 40

        assert ["ok"] * 40 == [response.content for response in dispatcher.map(requests, max_workers=8)]
        assert simulator.connections <= 2


def test_a_refused_connection_goes_elsewhere_without_waiting():
    """N1: nobody listens at the first vendor; the second answers at once and the refused one was certainly not sent to."""
    with VendorSimulator() as gone:
        gone.start()
    with VendorSimulator() as healthy, Dispatcher() as dispatcher:
        dispatcher.register_vendor(vendor_at(gone, "openai"))
        dispatcher.register_vendor(vendor_at(healthy, "anthropic", default_model=MODELS["anthropic"]))
        response = dispatcher.send(Request(model=MODELS["openai"], messages="hi"))

    assert ("anthropic", False) == (response.vendor, response.trace[0].sent)
    assert response.latency < 0.5
