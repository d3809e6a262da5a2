"""Google's SDK understands every answer of generate_content, and is understood."""

from __future__ import annotations

from llmdispatcher.testing import SimulatedResponse, VendorSimulator, faults

from ..cases import each
from .said import CALLS, ENCODED, FORM, LIMA, NOW, OSLO, PICTURE, SCHEMA, TEXT, THOUGHT, WEATHER

ASKED = {"model": "gemini-3-pro", "contents": "Tell me"}
TOOLS = {"tools": [{"function_declarations": [{"name": "get_weather", "parameters_json_schema": SCHEMA}]}]}
WAYS = ("generate", "generate_stream")


@each("way", WAYS)
def test_text_arrives_with_its_facts(google_sdk, way):
    """Text to the last sign, the model, the end."""
    with VendorSimulator(responses=TEXT) as sim:
        told = google_sdk(way, sim.url, **ASKED)

    assert (TEXT, "gemini-3-pro", "STOP", "", []) == tuple(
        told[field] for field in ("content", "model", "finish", "reasoning", "calls")
    )


def test_a_stream_comes_word_by_word(google_sdk):
    """Each word in an event of its own."""
    with VendorSimulator(responses="one two three") as sim:
        assert ["one", " two", " three"] == google_sdk("generate_stream", sim.url, **ASKED)["pieces"]


@each("way", WAYS)
def test_parallel_calls_arrive_whole(google_sdk, way):
    """Three calls after a text, their arguments an object, with the signature that Google wants back."""
    with VendorSimulator(responses=CALLS) as sim:
        told = google_sdk(way, sim.url, config=TOOLS, **ASKED)

    assert [{"name": call.name, "args": call.parsed} for call in (OSLO, LIMA, NOW)] == told["calls"]
    assert (CALLS.text, "STOP", True) == (told["content"], told["finish"], bool(told["signed"][0]))


@each("way", WAYS)
def test_thoughts_are_told_from_the_text(google_sdk, way):
    """Parts marked as thoughts."""
    with VendorSimulator(responses=THOUGHT) as sim:
        told = google_sdk(way, sim.url, **ASKED)

    assert (THOUGHT.reasoning, THOUGHT.text) == (told["reasoning"], told["content"])


@each("way", WAYS)
def test_usage_is_counted(google_sdk, way):
    """Prompt, answer, thoughts, all."""
    with VendorSimulator(responses=THOUGHT) as sim:
        assert [5, 3, 7, 15] == google_sdk(way, sim.url, **ASKED)["usage"]


@each("way", WAYS)
@each(
    "answer, config, finish",
    [
        (SimulatedResponse("word " * 40), {"max_output_tokens": 5}, "MAX_TOKENS"),
        (SimulatedResponse("", finish="content_filter"), {}, "SAFETY"),
    ],
)
def test_every_end_has_its_word(google_sdk, way, answer, config, finish):
    """The vendor's finish reasons."""
    with VendorSimulator(responses=answer) as sim:
        assert finish == google_sdk(way, sim.url, config=config, **ASKED)["finish"]


def test_tokens_are_counted_beforehand(google_sdk):
    """What the answer's usage will say."""
    with VendorSimulator() as sim:
        assert 5 == google_sdk("count", sim.url, **ASKED)


def test_a_structured_answer_is_parsed(google_sdk):
    """Into the SDK's own class; the request has its schema."""
    with VendorSimulator(responses=FORM) as sim:
        told = google_sdk("generate_parse", sim.url, **ASKED)
        asked = sim.requests[0].json["generationConfig"]

    assert (WEATHER, "application/json") == (told, asked["responseMimeType"])


def test_a_picture_is_sent(google_sdk):
    """In the SDK's own spelling of the field and of base64; it is understood as a picture."""
    with VendorSimulator(responses="A dot.") as sim:
        told = google_sdk("generate", sim.url, picture=ENCODED, **ASKED)
        sent = sim.requests[0]

    text, picture = sent.server_request.request.messages[0].content
    assert ("A dot.", "Tell me") == (told["content"], text.text)
    assert (PICTURE, "image/png") == (picture.data, picture.media_type)
    assert "mime_type" in sent.json["contents"][0]["parts"][1]["inlineData"]


def test_settings_are_understood(google_sdk):
    """Whether the SDK writes their names with capitals or underscores."""
    config = {
        "system_instruction": "Be brief",
        "temperature": 0.5,
        "max_output_tokens": 99,
        "stop_sequences": ["END"],
        "thinking_config": {"thinking_budget": 100, "include_thoughts": True},
        "tool_config": {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["get_weather"]}},
        **TOOLS,
    }
    with VendorSimulator() as sim:
        google_sdk("generate_stream", sim.url, config=config, **ASKED)
        asked = sim.requests[0].server_request
    request = asked.request

    assert (True, ["system", "user"]) == (asked.stream, [message.role for message in request.messages])
    assert (0.5, 99, ("END",), 100) == (request.temperature, request.max_tokens, request.stop, request.reasoning_tokens)
    assert ("get_weather", SCHEMA) == (request.tools[0].name, request.tools[0].parameters)
    assert {"type": "function", "function": {"name": "get_weather"}} == request.tool_choice


REFUSED = [
    (faults.wrong_key(), "ClientError", 400, "INVALID_ARGUMENT"),
    (faults.model_missing(), "ClientError", 404, "NOT_FOUND"),
    (faults.rate_limit(2), "ClientError", 429, "RESOURCE_EXHAUSTED"),
    (faults.context_overflow(), "ClientError", 400, "INVALID_ARGUMENT"),
    (faults.status(503), "ServerError", 503, "UNAVAILABLE"),
]


@each("fault, kind, status, word", REFUSED)
@each("way", WAYS)
def test_refusals_are_exceptions_of_their_kind(google_sdk, way, fault, kind, status, word):
    """The SDK's class, the status, its word."""
    with VendorSimulator().always(fault) as sim:
        error = google_sdk.error(way, sim.url, **ASKED)

    assert (kind, status, word) == (error["type"], error["status"], error["kind"])


def test_an_error_within_a_stream_is_raised(google_sdk):
    """With what the vendor says of it."""
    with VendorSimulator(responses="one two three four").always(faults.error_event(2)) as sim:
        error = google_sdk.error("generate_stream", sim.url, **ASKED)

    assert "ServerError" == error["type"]


def test_a_wrong_request_is_named(google_sdk):
    """What is wrong stands in the message."""
    with VendorSimulator() as sim:
        error = google_sdk.error("generate", sim.url, **{**ASKED, "contents": {"role": "alien", "parts": [{"text": "x"}]}})

    assert ("ClientError", True) == (error["type"], "role" in error["message"])
