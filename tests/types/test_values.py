"""Requests are checked where they are made, with field, value and remedy; nothing is changed behind the caller's back."""

from types import MappingProxyType

import pytest

from llmdispatcher import FilePart, ImagePart, InvalidRequest, Message, Request, Response, TextPart, Tool, ToolCall, Usage

from ..cases import each

HELLO = [{"role": "user", "content": "hello"}]
CALLED = [Message.assistant(tool_calls=[ToolCall(name="f", id="c1")])]


@each(
    "wrong, text",
    [
        ({"temperature": 2.1}, r"temperature: 2\.1 .* 0 to 2"),
        ({"temperature": -0.1}, "temperature: -0.1"),
        ({"temperature": True}, "temperature: True"),
        ({"temperature": "hot"}, "temperature: 'hot'"),
        ({"temperature": float("nan")}, "temperature: nan"),
        ({"top_p": 1.5}, "top_p: 1.5 .* 0 to 1"),
        ({"max_tokens": -1}, "max_tokens: -1 .* ≥ 1; omit it for the model's default"),
        ({"max_tokens": 0}, "max_tokens: 0 .* ≥ 1; omit it"),
        ({"max_tokens": 1.5}, "max_tokens: 1.5"),
        ({"max_tokens": True}, "max_tokens: True"),
        ({"n": 0}, "n: 0 .* ≥ 1; omit it"),
        ({"n": -2}, "n: -2 "),
        ({"n": "2"}, "n: '2' "),
        (
            {"messages": [*HELLO, {"role": "tool", "content": "x"}]},
            r"messages\[1\].tool_call_id: None .* Message.tool\(content, call.id\)",
        ),
        ({"messages": [*HELLO, *CALLED, Message.tool("x")]}, r"messages\[2\].tool_call_id: None"),
        ({"messages": [*HELLO, *CALLED, Message.tool("x", "")]}, r"messages\[2\].tool_call_id: ''"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": 7}]}, "message.tool_call_id: 7 is not text"),
        ({"messages": [{"role": "user", "content": "x", "name": 7}]}, "message.name: 7 is not text"),
        ({"frequency_penalty": 3}, "frequency_penalty: 3"),
        ({"model": ""}, "model: ''"),
        ({"model": "  "}, "model: '  '"),
        ({"model": None}, "model: None"),
        ({"messages": []}, "messages: an empty list"),
        ({"messages": None}, "messages: NoneType"),
        ({"messages": [3]}, "messages: int is not a message"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "message.role: 'robot' .* system, developer, user"),
        ({"messages": [{"content": "x"}]}, "'role'"),
        ({"messages": [{"role": "user", "content": "x", "colour": 1}]}, "unknown key 'colour'"),
        ({"messages": [{"role": "user", "content": ""}]}, "a user message is empty"),
        ({"messages": [{"role": "user", "content": None}]}, "a user message is empty"),
        ({"messages": [{"role": "user", "content": 5}]}, "message.content: int"),
        ({"messages": [{"role": "user", "content": [{"type": "hologram"}]}]}, "'hologram'"),
        ({"messages": [{"role": "user", "content": [7]}]}, "a int is not a part"),
        ({"messages": [{"role": "user", "content": "x", "tool_calls": [{"name": "f"}]}]}, "only an assistant"),
        ({"stop": [1]}, "stop: "),
        ({"stop": 1}, "stop: 1"),
        ({"metadata": "x"}, "metadata: str is not a mapping"),
        ({"extra_params": [1]}, "extra_params: list is not a mapping"),
        ({"tools": [{"type": "function"}]}, "tools: a tool has no name"),
        ({"tools": 5}, "tools: int is not a list of tools"),
        ({"tools": {"name": "f"}}, "tools: dict is not a list of tools"),
        ({"tools": [5]}, "tools: int is not a tool"),
        ({"tool_choice": 5}, "tool_choice: int .* 'required'"),
        ({"response_format": "json"}, "response_format: str .*json_object"),
        ({"seed": "one"}, "seed: str .* whole number"),
        ({"user": 5}, "user: int .* text"),
    ],
)
def test_wrong_input_is_named(wrong, text):
    """The error tells the field, the value and what to do."""
    with pytest.raises(InvalidRequest, match=text):
        Request(**{"model": "gpt-4o", "messages": HELLO, **wrong})


@each(
    "fine",
    [{"temperature": 0.0}, {"temperature": 2}, {"top_p": 0}, {"max_tokens": 1}, {"n": 1}, {"stop": "END"}, {"stop": ["a", "b"]}],
)
def test_limits_belong_to_the_range(fine):
    """0.0 is a value, not an absence."""
    request = Request("gpt-4o", HELLO, **fine)

    assert all(getattr(request, name) not in (None, ()) for name in fine)


def test_plain_dicts_strings_and_objects_are_the_same_messages():
    """However a conversation is written, it reads the same."""
    assert Request("m", HELLO).messages == Request("m", [Message.user("hello")]).messages == Request("m", "hello").messages


def test_an_assistant_may_say_nothing_but_call_a_tool():
    """Tool turns have no text of their own."""
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    request = Request(
        "m",
        [
            *HELLO,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "9 °C", "tool_call_id": "c1"},
        ],
    )

    assert (ToolCall(id="c1", name="weather", arguments='{"city": "Oslo"}'),) == request.messages[1].tool_calls
    assert {"city": "Oslo"} == request.messages[1].tool_calls[0].parsed


@each(
    "talk",
    [
        [*CALLED, Message.tool("x", "c1")],
        [*CALLED, Message.tool("x", name="f")],
        [Message.assistant(tool_calls=[ToolCall(name="f")]), Message.tool("x")],
        [{"role": "assistant", "function_call": {"name": "f"}}, {"role": "function", "name": "f", "content": "x"}],
    ],
)
def test_a_result_tells_its_call(talk):
    """By an id, by a name, or by its place after a call that has no id: not every vendor gives them."""
    assert "tool" == Request("m", [*HELLO, *talk]).messages[-1].role


def test_a_request_from_a_wire_format_keeps_what_its_sender_wrote():
    """Its vendor judges."""
    request = Request("m", [*HELLO, Message.tool("x")], n=0, max_tokens=0, wire_format="openai_chat")

    assert (0, 0, None) == (request.n, request.max_tokens, request.messages[1].tool_call_id)


def test_parts_are_read_from_dicts():
    """OpenAI's part dicts, strings and objects mix."""
    message = Message(
        "user",
        [
            {"type": "text", "text": "What is "},
            "this? ",
            {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
        ],
    )

    assert (TextPart(text="What is "), TextPart(text="this? "), ImagePart(url="https://x/y.png", detail="low")) == message.content
    assert "What is this? " == message.text


def test_parts_with_a_source_are_images_and_documents():
    """As Anthropic and llmring write them; a source that is none is told with what one is."""
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQ="}
    parts = [
        {"type": "document", "source": pdf},
        {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
        {"type": "document", "source": {"type": "file", "file_id": "file-1"}},
    ]
    expected = (
        FilePart(data=b"%PDF-1.4", media_type="application/pdf"),
        ImagePart(url="https://x/y.png"),
        FilePart(file_id="file-1"),
    )

    assert expected == Message("user", parts).content
    for source, told in (
        (None, "the source of a part of type 'document' is none"),
        ({"type": "bytes"}, "the source of a part of type 'document' is none"),
        ({**pdf, "data": "!"}, "source.data is not base64"),
        ({**pdf, "media_type": None}, "source.media_type is NoneType"),
    ):
        with pytest.raises(InvalidRequest, match=told):
            Message("user", [{"type": "document", "source": source}])


def test_an_image_url_may_be_a_bare_string():
    """A common shorthand is understood."""
    assert (ImagePart(url="https://x/y.png"),) == Message("user", [{"type": "image_url", "image_url": "https://x/y.png"}]).content


def test_a_wrong_message_does_not_repeat_what_was_said():
    """Prompts stay out of error texts."""
    with pytest.raises(InvalidRequest) as caught:
        Request("m", [{"role": "user", "content": [{"type": "hologram", "text": "my secret"}]}])

    assert "my secret" not in str(caught.value)


def test_tools_are_read_from_either_form():
    """OpenAI's wrapper and the bare function are one tool."""
    bare = {"name": "f", "description": "d", "parameters": {"type": "object"}}

    assert Request("m", HELLO, tools=[bare]).tools == Request("m", HELLO, tools=[{"type": "function", "function": bare}]).tools
    assert Tool(name="f", description="d", parameters={"type": "object"}) == Request("m", HELLO, tools=[bare]).tools[0]


def test_tool_arguments_may_be_empty():
    """A call without arguments parses to None."""
    assert ToolCall(name="now", arguments="  ").parsed is None


def test_message_makers_give_each_role():
    """The short forms build what the long ones do."""
    made = [Message.system("s"), Message.user("u"), Message.assistant("a"), Message.tool("r", "c1", name="f")]

    assert ["system", "user", "assistant", "tool"] == [message.role for message in made]
    assert ("r", "c1", "f") == (made[3].text, made[3].tool_call_id, made[3].name)


def test_a_response_goes_on_as_a_message():
    """An answer, tool calls included, can be put back into the conversation."""
    call = ToolCall(name="f", arguments="{}", id="1")
    response = Response(content="hi", model="gpt-4o", vendor="openai", tool_calls=(call,))

    assert Message("assistant", "hi", tool_calls=(call,)) == response.message
    assert "openai:gpt-4o" == response.ref


def test_usage_speaks_both_vocabularies():
    """prompt/completion and input/output are the same numbers."""
    usage = Usage(input_tokens=7, output_tokens=5)

    assert (7, 5, 12) == (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)


@each(
    "given, text",
    [({"a": "é"}, '{"a": "é"}'), ({}, "{}"), (None, ""), ('{"a":1}', '{"a":1}'), (MappingProxyType({"a": 1}), '{"a": 1}')],
)
def test_arguments_of_a_tool_call_are_text(given, text):
    """A dict is written as JSON, as vendors want it."""
    assert text == ToolCall(name="f", arguments=given).arguments


@each("given", [[1], 3, {"a": object()}, {"a": float("nan")}])
def test_other_arguments_of_a_tool_call_are_refused(given):
    """When the call is made."""
    with pytest.raises(InvalidRequest, match="tool call: its arguments"):
        ToolCall(name="f", arguments=given)
