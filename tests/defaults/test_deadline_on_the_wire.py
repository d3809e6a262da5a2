"""Two vendors over real sockets, no setting touched but, for streams and connects, a short deadline: the second answers in time."""

import contextlib
import itertools
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from llmdispatcher import CircuitBreaker, Dispatcher, DispatchError, OpenAIVendor, Request
from llmdispatcher.runtime import SYSTEM_CLOCK
from llmdispatcher.testing import UNREACHABLE, FakeVendor, VendorSimulator, faults

from ..conftest import PATIENCE

ASK = Request("gpt-4o-mini", "hi")
TWO = {"default_vendor": "first", "fallback_vendor": "second"}
OPEN_TIME = CircuitBreaker().open_time
DEADLINES = (1.5, 6.0, 40.0)
"""Seconds: a machine that is too busy for the first may need the next."""


class Later(type(SYSTEM_CLOCK)):
    """The machine's clock, which can be put forward."""

    ahead = 0.0

    def monotonic(self):
        return super().monotonic() + self.ahead


@contextlib.contextmanager
def dispatching(url, healthy, clock=None):
    """A dispatcher with a vendor there, a healthy second, and a third that nobody has named."""
    third = FakeVendor(name="third")
    with Dispatcher(TWO, **({"clock": clock} if clock else {})) as made:
        made.register_vendor(OpenAIVendor(name="first", api_key="k", base_url=url, trust_env=False))
        made.register_vendor(OpenAIVendor(name="second", api_key="k", base_url=healthy.openai_url, trust_env=False))
        made.register_vendor(third)
        yield made
    assert 0 == third.hits


def answer(dispatcher, *, streamed, timeout=None):
    if not streamed:
        return dispatcher.send(ASK, timeout=timeout)
    with dispatcher.send_streaming(ASK, timeout=timeout) as stream:
        return stream.response()


def in_time(url, *, streamed, calls=1):
    """The trace of each call, all with the shortest deadline that this machine keeps."""
    for timeout in DEADLINES:
        with VendorSimulator() as healthy, dispatching(url, healthy) as dispatcher, contextlib.suppress(DispatchError):
            return [answer(dispatcher, streamed=streamed, timeout=timeout) for _ in range(calls)]
    raise AssertionError("the second vendor did not answer in time")


def assert_ten_calls_do_not_wait(url, streamed):
    """The first three do; then one at most in the time that the circuit is open, which only a very slow machine has to see."""
    began = time.monotonic()
    asked = told(in_time(url, streamed=streamed, calls=10))

    assert [["first", "second"]] * 3 == asked[:3]
    assert asked[3:].count(["first", "second"]) <= (time.monotonic() - began) // OPEN_TIME
    assert {"second"} == {names[-1] for names in asked}


def told(responses):
    """Who was asked in each call."""
    return [[attempt.vendor for attempt in response.trace] for response in responses]


def at_once(work, cases):
    """What the work gives for each case, all at the same time."""
    with ThreadPoolExecutor(len(cases)) as pool:
        return list(pool.map(lambda case: work(*case), cases))


def test_no_connection_ends_in_the_answer_of_the_second():
    """Refused, a black hole, a handshake without an answer."""

    def call(row, streamed):
        with UNREACHABLE[row]() as url:
            return told(in_time(url, streamed=streamed))

    assert [[["first", "second"]]] * 6 == at_once(call, list(itertools.product(["N1", "N2", "N6"], [False, True])))


def test_a_stream_that_does_not_begin_ends_in_the_answer_of_the_second():
    """Silence has its share of the deadline; a refusal and a broken connection none."""

    def call(fault):
        with VendorSimulator().always(fault) as dead:
            return told(in_time(dead.openai_url, streamed=True))

    assert [[["first", "second"]]] * 3 == at_once(call, [(faults.silent(),), (faults.status(503),), (faults.reset_before_head(),)])


@pytest.mark.parametrize("fault", [faults.status(503), faults.reset_before_head()], ids=lambda fault: fault.name)
def test_a_refusal_ends_in_the_answer_of_the_second(fault):
    """At once, without a setting touched."""
    with VendorSimulator().always(fault) as dead, VendorSimulator() as healthy, dispatching(dead.openai_url, healthy) as dispatcher:
        assert [["first", "second"]] == told([answer(dispatcher, streamed=False)])


def test_the_tenth_call_does_not_wait():
    """Three calls wait for a connection, or three streams for a first event; the others go to the second at once."""
    with UNREACHABLE["N2"]() as url, VendorSimulator().always(faults.silent()) as dead:
        at_once(assert_ten_calls_do_not_wait, [(url, False), (url, True), (dead.openai_url, True)])


class Nat:
    """A way to a server that forgets its connections when it is told to, without a word: nothing passes on them any more."""

    def __init__(self, port):
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._forgotten = set()
        self._pairs = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def connections(self):
        return len(self._pairs)

    def forget(self):
        self._forgotten.update(range(len(self._pairs)))

    def close(self):
        self._listener.close()
        for pair in self._pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                self._pairs.append((client, server))
                number = len(self._pairs) - 1
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._pipe, args=(*ends, number), daemon=True).start()

    def _pipe(self, one, other, number):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                if number not in self._forgotten:
                    other.sendall(data)


@contextlib.contextmanager
def behind_a_nat(clock=None):
    """A dispatcher with a warm connection through a NAT."""
    with VendorSimulator() as server, VendorSimulator() as healthy:
        nat = Nat(int(server.url.rpartition(":")[2]))
        try:
            with dispatching(nat.url, healthy, clock) as dispatcher:
                assert "first" == dispatcher.send(ASK).vendor
                nat.forget()
                yield dispatcher, nat
        finally:
            nat.close()


def test_a_stream_on_a_forgotten_connection_ends_in_the_answer_of_the_second():
    """Nothing comes on it, whatever is sent."""
    for timeout in DEADLINES:
        with behind_a_nat() as (dispatcher, nat), contextlib.suppress(DispatchError):
            response = answer(dispatcher, streamed=True, timeout=timeout)
            assert ([["first", "second"]], 1) == (told([response]), nat.connections)
            return
    raise AssertionError("the second vendor did not answer in time")


@pytest.mark.parametrize("streamed", [False, True])
def test_a_connection_that_was_idle_for_a_minute_is_not_used(streamed):
    """Before anybody has forgotten it: the next call makes a new one."""
    clock = Later()
    with behind_a_nat(clock) as (dispatcher, nat):
        clock.ahead = 61.0
        response = answer(dispatcher, streamed=streamed)

        assert ([["first"]], 2) == (told([response]), nat.connections)


def test_a_full_pool_ends_in_the_answer_of_the_second_and_is_held_against_nobody():
    """All connections to the first are busy: that is this process's own, and the call goes on where there is room."""
    for timeout in DEADLINES:
        with VendorSimulator().always(faults.silent()) as busy, VendorSimulator() as healthy, Dispatcher(TWO) as dispatcher:
            for name, simulator in (("first", busy), ("second", healthy)):
                settings = {"name": name, "base_url": simulator.openai_url, "pool_size": 1}
                dispatcher.register_vendor(OpenAIVendor(api_key="k", trust_env=False, **settings))
            with dispatcher.send_streaming(ASK, timeout=600) as holding:
                assert busy.await_hits(1, timeout=PATIENCE)
                with contextlib.suppress(DispatchError):
                    response = answer(dispatcher, streamed=True, timeout=timeout)
                    plan = dispatcher.explain(ASK)
                    assert [("first", "Overloaded"), ("second", None)] == [(tried.vendor, tried.error) for tried in response.trace]
                    assert ["closed"] * 2 == [plan.status(target).circuit for target in plan.targets]
                    holding.close()
                    return
    raise AssertionError("the second vendor did not answer in time")
