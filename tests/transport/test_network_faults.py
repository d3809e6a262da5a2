"""Rows N and H of the fault matrix, and the time limits in every phase, over real sockets."""

from __future__ import annotations

import contextlib
import errno
import resource
import socket
import ssl
import threading
import time
import warnings

import pytest

from llmdispatcher import (
    Cancellation,
    Cancelled,
    Deadline,
    DeadlineExceeded,
    DispatchError,
    MalformedReply,
    Overloaded,
    VendorUnavailable,
)
from llmdispatcher.testing import LoopbackServer, Peer
from llmdispatcher.transport import IoLimits, Transport
from llmdispatcher.transport.sockets import PlainSocket
from llmdispatcher.types import HttpCall

from ..cases import each
from ..threads import in_threads
from .conftest import LONG, OVERSHOOT

LIMIT = 0.12
PROMISE = 0.05
"""Seconds after its deadline or a cancel by which a call has ended."""


def is_prompt(attempt):
    """Whether an attempt ends as promptly as is promised.

    ``attempt`` gives the seconds by which its end was late. On a busy machine a bare wait is late, too: what such a one is late by
    just then is allowed for, and there are several attempts. A defect is late always, a busy machine now and then.
    """
    until = time.monotonic() + OVERSHOOT
    while True:
        late = attempt()
        assert late >= 0, "too early"
        if late < PROMISE or late < PROMISE + 4 * bare_lateness():
            return True
        if time.monotonic() > until:
            return False


def bare_lateness():
    """By how many seconds a wait of this machine is late now, which no code of ours has a part in."""
    began = time.monotonic()
    threading.Event().wait(LIMIT)
    return time.monotonic() - began - LIMIT


def ok(peer, request):
    peer.reply(200, b'{"ok": true}')


def mute(peer, request):
    return peer.hang_up()


def trickled_head(peer, request):
    peer.trickle(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1000, 0.02)
    return True


def slow_interim(peer, request):
    for _ in range(9):
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if peer.wait(0.05):
            break
    return peer.hang_up()


def trickled_body(peer, request):
    peer.head(200, ("Content-Length", "1000"))
    peer.trickle(b"x" * 1000, 0.02)
    return True


def trickled_size(peer, request):
    peer.start_stream()
    peer.trickle(b"1" * 1000, 0.02)
    return True


def first_token_only(peer, request):
    peer.start_stream()
    peer.chunk(b"data: 1\n\n")
    return peer.hang_up()


def tls_mute(peer):
    peer.hang_up()


def tls_trickled(peer):
    peer.trickle(b"\x16\x03\x03\x40\x00" + b"\x02" * 1000, 0.02)


PHASES = {
    "no head": {"handler": mute},
    "trickled head": {"handler": trickled_head},
    "slow interim answers": {"handler": slow_interim},
    "trickled body": {"handler": trickled_body},
    "trickled chunk size": {"handler": trickled_size},
    "hang after the first token": {"handler": first_token_only},
}
HANDSHAKES = {
    "mute handshake": {"handler": ok, "greet": tls_mute, "secure": True},
    "trickled handshake": {"handler": ok, "greet": tls_trickled, "secure": True},
}
PLACES = [{"secure": tls, **row} for row in PHASES.values() for tls in (False, True)] + list(HANDSHAKES.values())


@contextlib.contextmanager
def black_hole():
    """A port that takes no more connections and says nothing."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def call(url, body=b"{}"):
    return HttpCall(url=url + "/x", headers={"Authorization": "Bearer key"}, body=body)


@each("place", PLACES)
def test_the_deadline_ends_every_phase(serve, place):
    """Wherever a call hangs, it ends at its deadline (N6, H1, H2, H3, B1, B5, S10)."""
    line = serve(**place)

    def attempt():
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            line.open(LIMIT).read()
        return time.monotonic() - began - LIMIT

    assert is_prompt(attempt)


@each("place", PLACES)
def test_a_cancel_ends_every_phase(serve, place, once_waiting):
    """Wherever a call hangs, a cancel from another thread ends it at once."""
    line = serve(**place)

    def attempt():
        cancellation, cancelled = Cancellation(), []
        once_waiting(lambda: (cancelled.append(time.monotonic()), cancellation.cancel("enough")))
        with pytest.raises(Cancelled, match="enough"):
            line.open(cancel=cancellation).read()
        return time.monotonic() - cancelled[0]

    assert is_prompt(attempt)


@each("place", PLACES)
def test_a_total_limit_ends_every_phase(serve, place):
    """One attempt's own limit holds where the call's deadline is far."""
    line = serve(**place, limits=IoLimits(total=LIMIT))

    def attempt():
        began = time.monotonic()
        error = line.failure()
        assert (VendorUnavailable, "total", True) == (type(error), error.phase, error.retry_here)
        return time.monotonic() - began - LIMIT

    assert is_prompt(attempt)


def test_a_cancelled_call_sends_nothing(serve):
    """A call that is cancelled before it begins never reaches the vendor."""
    line, cancellation = serve(ok), Cancellation()
    cancellation.cancel()

    with pytest.raises(Cancelled):
        line.open(cancel=cancellation)

    assert 0 == line.server.connections


def test_a_refused_connection_is_unsent(overshoot):
    """A closed port fails at once, and surely nothing was sent (N1)."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(VendorUnavailable) as caught:
            Transport(url).open(call(url), Deadline.after(LONG))

    assert ("connect", False, True) == (caught.value.phase, caught.value.sent, caught.value.retry_here)
    assert time.monotonic() - began < overshoot


def test_a_refused_connection_names_the_port_and_the_proxy():
    """Which server is down can be told from the error; the proxy's login is not shown."""
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(VendorUnavailable, match=f"^{place}: connection refused"):
            Transport(f"http://{place}/v1").open(call(f"http://{place}/v1"), Deadline.after(5))
        behind = Transport("http://vendor.test/v1", proxy=f"http://user:secret-word@{place}")
        with pytest.raises(VendorUnavailable, match=f"^vendor.test by the proxy {place}: connection refused") as caught:
            behind.open(call("http://vendor.test/v1"), Deadline.after(5))
    assert "secret-word" not in str(caught.value)


def test_a_server_without_tls_is_told_by_its_scheme(serve):
    """An https:// address of a server that speaks plain HTTP is told what to change."""
    address = serve(ok, greet=lambda peer: peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")).server.url.replace("http://", "https://")
    with pytest.raises(VendorUnavailable, match="if it speaks plain HTTP, begin base_url with http://"):
        Transport(address).open(call(address), Deadline.after(5))


def test_a_black_hole_ends_at_the_connect_limit(overshoot):
    """A connection that nobody takes is given up at its limit (N2)."""
    with black_hole() as url:
        began = time.monotonic()
        with pytest.raises(VendorUnavailable) as caught:
            Transport(url, limits=IoLimits(connect=LIMIT)).open(call(url), Deadline.after(LONG))

    assert ("connect", False) == (caught.value.phase, caught.value.sent)
    assert LIMIT <= time.monotonic() - began < LIMIT + overshoot


def test_a_black_hole_ends_at_the_deadline(overshoot):
    """The call's deadline counts where the connect limit is longer (N2)."""
    with black_hole() as url:
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            Transport(url).open(call(url), Deadline.after(LIMIT))

    assert LIMIT <= time.monotonic() - began < LIMIT + overshoot


def test_a_cancel_ends_a_connect(once_waiting, overshoot):
    """A socket that waits for its first answer is woken too (N2)."""
    cancellation = Cancellation()
    with black_hole() as url:
        once_waiting(cancellation.cancel)
        began = time.monotonic()
        with pytest.raises(Cancelled):
            Transport(url).open(call(url), Deadline.after(LONG, cancellation=cancellation))

    assert time.monotonic() - began < overshoot


def bad_certificate(authority, hostname="127.0.0.1", **options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(hostname, **options).configure_cert(context)
    return context


def old_tls(authority):
    context = bad_certificate(authority)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def stranger(authority):
    import trustme

    return bad_certificate(trustme.CA())


def expired(authority):
    from datetime import UTC, datetime

    return bad_certificate(authority, not_before=datetime(2020, 1, 1, tzinfo=UTC), not_after=datetime(2020, 2, 1, tzinfo=UTC))


def wrong_host(authority):
    return bad_certificate(authority, "elsewhere.test")


@each("made", [stranger, expired, wrong_host, old_tls])
def test_tls_that_cannot_be_trusted_is_final_here(made, authority, ca_file):
    """A certificate or version that will not do today will not do in a second; another vendor may (N5)."""
    with LoopbackServer(ok, tls=made(authority)) as server, pytest.raises(VendorUnavailable) as caught:
        Transport(server.url, ca_bundle=ca_file).open(call(server.url), Deadline.after(LONG))

    error = caught.value
    assert ("tls", False, False, True) == (error.phase, error.sent, error.retry_here, error.try_elsewhere)
    assert [] == server.requests


def test_plain_http_on_a_tls_port_is_final_here(ca_file):
    """Something that does not speak TLS is a wrong address, not a bad moment (N5)."""

    def plain(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        peer.hang_up()

    with LoopbackServer(ok, greet=plain) as server:
        url = server.url.replace("http:", "https:")
        with pytest.raises(VendorUnavailable) as caught:
            Transport(url, ca_bundle=ca_file).open(call(url), Deadline.after(LONG))

    assert ("tls", False) == (caught.value.phase, caught.value.retry_here)


def test_a_reset_handshake_may_be_tried_again(ca_file):
    """A connection that breaks in the handshake says nothing about its certificate."""
    with LoopbackServer(ok, greet=lambda peer: peer.reset()) as server:
        url = server.url.replace("http:", "https:")
        with pytest.raises(VendorUnavailable) as caught:
            Transport(url, ca_bundle=ca_file).open(call(url), Deadline.after(LONG))

    assert caught.value.phase in ("connect", "tls")  # the reset may overtake the end of the TCP handshake
    assert (False, True) == (caught.value.sent, caught.value.retry_here)


def test_a_stalled_upload_ends_at_the_deadline(serve, overshoot):
    """A peer that does not read holds nobody past the deadline (N7)."""
    reading = threading.Event()

    def deaf(peer: Peer) -> None:
        reading.wait(LONG)

    line = serve(ok, greet=deaf, receive_buffer=4096)
    began = time.monotonic()
    try:
        with pytest.raises(DeadlineExceeded) as caught:
            line.open(LIMIT, body=bytes(8_000_000))
        ended = time.monotonic()
    finally:
        reading.set()

    assert ("send", True) == (caught.value.phase, caught.value.sent)
    assert LIMIT <= ended - began < LIMIT + overshoot


def test_a_stalled_upload_ends_at_the_deadline_in_tls(server_tls, ca_file, overshoot):
    """TLS sends record by record; all records together end at the deadline (N7)."""
    over, ready = threading.Event(), socket.socket()
    ready.bind(("127.0.0.1", 0))
    ready.listen(1)

    def handshake_only():
        sock, _ = ready.accept()
        with server_tls.wrap_socket(sock, server_side=True):
            over.wait(LONG)

    server = threading.Thread(target=handshake_only)
    server.start()
    url = f"https://127.0.0.1:{ready.getsockname()[1]}"
    began = time.monotonic()
    try:
        with pytest.raises(DeadlineExceeded) as caught:
            Transport(url, ca_bundle=ca_file).open(call(url, bytes(64_000_000)), Deadline.after(LIMIT))
        ended = time.monotonic()
    finally:
        over.set()
        server.join()
        ready.close()

    assert "send" == caught.value.phase
    assert LIMIT <= ended - began < LIMIT + overshoot


def test_silence_before_the_answer_has_its_own_limit(serve, overshoot):
    """No head within first_byte: the request may have arrived, and may be sent again (H1)."""
    line = serve(mute, limits=IoLimits(first_byte=LIMIT))

    began = time.monotonic()
    error = line.failure()

    assert ("first_byte", True, True) == (error.phase, error.sent, error.retry_here)
    assert LIMIT <= time.monotonic() - began < LIMIT + overshoot


def test_silence_in_the_answer_has_its_own_limit(serve, overshoot):
    """Nothing within idle after something came (S10, N8)."""
    line = serve(first_token_only, limits=IoLimits(idle=LIMIT))
    reply = line.open()
    assert b"data: 1\n\n" == next(reply.chunks)

    began = time.monotonic()
    with pytest.raises(VendorUnavailable) as caught:
        next(reply.chunks)

    assert ("idle", True) == (caught.value.phase, caught.value.sent)
    assert LIMIT <= time.monotonic() - began < LIMIT + overshoot


def test_the_idle_limit_counts_waiting_not_thinking(serve):
    """A reader that takes its time between two reads is not the vendor's silence (C2)."""

    more, sent = threading.Event(), threading.Event()

    def two(peer, request):
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n")
        more.wait(LONG)
        peer.send(b"1\r\n2\r\n0\r\n\r\n")
        sent.set()

    reply = serve(two, limits=IoLimits(idle=0.05)).open()
    first = next(reply.chunks)
    more.set()
    sent.wait(LONG)
    time.sleep(0.08)  # longer than the idle limit, which is what is tested; what is read then has come

    assert b"12" == first + b"".join(reply.chunks)


@each(
    "head",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 200 + b"\r\n",
        b"<html>a captive portal</html>\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    ],
)
def test_a_malformed_head_closes_the_connection(serve, secure, head):
    """A head that cannot be trusted is an error, and its connection is not used again (H3, H4, H5)."""

    def bad_then_good(peer, request):
        if request.target == "/x":
            peer.send(head)
            return peer.hang_up()
        return ok(peer, request)

    line = serve(bad_then_good, secure=secure)

    error = line.failure()
    line.get(path="/good")

    assert (MalformedReply, True) == (type(error), error.try_elsewhere)
    assert 2 == line.server.connections


@each("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(serve, status):
    """A redirect comes back as the answer it is, and nobody else hears of the request (H6)."""
    elsewhere = serve(ok)

    def redirect(peer, request):
        peer.reply(status, b"", ("Location", elsewhere.server.url + "/stolen"))

    reply = serve(redirect).open()
    reply.read()

    assert (status, []) == (reply.status, elsewhere.server.requests)


def test_a_stale_connection_is_replaced_once(serve, secure):
    """A kept connection that the server closed carries the request again on a new one (N9)."""

    def once(peer, request):
        if request.connection == 0 and request.target == "/second":
            return True
        return ok(peer, request)

    line = serve(once, secure=secure)
    line.get(path="/first")

    assert b'{"ok": true}' == line.get(path="/second")
    assert [0, 0, 1] == [request.connection for request in line.server.requests]


def test_a_new_connection_is_never_replaced(serve, secure):
    """A vendor that hangs up on a fresh connection has perhaps acted: that is the attempt loop's to judge (N9)."""

    def rude(peer, request):
        return True

    line = serve(rude, secure=secure)
    error = line.failure()

    assert ("first_byte", True, 1) == (error.phase, error.sent, len(line.server.requests))


def test_a_started_answer_is_never_asked_for_again(serve):
    """Once a byte of the answer came over a kept connection, its loss is told, not repaired (N9)."""

    def cut(peer, request):
        if request.target == "/cut":
            peer.send(b"HTTP/1.1 200")
            return True
        return ok(peer, request)

    line = serve(cut)
    line.get()
    error = line.failure(path="/cut")

    assert ("first_byte", 2) == (error.phase, len(line.server.requests))


def test_a_stale_resend_that_fails_is_an_error(serve):
    """The resend happens once: two dead connections in a row are a vendor that is away (N9)."""

    def dying(peer, request):
        return request.target == "/die" or ok(peer, request)

    line = serve(dying)
    line.get()
    error = line.failure(path="/die")

    assert ("first_byte", 3) == (error.phase, len(line.server.requests))


def test_a_full_pool_waits_and_never_grows(serve):
    """Many threads share few connections, and all get their answer (N10)."""
    line = serve(ok, pool_size=2)
    failures: list[BaseException] = []

    def work():
        try:
            for _ in range(5):
                line.get()
        except BaseException as error:
            failures.append(error)

    in_threads(work, 30)

    assert ([], 150) == (failures, len(line.server.requests))
    assert line.server.connections <= 2


def test_a_full_pool_waits_no_longer_than_the_deadline(serve, overshoot):
    """Who gets no connection in time is told so by the deadline (N10)."""
    line = serve(first_token_only, pool_size=1)
    holding = line.open()

    began = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        line.open(LIMIT)
    ended = time.monotonic()
    holding.close()

    assert (False, 1) == (caught.value.sent, line.server.connections)
    assert LIMIT <= ended - began < LIMIT + overshoot


def test_a_full_pool_within_one_attempt_is_overload(serve):
    """Where the attempt's own time runs out in the queue, it is this process that is busy, not the vendor (N10)."""
    line = serve(first_token_only, pool_size=1, limits=IoLimits(total=LIMIT))
    holding = line.open()
    error = line.failure()
    holding.close()

    assert (Overloaded, False) == (type(error), error.sent)


def test_a_cancel_ends_the_wait_for_a_connection(serve, once_waiting):
    """A caller in the queue leaves it when cancelled, and the next one takes the place (N10)."""
    line, cancellation = serve(first_token_only, pool_size=1), Cancellation()
    holding = line.open()
    once_waiting(cancellation.cancel)
    with pytest.raises(Cancelled):
        line.open(cancel=cancellation)
    holding.close()

    next_one = line.open()
    assert b"data: 1\n\n" == next(next_one.chunks)
    next_one.close()


def test_an_interrupt_in_the_queue_takes_no_place(serve, interrupted):
    """Ctrl-C while waiting for a connection neither loses a place nor makes one (I7)."""

    def interrupt(*_):
        raise KeyboardInterrupt

    line = serve(first_token_only, pool_size=1)
    holding = line.open()
    interrupted(interrupt)
    with pytest.raises(KeyboardInterrupt):
        line.open()
    holding.close()

    assert 1 == line.transport._start().pool.pool.qsize()


def test_no_descriptor_left_is_unsent(serve):
    """A process out of descriptors fails the call, and recovers (P4)."""
    line = serve(ok)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(VendorUnavailable, match="too many open files") as caught:
            line.open()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert (False, b'{"ok": true}') == (caught.value.sent, line.get())


@each("forever", [False, True])
@each("operation", ["connect", "sendall", "recv", "settimeout", "setsockopt"])
@each("number", [errno.ECONNRESET, errno.EPIPE, errno.EIO, errno.ENOBUFS])
def test_the_nth_operation_may_fail(serve, monkeypatch, operation, number, forever):
    """Whichever operation on a socket fails, first or n-th, the call ends in one of our errors and nothing is lost (I2, I7)."""

    def stream(peer, request):
        peer.start_stream()
        for _ in range(3):
            peer.chunk(b"data: 1\n\n")
        peer.chunk(b"")

    line = serve(stream, pool_size=2)
    for failing in range(1, 100):
        seen = 0

        def fails(sock, *arguments, failing=failing):
            nonlocal seen
            seen += 1
            if seen == failing or (forever and seen > failing):
                raise OSError(number, "injected")
            return getattr(socket.socket, operation)(sock, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(PlainSocket, operation, fails)
            with contextlib.suppress(DispatchError):  # a request that was lost before it left is waited for to the deadline
                line.get(seconds=0.25)
                line.get(seconds=0.25)
        assert 2 == line.transport._start().pool.pool.qsize()
        if seen < failing:
            return
    pytest.fail("the injection never ran out")


def test_a_failed_call_gives_its_place_back(serve):
    """However a call fails, its place in the pool is free again (I7)."""
    line = serve(mute, pool_size=1)

    for _ in range(5):
        with pytest.raises(DeadlineExceeded):
            line.open(0.03)

    assert 1 == line.transport._start().pool.pool.qsize()
