"""Streams: channels, the commit at the first output, one outcome, and workers that go when nobody reads."""

import gc
import queue
import threading
import time
import traceback

import pytest

from llmdispatcher import (
    AllTargetsFailed,
    Cancellation,
    Cancelled,
    DeadlineExceeded,
    Dispatcher,
    InvalidRequest,
    MalformedReply,
    Overloaded,
    RateLimitError,
    Request,
    RetryPolicy,
    StreamChunk,
    StreamInterrupted,
    Usage,
    VendorUnavailable,
)
from llmdispatcher.testing import FakeVendor, ManualClock

from ..conftest import PATIENCE
from ..threads import in_threads
from . import parts

ASK = Request(model="any-model", messages="hello")
NO_RETRY = RetryPolicy(max_retries=0)


def dispatcher_of(*vendors, **config):
    heard = []
    dispatcher = parts.dispatcher_of(*vendors, observers=[heard.append], **config)
    dispatcher.heard = heard
    return dispatcher


def endless(request=None):
    """Chunks for as long as anybody takes them."""
    number = 0
    while True:
        number += 1
        yield StreamChunk(content=f"{number} ")


def workers():
    return [thread for thread in threading.enumerate() if thread.name.startswith(("llmdispatcher-stream", "llmdispatcher-reaper"))]


def gone(within=PATIENCE):
    """Whether all stream workers end in time; returns how long it took."""
    started = time.monotonic()
    while workers():
        if time.monotonic() - started > within:
            return None
        threading.Event().wait(0.002)
    return time.monotonic() - started


def test_iterating_gives_the_chunks_and_then_the_whole():
    """The folded response has text, usage, vendor, model, latency and time to first token."""
    dispatcher = dispatcher_of(
        FakeVendor(["a", "b", StreamChunk(finish_reason="stop", usage=Usage(input_tokens=1, output_tokens=2))], name="v")
    )

    with dispatcher.send_streaming(ASK) as stream:
        text = "".join(chunk.content for chunk in stream)
        response = stream.response()

    assert ("ab", "ab", "stop", "v", "any-model") == (
        text,
        response.content,
        response.finish_reason,
        response.vendor,
        response.model,
    )
    assert (3, "v", "any-model", 3) == (response.usage.total_tokens, stream.vendor, stream.model, stream.usage.total_tokens)
    assert dispatcher.heard[0].first_token is not None


def test_the_go_way():
    """Content, then done, and no error: each a queue.Queue."""
    stream = dispatcher_of(FakeVendor(["a", "b"])).send_streaming(ASK)

    assert all(isinstance(channel, queue.Queue) for channel in (stream.content_channel, stream.done_channel, stream.error_channel))
    assert ("a", "b", True) == (
        stream.content_channel.get(timeout=5).content,
        stream.content_channel.get(timeout=5).content,
        stream.done_channel.get(timeout=5),
    )
    with pytest.raises(queue.Empty):
        stream.error_channel.get_nowait()


def test_the_go_way_of_failing():
    """done says False, and the error is there already."""
    stream = dispatcher_of(FakeVendor(InvalidRequest("no"))).send_streaming(ASK)

    assert stream.done_channel.get(timeout=5) is False
    assert isinstance(stream.error_channel.get_nowait(), InvalidRequest)


def test_before_the_first_output_a_stream_fails_over():
    """Like a plain call; the reader sees nothing of it."""
    first, second = FakeVendor([StreamChunk(model="m"), VendorUnavailable("cut")], name="a"), FakeVendor(["from b"], name="b")
    dispatcher = dispatcher_of(first, second)

    with dispatcher.send_streaming(ASK) as stream:
        assert "from b" == "".join(chunk.content for chunk in stream)

    assert ("b", 1, 1) == (stream.vendor, first.hits, second.hits)


def test_before_the_first_output_a_stream_is_retried():
    """Waits and returns like a plain call."""
    clock = ManualClock()
    fake = FakeVendor(VendorUnavailable("down"), ["ok"])

    with dispatcher_of(fake, clock=clock).send_streaming(ASK) as stream:
        assert "ok" == stream.response().content

    assert (2, [1.0]) == (fake.hits, clock.sleeps)


def test_after_the_first_output_nothing_is_asked_again():
    """The reader gets what there was and the partial answer; nobody else is hit."""
    first = FakeVendor(["half ", RateLimitError("slow", status=429)], name="a")
    second = FakeVendor(["never"], name="b")
    dispatcher = dispatcher_of(first, second)
    seen = []

    with pytest.raises(StreamInterrupted) as caught, dispatcher.send_streaming(ASK) as stream:
        seen.extend(chunk.content for chunk in stream)

    assert ("half ", 429, "a", 0) == (caught.value.partial.content, caught.value.status, caught.value.vendor, second.hits)
    assert (1, 1) == (dispatcher.get_stats().failed_requests, dispatcher.get_stats().vendor_stats["a"].failures)


def test_a_stream_that_was_cut_off_tells_where_its_text_is():
    """Also where the vendor's own error is raised, it says how much there is, and where."""
    stream = dispatcher_of(FakeVendor(["half ", StreamInterrupted("the stream ended without its mark")])).send_streaming(ASK)

    with pytest.raises(StreamInterrupted, match=r"\(after 5 characters; error\.partial holds them\)$"):
        list(stream)


def test_the_reader_gets_all_that_came_before_the_break():
    """No chunk is lost to an error behind it."""
    stream = dispatcher_of(FakeVendor(["a", "b", VendorUnavailable("cut")])).send_streaming(ASK)
    seen = []

    with pytest.raises(StreamInterrupted):
        seen.extend(chunk.content for chunk in stream)
    assert "ab" == stream.partial.content


def test_when_nobody_answers_the_stream_says_so():
    """Several failures are one error, raised by reading."""
    vendors = [FakeVendor(VendorUnavailable("x"), name="a"), FakeVendor(VendorUnavailable("y"), name="b")]
    stream = dispatcher_of(*vendors, retry_policy=NO_RETRY).send_streaming(ASK)

    with pytest.raises(AllTargetsFailed):
        stream.response()


def test_a_failure_that_is_looked_at_again_and_again_does_not_grow():
    """Each look raises it anew, with the frames of that look only; it is the one in the channel."""
    stream = dispatcher_of(FakeVendor(["a", VendorUnavailable("cut")])).send_streaming(ASK)
    depths = []
    for _ in range(5):
        with pytest.raises(StreamInterrupted) as caught:
            stream.response()
        depths.append(len(list(traceback.walk_tb(caught.value.__traceback__))))

    assert depths[:1] * 5 == depths
    assert (True, "a") == (caught.value is stream.error_channel.get(timeout=PATIENCE), caught.value.partial.content)


def test_a_failure_is_one_and_the_same_for_all_who_read():
    """Of the outcome, of the channel, and in twenty threads that look at once; their frames do not pile up in it."""
    dispatcher = dispatcher_of(FakeVendor(["a", VendorUnavailable("cut")]))
    stream = dispatcher.send_streaming(ASK)
    barrier, seen = threading.Barrier(20), []

    def look():
        barrier.wait(PATIENCE)
        for _ in range(50):
            try:
                stream.response()
            except StreamInterrupted as error:
                seen.append(error)

    def depth():
        with pytest.raises(StreamInterrupted) as caught:
            stream.response()
        return len(list(traceback.walk_tb(caught.value.__traceback__)))

    before = depth()
    in_threads(look, 20)
    after = depth()
    (outcome,) = dispatcher.heard

    assert (before, 1_000) == (after, len(seen))
    assert {id(outcome.error)} == {id(error) for error in (*seen, stream.error_channel.get(timeout=PATIENCE))}


def test_routing_trouble_is_raised_at_once_or_by_reading_but_once():
    """A stream that nobody can take fails with the reason, counted once."""
    dispatcher = dispatcher_of(FakeVendor(available=False))

    with pytest.raises(VendorUnavailable, match="is not available"):
        dispatcher.send_streaming(ASK).response()

    assert 1 == len(dispatcher.heard)


def test_an_answer_without_output_is_complete():
    """An empty answer ends like any other."""
    with dispatcher_of(FakeVendor([StreamChunk(finish_reason="stop")])).send_streaming(ASK) as stream:
        assert ("", "stop") == (stream.response().content, stream.response().finish_reason)


def test_a_foreign_exception_in_a_stream_is_typed():
    """Whatever a vendor's iterator raises, the reader gets our error and the worker ends."""
    dispatcher = dispatcher_of(FakeVendor(["a", ZeroDivisionError()]))

    with pytest.raises(StreamInterrupted):
        dispatcher.send_streaming(ASK).response()
    assert gone() is not None


def test_leaving_early_stops_the_worker():
    """Breaking out of the with block ends the vendor's stream, which would go on for ever."""
    dispatcher = dispatcher_of(FakeVendor(endless))

    with dispatcher.send_streaming(ASK) as stream:
        for _ in stream:
            break

    assert gone() is not None
    assert ["Cancelled"] == [type(outcome.error).__name__ for outcome in dispatcher.heard]


def test_dropping_the_handle_stops_the_worker():
    """Nobody can read it any more, so nobody pays for it."""
    dispatcher = dispatcher_of(FakeVendor(endless))
    stream = dispatcher.send_streaming(ASK)
    next(iter(stream))

    del stream
    gc.collect()

    assert gone() is not None


def test_a_handle_in_a_cycle_is_noticed_by_the_collector():
    """References in a circle do not keep the vendor talking for ever."""
    dispatcher = dispatcher_of(FakeVendor(endless))
    stream = dispatcher.send_streaming(ASK)
    stream.myself = stream

    del stream
    gc.collect()

    assert gone() is not None


def test_closing_twice_and_from_another_thread_is_fine():
    """The reader that waits is woken with Cancelled."""
    gate = threading.Event()

    def stuck(request):
        yield StreamChunk(content="a")
        gate.wait(PATIENCE)
        yield StreamChunk(content="b")

    stream = dispatcher_of(FakeVendor(stuck)).send_streaming(ASK)
    reader = iter(stream)
    next(reader)
    in_threads(stream.close, 3)
    gate.set()

    with pytest.raises(Cancelled):
        list(reader)


def test_the_callers_cancellation_ends_a_stream():
    """cancel= works as for a plain call."""
    cancel = Cancellation()
    stream = dispatcher_of(FakeVendor(endless)).send_streaming(ASK, cancel=cancel)
    reader = iter(stream)
    next(reader)

    cancel.cancel("enough")

    with pytest.raises(Cancelled, match="enough"):
        list(reader)
    assert gone() is not None


def test_a_slow_reader_holds_the_vendor_back():
    """No more chunks are made than fit into the channel and the hand."""
    made = []

    def counted(request):
        for number in range(10_000):
            made.append(number)
            yield StreamChunk(content=".")

    stream = dispatcher_of(FakeVendor(counted)).send_streaming(ASK)
    next(iter(stream))
    threading.Event().wait(0.1)
    held = len(made)
    stream.close()

    assert held <= 256 + 2 + 256
    assert gone() is not None


def test_the_deadline_ends_a_stream_that_nobody_reads():
    """A worker that waits for a reader gives up with the call's deadline."""
    dispatcher = dispatcher_of(FakeVendor(endless))
    stream = dispatcher.send_streaming(ASK, timeout=0.5)

    assert gone() is not None
    with pytest.raises(DeadlineExceeded):
        stream.response()
    assert stream.partial.content.startswith("1 2 3 ")


def test_two_threads_share_a_stream_without_loss():
    """Each chunk goes to exactly one of them."""
    stream = dispatcher_of(FakeVendor([str(number) for number in range(1_000)])).send_streaming(ASK)
    seen, lock = [], threading.Lock()

    def read():
        for chunk in stream:
            with lock:
                seen.append(int(chunk.content))

    in_threads(read, 2)

    assert list(range(1_000)) == sorted(seen)


def test_without_a_thread_there_is_a_typed_error(monkeypatch):
    """A process at its limit refuses the stream, and counts it."""

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    dispatcher = dispatcher_of(FakeVendor())
    monkeypatch.setattr(threading.Thread, "start", refuse)

    with pytest.raises(Overloaded, match="no thread"):
        dispatcher.send_streaming(ASK)
    assert 1 == dispatcher.get_stats().failed_requests


def test_closing_the_dispatcher_ends_its_streams():
    """What is still streaming is cancelled."""
    dispatcher = dispatcher_of(FakeVendor(endless))
    stream = dispatcher.send_streaming(ASK)
    next(iter(stream))

    dispatcher.close()

    with pytest.raises(Cancelled, match="closed"):
        list(stream)
    assert gone() is not None


def test_the_callers_context_is_carried_into_the_worker():
    """A request id in a context variable is seen by observers and logs."""
    import contextvars

    request_id = contextvars.ContextVar("request_id")
    seen = []
    dispatcher = Dispatcher(observers=[lambda outcome: seen.append(request_id.get())])
    dispatcher.register_vendor(FakeVendor("x"))
    request_id.set("r-1")

    dispatcher.send_streaming(ASK).response()

    assert ["r-1"] == seen


def test_send_streaming_to_vendor_asks_that_vendor():
    """No routing."""
    first, second = FakeVendor(name="a"), FakeVendor("b!", name="b")

    with dispatcher_of(first, second).send_streaming_to_vendor("b", ASK) as stream:
        assert "b!" == stream.response().content
    assert 0 == first.hits


def test_its_text_tells_who_answers():
    """For people who debug; a finished stream knows its cost, too."""
    stream = dispatcher_of(FakeVendor("x", name="a")).send_streaming(ASK)
    stream.response()
    assert "StreamingResponse(vendor='a', model='any-model', done=True)" == repr(stream)
    assert (None, True) == (stream.cost, stream.created_at is not None)


def test_a_reader_may_close_the_channel_itself():
    """Closing content_channel is a way of closing the stream: the worker ends, and the call is counted as cancelled."""
    dispatcher = dispatcher_of(FakeVendor(endless))
    stream = dispatcher.send_streaming(ASK)
    stream.content_channel.get(timeout=5)
    stream.content_channel.close()

    assert gone() is not None
    assert ["Cancelled"] == [type(outcome.error).__name__ for outcome in dispatcher.heard]


def test_what_a_stream_took_is_learned_at_its_end():
    """The latency optimizer knows the whole answer's time and the first token's apart."""
    clock = ManualClock()

    def slowly(request):
        clock.advance(1.0)
        yield StreamChunk(content="first")
        clock.advance(4.0)
        yield StreamChunk(content="last")

    dispatcher = dispatcher_of(
        FakeVendor(slowly, name="a"), FakeVendor(name="b"), clock=clock, latency_optimization={"prefer_fast": True}
    )
    dispatcher.send_streaming_to_vendor("a", ASK).response()

    assert "about 5 s" in str(dispatcher.explain(ASK))
    assert "about 1 s" in str(dispatcher.explain(ASK, streaming=True))


def test_a_callers_own_end_teaches_nothing_about_a_vendor():
    """A cancelled stream leaves its vendor unmeasured, neither slow nor broken."""
    dispatcher = dispatcher_of(FakeVendor(endless, name="a"), latency_optimization={"prefer_fast": True})
    with dispatcher.send_streaming(ASK) as stream:
        next(iter(stream))
    assert gone() is not None

    assert "not measured lately" in str(dispatcher.explain(ASK))


@pytest.mark.parametrize("answer", [[5], [StreamChunk(content="x"), 5]])
def test_a_vendor_that_yields_something_else_is_told(answer):
    """What is no chunk is named, not taken for the reader's own end."""

    class Careless(FakeVendor):
        def stream(self, request, deadline):
            return iter(answer)

    with pytest.raises((MalformedReply, StreamInterrupted), match="yielded int"):
        list(dispatcher_of(Careless(), retry_policy=NO_RETRY).send_streaming(ASK))


@pytest.mark.parametrize("answer", [KeyboardInterrupt(), [StreamChunk(content="x"), SystemExit()]])
def test_a_worker_that_dies_says_so(answer):
    """Whatever ends the worker, the reader is not told that it closed the stream itself, and the call is counted."""
    dispatcher = dispatcher_of(FakeVendor(answer))
    with pytest.raises(StreamInterrupted, match="worker failed with"):
        list(dispatcher.send_streaming(ASK))

    assert 1 == len(dispatcher.heard) == dispatcher.get_stats().failed_requests
