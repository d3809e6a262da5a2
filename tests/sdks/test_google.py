"""Google's SDK understands every answer of generate_content, and is understood."""

from __future__ import annotations

import base64

import pytest

from llmdispatcher.testing import Answer, VendorSimulator, faults

from .said import CALLS, ENCODED, FORM, LIMA, NOW, OSLO, PICTURE, SCHEMA, TEXT, THOUGHT, WEATHER

ASKED = {"model": "gemini-3-pro", "contents": "Tell me"}
TOOLS = {"tools": [{"function_declarations": [{"name": "get_weather", "parameters_json_schema": SCHEMA}]}]}
WAYS = ("generate", "generate_stream")


@pytest.mark.parametrize("way", WAYS)
def test_text_arrives_with_its_facts(google_sdk, way):
    """Text to the last sign, the model, the end."""
    with VendorSimulator(answers=TEXT) as sim:
        told = google_sdk(way, sim.url, **ASKED)

    assert (TEXT, "gemini-3-pro", "STOP", "", []) == tuple(
        told[field] for field in ("content", "model", "finish", "reasoning", "calls")
    )


def test_a_stream_comes_word_by_word(google_sdk):
    """Each word in an event of its own."""
    with VendorSimulator(answers="one two three") as sim:
        assert ["one", " two", " three"] == google_sdk("generate_stream", sim.url, **ASKED)["pieces"]


@pytest.mark.parametrize("way", WAYS)
def test_parallel_calls_arrive_whole(google_sdk, way):
    """Three calls after a text, their arguments an object, with the signature that Google wants back."""
    with VendorSimulator(answers=CALLS) as sim:
        told = google_sdk(way, sim.url, config=TOOLS, **ASKED)

    assert [{"name": call.name, "args": call.parsed} for call in (OSLO, LIMA, NOW)] == told["calls"]
    assert (CALLS.text, "STOP", True) == (told["content"], told["finish"], bool(told["signed"][0]))


@pytest.mark.parametrize("way", WAYS)
def test_thoughts_are_told_from_the_text(google_sdk, way):
    """Parts marked as thoughts."""
    with VendorSimulator(answers=THOUGHT) as sim:
        told = google_sdk(way, sim.url, **ASKED)

    assert (THOUGHT.reasoning, THOUGHT.text) == (told["reasoning"], told["content"])


@pytest.mark.parametrize("way", WAYS)
def test_usage_is_counted(google_sdk, way):
    """Prompt, answer, thoughts, all."""
    with VendorSimulator(answers=THOUGHT) as sim:
        assert [5, 3, 7, 15] == google_sdk(way, sim.url, **ASKED)["usage"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("answer", "config", "finish"),
    [
        (Answer("word " * 40), {"max_output_tokens": 5}, "MAX_TOKENS"),
        (Answer("", finish="content_filter"), {}, "SAFETY"),
    ],
    ids=["length", "filter"],
)
def test_every_end_has_its_word(google_sdk, way, answer, config, finish):
    """The vendor's finish reasons."""
    with VendorSimulator(answers=answer) as sim:
        assert finish == google_sdk(way, sim.url, config=config, **ASKED)["finish"]


def test_a_structured_answer_is_parsed(google_sdk):
    """Into the SDK's own class; the request has its schema."""
    with VendorSimulator(answers=FORM) as sim:
        told = google_sdk("generate_parse", sim.url, **ASKED)
        asked = sim.requests[0].json["generationConfig"]

    assert (WEATHER, "application/json") == (told, asked["responseMimeType"])


def test_a_picture_is_sent(google_sdk):
    """As the SDK sends it: its own spelling of the field and of base64; the answer comes."""
    with VendorSimulator(answers="A dot.") as sim:
        told = google_sdk("generate", sim.url, picture=ENCODED, **ASKED)
        sent = [part["inlineData"] for part in sim.requests[0].json["contents"][0]["parts"] if "inlineData" in part]

    assert ("A dot.", "image/png") == (told["content"], sent[0]["mime_type"])
    assert PICTURE == base64.urlsafe_b64decode(sent[0]["data"])


REFUSED = [
    (faults.wrong_key(), "ClientError", 400, "INVALID_ARGUMENT"),
    (faults.model_missing(), "ClientError", 404, "NOT_FOUND"),
    (faults.rate_limit(2), "ClientError", 429, "RESOURCE_EXHAUSTED"),
    (faults.context_overflow(), "ClientError", 400, "INVALID_ARGUMENT"),
    (faults.status(503), "ServerError", 503, "UNAVAILABLE"),
]


@pytest.mark.parametrize(("fault", "kind", "status", "word"), REFUSED, ids=lambda value: getattr(value, "name", None))
@pytest.mark.parametrize("way", WAYS)
def test_refusals_are_exceptions_of_their_kind(google_sdk, way, fault, kind, status, word):
    """The SDK's class, the status, its word."""
    with VendorSimulator().always(fault) as sim:
        error = google_sdk.error(way, sim.url, **ASKED)

    assert (kind, status, word) == (error["type"], error["status"], error["kind"])


def test_an_error_within_a_stream_is_raised(google_sdk):
    """With what the vendor says of it."""
    with VendorSimulator(answers="one two three four").always(faults.error_event(2)) as sim:
        error = google_sdk.error("generate_stream", sim.url, **ASKED)

    assert "ServerError" == error["type"]


def test_a_wrong_request_is_named(google_sdk):
    """What is wrong stands in the message."""
    with VendorSimulator() as sim:
        error = google_sdk.error("generate", sim.url, **{**ASKED, "contents": {"role": "alien", "parts": [{"text": "x"}]}})

    assert ("ClientError", True) == (error["type"], "role" in error["message"])
