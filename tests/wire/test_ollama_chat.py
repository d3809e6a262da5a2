"""Ollama's own chat as a client speaks it."""

import base64
import json

import pytest

from llmdispatcher import (
    AudioPart,
    FilePart,
    ImagePart,
    InvalidRequest,
    MalformedReply,
    Message,
    OtherPart,
    ReasoningPart,
    Request,
    StreamInterrupted,
    TextPart,
    Tool,
    ToolCall,
    VendorTool,
)
from llmdispatcher.types import fold
from llmdispatcher.wire import OLLAMA_CHAT
from llmdispatcher.wire.streams import LineParser

from ..cases import each
from .corpus import decode_stream, sliced
from .recordings import lines

PIXEL = b"\x89PNG\r\n\x1a\n"


def sent(*messages, quirks=frozenset(), stream=False, **fields):
    """What is sent for a request."""
    request = Request("m", list(messages) or [Message.user("Hi")], **fields)
    return json.loads(OLLAMA_CHAT.encode(request, stream=stream, quirks=quirks))


def line(done=False, **message):
    """One line of a stream."""
    end = {"done_reason": "stop", "prompt_eval_count": 2, "eval_count": 3} if done else {}
    return {"model": "m", "message": {"role": "assistant", "content": "", **message}, "done": done, **end}


def answer(*documents):
    """What a stream of those lines says, and the error that ended it."""
    return decode_stream(OLLAMA_CHAT, [lines(*documents)])


def test_whether_to_stream_is_always_said():
    """Ollama streams unless it is told not to."""
    assert [False, True] == [sent(stream=stream)["stream"] for stream in (False, True)]


def test_settings_are_options():
    """Under Ollama's names; more of them come with ``extra_params``."""
    body = sent(
        max_tokens=5,
        temperature=0.5,
        top_p=0.9,
        top_k=3,
        seed=7,
        stop="x",
        presence_penalty=1,
        frequency_penalty=-1,
        logprobs=True,
        top_logprobs=2,
        extra_params={"options": {"num_ctx": 4096}, "keep_alive": "5m"},
    )

    assert {
        "num_predict": 5,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "seed": 7,
        "stop": ["x"],
        "presence_penalty": 1,
        "frequency_penalty": -1,
        "num_ctx": 4096,
    } == body["options"]
    assert (True, 2, "5m") == (body["logprobs"], body["top_logprobs"], body["keep_alive"])


@each(
    "fields, quirks, think",
    [
        ({"reasoning_effort": "none"}, (), False),
        ({"reasoning_effort": "minimal"}, (), "low"),
        ({"reasoning_effort": "medium"}, (), "medium"),
        ({"reasoning_effort": "max"}, (), "high"),
        ({"reasoning_effort": "low"}, ("no_effort",), True),
        ({"reasoning_tokens": 0}, (), False),
        ({"reasoning_tokens": 100}, (), True),
        ({"reasoning_summary": "auto"}, (), None),
    ],
)
def test_an_effort_is_a_level_of_thought(fields, quirks, think):
    """Or whether to think at all, where a model has no levels."""
    assert think == sent(quirks=frozenset(quirks), **fields).get("think")


@each(
    "asked, form",
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, "json"),
        ({"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}, {"type": "object"}),
    ],
)
def test_the_form_of_an_answer_is_a_word_or_a_schema(asked, form):
    """As Ollama has it."""
    assert form == sent(response_format=asked).get("format")


def test_a_tool_loop_in_ollamas_words():
    """Arguments are objects; a result names the function that it is of."""
    body = sent(
        Message.user("Weather?"),
        Message.assistant(
            ReasoningPart(text="Hm."), "Let me look.", tool_calls=[ToolCall(id="c1", name="f", arguments='{"a": 1}')]
        ),
        Message.tool("9 °C", "c1"),
        Message.tool("8 °C", name="g"),
        tools=[Tool(name="f", description="d", parameters={"type": "object"}), Tool(name="g")],
    )

    assert [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "Let me look.",
            "thinking": "Hm.",
            "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": {"a": 1}}}],
        },
        {"role": "tool", "content": "9 °C", "tool_name": "f", "tool_call_id": "c1"},
        {"role": "tool", "content": "8 °C", "tool_name": "g"},
    ] == body["messages"]
    assert [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}},
        {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}},
    ] == body["tools"]


@each(
    "image",
    [ImagePart(data=PIXEL, media_type="image/png"), ImagePart(url="data:image/png;base64," + base64.b64encode(PIXEL).decode())],
)
def test_pictures_are_beside_the_text(image):
    """In base64, without their kind."""
    assert [{"role": "user", "content": "a\nb", "images": [base64.b64encode(PIXEL).decode()]}] == sent(
        Message.user("a", image, "b")
    )["messages"]


@each(
    "part, words",
    [
        (ImagePart(url="https://a.example/b.png"), "give the bytes"),
        (ImagePart(file_id="f"), "give the bytes"),
        (AudioPart(data=b"x", format="wav"), "AudioPart"),
        (FilePart(data=b"x", media_type="application/pdf"), "FilePart"),
        (OtherPart(origin="gemini", data={"type": "code"}), "known to gemini"),
    ],
)
def test_what_ollama_cannot_take_is_named(part, words):
    """With what to do instead."""
    with pytest.raises(InvalidRequest, match=words):
        sent(Message.user("Hi", part))


@each(
    "fields, name",
    [
        ({"n": 2}, "n"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"tools": [VendorTool(origin="gemini", data={"type": "web"})]}, "tools"),
    ],
)
def test_what_has_no_place_is_refused_or_dropped(fields, name):
    """By name, unless the request allows that it is left out."""
    with pytest.raises(InvalidRequest, match=f"^{name}"):
        sent(**fields)
    assert {"model", "messages", "stream"} == sent(drop_params=True, **fields).keys()


def test_advice_has_no_place_and_changes_nothing():
    """So it is left out silently."""
    body = sent(
        user="me", prompt_cache="5m", prompt_cache_key="k", service_tier="flex", n=1, tool_choice="auto", parallel_tool_calls=True
    )

    assert {"model", "messages", "stream"} == body.keys()


def test_no_tools_are_sent_where_none_may_be_called():
    """The format has no other way to say it."""
    assert "tools" not in sent(tools=[Tool(name="f")], tool_choice="none")


@each("arguments", ["{", "[1]", '"x"'])
def test_arguments_are_objects_or_refused(arguments):
    """Before they are sent."""
    with pytest.raises(InvalidRequest, match="arguments of 'f'"):
        sent(Message.assistant(tool_calls=[ToolCall(name="f", arguments=arguments)]))


def test_thoughts_of_another_format_are_left_out():
    """Nobody else can make anything of them."""
    turn = Message.assistant(ReasoningPart(text="Hm.", origin="gemini"), "Hi")

    assert [{"role": "assistant", "content": "Hi"}] == sent(turn)["messages"]


def test_calls_without_ids_get_one(numbered_ids):
    """Older servers give none."""
    call = {"function": {"name": "f", "arguments": {"a": "é"}}}
    response, _ = answer(line(tool_calls=[call, call]), line(tool_calls=[call]), line(True))

    assert [("call_0", '{"a": "é"}'), ("call_1", '{"a": "é"}'), ("call_2", '{"a": "é"}')] == [
        (each.id, each.arguments) for each in response.tool_calls
    ]


def test_an_end_without_a_reason_is_an_end():
    """As old servers have it."""
    response, error = answer({"message": {"content": "Hi"}, "done": True})

    assert ("Hi", "stop", None, None) == (response.content, response.finish_reason, response.finish_reason_raw, error)


def test_thoughts_are_parts_that_go_back():
    """In their order; the next turn has them as Ollama wants them."""
    response, _ = answer(line(thinking="H"), line(thinking="m.", content="Hi"), line(thinking="Well."), line(True))

    assert (
        ReasoningPart(text="Hm.", origin="ollama_chat"),
        TextPart(text="Hi"),
        ReasoningPart(text="Well.", origin="ollama_chat"),
    ) == response.parts
    assert "Hm.Well." == response.reasoning == sent(response.message)["messages"][0]["thinking"]


def test_log_probabilities_are_kept():
    """One entry for each token."""
    response, _ = answer({**line(content="a"), "logprobs": [{"token": "a"}]}, {**line(True), "logprobs": [{"token": "b"}]})

    assert ({"token": "a"}, {"token": "b"}) == response.logprobs


@each("end", [b"", b"\n", b"\r\n\r\n"])
def test_a_stream_is_complete_when_it_is_done(end):
    """Whatever ends its last line, and not before."""
    body = lines(line(content="a"), line(True)).rstrip() + end

    assert None is decode_stream(OLLAMA_CHAT, [body])[1]
    assert StreamInterrupted is type(answer(line(content="a"))[1])


def test_lines_may_end_in_any_way():
    """CR and LF, blanks, empty lines, a byte order mark."""
    body = b"\xef\xbb\xbf\n" + lines(line(content="a"), line(content="b"), line(True)).replace(b"\n", b" \r\n\r\n")

    assert ["ab"] * 3 == [decode_stream(OLLAMA_CHAT, pieces)[0].content for pieces in ([body], sliced(body, 1), sliced(body, 7))]


def test_an_unasked_stream_is_read():
    """A proxy may lose that none was wanted."""
    assert "ab" == OLLAMA_CHAT.decode(lines(line(content="a"), line(content="b"), line(True))).content


def test_a_whole_answer_must_be_done():
    """Else it is a piece of one."""
    with pytest.raises(StreamInterrupted):
        OLLAMA_CHAT.decode(json.dumps(line(content="a")).encode())


def test_an_event_that_breaks_off_is_no_event():
    """A whole one that no empty line follows is read; a piece of one is not."""
    body = b"data: " + json.dumps(line(True, content="a")).encode() + b"\n"

    assert "a" == decode_stream(OLLAMA_CHAT, [body])[0].content
    assert StreamInterrupted is type(decode_stream(OLLAMA_CHAT, [body[:-3]])[1])


def test_a_line_has_a_limit():
    """A server that ends none would fill the memory."""
    with pytest.raises(MalformedReply, match="longer"):
        LineParser(1_000).feed(b"x" * 1_001)


def test_text_of_a_long_stream_is_all_there():
    """Piece by piece, as it was sent."""
    body = lines(*[line(content=f"{number} ") for number in range(1000)], line(True))
    decoder = OLLAMA_CHAT.decoder()

    assert (
        "".join(f"{number} " for number in range(1000))
        == fold([chunk for piece in sliced(body, 64) for chunk in decoder.feed(piece)]).content
    )
