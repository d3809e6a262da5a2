"""Google's format: pieces that are answers, calls that arrive whole, thoughts counted beside the answer."""

import json

import pytest
from corpus import decode_stream, sliced
from recordings import GEMINI_PIECES, GEMINI_WHOLE, sse

from llmdispatcher.errors import InvalidRequest, MalformedReply, StreamInterrupted, VendorUnavailable
from llmdispatcher.messages import ImagePart, Message, ToolCall
from llmdispatcher.types import Request
from llmdispatcher.wire.gemini import GEMINI


def sent(*messages, stream=False, **fields):
    """What is sent for a request."""
    return json.loads(GEMINI.encode(Request("m", messages or (Message.user("Hi"),), **fields), stream=stream))


def piece(*parts, finish=None, index=0, **more):
    """One event, or a whole answer."""
    candidate = {"content": {"role": "model", "parts": list(parts)}, "index": index}
    return {"candidates": [{**candidate, "finishReason": finish} if finish else candidate], **more}


def answered(document):
    """A whole answer."""
    return GEMINI.decode(json.dumps(document).encode())


def test_a_request_with_everything():
    """Settings in a group of their own, in Google's spelling."""
    assert {
        "systemInstruction": {"parts": [{"text": "a"}, {"text": "b"}]},
        "contents": [{"role": "user", "parts": [{"text": "u"}, {"text": "w"}]}, {"role": "model", "parts": [{"text": "v"}]}],
        "generationConfig": {
            "temperature": 0.5,
            "topP": 0.25,
            "maxOutputTokens": 9,
            "seed": 1,
            "frequencyPenalty": 1.0,
            "presencePenalty": 0.0,
            "stopSequences": ["x"],
        },
    } == sent(
        Message.system("a"),
        Message.user("u", "w"),
        Message("developer", "b"),
        Message.assistant("v"),
        max_tokens=9,
        temperature=0.5,
        top_p=0.25,
        stop="x",
        user="me",
        seed=1,
        frequency_penalty=1.0,
        presence_penalty=0.0,
        stream=True,
    )


@pytest.mark.parametrize(
    ("model", "stream", "path"),
    [
        ("gemini-3.6-flash", False, "/models/gemini-3.6-flash:generateContent"),
        ("gemini-3.6-flash", True, "/models/gemini-3.6-flash:streamGenerateContent?alt=sse"),
        ("tunedModels/mine", False, "/tunedModels/mine:generateContent"),
        ("a b?c", False, "/models/a%20b%3Fc:generateContent"),
    ],
)
def test_the_model_is_in_the_path(model, stream, path):
    """As a piece of the path and nothing else."""
    assert path == GEMINI.path(model, stream=stream)


@pytest.mark.parametrize(
    ("messages", "fields", "name"),
    [
        ([Message.system("x")], {}, "messages"),
        ([Message.system("x", ImagePart(url="https://x.example")), Message.user("x")], {}, "system"),
        ([Message.user("x"), Message.tool("42")], {}, "message.name"),
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
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "malformed_function_call"),
        ("SOMETHING_NEW", "something_new"),
    ],
)
def test_the_reason_is_in_our_words_and_theirs(raw, expected):
    """Whatever has no common word keeps its own, in lower case."""
    answer = answered(piece({"text": "x"}, finish=raw))

    assert (expected, raw) == (answer.finish_reason, answer.finish_reason_raw)


def test_a_blocked_prompt_is_an_answer_that_was_filtered():
    """There are no candidates then."""
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}}
    for answer, error in ((answered(blocked), None), decode_stream(GEMINI, [sse(blocked)])):
        assert (None, "content_filter", "SAFETY", "", 3) == (
            error,
            answer.finish_reason,
            answer.finish_reason_raw,
            answer.content,
            answer.usage.input_tokens,
        )


@pytest.mark.parametrize("content", [None, {}, {"parts": None}, {"parts": []}, {"role": "model"}])
def test_a_candidate_may_say_nothing(content):
    """The limit may have been spent on thoughts."""
    answer = answered({"candidates": [{"content": content, "finishReason": "MAX_TOKENS"}]})

    assert ("", "length") == (answer.content, answer.finish_reason)


def test_calls_get_places_in_order_across_pieces():
    """They come whole, mostly without ids, several in a piece."""
    stream = sse(
        piece({"functionCall": {"name": "f", "args": {"a": 1}}}, {"functionCall": {"name": "g"}, "thoughtSignature": "s"}),
        piece({"functionCall": {"name": "h", "args": {}, "id": "x"}}, finish="STOP"),
    )
    answer, _ = decode_stream(GEMINI, [stream])

    assert ("tool_calls", "STOP") == (answer.finish_reason, answer.finish_reason_raw)
    assert [("f", {"a": 1}, None, None), ("g", {}, None, "s"), ("h", {}, "x", None)] == [
        (call.name, call.parsed, call.id, call.signature) for call in answer.tool_calls
    ]


def test_only_the_first_candidate_is_read():
    """Whichever piece brings the others."""
    stream = sse(piece({"text": "a"}), piece({"text": "other"}, index=1, finish="STOP"), piece({"text": "b"}, finish="STOP"))

    assert "ab" == decode_stream(GEMINI, [stream])[0].content


def test_code_and_its_results_are_no_part_of_the_text():
    """Google ran it itself."""
    parts = [{"text": "a"}, {"executableCode": {"code": "x"}}, {"codeExecutionResult": {"output": "y"}}, {"text": "b"}]

    assert "ab" == answered(piece(*parts, finish="STOP")).content


def test_usage_counts_thoughts_tools_and_sound():
    """Thoughts are billed output, prompts of tools are further input."""
    usage = answered(
        piece(
            {"text": "x"},
            finish="STOP",
            usageMetadata={
                "promptTokenCount": 20,
                "toolUsePromptTokenCount": 5,
                "cachedContentTokenCount": 8,
                "candidatesTokenCount": 6,
                "thoughtsTokenCount": 4,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 18}, {"modality": "AUDIO", "tokenCount": 2}],
            },
        )
    ).usage

    assert (25, 8, 10, 4, 2) == (
        usage.input_tokens,
        usage.cache_read_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        usage.audio_input_tokens,
    )


def test_a_stream_may_be_a_json_array():
    """Without ``alt=sse`` Google sends one, over many reads."""
    body = ("[" + "\n,\r\n".join(json.dumps(found, indent=2) for found in GEMINI_PIECES) + "\n]").encode()

    assert (answered(GEMINI_WHOLE), None) == decode_stream(GEMINI, sliced(body, 11))
    assert answered(GEMINI_WHOLE) == GEMINI.decode(body)


def test_an_array_that_is_cut_or_unfinished_is_no_answer():
    """Its end bracket, and a reason why it ended, must have come."""
    body = json.dumps(GEMINI_PIECES).encode()
    unfinished = json.dumps(GEMINI_PIECES[:-1]).encode()

    assert (MalformedReply, StreamInterrupted) == (
        type(decode_stream(GEMINI, [body[:-1]])[1]),
        type(decode_stream(GEMINI, [unfinished])[1]),
    )


def test_an_error_at_the_end_of_an_array_is_raised():
    """Half an answer and an error are an error."""
    body = json.dumps([GEMINI_PIECES[0], {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}]).encode()

    assert VendorUnavailable is type(decode_stream(GEMINI, [body])[1])


def test_a_stream_is_read_on_behind_a_reason():
    """Google may give one, and go on."""
    stream = sse(piece({"text": "a"}, finish="STOP"), piece({"text": "b"}, finish="STOP"))
    answer, error = decode_stream(GEMINI, sliced(stream, 20))

    assert ("ab", None) == (answer.content, error)
