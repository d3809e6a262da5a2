"""One conversation, with parts, tools and results, as each format writes it."""

import base64
import json

import pytest

from llmdispatcher import AudioPart, FilePart, ImagePart, InvalidRequest, Message, ReasoningPart, Request, TextPart, Tool, ToolCall
from llmdispatcher.types import fold
from llmdispatcher.wire.codecs import CODECS

from ..cases import each

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = Tool(name="weather", description="The weather of a city.", parameters=SCHEMA)
PIXEL = b"\x89PNG\r\n"
ENCODED = base64.b64encode(PIXEL).decode()
LOOP = [
    Message.user("Weather in Oslo and Rome?"),
    Message.assistant(
        "Let me look.",
        tool_calls=[
            ToolCall(id="c1", name="weather", arguments='{"city": "Oslo"}', signature="sig"),
            ToolCall(id="c2", name="weather", arguments='{"city": "Rome"}'),
        ],
    ),
    Message.tool("9 °C", "c1"),
    Message("tool", '{"degrees": 21}', tool_call_id="c2", is_error=False),
    Message.user("Thanks."),
]


def sent(codec, *messages, **fields):
    return json.loads(CODECS[codec].encode(Request("m", messages, **fields), stream=False))


def test_a_tool_loop_in_anthropics_words():
    """Calls are blocks with an object, all results of a round are blocks of one user turn."""
    body = sent("anthropic_messages", *LOOP, tools=[WEATHER])

    assert [{"name": "weather", "description": "The weather of a city.", "input_schema": SCHEMA}] == body["tools"]
    assert [
        {"role": "user", "content": "Weather in Oslo and Rome?"},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Oslo"}},
                {"type": "tool_use", "id": "c2", "name": "weather", "input": {"city": "Rome"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "9 °C"},
                {"type": "tool_result", "tool_use_id": "c2", "content": '{"degrees": 21}', "is_error": False},
                {"type": "text", "text": "Thanks."},
            ],
        },
    ] == body["messages"]


def test_a_tool_loop_in_googles_words():
    """Calls keep their signatures, results name their function and are objects."""
    body = sent("gemini", *LOOP, tools=[WEATHER])

    assert [
        {"functionDeclarations": [{"name": "weather", "description": "The weather of a city.", "parametersJsonSchema": SCHEMA}]}
    ] == body["tools"]
    assert [
        {"role": "user", "parts": [{"text": "Weather in Oslo and Rome?"}]},
        {
            "role": "model",
            "parts": [
                {"text": "Let me look."},
                {"functionCall": {"name": "weather", "args": {"city": "Oslo"}, "id": "c1"}, "thoughtSignature": "sig"},
                {"functionCall": {"name": "weather", "args": {"city": "Rome"}, "id": "c2"}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "weather", "response": {"result": "9 °C"}, "id": "c1"}},
                {"functionResponse": {"name": "weather", "response": {"degrees": 21}, "id": "c2"}},
            ],
        },
        {"role": "user", "parts": [{"text": "Thanks."}]},
    ] == body["contents"]


@each(
    "choice, anthropic, google",
    [
        ("auto", {"type": "auto"}, {"mode": "AUTO"}),
        ("none", {"type": "none"}, {"mode": "NONE"}),
        ("required", {"type": "any"}, {"mode": "ANY"}),
        ("any", {"type": "any"}, {"mode": "ANY"}),
        (
            {"type": "function", "function": {"name": "weather"}},
            {"type": "tool", "name": "weather"},
            {"mode": "ANY", "allowedFunctionNames": ["weather"]},
        ),
    ],
)
def test_a_tool_choice_in_each_formats_words(choice, anthropic, google):
    """One way to ask, whoever answers."""
    assert anthropic == sent("anthropic_messages", Message.user("x"), tools=[WEATHER], tool_choice=choice)["tool_choice"]
    config = sent("gemini", Message.user("x"), tools=[WEATHER], tool_choice=choice)["toolConfig"]
    assert {"functionCallingConfig": google} == config


def test_a_formats_own_tool_choice_is_passed_on():
    """What only one vendor has can still be asked of it."""
    own = {"type": "auto", "disable_parallel_tool_use": True}

    assert own == sent("anthropic_messages", Message.user("x"), tool_choice=own)["tool_choice"]
    assert {"mode": "VALIDATED"} == sent("gemini", Message.user("x"), tool_choice={"mode": "VALIDATED"})["toolConfig"][
        "functionCallingConfig"
    ]


PARTS = {
    "bytes": ImagePart(data=PIXEL, media_type="image/png"),
    "data url": ImagePart(url=f"data:image/png;base64,{ENCODED}"),
    "url": ImagePart(url="https://x.example/y.png", media_type="image/png"),
    "pdf": FilePart(data=b"%PDF", media_type="application/pdf", name="a.pdf"),
    "text file": FilePart(data=b"plain", media_type="text/plain"),
    "file id": FilePart(file_id="file-1"),
    "audio": AudioPart(data=b"RIFF", format="wav"),
    "thought": ReasoningPart(text="hm", signature="s"),
    "hidden thought": ReasoningPart(encrypted="zzz"),
}
INLINE = {"mimeType": "image/png", "data": ENCODED}
SENT = {
    # part: as Anthropic writes it, as Google writes it
    "bytes": ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ENCODED}}, {"inlineData": INLINE}),
    "data url": (
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ENCODED}},
        {"inlineData": INLINE},
    ),
    "url": (
        {"type": "image", "source": {"type": "url", "url": "https://x.example/y.png"}},
        {"fileData": {"fileUri": "https://x.example/y.png", "mimeType": "image/png"}},
    ),
    "pdf": (
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}, "title": "a.pdf"},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERg=="}},
    ),
    "text file": (
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain"}},
        {"inlineData": {"mimeType": "text/plain", "data": "cGxhaW4="}},
    ),
    "file id": ({"type": "document", "source": {"type": "file", "file_id": "file-1"}}, {"fileData": {"fileUri": "file-1"}}),
    "audio": (None, {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}}),
    "thought": ({"type": "thinking", "thinking": "hm", "signature": "s"}, {"text": "hm", "thought": True, "thoughtSignature": "s"}),
    "hidden thought": ({"type": "redacted_thinking", "data": "zzz"}, {"text": "", "thought": True}),
}


@each("name", list(PARTS))
def test_a_part_in_googles_words(name):
    """Every kind of part has a place."""
    assert [SENT[name][1]] == sent("gemini", Message.user(PARTS[name]))["contents"][0]["parts"]


@each("name", [name for name in PARTS if SENT[name][0] is not None])
def test_a_part_in_anthropics_words(name):
    """Images, documents and thoughts."""
    assert [SENT[name][0]] == sent("anthropic_messages", Message.user(PARTS[name]))["messages"][0]["content"]


def test_what_anthropic_cannot_hear_is_named():
    """Audio is refused by name."""
    with pytest.raises(InvalidRequest, match="AudioPart"):
        sent("anthropic_messages", Message.user(PARTS["audio"]))


def test_a_json_schema_in_each_formats_words():
    """One response_format, whoever answers."""
    asked = {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA, "strict": True}}

    assert {"format": {"type": "json_schema", "schema": {**SCHEMA, "additionalProperties": False}}} == sent(
        "anthropic_messages", Message.user("x"), response_format=asked
    )["output_config"]
    assert {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA} == sent(
        "gemini", Message.user("x"), response_format=asked
    )["generationConfig"]
    assert asked == sent("openai_chat", Message.user("x"), response_format=asked)["response_format"]


def test_json_without_a_schema():
    """Google has a JSON mode, Anthropic is asked in words."""
    assert {"responseMimeType": "application/json"} == sent("gemini", Message.user("x"), response_format={"type": "json_object"})[
        "generationConfig"
    ]
    assert (
        "Answer with one JSON object and nothing else."
        == sent("anthropic_messages", Message.user("x"), response_format={"type": "json_object"})["system"]
    )


@each("codec", ["anthropic_messages", "gemini"])
def test_plain_text_asks_for_nothing(codec):
    """The default format needs no field."""
    assert {"output_config", "generationConfig"}.isdisjoint(sent(codec, Message.user("x"), response_format={"type": "text"}))


def test_results_of_tools_say_when_they_are_errors():
    """Each format in its way; a result may have parts, a call may have no arguments."""
    call = Message.assistant(tool_calls=[ToolCall(id="c", name="f")])
    failed = Message("tool", (TextPart(text="broken"),), tool_call_id="c", is_error=True)
    anthropic = sent("anthropic_messages", Message.user("x"), call, failed)["messages"]
    google = sent("gemini", Message.user("x"), call, failed)["contents"]

    assert [{"type": "tool_use", "id": "c", "name": "f", "input": {}}] == anthropic[1]["content"]
    assert [
        {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "broken"}], "is_error": True}
    ] == anthropic[2]["content"]
    assert {"functionResponse": {"name": "f", "response": {"error": "broken"}, "id": "c"}} == google[2]["parts"][0]


THOUGHT = [
    ("content_block_start", {"index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}}),
    ("content_block_delta", {"index": 0, "delta": {"type": "thinking_delta", "thinking": "First "}}),
    ("content_block_delta", {"index": 0, "delta": {"type": "thinking_delta", "thinking": "this."}}),
    ("content_block_delta", {"index": 0, "delta": {"type": "signature_delta", "signature": "proof"}}),
    ("content_block_stop", {"index": 0}),
    ("content_block_start", {"index": 1, "content_block": {"type": "redacted_thinking", "data": "hidden"}}),
    ("content_block_stop", {"index": 1}),
    ("content_block_start", {"index": 2, "content_block": {"type": "text", "text": ""}}),
    ("content_block_delta", {"index": 2, "delta": {"type": "text_delta", "text": "Oslo is cold."}}),
    ("content_block_stop", {"index": 2}),
    ("message_delta", {"delta": {"stop_reason": "end_turn"}}),
    ("message_stop", {}),
]
BLOCKS = [
    {"type": "thinking", "thinking": "First this.", "signature": "proof"},
    {"type": "redacted_thinking", "data": "hidden"},
    {"type": "text", "text": "Oslo is cold."},
]


def streamed_answer():
    decoder = CODECS["anthropic_messages"].decoder()
    body = "".join(f"event: {name}\ndata: {json.dumps({'type': name, **fields})}\n\n" for name, fields in THOUGHT).encode()
    return fold([chunk for start in range(0, len(body), 7) for chunk in decoder.feed(body[start : start + 7])])


def test_thoughts_go_back_to_their_vendor_unchanged():
    """Text, signature and what is hidden are kept from a stream as from a whole answer, and sent back as they came."""
    whole = CODECS["anthropic_messages"].decode(json.dumps({"content": BLOCKS, "stop_reason": "end_turn"}).encode())

    assert whole.reasoning_parts == streamed_answer().reasoning_parts
    assert ("First this.", "Oslo is cold.") == (whole.reasoning, whole.content)
    assert BLOCKS == sent("anthropic_messages", Message.user("x"), whole.message)["messages"][1]["content"]


def test_thoughts_of_one_vendor_are_not_shown_to_another():
    """A conversation moves on to another vendor with what was said, not with proofs that it cannot read."""
    turn = streamed_answer().message

    assert "Oslo is cold." == sent("openai_chat", Message.user("x"), turn)["messages"][1]["content"]
    assert [{"text": "Oslo is cold."}] == sent("gemini", Message.user("x"), turn)["contents"][1]["parts"]
