"""A refusal with a broken body is the same refusal: class, status, hint and the next key, whatever was asked."""

import json

import pytest

from llmdispatcher import (
    AnthropicVendor,
    AuthenticationError,
    Deadline,
    InvalidRequest,
    MalformedReply,
    OpenAIVendor,
    QuotaExceeded,
    RateLimitError,
    Request,
    VendorUnavailable,
)
from llmdispatcher.testing import LoopbackServer
from llmdispatcher.types import EmbeddingRequest
from llmdispatcher.wire import fault

from ..cases import each

KEYS = ("sk-first-0123456789", "sk-second-0123456789")
CLASSES = {
    400: InvalidRequest,
    401: AuthenticationError,
    402: QuotaExceeded,
    403: AuthenticationError,
    429: RateLimitError,
    500: VendorUnavailable,
    503: VendorUnavailable,
    529: VendorUnavailable,
}
BODIES = {
    "brotli": (("Content-Encoding", "br"), ("Content-Length", "2")),
    "cut short": (("Content-Length", "100"),),
    "chunks and a length": (("Transfer-Encoding", "chunked"), ("Content-Length", "2")),
}
ASKED = {
    "whole": lambda vendor, deadline: vendor.send(Request("m", "hi"), deadline),
    "streamed": lambda vendor, deadline: list(vendor.stream(Request("m", "hi"), deadline)),
    "vectors": lambda vendor, deadline: vendor.embed(EmbeddingRequest("m", ["hi"]), deadline),
    "models": lambda vendor, deadline: vendor.list_models(deadline),
}


@pytest.fixture
def vendor_of():
    """Makes vendors that are refused with a status, headers and a few bytes; and notes the keys that were shown."""
    open_, shown = [], []

    def make(status, headers, kind=OpenAIVendor):
        def handler(peer, wire):
            key = wire.headers.get("authorization", "").removeprefix("Bearer ")
            shown.append(key)
            if key == KEYS[1]:
                peer.reply(200, json.dumps({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}).encode())
                return False
            peer.head(status, ("Retry-After", "7"), *headers)
            peer.send(b"xx")
            return True

        server = LoopbackServer(handler)
        vendor = kind(api_key=list(KEYS) if status == 401 else KEYS[0], base_url=server.url, trust_env=False)
        open_.extend([vendor, server])
        return vendor, shown

    yield make
    for one in open_:
        one.close()


@each("status", [status for status in CLASSES if status != 401])
@each("headers", BODIES.values())
def test_class_status_and_hint_are_the_heads(vendor_of, status, headers):
    """And nothing of it is taken for a broken answer."""
    vendor, _shown = vendor_of(status, headers)
    with pytest.raises(CLASSES[status]) as caught:
        vendor.send(Request("m", "hi"), Deadline.after(30))

    assert (CLASSES[status], status, 7.0) == (type(caught.value), caught.value.status, caught.value.retry_after)


@each("ask", ASKED.values())
@each("headers", BODIES.values())
def test_whatever_was_asked(vendor_of, ask, headers):
    """Whole, streamed, for vectors, for a list of models."""
    vendor, _shown = vendor_of(429, headers)
    with pytest.raises(RateLimitError) as caught:
        ask(vendor, Deadline.after(30))

    assert (429, 7.0) == (caught.value.status, caught.value.retry_after)


def test_a_count_of_tokens_too(vendor_of):
    """Anthropic counts by a call of its own."""
    vendor, _shown = vendor_of(503, BODIES["brotli"], AnthropicVendor)
    with pytest.raises(VendorUnavailable) as caught:
        vendor.count_tokens(Request("claude-haiku-4-5", "hi"), Deadline.after(30))

    assert 503 == caught.value.status


@pytest.mark.parametrize("headers", list(BODIES.values()))
def test_the_next_key_is_tried(vendor_of, headers):
    """A 401 is one, whatever comes behind its head."""
    vendor, shown = vendor_of(401, headers)

    assert "hi" == vendor.send(Request("m", "hi"), Deadline.after(30)).content
    assert list(KEYS) == shown


@each(
    "body",
    [
        b"[" * 200_000,
        b"[" * 90 + b"]" * 90,
        b'{"error": {"code": "' + b"9" * 5_000 + b'", "status": "\xc2\xb2\xc2\xb2\xc2\xb2"}}',
        b'{"error": {"message": NaN, "code": ' + b"9" * 5_000 + b"}}",
        b'{"error": [' + b"[]," * 80_000 + b"1]}",
        b"\xff\xfe" * 100,
    ],
)
def test_words_that_cannot_be_read_are_none(body):
    """No body makes a refusal another error."""
    error = fault(401, {"retry-after": "3"}, body)

    assert (AuthenticationError, 401, 3.0) == (type(error), error.status, error.retry_after)


def test_a_broken_answer_is_still_broken(vendor_of):
    """Where the head says that all is well, the body is what counts."""
    vendor, _shown = vendor_of(200, BODIES["brotli"])
    with pytest.raises(MalformedReply):
        vendor.send(Request("m", "hi"), Deadline.after(30))
