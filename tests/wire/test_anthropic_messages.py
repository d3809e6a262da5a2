"""Anthropic's messages: blocks, named events, and a usage that leaves the cache out."""

import json

import pytest
from corpus import decode_stream
from recordings import CLAUDE_WHOLE, sse

from llmdispatcher.errors import InvalidRequest, MalformedReply
from llmdispatcher.messages import ImagePart, Message, ToolCall
from llmdispatcher.types import Request
from llmdispatcher.wire.anthropic_messages import ANTHROPIC_MESSAGES, DEFAULT_MAX_TOKENS


def sent(*messages, stream=False, **fields):
    """What is sent for a request."""
    return json.loads(ANTHROPIC_MESSAGES.encode(Request("m", messages or (Message.user("Hi"),), **fields), stream=stream))


def answered(**fields):
    """A whole answer, changed."""
    return ANTHROPIC_MESSAGES.decode(json.dumps({**CLAUDE_WHOLE, **fields}).encode())


STOP = [
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
    {"type": "message_stop"},
]


def streamed(*events):
    """The answer of a stream that ends well."""
    answer, error = decode_stream(ANTHROPIC_MESSAGES, [sse(*events, *STOP, named=True)])
    assert error is None, error
    return answer


def test_a_request_with_everything():
    """What the format has a place for."""
    assert {
        "model": "m",
        "system": "a\n\nb",
        "messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "v"}],
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.25,
        "top_k": 7,
        "service_tier": "standard_only",
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
        "stop_sequences": ["x"],
        "metadata": {"user_id": "me"},
        "stream": True,
    } == sent(
        Message.system("a"),
        Message.user("u"),
        Message("developer", "b"),
        Message.assistant("v"),
        max_tokens=9,
        temperature=0.5,
        top_p=0.25,
        stop="x",
        user="me",
        top_k=7,
        service_tier="default",
        prompt_cache="1h",
        n=1,
        logprobs=False,
        stream=True,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", 1), ("frequency_penalty", 1.0), ("presence_penalty", -1.0), ("n", 2), ("logprobs", True), ("top_logprobs", 3)],
)
def test_what_has_no_place_is_refused_or_dropped(name, value):
    """An answer without it would be another than was asked for; a caller may allow that."""
    with pytest.raises(InvalidRequest, match=f"^{name}: "):
        sent(**{name: value})
    assert sent() == sent(**{name: value}, drop_params=True)


def test_the_limit_is_always_sent():
    """The format wants one."""
    assert (DEFAULT_MAX_TOKENS, 0) == (sent()["max_tokens"], sent(max_tokens=0)["max_tokens"])


def test_text_parts_are_sent_as_blocks():
    """Also where there are several."""
    assert [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}] == sent(Message.user("a", "b"))["messages"][0]["content"]


@pytest.mark.parametrize(
    ("messages", "fields", "name"),
    [
        ([Message.system("x")], {}, "messages"),
        ([Message.system("x", ImagePart(url="https://x.example")), Message.user("x")], {}, "system"),
        ([Message.user("x"), Message.tool("42")], {}, "message.tool_call_id"),
        ([Message.user("x"), Message.assistant(tool_calls=[ToolCall(name="f", id="1", arguments="{")])], {}, "arguments of 'f'"),
        ([Message.user(ImagePart())], {}, "neither a url nor data"),
        ([Message.user("x")], {"tool_choice": "perhaps"}, "tool_choice: 'perhaps'"),
        ([Message.user("x")], {"response_format": {"type": "yaml"}}, "response_format: .* 'yaml'"),
    ],
)
def test_what_cannot_be_sent_is_named(messages, fields, name):
    """Nothing is dropped in silence."""
    with pytest.raises(InvalidRequest, match=name):
        sent(*messages, **fields)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "pause_turn"),
        (None, None),
    ],
)
def test_the_reason_is_in_our_words_and_theirs(raw, expected):
    """Whatever has no common word keeps its own."""
    answer = answered(stop_reason=raw)

    assert (expected, raw) == (answer.finish_reason, answer.finish_reason_raw)


def test_input_counts_what_the_cache_gave_and_took():
    """Anthropic's own count leaves both out."""
    usage = answered().usage

    assert (40, 10, 5, 3, 25, 9) == (
        usage.input_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.cache_write_long_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
    )


def test_later_counts_complete_earlier_ones():
    """The end says what the start could not know; a null says nothing."""
    start = {"type": "message_start", "message": {"id": "i", "model": "m", "usage": {"input_tokens": 7, "output_tokens": 1}}}
    late = {"type": "message_delta", "delta": {}, "usage": {"input_tokens": None, "cache_read_input_tokens": 3, "output_tokens": 4}}
    usage = streamed(start, late).usage

    assert (10, 3, 5) == (usage.input_tokens, usage.cache_read_tokens, usage.output_tokens)


def test_a_call_without_arguments_has_an_empty_object():
    """Its events say nothing of arguments but the object in the first."""
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}}}
    empty = {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": ""}}
    stop = {"type": "content_block_stop", "index": 0}

    assert ("{}", "{}") == (
        streamed(block, empty, stop).tool_calls[0].arguments,
        answered(content=[block["content_block"]]).tool_calls[0].arguments,
    )


def test_blocks_of_anthropics_own_tools_are_no_calls_of_ours():
    """The server ran them itself."""
    own = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    start = {"type": "content_block_start", "index": 0, "content_block": own}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"q": 1}'}}

    assert ((), ()) == (streamed(start, delta).tool_calls, answered(content=[own]).tool_calls)


def test_unknown_events_and_deltas_are_skipped():
    """New ones come without notice."""
    text = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}}
    answer = streamed(
        {"type": "novelty", "x": 1}, text, {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta"}}
    )

    assert "x" == answer.content


def test_it_is_over_at_message_stop():
    """Nothing more needs to be read, even from a connection that stays open."""
    decoder = ANTHROPIC_MESSAGES.decoder()
    decoder.feed(sse(*STOP, named=True))

    assert (True, []) == (decoder.done, decoder.finish())


def test_an_answer_without_content_is_malformed():
    """An object that is no message."""
    with pytest.raises(MalformedReply):
        answered(content=None)
