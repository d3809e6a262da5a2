"""Who reads a stream: a worker, or whoever iterates; and the thread that ends streams whose reader is gone."""

import contextlib
import gc
import signal
import threading
import time

import pytest

from llmdispatcher import Cancellation, Cancelled, DeadlineExceeded, Dispatcher, OpenAIVendor, Request, StreamInterrupted
from llmdispatcher.dispatcher.streaming import REAPER
from llmdispatcher.testing import VendorSimulator, faults

from ..conftest import PATIENCE, SLACK
from .parts import soon

NUMBERS = [f"{number} " for number in range(400)]
ASK = Request(model="gpt-4o", messages="count", max_tokens=100_000)

# Fifty streams have deadlines, and alarms must not ring inside a measure of coverage.
pytestmark = pytest.mark.usefixtures("untraced")


@pytest.fixture
def heard():
    return []


@pytest.fixture
def counting(heard):
    """A dispatcher towards a vendor that counts to 400 in small pieces."""
    with VendorSimulator(responses="".join(NUMBERS)) as simulator, Dispatcher(observers=[heard.append]) as dispatcher:
        dispatcher.register_vendor(OpenAIVendor(api_key="sk-1", base_url=simulator.openai_url, trust_env=False))
        yield dispatcher


@pytest.fixture
def stalling(heard):
    """A dispatcher towards a vendor that says a few words and then nothing."""
    with dispatching(faults.stall_after(3), heard) as dispatcher:
        yield dispatcher


@pytest.fixture
def trickling(heard):
    """One towards a vendor that says a word now and then: the worker of a stream goes at the first that comes to a reader."""
    with dispatching(faults.trickle(0.1), heard) as dispatcher:
        yield dispatcher


@contextlib.contextmanager
def dispatching(fault, heard):
    with (
        VendorSimulator(responses="".join(NUMBERS)).always(fault) as simulator,
        Dispatcher(observers=[heard.append]) as dispatcher,
    ):
        dispatcher.register_vendor(OpenAIVendor(api_key="sk-1", base_url=simulator.openai_url, trust_env=False))
        yield dispatcher


def named(prefix):
    return [thread for thread in threading.enumerate() if thread.name.startswith(f"llmdispatcher-{prefix}")]


def test_whoever_iterates_reads_himself(trickling):
    """The worker has gone; there are not two threads for one stream."""
    with trickling.send_streaming(ASK) as stream:
        reader = threading.Thread(target=_to_the_end, args=(stream,))
        reader.start()

        assert soon(lambda: stream.vendor is not None and not named("stream"))
        assert 1 == len(named("reaper"))
    reader.join(PATIENCE)
    assert not reader.is_alive()


def test_nothing_is_lost_or_turned_round_when_the_reader_takes_over(counting):
    """The pieces are those that were sent, in order, whenever the reader begins."""
    for wait in (0, 0.001, 0.005, 0.02, 0.1):
        with counting.send_streaming(ASK) as stream:
            threading.Event().wait(wait)
            assert "".join(NUMBERS) == "".join([chunk.content for chunk in stream])


def test_a_reader_that_is_not_back_in_time_does_not_hold_the_call(stalling, heard):
    """The stream ends at its deadline although its reader is busy elsewhere, and the reader hears of it when he comes back."""
    stream = stalling.send_streaming(ASK, timeout=1.0)
    reader = iter(stream)
    next(reader)
    started = time.monotonic()

    assert soon(lambda: heard)
    assert time.monotonic() - started < 1.0 + SLACK
    assert isinstance(heard[0].error, DeadlineExceeded)
    with pytest.raises(DeadlineExceeded):
        list(reader)


def test_a_cancel_ends_a_stream_whose_reader_is_elsewhere(trickling, heard):
    """Nobody waits at the socket to be woken; the thread that watches idle streams is woken."""
    cancel = Cancellation()
    stream = trickling.send_streaming(ASK, cancel=cancel)
    reader = iter(stream)
    next(reader)
    assert soon(lambda: not named("stream"))
    started = time.monotonic()
    cancel.cancel("enough")

    assert soon(lambda: heard)
    assert time.monotonic() - started < SLACK
    with pytest.raises(Cancelled, match="enough"):
        list(reader)


def test_closing_the_dispatcher_ends_a_stream_whose_reader_is_elsewhere(stalling, heard):
    """One outcome, and no thread and no socket stays behind."""
    reader = iter(stalling.send_streaming(ASK))
    next(reader)
    stalling.close()

    assert soon(lambda: len(heard) == 1 and not named("stream") and not named("reaper"))


def test_a_worker_goes_on_when_the_reader_breaks_off(counting, heard):
    """Whoever leaves the loop may still wait for the end, or ask for the whole."""
    stream = counting.send_streaming(ASK)
    for _ in stream:
        break

    assert stream.done_channel.get(timeout=20)
    assert "".join(NUMBERS) == stream.response().content
    assert [None] == [outcome.error for outcome in heard]


def test_a_reader_that_leaves_while_the_worker_lays_down_for_him_holds_nothing_up(counting, monkeypatch):
    """The worker has seen him, he goes and finds nothing lying there, and then it lies there: somebody goes on all the same."""
    gone = threading.Event()
    add = REAPER.add
    monkeypatch.setattr(REAPER, "add", lambda feed: gone.wait(PATIENCE) and add(feed))
    stream = counting.send_streaming(ASK)
    reader = iter(stream)
    next(reader)
    reader.close()
    done = stream.done_channel
    gone.set()

    assert done.get(timeout=PATIENCE)
    assert "".join(NUMBERS) == stream.response().content


def test_a_second_loop_goes_on_where_the_first_ended(counting):
    """What the first had read and not given is gone, as with any iterator; all else comes once and in order."""
    with counting.send_streaming(ASK) as stream:
        first = next(iter(stream)).content
        rest = "".join([chunk.content for chunk in stream])

    assert (True, True) == ("".join(NUMBERS).startswith(first), "".join(NUMBERS).endswith(rest))
    assert "".join(NUMBERS) == stream.response().content


def test_loop_and_channel_share_a_stream(counting):
    """Whoever asks for the channel gets a worker that feeds it; no piece is given twice and none is lost."""
    pieces = [chunk.content for chunk in counting.send_streaming(ASK)]
    stream = counting.send_streaming(ASK)
    reader = iter(stream)
    seen = [next(reader).content]
    other = threading.Thread(target=lambda: seen.extend([chunk.content for batch in _batches(stream) for chunk in batch]))
    other.start()
    seen.extend([chunk.content for chunk in reader])
    other.join(PATIENCE)

    assert sorted(filter(None, pieces)) == sorted(filter(None, seen))


def _to_the_end(stream):
    with contextlib.suppress(Cancelled):
        list(stream)


def _rung(stream):
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    list(stream)


def _batches(stream):
    return iter(lambda: stream.content_channel.take_all(()), None)


def test_a_dropped_handle_is_noticed_when_nobody_reads(stalling, heard):
    """The finalizer tells the thread that watches idle streams; the vendor is stopped and the call has its one outcome."""
    stream = stalling.send_streaming(ASK)
    reader = iter(stream)
    next(reader)
    del stream, reader
    gc.collect()

    assert soon(lambda: len(heard) == 1)
    assert soon(lambda: not named("stream") and not named("reaper"))


def test_without_a_watchman_the_worker_stays(stalling, monkeypatch):
    """Where no thread can be started for him the stream is fed as before."""
    monkeypatch.setattr(REAPER, "add", lambda stream: False)
    with stalling.send_streaming(ASK) as stream:
        next(iter(stream))

        assert 1 == len(named("stream"))


def test_what_a_signal_handler_raises_goes_up(stalling, heard):
    """The thread that reads is the caller's; his exception is his, and the call is settled."""

    def ring(*_):
        raise ZeroDivisionError

    before = signal.signal(signal.SIGALRM, ring)
    try:
        with stalling.send_streaming(ASK) as stream:
            next(iter(stream))
            with pytest.raises(ZeroDivisionError):
                _rung(stream)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert soon(lambda: heard)
    assert ["Cancelled"] == [type(outcome.error).__name__ for outcome in heard]


def test_many_streams_whose_readers_are_elsewhere_all_end_in_time(stalling, heard):
    """One thread watches all idle streams: fifty deadlines, long before the vendor's own limit, and each call has one outcome."""
    readers = []
    for number in range(50):
        reader = iter(stalling.send_streaming(ASK, timeout=4.0 + 0.01 * (number % 10)))
        readers.append(reader)
    asked = time.monotonic()
    for reader in readers:
        next(reader)
    assert soon(lambda: len(heard) == 50)

    assert time.monotonic() - asked < 4.0 + SLACK
    assert {"DeadlineExceeded"} == {type(outcome.error).__name__ for outcome in heard}


def test_a_handlers_time_out_is_not_taken_for_the_sockets(stalling):
    """Whoever rings an alarm that raises TimeoutError gets out of the read at once, long before the vendor's own limit."""

    def ring(*_):
        raise TimeoutError("my own")

    before = signal.signal(signal.SIGALRM, ring)
    try:
        with stalling.send_streaming(ASK) as stream:
            next(iter(stream))
            started = time.monotonic()
            with pytest.raises((TimeoutError, StreamInterrupted)):
                _rung(stream)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert time.monotonic() - started < SLACK
