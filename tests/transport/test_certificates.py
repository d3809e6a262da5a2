"""Certificates: those of clients, by path or in a context of the user's own, and where the environment has those of CAs."""

from __future__ import annotations

import ssl
import subprocess

import pytest
import trustme

from llmdispatcher import Cancellation, Cancelled, ConfigError, Deadline, VendorUnavailable
from llmdispatcher.testing import LoopbackServer
from llmdispatcher.transport import Transport
from llmdispatcher.types import HttpCall

from ..cases import each
from .loopback_proxies import RunningProxy
from .test_proxies import ok, read_both, slow_stream


@pytest.fixture(scope="session")
def client_files(authority, tmp_path_factory):
    """The files of a client certificate: both in one, apart, and with a key that has a password."""
    folder = tmp_path_factory.mktemp("client")
    issued = authority.issue_cert("robot@example.org")
    issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "both.pem"))
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    trustme.CA().issue_cert("stranger@example.org").private_key_and_cert_chain_pem.write_to_path(str(folder / "stranger.pem"))
    lock = ["openssl", "rsa", "-aes256", "-passout", "pass:hunter22", "-in", folder / "key.pem", "-out", folder / "locked.pem"]
    done = subprocess.run(lock, capture_output=True, check=False)
    if done.returncode:  # trustme's keys are elliptic by default
        lock[1] = "ec"
        subprocess.run(lock, capture_output=True, check=True)
    return folder


@pytest.fixture(scope="session")
def mutual_tls(authority):
    """Contexts of servers that want a client certificate, by version of TLS."""

    def make(version):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = version
        context.verify_mode = ssl.CERT_REQUIRED
        authority.issue_cert("127.0.0.1").configure_cert(context)
        authority.configure_trust(context)
        return context

    return {version: make(version) for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)}


@pytest.fixture
def ask(ca_file):
    """The answer of a server, or the error."""

    def exchange(server, **settings):
        transport = Transport(server.url, **({"ca_bundle": ca_file} if "ssl_context" not in settings else {}), **settings)
        try:
            return [transport.open(HttpCall(url=server.url + "/x", headers={}), Deadline.after(60.0)).read() for _ in range(2)][1]
        except (VendorUnavailable, ConfigError) as error:
            return error
        finally:
            transport.close()

    return exchange


@each("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate_is_shown(mutual_tls, client_files, ask, version, authority):
    """As one file, as two, with a password, or in a context of one's own; on one kept connection."""
    with LoopbackServer(ok, tls=mutual_tls[version]) as server:
        both, cert, key = (str(client_files / name) for name in ("both.pem", "cert.pem", "key.pem"))
        own = ssl.create_default_context()
        authority.configure_trust(own)
        own.load_cert_chain(both)
        ways = [
            {"client_cert": (both,)},
            {"client_cert": (cert, key)},
            {"client_cert": (cert, str(client_files / "locked.pem"), "hunter22")},
            {"ssl_context": own},
        ]
        for way in ways:
            assert b'{"ok": true}' == ask(server, **way)
        assert len(ways) == server.connections
        assert own.sslsocket_class is ssl.SSLSocket


@each("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_wants_another_certificate_is_told(mutual_tls, client_files, ask, version):
    """Without one and with a stranger's: final here, nothing was sent, and another vendor may be asked."""
    with LoopbackServer(ok, tls=mutual_tls[version]) as server:
        for settings in ({}, {"client_cert": (str(client_files / "stranger.pem"),)}):
            error = ask(server, **settings)
            assert "client certificate" in str(error)
            assert "client_cert" in str(error)
            assert ("tls", False, True, False) == (error.phase, error.retry_here, error.try_elsewhere, error.sent)


@each(
    "cert, told",
    {
        "absent": (("absent.pem",), "No such file"),
        "no certificate": (("key.pem",), "it holds no certificate and key"),
        "another's key": (("cert.pem", "stranger.pem"), "the key is not that of the certificate"),
        "no password": (("cert.pem", "locked.pem"), "the key has a password"),
        "a wrong password": (("cert.pem", "locked.pem", "guess-it"), "or the password is wrong"),
    },
)
def test_a_client_certificate_that_cannot_be_loaded_is_told(client_files, ask, cert, told, mutual_tls):
    """At the first call, by the name of the setting, without the password, and without a question on the terminal."""
    paths = (*(str(client_files / part) for part in cert[:2]), *cert[2:])
    with LoopbackServer(ok, tls=mutual_tls[ssl.TLSVersion.TLSv1_3]) as server:
        error = ask(server, client_cert=paths)
    assert isinstance(error, ConfigError)
    assert str(error).startswith("client_cert: ")
    assert told in str(error), str(error)
    assert "guess-it" not in str(error)


def test_streams_and_cancels_work_with_a_context_of_the_users(server_tls, authority):
    """A piece arrives when it is sent, a large request goes out whole, and a cancel ends the wait."""
    own = ssl.create_default_context()
    authority.configure_trust(own)
    with LoopbackServer(slow_stream, tls=server_tls) as server:
        transport, cancel = Transport(server.url, ssl_context=own), Cancellation()
        call = HttpCall(url=server.url + "/x", headers={}, body=b"x" * 1_000_000)
        reply = transport.open(call, Deadline.after(60.0, cancellation=cancel))
        with pytest.raises(Cancelled):
            read_both(reply, cancel.cancel)
        assert [1_000_000] == [len(request.body) for request in server.requests]
        transport.close()


def test_a_context_that_offers_another_protocol_is_refused(authority):
    """A server that takes HTTP/2 would not understand the request."""
    own, theirs = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(own)
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    own.set_alpn_protocols(["h2", "http/1.1"])
    theirs.set_alpn_protocols(["h2"])
    with LoopbackServer(ok, tls=theirs) as server, pytest.raises(ConfigError, match=r"^ssl_context: .*set_alpn_protocols"):
        Transport(server.url, ssl_context=own).open(HttpCall(url=server.url, headers={}), Deadline.after(60.0))


def test_a_proxy_is_not_shown_the_client_certificate(authority, mutual_tls, server_tls, client_files, ask):
    """The vendor gets it through the tunnel; a context of one's own is for both."""
    proxy = RunningProxy("https")
    proxy.start(mutual_tls[ssl.TLSVersion.TLSv1_2])
    cert = str(client_files / "both.pem")
    own = ssl.create_default_context()
    authority.configure_trust(own)
    own.load_cert_chain(cert)
    with LoopbackServer(ok, tls=mutual_tls[ssl.TLSVersion.TLSv1_3]) as server:
        assert "client certificate" in str(ask(server, proxy=proxy.url(), client_cert=(cert,)))
        assert [] == proxy.asked
        assert b'{"ok": true}' == ask(server, proxy=proxy.url(), ssl_context=own)
        proxy.server.close()
        proxy.start(server_tls)
        assert b'{"ok": true}' == ask(server, proxy=proxy.url(), client_cert=(cert,))
    proxy.server.close()


@each(
    "names",
    [("SSL_CERT_FILE",), ("SSL_CERT_DIR",), ("SSL_CERT_FILE", "SSL_CERT_DIR"), ("REQUESTS_CA_BUNDLE",), ("CURL_CA_BUNDLE",)],
)
def test_the_environment_says_whom_to_trust(names, authority, server_tls, tmp_path, monkeypatch, client_files):
    """A file, a folder that was hashed, and one that was not; folders of a list that are missing do not matter."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "-".join(names)
    folder.mkdir()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    values = {"SSL_CERT_DIR": f"{tmp_path / 'absent'}:{folder}", "REQUESTS_CA_BUNDLE": str(folder)}
    if len(names) == 2:
        values["SSL_CERT_FILE"] = str(client_files / "stranger.pem")
        subprocess.run(["openssl", "rehash", str(folder)], check=True, capture_output=True)
    for name in names:
        monkeypatch.setenv(name, values.get(name, str(folder / "ca.pem")))
    with LoopbackServer(ok, tls=server_tls) as server:
        transport = Transport(server.url, trust_env=True)
        assert b'{"ok": true}' == transport.open(HttpCall(url=server.url, headers={}), Deadline.after(60.0)).read()
        transport.close()


def test_a_variable_that_holds_no_certificates_is_named(tmp_path, monkeypatch):
    """The error names the variable, since no setting was given."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    with pytest.raises(ConfigError, match=r"^SSL_CERT_DIR: "):
        Transport("https://vendor.test", trust_env=True).open(HttpCall(url="https://vendor.test", headers={}), Deadline.after(60.0))


def test_a_renewed_client_certificate_is_used(authority, mutual_tls, client_files, ca_file, tmp_path):
    """By the next connection; while only one of two files is new, the old ones are."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def who(peer, _request):
        peer.reply(200, peer.sock.getpeercert()["serialNumber"].encode())
        return True

    def write(issued, *, certificate=True, private=True):
        if certificate:
            issued.cert_chain_pems[0].write_to_path(str(cert))
        if private:
            issued.private_key_pem.write_to_path(str(key))

    old, new = authority.issue_cert("robot@example.org"), authority.issue_cert("robot@example.org")
    write(old)
    with LoopbackServer(who, tls=mutual_tls[ssl.TLSVersion.TLSv1_3]) as server:
        transport = Transport(server.url, ca_bundle=ca_file, client_cert=(str(cert), str(key)))

        def serial():
            return transport.open(HttpCall(url=server.url, headers={}), Deadline.after(60.0)).read()

        first = serial()
        write(new, private=False)
        assert first == serial()
        write(new)
        assert first != serial()
        cert.unlink()
        assert serial()
        transport.close()
