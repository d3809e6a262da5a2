"""What our server codecs write is valid by the schemas that the vendors publish: answers, events of streams, errors."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from llmdispatcher import DispatchError, ReasoningPart, Response, TextPart, ToolCall, Usage, errors
from llmdispatcher.types import Citation, OtherPart, unfold
from llmdispatcher.wire import CODECS
from llmdispatcher.wire.base import Codec
from llmdispatcher.wire.sse import SseParser
from tests.wire.corpus import body_of, codec_of, decode_stream, exchanges, listed, needs_corpus, streamed
from tests.wire.published import EVENT, REFUSAL, WHOLE, violations

CALL = ToolCall(name="get_weather", id="call_1", arguments='{"city": "Oslo"}')
USAGE = Usage(
    input_tokens=20,
    output_tokens=9,
    cache_read_tokens=4,
    cache_write_tokens=6,
    cache_write_long_tokens=2,
    reasoning_tokens=3,
    cost=Decimal("0.01"),
)
LOGPROB = {"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": []}
GOOGLES = {
    "token": "Hi",
    "logProbability": -0.1,
    "tokenId": 7,
    "topCandidates": [{"token": "Hi", "logProbability": -0.1, "tokenId": 7}],
}
ANSWERS = {
    "text": Response(content="Hello.", model="m", finish_reason="stop", response_id="r-1", usage=USAGE),
    "nothing": Response(model="m", finish_reason="stop"),
    "no name": Response(content="Hello.", model="m"),
    "call": Response(model="m", tool_calls=(CALL,), finish_reason="tool_calls", usage=USAGE),
    "two calls and text": Response(content="See.", model="m", tool_calls=(CALL, ToolCall(name="now")), finish_reason="tool_calls"),
    "thought": Response(content="42", reasoning="Six by seven.", model="m", finish_reason="stop", usage=USAGE),
    "proven thought": Response(
        content="42",
        model="m",
        reasoning="Six.",
        parts=(ReasoningPart(text="Six.", signature="s", origin="anthropic_messages"), TextPart(text="42")),
        finish_reason="stop",
    ),
    "refusal": Response(refusal="I cannot.", model="m", finish_reason="content_filter"),
    "length": Response(content="Once", model="m", finish_reason="length", usage=USAGE),
    "sources": Response(
        content="It rains.",
        model="m",
        citations=(Citation(url="https://a.example/", title="A", start=0, end=2),),
        finish_reason="stop",
    ),
    "logprobs": Response(content="Hi", model="m", logprobs=(LOGPROB,), finish_reason="stop"),
    "Google's logprobs": Response(content="Hi", model="m", logprobs=(GOOGLES,), finish_reason="stop"),
    "bare logprobs": Response(
        content="Hi", model="m", logprobs=({"token": "Hi", "logprob": -0.1}, None, "x"), finish_reason="stop"
    ),
    "logprobs that JSON lacks": Response(
        content="Hi",
        model="m",
        logprobs=({**LOGPROB, "logprob": float("-inf"), "top_logprobs": [{"token": "a", "logprob": float("nan"), "bytes": None}]},),
        finish_reason="stop",
    ),
    "counts as text": Response(
        content="Hi",
        model="m",
        usage=Usage(input_tokens=5, output_tokens=7, raw={"prompt_tokens": "5", "completion_tokens": "7", "total_tokens": "12"}),
        finish_reason="stop",
    ),
    "counts that cannot be": Response(
        content="Hi",
        model="m",
        usage=Usage(output_tokens=7, raw={"prompt_tokens": -5, "completion_tokens": 7.0}),
        finish_reason="stop",
    ),
    "Google's counts as text": Response(
        content="Hi",
        model="m",
        usage=Usage(input_tokens=5, output_tokens=7, raw={"promptTokenCount": "5", "candidatesTokenCount": 7.0}),
        finish_reason="stop",
    ),
    "foreign part": Response(
        content="Hi", model="m", parts=(TextPart(text="Hi"), OtherPart(origin="ollama_chat", data={"x": 1})), finish_reason="stop"
    ),
    "tier of another": Response(content="Hi", model="m", service_tier="on_demand", finish_reason="stop", usage=USAGE),
    "standard tier": Response(content="Hi", model="m", service_tier="standard", finish_reason="stop", usage=USAGE),
    "dated": Response(content="Hi", model="m", created_at=datetime(2026, 11, 30, tzinfo=UTC), finish_reason="stop"),
}
ERRORS = [
    kind("It failed.")
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, DispatchError) and kind.__module__ == errors.__name__
]


def _events(codec: Codec, response: Response) -> list[object]:
    writer = codec.writer()
    body = b"".join([*[writer.write(chunk) for chunk in unfold(response)], writer.end()])
    return [json.loads(event.data) for event in SseParser(1 << 30).feed(body) if event.data != "[DONE]"]


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("name", WHOLE)
def test_an_answer_is_valid(name, answer):
    """In one piece."""
    codec = CODECS["openai_responses" if name == "open_responses" else name]

    assert set() == violations(WHOLE[name], json.loads(codec.write_response(answer)))


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("name", EVENT)
def test_a_stream_is_valid(name, answer):
    """Event by event."""
    found = [violations(EVENT[name], event) for event in _events(CODECS[name], answer)]

    assert set() == set().union(*found)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("name", REFUSAL)
def test_a_refusal_is_valid(name, error):
    """Every class of ours."""
    assert set() == violations(REFUSAL[name], json.loads(CODECS[name].write_error(error)[1]))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_event_is_valid(error):
    """In the middle of a stream of the Responses API."""
    [event] = SseParser(1 << 30).feed(CODECS["openai_responses"].writer().fail(error))

    assert set() == violations(EVENT["openai_responses"], json.loads(event.data))


@pytest.mark.parametrize(
    "name",
    ["background", "max_tool_calls", "metadata", "parallel_tool_calls", "previous_response_id", "safety_identifier", "tool_choice"],
)
def test_a_setting_of_a_wrong_kind_is_not_repeated(name):
    """An answer of the Responses API has the settings of its request, but none that it cannot have."""
    codec = CODECS["openai_responses"]
    asked = codec.read_request(json.dumps({"model": "m", "input": "Hi", name: [5]}).encode())

    assert set() == violations(WHOLE["openai_responses"], json.loads(codec.write_response(ANSWERS["text"], asked)))


def test_an_invalid_answer_is_seen():
    """The check can fail."""
    document = json.loads(CODECS["anthropic_messages"].write_response(ANSWERS["text"]))
    del document["usage"]["server_tool_use"]

    assert violations(WHOLE["anthropic_messages"], document)


@needs_corpus
@pytest.mark.parametrize("name", WHOLE)
def test_recorded_answers_are_valid_in_every_other_format(name):
    """Those of the format itself keep what their vendor sent, which its newest schema may not know."""
    codec = CODECS["openai_responses" if name == "open_responses" else name]
    found: dict[str, str] = {}
    for exchange in listed(exchanges()):
        if exchange["response"]["status"] != 200 or codec_of(exchange) is codec:
            continue
        response, error = decode_stream(codec_of(exchange), [body_of(exchange)]) if streamed(exchange) else _whole(exchange)
        if error is not None:
            continue
        if name == "open_responses" and any(call.kind == "custom" for call in response.tool_calls):
            continue  # it has functions alone
        said = violations(WHOLE[name], json.loads(codec.write_response(response)))
        for event in _events(codec, response) if name in EVENT else ():
            said |= violations(EVENT[name], event)
        found |= dict.fromkeys(said, exchange["id"])

    assert {} == found


def _whole(exchange):
    try:
        return codec_of(exchange).decode(body_of(exchange)), None
    except DispatchError as error:
        return Response(), error
