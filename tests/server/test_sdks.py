"""The vendors' SDKs as clients of the gateway, each in front of each simulated vendor."""

from __future__ import annotations

import itertools

from llmdispatcher.testing import faults

from ..cases import each
from ..sdks.said import CALLS, LIMA, NOW, OSLO, SCHEMA, TEXT
from .test_gateway import MODELS

ASKED = {"messages": [{"role": "user", "content": "Tell me"}]}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}
EXPECTED = [(call.name, call.parsed) for call in (OSLO, LIMA, NOW)]


@each("model, way", itertools.product(MODELS.values(), ["chat", "chat_stream"]))
def test_openai_s_chats(served, openai_sdk, model, way):
    """Text, calls and a refusal of ours as the SDK's own exception."""
    served.simulator.script(TEXT, CALLS)
    url = f"{served.url}/v1"

    assert TEXT == openai_sdk(way, url, model=model, **ASKED)["content"]
    calls = openai_sdk(way, url, model=model, tools=[TOOL], **ASKED)["calls"]
    assert [name for name, _ in EXPECTED] == [call["name"] for call in calls]


@each("model, way", itertools.product(MODELS.values(), ["respond", "respond_stream"]))
def test_openai_s_responses(served, openai_sdk, model, way):
    """Text."""
    served.simulator.script(TEXT)

    assert TEXT == openai_sdk(way, f"{served.url}/v1", model=model, input="Tell me")["content"]


@each("model, way", itertools.product(MODELS.values(), ["message", "message_stream"]))
def test_anthropic_s_messages(served, anthropic_sdk, model, way):
    """Text and calls."""
    served.simulator.script(TEXT, CALLS)
    tool = {"name": "get_weather", "input_schema": SCHEMA}

    told = anthropic_sdk(way, served.url, model=model, max_tokens=500, **ASKED)
    assert TEXT == told["blocks"][0]["text"]
    blocks = anthropic_sdk(way, served.url, model=model, max_tokens=500, tools=[tool], **ASKED)["blocks"]
    assert EXPECTED == [(block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"]


@each("model, way", itertools.product(MODELS.values(), ["generate", "generate_stream"]))
def test_google_s_contents(served, google_sdk, model, way):
    """Text and calls."""
    served.simulator.script(TEXT, CALLS)
    tools = {"tools": [{"function_declarations": [{"name": "get_weather", "parameters_json_schema": SCHEMA}]}]}

    assert TEXT == google_sdk(way, served.url, model=model, contents="Tell me")["content"]
    calls = google_sdk(way, served.url, model=model, contents="Tell me", config=tools)["calls"]
    assert EXPECTED == [(call["name"], call["args"]) for call in calls]


def test_refusals_are_the_sdks_own_exceptions(served, openai_sdk, anthropic_sdk, google_sdk):
    """A limit of the vendor's, told in each format."""
    served.simulator.always(faults.status(429))
    openai = openai_sdk.error("chat", f"{served.url}/v1", model="openai:gpt-4o-mini", **ASKED)
    anthropic = anthropic_sdk.error("message", served.url, model="anthropic:claude-haiku-4-5", max_tokens=9, **ASKED)
    google = google_sdk.error("generate", served.url, model="google:gemini-2.5-flash", contents="Tell me")

    assert "RateLimitError" in str(openai)
    assert "RateLimitError" in str(anthropic)
    assert "429" in str(google)
