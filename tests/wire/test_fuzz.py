"""Whatever the bytes, a codec raises our errors and nothing else, and says nothing of what was in them beyond an excerpt."""

import json
import math
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmdispatcher import DispatchError, Response
from llmdispatcher.types import fold
from llmdispatcher.wire import fault
from llmdispatcher.wire.base import QUIRKS
from llmdispatcher.wire.codecs import CODECS

from ..cases import each
from .test_gemini_server import EVERYTHING as GEMINI_REQUEST
from .test_ollama_server import EVERYTHING as OLLAMA_REQUEST
from .test_openai_responses_server import EVERYTHING as RESPONSES_REQUEST

pytestmark = pytest.mark.usefixtures("untraced")  # thousands of examples: a measure of coverage would take longer than they do
EVERY_CODEC = each("codec", CODECS)
FUZZ = settings(max_examples=50)

WORDS = st.sampled_from(
    ["choices", "content", "error", "type", "message", "code", "details", "text", "index", "candidates", "input"]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 500)
    | st.floats()
    | st.text(max_size=5)
    | WORDS
    | st.just("\ud800")
    | st.just(10**400)
)
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=5), max_leaves=25
)

_CHAT_USAGE = {
    "prompt_tokens": 5,
    "completion_tokens": 7,
    "total_tokens": 12,
    "cost": 0.5,
    "prompt_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 1, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 2, "audio_tokens": 0},
}
_CHAT_SAID = {
    "role": "assistant",
    "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "hi"}],
    "refusal": "no",
    "reasoning_details": [{"type": "reasoning.text", "text": "hm"}],
    "function_call": {"name": "f", "arguments": "{}"},
    "tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
_ERROR = {"message": "Overloaded", "type": "overloaded_error", "code": 529, "details": [{"retryDelay": "1s", "violations": [{}]}]}
_RESPONSES_USAGE = {
    "input_tokens": 5,
    "output_tokens": 7,
    "cost": 0.5,
    "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 2, "cache_write_tokens_details": {"ttl_12h_tokens": 1}},
    "output_tokens_details": {"reasoning_tokens": 2},
}
_NOTE = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}
_RESPONSES_ITEMS = [
    {"type": "reasoning", "id": "r", "summary": [{"text": "hm"}], "content": [{"text": "hm"}], "encrypted_content": "e"},
    {
        "type": "message",
        "id": "m",
        "role": "assistant",
        "content": [
            {"type": "output_text", "text": "hi", "annotations": [_NOTE], "logprobs": [{}]},
            {"type": "refusal", "refusal": "no"},
        ],
    },
    {"type": "function_call", "id": "f", "call_id": "c", "name": "f", "arguments": "{}"},
    {"type": "custom_tool_call", "id": "k", "call_id": "d", "name": "g", "input": "x"},
    {"type": "web_search_call", "id": "w"},
]
_RESPONSE = {
    "id": "c",
    "model": "gpt",
    "status": "incomplete",
    "incomplete_details": {"reason": "length"},
    "output": _RESPONSES_ITEMS,
    "usage": _RESPONSES_USAGE,
    "service_tier": "default",
    "error": {"message": "no", "code": "server_error"},
}
_HERE = {"output_index": 1, "content_index": 0, "item_id": "m"}
_CLAUDE_USAGE = {
    "input_tokens": 5,
    "output_tokens": 7,
    "cache_read_input_tokens": 1,
    "cache_creation_input_tokens": 2,
    "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 1},
    "output_tokens_details": {"thinking_tokens": 3},
}
_CLAUDE_BLOCKS = [
    {"type": "thinking", "thinking": "hm", "signature": "s"},
    {"type": "text", "text": "hi"},
    {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
]
_CLAUDE = {"id": "m", "model": "claude", "content": _CLAUDE_BLOCKS, "stop_reason": "tool_use", "usage": _CLAUDE_USAGE}
_GEMINI_PARTS = [
    {"text": "hm", "thought": True},
    {"text": "hi", "thoughtSignature": "s"},
    {"functionCall": {"id": "t", "name": "f", "args": {"a": 1}}, "thoughtSignature": "s"},
]
_GEMINI = {
    "candidates": [{"index": 0, "content": {"role": "model", "parts": _GEMINI_PARTS}, "finishReason": "STOP"}],
    "promptFeedback": {"blockReason": "SAFETY"},
    "usageMetadata": {
        "promptTokenCount": 5,
        "candidatesTokenCount": 7,
        "thoughtsTokenCount": 3,
        "cachedContentTokenCount": 1,
        "toolUsePromptTokenCount": 1,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 1}],
    },
    "modelVersion": "gemini",
    "responseId": "r",
}
_OLLAMA = {
    "model": "m",
    "message": {
        "role": "assistant",
        "content": "hi",
        "thinking": "hm",
        "tool_calls": [{"id": "t", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}}],
    },
    "logprobs": [{"token": "hi", "logprob": -0.5}],
    "done": True,
    "done_reason": "stop",
    "total_duration": 9,
    "prompt_eval_count": 5,
    "eval_count": 7,
}
SAMPLES = {
    "openai_chat": [
        {
            "id": "c",
            "model": "gpt",
            "choices": [{"index": 0, "message": _CHAT_SAID, "finish_reason": "stop"}],
            "usage": _CHAT_USAGE,
        },
        {"id": "c", "model": "gpt", "choices": [{"index": 0, "delta": _CHAT_SAID, "finish_reason": None}], "x_groq": {"usage": {}}},
        {"id": "c", "model": "gpt", "choices": [{"index": 0, "delta": _CHAT_SAID, "finish_reason": "stop"}], "usage": _CHAT_USAGE},
        {"error": _ERROR},
    ],
    "openai_responses": [
        _RESPONSE,
        {"type": "response.created", "response": _RESPONSE},
        *({"type": "response.output_item.added", "output_index": at, "item": item} for at, item in enumerate(_RESPONSES_ITEMS)),
        {"type": "response.output_text.delta", **_HERE, "delta": "hi", "logprobs": [{}]},
        {"type": "response.output_text.annotation.added", **_HERE, "annotation": _NOTE},
        {"type": "response.function_call_arguments.delta", "output_index": 2, "item_id": "f", "delta": "{}"},
        *({"type": "response.output_item.done", "output_index": at, "item": item} for at, item in enumerate(_RESPONSES_ITEMS)),
        {"type": "response.incomplete", "response": _RESPONSE},
        {"type": "response.failed", "response": _RESPONSE},
        {"type": "error", **_ERROR},
    ],
    "anthropic_messages": [
        _CLAUDE,
        {"type": "message_start", "message": {**_CLAUDE, "content": []}},
        *({"type": "content_block_start", "index": index, "content_block": block} for index, block in enumerate(_CLAUDE_BLOCKS)),
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "hi"}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
        {"type": "content_block_stop", "index": 2},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": _CLAUDE_USAGE},
        {"type": "error", "error": _ERROR},
    ],
    "gemini": [_GEMINI, _GEMINI, _GEMINI, {"error": _ERROR}],
    "ollama_chat": [_OLLAMA, {**_OLLAMA, "done": False}, _OLLAMA, {"error": _ERROR}],
}


def places(value):
    """Every place in a document that can be overwritten: (holder, key or index)."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from places(inner)


JUNK = (None, True, -1, 2.5, math.inf, 10**30, "", "x", "\ud800", [], [[]], ["x"], {}, {"a": []})
DEEP = b"[" * 200_000
ODDITIES = {
    "nothing": b"",
    "blanks": b" \r\n\t",
    "web page": b"<!DOCTYPE html><html><title>502</title></html>",
    "half a document": b'{"choices": [',
    "deep lists": DEEP,
    "deep objects": b'{"a":' * 200_000,
    "a giant number": b'{"usage": ' + b"9" * 5_000 + b"}",
    "not a number": b'{"choices": [{"index": NaN}]}',
    "latin-1": b'{"choices": "\xe9\xff"}',
    "a lone surrogate": rb'{"choices": [{"message": {"content": "\ud83d"}}]}',
    "null": b"null",
    "a number": b"1",
    "a list": b"[]",
    "a list of numbers": b"[1, 2]",
    "an empty object": b"{}",
    "zeros": b"\0" * 64,
    "gzip": b"\x1f\x8b\x08\0\0\0\0\0",
}


def stream(codec, pieces):
    """Decode to the end; an answer that comes out can be shown, stored and sent on."""
    decoder, chunks = codec.decoder(), []
    for piece in pieces:
        chunks += decoder.feed(piece)
    usable(fold([*chunks, *decoder.finish()]))


def read_whole(codec, body):
    """The same of an answer in one piece."""
    usable(codec.decode(body))


def usable(response):
    """The texts of an answer are texts that can be encoded, its counts are numbers that can be added."""
    calls = [text for call in response.tool_calls for text in (call.name, call.arguments, call.id or "")]
    "".join((response.content, response.reasoning, response.model, response.response_id or "", *calls)).encode()
    assert math.isfinite(response.usage.total_tokens)


def event(codec, data):
    """One event of a stream."""
    return data + b"\n" if codec.name == "ollama_chat" else b"data: " + data + b"\n\n"


def crash(*attempts):
    """What other than our errors came out of the attempts; ours are short."""
    for attempt in attempts:
        try:
            attempt()
        except DispatchError as error:
            if len(str(error)) > 2_500:
                return "an error that long is no error message"
        except Exception as error:
            return repr(error)
    return None


@EVERY_CODEC
@given(body=st.binary(max_size=200))
@FUZZ
def test_random_bytes_are_an_answer_or_one_of_our_errors(codec, body):
    """Noise in place of an answer, whole or streamed, is no crash."""
    assert (
        crash(lambda: usable(codec.decode(body)), lambda: stream(codec, [body]), lambda: stream(codec, [event(codec, body), body]))
        is None
    )


@EVERY_CODEC
@given(document=DOCUMENTS)
@FUZZ
def test_any_json_is_an_answer_or_one_of_our_errors(codec, document):
    """JSON of any other shape is no crash."""
    body = json.dumps(document).encode()

    assert (
        crash(lambda: usable(codec.decode(body)), lambda: stream(codec, [body]), lambda: stream(codec, [event(codec, body)] * 2))
        is None
    )


@EVERY_CODEC
@each("junk", JUNK)
def test_a_valid_answer_with_a_wrong_part_is_an_answer_or_one_of_our_errors(codec, junk):
    """One value of the wrong type, in any place of an otherwise right answer or stream, is no crash."""
    documents = json.loads(json.dumps(SAMPLES[codec.name]))
    bodies = [json.dumps(document).encode() for document in documents]
    crashes = []
    for number, document in enumerate(documents):
        for holder, key in list(places(document)):
            kept, holder[key] = holder[key], junk
            spoilt = json.dumps(document).encode()
            holder[key] = kept
            if number == 0:
                seen = crash(partial(read_whole, codec, spoilt), partial(stream, codec, [spoilt]))
            else:
                events = [event(codec, one) for one in (*bodies[1:number], spoilt, *bodies[number + 1 :])]
                seen = crash(partial(stream, codec, events), partial(stream, codec, events[:-1]))
            if seen:
                crashes.append((number, key, seen))

    assert [] == crashes


@given(document=DOCUMENTS, status=st.sampled_from([301, 400, 401, 404, 413, 429, 500, 529]), wait=st.text(max_size=12))
@FUZZ
def test_any_refusal_is_one_of_our_errors(document, status, wait):
    """A status other than 2xx is an error with a usable hint or none, whatever comes with it."""
    headers = dict.fromkeys(("retry-after", "retry-after-ms", "x-ratelimit-reset-tokens", "anthropic-ratelimit-tokens-reset"), wait)
    error = fault(status, headers, json.dumps(document).encode())

    assert status == error.status
    assert error.retry_after is None or 0 <= error.retry_after < math.inf
    str(error).encode()


@EVERY_CODEC
@each("body", ODDITIES)
def test_odd_bodies_are_an_answer_or_one_of_our_errors(codec, body):
    """What servers, proxies and attackers send instead of an answer is no crash."""
    assert (
        crash(
            lambda: usable(codec.decode(body)),
            lambda: stream(codec, [body]),
            lambda: stream(codec, [body[:1], body[1:]]),
            lambda: stream(codec, [event(codec, body[:900_000])]),
            lambda: usable(codec.decode(b'{"choices": ' + body)),
        )
        is None
    )


@each("junk", JUNK)
def test_a_refusal_with_a_wrong_part_is_one_of_our_errors(junk):
    """One value of the wrong type in a refusal's body leaves a message, a status and no crash."""
    document = {"error": json.loads(json.dumps(_ERROR)), "request_id": "r"}
    crashes = []
    for holder, key in list(places(document)):
        kept, holder[key] = holder[key], junk
        body = json.dumps(document).encode()
        holder[key] = kept
        seen = crash(partial(lambda body: str(fault(429, {}, body)).encode(), body))
        if seen:
            crashes.append((key, seen))

    assert [] == crashes


@each("body", ODDITIES)
def test_odd_bodies_of_refusals_are_our_errors(body):
    """A refusal's body is never trusted either."""
    assert 500 == fault(500, {}, body).status


ANSWER = Response(content="hi", finish_reason="stop")
REQUESTS = {"openai_responses": RESPONSES_REQUEST, "gemini": GEMINI_REQUEST, "ollama_chat": OLLAMA_REQUEST}
"""A request of a format with everything."""


@each("junk", [*JUNK, 10**400])
@each("name", list(REQUESTS))
def test_a_request_with_a_wrong_part_is_a_request_or_refused(name, junk):
    """A server's client is never to be trusted; what was read can be sent on to every model, and answered."""
    codec, document, crashes = CODECS[name], json.loads(json.dumps(REQUESTS[name])), []

    def sent():
        asked = codec.read_request(json.dumps(document).encode(), codec.path("m", False))
        for quirks in (frozenset(), frozenset(QUIRKS)):
            codec.encode(asked.request, stream=True, quirks=quirks)
        codec.write_response(ANSWER, asked)

    sent()
    for holder, key in list(places(document)):
        kept, holder[key] = holder[key], junk
        seen = crash(sent)
        holder[key] = kept
        if seen:
            crashes.append((key, seen))

    assert [] == crashes
