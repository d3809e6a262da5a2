"""Anthropic's SDK understands every answer of messages, and is understood."""

from __future__ import annotations

from llmdispatcher.testing import SimulatedResponse, VendorSimulator, faults

from ..cases import each
from .said import CALLS, CITED, ENCODED, FORM, LIMA, NOW, OSLO, PICTURE, SCHEMA, TEXT, THOUGHT, WEATHER, between

ASKED = {"model": "claude-sonnet-5", "max_tokens": 500, "messages": [{"role": "user", "content": "Tell me"}]}
TOOL = {"name": "get_weather", "input_schema": SCHEMA}
WAYS = ("message", "message_stream")


@each("way", WAYS)
def test_text_arrives_with_its_facts(anthropic_sdk, way):
    """Text to the last sign, role, model, the end."""
    with VendorSimulator(responses=TEXT) as sim:
        told = anthropic_sdk(way, sim.anthropic_url, **ASKED)

    assert ([{"type": "text", "text": TEXT}], "assistant") == (told["blocks"], told["role"])
    assert ("claude-sonnet-5", "end_turn", None) == (told["model"], told["stop"], told["sequence"])


def test_a_stream_comes_word_by_word(anthropic_sdk):
    """Each word in an event of its own."""
    with VendorSimulator(responses="one two three") as sim:
        told = anthropic_sdk("message_stream", sim.anthropic_url, **ASKED)

    assert ["one", " two", " three"] == told["pieces"]


@each("way", WAYS)
def test_parallel_calls_arrive_whole(anthropic_sdk, way):
    """Three calls after a text, their input an object."""
    with VendorSimulator(responses=CALLS) as sim:
        told = anthropic_sdk(way, sim.anthropic_url, tools=[TOOL], **ASKED)
    expected = [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": call.parsed, "caller": {"type": "direct"}}
        for call in (OSLO, LIMA, NOW)
    ]

    assert [{"type": "text", "text": CALLS.text}, *expected] == told["blocks"]
    assert "tool_use" == told["stop"]


@each("way", WAYS)
def test_thoughts_come_first_and_are_signed(anthropic_sdk, way):
    """A block of thinking with what proves it, then the text."""
    with VendorSimulator(responses=THOUGHT) as sim:
        thought, text = anthropic_sdk(way, sim.anthropic_url, **ASKED)["blocks"]

    assert (THOUGHT.reasoning, True) == (thought["thinking"], bool(thought["signature"]))
    assert {"type": "text", "text": THOUGHT.text} == text


@each("way", WAYS)
def test_usage_is_counted(anthropic_sdk, way):
    """Input and output, thoughts included."""
    with VendorSimulator(responses=THOUGHT) as sim:
        usage = anthropic_sdk(way, sim.anthropic_url, **ASKED)["usage"]

    assert {"input": 5, "output": 10, "tier": "standard"} == usage


@each("way", WAYS)
@each(
    "answer, asked, stop",
    [
        (SimulatedResponse("word " * 40), {"max_tokens": 5}, "max_tokens"),
        (SimulatedResponse("", finish="content_filter"), {}, "refusal"),
    ],
)
def test_every_end_has_its_word(anthropic_sdk, way, answer, asked, stop):
    """The vendor's stop reasons."""
    with VendorSimulator(responses=answer) as sim:
        assert stop == anthropic_sdk(way, sim.anthropic_url, **{**ASKED, **asked})["stop"]


def test_tokens_are_counted_beforehand(anthropic_sdk):
    """What the answer's usage will say."""
    with VendorSimulator() as sim:
        counted = anthropic_sdk("count", sim.anthropic_url, model=ASKED["model"], messages=ASKED["messages"], system="Be brief")

    assert 10 == counted


def test_a_structured_answer_is_parsed(anthropic_sdk):
    """Into the SDK's own class; the request has its schema."""
    with VendorSimulator(responses=FORM) as sim:
        told = anthropic_sdk("message_parse", sim.anthropic_url, **ASKED)
        asked = sim.requests[0].json["output_config"]["format"]

    assert (WEATHER, "json_schema") == (told, asked["type"])


def test_a_picture_is_sent(anthropic_sdk):
    """It is understood as one."""
    content = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ENCODED}},
        {"type": "text", "text": "What is it?"},
    ]
    with VendorSimulator(responses="A dot.") as sim:
        told = anthropic_sdk("message", sim.anthropic_url, **{**ASKED, "messages": [{"role": "user", "content": content}]})
        picture, text = sim.requests[0].server_request.request.messages[0].content

    assert [{"type": "text", "text": "A dot."}] == told["blocks"]
    assert (PICTURE, "image/png", "What is it?") == (picture.data, picture.media_type, text.text)


def test_settings_are_understood(anthropic_sdk):
    """System's words, sampling, thinking, tools and the choice among them, results of tools."""
    messages = [
        {"role": "user", "content": "How is the weather?"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "one", "name": "get_weather", "input": {"city": "Oslo"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "one", "content": "cold"}]},
    ]
    settings = {
        "system": "Be brief",
        "stop_sequences": ["END"],
        "thinking": {"type": "enabled", "budget_tokens": 100},
        "tools": [TOOL],
        "tool_choice": {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True},
    }
    with VendorSimulator() as sim:
        anthropic_sdk("message_stream", sim.anthropic_url, **{**ASKED, "messages": messages}, **settings)
        asked = sim.requests[0].server_request
    request = asked.request

    assert (True, ["system", "user", "assistant", "tool"]) == (asked.stream, [message.role for message in request.messages])
    assert (("END",), 100, False) == (request.stop, request.reasoning_tokens, request.parallel_tool_calls)
    assert ("get_weather", SCHEMA) == (request.tools[0].name, request.tools[0].parameters)
    assert {"type": "function", "function": {"name": "get_weather"}} == request.tool_choice
    assert ("one", "cold") == (request.messages[-1].tool_call_id, request.messages[-1].text)


REFUSED = [
    (faults.wrong_key(), "AuthenticationError", 401, "authentication_error"),
    (faults.model_missing(), "NotFoundError", 404, "not_found_error"),
    (faults.rate_limit(2), "RateLimitError", 429, "rate_limit_error"),
    (faults.context_overflow(), "BadRequestError", 400, "invalid_request_error"),
    (faults.overloaded(), "OverloadedError", 529, "overloaded_error"),
    (faults.status(500), "InternalServerError", 500, "api_error"),
]


@each("fault, kind, status, word", REFUSED)
@each("way", WAYS)
def test_refusals_are_exceptions_of_their_kind(anthropic_sdk, way, fault, kind, status, word):
    """The SDK's class, the status, the type."""
    with VendorSimulator().always(fault) as sim:
        error = anthropic_sdk.error(way, sim.anthropic_url, **ASKED)

    assert (kind, status, word) == (error["type"], error["status"], error["kind"])


def test_an_error_within_a_stream_is_raised(anthropic_sdk):
    """With what the vendor says of it."""
    with VendorSimulator(responses="one two three four").always(faults.error_event(2)) as sim:
        error = anthropic_sdk.error("message_stream", sim.anthropic_url, **ASKED)

    assert "overloaded_error" == error["kind"]


def test_a_wrong_request_is_named(anthropic_sdk):
    """What is wrong stands in the message."""
    with VendorSimulator() as sim:
        error = anthropic_sdk.error("message", sim.anthropic_url, **{**ASKED, "messages": []})

    assert ("BadRequestError", True) == (error["type"], "messages" in error["message"])


@each("way", WAYS)
def test_thoughts_keep_their_places_and_proofs(anthropic_sdk, way):
    """Between calls and text, each with its signature."""
    with VendorSimulator(responses=between("anthropic_messages", signature="EqQBCg")) as sim:
        blocks = anthropic_sdk(way, sim.anthropic_url, **ASKED)["blocks"]

    assert ["thinking", "tool_use", "thinking", "text"] == [block["type"] for block in blocks]
    assert ["EqQBCg"] * 2 == [block["signature"] for block in blocks if block["type"] == "thinking"]


@each("way", WAYS)
def test_sources_are_citations(anthropic_sdk, way):
    """With their address and words."""
    with VendorSimulator(responses=CITED) as sim:
        (block,) = anthropic_sdk(way, sim.anthropic_url, **ASKED)["blocks"]

    assert ("It rains in Bergen.", "web_search_result_location") == (block["text"], block["citations"][0]["type"])
    assert (CITED.citations[0].url, "It rains.") == (block["citations"][0]["url"], block["citations"][0]["cited_text"])
