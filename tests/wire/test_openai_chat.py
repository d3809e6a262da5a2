"""OpenAI's chat format, and what compatible servers make of it."""

import json

import pytest

from llmdispatcher import (
    FilePart,
    ImagePart,
    InvalidRequest,
    Message,
    Request,
    Tool,
    ToolCall,
    VendorUnavailable,
)
from llmdispatcher.types import fold
from llmdispatcher.wire import OPENAI_CHAT
from llmdispatcher.wire.openai_chat.codec import OPENAI_CHAT_TAGGED

from ..cases import each
from .corpus import decode_stream
from .recordings import sse


def chunk(delta=None, finish=None, **more):
    """One event; without a delta it has no choices."""
    return {
        "id": "c",
        "model": "m",
        "choices": [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }


def streamed(*events):
    """The answer of a stream that ends well."""
    answer, error = decode_stream(OPENAI_CHAT, [sse(*events, "[DONE]")])
    assert error is None, error
    return answer


def answered(message, finish="stop", **more):
    """A whole answer."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return OPENAI_CHAT.decode(json.dumps({"id": "c", "model": "m", "choices": [choice], **more}).encode())


def sent(*messages, stream=False, quirks=frozenset(), **fields):
    """What is sent for a request."""
    return json.loads(OPENAI_CHAT.encode(Request("m", messages or (Message.user("Hi"),), **fields), stream=stream, quirks=quirks))


def test_a_request_with_everything():
    """Every field has its place."""
    request = sent(
        Message("developer", "d"),
        Message.user("u"),
        temperature=0.5,
        top_p=0.25,
        max_tokens=9,
        frequency_penalty=1.0,
        presence_penalty=-1.0,
        seed=7,
        stop=["x", "y"],
        user="me",
        tool_choice="auto",
        response_format={"type": "json_object"},
        tools=[Tool(name="f", description="d", parameters={"type": "object"}, strict=True)],
    )

    assert {
        "model": "m",
        "messages": [{"role": "developer", "content": "d"}, {"role": "user", "content": "u"}],
        "temperature": 0.5,
        "top_p": 0.25,
        "max_tokens": 9,
        "frequency_penalty": 1.0,
        "presence_penalty": -1.0,
        "seed": 7,
        "stop": ["x", "y"],
        "user": "me",
        "tool_choice": "auto",
        "response_format": {"type": "json_object"},
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}}
        ],
    } == request


def test_newer_models_have_another_word_for_the_limit():
    """Reasoning models refuse ``max_tokens``."""
    assert {"max_completion_tokens": 9} == {
        name: value for name, value in sent(max_tokens=9, quirks=frozenset({"max_completion_tokens"})).items() if "tokens" in name
    }


def test_a_stream_asks_for_usage():
    """Without it most servers count nothing."""
    assert ({"include_usage": True}, True) == (sent(stream=True)["stream_options"], sent(stream=True)["stream"])


def test_a_tool_loop_is_encoded():
    """An assistant's calls and their results go back as they came."""
    request = sent(
        Message.user("u"),
        Message.assistant(tool_calls=[ToolCall(name="f", arguments='{"a":1}', id="t")]),
        Message.tool("42", "t", name="f"),
    )

    assert [
        {"role": "user", "content": "u"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "t", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
        },
        {"role": "tool", "content": "42", "name": "f", "tool_call_id": "t"},
    ] == request["messages"]


def test_parts_are_encoded():
    """Pictures and documents travel as URLs, ids, or data."""
    content = sent(
        Message.user(
            "look",
            ImagePart(url="https://x.example/a.png", detail="low"),
            ImagePart(data=b"abc", media_type="image/png"),
            FilePart(data=b"abc", media_type="application/pdf", name="a.pdf"),
            FilePart(file_id="f1"),
        )
    )["messages"][0]["content"]

    assert [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "https://x.example/a.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,YWJj"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,YWJj"}},
        {"type": "file", "file": {"file_id": "f1"}},
    ] == content


@each("part", [ImagePart(), ImagePart(data=b"x"), FilePart(url="https://x.example/a")])
def test_a_part_that_cannot_be_sent_is_refused(part):
    """With what would do instead."""
    with pytest.raises(InvalidRequest, match=r"message\.content"):
        sent(Message.user("x", part))


def call(index=None, call_id=None, name=None, arguments=None):
    """A piece of a call, with only what a server sends."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {**({} if index is None else {"index": index}), **({} if call_id is None else {"id": call_id}), "function": function}


TWO = [("a", "f", '{"x":1}'), ("b", "g", "{}")]
CALLS = {
    "by index": [call(0, "a", "f", ""), call(0, arguments='{"x"'), call(0, arguments=":1}"), call(1, "b", "g", "{}")],
    "interleaved": [call(0, "a", "f", '{"x"'), call(1, "b", "g", "{"), call(0, arguments=":1}"), call(1, arguments="}")],
    "no index, ids once": [call(None, "a", "f", ""), call(None, arguments='{"x":1}'), call(None, "b", "g", "{}")],
    "no index, ids always": [call(None, "a", "f", '{"x"'), call(None, "b", "g", "{}"), call(None, "a", arguments=":1}")],
    "every call index 0": [call(0, "a", "f", '{"x":1}'), call(0, "b", "g", "{}")],
    "an empty name repeated": [call(0, "a", "f", ""), call(0, "", "", '{"x":1}'), call(1, "b", "g", "{}")],
    "the name repeated": [call(0, "a", "f", '{"x"'), call(0, None, "f", ":1}"), call(1, "b", "g", "{}")],
    "an object": [call(0, "a", "f", {"x": 1}), call(1, "b", "g", {})],
    "null first": [
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": None}},
        call(0, arguments='{"x":1}'),
        call(1, "b", "g", "{}"),
    ],
}


@each("pieces", CALLS)
def test_pieces_of_calls_find_each_other(pieces):
    """Whatever a server leaves out or repeats."""
    calls = streamed(*(chunk({"tool_calls": [piece]}) for piece in pieces), chunk({}, "tool_calls")).tool_calls

    assert TWO == [(found.id, found.name, found.arguments.replace(" ", "")) for found in calls]


def test_nothing_is_read_behind_the_end_marker():
    """A server that keeps talking, or the connection open, is left."""
    decoder = OPENAI_CHAT.decoder()
    chunks = decoder.feed(sse(chunk({"content": "x"}, "stop"), "[DONE]", chunk({"content": "y"})))

    assert (["x"], True, []) == ([found.content for found in chunks], decoder.done, decoder.finish())


USAGE = {
    "all details": (
        {
            "prompt_tokens": 10,
            "completion_tokens": 8,
            "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2, "audio_tokens": 1},
            "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 3},
        },
        (10, 8, 4, 2, 5, 1, 3),
    ),
    "DeepSeek's cache": ({"prompt_tokens": 10, "completion_tokens": 8, "prompt_cache_hit_tokens": 4}, (10, 8, 4, 0, 0, 0, 0)),
    "no details": ({"prompt_tokens": 10, "completion_tokens": 8, "prompt_tokens_details": None}, (10, 8, 0, 0, 0, 0, 0)),
    "reasoning beside the completion": (
        {"prompt_tokens": 10, "completion_tokens": 8, "total_tokens": 23, "completion_tokens_details": {"reasoning_tokens": 5}},
        (10, 13, 0, 0, 5, 0, 0),
    ),
    "more reasoning than output": (
        {"prompt_tokens": 10, "completion_tokens": 8, "completion_tokens_details": {"reasoning_tokens": 9}},
        (10, 8, 0, 0, 8, 0, 0),
    ),
    "floats and nonsense": ({"prompt_tokens": 10.0, "completion_tokens": -1, "total_tokens": "x"}, (10, 0, 0, 0, 0, 0, 0)),
}


@each("raw, expected", USAGE)
def test_usage_is_counted_once(raw, expected):
    """Parts are within their whole, whatever the vendor's own record says."""
    usage = answered({"content": "x"}, usage=raw).usage

    assert expected == (
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
        usage.audio_input_tokens,
        usage.audio_output_tokens,
    )
    assert raw == usage.raw


def test_no_usage_is_told_from_none_used():
    """A zero would look like a free call."""
    assert "no_usage" == answered({"content": "x"}).usage.cost_status == streamed(chunk({"content": "x"}, "stop")).usage.cost_status


@each("where", ["top", "choice"])
def test_an_error_within_an_answer_is_raised(where):
    """A gateway whose upstream failed half way says so inside a 200."""
    error = {"error": {"code": 502, "message": "upstream failed"}}
    choice = {"index": 0, "delta": {"content": "x"}, "message": {"content": "x"}, "finish_reason": "error"}
    document = {"id": "c", "choices": [choice], **error} if where == "top" else {"id": "c", "choices": [{**choice, **error}]}

    with pytest.raises(VendorUnavailable, match="upstream failed"):
        OPENAI_CHAT.decode(json.dumps(document).encode())
    with pytest.raises(VendorUnavailable, match="upstream failed"):
        OPENAI_CHAT.decoder().feed(sse(document))


def test_usage_in_an_event_that_fails_is_kept():
    """What was refused may have been billed."""
    failing = chunk(
        {"content": ""}, usage={"prompt_tokens": 3, "completion_tokens": 2}, error={"code": 400, "message": "Token limit reached"}
    )
    answer, error = decode_stream(OPENAI_CHAT, [sse(chunk({"content": "x"}), failing)])

    assert (5, InvalidRequest) == (answer.usage.total_tokens, type(error))


def test_the_parts_of_an_answer_are_in_order():
    """Thoughts are kept as they came, to be sent back; in a stream their pieces are one."""
    hidden = {"type": "reasoning.encrypted", "data": "x"}
    details = [{"type": "reasoning.text", "index": 0, "text": "abc", "signature": "s"}, hidden]
    whole = answered({"content": "Hi", "reasoning": "abc", "reasoning_details": details})
    pieces = streamed(
        chunk({"reasoning": "a", "reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "a"}]}),
        chunk({"reasoning": "bc", "reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "bc"}]}),
        chunk({"reasoning_details": [{"type": "reasoning.text", "index": 0, "signature": "s"}]}),
        chunk({"reasoning_details": [hidden]}),
        chunk({"content": "Hi"}),
        chunk({}, "stop"),
    )
    thought, text = whole.parts

    assert ("abc", "s", "x", "Hi") == (thought.text, thought.signature, thought.encrypted, text.text)
    assert {"reasoning": "abc", "reasoning_details": details} == thought.extra["openai_chat"]
    assert (whole.parts, whole.reasoning) == (pieces.parts, pieces.reasoning)


def test_several_answers_are_told_apart():
    """The first is the response's own; the stream is complete when all of them are."""
    choices = [{"index": place, "message": {"content": text}, "finish_reason": "stop"} for place, text in enumerate("ab")]
    whole = OPENAI_CHAT.decode(json.dumps({"choices": choices}).encode())
    first, second = [{"choices": [{"index": place, "delta": {"content": text}}]} for place, text in enumerate("ab")]
    ends = [{"choices": [{"index": place, "delta": {}, "finish_reason": "stop"}]} for place in (0, 1)]
    decoder = OPENAI_CHAT.decoder()
    decoder.feed(sse(first, second, ends[0]))
    halfway = decoder.ended
    decoder.feed(sse(ends[1]))

    assert ["a", "b"] == [choice.content for choice in whole.choices]
    assert whole.choices == streamed(first, second, *ends).choices
    assert (False, True) == (halfway, decoder.ended)


def test_logprobs_are_kept():
    """Of all pieces, together."""
    tokens = [{"token": token, "logprob": -0.5} for token in "ab"]
    pieces = [
        {"choices": [{"index": 0, "delta": {"content": token["token"]}, "logprobs": {"content": [token]}}]} for token in tokens
    ]

    assert tuple(tokens) == streamed(*pieces, chunk({}, "stop")).logprobs


def test_a_custom_call_has_free_text():
    """In pieces, too."""
    whole = answered({"tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "f", "input": "4 + 4"}}]}, "tool_calls")
    opening = {"index": 0, "id": "c", "type": "custom", "custom": {"name": "f", "input": ""}}
    pieces = streamed(
        chunk({"tool_calls": [opening]}),
        chunk({"tool_calls": [{"index": 0, "custom": {"input": "4 + "}}]}),
        chunk({"tool_calls": [{"index": 0, "custom": {"input": "4"}}]}),
        chunk({}, "tool_calls"),
    )

    assert (ToolCall(id="c", name="f", arguments="4 + 4", kind="custom"),) == whole.tool_calls == pieces.tool_calls


def test_sources_are_citations():
    """OpenAI's hang on the message, Perplexity's beside it; in a stream every event repeats those."""
    note = {"type": "url_citation", "url_citation": {"url": "https://x.example", "title": "x", "start_index": 1, "end_index": 2}}
    found = {
        "search_results": [{"url": "https://y.example", "title": "y", "snippet": "s"}],
        "citations": ["https://y.example", "https://z.example"],
    }
    [one] = answered({"content": "Hi", "annotations": [note]}).citations
    told = streamed(chunk({"content": "Hi"}, **found), chunk({}, "stop", **found), chunk({}, "stop", **found)).citations

    assert ("https://x.example", "x", 1, 2) == (one.url, one.title, one.start, one.end)
    assert [("https://y.example", "y", "s"), ("https://z.example", None, None)] == [
        (cited.url, cited.title, cited.text) for cited in told
    ]
    assert told == answered({"content": "Hi"}, **found).citations


def test_fields_of_a_call_that_one_server_knows_are_kept():
    """Such as Google's proof of its thought."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": {"google": {"x": 1}}}

    assert {"openai_chat": {"extra_content": {"google": {"x": 1}}}} == answered({"tool_calls": [call]}).tool_calls[0].extra


@each(
    "text, expected",
    [
        ("<think>abc</think>\n\nHi", ("abc", "Hi")),
        ("\n<think>\nabc < d\n</think>Hi <think>", ("abc < d", "Hi <think>")),
        ("<think></think>Hi", ("", "Hi")),
        ("<think>abc", ("abc", "")),
        ("Hi <think>abc</think>", ("", "Hi <think>abc</think>")),
        ("  Hi", ("", "  Hi")),
        ("<thi", ("", "<thi")),
    ],
)
def test_thoughts_between_tags_are_told_from_the_text(text, expected):
    """Whole, and however the stream is cut."""
    end = [chunk({}, "stop"), "[DONE]"]
    seen = set()
    for size in range(1, len(text) + 1):
        decoder = OPENAI_CHAT_TAGGED.decoder()
        pieces = [chunk({"content": text[at : at + size]}) for at in range(0, len(text), size)]
        answer = fold(decoder.feed(sse(*pieces, *end)))
        seen.add((answer.reasoning, answer.content))
    body = {"choices": [{"index": 0, "message": {"content": text}, "finish_reason": "stop"}]}
    whole = OPENAI_CHAT_TAGGED.decode(json.dumps(body).encode())

    assert {expected} == {*seen, (whole.reasoning, whole.content)}


def test_half_a_tag_is_text_where_a_stream_just_ends():
    """Without a reason, at the end marker."""
    assert "<thi" == fold(OPENAI_CHAT_TAGGED.decoder().feed(sse(chunk({"content": "<thi"}), "[DONE]"))).content
