"""A child never shares its parent's connections (row F1)."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from llmdispatcher import DispatchError

from .conftest import LONG

pytestmark = [
    pytest.mark.usefixtures("unlogged", "untraced"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


def numbered(step):
    """Answers with the number of the connection; a stream waits for ``step`` in its middle."""

    def handler(peer, request):
        if request.target != "/stream":
            peer.reply(200, b"%d" % request.connection)
            return
        peer.start_stream()
        peer.chunk(b"first")
        step.wait(LONG)
        peer.chunk(b"last")
        peer.chunk(b"")

    return handler


def in_child(work):
    """What ``work`` returns in a forked child."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    return json.loads(answer)


@pytest.fixture
def step():
    return threading.Event()


def test_a_child_makes_its_own_connections(serve, secure, step):
    """After a fork, the child opens a new connection and the parent keeps its old one."""
    line = serve(numbered(step), secure=secure)
    assert b"0" == line.get()

    theirs = in_child(lambda: line.get().decode())

    assert ("1", b"0") == (theirs, line.get())


def test_a_stream_under_way_stays_with_the_parent(serve, secure, step):
    """The parent's stream goes on undisturbed; in the child it is dead, and says so."""
    line = serve(numbered(step), secure=secure)
    reply = line.open(path="/stream")
    assert b"first" == next(reply.chunks)

    def child():
        try:
            next(reply.chunks)
        except DispatchError as error:
            return [type(error).__name__, line.get().decode()]

    assert ["VendorUnavailable", "1"] == in_child(child)
    step.set()
    assert [b"last"] == list(reply.chunks)


def test_a_child_holds_no_descriptor_of_the_parent(serve, secure, step):
    """The child closes what it inherited, so that the vendor sees the parent's goodbye."""
    line = serve(numbered(step), secure=secure)
    line.get()
    sockets = line.transport._start().pool.pool._items[-1].sock.fileno()

    assert in_child(lambda: not Path(f"/proc/self/fd/{sockets}").exists())


def test_a_lock_held_at_the_fork_does_not_hang_the_child(serve, step):
    """Locks of the parent's other threads are made anew."""
    line = serve(numbered(step))

    with line.transport._lock:
        assert "0" == in_child(lambda: line.get().decode())


def test_many_children_at_once(serve, secure, step):
    """Parent and children call at the same time, and each gets its own answers."""
    line = serve(numbered(step), secure=secure, pool_size=4)
    assert b"0" == line.get()
    children = [os.fork() for _ in range(1)]
    if children[0] == 0:
        wrong = [line.get() for _ in range(50)].count(b"0")
        os._exit(wrong)
    mine = [line.get() for _ in range(50)]
    _, status = os.waitpid(children[0], 0)

    assert ([b"0"] * 50, 0) == (mine, os.waitstatus_to_exitcode(status))
