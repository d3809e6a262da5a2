"""What strangers send: values that say nothing, text as numbers, halves of characters, calls in odd pieces, usage in odd places."""

from __future__ import annotations

import base64
import json

import pytest

from llmdispatcher import (
    AudioPart,
    ImagePart,
    MalformedReply,
    Message,
    ReasoningPart,
    Request,
    StreamInterrupted,
    TextPart,
    ToolCall,
    Usage,
)
from llmdispatcher.types import fold, repair, unfold
from llmdispatcher.wire.codecs import CODECS
from llmdispatcher.wire.decoding import arguments_in, number_in, recount, says, words_of

from ..cases import each
from .corpus import decode_stream

CHAT, RESPONSES, ANTHROPIC, GEMINI, OLLAMA = (
    CODECS[name] for name in ("openai_chat", "openai_responses", "anthropic_messages", "gemini", "ollama_chat")
)


def sse(*documents):
    """Events of data alone; bytes as they are."""
    return b"".join([b"data: " + (one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n\n" for one in documents])


def piece(delta, finish=None, **more):
    """One event of chat's stream."""
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def whole(message, finish="stop", **more):
    """A whole answer of chat's."""
    return {
        "id": "c",
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}],
        **more,
    }


def read(codec, body, size=100_000):
    """The answer that a stream is."""
    answer, error = decode_stream(codec, [body[start : start + size] for start in range(0, len(body), size)])
    assert error is None, error
    return answer


def chat(*documents, done=True):
    """The answer of a stream of chat's."""
    return read(CHAT, sse(*documents, *([b"[DONE]"] if done else [])))


def calls(answer):
    """Names and arguments."""
    return [(call.name, call.arguments) for call in answer.tool_calls]


def decoded(codec, document):
    """A whole answer."""
    return codec.decode(json.dumps(document).encode())


def anthropic(*documents):
    """The answer of a stream of Anthropic's."""
    start = {
        "type": "message_start",
        "message": {"id": "m", "model": "c", "content": [], "usage": {"input_tokens": 3, "output_tokens": 1}},
    }
    end = [{"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}}, {"type": "message_stop"}]
    return read(ANTHROPIC, sse(start, *documents, *end))


def gemini(*parts):
    """A whole answer of Gemini's."""
    return decoded(
        GEMINI, {"candidates": [{"content": {"role": "model", "parts": list(parts)}, "finishReason": "STOP", "index": 0}]}
    )


def line(done=False, **message):
    """A line of Ollama's."""
    return {
        "model": "q",
        "message": {"role": "assistant", "content": "", **message},
        "done": done,
        **({"done_reason": "stop"} if done else {}),
    }


def ollama(*lines):
    """The answer that those lines are."""
    return read(OLLAMA, b"".join([json.dumps(one).encode() + b"\n" for one in lines]))


@each("value", [None, False, 0, 0.0, "", " \n", {}, [], {"a": {"b": [None, ""]}}, [{"a": 0}]])
def test_a_value_can_say_nothing(value):
    """Null, zero, empty, blank, and what holds nothing else."""
    assert not says(value)


@each("value", [True, 1, -1, 0.5, "0", "x", {"a": {"b": [None, "x"]}}, [[1]]])
def test_a_value_says_something(value):
    """One word anywhere in it is enough."""
    assert says(value)


NOTHING = {"name": "", "arguments": ""}
REAL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@each(
    "message, expected",
    [
        ({"tool_calls": [{**REAL, "custom": None}]}, [("f", "{}")]),
        ({"tool_calls": [{**REAL, "custom": {"name": "", "input": ""}}]}, [("f", "{}")]),
        ({"tool_calls": [{**REAL, "type": "custom", "custom": {}}]}, [("f", "{}")]),
        ({"tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "g", "input": "x"}, "function": None}]}, [("g", "x")]),
        ({"tool_calls": [{"id": "a", "custom": {"name": "g", "input": "x"}, "function": NOTHING}]}, [("g", "x")]),
        ({"tool_calls": REAL}, [("f", "{}")]),
        ({"tool_calls": [None, REAL, {}]}, [("f", "{}")]),
        ({"tool_calls": [{"id": "", "type": "function", "function": {"name": "", "arguments": "{}"}}]}, []),
        ({"tool_calls": [{"id": "x", "type": "function", "function": NOTHING}]}, []),
        ({"tool_calls": [{"index": 0, "id": "", "type": "", "function": None}]}, []),
        ({"tool_calls": None, "function_call": NOTHING}, []),
        ({"tool_calls": [], "function_call": {}}, []),
        ({"tool_calls": [{"function": NOTHING}], "function_call": {"name": "f", "arguments": "{}"}}, [("f", "{}")]),
    ],
)
def test_a_call_that_says_nothing_is_none(message, expected):
    """Whole or streamed; and a real one beside it is read."""
    assert expected == calls(decoded(CHAT, whole({"content": "hi", **message})))
    assert expected == calls(chat(piece({"content": "hi", **message}), piece({}, "stop")))


def test_an_answer_with_a_call_that_says_nothing_just_ends():
    """The loop of tools is not to run for it."""
    assert "stop" == decoded(CHAT, whole({"content": "hi", "function_call": NOTHING})).finish_reason
    assert "stop" == ollama(line(content="hi", tool_calls=[{"function": {"name": "", "arguments": {}}}]), line(True)).finish_reason


@each("nothing", [None, {}, {"name": "", "args": {}}, "", 0, []])
def test_fields_of_a_part_that_say_nothing_are_absent(nothing):
    """Gemini's parts, which servers written in typed languages fill up; the text beside is read."""
    answer = gemini({"text": "hi", "functionCall": nothing, "inlineData": {"mimeType": "", "data": ""}, "fileData": None})

    assert ("hi", (), "stop") == (answer.content, answer.tool_calls, answer.finish_reason)


def test_calls_of_the_responses_api_that_say_nothing_are_none():
    """Whole, and as an item of a stream."""
    item = {"type": "function_call", "id": "", "call_id": "", "name": "", "arguments": ""}
    said = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": 42}, {"type": "output_text", "text": None}],
    }
    response = {"id": "r", "status": "completed", "model": "m", "output": [item, said]}
    added = {"type": "response.output_item.added", "output_index": 0, "item": item}

    for answer in (decoded(RESPONSES, response), read(RESPONSES, sse(added, {"type": "response.completed", "response": response}))):
        assert ("42", (), "stop") == (answer.content, answer.tool_calls, answer.finish_reason)


@each("value, text", [(6, "6"), (0, "0"), (0.5, "0.5"), (-1, "-1"), ("x", "x"), (None, ""), (True, ""), ({}, "")])
def test_a_number_is_the_text_of_its_digits(value, text):
    """Cloudflare writes tokens that look like numbers so; zero is one of them."""
    assert text == words_of(value)
    assert f"n={text}" == chat(piece({"content": "n="}), piece({"content": value}), piece({}, "stop")).content
    assert text == chat(piece({"reasoning_content": value}), piece({}, "stop")).reasoning
    assert text == decoded(CHAT, whole({"content": value})).content
    assert text == ollama(line(content=value), line(True)).content
    assert text == gemini({"text": value}).content
    block = [{"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}]
    assert (
        text
        == anthropic(*block, {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": value}}).content
    )


USE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
CALL = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


@each(
    "pieces, last, text, called",
    [
        ([{"content": "Hel"}, {"content": "lo"}], {"content": "Hello"}, "Hello", []),
        ([{"content": "Hel"}], {"content": "Hello"}, "Hello", []),
        ([{"content": "Hello"}], {"content": "Goodbye"}, "Hello", []),
        ([{"role": "assistant", "content": ""}], {"content": "Hello"}, "Hello", []),
        ([], {"content": "Hello", "tool_calls": [CALL]}, "Hello", [("f", '{"a":1}')]),
        ([{"tool_calls": [{"index": 0, **CALL}]}], {"content": "", "tool_calls": [CALL]}, "", [("f", '{"a":1}')]),
        ([{"content": "Hi"}], {"content": "Hi", "tool_calls": [CALL]}, "Hi", [("f", '{"a":1}')]),
    ],
)
def test_a_last_frame_that_is_the_whole_answer_adds_what_is_new(pieces, last, text, called):
    """MiniMax and others say all of it once more; nothing is doubled, and nothing lost."""
    answer = chat(*map(piece, pieces), whole(last, usage=USE), done=False)

    assert (text, called, 9) == (answer.content, called and calls(answer), answer.usage.input_tokens)


def test_a_last_line_that_says_all_again_adds_nothing():
    """Ollama's; of a single piece it may be chance."""
    assert "Hello" == ollama(line(content="Hel"), line(content="lo"), line(True, content="Hello")).content
    assert "haha" == ollama(line(content="ha"), line(True, content="ha")).content


def test_thoughts_that_only_the_last_frame_has_are_read():
    """And those that were streamed are not doubled."""
    last = whole({"content": "Hi", "reasoning_content": "Hm."})

    assert "Hm." == chat(piece({"content": "Hi"}), last).reasoning
    assert "Hm." == chat(piece({"reasoning_content": "Hm."}), piece({"content": "Hi"}), last).reasoning


FIRST, SECOND = r"\ud83d", r"\ude00"


def answer_of(codec, template, texts, *rest):
    """The answer of a stream of those pieces."""
    return read(codec, sse(*[(template % text).encode() for text in texts], *rest))


TEMPLATES = {
    "chat": (CHAT, '{"choices":[{"index":0,"delta":{"content":"%s"}}]}', [piece({}, "stop")]),
    "chat, thought": (CHAT, '{"choices":[{"index":0,"delta":{"reasoning_content":"%s"}}]}', [piece({}, "stop")]),
    "chat, refusal": (CHAT, '{"choices":[{"index":0,"delta":{"refusal":"%s"}}]}', [piece({}, "stop")]),
    "gemini": (
        GEMINI,
        '{"candidates":[{"index":0,"content":{"parts":[{"text":"%s"}]}}]}',
        [{"candidates": [{"finishReason": "STOP", "index": 0}]}],
    ),
    "anthropic": (
        ANTHROPIC,
        '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s"}}',
        [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, {"type": "message_stop"}],
    ),
    "responses": (
        RESPONSES,
        '{"type":"response.output_text.delta","item_id":"m","output_index":0,"content_index":0,"delta":"%s"}',
        [{"type": "response.completed", "response": {"id": "r", "status": "completed", "output": []}}],
    ),
    "ollama": (OLLAMA, '{"message":{"role":"assistant","content":"%s"},"done":false}', [line(True)]),
}


@each(
    "texts, expected",
    [
        (("a" + FIRST, SECOND + "b"), "a😀b"),
        ((FIRST, SECOND), "😀"),
        (("a" + FIRST, "", SECOND), "a😀"),
        (("a" + FIRST, "b"), "a\ufffdb"),
        (("a", SECOND + "b"), "a\ufffdb"),
        (("a" + FIRST,), "a\ufffd"),
        ((FIRST + SECOND + FIRST, SECOND), "😀😀"),
        ((FIRST, FIRST, SECOND), "\ufffd😀"),
    ],
)
@each("codec, template, rest", TEMPLATES)
def test_halves_of_a_character_in_two_events_are_joined(codec, template, rest, texts, expected):
    """Servers cut text by UTF-16 units; only what stays alone becomes the replacement."""
    answer = answer_of(codec, template, texts, *rest)

    assert expected == (answer.content or answer.reasoning or answer.refusal)


def test_halves_in_the_arguments_of_calls_are_joined():
    """Each call's by itself, although its id and type are said once."""
    template = '{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,%s}]}}]}'
    begin = r'"id":"t","type":"function","function":{"name":"f","arguments":"{\"a\":\"\ud83d"}'
    end = r'"function":{"arguments":"\ude00\"}"}'

    assert [("f", '{"a":"😀"}')] == calls(answer_of(CHAT, template, (begin, end), piece({}, "tool_calls")))


def test_halves_at_the_end_of_a_stream_without_a_reason_are_told():
    """The end marker alone ends this one."""
    assert "a\ufffd" == answer_of(CHAT, TEMPLATES["chat"][1], ("a" + FIRST,), b"[DONE]").content


@each("value", [b"-Infinity", b"Infinity", b"NaN", b"1e999", b"9" * 5000])
def test_a_number_outside_of_json_does_not_cost_the_text(value):
    """Python's own JSON, and so the vendors' SDKs, read those too."""
    event = b'{"choices":[{"index":0,"delta":{"content":"two "},"logprobs":{"content":[{"token":"two","logprob":%s}]}}]}' % value

    assert "one two three" == chat(piece({"content": "one "}), event, piece({"content": "three"}, "stop")).content


@each("codec", CODECS)
def test_a_raw_control_character_in_a_text_is_read(codec):
    """A tab that nobody escaped."""
    name = {"openai_chat": "chat", "openai_responses": "responses", "anthropic_messages": "anthropic", "ollama_chat": "ollama"}
    _, template, rest = TEMPLATES[name.get(codec.name, codec.name)]

    assert "a\tb\x01" == answer_of(codec, template, ("a\tb\x01",), *rest).content


SOUND = base64.b64encode(b"RIFF\x00\x00\x00\x00WAVEfmt ").decode()


def test_a_spoken_answer_is_a_part_with_its_transcript():
    """Whole; its id sends it back to OpenAI, and its words go to everybody else."""
    answer = decoded(
        CHAT, whole({"content": None, "audio": {"id": "aud_1", "data": SOUND, "transcript": "hello", "expires_at": 1}})
    )
    [part] = answer.choices[0].parts

    assert isinstance(part, AudioPart)
    assert (base64.b64decode(SOUND), "wav", "hello") == (part.data, part.format, part.transcript)
    again = Request("m", [Message.user("hi"), answer.message, Message.user("and?")])
    assert {"role": "assistant", "content": None, "audio": {"id": "aud_1"}} == json.loads(CHAT.encode(again, stream=False))[
        "messages"
    ][1]
    for codec in (RESPONSES, ANTHROPIC, GEMINI, OLLAMA):
        assert b"hello" in codec.encode(again, stream=False)
    assert part == decoded(CHAT, json.loads(CHAT.write_response(answer))).choices[0].parts[0]


@each("known", [{}, {"openai_chat": {"as": "audio", "id": "aud_1"}}])
@each("codec", [CHAT, RESPONSES, ANTHROPIC, GEMINI, OLLAMA])
def test_sound_in_a_tools_result_is_its_transcript(codec, known):
    """No vendor takes sound there."""
    sound = AudioPart(data=base64.b64decode(SOUND), format="wav", transcript="hello", extra=known)
    call = Message("assistant", tool_calls=[ToolCall(name="f", id="c1")])
    result = Message("tool", [TextPart(text="Heard: "), sound], tool_call_id="c1")
    sent = codec.encode(Request("m", [Message.user("q"), call, result]), stream=False).decode()

    assert "Heard: hello" == result.text
    assert "hello" in sent
    assert SOUND not in sent
    assert "aud_1" not in sent


@each("end", [[piece({}, "stop"), b"[DONE]"], [b"[DONE]"]])
def test_a_spoken_answer_is_put_together(end):
    """Streamed: the transcript in pieces, the data in pieces that are padded each by itself, or not."""
    halves = [base64.b64encode(b"hello").decode(), base64.b64encode(b" you").decode()]
    joined = base64.b64encode(b"hello you").decode()
    for data in (halves, [joined[:5], joined[5:]]):
        said = [piece({"audio": {"id": "a", "transcript": text}}) for text in ("hel", "lo")]
        answer = read(CHAT, sse(*said, *[piece({"audio": {"data": one}}) for one in data], *end))
        assert [(b"hello you", "pcm16", "hello")] == [(part.data, part.format, part.transcript) for part in answer.parts]


def test_what_was_said_in_sound_that_did_not_come_is_text():
    """Nothing is dropped in silence."""
    assert "hello" == decoded(CHAT, whole({"content": None, "audio": {"id": "a", "transcript": "hello", "data": ""}})).content
    with pytest.raises(MalformedReply, match="base64"):
        decoded(CHAT, whole({"content": None, "audio": {"id": "a", "data": "!"}}))


def test_sound_that_says_nothing_is_none():
    """Snowflake's answers all have it."""
    answer = decoded(CHAT, whole({"content": "hi", "audio": {"data": "", "expires_at": 0, "id": "", "transcript": ""}}))

    assert ("hi", ()) == (answer.content, answer.parts)


@each("heard", [{"text": "Testing"}, "Testing"])
def test_a_transcript_of_gemini_is_the_text(heard):
    """In a part of its own, or beside an empty text."""
    assert "Testing" == gemini({"audioTranscription": heard}).content == gemini({"text": "", "audioTranscription": heard}).content


def begin(index, told, name, text=""):
    """The first piece of a call."""
    return {"index": index, "id": told, "type": "function", "function": {"name": name, "arguments": text}}


def more(index, text, **function):
    """A further one."""
    return {"index": index, "function": {"arguments": text, **function}}


def without(entry, *names):
    """A piece that a server leaves fields out of."""
    return {name: value for name, value in entry.items() if name not in names}


PIECES = {
    "an empty object before the arguments": ([begin(0, "a", "f", "{}"), more(0, '{"x":'), more(0, "1}")], [("f", '{"x":1}')]),
    "an empty object as an object": ([begin(0, "a", "f", {}), more(0, '{"x":1}')], [("f", '{"x":1}')]),
    "an empty object behind an empty text": ([begin(0, "a", "f", ""), more(0, "{}"), more(0, '{"x":1}')], [("f", '{"x":1}')]),
    "an empty object for each of two": (
        [begin(0, "a", "f", "{}"), begin(1, "b", "g", "{}"), more(1, "{"), more(1, "}")],
        [("f", "{}"), ("g", "{}")],
    ),
    "nothing but an empty object": ([begin(0, "a", "f"), more(0, "{}")], [("f", "{}")]),
    "two calls with one id in one delta": (
        [[begin(0, "s", "f", '{"a":1}'), begin(1, "s", "g", '{"b":2}')]],
        [("f", '{"a":1}'), ("g", '{"b":2}')],
    ),
    "two calls with one id": (
        [begin(0, "s", "f", '{"a":'), begin(1, "s", "f", '{"b":'), {**more(0, "1}"), "id": "s"}, more(1, "2}")],
        [("f", '{"a":1}'), ("f", '{"b":2}')],
    ),
    "two calls with one id and index": ([begin(0, "s", "f", '{"a":1}'), begin(0, "s", "g", "{}")], [("f", '{"a":1}'), ("g", "{}")]),
    "two calls without id and index": (
        [[without(begin(0, "", "f", "{}"), "index", "id"), without(begin(0, "", "g"), "index", "id")]],
        [("f", "{}"), ("g", "")],
    ),
    "calls without id and index in pieces": (
        [
            without(begin(0, "", "f", '{"a":'), "index", "id"),
            without(more(0, "1}"), "index"),
            without(begin(0, "", "f", "{}"), "index", "id"),
        ],
        [("f", '{"a":1}'), ("f", "{}")],
    ),
    "calls without id": ([begin(0, "", "f"), begin(1, None, "g"), more(0, "{}"), more(1, "{}")], [("f", "{}"), ("g", "{}")]),
    "index as a float": (
        [begin(0.0, "a", "f", "{"), begin(1.0, "b", "g", "{"), more(0.0, "}"), more(1.0, "}")],
        [("f", "{}"), ("g", "{}")],
    ),
    "index as text": (
        [begin("0", "a", "f", "["), begin("1", "b", "g", "["), more("0", "]"), more("1", "]")],
        [("f", "[]"), ("g", "[]")],
    ),
    "a new id for each piece, the name repeated": (
        [begin(0, "a", "f", '{"x":'), begin(0, "b", "f", "1"), begin(0, "c", "f", "}")],
        [("f", '{"x":1}')],
    ),
    "one id and the name with each piece": (
        [begin(0, "a", "f", '{"x":'), begin(0, "a", "f", "1}"), begin(0, "a", "f", "")],
        [("f", '{"x":1}')],
    ),
    "all of a call again": ([begin(0, "a", "f", '{"x":1}'), begin(0, "a", "f", '{"x":1}')], [("f", '{"x":1}')]),
    "an id before the name": ([begin(0, "a", ""), more(0, "{}", name="f")], [("f", "{}")]),
    "an id that nothing follows": ([begin(0, "a", "f", "{}"), begin(1, "b", "")], [("f", "{}")]),
    "every index zero": (
        [begin(0, "a", "f", '{"x":1}'), begin(0, "b", "f", '{"x":1}'), begin(0, "c", "g", "{}")],
        [("f", '{"x":1}')] * 2 + [("g", "{}")],
    ),
    "arguments that are an object": ([begin(0, "a", "f", {"x": [1]})], [("f", '{"x": [1]}')]),
    "arguments that are a number in between": ([begin(0, "a", "f", '{"x":'), more(0, 0), more(0, "}")], [("f", '{"x":0}')]),
}


@each("pieces, expected", PIECES)
@each("end", [[piece({}, "tool_calls"), b"[DONE]"], [b"[DONE]"], [piece({}, "tool_calls")]])
def test_each_piece_goes_to_its_call(pieces, expected, end):
    """Whatever a server leaves out or repeats, and however the stream ends."""
    deltas = [piece({"tool_calls": part if isinstance(part, list) else [part]}) for part in pieces]

    assert expected == calls(read(CHAT, sse(*deltas, *end)))


def test_the_id_of_a_call_is_told_with_it():
    """Also one that came before the rest."""
    assert ["a"] == [
        call.id
        for call in chat(
            piece({"tool_calls": [begin(0, "a", "")]}), piece({"tool_calls": [more(0, "{}", name="f")]}, "stop")
        ).tool_calls
    ]


BLOCK = {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}}}
STOP = {"type": "content_block_stop", "index": 0}


@each(
    "texts, expected",
    [
        ([{"x": 1}], '{"x": 1}'),
        (["{}", '{"x":', "1}"], '{"x":1}'),
        (["", "{}"], "{}"),
        ([None], "{}"),
        (['{"x":', 0, "}"], '{"x":0}'),
    ],
)
def test_pieces_of_arguments_in_other_formats(texts, expected):
    """Anthropic's and the Responses API's."""
    deltas = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": text}} for text in texts
    ]
    assert [("f", expected)] == calls(anthropic(BLOCK, *deltas, STOP))
    item = {"type": "function_call", "id": "i", "call_id": "c", "name": "f", "arguments": ""}
    added = {"type": "response.output_item.added", "output_index": 0, "item": item}
    pieces = [
        {"type": "response.function_call_arguments.delta", "item_id": "i", "output_index": 0, "delta": text} for text in texts
    ]
    end = {"type": "response.completed", "response": {"status": "completed", "output": [{**item, "arguments": expected}]}}
    assert [("f", expected)] == calls(read(RESPONSES, sse(added, *pieces, end)))


def test_arguments_as_text_are_an_object_all_the_same():
    """Gemini's and Ollama's, whose arguments are objects; what is null in them stays."""
    assert [("f", '{"x":1}')] == calls(gemini({"functionCall": {"name": "f", "args": '{"x":1}'}}))
    assert [("f", '{"x":1}')] == calls(ollama(line(tool_calls=[{"function": {"name": "f", "arguments": '{"x":1}'}}]), line(True)))
    assert [("f", '{"x": null}')] == calls(gemini({"functionCall": {"name": "f", "args": {"x": None}}}))


CALLED = decoded(
    GEMINI, {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": {}}}]}, "finishReason": "STOP"}]}
)


@each("name", [name for name in CODECS if name != "gemini"])
def test_ids_that_we_make_are_unique(name):
    """Two answers of one conversation, whole or streamed, never share one; within a stream it stays the same."""
    codec = CODECS[name]

    def streamed():
        writer = codec.writer()
        return read(codec, b"".join([writer.write(chunk) for chunk in unfold(CALLED)]) + writer.end())

    answers = [
        read(codec, codec.write_response(CALLED)) if name == "ollama_chat" else codec.decode(codec.write_response(CALLED))
        for _ in range(2)
    ]
    ids = [call.id for answer in (*answers, streamed(), streamed()) for call in answer.tool_calls]
    assert (4, True) == (len(set(ids)), all(ids))


def test_ids_of_ollamas_calls_are_unique():
    """Most of its servers send none."""
    answers = [ollama(line(tool_calls=[{"function": {"name": "f"}}] * 2), line(True)) for _ in range(2)]

    assert 4 == len({call.id for answer in answers for call in answer.tool_calls})


USAGES = {
    "Moonshot": ({"prompt_tokens": 19, "completion_tokens": 13, "total_tokens": 32, "cached_tokens": 10}, (19, 13, 10, 0, 0)),
    "cache_creation_tokens": (
        {
            "prompt_tokens": 1000,
            "completion_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 600, "cache_creation_tokens": 300},
        },
        (1000, 7, 600, 300, 0),
    ),
    "names of the Responses API": (
        {
            "input_tokens": 50,
            "output_tokens": 7,
            "total_tokens": 57,
            "input_tokens_details": {"cached_tokens": 8},
            "output_tokens_details": {"reasoning_tokens": 2},
        },
        (50, 7, 8, 0, 2),
    ),
    "both, one of them zero": (
        {"prompt_tokens": 0, "completion_tokens": 0, "input_tokens": 50, "output_tokens": 7},
        (50, 7, 0, 0, 0),
    ),
    "Anthropic's names beside OpenAI's": (
        {
            "prompt_tokens": 1000,
            "completion_tokens": 7,
            "total_tokens": 1007,
            "cache_read_input_tokens": 600,
            "cache_creation_input_tokens": 300,
        },
        (1000, 7, 600, 300, 0),
    ),
    "the same, counted beside the prompt": (
        {
            "prompt_tokens": 100,
            "completion_tokens": 7,
            "total_tokens": 1007,
            "cache_read_input_tokens": 600,
            "cache_creation_input_tokens": 300,
        },
        (1000, 7, 600, 300, 0),
    ),
    "Gemini's thoughts": ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 45}, (10, 35, 0, 0, 30)),
    "camels": ({"promptTokens": 10, "completionTokens": 5, "totalTokens": 15}, (10, 5, 0, 0, 0)),
    "reasoning at the top": (
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "reasoning_tokens": 2},
        (10, 5, 0, 0, 2),
    ),
}


def counts(usage: Usage):
    """What is compared."""
    return (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens, usage.reasoning_tokens)


@each("told, expected", USAGES)
def test_usage_is_counted_in_whatever_words(told, expected):
    """And wherever it stands."""
    in_choice = piece({}, "stop")
    in_choice["choices"][0]["usage"] = told

    assert expected == counts(decoded(CHAT, whole({"content": "hi"}, usage=told)).usage)
    assert expected == counts(chat(piece({"content": "hi"}), in_choice).usage)
    assert expected == counts(chat(piece({"content": "hi"}, "stop", x_groq={"usage": told})).usage)


ZEROS = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "prompt_tokens_details": None}


def test_zeros_wipe_nothing():
    """Gateways end a stream with a record of zeros, or fill in those that they do not know."""
    real = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "prompt_tokens_details": {"cached_tokens": 4}}
    for last in (ZEROS, {**ZEROS, "completion_tokens": 5}, {"prompt_tokens_details": {"cached_tokens": 0}}):
        answer = chat(piece({"content": "x"}, "stop", usage=real), {"choices": [], "usage": last})
        assert (9, last.get("completion_tokens") or 3, 4, 0, 0) == counts(answer.usage)
    pieces = [
        {
            "candidates": [{"content": {"parts": [{"text": "a"}]}}],
            "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 2},
        },
        {"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 0, "candidatesTokenCount": 3}},
    ]
    assert (9, 3, 0, 0, 0) == counts(read(GEMINI, sse(*pieces)).usage)
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"input_tokens": 0, "output_tokens": 5}}
    assert 3 == anthropic(end).usage.input_tokens


def test_a_later_record_of_usage_counts():
    """Usage is a sum so far, not a difference; what the later one does not say at all is as it says."""
    assert {"a": 2, "b": {"c": 1, "d": 3}} == recount({"a": 1, "b": {"c": 1, "d": 2}}, {"a": 2, "b": {"c": 0, "d": 3}})


@each("value, number", [(1, 1), (1.0, 1), ("1", 1), (True, None), (1.5, None), ("x", None), (None, None), ("9" * 99, None)])
def test_a_place_is_read_in_every_spelling(value, number):
    """As a number, a float, or text."""
    assert number == number_in(value)


@each("value, text", [(None, ""), ("x", "x"), ({"é": 1}, '{"é": 1}'), (0, "0")])
def test_arguments_are_text(value, text):
    """Some servers send what they mean."""
    assert text == arguments_in(value)


ONE, TWO, END = piece({"content": "he"}), piece({"content": "y"}), piece({}, "stop")
BARE = [json.dumps(document).encode() for document in (ONE, TWO, END)]
LINES = [b"data: " + document for document in BARE]
BORDERS = {
    "one line end between events": b"\n".join([*LINES, b"data: [DONE]", b"", b""]),
    "and none at the end": b"\n".join([*LINES, b"data: [DONE]"]),
    "and no end marker": b"\n".join(LINES),
    "one CRLF between events": b"\r\n".join([*LINES, b"data: [DONE]", b""]),
    "one CR between events": b"\r".join([*LINES, b"data: [DONE]", b""]),
    "CR alone": b"\r\r".join([*LINES, b"data: [DONE]", b""]),
    "names, and one line end between": b"\n".join([b"event: chunk\n" + one for one in LINES]) + b"\n",
    "ids, and one line end between": b"\n".join([b"id: 1\n" + one for one in LINES]) + b"\n",
    "data twice": b"".join([b"data: " + one + b"\n\n" for one in LINES]) + b"data: data: [DONE]\n\n",
    "data thrice without blanks": b"".join([b"data:data:" + one + b"\n\n" for one in LINES]),
    "data twice and one line end between": b"\n".join([b"data: " + one for one in LINES]) + b"\n",
    "JSON lines": b"\n".join(BARE) + b"\n",
    "JSON lines without an end": b"\n".join(BARE),
    "JSON lines with empty ones between": b"\r\n\r\n".join(BARE) + b"\r\n\r\n",
    "JSON lines and an end marker": b"\n".join([*BARE, b"[DONE]"]),
    "JSON lines that become events": BARE[0] + b"\n" + b"\n".join(LINES[1:]) + b"\n",
    "documents one behind another": b"".join(BARE),
    "a list of all events": b"[" + b",\n".join(BARE) + b"]",
    "a list in an event": b"data: [" + b",".join(BARE) + b"]\n\n",
    "no empty line behind the last event": b"\n\n".join(LINES),
    "comments between": b": ping\n\n" + b"\n: ping\n\n".join(LINES) + b"\n\n",
    "a byte order mark": b"\xef\xbb\xbf" + b"\n\n".join(LINES) + b"\n\n",
    "a byte order mark before lines": b"\xef\xbb\xbf" + b"\n".join(BARE),
    "a long line": b'data: {"pad":"' + b"x" * 900_000 + b'"}\n\n' + b"\n\n".join(LINES) + b"\n\n",
}


@each("body", BORDERS)
def test_events_are_found_whatever_parts_them(body):
    """Proxies drop empty lines, and servers of lines promise events; any cut gives the same."""
    sizes = (100_000,) if len(body) > 10_000 else (1, 7, 61, 100_000)

    assert [("hey", "stop")] * len(sizes) == [
        (answer.content, answer.finish_reason) for size in sizes for answer in [read(CHAT, body, size)]
    ]


def test_events_without_empty_lines_come_as_they_arrive():
    """The next one's beginning tells the end of the last; however many there are."""
    decoder = CHAT.decoder()
    chunks = [chunk for _ in range(3_000) for chunk in decoder.feed(LINES[0] + b"\n")]

    assert 2_999 == len(chunks)
    assert "he" * 3_000 + "y" == fold([*chunks, *decoder.feed(b"\n".join(LINES[1:])), *decoder.finish()]).content


@each("body", [BARE[0], BARE[0] + b"\n", b"\n".join(BARE[:2]), b"".join(BARE[:2]), b"[" + b",".join(BARE[:2]) + b"]", LINES[0]])
def test_pieces_without_an_end_are_no_answer(body):
    """None of these is a whole answer, although its first piece looks like one."""
    with pytest.raises(StreamInterrupted):
        read_or_raise(body)


def read_or_raise(body):
    """The answer, or what went wrong."""
    answer, error = decode_stream(CHAT, [body])
    if error is not None:
        raise error
    return answer


def test_an_event_that_breaks_off_is_left_out():
    """Nobody knows what would have followed; the answer before it was complete."""
    assert "hey" == read(CHAT, b"\n\n".join(LINES) + b'\n\ndata: {"choices":[{"delta":{"content":"!').content


def test_gemini_and_ollama_are_found_in_each_others_framing():
    """Gemini as lines and as a list; Ollama as events."""
    pieces = [{"candidates": [{"content": {"parts": [{"text": text}]}, "index": 0}]} for text in ("he", "y")]
    pieces.append({"candidates": [{"finishReason": "STOP", "index": 0}]})
    told = [json.dumps(one).encode() for one in pieces]
    for body in (b"\n".join(told), b"[" + b",\r\n".join(told) + b"]", b"\n".join([b"data: " + one for one in told])):
        assert "hey" == read(GEMINI, body).content == read(GEMINI, body, 1).content
    lines = [line(content="he"), line(content="y"), line(True)]
    assert (
        "hey"
        == read(OLLAMA, sse(*lines)).content
        == read(OLLAMA, b"".join([b"data: " + json.dumps(one).encode() + b"\n" for one in lines])).content
    )


def asked(codec, body, path=""):
    """A client's request, as it was read."""
    return codec.read_request(json.dumps(body).encode(), path).request


def test_a_clients_empty_fields_are_absent():
    """Clients in typed languages write every field of a record: none of it is sent on, and no call is made of it."""
    turns = [
        {"role": "system", "content": "s", "reasoning_content": "", "refusal": ""},
        {"role": "user", "content": "q", "name": "", "tool_call_id": "", "audio": {}},
        {
            "role": "assistant",
            "content": "a",
            "tool_calls": [{"id": "", "type": "function", "function": NOTHING}],
            "function_call": NOTHING,
        },
        {"role": "user", "content": "z"},
    ]
    settings = {
        "tool_choice": "",
        "reasoning_effort": "",
        "n": 0,
        "max_tokens": 0,
        "user": "",
        "stop": "",
        "metadata": {},
        "temperature": 0,
    }
    request = asked(CHAT, {"model": "m", "messages": turns, **settings})
    sent = json.loads(CHAT.encode(request, stream=False))

    assert {"model", "messages", "temperature"} == set(sent)
    assert [{"role": turn["role"], "content": turn["content"]} for turn in turns] == sent["messages"]
    assert b"tool_use" not in ANTHROPIC.encode(request, stream=False)


def test_a_clients_text_beside_empty_fields_is_read():
    """Gemini's parts and Ollama's turns."""
    part = {
        "text": "hi",
        "functionCall": None,
        "functionResponse": {"name": "", "response": {}},
        "inlineData": {"mimeType": "", "data": ""},
    }
    request = asked(
        GEMINI,
        {"contents": [{"role": "user", "parts": [{**part, "thoughtSignature": "", "fileData": {}}]}]},
        "/v1/models/m:generateContent",
    )
    assert "hi" == request.messages[0].text
    turn = {
        "role": "assistant",
        "content": "hi",
        "thinking": "",
        "images": [],
        "tool_name": "",
        "tool_calls": [{"function": {"name": "", "arguments": {}}}],
    }
    read_turn = asked(OLLAMA, {"model": "m", "messages": [turn], "format": "", "options": {}, "keep_alive": ""}).messages[0]
    assert ("hi", (), None) == (read_turn.text, read_turn.tool_calls, read_turn.name)


def test_a_clients_empty_fields_of_the_other_formats_are_absent():
    """Anthropic's and the Responses API's."""
    block = {"type": "text", "text": "q", "citations": [], "cache_control": {}}
    body = {
        "model": "m",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": [block]}],
        "system": "",
        "thinking": {},
        "metadata": {},
        "tool_choice": {},
    }
    assert {"model", "max_tokens", "messages"} == set(json.loads(ANTHROPIC.encode(asked(ANTHROPIC, body), stream=False)))
    body = {
        "model": "m",
        "input": "q",
        "previous_response_id": "",
        "reasoning": {},
        "text": {},
        "tools": [],
        "max_output_tokens": 0,
    }
    assert {"model", "input"} == set(json.loads(RESPONSES.encode(asked(RESPONSES, body), stream=False)))


@each("blank", [" ", "  ", "\n", "\t "])
@each("again", [{}, {"id": "a"}])
def test_a_blank_piece_of_arguments_is_one(blank, again):
    """A token may be a blank alone, above all in code that a model writes."""
    begin = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": '{"a":"x'}}
    pieces = [begin, *[{"index": 0, **again, "function": {"arguments": text}} for text in (blank, 'y"}')]]
    template = '{"choices":[{"index":0,"delta":{"tool_calls":[%s]}}]}'
    answer = answer_of(CHAT, template, tuple(map(json.dumps, pieces)), piece({}, "tool_calls"))

    assert [("f", '{"a":"x' + blank + 'y"}')] == calls(answer)


def test_a_custom_call_keeps_blanks_and_braces():
    """Its input is a text."""
    begin = {"index": 0, "id": "a", "type": "custom", "custom": {"name": "f", "input": "{}"}}
    pieces = [begin, *[{"index": 0, "custom": {"input": text}} for text in ("\n", "y")]]
    template = '{"choices":[{"index":0,"delta":{"tool_calls":[%s]}}]}'

    assert [("f", "{}\ny")] == calls(answer_of(CHAT, template, tuple(map(json.dumps, pieces)), piece({}, "tool_calls")))


def google_said(*parts, finish=None, **more):
    """One event of Google's, or a whole answer."""
    return {
        "candidates": [{"content": {"role": "model", "parts": list(parts)}, **({"finishReason": finish} if finish else {}), **more}]
    }


@each("zero, one", [("0", "1"), (0.0, 1.0), (None, "1"), (0, 1)])
def test_answers_are_told_apart_by_a_place_in_any_form(zero, one):
    """As text, as a float, and the first without any, which Google leaves out."""
    said = [(zero, "a", None), (one, "b", None), (zero, "c", "STOP"), (one, "d", "STOP")]
    placed = [(text, finish, {} if index is None else {"index": index}) for index, text, finish in said]
    answer = read(GEMINI, sse(*[google_said({"text": text}, finish=finish, **place) for text, finish, place in placed]))

    assert ["ac", "bd"] == [choice.content for choice in answer.choices]


def test_answers_without_places_stand_in_their_order():
    """Several in one event."""
    two = {"candidates": [{"content": {"parts": [{"text": text}]}, "finishReason": "STOP"} for text in ("a", "b")]}
    answers = (read(GEMINI, sse(two)), decoded(GEMINI, two))

    assert [["a", "b"]] * 2 == [[choice.content for choice in answer.choices] for answer in answers]


GOOGLE_THOUGHT = {"text": "th", "thought": True}
GOOGLE_CALL = {"functionCall": {"name": "f", "args": {"a": 1}}}


@each(
    "pieces, last, expected",
    [
        ([[{"text": "Hel"}], [{"text": "lo"}]], [{"text": "Hello"}], ("Hello", "", 0)),
        ([[{"text": "Hel"}], [{"text": "lo"}]], [{"text": "Hel"}, {"text": "lo"}], ("Hello", "", 0)),
        ([[{"text": "Hel"}], [{"text": "lo"}]], [{"text": " you"}], ("Hello you", "", 0)),
        ([[{"text": "no"}]], [{"text": "no"}], ("nono", "", 0)),
        (
            [[GOOGLE_THOUGHT], [GOOGLE_THOUGHT], [{"text": "x"}]],
            [{"text": "thth", "thought": True}, {"text": "y"}],
            ("xy", "thth", 0),
        ),
        ([[{"text": "a"}], [{"text": "b"}, GOOGLE_CALL]], [{"text": "ab"}, GOOGLE_CALL], ("ab", "", 1)),
        ([[GOOGLE_CALL]], [GOOGLE_CALL], ("", "", 2)),
    ],
)
def test_googles_last_piece_may_be_all_once_more(pieces, last, expected):
    """Gateways that stream for a client and then add the whole; the same call twice alone may be meant so."""
    answer = read(GEMINI, sse(*[google_said(*parts) for parts in pieces], google_said(*last, finish="STOP")))

    assert expected == (answer.content, answer.reasoning, len(answer.tool_calls))


@each("content", [{"parts": {"text": "hi"}}, {"parts": "hi"}, {"parts": ["h", {"text": "i"}]}, "hi"])
def test_googles_parts_in_other_shapes(content):
    """One alone, or a text."""
    document = {"candidates": [{"content": content, "finishReason": "STOP"}]}

    assert ["hi"] * 3 == [
        decoded(GEMINI, document).content,
        read(GEMINI, sse(document)).content,
        decoded(GEMINI, {"candidates": document["candidates"][0]}).content,
    ]


def test_googles_answers_in_snake_case():
    """As Google's own libraries print them, and gateways that are built on those send them."""
    call = {"function_call": {"name": "f", "args": {"a_b": 1}, "id": "c"}, "thought_signature": "c2ln"}
    picture = {"inline_data": {"mime_type": "image/png", "data": "aGk="}}
    first = {"candidates": [{"content": {"parts": [{"text": "hi"}]}}], "usage_metadata": {"prompt_token_count": 2}}
    last = {
        "candidates": [{"content": {"parts": [picture, call]}, "finish_reason": "STOP"}],
        "usage_metadata": {"prompt_token_count": 2, "candidates_token_count": 5},
        "model_version": "m",
        "response_id": "r",
    }
    answer = read(GEMINI, sse(first, last))

    assert ("hi", [("f", '{"a_b": 1}')], "c2ln") == (answer.content, calls(answer), answer.tool_calls[0].signature)
    assert ("tool_calls", "m", "r", 2, 5) == (
        *(answer.finish_reason, answer.model, answer.response_id),
        *(answer.usage.input_tokens, answer.usage.output_tokens),
    )
    assert [b"hi"] == [part.data for part in answer.parts if isinstance(part, ImagePart)]


@each("parts", [None, [], [{"text": ""}], [{"text": "be"}], [{"text": "th", "thought": True}]])
def test_a_prompt_that_google_blocks_ends_an_answer_that_has_begun(parts):
    """Behind an empty one, or a piece of one."""
    begun = {"candidates": [{"index": 0, **({} if parts is None else {"content": {"parts": parts}})}]}
    blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
    answers = [read(GEMINI, sse(begun, blocked)), read(GEMINI, sse({**begun, **blocked})), decoded(GEMINI, {**begun, **blocked})]

    assert [("content_filter", "PROHIBITED_CONTENT")] * 3 == [
        (answer.finish_reason, answer.finish_reason_raw) for answer in answers
    ]
    assert {"be" if parts == [{"text": "be"}] else ""} == {answer.content for answer in answers}


def test_a_prompt_that_is_not_blocked_takes_nothing_from_an_answer():
    """Google rates every prompt."""
    end = google_said({"text": "x"}, finish="STOP", index=0)

    assert "stop" == decoded(GEMINI, {**end, "promptFeedback": {"blockReason": "SAFETY"}}).finish_reason
    assert "stop" == decoded(GEMINI, {**end, "promptFeedback": {"safetyRatings": [{"probability": "LOW"}]}}).finish_reason


ANTHROPIC_START = {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 3}}}
ANTHROPIC_END = ({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, {"type": "message_stop"})


def begun(index, **block):
    """The start of a block of Anthropic's."""
    return {"type": "content_block_start", "index": index, "content_block": block}


def grown(index, **delta):
    """A piece of one."""
    return {"type": "content_block_delta", "index": index, "delta": delta}


@each(
    "content, reason, expected",
    [
        ("hi", "end_turn", ("hi", "stop")),
        (None, "refusal", ("", "content_filter")),
        ({"type": "text", "text": "hi"}, "end_turn", ("hi", "stop")),
        (["h", {"type": "text", "text": "i"}], "max_tokens", ("hi", "length")),
        ([], "end_turn", ("", "stop")),
    ],
)
def test_anthropics_content_in_other_shapes(content, reason, expected):
    """A text, a block alone, or none at all of a refusal."""
    answer = decoded(ANTHROPIC, {"type": "message", "content": content, "stop_reason": reason})

    assert expected == (answer.content, answer.finish_reason)


@each("block", [{"id": "", "name": "", "input": {}}, {"id": None, "name": None, "input": None}, {"id": "", "name": ""}])
def test_a_block_of_a_call_that_says_nothing_is_none(block):
    """Whole and streamed; what comes later of it begins it."""
    zero = {"type": "tool_use", **block}
    said = {"type": "message", "content": [{"type": "text", "text": "hi"}, zero], "stop_reason": "end_turn"}
    stop = {"type": "content_block_stop", "index": 0}
    streamed = read(ANTHROPIC, sse(ANTHROPIC_START, begun(0, **zero), stop, *ANTHROPIC_END))
    late = read(
        ANTHROPIC,
        sse(ANTHROPIC_START, begun(0, **zero), grown(0, type="input_json_delta", partial_json='{"a":1}'), stop, *ANTHROPIC_END),
    )

    assert ([], "stop") == (calls(decoded(ANTHROPIC, said)), decoded(ANTHROPIC, said).finish_reason)
    assert ([], "stop") == (calls(streamed), streamed.finish_reason)
    assert ['{"a":1}'] == [call.arguments for call in late.tool_calls]


def test_anthropics_events_without_types():
    """Blocks, pieces and events are known by their fields."""
    thought = [begun(0, thinking="t"), grown(0, thinking="h"), grown(0, signature="s")]
    call = [begun(2, id="c", name="f", input={}), grown(2, partial_json='{"a":1}')]
    events = [ANTHROPIC_START, *thought, begun(1, text=""), grown(1, text="hi"), *call, ANTHROPIC_END[0]]
    bare = [{name: value for name, value in event.items() if name != "type"} for event in events]
    for said in (events, bare):
        answer = read(ANTHROPIC, sse(*said, {"type": "message_stop"}))
        assert ("hi", "th", [("f", '{"a":1}')]) == (answer.content, answer.reasoning, calls(answer))
        assert ["s"] == [part.signature for part in answer.parts if isinstance(part, ReasoningPart)]


def test_anthropics_blocks_that_nothing_ends():
    """Their arguments, signatures and citations count all the same, and in their order."""
    source = {"type": "web_search_result_location", "url": "u", "cited_text": "c"}
    events = [
        *(begun(0, type="thinking", thinking=""), grown(0, type="thinking_delta", thinking="th")),
        *(grown(0, type="signature_delta", signature="s"), begun(1, type="text", text="hi", citations=[source])),
        begun(2, type="tool_use", id="t", name="f", input={"a": 1}),
    ]
    for said in (events, [{**event, "index": 0} for event in events]):
        for end in (ANTHROPIC_END, ANTHROPIC_END[:1], ANTHROPIC_END[1:]):
            answer = read(ANTHROPIC, sse(ANTHROPIC_START, *said, *end))
            assert ("hi", "th", [("f", '{"a": 1}')]) == (answer.content, answer.reasoning, calls(answer))
            assert (ReasoningPart, "s") == (type(answer.parts[0]), answer.parts[0].signature)
            assert ["u"] == [citation.url for citation in answer.citations]


@each("index", ["0", 0.0])
def test_anthropics_blocks_with_places_in_other_forms(index):
    """As text and as a float."""
    one, other = begun(index, type="tool_use", id="c", name="f", input={}), begun(1, type="tool_use", id="d", name="g", input={})
    pieces = [grown(index, type="input_json_delta", partial_json='{"a":'), grown(index, type="input_json_delta", partial_json="1}")]
    answer = read(ANTHROPIC, sse(ANTHROPIC_START, one, other, *pieces, *ANTHROPIC_END))

    assert [("f", '{"a":1}'), ("g", "{}")] == calls(answer)


IN_OTHER_WORDS = {
    "chat": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
    "Bedrock": {"inputTokens": 5, "outputTokens": 7, "totalTokens": 12},
    "Bedrock's metrics": {"inputTokenCount": 5, "outputTokenCount": 7},
    "Gemini": {"promptTokenCount": 5, "candidatesTokenCount": 4, "thoughtsTokenCount": 3, "totalTokenCount": 12},
    "Gemini, spelt otherwise": {"prompt_token_count": 5, "candidates_token_count": 7, "total_token_count": 12},
    "Ollama": {"prompt_eval_count": 5, "eval_count": 7},
    "watsonx": {"input_token_count": 5, "generated_token_count": 7},
    "zeros beside": {"input_tokens": 0, "output_tokens": 0, "prompt_tokens": 5, "completion_tokens": 7},
}


@each("usage", IN_OTHER_WORDS)
def test_usage_in_the_words_of_another_vendor(usage):
    """Gateways translate answers and forget the counts."""
    answers = [
        decoded(CHAT, whole({"content": "hi"}, usage=usage)),
        decoded(RESPONSES, {"status": "completed", "output": [], "usage": usage}),
        decoded(ANTHROPIC, {"type": "message", "content": [], "stop_reason": "end_turn", "usage": usage}),
        decoded(GEMINI, {**google_said({"text": "x"}, finish="STOP"), "usageMetadata": usage}),
        decoded(GEMINI, {**google_said({"text": "x"}, finish="STOP"), "usage": usage}),
        decoded(OLLAMA, {"message": {"content": "x"}, "done": True, "usage": usage}),
    ]

    assert [(5, 7)] * len(answers) == [(answer.usage.input_tokens, answer.usage.output_tokens) for answer in answers]


@each("name", ["cacheReadInputTokens", "num_cached_tokens", "cached_tokens", "cachedContentTokenCount", "cached_input_tokens"])
def test_what_was_read_from_a_cache_has_many_names(name):
    """In the record itself."""
    chat_usage = {"prompt_tokens": 5, "completion_tokens": 7, name: 3}
    responses_usage = {"input_tokens": 5, "output_tokens": 7, name: 3}

    assert 3 == decoded(CHAT, whole({"content": "hi"}, usage=chat_usage)).usage.cache_read_tokens
    assert 3 == decoded(RESPONSES, {"status": "completed", "output": [], "usage": responses_usage}).usage.cache_read_tokens


@each(
    "usage, expected",
    [
        ({"prompt_cache_hit_tokens": 3, "prompt_cache_miss_tokens": 2, "completion_tokens": 7}, (5, 7, 3)),
        ({"prompt_tokens": 0, "prompt_cache_miss_tokens": 2, "completion_tokens": 7}, (2, 7, 0)),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 0},
                "input_tokens_details": {"cached_tokens": 3},
            },
            (5, 7, 3),
        ),
        ({"inputTokens": 2, "outputTokens": 7, "cacheReadInputTokens": 3, "totalTokens": 12}, (5, 7, 3)),
    ],
)
def test_counts_that_others_tell(usage, expected):
    """A sum that only its parts tell, details of zeros before others, and what is counted beside the prompt."""
    read_usage = decoded(CHAT, whole({"content": "hi"}, usage=usage)).usage

    assert expected == (read_usage.input_tokens, read_usage.output_tokens, read_usage.cache_read_tokens)


@each("zero", [{}, {"usage": None}, {"usage": {"prompt_tokens": 0, "completion_tokens": 0}}, {"usage": {}}])
def test_usage_beside_one_of_zeros(zero):
    """In the choice, in the message or a piece of it, in Groq's own field, and in llama.cpp's timings."""
    use = {"prompt_tokens": 5, "completion_tokens": 7}
    choice = {"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}
    places = [
        {"choices": [{**choice, "usage": use}]},
        {"choices": [{**choice, "message": {"content": "hi", "usage": use}}]},
        {"choices": [choice], "x_groq": {"usage": use}},
        {"choices": [choice], "timings": {"cache_n": 2, "prompt_n": 3, "prompt_ms": 1.5, "predicted_n": 7}},
    ]
    answers = [decoded(CHAT, {**document, **zero}) for document in places]
    answers += [
        chat(
            {
                "choices": [
                    {("delta" if name == "message" else name): value for name, value in one.items()} for one in said["choices"]
                ],
                **{name: value for name, value in {**said, **zero}.items() if name != "choices"},
            }
        )
        for said in places
    ]
    answers.append(chat(piece({"content": "hi", "usage": use}), {**piece({}, "stop"), **zero}))

    assert [(5, 7)] * len(answers) == [(answer.usage.input_tokens, answer.usage.output_tokens) for answer in answers]
    assert 2 == answers[3].usage.cache_read_tokens


def test_zeros_of_a_last_event_wipe_no_count():
    """Of an event before it: Responses' that is in progress, and a line of Ollama's."""
    going = {"type": "response.in_progress", "response": {"usage": {"input_tokens": 5, "output_tokens": 7}}}
    for zero in ({"input_tokens": 0, "output_tokens": 0}, {}, None):
        end = {"type": "response.completed", "response": {"status": "completed", "output": [], "usage": zero}}
        answer = read(RESPONSES, sse(going, end))
        assert (5, 7) == (answer.usage.input_tokens, answer.usage.output_tokens)
    line = {"model": "q", "created_at": "t", "message": {"role": "assistant", "content": "a"}, "done": False}
    for zeros in ({"prompt_eval_count": 0, "eval_count": 0}, {}):
        lines = [{**line, "prompt_eval_count": 5, "eval_count": 7}, {**line, "done": True, "done_reason": "stop", **zeros}]
        answer = read(OLLAMA, b"".join([json.dumps(one).encode() + b"\n" for one in lines]))
        assert (5, 7) == (answer.usage.input_tokens, answer.usage.output_tokens)


@each("place", ["in the delta", "beside the delta", "at the stop"])
def test_usage_at_the_end_of_anthropics_stream(place):
    """Wherever it stands there; zeros behind it wipe nothing."""
    use = {"input_tokens": 7, "output_tokens": 9}
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    stop = {"type": "message_stop", "usage": {"input_tokens": 0, "output_tokens": 0}}
    ends = {
        "in the delta": ({**delta, "delta": {"stop_reason": "end_turn", "usage": use}}, stop),
        "beside the delta": ({**delta, "usage": use}, stop),
        "at the stop": (delta, {**stop, "usage": use}),
    }
    answer = read(ANTHROPIC, sse({"type": "message_start", "message": {"id": "m"}}, *ends[place]))

    assert (7, 9) == (answer.usage.input_tokens, answer.usage.output_tokens)


@each(
    "told, expected",
    [
        ({"cost": 0.25}, "0.25"),
        ({"cost": {"total_cost": 0.25}}, "0.25"),
        ({"cost": {"total_cost": 0.25, "currency": "usd"}}, "0.25"),
        ({"cost": 0.25, "currency": "USD"}, "0.25"),
        ({"cost": {"total_cost": 0.25, "currency": "EUR"}}, None),
        ({"cost": 0.25, "currency": "CNY"}, None),
        ({"cost": 0.25, "cost_currency": "credits"}, None),
        ({"cost": {"total_cost": 0.25}, "currency": "RUB"}, None),
    ],
)
def test_a_cost_in_another_currency_is_none(told, expected):
    """What is told is dollars unless it says something else; a price list is better than yuan taken for dollars."""
    counts = {"input_tokens": 1, "output_tokens": 1}
    costs = [
        decoded(CHAT, whole({"content": "x"}, usage={"prompt_tokens": 1, "completion_tokens": 1, **told})).usage.cost,
        decoded(ANTHROPIC, {"type": "message", "content": [], "stop_reason": "end_turn", "usage": {**counts, **told}}).usage.cost,
        decoded(RESPONSES, {"status": "completed", "output": [], "usage": {**counts, **told}}).usage.cost,
    ]

    assert [expected] * 3 == [None if cost is None else str(cost) for cost in costs]


RECORD = {"prompt_tokens": 5, "completion_tokens": 7}
ELSEWHERE = {
    "Google's name": {"usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 7}},
    "Google's name in snake case": {"usage_metadata": {"prompt_token_count": 5, "candidates_token_count": 7}},
    "LangChain": {"response_metadata": {"token_usage": RECORD}},
    "a name of its own": {"tokenUsage": {"promptTokens": 5, "completionTokens": 7}},
    "Bedrock's metrics": {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 5, "outputTokenCount": 7}},
    "Cohere": {"meta": {"billed_units": {"input_tokens": 5, "output_tokens": 7}}},
    "Cohere, new": {"usage": {"billed_units": {"input_tokens": 5, "output_tokens": 7}}},
    "an envelope": {"data": {"usage": RECORD}},
    "the answer itself": {"prompt_eval_count": 5, "eval_count": 7},
}


@each("beside", ELSEWHERE)
def test_usage_elsewhere_in_an_answer(beside):
    """Whole, and in the last event of a stream, with a choice or without."""
    answers = [
        decoded(CHAT, whole({"content": "hi"}, **beside)),
        chat(piece({"content": "hi"}), piece({}, "stop", **beside)),
        chat(piece({"content": "hi"}), piece({}, "stop"), {"choices": [], **beside}),
    ]
    assert [(5, 7)] * 3 == [(answer.usage.input_tokens, answer.usage.output_tokens) for answer in answers]


DETAILS = {
    "LangChain": (
        {"input_token_details": {"cache_read": 3, "cache_creation": 1}, "output_token_details": {"reasoning": 2}},
        (3, 1, 2),
    ),
    "camels": ({"promptTokensDetails": {"cachedTokens": 3}, "completionTokensDetails": {"reasoningTokens": 2}}, (3, 0, 2)),
    "new-api": ({"prompt_tokens_details": {"cached_tokens": 3, "cached_creation_tokens": 1}}, (3, 1, 0)),
    "thinking": ({"completion_tokens_details": {"thinking_tokens": 2}}, (0, 0, 2)),
    "an object where a count belongs": ({"cache_creation": {"ephemeral_1h_input_tokens": 0}}, (0, 0, 0)),
}


@each("details, expected", DETAILS)
def test_details_of_usage_in_other_words(details, expected):
    """What was read from and written to the cache, and thought."""
    usage = decoded(CHAT, whole({"content": "hi"}, usage={"prompt_tokens": 50, "completion_tokens": 7, **details})).usage
    assert (50, 7, *expected) == counts(usage)
    assert "implausible_count" != usage.cost_status


def test_usage_of_a_gateway_to_anthropic():
    """What is cached is counted beside the input, as the total shows, or by its kinds alone; Bedrock counts at the very end."""
    told = {
        "input_tokens": 5,
        "output_tokens": 7,
        "cache_read_input_tokens": 3,
        "cache_creation_input_tokens": 1,
        "total_tokens": 16,
    }
    assert (9, 7, 3, 1, 0) == counts(decoded(RESPONSES, {"status": "completed", "output": [], "usage": told}).usage)
    kinds = {
        "input_tokens": 5,
        "output_tokens": 7,
        "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 1},
    }
    usage = decoded(ANTHROPIC, {"type": "message", "content": [], "stop_reason": "end_turn", "usage": kinds}).usage
    assert (8, 3, 1) == (usage.input_tokens, usage.cache_write_tokens, usage.cache_write_long_tokens)
    metrics = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 5, "outputTokenCount": 7}}
    events = [{"type": "message_start", "message": {"id": "m"}}, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}]
    assert (5, 7, 0, 0, 0) == counts(read(ANTHROPIC, sse(*events, {"type": "message_stop", **metrics})).usage)


@each("told", [{"totalTokenCount": 12}, {"responseTokenCount": 7}, {"responseTokenCount": 7, "totalTokenCount": 12}])
def test_what_google_wrote_is_counted_by_other_names(told):
    """Or by the total alone, where all of it were thoughts."""
    answer = decoded(GEMINI, {**google_said({"text": "x"}, finish="STOP"), "usageMetadata": {"promptTokenCount": 5, **told}})
    assert (5, 7) == (answer.usage.input_tokens, answer.usage.output_tokens)


def test_a_text_and_a_call_in_one_part_of_googles():
    """Neither is lost."""
    answer = gemini({"text": "hi", "functionCall": {"name": "f", "args": {"a": 1}}})
    assert ("hi", [("f", '{"a": 1}')]) == (answer.content, calls(answer))


def test_googles_answer_in_an_envelope():
    """Of Code Assist, whole and in pieces."""
    assert "hi" == decoded(GEMINI, {"response": google_said({"text": "hi"}, finish="STOP")}).content
    pieces = [{"response": google_said({"text": "h"})}, {"response": google_said({"text": "i"}, finish="STOP")}]
    assert "hi" == read(GEMINI, sse(*pieces)).content


@each(
    "block",
    [{"type": "thinking", "thinking": "", "signature": ""}, {"type": "redacted_thinking", "data": ""}, {"type": "thinking"}],
)
def test_a_thought_of_anthropics_that_says_nothing_is_none(block):
    """One with a signature alone is one: it is wanted back."""
    message = {"type": "message", "stop_reason": "end_turn"}
    text = {"type": "text", "text": "hi"}
    assert not [part for part in decoded(ANTHROPIC, {**message, "content": [block, text]}).parts if isinstance(part, ReasoningPart)]
    signed = decoded(ANTHROPIC, {**message, "content": [{"type": "thinking", "thinking": "", "signature": "s"}, text]})
    assert ["s"] == [part.signature for part in signed.parts if isinstance(part, ReasoningPart)]


def test_anthropics_whole_answer_as_one_event():
    """Of a gateway that could not stream."""
    message = {
        "type": "message",
        "id": "m",
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3},
    }
    answer = read(ANTHROPIC, sse(message))
    assert ("hi", "stop", 3) == (answer.content, answer.finish_reason, answer.usage.input_tokens)


def test_arguments_at_the_end_of_anthropics_block():
    """Where its deltas had none."""
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    start = {"type": "content_block_start", "index": 0, "content_block": call}
    stop = {"type": "content_block_stop", "index": 0, "content_block": {**call, "input": {"a": 1}}}
    assert [("f", '{"a": 1}')] == calls(anthropic(start, stop))


@each("done", [1, "true", True])
def test_ollamas_last_line_in_other_spellings(done):
    """And ids of calls that are numbers."""
    call = {"id": 7, "function": {"name": "f", "arguments": {}}}
    answer = ollama(line(content="hi"), {**line(tool_calls=[call]), "done": done})
    assert ("hi", "7") == (answer.content, answer.tool_calls[0].id)


NEARLY = {
    "None": b'{"content":"b","usage":None}',
    "nan": b'{"content":"b","logprob":nan}',
    "-inf": b'{"content":"b","logprobs":[-inf, +Inf]}',
    "undefined": b'{"content":"b","x":undefined}',
    "True": b'{"content":"b","x":True,"y":False}',
    "a comma too many": b'{"content":"b","x":[1,2,],}',
    "an apostrophe": b'{"content":"b","x":"it\\\'s, None]"}',
    "an escape of C": b'{"content":"b","x":"\\x41 \\u12"}',
}


@each("delta", NEARLY)
def test_what_is_nearly_json_does_not_cost_the_text(delta):
    """In a piece and in a whole answer; what is no JSON even so is counted."""
    event = b'{"id":"c","choices":[{"index":0,"delta":' + delta + b"}]}"
    assert "abc" == chat(piece({"content": "a"}), event, piece({"content": "c"}, "stop")).content
    assert "b" == CHAT.decode(b'{"choices":[{"index":0,"finish_reason":"stop","message":' + delta + b"}]}").content
    decoder = CHAT.decoder()
    decoder.feed(sse(piece({"content": "a"}), event + b"}", b"{'content': 'b'}"))
    assert 2 == decoder.skipped


@each(
    "text, fixed",
    [
        ('{"a": "None, True,]", "b": None}', '{"a": "None, True,]", "b": null}'),
        (r'{"a": "\\x \x \' \u00e9 \u12"}', r'{"a": "\\x \\x \' \u00e9 \\u12"}'.replace(r"\'", "'")),
        ('{"a": NoneType}', None),
        ('{"a": 1', None),
        ('{"a": "b', None),
        ('{"a": "' + "b" * (1 << 20) + '", }', None),
    ],
)
def test_text_is_relaxed_outside_of_strings_alone(text, fixed):
    """Within them only escapes are; what is too long is left."""
    assert fixed == repair(text)


@each("codec", [CHAT, RESPONSES, GEMINI, OLLAMA])
def test_an_infinite_log_probability_costs_no_answer(codec):
    """Servers write it for tokens that cannot be; it goes out as OpenAI's least one."""
    document = whole({"content": "hi"})
    document["choices"][0]["logprobs"] = {"content": [{"token": "hi", "logprob": float("-inf")}]}
    answer = decoded(CHAT, document)
    again = codec.decode(codec.write_response(answer))
    assert "hi" == again.content
    assert "-9999" in str(again.logprobs)


@each("nothing", [None, 5, "x", []])
def test_an_annotation_that_is_none_hides_no_other(nothing):
    """What is no object in a list of them is left out, alone."""
    said = {"type": "output_text", "text": "a", "annotations": [nothing, {"type": "url_citation", "url": "https://a.example/"}]}
    answer = decoded(RESPONSES, {"status": "completed", "output": [{"type": "message", "role": "assistant", "content": [said]}]})
    assert ["https://a.example/"] == [citation.url for citation in answer.citations]


@each("content", [["a"], [7, "a"], [None, {}, "a"], [{"text": "a"}], [{"type": None, "text": "a"}]])
def test_a_bare_text_among_content_is_said(content):
    """What says nothing beside it is absent."""
    item = {"type": "message", "role": "assistant", "content": content}
    answer = decoded(RESPONSES, {"status": "completed", "output": [item]})
    assert ("7a" if 7 in content else "a", 1) == (answer.content, len({type(part) for part in answer.parts}))


@each(
    "said, read",
    [
        ((0, 0), (None, None)),
        ((3, 0), (None, None)),
        ((4, 2), (None, None)),
        ((-1, 2), (None, 2)),
        ((None, None), (None, None)),
        ((3, None), (3, None)),
        ((1, 2), (1, 2)),
        (("1", True), (None, None)),
    ],
)
def test_a_source_is_for_the_characters_that_there_are(said, read):
    """In both of OpenAI's formats; zeros are what is written where nobody knows, and are read as nothing again."""
    source = {"url": "u", "title": "t", "start_index": said[0], "end_index": said[1]}
    message = {"content": "hello", "annotations": [{"type": "url_citation", "url_citation": source}]}
    text = {"type": "output_text", "text": "hello", "annotations": [{"type": "url_citation", **source}]}
    item = {"type": "message", "role": "assistant", "content": [text]}
    for answer in (decoded(CHAT, whole(message)), decoded(RESPONSES, {"status": "completed", "output": [item]})):
        assert [read] == [(found.start, found.end) for found in answer.citations]


_NO_SOURCE = {"url": "", "title": None}


@each(
    "codec, document",
    [
        (CHAT, whole({"content": "hi", "annotations": [{"type": "url_citation", "url_citation": _NO_SOURCE}, None, {}]})),
        (CHAT, whole({"content": "hi"}, citations=["", None], search_results=[{}, None, _NO_SOURCE])),
        (
            RESPONSES,
            {
                "status": "completed",
                "output": [
                    {
                        "type": "message",
                        "role": "assistant",
                        "content": [
                            {
                                "type": "output_text",
                                "text": "hi",
                                "annotations": [
                                    {"type": "url_citation", "start_index": 0, "end_index": 0, **_NO_SOURCE},
                                    {"type": "file_citation", "file_id": "", "index": 0},
                                ],
                            }
                        ],
                    }
                ],
            },
        ),
        (
            ANTHROPIC,
            {
                "type": "message",
                "content": [{"type": "text", "text": "hi", "citations": [{"type": "char_location", "cited_text": ""}]}],
                "stop_reason": "end_turn",
            },
        ),
        (
            GEMINI,
            {
                "candidates": [
                    {
                        "content": {"parts": [{"text": "hi"}]},
                        "finishReason": "STOP",
                        "groundingMetadata": {
                            "groundingChunks": [{}, {"web": {"uri": "", "title": ""}}, None],
                            "groundingSupports": [{"groundingChunkIndices": [1]}],
                        },
                    }
                ]
            },
        ),
    ],
)
def test_a_source_that_says_nothing_is_none(codec, document):
    """In every format."""
    answer = decoded(codec, document)

    assert ("hi", ()) == (answer.content, answer.citations)


@each("choices", [[None], [{}], [{"index": 0, "message": {"role": "", "content": None}, "finish_reason": ""}], {}])
def test_choices_that_say_nothing_are_no_answer(choices):
    """No success is made of them."""
    with pytest.raises(MalformedReply, match="has no choices"):
        decoded(CHAT, {"id": "c", "choices": choices})


@each("calls_told", [{"0": 0, "2": 1}, {"1": 0}])
def test_a_list_that_php_wrote_as_an_object_is_a_list(calls_told):
    """It does where the numbers of the entries have gaps."""
    entry = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"tool_calls": {place: {**entry, "id": f"c{call}"} for place, call in calls_told.items()}}
    document = {"id": "c", "choices": {"1": {"index": 0, "message": {"content": "", **message}, "finish_reason": "stop"}}}
    streamed = chat(piece(message), piece({}, "stop"))

    for answer in (decoded(CHAT, document), streamed):
        assert [f"c{call}" for call in calls_told.values()] == [call.id for call in answer.tool_calls]


@each(
    "codec, document",
    [
        (CHAT, whole({"tool_calls": [{"id": 7, "function": {"name": "f", "arguments": "{}"}}]})),
        (
            ANTHROPIC,
            {"content": [{"type": "tool_use", "id": 7, "name": "f", "input": {}}], "stop_reason": "tool_use", "type": "message"},
        ),
        (
            RESPONSES,
            {"output": [{"type": "function_call", "id": "i", "call_id": 7, "name": "f", "arguments": ""}], "status": "completed"},
        ),
        (GEMINI, {"candidates": [{"content": {"parts": [{"functionCall": {"id": 7, "name": "f"}}]}, "finishReason": "STOP"}]}),
        (OLLAMA, line(done=True, tool_calls=[{"id": 7, "function": {"name": "f", "arguments": {}}}])),
    ],
)
def test_the_number_of_a_call_is_its_id(codec, document):
    """Its result is found by it."""
    assert ["7"] == [call.id for call in decoded(codec, document).tool_calls]


def test_a_thought_that_says_nothing_is_none():
    """A client would send it back, and it is refused then."""
    nothing = {"type": "reasoning", "id": "", "summary": None, "content": [], "encrypted_content": None}
    message = {"type": "message", "role": "assistant", "content": "hi"}
    answer = decoded(RESPONSES, {"status": "completed", "output": [nothing, message]})

    assert [TextPart] == [type(part) for part in answer.parts]


@each(
    "codec, usage, expected",
    [
        # Anthropic and Bedrock count what is cached beside the input; a total would say so
        (CHAT, {"input_tokens": 9, "output_tokens": 5, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 3}, (16, 5, 0)),
        (CHAT, {"inputTokens": 9, "outputTokens": 5, "cacheReadInputTokens": 4}, (13, 5, 0)),
        (CHAT, {"prompt_tokens": 9, "completion_tokens": 5, "cache_read_input_tokens": 4}, (9, 5, 0)),
        (CHAT, {"input_tokens": 9, "output_tokens": 5, "total_tokens": 14, "cache_read_input_tokens": 4}, (9, 5, 0)),
        (CHAT, {"total_tokens": 15}, (0, 15, 0)),
        # xAI's reasoning stands beside the answer
        (
            RESPONSES,
            {"input_tokens": 9, "output_tokens": 5, "total_tokens": 34, "output_tokens_details": {"reasoning_tokens": 20}},
            (9, 25, 20),
        ),
        (
            RESPONSES,
            {"input_tokens": 9, "output_tokens": 25, "total_tokens": 34, "output_tokens_details": {"reasoning_tokens": 20}},
            (9, 25, 20),
        ),
    ],
)
def test_what_a_vendor_counts_apart_is_added(codec, usage, expected):
    """Also where only the names show it."""
    document = whole({"content": "a"}) if codec is CHAT else {"status": "completed", "output": []}
    counted = decoded(codec, {**document, "usage": usage}).usage

    assert expected == (counted.input_tokens, counted.output_tokens, counted.reasoning_tokens)


def test_a_source_without_a_place_gets_none():
    """Whichever of OpenAI's formats it is passed on in."""
    answer = decoded(CHAT, whole({"content": "hello", "annotations": [{"type": "url_citation", "url_citation": {"url": "u"}}]}))
    for codec in (CHAT, RESPONSES):
        assert [None] == [found.start for found in codec.decode(codec.write_response(answer)).citations]
