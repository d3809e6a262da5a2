"""OpenAI's SDK understands every answer of its responses, and is understood."""

from __future__ import annotations

from llmdispatcher.testing import SimulatedResponse, VendorSimulator, faults

from ..cases import each
from .said import CALLS, CITED, CUSTOM, ENCODED, FORM, LIMA, NOW, OSLO, PICTURE, SCHEMA, TEXT, THOUGHT, WEATHER, between, told_calls
from .said import REFUSED as REFUSAL

ASKED = {"model": "gpt-5", "input": "Tell me"}
TOOL = {"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False}
WAYS = ("respond", "respond_stream")


@each("way", WAYS)
def test_text_arrives_with_its_facts(openai_sdk, way):
    """Text to the last sign, the model, the end; one message."""
    with VendorSimulator(responses=TEXT) as sim:
        told = openai_sdk(way, sim.openai_url, **ASKED)

    assert (TEXT, "gpt-5", "completed", None) == (told["content"], told["model"], told["status"], told["incomplete"])
    assert (["message"], "") == (told["types"], told["reasoning"])


def test_a_stream_comes_word_by_word(openai_sdk):
    """Each word in an event of its own, the events counted without a gap, begun and ended as the vendor does."""
    with VendorSimulator(responses="one two three") as sim:
        told = openai_sdk("respond_stream", sim.openai_url, **ASKED)

    assert (["one", " two", " three"], True) == (told["pieces"], told["counted"])
    assert {"response.created", "response.output_item.added", "response.output_text.done", "response.completed"} <= set(
        told["kinds"]
    )


@each("way", WAYS)
def test_parallel_calls_arrive_whole(openai_sdk, way):
    """Three items after a message, with ids, names and arguments."""
    with VendorSimulator(responses=CALLS) as sim:
        told = openai_sdk(way, sim.openai_url, tools=[TOOL], **ASKED)

    assert (["message", *["function_call"] * 3], CALLS.text) == (told["types"], told["content"])
    assert (told_calls(OSLO, LIMA, NOW), "completed") == (told["calls"], told["status"])


@each("way", WAYS)
def test_thoughts_are_an_item_before_the_message(openai_sdk, way):
    """Their summary is told."""
    with VendorSimulator(responses=THOUGHT) as sim:
        told = openai_sdk(way, sim.openai_url, **ASKED)

    assert (THOUGHT.reasoning, THOUGHT.text, ["reasoning", "message"]) == (told["reasoning"], told["content"], told["types"])


@each("way", WAYS)
def test_usage_is_counted(openai_sdk, way):
    """Input, output, thoughts, all."""
    with VendorSimulator(responses=THOUGHT) as sim:
        usage = openai_sdk(way, sim.openai_url, **ASKED)["usage"]

    assert (5, 10, 15) == (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"])
    assert THOUGHT.reasoning_tokens == usage["output_tokens_details"]["reasoning_tokens"]


@each("way", WAYS)
@each(
    "answer, asked, reason",
    [
        (SimulatedResponse("word " * 40), {"max_output_tokens": 5}, "max_output_tokens"),
        (SimulatedResponse("", finish="content_filter"), {}, "content_filter"),
    ],
)
def test_an_answer_that_was_ended_is_incomplete(openai_sdk, way, answer, asked, reason):
    """With the vendor's reason."""
    with VendorSimulator(responses=answer) as sim:
        told = openai_sdk(way, sim.openai_url, **ASKED, **asked)

    assert ("incomplete", reason) == (told["status"], told["incomplete"])


def test_a_structured_answer_is_parsed(openai_sdk):
    """Into the SDK's own class; the request has its schema."""
    with VendorSimulator(responses=FORM) as sim:
        told = openai_sdk("respond_parse", sim.openai_url, **ASKED)
        request = sim.requests[0].server_request.request

    assert (WEATHER, "json_schema") == (told, request.response_format["type"])


def test_a_picture_is_sent(openai_sdk):
    """It is understood as one."""
    content = [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{ENCODED}", "detail": "low"},
    ]
    with VendorSimulator(responses="A dot.") as sim:
        told = openai_sdk("respond", sim.openai_url, model="gpt-5", input=[{"role": "user", "content": content}])
        text, picture = sim.requests[0].server_request.request.messages[0].content

    assert ("A dot.", "What is it?", PICTURE, "low") == (told["content"], text.text, picture.data, picture.detail)


def test_settings_are_understood(openai_sdk):
    """Instructions, limits, effort, tools and the choice among them, results of tools."""
    said = [
        {"role": "user", "content": "How is the weather?"},
        {"type": "function_call", "call_id": "one", "name": "get_weather", "arguments": '{"city": "Oslo"}'},
        {"type": "function_call_output", "call_id": "one", "output": "cold"},
    ]
    settings = {
        "instructions": "Be brief",
        "max_output_tokens": 99,
        "reasoning": {"effort": "low", "summary": "auto"},
        "tools": [TOOL],
        "tool_choice": {"type": "function", "name": "get_weather"},
        "parallel_tool_calls": False,
    }
    with VendorSimulator() as sim:
        openai_sdk("respond_stream", sim.openai_url, model="gpt-5", input=said, **settings)
        asked = sim.requests[0].server_request
    request = asked.request

    assert (True, ["user", "assistant", "tool"]) == (asked.stream, [message.role for message in request.messages][-3:])
    assert (99, "low", "auto", False) == (
        request.max_tokens,
        request.reasoning_effort,
        request.reasoning_summary,
        request.parallel_tool_calls,
    )
    assert ("get_weather", SCHEMA) == (request.tools[0].name, request.tools[0].parameters)
    assert {"type": "function", "function": {"name": "get_weather"}} == request.tool_choice
    assert ("one", "cold") == (request.messages[-1].tool_call_id, request.messages[-1].text)


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


def test_an_error_within_a_stream_is_an_event(openai_sdk):
    """The SDK hands it on, with what the vendor says of it."""
    with VendorSimulator(responses="one two three four").always(faults.error_event(2)) as sim:
        told = openai_sdk("respond_stream", sim.openai_url, **ASKED)

    assert ("error", "server_error", True) == (told["kind"], told["code"], "currently overloaded" in told["message"])


def test_a_wrong_request_is_named(openai_sdk):
    """What is wrong stands in the message."""
    with VendorSimulator() as sim:
        error = openai_sdk.error("respond", sim.openai_url, model="gpt-5", input=[])

    assert ("BadRequestError", 400, True) == (error["type"], error["status"], "input" in error["message"])


@each("way", WAYS)
def test_a_refusal_is_no_text(openai_sdk, way):
    """It stands in a part of its own."""
    with VendorSimulator(responses=REFUSAL) as sim:
        told = openai_sdk(way, sim.openai_url, **ASKED)

    assert ([REFUSAL.refusal], "") == (told["refusals"], told["content"])


@each("way", WAYS)
def test_sources_are_annotations(openai_sdk, way):
    """With their address."""
    with VendorSimulator(responses=CITED) as sim:
        told = openai_sdk(way, sim.openai_url, **ASKED)

    assert ([CITED.citations[0].url], CITED.content) == (told["cited"], told["content"])


@each("way", WAYS)
def test_a_custom_tool_gets_free_text(openai_sdk, way):
    """In an item of its kind."""
    with VendorSimulator(responses=CUSTOM) as sim:
        told = openai_sdk(way, sim.openai_url, tools=[{"type": "custom", "name": "run"}], **ASKED)

    assert [["call_x", "run", "print('Grüße')"]] == told["custom"]


@each("way", WAYS)
def test_thoughts_keep_their_places_and_proofs(openai_sdk, way):
    """Between calls and text, with what is encrypted of them."""
    with VendorSimulator(responses=between("openai_responses", encrypted="gAAAA")) as sim:
        told = openai_sdk(way, sim.openai_url, **ASKED)

    assert (["reasoning", "function_call", "reasoning", "message"], ["gAAAA"] * 2) == (told["types"], told["encrypted"])


@each("way", WAYS)
def test_usage_tells_what_was_remembered(openai_sdk, way):
    """Cached tokens are among the input."""
    with VendorSimulator(responses=CITED) as sim:
        usage = openai_sdk(way, sim.openai_url, **ASKED)["usage"]

    assert (30, 20, 12) == (usage["input_tokens"], usage["input_tokens_details"]["cached_tokens"], usage["output_tokens"])
