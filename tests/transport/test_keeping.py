"""Kept connections: used again while they are young, probed by TCP while they are silent. And the share for connecting."""

from __future__ import annotations

import gc
import socket
import time

import pytest

from llmdispatcher import Deadline, VendorUnavailable
from llmdispatcher.runtime import SYSTEM_CLOCK
from llmdispatcher.testing import UNREACHABLE
from llmdispatcher.transport import IoLimits, Transport
from llmdispatcher.types import HttpCall

from ..cases import each
from .conftest import LONG


class Later(type(SYSTEM_CLOCK)):
    """The machine's clock, which can be put forward."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


def answer(peer, _request):
    peer.reply(200, b"ok")


@each(
    "limits, idle, connections",
    [
        (IoLimits(), 59.0, 1),
        (IoLimits(), 60.0, 2),
        (IoLimits(kept=5.0), 4.9, 1),
        (IoLimits(kept=5.0), 5.1, 2),
        (IoLimits(kept=0.0), 0.0, 2),
        (IoLimits(kept=None), 1e6, 1),
    ],
)
def test_a_connection_is_used_again_while_it_is_young(serve, secure, limits, idle, connections):
    """What is between may have forgotten an old one, and a request on it would never be answered."""
    line, clock = serve(answer, secure=secure, limits=limits), Later()
    for ahead in (0.0, idle):
        clock.ahead = ahead
        assert b"ok" == line.transport.open(line.call(), Deadline.after(LONG, clock=clock)).read()

    assert connections == line.server.connections


def test_tcp_probes_a_silent_connection_after_a_minute(serve, secure):
    """So that a vendor that thinks for long is not forgotten by what is between."""
    line = serve(answer, secure=secure)
    line.get()
    (kept,) = [found for found in gc.get_objects() if isinstance(found, socket.socket) and _leads_to(found, line.server.port)]

    assert 1 == kept.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert 60 == kept.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)


def _leads_to(found, port):
    try:  # one of another family may be of another test
        return found.family == socket.AF_INET and found.getpeername()[1] == port
    except OSError:
        return False


@each("row", ["N2", "N6"])
def test_connecting_has_no_more_than_its_share(row):
    """The limit is five seconds; the share of a second ends it sooner, and says so."""
    deadline = Deadline.after(LONG)
    deadline.narrow(LONG, 0.3)
    began = time.monotonic()
    with UNREACHABLE[row]() as url, pytest.raises(VendorUnavailable, match=r"within connect=0\.3 s") as caught:
        Transport(url).open(_call(url), deadline)

    assert 0.3 <= time.monotonic() - began
    assert (True, False) == (caught.value.timed_out, caught.value.sent)


def test_a_refused_connection_did_not_time_out():
    """It is an answer, and a quick one."""
    with UNREACHABLE["N1"]() as url, pytest.raises(VendorUnavailable) as caught:
        Transport(url).open(_call(url), Deadline.after(LONG))

    assert ("connect", False) == (caught.value.phase, caught.value.timed_out)


def _call(url):
    return HttpCall(url=url + "/x", headers={}, body=b"{}")
