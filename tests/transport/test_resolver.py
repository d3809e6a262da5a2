"""Names: found once, kept briefly, never waited for past a deadline (rows N3, N4)."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from llmdispatcher import Cancellation, Cancelled, Deadline, DeadlineExceeded, Overloaded, VendorUnavailable
from llmdispatcher.testing import LoopbackServer
from llmdispatcher.transport import IoLimits, Transport, connection, dns
from llmdispatcher.transport.context import IoContext
from llmdispatcher.transport.dns import FAILED, FRESH, STUCK, THREADS, Resolver
from llmdispatcher.types import HttpCall

from ..cases import each
from .conftest import LONG

GOOD = (socket.AF_INET, socket.SOCK_STREAM, 6, ("127.0.0.1", 80))
OTHER = (socket.AF_INET, socket.SOCK_STREAM, 6, ("127.0.0.2", 80))


class HandClock:
    """A clock that stands still; waiting is real."""

    def __init__(self) -> None:
        self.at = 1000.0

    def monotonic(self) -> float:
        return self.at


class Names:
    """Stands in for the system's resolver: counts questions, answers, fails, or keeps mute."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.found: object = [(*GOOD[:3], "", GOOD[3])]
        self.talk = threading.Event()
        self.talk.set()

    def __call__(self, host, port, **_):
        self.asked.append(host)
        self.talk.wait(LONG)
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.fixture
def names(monkeypatch, nothing_left):
    names = Names()
    monkeypatch.setattr(dns.socket, "getaddrinfo", names)
    yield names
    names.talk.set()


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def resolver(clock):
    return Resolver(clock)


def context(seconds=LONG, cancel=None, connect=None):
    made = IoContext(Deadline.after(seconds, cancellation=cancel), IoLimits(connect=connect), "vendor.test")
    made.enter("dns", connect)
    return made


def test_a_name_is_asked_for_once(resolver, names):
    """Addresses are used for half a minute without asking again."""
    assert [(GOOD,)] * 3 == [resolver.addresses("vendor.test", 80, context()) for _ in range(3)]
    assert ["vendor.test"] == names.asked


def test_old_addresses_are_asked_for_again(resolver, names, clock):
    """After half a minute the resolver is asked anew."""
    resolver.addresses("vendor.test", 80, context())
    clock.at += FRESH
    resolver.addresses("vendor.test", 80, context())

    assert 2 == len(names.asked)


def test_a_failure_is_believed_for_a_second(resolver, names, clock):
    """An unknown name fails at once, and is asked for again a second later (N3)."""
    names.found = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    for _ in range(2):
        with pytest.raises(VendorUnavailable, match="name or service not known") as caught:
            resolver.addresses("nowhere.test", 80, context())
    assert ("dns", False, 1) == (caught.value.phase, caught.value.sent, len(names.asked))

    clock.at += FAILED
    names.found = Names().found
    assert (GOOD,) == resolver.addresses("nowhere.test", 80, context())


def test_old_addresses_serve_when_the_resolver_fails(resolver, names, clock):
    """What was right half a minute ago is better than nothing."""
    resolver.addresses("vendor.test", 80, context())
    clock.at += FRESH
    names.found = socket.gaierror(socket.EAI_AGAIN, "try again")

    assert (GOOD,) == resolver.addresses("vendor.test", 80, context())


def test_old_addresses_serve_when_the_resolver_is_mute(resolver, names, clock, overshoot):
    """A resolver that does not answer costs a quarter of a second where old addresses are known (N4)."""
    resolver.addresses("vendor.test", 80, context())
    clock.at += FRESH
    names.talk.clear()

    began = time.monotonic()
    assert (GOOD,) == resolver.addresses("vendor.test", 80, context())
    assert time.monotonic() - began < dns.PATIENCE + overshoot


def test_a_mute_resolver_ends_at_the_deadline(resolver, names, overshoot):
    """A call does not wait longer than it may, whatever the resolver does (N4)."""
    names.talk.clear()

    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        resolver.addresses("vendor.test", 80, context(0.1))
    assert 0.1 <= time.monotonic() - began < 0.1 + overshoot


def test_a_mute_resolver_ends_at_the_connect_limit(resolver, names):
    """Resolving is part of connecting (N4)."""
    names.talk.clear()

    with pytest.raises(VendorUnavailable) as caught:
        resolver.addresses("vendor.test", 80, context(connect=0.05))
    assert ("dns", False) == (caught.value.phase, caught.value.sent)


def test_a_cancel_ends_the_wait_for_a_name(resolver, names, once_waiting):
    """Somebody who waits for a mute resolver can be called back (N4)."""
    names.talk.clear()
    cancellation = Cancellation()
    once_waiting(cancellation.cancel)

    with pytest.raises(Cancelled):
        resolver.addresses("vendor.test", 80, context(cancel=cancellation))


def test_nobody_waits_for_a_lookup_that_is_stuck(resolver, names, clock, overshoot):
    """Once a lookup has been mute for long, later calls fail at once (N4)."""
    names.talk.clear()
    with pytest.raises(VendorUnavailable):
        resolver.addresses("vendor.test", 80, context(connect=0.02))
    clock.at += STUCK

    began = time.monotonic()
    with pytest.raises(VendorUnavailable, match="does not answer"):
        resolver.addresses("vendor.test", 80, context())
    assert time.monotonic() - began < overshoot


def test_stuck_lookups_hold_few_threads(resolver, names):
    """However many names are asked for, at most four threads wait for a mute resolver (N4)."""
    names.talk.clear()
    before = set(threading.enumerate())
    for number in range(10):
        with pytest.raises(VendorUnavailable):
            resolver.addresses(f"vendor-{number}.test", 80, context(connect=0.01))

    assert THREADS >= len(set(threading.enumerate()) - before)
    names.talk.set()
    assert (GOOD,) == resolver.addresses("vendor-9.test", 80, context())


def test_many_callers_ask_one_question(resolver, names):
    """Callers who need the same name at the same time share one lookup."""
    names.talk.clear()
    found: list[object] = []
    callers = [threading.Thread(target=lambda: found.append(resolver.addresses("vendor.test", 80, context()))) for _ in range(8)]
    for caller in callers:
        caller.start()
    names.talk.set()
    for caller in callers:
        caller.join()

    assert ([(GOOD,)] * 8, 1) == (found, len(names.asked))


@each("host", ["localhost", "127.0.0.1", "::1"])
def test_addresses_need_no_thread(resolver, names, host, monkeypatch):
    """What needs no name server is looked up on the spot."""
    monkeypatch.setattr(Resolver, "_wait", None)

    assert (GOOD,) == resolver.addresses(host, 80, context())


def test_no_thread_is_overload(resolver, names, monkeypatch):
    """A process that can start no thread says so, and forgets the lookup."""

    def refuse(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(Overloaded):
            resolver.addresses("vendor.test", 80, context())

    assert (GOOD,) == resolver.addresses("vendor.test", 80, context())


def test_the_address_that_answered_is_tried_first(resolver, names):
    """A dead first address costs its share of the time once, not for every connection."""
    names.found = [(*OTHER[:3], "", OTHER[3]), (*GOOD[:3], "", GOOD[3])]
    resolver.addresses("vendor.test", 80, context())
    resolver.prefer("vendor.test", 80, GOOD)

    assert (GOOD, OTHER) == resolver.addresses("vendor.test", 80, context())


@pytest.fixture
def named(monkeypatch, names):
    """A server that is reached by the name vendor.test, after an address that refuses."""
    monkeypatch.setattr(connection, "RESOLVER", Resolver())
    with LoopbackServer(lambda peer, request: peer.reply(200, b"{}")) as server:
        names.found = [(*GOOD[:3], "", ("127.0.0.2", 1)), (*GOOD[:3], "", ("127.0.0.1", server.port))]
        transport = Transport(f"http://vendor.test:{server.port}")
        yield server, transport
        transport.close()


def test_the_next_address_is_tried(named):
    """A name with a dead address and a living one is reachable (N2)."""
    server, transport = named
    url = f"http://vendor.test:{server.port}/x"

    assert b"{}" == transport.open(HttpCall(url=url, headers={}), Deadline.after(LONG)).read()
    assert f"vendor.test:{server.port}" == server.requests[0].headers["host"]


def test_an_unknown_name_is_unsent(named, names):
    """A name that does not exist fails before anything is sent (N3)."""
    server, transport = named
    names.found = socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(VendorUnavailable) as caught:
        transport.open(HttpCall(url=f"http://vendor.test:{server.port}/x", headers={}), Deadline.after(LONG))

    assert ("dns", False, 0) == (caught.value.phase, caught.value.sent, server.connections)
