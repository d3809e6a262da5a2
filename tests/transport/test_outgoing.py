"""What is sent, where to, and what of the surroundings has a say in it."""

from __future__ import annotations

import contextlib
import gzip
import socket
import subprocess
import sys
import threading

import pytest
import responses

from llmdispatcher import ConfigError, Deadline, MalformedReply, VendorUnavailable
from llmdispatcher.testing import LoopbackServer
from llmdispatcher.transport import Transport
from llmdispatcher.transport.proxies import environment_bundles, environment_proxy
from llmdispatcher.types import HttpCall

from ..cases import each

VARIABLES = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]
VARIABLES += ["SSL_CERT_FILE", "SSL_CERT_DIR"]


@pytest.fixture
def environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


def ok(peer, request):
    peer.reply(200, b'{"ok": true}', ("Set-Cookie", "tenant=a; Path=/"))


def test_a_request_is_what_the_call_says(serve):
    """Method, path with query, headers and body arrive as given; Host and Content-Length are added, nothing else."""
    line = serve(ok)
    line.get(path="/v1/chat?api-version=1", body=b'{"a": 1}', Accept="text/event-stream")

    request = line.server.requests[0]
    assert ("POST", "/v1/chat?api-version=1", b'{"a": 1}') == (request.method, request.target, request.body)
    assert {
        "host": f"127.0.0.1:{line.server.port}",
        "authorization": "Bearer key",
        "accept": "text/event-stream",
        "content-length": "8",
    } == request.headers


def test_a_large_body_arrives_whole(serve, secure):
    """Eight megabytes are sent as they are."""
    body = bytes(range(256)) * 32768
    line = serve(ok, secure=secure)
    line.get(body=body)

    assert body == line.server.requests[0].body


def test_cookies_are_not_kept(serve):
    """What one answer sets, the next request does not bring (A3)."""
    line = serve(ok)
    line.get()
    line.get()

    assert "cookie" not in line.server.requests[1].headers


def test_netrc_has_no_say(serve, environment, tmp_path):
    """A password for the host in ~/.netrc does not replace the key."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password secret\n")
    environment.setenv("NETRC", str(tmp_path / "netrc"))
    line = serve(ok)
    line.get()

    assert "Bearer key" == line.server.requests[0].headers["authorization"]


def test_the_environment_has_no_say_unasked(serve, environment):
    """A proxy in the environment is not used by a transport that was not told to."""
    environment.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    environment.setenv("HTTPS_PROXY", "http://127.0.0.1:1")

    assert b'{"ok": true}' == serve(ok).get()


def test_the_environment_is_read_when_asked(environment):
    """The standard variables give proxy and CA bundle; NO_PROXY takes hosts out."""
    environment.setenv("https_proxy", "http://proxy.test:3128")
    environment.setenv("NO_PROXY", "inside.test")
    environment.setenv("REQUESTS_CA_BUNDLE", "/etc/ca.pem")

    proxy = environment_proxy("https://api.vendor.test/v1")
    assert proxy is not None
    assert ("http", "proxy.test:3128", "HTTPS_PROXY") == (proxy.scheme, proxy.authority, proxy.field)
    assert environment_proxy("https://api.inside.test") is None
    assert environment_proxy("http://api.vendor.test") is None
    assert {"REQUESTS_CA_BUNDLE": "/etc/ca.pem"} == environment_bundles()


def test_all_proxy_stands_in(environment):
    """ALL_PROXY serves schemes without a proxy of their own."""
    environment.setenv("ALL_PROXY", "http://proxy.test:1")

    proxy = environment_proxy("http://api.vendor.test")
    assert proxy is not None
    assert ("proxy.test:1", "ALL_PROXY") == (proxy.authority, proxy.field)
    assert {} == environment_bundles()


def test_trust_env_uses_the_proxy(environment):
    """A transport that trusts the environment sends through its proxy, with the whole URL and its password."""
    with LoopbackServer(ok) as proxy:
        environment.setenv("HTTP_PROXY", proxy.url.replace("//", "//user:secret@"))
        transport = Transport("http://vendor.test", trust_env=True)
        transport.open(HttpCall(url="http://vendor.test/x", headers={"Authorization": "k"}), Deadline.after(30.0)).read()
        transport.close()

    request = proxy.requests[0]
    assert ("http://vendor.test/x", "vendor.test") == (request.target, request.headers["host"])
    assert request.headers["proxy-authorization"].startswith("Basic ")


def pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def test_a_tunnel_keeps_tls_to_the_vendor(serve, ca_file):
    """Behind a proxy, HTTPS goes through CONNECT: the proxy sees neither key nor path."""
    line = serve(ok, secure=True)

    def connect(peer, request):
        upstream = socket.create_connection(("127.0.0.1", line.server.port))
        peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=pump, args=(upstream, peer.sock))
        back.start()
        pump(peer.sock, upstream)
        back.join()
        upstream.close()
        return True

    with LoopbackServer(connect) as proxy:
        transport = Transport(line.server.url, proxy=proxy.url, ca_bundle=ca_file)
        for _ in range(2):
            assert b'{"ok": true}' == transport.open(line.call(), Deadline.after(30.0)).read()
        transport.close()

    assert ["CONNECT"] == [request.method for request in proxy.requests]
    assert "authorization" not in proxy.requests[0].headers


def test_a_proxy_that_refuses_is_named(ca_file):
    """A proxy's no is a failure to connect; nothing was sent to the vendor."""
    with LoopbackServer(lambda peer, request: peer.reply(407, b"") or True) as proxy:
        transport = Transport("https://vendor.test", proxy=proxy.url, ca_bundle=ca_file)
        with pytest.raises(VendorUnavailable, match="proxy") as caught:
            transport.open(HttpCall(url="https://vendor.test/x", headers={}), Deadline.after(30.0))

    assert ("connect", False) == (caught.value.phase, caught.value.sent)


@each("proxy", ["socks6://user:secret@proxy.test", "ftp://user:secret@proxy.test", "http://"])
def test_unsupported_proxies_are_refused(proxy):
    """HTTP and SOCKS are spoken; the message does not quote a password."""
    with pytest.raises(ConfigError) as caught:
        Transport("https://vendor.test", proxy=proxy)

    assert "secret" not in str(caught.value)


@each(
    "url",
    [
        "ftp://vendor.test",
        "vendor.test/v1",
        "https://",
        "https://user:secret@vendor.test",
        "https://vendor.test:port",
        "https://[::1",
    ],
)
def test_a_base_url_that_cannot_be_is_refused(url):
    """A wrong address is told when the transport is made, without quoting what it holds."""
    with pytest.raises(ConfigError) as caught:
        Transport(url)

    assert "secret" not in str(caught.value)


@each("url", ["http://vendor.test.evil.test/x", "https://vendor.test/x", "http://evil.test/x", "http://vendor.test@evil.test/x"])
def test_another_origin_is_refused(url):
    """A key belongs to scheme, host and port; it goes nowhere else (A5)."""
    with pytest.raises(ConfigError):
        Transport("http://vendor.test").open(HttpCall(url=url, headers={}), Deadline.after(30.0))


@each("value", ["k\n", " k", "k ", "k\r\nX: 1", "k\0", "k…", "\tk", 5, b"k", "k\x7f"])
def test_a_header_value_that_cannot_be_sent_is_refused(serve, value):
    """The error names the header and never its value (A6, L2)."""
    line = serve(ok)
    with pytest.raises(ConfigError, match="Authorization") as caught:
        line.open(Authorization=value)

    assert (0, False) == (line.server.connections, "k" in str(caught.value).replace("blanks", "").replace("lines", ""))


@each("name", ["", "a b", "a:", "a\n", "Host", "content-length", "Transfer-Encoding", "ä"])
def test_a_header_name_that_cannot_be_sent_is_refused(serve, name):
    """Names that are none, and those that frame the request, are refused (A6)."""
    with pytest.raises(ConfigError):
        serve(ok).open(**{name: "x"})


def test_changed_headers_are_checked_again(serve):
    """A mapping that passed once and was changed since is a new one."""
    line, headers = serve(ok), {"A": "1"}
    call = HttpCall(url=line.server.url + "/x", headers=headers)
    line.transport.open(call, Deadline.after(30.0)).read()
    headers["A"] = "1\n"

    with pytest.raises(ConfigError):
        line.transport.open(call, Deadline.after(30.0))


def test_a_path_cannot_smuggle(serve):
    """Blanks and line ends in a URL are encoded or dropped, not sent."""
    line = serve(ok)
    line.get(path="/a b?c=\r\nX: 1")

    assert "/a%20b?c=X:%201" == line.server.requests[0].target
    assert "x" not in line.server.requests[0].headers


@responses.activate
def test_responses_sees_every_call(monkeypatch):
    """The tool that everybody tests with answers in the vendor's place; no name is resolved (row A)."""
    monkeypatch.setattr(socket, "getaddrinfo", None)
    responses.post("https://api.vendor.test/v1/chat", json={"a": 1}, headers={"X-Request-Id": "r1"}, status=201)
    transport = Transport("https://api.vendor.test/v1")

    reply = transport.open(
        HttpCall(url="https://api.vendor.test/v1/chat", headers={"Authorization": "k"}, body=b"{}"), Deadline.after(30.0)
    )

    assert (201, "r1", b'{"a": 1}') == (reply.status, reply.headers["x-request-id"], reply.read())
    assert ("k", b"{}") == (responses.calls[0].request.headers["Authorization"], responses.calls[0].request.body)
    transport.close()


@responses.activate
def test_responses_can_let_calls_through(serve, secure):
    """What it does not answer goes to the vendor, over one kept connection as ever."""
    line = serve(ok, secure=secure)
    responses.add_passthru(line.server.url)

    assert [b'{"ok": true}'] * 3 == [line.get() for _ in range(3)]
    assert 1 == line.server.connections


@responses.activate
def test_a_mocked_answer_is_bounded_and_unpacked():
    """As one from the wire: a packed body is unpacked, and one that is too long is refused."""
    responses.post("https://api.vendor.test/v1", body=gzip.compress(b"words" * 999), headers={"Content-Encoding": "gzip"})
    transport = Transport("https://api.vendor.test")
    exact, short = (HttpCall(url="https://api.vendor.test/v1", headers={}, max_body=most) for most in (4995, 4994))

    assert b"words" * 999 == transport.open(exact, Deadline.after(30.0)).read()
    with pytest.raises(MalformedReply):
        transport.open(short, Deadline.after(30.0)).read()


@responses.activate
def test_responses_can_fail_a_call():
    """An exception that a test injects comes out as ours."""
    responses.post("https://api.vendor.test/v1/chat", body=ConnectionError("no"))

    with pytest.raises(VendorUnavailable):
        Transport("https://api.vendor.test").open(HttpCall(url="https://api.vendor.test/v1/chat", headers={}), Deadline.after(30.0))


def test_making_a_transport_does_nothing():
    """No thread, no socket, no file, no environment: that comes with the first call."""
    code = """
import sys, threading
from llmdispatcher.transport import Transport
seen = []
sys.addaudithook(lambda event, args: seen.append(event) if event.startswith(("socket.", "open", "os.")) else None)
Transport("https://api.vendor.test", proxy="http://proxy.test:1", ca_bundle="/nowhere")
print(seen, threading.active_count())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[] 1" == done.stdout.strip()


def test_a_ca_bundle_that_is_none_is_refused(tmp_path):
    """A bundle that cannot be read is a mistake of the configuration, told at the first call."""
    (tmp_path / "ca.pem").write_text("no certificate")

    for path in (tmp_path / "ca.pem", tmp_path / "absent.pem"):
        with pytest.raises(ConfigError, match="ca_bundle"):
            Transport("https://vendor.test", ca_bundle=str(path)).open(
                HttpCall(url="https://vendor.test/x", headers={}), Deadline.after(30.0)
            )


def test_a_closed_transport_opens_again(serve):
    """Close drops the idle connections; a later call makes a new one."""
    line = serve(ok)
    line.get()
    line.transport.close()
    line.transport.close()
    line.get()

    assert 2 == line.server.connections


def test_certificates_are_loaded_once(ca_file):
    """All transports with the same CA share one TLS context."""
    from llmdispatcher.transport.tls import tls_context

    assert tls_context([("ca_bundle", ca_file)]) is tls_context([("ca_bundle", ca_file)])


@each("sign", ["#", "/", "?", "["])
@each("written", ["http://u:HUNTER2{}y@127.0.0.1:1", "u:HUNTER2{}y@127.0.0.1:1"])
def test_a_proxy_that_cannot_be_read_is_not_shown(sign, written):
    """What cannot be read may be its password."""
    with pytest.raises(ConfigError) as caught:
        Transport("http://api.vendor.test/v1", proxy=written.format(sign))

    assert "HUNTER2" not in f"{caught.value!r} {caught.value}"


@each("proxy", ["http://proxy.test:99999", "http://proxy.test:x", "http://", "http://:3128"])
def test_a_proxy_without_a_host_or_port_is_refused(proxy):
    """When the transport is made, not at the first call."""
    with pytest.raises(ConfigError, match=r"^proxy: "):
        Transport("http://api.vendor.test/v1", proxy=proxy)


@each("proxy", ["http://proxy.test", "proxy.test:3128", "http://u:p%23@proxy.test:3128/", "HTTP://[::1]:3128"])
def test_usual_proxies_are_taken(proxy):
    """With and without scheme, port, user and a slash at the end."""
    Transport("http://api.vendor.test/v1", proxy=proxy).close()
