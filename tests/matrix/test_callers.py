"""What callers do to a call over real sockets: walk away, close, cancel, read slowly, stop with an exception."""

from __future__ import annotations

import gc
import signal
import threading
import time

import pytest

from llmdispatcher import Cancellation, Cancelled, Dispatcher, Request, VendorUnavailable
from llmdispatcher.testing import VendorSimulator, faults

from ..conftest import PATIENCE, SLACK
from .conftest import MODELS, Hurried, ask, descriptors, settled, vendor_at

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
    """A vendor that talks for far longer than :data:`SLACK`, and a dispatcher towards it."""
    with VendorSimulator(responses=LONG, tokens_per_second=100) as simulator, Dispatcher() as dispatcher:
        dispatcher.register_vendor(vendor_at(simulator, kind, each=45))
        dispatcher.simulator, dispatcher.ask = simulator, Request(model=MODELS[kind], messages="talk", max_tokens=100_000)
        yield dispatcher


def workers():
    return [thread for thread in threading.enumerate() if thread.name.startswith(("llmdispatcher-stream", "llmdispatcher-reaper"))]


def gone():
    """Whether all workers end, long before their vendor does."""
    end = time.monotonic() + SLACK
    while workers() and time.monotonic() < end:
        threading.Event().wait(0.001)
    return not workers()


def test_dropping_the_handle_hangs_up(talking):
    """C1: the reader is gone, the worker and its socket follow, also out of a reference cycle."""
    stream = talking.send_streaming(talking.ask)
    next(iter(stream))
    stream.circle = stream
    del stream
    gc.collect()

    assert gone()


def test_a_reader_that_breaks_off_hangs_up(talking):
    """C3, C4: leaving the with block, by break or by exception, ends the vendor's stream."""

    def fail(chunk):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), talking.send_streaming(talking.ask) as stream:
        list(map(fail, stream))

    assert gone()
    assert "Cancelled" in talking.get_stats().vendor_stats[stream.vendor].errors


def test_a_stalled_vendor_is_left_at_once(base):
    """C3: close() while the worker waits for the vendor's next byte does not wait for the idle limit."""
    with VendorSimulator(responses=LONG).always(faults.stall_after(3)) as simulator, Dispatcher() as dispatcher:
        dispatcher.register_vendor(vendor_at(simulator, "openai", each=45))
        stream = dispatcher.send_streaming(Request(model=MODELS["openai"], messages="talk"))
        reader = iter(stream)
        next(reader)
        stream.close()
        stream.close()

        assert gone()
        with pytest.raises(Cancelled):
            list(reader)


def test_cancelling_a_plain_call_ends_it_at_once(base):
    """Another thread's cancel wakes a call that waits for a silent vendor; the connection is not reused."""
    cancel, taken = Cancellation(), []
    with VendorSimulator().always(faults.silent()) as simulator, Dispatcher() as dispatcher:
        dispatcher.register_vendor(vendor_at(simulator, "openai", each=45))

        def stop():
            simulator.await_hits(1, PATIENCE)
            taken.append(time.monotonic())
            cancel.cancel("changed my mind")

        stopper = threading.Thread(target=stop)
        stopper.start()
        with pytest.raises(Cancelled, match="changed my mind"):
            dispatcher.send(Request(model=MODELS["openai"], messages="hi"), cancel=cancel)
        taken.append(time.monotonic())
        stopper.join()

    assert taken[1] - taken[0] < SLACK
    assert (0, 0) == settled(base)


def test_late_cancels_never_hurt_the_next_user_of_a_connection():
    """A cancel that comes when its call is over does not touch the pooled connection: 200 calls, no innocent failure."""
    with VendorSimulator(responses="ok") as simulator, Dispatcher() as dispatcher:
        dispatcher.register_vendor(vendor_at(simulator, "openai", each=45))
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

        threads = [threading.Thread(target=call, args=(50,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert [] == innocent


def test_ctrl_c_while_reading_ends_the_stream(talking):
    """C4: KeyboardInterrupt in the reading thread goes up, and nothing is left behind."""

    heard = []

    def interrupted_soon(chunk):
        if not heard:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
        heard.append(chunk)

    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), talking.send_streaming(talking.ask) as stream:
            list(map(interrupted_soon, stream))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert gone()


def test_closing_from_a_signal_handler_is_safe(talking):
    """C3: the handler interrupts the very thread that reads; close() takes no lock, so nothing can deadlock."""
    stream = talking.send_streaming(talking.ask)
    before = signal.signal(signal.SIGALRM, lambda *_: stream.close())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(Cancelled):
            list(stream)
    finally:
        signal.signal(signal.SIGALRM, before)

    assert gone()


def test_a_slow_reader_holds_the_vendor_back():
    """C2: the channel fills, then the socket; the vendor cannot run ahead of a reader that does not read."""
    huge = " ".join("x" * 1_000 for _ in range(5_000))
    with VendorSimulator(responses=huge) as simulator, Dispatcher() as dispatcher:
        dispatcher.register_vendor(vendor_at(simulator, "openai", idle_timeout=1.0))
        stream = dispatcher.send_streaming(Request(model=MODELS["openai"], messages="talk", max_tokens=1_000_000))
        reader = iter(stream)
        next(reader)
        time.sleep(1.3)  # longer than the idle limit: time in which the reader holds us back is not the vendor's silence
        waiting = stream.content_channel.qsize()
        rest = sum(len(chunk.content) for chunk in reader)

    assert waiting <= stream.content_channel.maxsize
    assert rest > 3_900_000


def test_connections_are_reused_and_bounded():
    """N10: 40 calls by 8 threads over a pool of 2 open no more than 2 connections, and all are answered."""
    with VendorSimulator(responses="ok") as simulator, Dispatcher() as dispatcher:
        dispatcher.register_vendor(vendor_at(simulator, "openai", pool_size=2, each=45))
        requests = [Request(model=MODELS["openai"], messages="hi")] * 40

        assert ["ok"] * 40 == [response.content for response in dispatcher.map(requests, max_workers=8)]
        assert simulator.connections <= 2


def test_a_refused_connection_goes_elsewhere_without_waiting():
    """N1: nobody listens at the first vendor; the second answers at once and the refused one was certainly not sent to."""
    with VendorSimulator() as gone:
        gone.start()
    with VendorSimulator() as healthy:
        vendors = [vendor_at(gone, "openai"), vendor_at(healthy, "anthropic", default_model=MODELS["anthropic"])]
        result = ask(vendors, "openai", streamed=False, retries=2, clock=(clock := Hurried()))

    refused, answered = result.outcomes[0].attempts
    assert ("ok", "anthropic", False) == (result.name, answered.vendor, refused.sent)
    assert (True, []) == (result.seconds < SLACK, clock.waits)
