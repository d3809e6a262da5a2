"""What strangers send of OpenAI's two formats and Ollama's: places in any form, a last frame of all, errors in odd places."""

from __future__ import annotations

import json

import pytest

from llmdispatcher import (
    AuthenticationError,
    ContentFiltered,
    ContextWindowExceeded,
    DispatchError,
    MalformedReply,
    QuotaExceeded,
    RateLimitError,
    ReasoningPart,
    StreamInterrupted,
    VendorUnavailable,
)
from llmdispatcher.types import fold, parse_several
from llmdispatcher.wire import codec_for

from ..cases import each
from .corpus import decode_stream, sliced
from .test_codecs import seconds
from .test_odd_answers import ANTHROPIC, CHAT, GEMINI, OLLAMA, RESPONSES, calls, chat, decoded, piece, read, sse, whole


def failure(codec, *documents, done=True):
    """The error that a stream ends with."""
    _answer, error = decode_stream(codec, [sse(*documents, *([b"[DONE]"] if done else []))])
    return error


@each("zero, one", [(0, 1), ("0", "1"), (0.0, 1.0), (None, "1")])
def test_choices_are_told_apart_by_a_place_in_any_form(zero, one):
    """Also where the first is told none."""

    def event(index, text, finish=None):
        return {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish}]}

    answer = chat(event(zero, "a"), event(one, "b"), event(zero, "c", "stop"), event(one, "d", "stop"))
    assert ["ac", "bd"] == [choice.content for choice in answer.choices]


CREATED = {"type": "response.created", "response": {"id": "r", "status": "in_progress"}}


def end(*output, **more):
    """The last event of the Responses API."""
    return {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": list(output), **more}}


def added(place, call_id="c", **more):
    """A call that begins."""
    item = {"type": "function_call", "call_id": call_id, "name": "f", "arguments": "", **more}
    return {"type": "response.output_item.added", "output_index": place, "item": item}


def arguments(place, text, **more):
    """A piece of its arguments."""
    return {"type": "response.function_call_arguments.delta", "output_index": place, "delta": text, **more}


@each("zero, one", [("0", "1"), (0.0, 1.0)])
def test_items_are_told_apart_by_a_place_in_any_form(zero, one):
    """Where they have no ids."""
    events = [CREATED, added(zero, "c1"), added(one, "c2"), arguments(zero, '{"a":1}'), arguments(one, '{"a":2}'), end()]
    assert [("f", '{"a":1}'), ("f", '{"a":2}')] == calls(read(RESPONSES, sse(*events)))


def test_two_calls_with_one_id_are_two():
    """Their places tell them apart."""
    same = {"item_id": "same"}
    events = [CREATED, added(0, "c1", id="same"), added(1, "c2", id="same", name="g")]
    events += [arguments(0, '{"a":1}', **same), arguments(1, '{"a":2}', **same), end()]
    assert [("f", '{"a":1}'), ("g", '{"a":2}')] == calls(read(RESPONSES, sse(*events)))


MESSAGE = {"type": "message", "id": "m", "role": "assistant", "content": [{"type": "output_text", "text": "hey"}]}


@each("last", [[end(MESSAGE)], [{"type": "response.output_item.done", "output_index": 0, "item": MESSAGE}, end()]])
def test_deltas_that_tell_no_item_are_of_the_one_that_comes(last):
    """The finished item does not say it again."""
    deltas = [{"type": "response.output_text.delta", "delta": text} for text in ("he", "y")]
    assert "hey" == read(RESPONSES, sse(CREATED, *deltas, *last)).content


NOTE = [{"type": "url_citation", "url_citation": {"url": "https://example.com"}}]
IMAGES = [{"image_url": {"url": "https://example.com/a.png"}}]
SOUND = {"id": "a", "data": "aGk=", "transcript": "x"}


@each(
    "pieces, last, seen",
    [
        ([{"refusal": "no"}, {"refusal": " way"}], {"refusal": "no way"}, lambda answer: answer.refusal == "no way"),
        ([{"refusal": "no"}], {"refusal": "no way"}, lambda answer: answer.refusal == "no way"),
        ([{"images": IMAGES}], {"content": "", "images": IMAGES}, lambda answer: len(answer.parts) == 1),
        ([{"audio": SOUND}], {"audio": SOUND}, lambda answer: (answer.parts[0].data, answer.parts[0].transcript) == (b"hi", "x")),
        ([{"content": "h", "annotations": NOTE}], {"content": "h", "annotations": NOTE}, lambda answer: len(answer.citations) == 1),
        ([{"content": "h"}], {"content": "h", "annotations": NOTE}, lambda answer: len(answer.citations) == 1),
        ([{"content": "h", "annotations": []}], {"content": "h", "annotations": NOTE}, lambda answer: len(answer.citations) == 1),
        ([{"content": "h", "images": None}], {"content": "h", "images": IMAGES}, lambda answer: "url='https" in str(answer.parts)),
        (
            [{"reasoning_text": "t"}, {"content": "h"}],
            {"reasoning_text": "t", "content": "h"},
            lambda answer: answer.reasoning == "t",
        ),
    ],
)
def test_a_last_message_repeats_nothing(pieces, last, seen):
    """Whatever it holds once more; what it adds is read."""
    answer = chat(*map(piece, pieces), piece({}, "stop"), whole({"content": None, **last}))
    assert seen(answer), answer


@each("last, text", [("Hello", "Hello"), ("Hello!", "Hello!"), ("!", "Hello!")])
def test_a_last_piece_may_be_the_whole_answer(last, text):
    """Where it calls itself one, and is one."""
    final = {"object": "chat.completion", **piece({"role": "assistant", "content": last}, "stop")}
    assert text == chat(piece({"content": "Hel"}), piece({"content": "lo"}), final).content


def test_a_last_piece_may_say_all_twice():
    """As the piece and as the message beside it."""
    final = {"choices": [{"index": 0, "delta": {"content": "Hello"}, "message": {"content": "Hello"}, "finish_reason": "stop"}]}
    assert "Hello" == chat(piece({"content": "Hel"}), piece({"content": "lo"}), final).content


def line(message, *, done=False):
    """One line of Ollama's."""
    last = {"done_reason": "stop"} if done else {}
    document = {"model": "q", "created_at": "t", "message": {"role": "assistant", "content": "", **message}, "done": done, **last}
    return json.dumps(document).encode() + b"\n"


CALL = {"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}


def test_ollamas_last_line_repeats_nothing():
    """Neither calls nor thoughts; other calls are further ones."""
    assert [("f", '{"a": 1}')] == calls(read(OLLAMA, line(CALL) + line(CALL, done=True)))
    other = {"tool_calls": [{"function": {"name": "g", "arguments": {}}}]}
    assert ["f", "g"] == [name for name, _ in calls(read(OLLAMA, line(CALL) + line(other, done=True)))]
    thoughts = line({"thinking": "a"}) + line({"thinking": "b"}) + line({"thinking": "ab", "content": "x"}, done=True)
    assert "ab" == read(OLLAMA, thoughts).reasoning


@each(
    "message",
    [
        {"tool_calls": [{"name": "f", "arguments": {"a": 1}}]},
        {"tool_calls": {"function": {"name": "f", "arguments": {"a": 1}}}},
        {"tool_calls": {"name": "f", "arguments": '{"a": 1}'}},
    ],
)
def test_calls_in_other_shapes(message):
    """Without an object for the function, or one call alone."""
    assert [("f", '{"a": 1}')] == calls(read(OLLAMA, line(message, done=True)))
    assert [("f", '{"a": 1}')] == calls(decoded(CHAT, whole({"content": None, **message}, "tool_calls")))
    if isinstance(message["tool_calls"], list):
        assert [("f", '{"a": 1}')] == calls(chat(piece(message), piece({}, "tool_calls")))


@each("told, seen", [(7, "7"), ("7", "7")])
def test_an_id_may_be_a_number(told, seen):
    """The result names it."""
    call = {"id": told, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert seen == decoded(CHAT, whole({"tool_calls": [call]}, "tool_calls")).tool_calls[0].id


@each(
    "codec, event",
    [
        (ANTHROPIC, {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "h"}}),
        (GEMINI, {"candidates": [{"content": {"parts": [{"text": "h"}]}}]}),
        (RESPONSES, {"type": "response.output_text.delta", "delta": "h"}),
    ],
)
def test_the_end_of_another_format_is_none(codec, event):
    """A gateway may write ``[DONE]`` behind every stream, also behind one that broke."""
    assert isinstance(failure(codec, event), StreamInterrupted)


def test_the_end_behind_an_end_is_no_failure():
    """It says nothing more."""
    assert failure(RESPONSES, CREATED, end(MESSAGE)) is None


@each(
    "event, kind",
    [
        ({"internalServerException": {"message": "x"}}, DispatchError),
        ({"Response": {"Error": {"Code": "LimitExceeded", "Message": "x"}}}, DispatchError),
        ({"fault": {"faultstring": "quota"}}, DispatchError),
        ({"err": {"message": "rate limit exceeded"}}, RateLimitError),
        ({"header": {"code": 10013, "message": "blocked"}}, DispatchError),
    ],
)
def test_a_stream_of_nothing_known_is_no_empty_answer(event, kind):
    """What it says instead is the error."""
    assert isinstance(failure(CHAT, event), kind)


HELD = [
    ({"throttlingException": {"message": "x"}}, RateLimitError),
    ({"validationException": {"message": "Input is too long for requested model."}}, ContextWindowExceeded),
    ({"Response": {"Error": {"Code": "LimitExceeded", "Message": "x"}, "RequestId": "r"}}, RateLimitError),
    ({"fault": {"faultstring": "rate limit exceeded", "detail": {"errorcode": "policies"}}}, RateLimitError),
    ({"header": {"code": 10013, "message": "stopped by the content filter", "sid": "s"}}, ContentFiltered),
    ({"exception": "OutOfMemoryError", "message": "out of memory"}, VendorUnavailable),
    ({"err_code": 7, "err_msg": "quota exhausted"}, QuotaExceeded),
    ({"errcode": 7, "errmsg": "rate limit exceeded"}, RateLimitError),
    ({"Message": "User is not authorized to access this resource"}, AuthenticationError),
]


@each("document, kind", HELD)
@each("codec", [CHAT, ANTHROPIC, GEMINI, OLLAMA, RESPONSES])
def test_an_error_is_found_by_its_name(codec, document, kind):
    """In place of an answer, of a stream, and of a piece of one: a success would be cut and nobody else be asked."""
    with pytest.raises(DispatchError) as caught:
        decoded(codec, document)
    assert kind is type(caught.value)
    frame = json.dumps(document).encode() + b"\n" if codec is OLLAMA else sse(document)
    _answer, error = decode_stream(codec, [frame])
    assert kind is type(error)
    _answer, error = decode_stream(CHAT, [sse(piece({"content": "h"}), document, b"[DONE]")])
    assert kind is type(error)


def test_an_object_that_tells_of_no_error_is_none():
    """Although it is named for one."""
    silent = {"lastError": {"code": 0, "message": ""}, "header": {"code": 0, "message": "Success"}}
    assert "h" == chat(piece({"content": "h"}), silent, piece({}, "stop")).content


def test_other_events_beside_an_answer_are_passed_over():
    """A ping, the figures of a gateway."""
    assert "h" == chat({"ping": 1}, piece({"content": "h"}), {"metrics": {"ms": 3}}, piece({}, "stop")).content


@each("beside", [{"errors": [{"message": "boom"}]}, {"error_code": 336100, "error_msg": "busy"}])
def test_an_error_beside_a_choice_is_one(beside):
    """In whole answers and in streams; one that says nothing is none."""
    with pytest.raises(DispatchError):
        decoded(CHAT, whole({"content": ""}, **beside))
    assert failure(CHAT, piece({"content": "h"}), piece({"content": ""}, **beside)) is not None
    assert "h" == decoded(CHAT, whole({"content": "h"}, errors=[], error_code=0)).content


def test_an_error_within_a_message_is_one():
    """And within a piece of one."""
    error = {"code": "insufficient_quota", "message": "spent"}
    with pytest.raises(QuotaExceeded):
        decoded(CHAT, whole({"content": None, "error": error}))
    assert isinstance(failure(CHAT, piece({"content": "h"}), piece({"error": error}, "stop")), QuotaExceeded)


def test_a_response_with_an_error_is_not_completed():
    """Whatever its status; a cancelled one is broken off."""
    error = {"code": "server_error", "message": "boom"}
    assert failure(RESPONSES, CREATED, end(error=error)) is not None
    with pytest.raises(DispatchError, match="boom"):
        decoded(RESPONSES, {"status": "completed", "error": error, "output": [MESSAGE]})
    with pytest.raises(StreamInterrupted):
        decoded(RESPONSES, {"status": "cancelled", "output": []})


@each(
    "message",
    [
        {"reasoning_text": "t"},
        {"thinking": "t"},
        {"thinking": "t", "reasoning_text": "t"},
        {"reasoning": {"content": "t"}},
        {"reasoning_content": [{"type": "text", "text": "t"}]},
        {"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "t"}]}, {"type": "text", "text": "hi"}]},
    ],
)
def test_thoughts_in_other_places(message):
    """In whole answers and in pieces."""
    for answer in (
        decoded(CHAT, whole({"content": "hi", **message})),
        chat(piece({"content": "hi", **message}), piece({}, "stop")),
    ):
        assert ("t", "hi") == (answer.reasoning, answer.content)
        assert ["t"] == [part.text for part in answer.parts if isinstance(part, ReasoningPart)]
    if "content" not in message:
        assert "t" == chat(piece(message), piece({"content": "hi"}), piece({}, "stop")).reasoning


def test_ollamas_thoughts_in_the_words_of_chat():
    """As gateways write them."""
    assert "t" == read(OLLAMA, line({"content": "x", "reasoning_content": "t"}, done=True)).reasoning


@each(
    "content",
    [
        ["h", "i"],
        [{"type": "text", "text": {"value": "hi", "annotations": []}}],
        [{"type": "text", "content": "hi"}],
        {"type": "text", "text": "hi"},
    ],
)
def test_content_in_other_shapes(content):
    """Blocks, or texts in a list."""
    assert "hi" == decoded(CHAT, whole({"content": content})).content


def test_a_refusal_among_the_content():
    """It is one all the same."""
    assert "no" == decoded(CHAT, whole({"content": [{"type": "refusal", "refusal": "no"}]})).refusal


@each("choice", [{"message": "hi"}, {"text": "hi"}])
def test_a_choice_that_is_a_text(choice):
    """Of servers that complete texts."""
    assert "hi" == decoded(CHAT, {"choices": [{"index": 0, "finish_reason": "stop", **choice}]}).content


def half(text, index=b"0"):
    """A piece of text as JSON has it, with halves of characters."""
    return b'{"choices":[{"index":' + index + b',"delta":{"content":"' + text + b'"}}]}'


STOPS = b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"},{"index":1,"delta":{},"finish_reason":"stop"}]}'


@each(
    "between", [b'{"choices":[],"usage":{"prompt_tokens":1}}', b'{"choices":[{"index":0,"delta":{}}]}', half(b"x", b"1"), half(b"")]
)
def test_a_half_waits_for_the_next_piece_of_its_text(between):
    """Whatever comes between; without a second one it is the replacement character."""
    answer = read(CHAT, sse(half(b"a\\ud83d"), between, half(b"\\ude00b"), STOPS, b"[DONE]"))
    assert "a\U0001f600b" == answer.choices[0].content
    answer = read(CHAT, sse(half(b"a\\ud83d"), between, half(b"b"), STOPS, b"[DONE]"))
    assert "a\ufffdb" == answer.choices[0].content


@each("body", [b"data: %s%s\n\ndata: %s\n\n", b"data: [%s,%s]\n\ndata: %s\n\n", b"%s%s%s", b"[%s,%s,%s]", b"%s\n%s\n%s"])
def test_halves_are_joined_however_documents_are_parted(body):
    """Also where a body, or one event, holds several."""
    answer = read(CHAT, body % (half(b"a\\ud83d"), half(b"\\ude00b"), STOPS))
    assert "a\U0001f600b" == answer.choices[0].content


PIECES = ((b"a\\ud83d", b""), (b"\\ude00b", b',"finishReason":"STOP"'))


def test_a_list_of_pieces_of_gemini_joins_halves():
    """Of an answer without server-sent events."""
    first, second = (b'{"candidates":[{"content":{"parts":[{"text":"%s"}]}%s}]}' % said for said in PIECES)
    pieces = b"[%s,%s]" % (first, second)
    assert "a\U0001f600b" == read(GEMINI, pieces).content == GEMINI.decode(pieces).content


@each("size", [1, 7, 1 << 20])
@each("character", ["é", "€", "😀", "💀"])
def test_a_character_that_is_cut_between_its_bytes_is_joined(character, size):
    """In two events or in one for each byte, however the reads are cut; what nothing completes is the replacement character."""
    octets = character.encode()
    for cut in range(1, len(octets)):
        events = sse(half(b"a" + octets[:cut]), half(b"x", b"1"), half(octets[cut:] + b"b"), STOPS, b"[DONE]")
        answer, error = decode_stream(CHAT, sliced(events, size))
        assert (f"a{character}b", None) == (answer.choices[0].content, error)
    apart = [half(bytes([octet])) for octet in octets]
    assert character == read(CHAT, sse(*apart, STOPS, b"[DONE]")).content
    assert "a\ufffd|" == read(CHAT, sse(half(b"a" + octets[:-1]), half(b"|"), STOPS, b"[DONE]")).choices[0].content
    assert "a\ufffd" == read(CHAT, sse(half(b"a" + octets[:-1]), STOPS, b"[DONE]")).choices[0].content


@each(
    "delta",
    [
        b'{"reasoning_text":"%s"}',
        b'{"thinking":"%s"}',
        b'{"reasoning_details":[{"type":"reasoning.summary","index":0,"summary":"%s"}]}',
        b'{"content":[{"type":"thinking","thinking":[{"type":"text","text":"%s"}]}]}',
    ],
)
def test_a_thought_that_is_cut_between_its_bytes_is_joined(delta):
    """By whatever name."""
    event = b'{"choices":[{"index":0,"delta":' + delta + b"}]}"
    assert "a€b" == read(CHAT, sse(event % b"a\xe2", event % b"\x82\xacb", STOPS, b"[DONE]")).reasoning


@each("body", [b"[%s,%s,%s]", b"%s%s%s"])
def test_bytes_of_a_character_are_joined_in_a_body_that_is_no_stream(body):
    """Of a list of events, or of one behind another."""
    assert "a€b" == read(CHAT, body % (half(b"a\xe2"), half(b"\x82\xacb"), STOPS)).choices[0].content


def test_lines_of_ollama_join_bytes_of_a_character():
    """As events do."""
    line = b'{"model":"m","message":{"role":"assistant","content":"%s"},"done":%s}\n'
    assert "a€b" == read(OLLAMA, line % (b"a\xe2", b"false") + line % (b"\x82\xacb", b"false") + line % (b"", b"true")).content


def test_a_text_by_another_name_is_said():
    """``text`` in a delta, or in a message; beside a content it says the same again."""
    assert "ab" == chat(piece({"text": "a"}), piece({"role": "assistant", "text": "b"}, "stop")).content
    assert "a" == chat(piece({"text": "a", "content": "a"}, "stop")).content
    assert "a" == decoded(CHAT, {"choices": [{"index": 0, "message": {"text": "a"}, "finish_reason": "stop"}]}).content


USED = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


@each("choices", [{"choices": []}, {}, {"choices": [{"index": 0, "delta": {}, "finish_reason": None}]}])
def test_a_usage_behind_the_end_counts(choices):
    """Where it came with the end; whatever else stands there says nothing, be it broken, an error or more text."""
    late = ({**choices, "usage": USED}, b"{'x'}", {"error": {"message": "no"}}, piece({"content": "!"}))
    answer = read(CHAT, sse(piece({"content": "x"}, "stop"), b"[DONE]", *late))
    assert ("x", 3, 4) == (answer.content, answer.usage.input_tokens, answer.usage.output_tokens)


@each(
    "codec, last, late",
    [
        (CHAT, piece({"content": "x"}, "stop"), {"x_groq": {"usage": USED}}),
        (CHAT, piece({"content": "x"}, "stop"), {"choices": [{"index": 0, "delta": {}, "usage": USED}]}),
        (CHAT, piece({"content": "x"}, "stop"), {"timings": {"prompt_n": 3, "predicted_n": 4}}),
        (CHAT, piece({"content": "x"}, "stop"), {"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4}}),
        (
            GEMINI,
            {"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}]},
            {"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4}},
        ),
        (RESPONSES, end(), end(usage={"input_tokens": 3, "output_tokens": 4})),
    ],
)
def test_a_usage_behind_the_end_counts_wherever_it_stands(codec, last, late):
    """In the places where it stands before the end."""
    answer = read(codec, sse(last, b"[DONE]", late))
    assert (3, 4) == (answer.usage.input_tokens, answer.usage.output_tokens)


@each("between", [b"\n", b"\r\n", b"\n\n: comment\n\n"])
def test_a_usage_behind_the_end_counts_without_an_empty_line(between):
    """Or with a comment before it."""
    late = b"data: " + json.dumps({"usage": USED}).encode() + b"\n\n"
    answer = read(CHAT, sse(piece({"content": "x"}, "stop")) + b"data: [DONE]" + between + late)
    assert (3, 4) == (answer.usage.input_tokens, answer.usage.output_tokens)


def test_a_usage_behind_the_end_of_anthropics_counts():
    """As of any format."""
    start = {"type": "message_start", "message": {"id": "m", "model": "m", "content": []}}
    ends = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    answer = read(ANTHROPIC, sse(start, ends, {"type": "message_stop"}, {"type": "message_delta", "usage": {"output_tokens": 4}}))
    assert ("stop", 4) == (answer.finish_reason, answer.usage.output_tokens)


def test_a_failure_with_a_usage_behind_the_end_ends_nothing():
    """The answer is whole, and no more of it is waited for."""
    decoder = RESPONSES.decoder()
    chunks = decoder.feed(sse(end(), {"type": "response.failed", "usage": {"input_tokens": 1}, "response": {"status": "failed"}}))
    assert (True, "stop") == (decoder.done, fold(chunks).finish_reason)


@each("codec", [CHAT, RESPONSES, ANTHROPIC, GEMINI])
def test_an_event_in_the_words_of_python_is_counted(codec):
    """It is no JSON: what it said is missing in the answer, which is told; a stream of such events is no answer."""
    decoder = codec.decoder()
    decoder.feed(sse(b"{'choices': [{'index': 0, 'delta': {'content': 'lost'}}], 'usage': None}"))
    assert 1 == decoder.skipped
    with pytest.raises((MalformedReply, StreamInterrupted)):
        decoder.finish()


@each("event, skipped", [(b'"quota"', 1), (b"5", 1), (b'["a", 7]', 2), (b"null", 0), (b'""', 0), (b"[]", 0)])
def test_an_event_that_is_no_object_is_counted(event, skipped):
    """If it says anything; a stream of nothing else is malformed."""
    decoder = CHAT.decoder()
    decoder.feed(sse(event, piece({"content": "x"}, "stop"), b"[DONE]"))
    assert skipped == decoder.skipped
    assert (MalformedReply if skipped else StreamInterrupted) is type(failure(CHAT, event, done=False))


def test_two_documents_in_one_event_are_two():
    """Braces within texts part nothing."""
    both = json.dumps(piece({"content": "x} {"})) + " " + json.dumps(piece({"content": "y"}))
    assert "<x} {y>" == chat(piece({"content": "<"}), both.encode(), piece({"content": ">"}, "stop")).content
    assert [{"a": "} {"}, {"b": 1}] == parse_several(' {"a": "} {"}{"b": 1} ')
    assert parse_several('{"a": 1} x') is None
    with pytest.raises(MalformedReply):
        decoded(CHAT, [])


def choice(delta=None, **fields):
    """An event of a chat with one choice."""
    return {"choices": [{"index": 0, **({} if delta is None else {"delta": delta}), **fields}]}


@each(
    "said, expected",
    [
        ([{"message": {"content": "He"}}, {"message": {"content": "y"}}, {"message": {"content": " you"}}], "Hey you"),
        ([{"message": {"content": "He"}}, {"message": {"content": "y"}}, {"message": {"content": "Hey"}}], "Hey"),
        ([{"message": {"content": "He"}}, {"message": {"content": "Hey"}}, {"message": {"content": "Hey you"}}], "Hey you"),
        ([{"delta": {"content": " He"}}, {"delta": {"content": "y "}}, {"message": {"content": "Hey"}}], " Hey "),
        ([{"delta": {"content": "He"}}, {"delta": {"content": "y"}}, {"message": {"content": "other"}}], "Hey"),
        ([{"text": "He"}, {"text": "y"}, {"text": " you"}], "Hey you"),
        ([{"text": "He"}, {"text": "y"}, {"text": ""}], "Hey"),
        ([{"message": None, "text": "He"}, {"message": None, "text": "y"}, {"message": None, "text": ""}], "Hey"),
        ([{"message": None, "delta": {"content": text}} for text in ("He", "y", "")], "Hey"),
    ],
)
def test_pieces_that_stand_where_a_whole_message_does(said, expected):
    """A message may be the next piece, all that was said so far, or all of it again."""
    first, second, last = said
    assert expected == chat(choice(**first), choice(**second), choice(**last, finish_reason="stop")).content


def test_thoughts_and_calls_in_such_pieces():
    """Nothing is dropped in silence."""
    said = [{"reasoning_content": "a"}, {"reasoning_content": "b"}]
    said += [{"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{"}}]}]
    said += [{"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}]
    answer = chat(*[choice(message=one) for one in said], choice(message={"content": ""}, finish_reason="tool_calls"))
    assert ("ab", [("f", "{}")]) == (answer.reasoning, calls(answer))


def _call(arguments):
    return choice({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": arguments}}]})


LONG = {
    "a call that is named in each piece": (CHAT, lambda place: _call("x" * 9 if place else '{"a":"')),
    "a message that says nothing": (CHAT, lambda _: choice({"content": "hello" * 99}, message={"content": ""})),
    "blanks in a thought": (
        codec_for("openai_chat", frozenset({"think_tags"})),
        lambda place: choice({"content": " " * 99 if place else "<think>x"}),
    ),
    "a reason in each piece": (GEMINI, lambda _: {"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}]}),
    "blocks that do not end": (
        ANTHROPIC,
        lambda place: {"type": "content_block_start", "index": place, "content_block": {"type": "text"}},
    ),
    "many items": (RESPONSES, lambda place: {"type": "response.output_text.delta", "output_index": place, "delta": "x"}),
}


@each("name", list(LONG))
def test_a_long_stream_takes_linear_time(name):
    """No event is read by going through all that came before."""
    codec, event = LONG[name]
    few, many = ([sse(*map(event, range(count)))] for count in (400, 1_600))

    assert seconds(codec, many) < 9 * seconds(codec, few)


TEXTS = [
    ([{"text": "h"}, {"text": "i"}], "hi"),
    ([{"text": "ha"}, {"text": "ha"}], "haha"),
    ([{"delta": "h"}, {"delta": "i"}], "hi"),
    ([{"message": {"content": "h"}}, {"message": {"content": "i"}}], "hi"),
    ([{"message": {"role": "assistant", "content": ""}}, {"message": {"content": "h"}}, {"message": {"content": "i"}}], "hi"),
    ([{"message": {"content": "h"}}, {"message": {"content": "hi"}}, {"message": {"content": "hi!"}}], "hi!"),
    ([{"delta": {"content": "h"}}, {"delta": {"content": "i"}}, {"message": {"content": " hi "}}], "hi"),
]


@each("choices, text", TEXTS)
def test_pieces_in_other_shapes(choices, text):
    """A text, a message with its piece, a message with all so far; behind deltas a message says all once more."""
    events = [{"choices": [{"index": 0, **choice}]} for choice in choices]
    assert text == chat(*events, piece({}, "stop")).content


def test_one_choice_alone_is_one():
    """Without a list around it."""
    assert "hi" == decoded(CHAT, {"choices": {"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}}).content
    alone = {"choices": {"index": 0, "delta": {"content": "h"}, "finish_reason": None}}
    assert "hi" == chat(alone, piece({"content": "i"}, "stop")).content


@each("events", [[], [{"choices": []}], [piece({"role": "assistant"})], [piece({"content": ""})], [b"null"]])
def test_a_stream_that_says_nothing_and_ends_is_no_answer(events):
    """The mark of the end alone is no reason why an answer ended: another vendor is asked."""
    assert isinstance(failure(CHAT, *events), StreamInterrupted)
    assert failure(CHAT, *events, piece({}, "stop")) is None


def said_of(*pieces):
    """Calls of a stream."""
    return calls(chat(*[piece({"tool_calls": [one]}) for one in pieces], piece({}, "tool_calls")))


BEGINS = {"index": 0, "id": "a", "type": "function"}
IN_PIECES = [
    ([{**BEGINS, "function": {"name": "f", "arguments": "{ }"}}, {"index": 0, "function": {"arguments": '{"a":1}'}}], '{"a":1}'),
    ([{**BEGINS, "function": {"name": "f", "arguments": "null"}}, {"index": 0, "function": {"arguments": '{"a":1}'}}], '{"a":1}'),
    ([{**BEGINS, "function": {"name": "f", "arguments": '""'}}, {"index": 0, "function": {"arguments": '{"a":1}'}}], '{"a":1}'),
    ([{**BEGINS, "function": {"name": "f", "arguments": "null"}}], "null"),
    (
        [{**BEGINS, "function": {"name": "f", "arguments": '{"a":1}'}}, {"index": 0, "function": {"arguments": '{"a":1}'}}],
        '{"a":1}',
    ),
    ([{**BEGINS, "function": {"name": "f", "arguments": '{"a":'}}, {"index": 1, "function": {"arguments": "1}"}}], '{"a":1}'),
    ([{"id": "a", "function": {"name": "f", "arguments": '{"a":'}}, {"index": 0, "function": {"arguments": "1}"}}], '{"a":1}'),
    ([{**BEGINS, "function": {"name": "f", "parameters": {"a": 1}}}], '{"a": 1}'),
]


@each("pieces, arguments", IN_PIECES)
def test_pieces_of_one_call(pieces, arguments):
    """Nothing before the arguments, all of them again, an index that counts pieces or comes late."""
    assert [("f", arguments)] == said_of(*pieces)


def test_numbers_in_pieces_of_arguments_are_no_repeats():
    """Only a whole object cannot be followed by itself."""
    pieces = [{**BEGINS, "function": {"name": "f", "arguments": '{"a":'}}]
    pieces += [{"index": 0, "function": {"arguments": text}} for text in ("1", "1", "}")]
    assert [("f", '{"a":11}')] == said_of(*pieces)


def test_the_id_of_a_call_in_the_words_of_the_responses_api():
    """The result names it."""
    call = {"call_id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert "a" == decoded(CHAT, whole({"tool_calls": [call]}, "tool_calls")).tool_calls[0].id


def spoke(text, **more):
    """A piece of a message."""
    return {"type": "response.output_text.delta", "delta": text, **more}


def message(text, **more):
    """A whole one."""
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}], **more}


THOUGHT = {"type": "reasoning", "id": "rs", "summary": []}
RENAMED = [
    ([spoke("he", item_id="x", output_index=0), spoke("y", item_id="y", output_index=0)], [message("hey", id="m")]),
    ([spoke("hey", item_id="x", output_index=0)], [THOUGHT, message("hey", id="m")]),
    ([spoke("he", item_id="x", output_index=0)], [THOUGHT, message("hey", id="m")]),
    ([spoke("hey", item_id="x")], [THOUGHT, message("hey", id="x")]),
    ([{"type": "response.output_item.done", "output_index": 0, "item": message("hey", id="x")}], [THOUGHT, message("hey", id="m")]),
]


@each("events, output", RENAMED)
def test_an_item_under_another_name_is_no_further_one(events, output):
    """Copilot and gateways give the same item an id of its own in every event, and other places at the end."""
    assert "hey" == read(RESPONSES, sse(CREATED, *events, end(*output))).content


def test_messages_that_differ_are_two():
    """At other places; what only the last frame has is read."""
    events = [{"type": "response.output_item.done", "output_index": 0, "item": message("a", id="m1")}]
    assert "ab" == read(RESPONSES, sse(CREATED, *events, end(message("a", id="m1"), message("b", id="m2")))).content
    assert (
        "hi!hi"
        == read(RESPONSES, sse(CREATED, spoke("hi!", item_id="m1"), end(message("hi!", id="m1"), message("hi", id="m2")))).content
    )


def test_a_call_under_another_name_runs_once():
    """Its own id tells."""
    whole_call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a":1}'}
    events = [CREATED, added(0, "c", id="fc"), arguments(0, '{"a":1}', item_id="fc")]
    events.append({"type": "response.output_item.done", "output_index": 0, "item": {**whole_call, "id": "fc"}})
    assert [("f", '{"a":1}')] == calls(read(RESPONSES, sse(*events, end(THOUGHT, {**whole_call, "id": "other"}))))
    assert [("f", '{"a":1}')] == calls(read(RESPONSES, sse(*events[:3], end(THOUGHT, {**whole_call, "id": "other"}))))
    other = {**whole_call, "id": "fc2", "call_id": "c2"}
    assert 2 == len(calls(read(RESPONSES, sse(*events, end({**whole_call, "id": "fc"}, other)))))


def test_a_call_whose_beginning_is_all_of_it():
    """Nothing follows it but the end."""
    assert [("f", '{"a":1}')] == calls(read(RESPONSES, sse(CREATED, added(0, "c", id="fc", arguments='{"a":1}'), end())))


def part_over(kind, text, **more):
    """A part that has ended."""
    return {
        "type": "response.content_part.done",
        "output_index": 0,
        "content_index": 0,
        "part": {"type": kind, "text": text},
        **more,
    }


def test_a_part_that_has_ended_says_what_its_deltas_did_not():
    """Of a message and of a thought, under the names that gateways have for those."""
    assert "hey" == read(RESPONSES, sse(CREATED, part_over("output_text", "hey"), end())).content
    assert "hey" == read(RESPONSES, sse(CREATED, spoke("he", output_index=0), part_over("output_text", "hey"), end())).content
    summary = {"type": "response.reasoning_summary_part.done", "output_index": 0, "part": {"type": "summary_text", "text": "t"}}
    assert "t" == read(RESPONSES, sse(CREATED, summary, end())).reasoning
    assert "t" == read(RESPONSES, sse(CREATED, {"type": "response.reasoning.delta", "delta": "t"}, end())).reasoning


@each(
    "last",
    [
        {"type": "response.done", "response": {"status": "completed", "output": []}},
        {"type": "response.completed", "response": {"status": None, "output": []}},
        {"type": "response.completed", "response": {}},
        {"object": "response", "status": "completed", "output": [message("hey")]},
    ],
)
def test_the_end_in_other_forms(last):
    """With another name, without a status, as a whole answer."""
    answer = read(RESPONSES, sse(CREATED, spoke("hey"), last))
    assert ("hey", "stop") == (answer.content, answer.finish_reason)


def test_the_text_that_sdks_put_together_is_read_where_it_is_alone():
    """``output_text`` beside no items; beside them it repeats."""
    assert "hi" == decoded(RESPONSES, {"status": "completed", "output": [], "output_text": "hi"}).content
    assert "hi" == decoded(RESPONSES, {"status": "completed", "output_text": "hi"}).content
    assert "hi" == decoded(RESPONSES, {"status": "completed", "output": [message("hi")], "output_text": "hi"}).content


def named(*documents):
    """Events whose type stands in their name alone."""
    lines = [(one["type"], {name: value for name, value in one.items() if name != "type"}) for one in documents]
    return b"".join([b"event: " + kind.encode() + b"\ndata: " + json.dumps(said).encode() + b"\n\n" for kind, said in lines])


def test_the_name_of_an_event_is_its_type():
    """Where it tells none itself."""
    assert "hey" == read(RESPONSES, named(CREATED, spoke("hey"), end())).content
    block = {"type": "content_block_delta", "index": 0, "delta": {"text": "hey"}}
    assert "hey" == read(ANTHROPIC, named(block, {"type": "message_stop"})).content


def test_usage_beside_the_last_response():
    """Some gateways have it there."""
    answer = read(RESPONSES, sse(CREATED, spoke("hey"), {**end(), "usage": {"input_tokens": 5, "output_tokens": 7}}))
    assert (5, 7) == (answer.usage.input_tokens, answer.usage.output_tokens)


_TALK = {
    GEMINI: [
        {"candidates": [{"content": {"parts": [{"text": text}]}, **more}]}
        for text, more in (("a", {}), ("b", {"finishReason": "STOP"}))
    ],
    OLLAMA: [
        {"model": "m", "message": {"role": "assistant", "content": text}, "done": done}
        for text, done in (("a", False), ("b", True))
    ],
}


@pytest.mark.parametrize("blank", ["", " ", "\n", "\r\n\n"], ids=repr)
@pytest.mark.parametrize("codec", _TALK, ids=lambda codec: codec.name)
def test_documents_one_behind_another_are_the_pieces_of_an_answer(codec, blank):
    """With nothing between them too, in one body or one line, whole and in pieces."""
    body = blank.join(map(json.dumps, _TALK[codec])).encode()

    assert ["ab"] * 5 == [
        codec.decode(body).content,
        codec.decode(body + b"\n").content,
        read(codec, body).content,
        read(codec, body + b"\n").content,
        decode_stream(codec, sliced(body, 1))[0].content,
    ]


@pytest.mark.parametrize("codec", _TALK, ids=lambda codec: codec.name)
def test_an_error_right_behind_a_piece_of_an_answer_is_told(codec):
    """And not that the body is no JSON, which is said of what stands behind an answer and is none."""
    said, over = map(json.dumps, _TALK[codec])
    with pytest.raises(VendorUnavailable, match="overloaded"):
        codec.decode((said + json.dumps({"error": {"code": 503, "message": "overloaded"}})).encode())
    with pytest.raises(MalformedReply):
        codec.decode((over + "}").encode())


_USED = {"usage": {"input_tokens": 3, "output_tokens": 7}}
_BEFORE = {
    ANTHROPIC: [
        {"type": "message_start", "message": {"id": "m", "model": "c", "usage": {"input_tokens": 3, "output_tokens": 1}}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}},
    ],
    RESPONSES: [CREATED, {"type": "response.output_text.delta", "output_index": 0, "delta": "a"}],
}
_BEHIND = {
    ANTHROPIC: [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, {"type": "message_stop"}],
    RESPONSES: [end()],
}


@pytest.mark.parametrize("codec", _BEFORE, ids=lambda codec: codec.name)
def test_a_usage_that_comes_alone_counts(codec):
    """In an event without a type, before the end and behind it."""
    before, behind = _BEFORE[codec], _BEHIND[codec]
    bodies = [sse(*before, _USED, *behind), sse(*before, *behind, _USED)]

    assert [("a", 3, 7)] * 2 == [
        (one.content, one.usage.input_tokens, one.usage.output_tokens) for one in map(_read(codec), bodies)
    ]


def _read(codec):
    return lambda body: read(codec, body)


@pytest.mark.parametrize("codec", _BEFORE, ids=lambda codec: codec.name)
def test_an_event_of_no_type_that_says_anything_else_is_counted(codec):
    """Nothing is dropped in silence; what says nothing, and a new type of event, are no loss."""
    decoder = codec.decoder()
    decoder.feed(sse(*_BEFORE[codec], {"words": "b"}, {"words": ""}, {}, {"type": "ping"}, *_BEHIND[codec], {"words": "c"}))

    assert (True, 1) == (decoder.done, decoder.skipped)


@each("end", [b"[DONE]", b'"[DONE]"', b"[DONE] "])
def test_the_end_marker_may_be_written_as_json(end):
    """Frameworks that write every event as JSON do so."""
    assert "hey" == read(CHAT, sse(piece({"content": "hey"}), end)).content
