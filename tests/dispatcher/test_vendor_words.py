"""The consequence of what a vendor says: who is asked next, through two vendors on the wire."""

import json

import pytest

from llmdispatcher import Config, Dispatcher, DispatchError, Request, RetryPolicy, vendor
from llmdispatcher.testing import LoopbackServer

ANSWER = {"id": "c", "model": "m", "choices": [{"index": 0, "message": {"content": "from b"}, "finish_reason": "stop"}]}
PIECE = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": "from b"}, "finish_reason": "stop"}]}


def told(message, code=None, **more):
    return {"error": {"message": message, "code": code, **more}}


def events(*documents):
    return b"".join([b"data: " + json.dumps(document).encode() + b"\n\n" for document in documents]) + b"data: [DONE]\n\n"


def served(status, body):
    """A vendor that answers everything so; a list is the events of a stream."""

    def handler(peer, wire):
        if wire.method == "GET":  # it has no list of models
            peer.reply(404, b"{}")
            return
        asked = json.loads(wire.body)
        if isinstance(body, list) or (body is ANSWER and asked.get("stream")):
            peer.start_stream()
            peer.chunk(events(*(body if isinstance(body, list) else [PIECE])))
            peer.chunk(b"")
        else:
            peer.reply(status, json.dumps(body).encode())

    return LoopbackServer(handler)


def prompts(server):
    """How many a server got."""
    return sum(request.method == "POST" for request in server.requests)


def asked(status, body, *, stream=False, retries=0):
    """Who answered, or the error, and how often each was asked."""
    with served(status, body) as first, served(200, ANSWER) as other:
        vendors = [
            vendor("local", name=name, base_url=server.url, api_key="k-loopback-0") for name, server in (("a", first), ("b", other))
        ]
        config = Config(default_vendor="a", fallback_vendor="b", retry_policy=RetryPolicy(max_retries=retries))
        with Dispatcher(config) as dispatcher:
            for one in vendors:
                dispatcher.register_vendor(one)
            try:
                if stream:
                    with dispatcher.send_streaming(Request("m", "hi")) as chunks:
                        list(chunks)
                    answer = chunks.response()
                else:
                    answer = dispatcher.send(Request("m", "hi"))
                return answer.vendor, prompts(first), prompts(other)
            except DispatchError as error:
                return type(error).__name__, prompts(first), prompts(other)


GOES_ON = {
    "a window that is too small": (400, told("This model's maximum prompt length is 8 but the request contains 200 tokens.")),
    "a window, wrapped": (
        400,
        told("Provider returned error", 400, metadata={"raw": json.dumps(told("maximum context length is 8"))}),
    ),
    "a spent account, with status 403": (403, {"code": "permission-denied", "error": "Your team doesn't have any credits yet."}),
    "a spent account, with status 400": (400, told("Access denied", "Arrearage")),
    "a spent account inside a 200": (
        200,
        {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}},
    ),
    "no capacity": (429, told("The engine is currently overloaded", type="engine_overloaded_error")),
    "a model that failed": (424, {"message": "The model returned the following errors"}),
    "too large for the minute": (413, told("Request too large for model `m` on tokens per minute (TPM): Limit 6, Requested 7")),
    "a bad call by the model": (400, told("Failed to call a function. See 'failed_generation'.", "tool_use_failed")),
    "a country": (400, told("User location is not supported for the API use.", status="FAILED_PRECONDITION")),
    "a flat error inside a 200": (200, {"object": "error", "message": "EngineCore encountered an issue", "code": 500}),
    "an answer that was broken off": (200, {"choices": [{"message": {"content": "pa"}, "finish_reason": "network_error"}]}),
}
ENDS = {
    "a bad request": (400, told("Invalid type for 'messages': expected an array.", type="invalid_request_error"), "InvalidRequest"),
    "policy": (403, {"code": "permission-denied", "error": "Content violates usage guidelines."}, "ContentFiltered"),
    "policy inside a 200": (200, {"base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}}, "ContentFiltered"),
}


@pytest.mark.parametrize(("status", "body"), GOES_ON.values(), ids=list(GOES_ON))
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_other_vendor_answers(status, body, stream):
    """What one vendor cannot do another may."""
    assert ("b", 1, 1) == asked(status, body, stream=stream)


@pytest.mark.parametrize(("status", "body", "kind"), ENDS.values(), ids=list(ENDS))
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_other_vendor_is_not_asked(status, body, kind, stream):
    """It would refuse the same request."""
    assert (kind, 1, 0) == asked(status, body, stream=stream, retries=2)


def test_what_is_too_large_for_the_minute_is_not_repeated():
    """However many retries there are."""
    assert ("b", 1, 1) == asked(*GOES_ON["too large for the minute"], retries=3)


FIRST_EVENTS = {
    "flat": [{"object": "error", "message": "maximum context length is 8", "code": 400}],
    "in a list": [[{"error": {"message": "busy", "code": 503}}]],
    "a finish reason": [{"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]}],
    "behind the role": [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
        {"error": {"message": "busy", "code": 503}},
    ],
}


@pytest.mark.parametrize("body", FIRST_EVENTS.values(), ids=list(FIRST_EVENTS))
def test_a_failure_before_a_streams_first_output_is_answered_by_the_other(body):
    """The reader has seen nothing yet."""
    assert ("b", 1, 1) == asked(200, body, stream=True)


@pytest.mark.parametrize("last", [body[-1] for body in FIRST_EVENTS.values()], ids=list(FIRST_EVENTS))
def test_a_failure_after_output_interrupts_the_stream(last):
    """The reader has seen some of it, so nobody else is asked in silence."""
    said = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": "hel"}}]}
    kind, first, other = asked(200, [said, last], stream=True)

    assert (1, 0) == (first, other)
    assert kind in ("StreamInterrupted", "ContextWindowExceeded")
