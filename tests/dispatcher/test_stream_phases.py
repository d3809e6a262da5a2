"""The phases of a stream: every move of the table is made by some use, and no other is possible."""

import itertools
import threading

import pytest

from llmdispatcher import Response, StreamChunk, VendorUnavailable
from llmdispatcher.dispatcher.streaming import MOVES, StreamingResponse, StreamPhase, StreamState
from llmdispatcher.runtime import Deadline
from tests.conftest import PATIENCE

from .waiting import soon

EDGES = {(start, end) for start, ends in MOVES.items() for end in ends}


class Source:
    """A stream of so many words; each after the first waits until it is let go."""

    vendor, model, movable = "v", "m", True

    def __init__(self, words, gate=None):
        self.gate = gate
        self.batches = self.words(words)
        self.close = self.batches.close

    def words(self, count):
        for number in range(count):
            if number and self.gate is not None:
                self.gate.acquire(timeout=PATIENCE)
            yield [StreamChunk(content=f"{number} ")]

    def finish(self, response):
        return response

    def fail(self, error, partial):
        pass


class Noted(StreamState):
    """A stream that notes its moves."""

    __slots__ = ("moves",)

    def __init__(self):
        self.moves = []
        super().__init__(Deadline.after(PATIENCE))

    def _move(self, phase):
        self.moves.append((self.phase, phase))
        super()._move(phase)


def started(source):
    state = Noted()
    state.start(lambda: source)
    return state, StreamingResponse(state)


def iterated():
    """One thread reads all that comes."""
    gate = threading.Semaphore(0)
    state, stream = started(Source(5, gate))
    for _ in stream:
        gate.release()
    return state.moves


def without_a_vendor():
    """Nobody answers."""
    state = Noted()

    def begin():
        raise VendorUnavailable("nobody is there")

    state.start(begin)
    with pytest.raises(VendorUnavailable):
        StreamingResponse(state).response()
    return state.moves


def by_channel():
    """The worker feeds the channel to the end."""
    state, stream = started(Source(3))
    assert ["0 ", "1 ", "2 "] == [stream.content_channel.get(timeout=PATIENCE).content for _ in range(3)]
    assert stream.done_channel.get(timeout=PATIENCE)
    return state.moves


def left():
    """Whoever iterates leaves in the middle, and a worker reads on."""
    gate = threading.Semaphore(0)
    state, stream = started(Source(4, gate))
    reader = iter(stream)
    next(reader)
    assert soon(lambda: state.phase is StreamPhase.FEEDING)
    gate.release()
    next(reader)
    assert soon(lambda: state.phase is StreamPhase.IDLE)
    reader.close()
    assert soon(lambda: state.phase is StreamPhase.FEEDING)
    gate.release(3)
    assert "0 1 2 3 " == stream.response().content
    return state.moves


def interrupted_at_its_end():
    """Ctrl-C comes while the end is told."""
    gate = threading.Semaphore(0)
    state, stream = started(Source(3, gate))
    reader = iter(stream)
    next(reader)
    gate.release()
    next(reader)
    told = itertools.count()

    class Interrupted:
        def put(self, item):
            if not next(told):
                raise KeyboardInterrupt

        def close(self):
            pass

    assert soon(lambda: state.phase is StreamPhase.IDLE)
    state.done = Interrupted()
    gate.release(3)
    with pytest.raises(KeyboardInterrupt):
        list(reader)
    return state.moves


@pytest.mark.parametrize(
    ("use", "moves"),
    [
        (iterated, {("opening", "feeding"), ("feeding", "idle"), ("idle", "reading"), ("reading", "idle"), ("reading", "over")}),
        (without_a_vendor, {("opening", "over")}),
        (by_channel, {("opening", "feeding"), ("feeding", "over")}),
        (left, {("idle", "feeding")}),
        (interrupted_at_its_end, {("reading", "over"), ("over", "over")}),
    ],
)
def test_a_use_makes_its_moves(use, moves):
    """Each of the table's, and none beside it."""
    made = use()
    assert moves <= {(start.value, end.value) for start, end in made}
    assert EDGES >= set(made)


def test_every_move_is_made_by_some_use():
    """A move that is added to the table without a use fails here, one that is taken away above."""
    uses = (iterated, without_a_vendor, by_channel, left, interrupted_at_its_end)
    assert EDGES == {move for use in uses for move in use()}


@pytest.mark.parametrize(("start", "end"), sorted(set(itertools.product(StreamPhase, repeat=2)) - EDGES, key=str))
def test_no_other_move_is_possible(start, end):
    """A mistake in the code is an error, not a stream that two threads read."""
    state = Noted()
    state.phase = start
    with pytest.raises(RuntimeError, match=f"cannot go from {start.value} to {end.value}"):
        state._move(end)
    assert start is state.phase
    assert Response() == state.fold.response()
