"""Why an answer ended, in every vendor's words and towards every format's clients; and failures told in the middle of a 200."""

import json
import re

import pytest

from llmdispatcher import (
    ContentFiltered,
    ContextWindowExceeded,
    DispatchError,
    MalformedReply,
    QuotaExceeded,
    RateLimitError,
    Response,
    StreamInterrupted,
    ToolCall,
    VendorUnavailable,
)
from llmdispatcher.types import fold, unfold
from llmdispatcher.wire.codecs import CODECS
from llmdispatcher.wire.completions import decode_complete, decode_generation, decode_text
from llmdispatcher.wire.finish import finish_of, plain

from ..cases import each
from .corpus import decode_stream
from .recordings import SAID, STREAMS, WHOLE, framed, sse

FORMATS = each("codec", CODECS)


def ended(codec, word):
    """A whole answer that says "part" and ended with a word."""
    documents = {
        "openai_chat": {"choices": [{"index": 0, "message": {"content": "part"}, "finish_reason": word}]},
        "anthropic_messages": {"type": "message", "content": [{"type": "text", "text": "part"}], "stop_reason": word},
        "gemini": {"candidates": [{"content": {"parts": [{"text": "part"}]}, "finishReason": word}]},
        "ollama_chat": {"message": {"content": "part"}, "done": True, "done_reason": word},
        "openai_responses": {
            "status": "incomplete",
            "incomplete_details": {"reason": word},
            "output": [{"type": "message", "content": [{"type": "output_text", "text": "part"}]}],
        },
    }
    return documents[codec.name]


def streamed(codec, word):
    """The same as a stream of two events."""
    said = {"index": 0, "content_block": {"type": "text", "text": ""}, "type": "content_block_start"}
    ends = {
        "openai_chat": [{"choices": [{"index": 0, "delta": {}, "finish_reason": word}]}],
        "anthropic_messages": [{"type": "message_delta", "delta": {"stop_reason": word}}, {"type": "message_stop"}],
        "gemini": [{"candidates": [{"finishReason": word}]}],
        "ollama_chat": [{"done": True, "done_reason": word}],
        "openai_responses": [
            {
                "type": "response.incomplete",
                "response": {"status": "incomplete", "incomplete_details": {"reason": word}, "output": []},
            }
        ],
    }
    opening = [said] if codec.name == "anthropic_messages" else []
    return framed(codec.name, *opening, SAID[codec.name], *ends[codec.name])


WORDS = {
    "stop": (
        *("stop", "STOP", "end_turn", "END_TURN", "stop_sequence", "STOP_SEQUENCE", "eos", "eos_token", "COMPLETE", "FINISH"),
        *(
            "eosFound",
            "stopStringFound",
            "EndTurn",
            "StopSequence",
            "normal",
            "STOP_CRITERIA_MET",
            "REASON_STOP",
            "STOP_REASON_STOP",
        ),
        *("ALTERNATIVE_STATUS_FINAL", "FinishReason.STOP", "finishReasonStop"),
        *("stop_sequences", "eos_token_id", "model_stop", "natural_stop", "end", "success"),
        *("stop_token", "stopToken", "stop_words", "FINISH_REASON_STOP_STRING", "stop_id"),
    ),
    "length": (
        "length",
        "MAX_TOKENS",
        "max_output_tokens",
        "max_new_tokens",
        "model_length",
        "model_context_window_exceeded",
        "token_limit_reached",
        "FINISH_REASON_MAX_TOKENS",
        "finishReason.MAX_TOKENS",
        "maxPredictedTokensReached",
        "contextLengthReached",
        "MaxTokens",
        "maximum_tokens",
        "REASON_MAX_LEN",
        *("token_limit_exceeded", "maxOutputTokensReached", "max_context_length", "context_window_exceeded", "output_limit"),
        *("token_budget", "truncated", "length_limit"),
    ),
    "content_filter": (
        "content_filter",
        "content-filter",
        "content_filter: RECITATION",
        "refusal",
        "sensitive",
        "SAFETY",
        "RECITATION",
        "PROHIBITED_CONTENT",
        "IMAGE_SAFETY",
        "guardrail_intervened",
        "content_filtered",
        "ERROR_TOXIC",
        "blacklist",
        "LANGUAGE",
        "ContentFilter",
        "ALTERNATIVE_STATUS_CONTENT_FILTER",
        *("policy_violation", "input_sensitive", "outputSensitive", "safety_filter", "content_moderation", "flagged", "refused"),
        *("censored", "guardrail", "copyright", "prompt_blocked", "BlockedByPolicy", "safety_blocked"),
    ),
    "something_new": ("something_new", "SOMETHING_NEW"),
}
FAILURES = (
    "insufficient_system_resource",
    "network_error",
    "abort",
    "aborted",
    "error",
    "ERROR",
    "timeout",
    "cancelled",
    "USER_CANCEL",
    "engine_overloaded",
    "model_error",
    "upstream_error",
    "ENGINE_ERROR",
    "modelError",
    "ServiceException",
    "generation_failed",
    "modelUnloaded",
    "userStopped",
    "finish_reason_error",
    *("deadline_exceeded", "queue_timeout", "cancelled_by_user", "connection_closed", "throttled", "out_of_memory", "preemption"),
    *("insufficient_resources", "server_shutdown", "over_capacity", "evicted", "incomplete_stream"),
)
UNREADABLE = (
    "MALFORMED_FUNCTION_CALL",
    "malformedFunctionCall",
    "UNEXPECTED_TOOL_CALL",
    "MALFORMED_RESPONSE",
    "TOO_MANY_TOOL_CALLS",
    "NO_IMAGE",
    "function_call_filter: MALFORMED_FUNCTION_CALL",
    "malformed_tool_use",
    "malformed_model_output",
)


@FORMATS
@each("reason, word", [(reason, word) for reason, words in WORDS.items() for word in words])
def test_every_vendors_word_means_the_same_in_every_format(codec, reason, word):
    """Gateways pass on the words of whoever answers behind them."""
    whole = codec.decode(json.dumps(ended(codec, word)).encode())
    folded, error = decode_stream(codec, [streamed(codec, word)])

    assert (reason, "part") == (whole.finish_reason, whole.content)
    assert (None, reason, "said") == (error, folded.finish_reason, folded.content)


def fed(codec, body):
    """What comes of a stream whose reader looks for an error behind each batch of chunks, as vendors' do."""
    decoder, chunks = codec.decoder(), []
    try:
        chunks += decoder.feed(body)
        decoder.check()
        chunks += decoder.finish()
    except DispatchError as error:
        return fold(chunks), error
    return fold(chunks), None


@FORMATS
@each("word", FAILURES)
def test_an_answer_that_was_broken_off_is_none(codec, word):
    """It counts as a failure, so that another vendor is asked; what had been said is kept of a stream."""
    with pytest.raises(StreamInterrupted, match="broke the answer off") as raised:
        codec.decode(json.dumps(ended(codec, word)).encode())
    said, error = fed(codec, streamed(codec, word))

    assert (True, True, plain(word)) == (raised.value.retry_here, raised.value.try_elsewhere, raised.value.code)
    assert (StreamInterrupted, "said", None) == (type(error), said.content, said.finish_reason)


@each("native", ["network_error", "error", "MALFORMED_FUNCTION_CALL"])
def test_a_gateways_stop_does_not_hide_its_upstreams_failure(native):
    """OpenRouter says ``stop`` all the same."""
    choice = {"index": 0, "finish_reason": "stop", "native_finish_reason": native}
    chat = CODECS["openai_chat"]
    with pytest.raises(DispatchError):
        chat.decode(json.dumps({"choices": [{**choice, "message": {"content": ""}}]}).encode())
    said, error = fed(chat, sse({"choices": [{**choice, "delta": {"content": ""}}]}))
    assert (True, "") == (isinstance(error, StreamInterrupted | MalformedReply), said.content)
    whole = chat.decode(json.dumps({"choices": [{**choice, "native_finish_reason": "STOP", "message": {"content": "a"}}]}).encode())
    assert "stop" == whole.finish_reason


@each(
    "raw, reason",
    [
        ({"type": "stop", "matched": 2}, "stop"),
        ({"type": "length", "length": 9}, "length"),
        (["length"], "length"),
        ({}, None),
        ([], None),
    ],
)
def test_a_word_may_stand_in_an_object(raw, reason):
    """As SGLang has it."""
    chat = CODECS["openai_chat"]
    body = json.dumps({"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": raw}]}).encode()
    assert reason == chat.decode(body).finish_reason


@FORMATS
@each("word", UNREADABLE)
def test_a_call_that_the_model_could_not_write_is_no_success(codec, word):
    """The answer is empty, or the talk before the call, and the same question again mostly goes well."""
    with pytest.raises(MalformedReply, match="cannot be used") as raised:
        codec.decode(json.dumps(ended(codec, word)).encode())
    said, error = fed(codec, re.sub(rb', "usageMetadata": [^}]*\}', b"", streamed(codec, word)))

    assert (True, True) == (raised.value.retry_here, raised.value.try_elsewhere)
    assert (MalformedReply, "said") == (type(error), said.content)


@FORMATS
def test_an_answer_that_a_rate_limit_broke_off_tells_so(codec):
    """Whoever asked must slow down."""
    with pytest.raises(RateLimitError, match="broke the answer off"):
        codec.decode(json.dumps(ended(codec, "rate_limit")).encode())


@each("name", ["openai_chat", "anthropic_messages", "gemini"])
@each("word", ["", " ", None, "null", "undefined", "FINISH_REASON_UNSPECIFIED", "not_finished", "IN_PROGRESS"])
def test_a_word_that_says_nothing_ends_no_answer(name, word):
    """Servers send it with every chunk; the stream goes on, and without an end it was interrupted."""
    codec = CODECS[name]
    _, error = decode_stream(codec, [streamed(codec, word).replace(b'data: {"type": "message_stop"}', b"")])

    assert (StreamInterrupted, None) == (type(error), error.code)
    assert None is codec.decode(json.dumps(ended(codec, word)).encode()).finish_reason


def test_an_empty_word_does_not_hide_what_was_counted():
    """A last event without a reason still tells the tokens."""
    start = {"type": "message_start", "message": {"id": "m", "content": [], "usage": {"input_tokens": 3, "output_tokens": 1}}}
    end = {"type": "message_delta", "delta": {"stop_reason": ""}, "usage": {"output_tokens": 5}}
    answer, error = decode_stream(CODECS["anthropic_messages"], [sse(start, end, {"type": "message_stop"})])

    assert (None, None, 5) == (error, answer.finish_reason, answer.usage.output_tokens)


def test_one_choice_that_was_broken_off_fails_the_answer():
    """Whoever asked for two wants two."""
    choices = [{"index": place, "message": {"content": "x"}, "finish_reason": word} for place, word in enumerate(("stop", "abort"))]
    with pytest.raises(StreamInterrupted):
        CODECS["openai_chat"].decode(json.dumps({"choices": choices}).encode())


@each(
    "decode, document",
    [
        (decode_text, {"choices": [{"text": "a", "finish_reason": "abort"}]}),
        (decode_complete, {"completion": "a", "stop_reason": "error"}),
        (decode_generation, [{"generated_text": "a", "details": {"finish_reason": "abort"}}]),
    ],
)
def test_the_older_apis_break_off_too(decode, document):
    """Their words are those of chats."""
    with pytest.raises(StreamInterrupted):
        decode(json.dumps(document).encode())


KNOWN = {
    "openai_chat": ("stop", "length", "tool_calls", "content_filter"),
    "anthropic_messages": ("end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal", "model_context_window_exceeded"),
    "gemini": ("STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "PROHIBITED_CONTENT", "IMAGE_SAFETY", "LANGUAGE", "OTHER"),
    "ollama_chat": ("stop", "length", "content_filter"),
    "openai_responses": (None, "max_output_tokens", "content_filter"),
}
"""What clients of a format know."""


def word_in(codec, body):
    """The word of a whole answer."""
    document = json.loads(body)
    read = {
        "openai_chat": lambda: document["choices"][0]["finish_reason"],
        "anthropic_messages": lambda: document["stop_reason"],
        "gemini": lambda: document["candidates"][0]["finishReason"],
        "ollama_chat": lambda: document["done_reason"],
        "openai_responses": lambda: (document["incomplete_details"] or {}).get("reason"),
    }
    return read[codec.name]()


@FORMATS
@each(
    "reason, raw",
    [
        *[(reason, word) for reason, words in WORDS.items() for word in words],
        ("pause_turn", "pause_turn2"),
        ("SAFETY", None),
        ("max_tokens", None),
        ("other", "other"),
    ],
)
def test_no_client_reads_a_word_that_it_does_not_know(codec, reason, raw):
    """Whole and streamed; a client of ours reads the same reason again, or a plain end where there is no word for it."""
    answer = Response(content="x", model="m", finish_reason=reason, finish_reason_raw=raw)
    again = codec.decode(codec.write_response(answer))
    writer = codec.writer()
    events = b"".join([*map(writer.write, unfold(answer)), writer.end()])

    assert word_in(codec, codec.write_response(answer)) in KNOWN[codec.name]
    assert {"SAFETY": "content_filter", "max_tokens": "length"}.get(reason, reason) in (
        again.finish_reason,
        "something_new",
        "pause_turn",
        "other",
    )
    assert again.finish_reason == decode_stream(codec, [events])[0].finish_reason


_NAMELESS, _CALL = ToolCall(name="", arguments='{"a": 1}', id="a"), ToolCall(name="f", arguments="{}", id="b")
_FOREIGN = ToolCall(name="f", arguments="{}", id="c", extra={"anthropic_messages": {"caller": {"type": "x", "tool_id": "toolu_1"}}})


@each(
    "name, calls, raw, word",
    [
        ("anthropic_messages", [], "tool_use", "end_turn"),
        ("anthropic_messages", [_NAMELESS], "tool_calls", "end_turn"),
        ("anthropic_messages", [_NAMELESS], "tool_use", "end_turn"),
        ("anthropic_messages", [_FOREIGN], "tool_use", "end_turn"),
        ("anthropic_messages", [_FOREIGN, _NAMELESS, _CALL], "tool_use", "tool_use"),
        ("anthropic_messages", [_CALL], "end_turn", "tool_use"),
        ("anthropic_messages", [_CALL], None, "tool_use"),
        ("openai_chat", [], "tool_calls", "stop"),
        ("openai_chat", [], "function_call", "stop"),
        ("openai_chat", [_NAMELESS], "tool_calls", "tool_calls"),
        ("openai_chat", [_CALL], "stop", "tool_calls"),
        ("openai_chat", [_CALL], None, "tool_calls"),
        ("ollama_chat", [], "tool_calls", "stop"),
        ("gemini", [], "tool_calls", "STOP"),
        ("openai_responses", [], "tool_calls", None),
    ],
)
@each("content", ["", "hi"])
def test_the_end_fits_the_calls_that_are_written(name, calls, raw, word, content):
    """A client that is told of calls and gets none waits for what nobody asks; whole and streamed."""
    codec, reason = CODECS[name], finish_of(raw)
    answer = Response(content=content, model="m", tool_calls=tuple(calls), finish_reason=reason, finish_reason_raw=raw)
    writer = codec.writer()
    events = b"".join([*map(writer.write, unfold(answer)), writer.end()])
    streamed = decode_stream(codec, [events])[0]

    assert word == word_in(codec, codec.write_response(answer))
    assert ("tool_calls" if streamed.tool_calls else "stop") == streamed.finish_reason
    if word is not None:
        assert f'"{word}"'.encode() in events
    assert codec.decode(codec.write_response(answer)).tool_calls == streamed.tool_calls


FLAT = {
    "vLLM": (
        {"object": "error", "message": "EngineCore encountered an issue", "type": "InternalServerError", "code": 500},
        VendorUnavailable,
    ),
    "vLLM, window": (
        {"object": "error", "message": "maximum context length is 8", "type": "BadRequestError", "code": 400},
        ContextWindowExceeded,
    ),
    "a type alone": ({"type": "error", "message": "boom"}, VendorUnavailable),
    "an error object": ({"error": {"code": 429, "message": "slow"}}, RateLimitError),
    "an error text": ({"error": "boom"}, VendorUnavailable),
    "a short name": ({"err": "boom"}, VendorUnavailable),
    "a result": ({"result": "error", "reason": "boom"}, VendorUnavailable),
    "a list of errors": ({"errors": [{"code": 3036, "message": "spent"}], "success": False}, QuotaExceeded),
    "a list of texts": ({"errors": ["boom"]}, VendorUnavailable),
    "base_resp": ({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, QuotaExceeded),
    "base_resp beside null": (
        {"choices": None, "base_resp": {"status_code": 1026, "status_msg": "new_sensitive"}},
        ContentFiltered,
    ),
    "msg": ({"code": 500, "msg": "404 NOT_FOUND", "success": False}, VendorUnavailable),
    "a code and a message": ({"code": 503, "message": "busy"}, VendorUnavailable),
    "detail": ({"detail": "Not authenticated"}, VendorUnavailable),
    "a list of details": ({"detail": [{"msg": "field required"}]}, VendorUnavailable),
    "AWS": ({"__type": "ThrottlingException", "message": "slow"}, RateLimitError),
    "a message alone": ({"message": "Too many requests"}, RateLimitError),
    "a status in words": ({"status": "failed", "message": "boom"}, VendorUnavailable),
    "FastChat": ({"text": "**NETWORK ERROR**", "error_code": 50001}, VendorUnavailable),
    "Baidu": ({"error_code": 17, "error_msg": "Open api daily request limit reached"}, QuotaExceeded),
}


@FORMATS
@each("document, kind", FLAT)
def test_an_error_of_any_shape_inside_a_200_is_raised(codec, document, kind):
    """Whole, first thing in a stream, in a list, and after output, which is kept."""
    with pytest.raises(DispatchError) as whole:
        codec.decode(json.dumps(document).encode())
    answer, after = decode_stream(codec, [framed(codec.name, SAID[codec.name], document)])
    errors = [
        whole.value,
        after,
        *[decode_stream(codec, [body])[1] for body in (sse(document), sse([document]), sse(document, "[DONE]"))],
    ]

    assert [kind] * len(errors) == [type(error) for error in errors]
    assert "said" == answer.content


@FORMATS
def test_each_event_of_a_list_counts(codec):
    """Also the error behind what was said."""
    answer, error = decode_stream(codec, [sse([SAID[codec.name], {"error": {"code": 503, "message": "busy"}}])])

    assert ("said", VendorUnavailable) == (answer.content, type(error))


@FORMATS
@each("data", ["null", '"overloaded"', "[]", "{}", "overloaded"])
def test_an_event_that_is_named_an_error_is_one(codec, data):
    """Whatever it says."""
    body = sse(SAID[codec.name]) + f"event: error\ndata: {data}\n\n".encode()

    assert isinstance(decode_stream(codec, [body])[1], DispatchError)


@FORMATS
@each("field", [b"error: ", b"error:"])
def test_a_field_that_is_named_an_error_is_one(codec, field):
    """llama.cpp and FastChat write it where ``data`` belongs."""
    body = sse(SAID[codec.name]) + field + b'{"code": 500, "message": "boom"}\n\n'

    assert (VendorUnavailable, "boom") == (type(error := decode_stream(codec, [body])[1]), error.message)


NOTHING = (
    None,
    {},
    "",
    " ",
    0,
    [],
    False,
    {"code": 0, "message": ""},
    {"message": "", "type": "", "param": "", "code": None},
    {"code": 200, "message": "success"},
    {"code": "ok", "details": [{}]},
)


def beside(document, name, value):
    """A document with one more field, also in the objects of its choices."""
    choices = [{**choice, name: value} for choice in document.get("choices") or ()]
    return {**document, name: value, **({"choices": choices} if choices else {})}


@FORMATS
@each("value", NOTHING)
@each("name", ["error", "errors", "base_resp", "detail"])
def test_an_error_that_says_nothing_is_none(codec, name, value):
    """Beside a whole answer, in each of its choices, and in every event of a stream."""
    good = codec.decode(json.dumps(WHOLE[codec.name]).encode())
    answer = codec.decode(json.dumps(beside(WHOLE[codec.name], name, value)).encode())
    lines = STREAMS[codec.name].decode().splitlines(keepends=True)
    marked = [_marked(line, name, value) for line in lines]
    folded, error = decode_stream(codec, ["".join(marked).encode()])

    assert (good.content, good.tool_calls, good.finish_reason) == (answer.content, answer.tool_calls, answer.finish_reason)
    assert (None, good.content) == (error, folded.content)


def _marked(line, name, value):
    """A line of a stream whose document has one more field."""
    start = line.find("{")
    if start < 0:
        return line
    document = beside(json.loads(line[start:]), name, value)
    return line[:start] + json.dumps(document, ensure_ascii=False) + line[len(line.rstrip("\r\n")) :]


@FORMATS
@each(
    "document",
    [{"status": "queued", "message": "wait"}, {"code": 200, "message": "working"}, {"code": 0, "msg": "ok"}, {"object": "ping"}],
)
def test_an_event_that_tells_of_something_else_is_no_error(codec, document):
    """Gateways send such while a model is loaded."""
    answer, error = decode_stream(codec, [framed(codec.name, document, SAID[codec.name])])

    assert ("said", StreamInterrupted) == (answer.content, type(error))


def test_a_good_answer_says_that_it_succeeded():
    """MiniMax and Cloudflare do so with every answer."""
    told = {"base_resp": {"status_code": 0, "status_msg": "success"}, "success": True, "errors": [], "code": 200, "msg": "OK"}

    assert CODECS["openai_chat"].decode(json.dumps({**WHOLE["openai_chat"], **told}).encode()).content


def test_an_answer_of_nothing_is_malformed():
    """It says no reason either."""
    for codec in CODECS.values():
        with pytest.raises(MalformedReply):
            codec.decode(b'{"error": {"code": 0, "message": ""}}')
