"""OpenAI's SDK understands every answer of a chat completion, and is understood."""

from __future__ import annotations

from llmdispatcher.testing import SimulatedResponse, VendorSimulator, faults
from llmdispatcher.types import data_url

from ..cases import each
from .said import (
    CALLS,
    CITED,
    CUSTOM,
    ENCODED,
    FORM,
    LIKELY,
    LIMA,
    NOW,
    OSLO,
    PICTURE,
    SCHEMA,
    SEVERAL,
    TEXT,
    THOUGHT,
    WEATHER,
    told_calls,
)
from .said import REFUSED as REFUSAL

ASKED = {"model": "gpt-5", "messages": [{"role": "user", "content": "Tell me"}]}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}
WAYS = ("chat", "chat_stream")


@each("way", WAYS)
def test_text_arrives_with_its_facts(openai_sdk, way):
    """Text to the last sign, the model, the end; nothing is there that was not said."""
    with VendorSimulator(responses=TEXT) as sim:
        told = openai_sdk(way, sim.openai_url, **ASKED)

    assert (TEXT, "gpt-5", "stop") == (told["content"], told["model"], told["finish"])
    assert (None, None, []) == (told["refusal"], told["reasoning"], told["calls"])


def test_a_stream_comes_word_by_word(openai_sdk):
    """Each word in a chunk of its own."""
    with VendorSimulator(responses="one two three") as sim:
        told = openai_sdk("chat_chunks", sim.openai_url, **ASKED)

    assert (["one", " two", " three"], "stop", None) == (told["content"], told["finish"], told["usage"])


@each("way", WAYS)
def test_parallel_calls_arrive_whole(openai_sdk, way):
    """Three calls beside a text, with ids, names and arguments."""
    with VendorSimulator(responses=CALLS) as sim:
        told = openai_sdk(way, sim.openai_url, tools=[TOOL], **ASKED)

    assert (told_calls(OSLO, LIMA, NOW), "tool_calls") == (told["calls"], told["finish"])
    assert CALLS.text == told["content"]


def test_calls_come_in_pieces(openai_sdk):
    """The pieces of each call make it up."""
    with VendorSimulator(responses=CALLS) as sim:
        told = openai_sdk("chat_chunks", sim.openai_url, tools=[TOOL], **ASKED)

    assert (told_calls(OSLO, LIMA, NOW), "tool_calls") == (list(told["calls"].values()), told["finish"])


@each("way", ["chat", "chat_chunks"])
def test_thoughts_stand_beside_the_text(openai_sdk, way):
    """In the field that compatible vendors have for them."""
    with VendorSimulator(responses=THOUGHT) as sim:
        told = openai_sdk(way, sim.openai_url, **ASKED)

    assert (THOUGHT.reasoning, THOUGHT.text) == (told["reasoning"], "".join(told["content"]))


@each("way", WAYS)
def test_usage_is_counted(openai_sdk, way):
    """Prompt, completion, thoughts; in a stream where it is asked for."""
    asked = {**ASKED, "stream_options": {"include_usage": True}} if way == "chat_stream" else ASKED
    with VendorSimulator(responses=THOUGHT) as sim:
        usage = openai_sdk(way, sim.openai_url, **asked)["usage"]

    assert (5, 10, 15) == (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"])
    assert THOUGHT.reasoning_tokens == usage["completion_tokens_details"]["reasoning_tokens"]


def test_the_limit_is_an_error_of_the_accumulator(openai_sdk):
    """The SDK itself refuses to parse what was cut, so it saw the finish reason."""
    with VendorSimulator(responses="word " * 40) as sim:
        told = openai_sdk("chat", sim.openai_url, max_completion_tokens=5, **ASKED)
        cut = openai_sdk.error("chat_parse", sim.openai_url, max_completion_tokens=5, **ASKED)

    assert ("length", "LengthFinishReasonError") == (told["finish"], cut["type"])


def test_a_filtered_answer_is_told(openai_sdk):
    """The finish reason content_filter."""
    with VendorSimulator(responses=SimulatedResponse("", finish="content_filter")) as sim:
        assert "content_filter" == openai_sdk("chat", sim.openai_url, **ASKED)["finish"]


def test_a_structured_answer_is_parsed(openai_sdk):
    """Into the SDK's own class; the request has its schema."""
    with VendorSimulator(responses=FORM) as sim:
        told = openai_sdk("chat_parse", sim.openai_url, **ASKED)
        asked = sim.requests[0].json["response_format"]

    assert (WEATHER, "json_schema") == (told, asked["type"])


def test_a_picture_is_sent(openai_sdk):
    """It is understood as one."""
    content = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{ENCODED}", "detail": "low"}},
    ]
    with VendorSimulator(responses="A dot.") as sim:
        told = openai_sdk("chat", sim.openai_url, model="gpt-5", messages=[{"role": "user", "content": content}])
        text, picture = sim.requests[0].server_request.request.messages[0].content

    assert ("A dot.", "What is it?", PICTURE, "low") == (told["content"], text.text, data_url(picture.url)[1], picture.detail)


def test_settings_are_understood(openai_sdk):
    """Roles, sampling, limits, effort, tools and the choice among them, results of tools."""
    call = {"id": "one", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
    messages = [
        {"role": "developer", "content": "Be brief"},
        {"role": "user", "content": "How is the weather?"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "one", "content": "cold"},
    ]
    settings = {
        "temperature": 0.5,
        "max_completion_tokens": 99,
        "stop": "END",
        "reasoning_effort": "low",
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
        "parallel_tool_calls": False,
    }
    with VendorSimulator() as sim:
        openai_sdk("chat_stream", sim.openai_url, model="gpt-5", messages=messages, **settings)
        asked = sim.requests[0].server_request
    request = asked.request

    assert (True, [message["role"] for message in messages]) == (asked.stream, [message.role for message in request.messages])
    assert (0.5, 99, ("END",), "low") == (request.temperature, request.max_tokens, request.stop, request.reasoning_effort)
    assert ("get_weather", SCHEMA, False) == (request.tools[0].name, request.tools[0].parameters, request.parallel_tool_calls)
    assert settings["tool_choice"] == request.tool_choice
    assert ("one", "cold") == (request.messages[-1].tool_call_id, request.messages[-1].text)


@each("way", WAYS)
def test_a_refusal_is_no_text(openai_sdk, way):
    """It stands in a field of its own."""
    with VendorSimulator(responses=REFUSAL) as sim:
        told = openai_sdk(way, sim.openai_url, **ASKED)

    assert (REFUSAL.refusal, True) == (told["refusal"], not told["content"])


@each("way", WAYS)
def test_several_answers_are_told_apart(openai_sdk, way):
    """All that were asked for with n."""
    with VendorSimulator(responses=SEVERAL) as sim:
        told = openai_sdk(way, sim.openai_url, n=2, **ASKED)

    assert ("heads", ["tails"]) == (told["content"], told["others"])


@each("way", WAYS)
def test_likelihoods_come_with_their_tokens(openai_sdk, way):
    """As the vendor lists them."""
    with VendorSimulator(responses=LIKELY) as sim:
        assert ["so"] == openai_sdk(way, sim.openai_url, logprobs=True, **ASKED)["tokens"]


@each("way", WAYS)
def test_usage_tells_what_was_remembered(openai_sdk, way):
    """Cached tokens are among the prompt."""
    asked = {**ASKED, "stream_options": {"include_usage": True}} if way == "chat_stream" else ASKED
    with VendorSimulator(responses=SEVERAL) as sim:
        usage = openai_sdk(way, sim.openai_url, **asked)["usage"]

    assert (30, 20, 12) == (usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"], usage["completion_tokens"])


def test_sources_are_annotations(openai_sdk):
    """With their address."""
    with VendorSimulator(responses=CITED) as sim:
        assert [CITED.citations[0].url] == openai_sdk("chat", sim.openai_url, **ASKED)["cited"]


def test_a_custom_tool_gets_free_text(openai_sdk):
    """In a call of its kind."""
    with VendorSimulator(responses=CUSTOM) as sim:
        assert [["call_x", "run", "print('Grüße')"]] == openai_sdk("chat", sim.openai_url, **ASKED)["custom"]


REFUSED = [
    (faults.wrong_key(), "AuthenticationError", 401, "invalid_api_key"),
    (faults.model_missing(), "NotFoundError", 404, "model_not_found"),
    (faults.rate_limit(2), "RateLimitError", 429, "rate_limit_exceeded"),
    (faults.quota(), "RateLimitError", 429, "insufficient_quota"),
    (faults.context_overflow(), "BadRequestError", 400, "context_length_exceeded"),
    (faults.status(503), "InternalServerError", 503, "server_error"),
]


@each("fault, kind, status, code", REFUSED)
@each("way", WAYS)
def test_refusals_are_exceptions_of_their_kind(openai_sdk, way, fault, kind, status, code):
    """The SDK's class, the status, the code."""
    with VendorSimulator().always(fault) as sim:
        error = openai_sdk.error(way, sim.openai_url, **ASKED)

    assert (kind, status, code) == (error["type"], error["status"], error["code"])


@each("way", ["chat_chunks", "chat_stream"])
def test_an_error_within_a_stream_is_raised(openai_sdk, way):
    """With what the vendor says of it."""
    with VendorSimulator(responses="one two three four").always(faults.error_event(2)) as sim:
        error = openai_sdk.error(way, sim.openai_url, **ASKED)

    assert ("APIError", True) == (error["type"], "currently overloaded" in error["message"])


def test_a_wrong_request_is_named(openai_sdk):
    """What is wrong stands in the message."""
    with VendorSimulator() as sim:
        error = openai_sdk.error("chat", sim.openai_url, model="gpt-5", messages=[])

    assert ("BadRequestError", 400) == (error["type"], error["status"])
    assert "messages" in error["message"]
