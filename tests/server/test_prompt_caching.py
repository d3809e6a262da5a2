"""Prompt caching through the gateway: what a session of ten turns reads again, and where marks and keys are set."""

from __future__ import annotations

import json
import socket
from http.client import HTTPResponse
from urllib.parse import urlsplit

import pytest
import requests

from llmdispatcher import AnthropicVendor, Config, Dispatcher, GoogleVendor, OpenAIVendor
from llmdispatcher.server import GatewaySettings, create_app
from llmdispatcher.testing import VendorSimulator

from .conftest import HELLO, serving

TOOLS = [
    {"name": f"tool_{n}", "description": "Does a thing. " * 40, "parameters": {"type": "object", "properties": {}}}
    for n in range(12)
]
SYSTEM = "You are an agent that edits files. " * 200
MODELS = {"openai": "gpt-4o", "anthropic": "claude-haiku-4-5", "google": "gemini-2.5-flash"}


@pytest.fixture
def caching(keys):
    """A gateway over vendors that cache prompts."""
    with VendorSimulator(prompt_cache=True) as simulator:
        made = Dispatcher(Config(retry_policy={"max_retries": 0}))
        made.register_vendor(OpenAIVendor(api_key="sk", base_url=simulator.openai_url))
        made.register_vendor(AnthropicVendor(api_key="sk", base_url=simulator.anthropic_url))
        made.register_vendor(GoogleVendor(api_key="sk", base_url=simulator.google_url))
        _, secret = keys.create("a test")
        with made, serving(create_app(made, keys=keys, settings=GatewaySettings(threads=8))) as url:
            yield url, {"x-api-key": secret}, simulator


def claude(turn, model, *, billing):
    """The request of a turn as Claude Code sends it, without marks; its billing block is another in each."""
    messages = [{"role": "user", "content": [{"type": "text", "text": "Fix it."}]}]
    for number in range(turn):
        call = {"type": "tool_use", "id": f"toolu_{number}", "name": "tool_1", "input": {"path": f"{number}.py"}}
        result = {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": f"line of file {number}\n" * 20}
        messages += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    system = [{"type": "text", "text": f"x-anthropic-billing-header: cch={turn};"}] if billing else []
    tools = [{"name": tool["name"], "description": tool["description"], "input_schema": tool["parameters"]} for tool in TOOLS]
    system.append({"type": "text", "text": SYSTEM})
    return "/v1/messages", {"model": model, "max_tokens": 64, "system": system, "tools": tools, "messages": messages}


def chat(turn, model, *, billing):
    """The same as a client of OpenAI's."""
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Fix it."}]
    for number in range(turn):
        function = {"name": "tool_1", "arguments": json.dumps({"path": f"{number}.py"})}
        messages.append(
            {"role": "assistant", "content": None, "tool_calls": [{"id": f"c{number}", "type": "function", "function": function}]}
        )
        messages.append({"role": "tool", "tool_call_id": f"c{number}", "content": f"line of file {number}\n" * 20})
    tools = [{"type": "function", "function": tool} for tool in TOOLS]
    return "/v1/chat/completions", {"model": model, "tools": tools, "messages": messages, "prompt_cache_key": "thread-1"}


def codex(turn, model, *, billing):
    """The same as Codex."""
    items = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Fix it."}]}]
    for number in range(turn):
        items.append(
            {"type": "function_call", "call_id": f"c{number}", "name": "tool_1", "arguments": json.dumps({"path": f"{number}.py"})}
        )
        items.append({"type": "function_call_output", "call_id": f"c{number}", "output": f"line of file {number}\n" * 20})
    tools = [{"type": "function", **tool} for tool in TOOLS]
    return "/v1/responses", {
        "model": model,
        "instructions": SYSTEM,
        "tools": tools,
        "input": items,
        "store": False,
        "prompt_cache_key": "thread-1",
    }


def usage_of(path, answer):
    """Input tokens of an answer, and those of them that were read from a cache."""
    used = answer["usage"]
    if path == "/v1/messages":
        read = used["cache_read_input_tokens"]
        return used["input_tokens"] + read + used["cache_creation_input_tokens"], read
    if path == "/v1/responses":
        return used["input_tokens"], used["input_tokens_details"]["cached_tokens"]
    return used["prompt_tokens"], used["prompt_tokens_details"]["cached_tokens"]


@pytest.mark.parametrize("vendor", MODELS)
@pytest.mark.parametrize("agent", [claude, chat, codex])
def test_an_agent_s_session_reads_four_fifths_from_the_cache(caching, agent, vendor):
    """Ten turns, of each agent, at each vendor: the client sets no mark, and its billing block would change each beginning."""
    url, key, simulator = caching
    asked, read = 0, 0
    for turn in range(10):
        path, body = agent(turn, MODELS[vendor], billing=vendor != "anthropic")
        answer = requests.post(url + path, json=body, headers={**key, "X-Claude-Code-Session-Id": "s-1"}, timeout=30)
        assert 200 == answer.status_code, answer.text
        more, again = usage_of(path, answer.json())
        asked, read = asked + more, read + again

    assert read / asked >= 0.8, (read, asked)
    if vendor == "anthropic":
        assert all(json.dumps(one.json).count('"cache_control"') in (3, 4) for one in simulator.requests)
    else:
        assert "cache_control" not in json.dumps([one.json for one in simulator.requests])
    if vendor == "openai":
        assert 1 == len({one.json["prompt_cache_key"] for one in simulator.requests})


def raw_post(url, path, key, body):
    """The answer to a body, whose bytes go over a socket as they are."""
    address, data = urlsplit(url), json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nx-api-key: {key}\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(head.encode() + data)
        answer = HTTPResponse(connection)
        answer.begin()
        return answer.status, json.loads(answer.read())


def test_a_mark_that_stands_at_a_message_is_one_of_its_last_part(caching):
    """As opencode sets them in OpenAI's format for Claude's models; they reach Anthropic, and what they mark is read."""
    url, key, simulator = caching
    read = []
    for turn in (1, 2):
        _, body = chat(turn, MODELS["anthropic"], billing=False)
        for place in (0, 1, -1):
            body["messages"][place]["cache_control"] = {"type": "ephemeral", "ttl": "1h"}
        status, told = raw_post(url, "/v1/chat/completions", key["x-api-key"], body)
        assert 200 == status, told
        read.append(told["usage"]["prompt_tokens_details"]["cached_tokens"])
    last = simulator.requests[-1].json
    marked = [last["system"][-1], last["messages"][0]["content"][-1], last["messages"][-1]["content"][-1]]

    assert [{"type": "ephemeral", "ttl": "1h"}] * 3 == [one["cache_control"] for one in marked]
    assert 3 == json.dumps(last).count('"cache_control"')
    assert [0, True] == [read[0], read[1] > 1000]


@pytest.mark.parametrize(
    "mark", [{"type": "ephemeral", "ttl": "9d"}, {}, "ephemeral", 5, [], {"type": {}}, {"type": "ephemeral", "ttl": []}]
)
def test_a_mark_at_a_message_that_no_vendor_takes_is_none(caching, mark):
    """Those of the gateway stand in its place; so they do where a turn of calls alone has one."""
    url, key, simulator = caching
    _, body = chat(1, MODELS["anthropic"], billing=False)
    body["messages"][1]["cache_control"] = mark
    body["messages"][2]["cache_control"] = {"type": "ephemeral"}
    status, told = raw_post(url, "/v1/chat/completions", key["x-api-key"], body)

    assert 200 == status, told
    assert 4 == json.dumps(simulator.requests[-1].json).count('"cache_control": {"type": "ephemeral"}')


def test_marks_are_set_only_where_the_client_has_none_and_there_is_something_to_keep(caching):
    """A plain question is not marked, since a mark costs; a client's own marks stay alone, and an own key stays."""
    url, key, simulator = caching
    plain = {**HELLO, "model": MODELS["anthropic"], "max_tokens": 9}
    own = claude(2, MODELS["anthropic"], billing=False)[1]
    own["system"][0]["cache_control"] = {"type": "ephemeral", "ttl": "1h"}
    history = {
        **plain,
        "messages": [*HELLO["messages"], {"role": "assistant", "content": "Because."}, {"role": "user", "content": "Why?"}],
    }
    result = claude(1, MODELS["anthropic"], billing=False)[1]
    result["messages"][-1]["content"][0]["cache_control"] = {"type": "ephemeral"}
    for body in (plain, own, history, result, {**history, "cache_control": {"type": "ephemeral"}}):
        assert 200 == requests.post(f"{url}/v1/messages", json=body, headers=key, timeout=30).status_code
    counts = [json.dumps(one.json).count('"cache_control"') for one in simulator.requests]

    assert [0, 1, 2, 1, 1] == counts


def test_a_key_is_made_of_the_session_for_vendors_that_take_one(caching):
    """Where the client says none; the same for the same session, and none without a session."""
    url, key, simulator = caching
    path, body = claude(1, MODELS["openai"], billing=True)
    for session in ("s-1", "s-1", "s-2", None):
        headers = {**key, "X-Claude-Code-Session-Id": session} if session else key
        requests.post(url + path, json=body, headers=headers, timeout=30)
    keys = [one.json.get("prompt_cache_key") for one in simulator.requests]

    assert keys[0] == keys[1] != keys[2]
    assert keys[3] is None
    assert "s-1" not in str(keys)
