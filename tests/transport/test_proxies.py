"""Proxies of every kind before origins of both kinds: answers, streams, kept connections, deadlines, cancels, logins, refusals."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import responses

from llmdispatcher import Cancellation, Cancelled, ConfigError, Deadline, VendorUnavailable
from llmdispatcher.testing import LoopbackServer
from llmdispatcher.transport import IoLimits, Transport
from llmdispatcher.types import HttpCall

from ..cases import each
from .loopback_proxies import LOGIN, RunningProxy

KINDS = ("http", "https", "socks5h", "socks5", "socks4a", "socks4")
MATRIX = [(kind, secure) for kind in KINDS for secure in (False, True)]


def ok(peer, request):
    peer.reply(200, b'{"ok": true}')
    return request.headers.get("connection") == "close"


def slow_stream(peer, request):
    """Two chunks, then silence."""
    peer.start_stream()
    peer.chunk(b"data: 1\n\n")
    peer.chunk(b"data: 2\n\n")
    peer.hang_up()
    return True


def read_both(reply, then):
    """Read the stream, and do something when both chunks are there."""
    got = b""
    for piece in reply.chunks:
        got += piece
        if got == b"data: 1\n\ndata: 2\n\n":
            then()


@pytest.fixture
def proxied(serve, ca_file, server_tls):
    """Makes an origin, a proxy before it and a transport through both."""

    @contextlib.contextmanager
    def make(kind, handler, *, secure=False, login=None, host="127.0.0.1", limits=IoLimits(), **options) -> Iterator:  # noqa: B008 - a frozen value
        line, proxy = serve(handler, secure=secure), RunningProxy(kind, **options)
        proxy.start(server_tls)
        origin = f"http{'s' if secure else ''}://{host}:{line.server.port}"
        line.transport = Transport(origin, proxy=proxy.url(login), ca_bundle=ca_file, limits=limits)
        line.call = lambda path="/x", body=b"{}": HttpCall(url=origin + path, headers={"Authorization": "Bearer key"}, body=body)
        try:
            yield line, proxy
        finally:
            line.transport.close()
            proxy.server.close()

    return make


@each("kind, secure", MATRIX)
def test_calls_go_through_each_kind_of_proxy(proxied, kind, secure):
    """A large request and its answer arrive whole; the login goes to the proxy and the key to the vendor, on one connection."""
    login = LOGIN if not kind.startswith("socks4") else ("app", "")
    with proxied(kind, ok, secure=secure, login=login) as (line, proxy):
        proxy.login = not kind.startswith("socks4")
        for body in (b"{}", b'"' + b"x" * 300_000 + b'"'):
            assert b'{"ok": true}' == line.get(body=body)

    assert {f"127.0.0.1:{line.server.port}"} == set(proxy.asked)
    assert {":".join(LOGIN) if proxy.login else "app"} == set(proxy.logins)
    assert [2, 300_002] == [len(request.body) for request in line.server.requests]
    assert all("proxy-authorization" not in request.headers for request in line.server.requests)
    forwarded = kind in ("http", "https") and not secure
    assert [0, int(forwarded)] == [request.connection for request in line.server.requests]
    assert 1 == proxy.server.connections


@each("kind, secure", MATRIX)
def test_a_stream_through_a_proxy_can_be_stopped(proxied, kind, secure):
    """Pieces arrive as they are sent; a limit of silence ends the wait behind them, and so does a cancel."""

    with proxied(kind, slow_stream, secure=secure) as (line, _proxy):
        reply = line.transport.open(line.call(), Deadline.after(60.0))
        with pytest.raises(VendorUnavailable, match=r"fell silent within idle=0\.05 s"):
            read_both(reply, lambda: reply.hurry(0.05))

        cancel = Cancellation()
        with pytest.raises(Cancelled):
            read_both(line.transport.open(line.call(), Deadline.after(60.0, cancellation=cancel)), cancel.cancel)


@each("kind", ["socks5h", "socks4a", "http", "https"])
def test_a_proxy_resolves_names_itself(proxied, kind):
    """A name that this machine does not know goes to the proxy, and the certificate must be that of the name."""
    with proxied(kind, ok, secure=True, host="vendor.test") as (line, proxy):
        assert b'{"ok": true}' == line.get()
    assert [f"vendor.test:{line.server.port}"] == proxy.asked

    with proxied(kind, ok, secure=True, host="other.test") as (line, _proxy):
        assert "Hostname mismatch" in str(line.failure())


@each("kind", ["socks5", "socks4"])
def test_names_are_resolved_here_where_the_scheme_says_so(proxied, kind):
    """socks5:// and socks4:// get addresses, as in curl and requests."""
    with proxied(kind, ok, host="localhost") as (line, proxy):
        assert b'{"ok": true}' == line.get()
    assert [f"127.0.0.1:{line.server.port}"] == proxy.asked


@each("kind, secure", [("http", True), ("https", True), ("http", False), ("https", False), ("socks5h", True), ("socks5", False)])
def test_a_proxy_that_wants_a_login_says_so(proxied, kind, secure):
    """The error names the field and what to write there; nothing was sent, and another vendor may be asked."""
    for login, told in ((None, "write them into proxy"), (("app", "wrong-word"), "correct them")):
        with proxied(kind, ok, secure=secure, login=login) as (line, proxy):
            proxy.login = True
            error = line.failure()
        assert isinstance(error, VendorUnavailable)
        assert (False, True, False) == (error.retry_here, error.try_elsewhere, error.sent)
        assert told in str(error), str(error)
        assert "user and password" in str(error)
        assert kind.startswith("socks") or "(407)" in str(error)
        assert "wrong-word" not in str(error)
        assert [] == line.server.requests


def test_a_login_that_is_not_supported_is_named(proxied):
    """Only Basic is spoken; which one the proxy wants is told."""
    with proxied("http", ok, secure=True, challenge="Negotiate, NTLM") as (line, proxy):
        proxy.login = True
        assert "a login by Negotiate (407), and only Basic is supported" in str(line.failure())


@each(
    "kind, refusal, told, lasting",
    [
        ("http", 403, "refused the tunnel (403)", True),
        ("https", 502, "refused the tunnel (502)", False),
        ("socks5h", 2, "its rules do not allow", True),
        ("socks5h", 5, "the host refuses the connection", False),
        ("socks5", 99, "code 99", False),
        ("socks4a", 91, "code 91", False),
    ],
)
def test_a_refusal_of_the_proxy_is_told(proxied, kind, refusal, told, lasting):
    """What it said, whether it is worth to ask again, and that the vendor has seen nothing."""
    with proxied(kind, ok, secure=True, refusal=refusal) as (line, _proxy):
        error = line.failure()
    assert told in str(error)
    assert (not lasting, True, False, "connect") == (error.retry_here, error.try_elsewhere, error.sent, error.phase)


@each("kind", ["http", "socks5h", "socks4a"])
@each(
    "said",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n" * 2,
        b"\0" * 64,
        b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"\5\0\5\0\0\1aaaabbTOO MUCH",
    ],
)
def test_what_is_no_proxy_is_told(kind, said):
    """Whatever answers at the proxy's address: an error of ours, which names the setting or the end of the connection."""

    def greet(peer):
        peer.sock.recv(65536)
        peer.send(said)
        peer.sock.shutdown(socket.SHUT_WR)
        peer.hang_up()

    with LoopbackServer(ok, greet=greet) as server:
        transport = Transport("https://vendor.test", proxy=f"{kind}://127.0.0.1:{server.port}")
        with pytest.raises(VendorUnavailable) as caught:
            transport.open(HttpCall(url="https://vendor.test/x", headers={}), Deadline.after(30.0))
    assert "proxy" in str(caught.value)
    assert not caught.value.sent


@each("kind", KINDS)
def test_a_mute_proxy_ends_at_the_connect_limit(proxied, kind):
    """Each part of the handshake is within connect=, however long the deadline is."""
    with LoopbackServer(ok, greet=lambda peer: peer.hang_up() and None) as server:
        transport = Transport("https://127.0.0.1:1", proxy=f"{kind}://127.0.0.1:{server.port}", limits=IoLimits(connect=0.1))
        with pytest.raises(VendorUnavailable) as caught:
            transport.open(HttpCall(url="https://127.0.0.1:1/x", headers={}), Deadline.after(60.0))
    assert caught.value.timed_out


def test_a_proxy_with_a_foreign_certificate_is_not_trusted(proxied):
    """TLS with the proxy is verified, and the error names the proxy's setting."""
    with proxied("https", ok) as (_line, proxy):
        transport = Transport("http://vendor.test", proxy=proxy.url())
        with pytest.raises(VendorUnavailable, match=r"TLS with the proxy failed: .*; check proxy, or give the CA"):
            transport.open(HttpCall(url="http://vendor.test/x", headers={}), Deadline.after(30.0))


@each(
    "proxy, right",
    [
        ("socks://127.0.0.1:9", ("socks5h", 9)),
        ("SOCKS5://u:p@h", ("socks5", 1080)),
        ("https://proxy.test", ("https", 443)),
        ("proxy.test", ("http", 80)),
        (" http://[::1]:3128/ ", ("http", 3128)),
    ],
)
def test_addresses_of_proxies_are_read(proxy, right):
    """Each scheme has its port; ``socks://`` is what desktops write for SOCKS 5."""
    from llmdispatcher.transport.proxies import Proxy

    read = Proxy.of(proxy)
    assert right == (read.scheme, read.port)


@each(
    "proxy",
    ["socks5://u:" + "p" * 256 + "@h", "http://u%0d%0aX:p@h", "http://a%3Ab:p@h", "socks4://%00:p@h", "https://u:p\u0430@h"],
)
def test_a_login_that_no_handshake_can_carry_is_refused(proxy):
    """When the transport is made, and without a word of it."""
    with pytest.raises(ConfigError, match=r"^proxy: its address cannot be read"):
        Transport("http://vendor.test", proxy=proxy)


@each("kind, secure", [("http", False), ("http", True), ("https", True), ("socks5h", False)])
def test_tools_that_replace_requests_let_calls_through_a_proxy(proxied, kind, secure):
    """``responses`` sees the call, and what it passes on takes the same way."""
    with proxied(kind, ok, secure=secure, login=LOGIN) as (line, proxy), responses.RequestsMock() as mock:
        mock.add_passthru(f"http{'s' if secure else ''}://127.0.0.1")
        proxy.login = True
        assert b'{"ok": true}' == line.get()
        assert b'{"ok": true}' == line.get()
    assert {":".join(LOGIN)} == set(proxy.logins)


def test_many_threads_share_the_connections_through_a_proxy(proxied):
    """Each gets its own answer."""

    def echo(peer, request):
        peer.reply(200, request.body)

    with proxied("https", echo, secure=True) as (line, proxy), ThreadPoolExecutor(8) as threads:
        bodies = [b"%d" % number * 50_000 for number in range(40)]
        assert bodies == list(threads.map(lambda body: line.get(body=body), bodies))
        assert proxy.server.connections < len(bodies)


def test_a_proxy_whose_name_is_unknown_is_told_by_its_setting(monkeypatch):
    """And not by the vendor's address, which nobody has looked up."""

    def unknown(host, *_rest, **_options):
        raise socket.gaierror(socket.EAI_NONAME, f"unknown: {host}")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    transport = Transport("https://vendor.test", proxy="socks5h://proxy.test")
    with pytest.raises(VendorUnavailable, match=r"proxy.test:1080: the proxy's name cannot be resolved; check proxy and"):
        transport.open(HttpCall(url="https://vendor.test/x", headers={}), Deadline.after(30.0))
