"""A key and a prompt are found nowhere but in the request itself (invariant I5, row L1)."""

from __future__ import annotations

import base64
import copy
import logging
import pickle
import socket
import traceback
import urllib.parse

import pytest
import responses

from llmdispatcher import Cancellation, Deadline, DispatchError
from llmdispatcher.testing import LoopbackServer
from llmdispatcher.transport import IoLimits, Transport
from llmdispatcher.types import HttpCall

KEY = "sk-canary-k3y/+Zz=="
PROMPT = "a canary prompt"
PASSWORD = "p4ssw0rd"
SECRETS = [KEY, base64.b64encode(KEY.encode()).decode(), urllib.parse.quote(KEY, safe=""), PROMPT]


def hang(peer, request):
    return peer.hang_up()


def drop(peer, request):
    return True


def cut(peer, request):
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    return True


def nonsense(peer, request):
    peer.send(f"{request.headers['authorization']} is no status line\r\n\r\n".encode())
    return True


def echoed_header(peer, request):
    peer.send(b"HTTP/1.1 200 OK\r\nX-Echo " + request.headers["authorization"].encode() + b"\r\n\r\n")
    return True


def false_gzip(peer, request):
    peer.reply(200, request.body, ("Content-Encoding", "gzip"))


def echoed_coding(peer, request):
    peer.reply(200, b"x", ("Content-Encoding", request.headers["authorization"]))


FAULTS = {handler.__name__: handler for handler in (hang, drop, cut, nonsense, echoed_header, false_gzip, echoed_coding)}


def call(url):
    return HttpCall(url=url + "/x", headers={"Authorization": f"Bearer {KEY}"}, body=PROMPT.encode())


def everything_about(error, log):
    """All that an error and the log could tell."""
    seen, waiting, texts = set(), [error], [log.text]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        texts += [str(one), repr(one), repr(one.args), repr(vars(one)), repr(pickle.dumps(one)), repr(copy.copy(one))]
        texts += ["".join(traceback.TracebackException.from_exception(one, capture_locals=True).format())]
        waiting += [one.__cause__, one.__context__]
    return "\n".join(texts)


def assert_clean(error, log):
    assert (None, None) == (error.__cause__, error.__context__)
    told = everything_about(error, log)
    assert [] == [secret for secret in SECRETS if secret in told]


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.DEBUG)
    return caplog


@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_tells_a_secret(serve, secure, log, fault):
    """Whatever goes wrong on the wire, text, repr, pickle, log and traceback with locals are free of key and prompt."""
    line = serve(FAULTS[fault], secure=secure, limits=IoLimits(first_byte=0.1, idle=0.1))

    with pytest.raises(DispatchError) as caught:
        line.transport.open(call(line.server.url), Deadline.after(30.0)).read()

    assert_clean(caught.value, log)


@pytest.mark.parametrize("end", ["deadline", "cancel"])
def test_no_end_from_outside_tells_a_secret(serve, secure, log, end):
    """A deadline or a cancel in the middle of a call tells nothing either."""
    line, cancellation = serve(hang, secure=secure), Cancellation()
    if end == "cancel":
        cancellation.cancel()

    with pytest.raises(DispatchError) as caught:
        line.transport.open(call(line.server.url), Deadline.after(0.05, cancellation=cancellation))

    assert_clean(caught.value, log)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_failed_connection_tells_a_secret(log, scheme, ca_file):
    """A refused port, and a server without TLS."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"{scheme}://127.0.0.1:{reserved.getsockname()[1]}"
        with pytest.raises(DispatchError) as caught:
            Transport(url, ca_bundle=ca_file).open(call(url), Deadline.after(30.0))

    assert_clean(caught.value, log)


def test_no_proxy_tells_its_password(log, ca_file):
    """A proxy that refuses knows its password; nobody else gets to."""
    with LoopbackServer(lambda peer, request: peer.reply(407, b"") or True) as proxy:
        transport = Transport("https://vendor.test", proxy=proxy.url.replace("//", f"//user:{PASSWORD}@"), ca_bundle=ca_file)
        with pytest.raises(DispatchError) as caught:
            transport.open(call("https://vendor.test"), Deadline.after(30.0))

    assert_clean(caught.value, log)
    assert PASSWORD not in everything_about(caught.value, log)


def test_no_bad_header_tells_its_value(log):
    """A key with a line end is refused without being quoted."""
    with pytest.raises(DispatchError) as caught:
        Transport("http://vendor.test").open(
            HttpCall(url="http://vendor.test/x", headers={"X-Api-Key": KEY + "\n"}), Deadline.after(30.0)
        )

    assert (None, None) == (caught.value.__cause__, caught.value.__context__)
    assert KEY not in str(caught.value) + repr(caught.value) + repr(pickle.dumps(caught.value)) + log.text


@responses.activate
def test_no_injected_exception_tells_a_secret(log):
    """requests' own exceptions carry the request; they do not come through."""
    with pytest.raises(DispatchError) as caught:
        Transport("http://vendor.test").open(call("http://vendor.test"), Deadline.after(30.0))

    assert_clean(caught.value, log)


def test_a_success_tells_no_secret(serve, secure, log):
    """Nothing of a call that went well is logged, at any level, nor told by its values' repr."""
    line = serve(lambda peer, request: peer.reply(200, request.body), secure=secure)
    asked = call(line.server.url)
    reply = line.transport.open(asked, Deadline.after(30.0))
    reply.read()

    told = log.text + repr(asked) + repr(reply) + repr(line.transport)
    assert [] == [secret for secret in SECRETS if secret in told]
