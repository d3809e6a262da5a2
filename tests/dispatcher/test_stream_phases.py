"""The phases of a stream: every move of the table is made by some use, and no other is possible."""

import itertools
import threading

import pytest

from llmdispatcher import Response, StreamChunk, VendorUnavailable
from llmdispatcher.dispatcher.streaming import MOVES, StreamingResponse, StreamPhase, StreamState
from llmdispatcher.runtime import Deadline
from tests.conftest import PATIENCE

from .parts import soon

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


def idle(words):
    """A stream of so many words whose reader has taken it over from the worker, and has the second."""
    gate = threading.Semaphore(0)
    state, stream = started(Source(words, gate))
    reader = iter(stream)
    next(reader)
    assert soon(lambda: state.phase is StreamPhase.FEEDING)
    gate.release()
    next(reader)
    assert soon(lambda: state.phase is StreamPhase.IDLE)
    return state, stream, reader, gate


def left():
    """Whoever iterates leaves in the middle, and a worker reads on."""
    state, stream, reader, gate = idle(4)
    reader.close()
    assert soon(lambda: state.phase is StreamPhase.FEEDING)
    gate.release(3)
    assert "0 1 2 3 " == stream.response().content
    return state.moves


def interrupted_at_its_end():
    """Ctrl-C comes while the end is told."""
    state, _, reader, gate = idle(3)
    told = itertools.count()

    class Interrupted:
        def put(self, item):
            if not next(told):
                raise KeyboardInterrupt

        def close(self):
            pass

    state.done = Interrupted()
    gate.release(3)
    with pytest.raises(KeyboardInterrupt):
        list(reader)
    return state.moves


USES = {
    iterated: {("opening", "feeding"), ("feeding", "idle"), ("idle", "reading"), ("reading", "idle"), ("reading", "over")},
    without_a_vendor: {("opening", "over")},
    by_channel: {("opening", "feeding"), ("feeding", "over")},
    left: {("idle", "feeding")},
    interrupted_at_its_end: {("reading", "over"), ("over", "over")},
}


def test_the_uses_make_all_moves():
    """Each use makes its own, none makes one that is not in the table, and every move of the table is made by some use."""
    made = {use: set(use()) for use in USES}

    assert {} == {use: moves for use, moves in USES.items() if not moves <= {(start.value, end.value) for start, end in made[use]}}
    assert EDGES == set().union(*made.values())


def test_no_other_move_is_possible():
    """A mistake in the code is an error, not a stream that two threads read."""
    for start, end in set(itertools.product(StreamPhase, repeat=2)) - EDGES:
        state = Noted()
        state.phase = start
        with pytest.raises(RuntimeError, match=f"cannot go from {start.value} to {end.value}"):
            state._move(end)
        assert start is state.phase
        assert Response() == state.fold.response()
