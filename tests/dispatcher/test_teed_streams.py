"""Identical streams at once: one asks, all read, each at his own pace and within his own time."""

import threading
import time
from decimal import Decimal

import pytest

from llmdispatcher import Cancelled, Config, DeadlineExceeded, Dispatcher, OpenAIVendor, Request, StreamInterrupted
from llmdispatcher.testing import Fault, VendorSimulator, faults

from ..conftest import PATIENCE, SLACK
from .parts import soon

WORDS = " ".join(f"word{number}" for number in range(60))
ASK = Request(model="gpt-4o", messages="tell", temperature=0)


class Stage:
    """A dispatcher with a cache towards a simulator, and what an observer heard."""

    def __init__(self, simulator, **cache):
        self.simulator = simulator
        self.heard = []
        self.began = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.dispatcher = Dispatcher(Config(cache={"store": "memory", **cache}), observers=[self.heard.append])
        self.dispatcher.register_vendor(OpenAIVendor(api_key="sk-1", base_url=simulator.openai_url, trust_env=False))

    def read(self, into, **settings):
        """Read a whole stream, and keep its text or its error."""
        try:
            with self.dispatcher.send_streaming(ASK, **settings) as stream:
                text = ""
                for chunk in stream:
                    if not text and chunk.content:
                        self.began.release()
                    text += chunk.content
                into.append((text, stream.response().cached))
        except Exception as error:
            into.append(error)

    def have_begun(self, count):
        """Whether so many readers have had their first words."""
        return all(self.began.acquire(timeout=PATIENCE) for _ in range(count))

    def hold(self, peer, scene):
        """Three words, and the others when the test says so."""
        pieces = scene.start(peer)
        first = len(pieces.opening) + 3
        for event in pieces.all[:first]:
            peer.chunk(event)
        while not self.go_on.is_set() and not peer.wait(0.005):
            pass
        for event in [*pieces.all[first:], b""]:
            peer.chunk(event)

    def readers(self, count, **settings):
        """So many at once."""
        results = []
        threads = [threading.Thread(target=self.read, args=(results,), kwargs=settings) for _ in range(count)]
        for thread in threads:
            thread.start()
        return threads, results


def threads_of_tees():
    return [thread for thread in threading.enumerate() if thread.name.startswith("llmdispatcher-tee")]


@pytest.fixture
def slow():
    """A vendor that says three words, and the others when the test says so."""
    with VendorSimulator(responses=WORDS) as simulator:
        stage = Stage(simulator)
        simulator.always(Fault("hold", stage.hold))
        with stage.dispatcher:
            yield stage


@pytest.fixture
def stalling():
    """A vendor that says three words and then nothing for a long time."""
    with VendorSimulator(responses=WORDS).always(faults.stall_after(3)) as simulator:
        stage = Stage(simulator)
        with stage.dispatcher:
            yield stage


def test_many_readers_share_one_stream(slow):
    """The vendor is asked once, every reader has every word, one pays."""
    threads, results = slow.readers(20)
    assert slow.have_begun(20)
    slow.go_on.set()
    for thread in threads:
        thread.join(PATIENCE)

    assert 1 == slow.simulator.hits
    assert {WORDS} == {text for text, _ in results}
    assert (19, 1) == (sum(cached for _, cached in results), sum(not cached for _, cached in results))
    assert (20, 1) == (len(slow.heard), sum(len(outcome.attempts) for outcome in slow.heard))
    assert [Decimal(0)] * 19 == sorted(outcome.cost for outcome in slow.heard)[:19]
    assert max(outcome.cost for outcome in slow.heard) > 0
    assert (1, 19) == (slow.dispatcher.cache.stats().misses, slow.dispatcher.cache.stats().shared)


def test_many_readers_share_a_stream_that_ends_as_it_begins():
    """A short answer is over before those who wait for it can read; they have it all the same."""
    with VendorSimulator(responses=WORDS, latency=0.1) as simulator:
        stage = Stage(simulator)
        with stage.dispatcher:
            threads, results = stage.readers(8)
            for thread in threads:
                thread.join(PATIENCE)

    assert (1, {WORDS}) == (simulator.hits, {text for text, _ in results})
    assert 7 == sum(cached for _, cached in results)


def test_who_comes_later_has_the_beginning_too(slow):
    """A stream is joined in its middle and read from its start; afterwards it is in the cache."""
    with slow.dispatcher.send_streaming(ASK) as first:
        next(iter(first))
        (thread,), results = slow.readers(1)
        assert slow.have_begun(1)
        slow.go_on.set()
        thread.join(PATIENCE)
    slow.read(results)

    assert [(WORDS, True)] * 2 == results
    assert 1 == slow.simulator.hits


def test_a_slow_reader_holds_nobody_up(slow):
    """The first reads one word and pauses; another is at the end long before."""
    first = slow.dispatcher.send_streaming(ASK)
    reader = iter(first)
    next(reader)
    (thread,), results = slow.readers(1)
    assert slow.have_begun(1)
    slow.go_on.set()
    thread.join(PATIENCE)

    assert [(WORDS, True)] == results
    assert WORDS.endswith("".join([chunk.content for chunk in reader]))
    assert not first.response().cached


def test_the_first_may_leave(slow):
    """Its call ends as cancelled at once, the others read on, and one of them pays."""
    first = slow.dispatcher.send_streaming(ASK)
    next(iter(first))
    threads, results = slow.readers(2)
    assert slow.have_begun(2)
    first.close()

    assert soon(lambda: len(slow.heard) == 1)
    slow.go_on.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert [Cancelled, type(None), type(None)] == [type(outcome.error) for outcome in slow.heard]
    assert [WORDS, WORDS] == [text for text, _ in results]
    assert 1 == sum(len(outcome.attempts) for outcome in slow.heard)
    assert 1 == slow.simulator.hits


def test_when_all_have_left_the_vendor_is_stopped(stalling):
    """The last who leaves pays for what came; no thread stays."""
    streams = [stalling.dispatcher.send_streaming(ASK) for _ in range(3)]
    for stream in streams:
        next(iter(stream))
    for stream in streams:
        stream.close()

    assert soon(lambda: len(stalling.heard) == 3)
    assert {"Cancelled"} == {type(outcome.error).__name__ for outcome in stalling.heard}
    assert 1 == sum(len(outcome.attempts) for outcome in stalling.heard)
    assert soon(lambda: not threads_of_tees())


def test_each_keeps_to_his_own_deadline(stalling):
    """A reader with little time ends in time; the one with more goes on waiting; neither ends the other."""
    patient, hasty = [], []
    threads = [
        threading.Thread(target=stalling.read, args=(patient,), kwargs={"timeout": 1.0}),
        threading.Thread(target=stalling.read, args=(hasty,), kwargs={"timeout": 0.2}),
    ]
    started = time.monotonic()
    threads[0].start()
    assert soon(lambda: stalling.simulator.hits == 1)
    threads[1].start()
    threads[1].join(PATIENCE)
    first = time.monotonic() - started
    threads[0].join(PATIENCE)
    second = time.monotonic() - started

    assert [DeadlineExceeded, DeadlineExceeded] == [type(result) for result in hasty + patient]
    assert 0.2 <= first < second
    assert 1.0 <= second < 1.0 + SLACK
    assert soon(lambda: len(stalling.heard) == 2)
    assert 1 == stalling.simulator.hits


def test_the_time_of_the_first_is_not_that_of_the_others(slow):
    """The one who asked has half a second; who joined has longer and reads to the end."""
    hasty, patient = [], []
    one = threading.Thread(target=slow.read, args=(hasty,), kwargs={"timeout": 0.5})
    one.start()
    assert soon(lambda: slow.dispatcher.cache.stats().misses == 1 and slow.simulator.hits == 1)
    two = threading.Thread(target=slow.read, args=(patient,), kwargs={"timeout": 2 * PATIENCE})
    two.start()
    one.join(PATIENCE)
    slow.go_on.set()
    two.join(PATIENCE)

    assert (DeadlineExceeded, WORDS) == (type(hasty[0]), patient[0][0])


def test_a_stream_that_breaks_breaks_for_all_that_read_it():
    """Each has an error of his own with the text so far; nothing is kept; one call alone has the attempt."""
    with VendorSimulator(responses=WORDS, tokens_per_second=200).always(faults.cut_after(20)) as simulator:
        stage = Stage(simulator)
        with stage.dispatcher:
            threads, results = stage.readers(4)
            for thread in threads:
                thread.join(PATIENCE)

    assert {StreamInterrupted} == {type(result) for result in results}
    assert len(results) == len({id(result) for result in results})
    assert all("word1" in result.partial.content for result in results)
    assert 0 == stage.dispatcher.cache.stats().stores
    assert simulator.hits == sum(len(outcome.attempts) for outcome in stage.heard)


def test_a_call_that_fails_before_its_first_output_fails_alone():
    """The next who waits asks for himself."""
    with VendorSimulator(responses=WORDS).script(faults.status(400)) as simulator:
        stage = Stage(simulator)
        with stage.dispatcher:
            threads, results = stage.readers(3)
            for thread in threads:
                thread.join(PATIENCE)

    failed = [result for result in results if isinstance(result, Exception)]
    assert (1, 2) == (len(failed), len(results) - len(failed))
    assert simulator.hits <= 3


def test_without_a_thread_there_is_a_typed_error(slow, monkeypatch):
    """And the call is settled, and the vendor stopped."""
    start = threading.Thread.start

    def refuse(thread):
        if thread.name.startswith("llmdispatcher-tee"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    results = []
    slow.read(results)

    assert "Overloaded" == type(results[0]).__name__
    assert ["Overloaded"] == [type(outcome.error).__name__ for outcome in slow.heard]
