"""A client's request at each target: whom its key may ask, where its session stays, and what becomes of an agent's own fields."""

from __future__ import annotations

import contextlib
import json

import pytest
import requests

from llmdispatcher import AnthropicVendor, Config, Dispatcher, GoogleVendor, OpenAIVendor
from llmdispatcher.server import GatewaySettings, create_app
from llmdispatcher.testing import VendorSimulator, faults

from .conftest import HELLO, serving

TOOL = {
    "name": "read",
    "description": "Read a file.",
    "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}},
}
CLAUDE_CODE = {
    "model": "gpt-4o-mini",
    "max_tokens": 64,
    "stream": False,
    "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197; cch=0a1b2;"},
        {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}},
    ],
    "tools": [TOOL],
    "thinking": {"type": "adaptive", "display": "omitted"},
    "output_config": {"effort": "xhigh"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "metadata": {"user_id": "user_ab_account_cd_session_0f3e5a7c-1111-4222-8333-944455556666"},
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]}],
}
CODEX = {
    "model": "claude-haiku-4-5",
    "instructions": "You are an agent.",
    "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
    "tools": [
        {
            "type": "function",
            "name": "shell",
            "description": "Run.",
            "strict": False,
            "parameters": {"type": "object", "properties": {}},
        },
        {
            "type": "custom",
            "name": "apply_patch",
            "description": "Patch.",
            "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"},
        },
        {"type": "web_search", "external_web_access": False},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"effort": "high", "summary": "auto"},
    "store": False,
    "stream": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "019b-thread",
    "client_metadata": {"x-codex-installation-id": "abc"},
    "text": {"verbosity": "low"},
}


@contextlib.contextmanager
def gateway(dispatcher, keys, **settings):
    """The address of a gateway, and a key of it."""
    _, secret = keys.create("a test", **settings)
    with dispatcher, serving(create_app(dispatcher, keys=keys, settings=GatewaySettings(threads=8))) as url:
        yield url, {"x-api-key": secret}


def vendors_of(simulators, **config):
    """A dispatcher over three accounts of one vendor, which share the calls."""
    names = list(simulators)
    made = Dispatcher(
        Config(balance={"strategy": "round_robin", "weights": dict.fromkeys(names, 1)}, retry_policy={"max_retries": 0}, **config)
    )
    for name, simulator in simulators.items():
        made.register_vendor(OpenAIVendor(name=name, api_key="sk", base_url=simulator.openai_url))
    return made


SESSIONS = {
    "Claude Code's header": ({"X-Claude-Code-Session-Id": "s-{}"}, {}),
    "Codex's header": ({"session-id": "s-{}"}, {}),
    "an older Codex's": ({"conversation-id": "s-{}"}, {}),
    "prompt_cache_key": ({}, {"prompt_cache_key": "s-{}"}),
    "Claude Code's user": ({}, {"user": "user_1_account_2_session_00000000-0000-0000-0000-00000000000{}"}),
    "Claude Code's newer user": ({}, {"user": '{{"device_id": "d", "session_id": "s-{}"}}'}),
}


@pytest.mark.parametrize("way", SESSIONS)
def test_a_session_stays_at_one_vendor_and_survives_its_end(tmp_path, keys, way):
    """On two hosts alike; when a vendor fails its sessions move, and the others stay where they are."""
    headers, fields = SESSIONS[way]
    with contextlib.ExitStack() as stack:
        simulators = {name: stack.enter_context(VendorSimulator()) for name in ("one", "two", "three")}
        hosts = [stack.enter_context(gateway(vendors_of(simulators), keys)) for _ in range(2)]

        def asked(number, host):
            url, key = hosts[host]
            further = {name: text.format(number) for name, text in headers.items()}
            body = {**HELLO, **{name: text.format(number) for name, text in fields.items()}}
            answer = requests.post(f"{url}/v1/chat/completions", json=body, headers={**key, **further}, timeout=30)
            assert 200 == answer.status_code, answer.text
            return answer.headers["x-llmdispatcher-vendor"]

        before = {number: {asked(number, host) for host in (0, 1, 0)} for number in range(8)}
        assert all(len(where) == 1 for where in before.values())
        homes = {number: where.pop() for number, where in before.items()}
        assert len(set(homes.values())) >= 2
        gone = homes[0]
        simulators[gone].always(faults.status(503))
        after = {number: asked(number, 1) for number in range(8)}

        assert all(after[number] == home for number, home in homes.items() if home != gone)
        assert gone not in after.values()


def test_the_same_session_of_two_organizations_is_not_one(keys):
    """Neither for the vendor that it goes to, nor for what the vendor is told of it."""
    with VendorSimulator() as simulator, vendors_of({"one": simulator}) as made:
        for name in ("ours", "theirs"):
            keys.owners.ensure("organization", name)
        _, ours = keys.create("ours", organization="ours")
        _, theirs = keys.create("theirs", organization="theirs")
        with serving(create_app(made, keys=keys, settings=GatewaySettings(threads=8))) as url:
            for secret in (ours, theirs, ours):
                body = {**HELLO, "user": "ada", "prompt_cache_key": "session-1"}
                requests.post(f"{url}/v1/chat/completions", json=body, headers={"x-api-key": secret}, timeout=30)
        told = [(one.json["user"], one.json["prompt_cache_key"]) for one in simulator.requests]

    assert told[0] == told[2] != told[1]
    assert all(len(value) == 64 for pair in told for value in pair)
    assert 4 == len({value for pair in told for value in pair})


def test_users_are_hashed_in_every_format_and_for_vectors(served):
    """Anthropic's ``metzaphodta.user_id`` and OpenAI's ``user``, of conversations and embeddings."""
    served.post("/v1/messages", {**HELLO, "model": "claude-haiku-4-5", "max_tokens": 9, "metadata": {"user_id": "zaphod"}})
    served.post("/v1/responses", {"model": "gpt-4o-mini", "input": "a", "user": "zaphod", "prompt_cache_key": "zaphod"})
    served.post("/v1/embeddings", {"model": "text-embedding-3-small", "input": "a", "user": "zaphod"})
    sent = [one.json for one in served.simulator.requests]

    assert 3 == len(sent)
    assert "zaphod" not in json.dumps(sent)
    assert sent[0]["metadata"]["user_id"] == sent[1]["user"] == sent[1]["prompt_cache_key"] == sent[2]["user"]


# Whom a key may ask


@pytest.fixture
def three():
    """A dispatcher with a pool, a fallback vendor, a hedge and a model that a vendor calls otherwise."""
    with VendorSimulator() as simulator:
        made = Dispatcher(
            Config(
                pools={"smart": ["openai:gpt-4o", "anthropic:claude-haiku-4-5"], "cheap": ["google:gemini-2.5-flash"]},
                fallback_vendor="anthropic",
                retry_policy={"max_retries": 0},
            )
        )
        made.register_vendor(OpenAIVendor(api_key="sk", base_url=simulator.openai_url, model_map={"house-model": "gpt-4o-mini"}))
        made.register_vendor(AnthropicVendor(api_key="sk", base_url=simulator.anthropic_url))
        made.register_vendor(GoogleVendor(api_key="sk", base_url=simulator.google_url))
        yield made, simulator


GRANTS = {
    "a pool in full": (["smart"], "smart", 200, "openai"),
    "a pool in full, by a wildcard": (["sm*"], "smart", 403, None),
    "one of a pool": (["claude-*"], "smart", 200, "anthropic"),
    "by its vendor": (["anthropic:*"], "smart", 200, "anthropic"),
    "none of a pool": (["gpt-4o"], "cheap", 403, None),
    "auto": (["gemini-2.5-flash"], "auto", 200, "google"),
    "auto, none": (["nothing-*"], "auto", 403, None),
    "a mapped name": (["house-model"], "house-model", 200, "openai"),
    "nothing at all": ([], "gpt-4o", 403, None),
    "a model": (["gpt-4o"], "gpt-4o", 200, "openai"),
}


@pytest.mark.parametrize("case", GRANTS)
def test_globs_are_asked_of_every_target(three, keys, case):
    """Of a pool, of auto, of a mapped name; and the lists show what may be asked."""
    made, _ = three
    globs, model, status, vendor = GRANTS[case]
    with gateway(made, keys, models=globs) as (url, key):
        answer = requests.post(f"{url}/v1/chat/completions", json={**HELLO, "model": model}, headers=key, timeout=30)
        listed = {entry["id"] for entry in requests.get(f"{url}/v1/models", headers=key, timeout=30).json()["data"]}

    assert (status, vendor) == (answer.status_code, answer.headers.get("x-llmdispatcher-vendor")), answer.text
    if status == 403:
        assert ("model_not_allowed", "false") == (answer.json()["error"]["code"], answer.headers["x-should-retry"])
    if model in ("smart", "cheap", "auto"):
        assert (status == 200) == (model in listed)


@pytest.mark.parametrize("streamed", [False, True])
def test_failover_goes_to_allowed_targets_alone(three, keys, streamed):
    """A pool's second, a fallback vendor's stand-in: nobody is asked that the key may not."""
    made, simulator = three
    simulator.always(faults.status(503))
    with gateway(made, keys, models=["gpt-4o"]) as (url, key):
        for model in ("smart", "gpt-4o"):
            body = {**HELLO, "model": model, "stream": streamed}
            assert 503 == requests.post(f"{url}/v1/chat/completions", json=body, headers=key, timeout=30).status_code

    assert {"openai"} == {one.format for one in simulator.requests}


def test_a_hedge_asks_allowed_targets_alone(keys):
    """The second leg is no way round."""
    with VendorSimulator(latency=0.3) as simulator:
        made = Dispatcher(Config(pools={"smart": ["openai:gpt-4o", "anthropic:claude-haiku-4-5"]}, hedge={"after": 0.05}))
        made.register_vendor(OpenAIVendor(api_key="sk", base_url=simulator.openai_url))
        made.register_vendor(AnthropicVendor(api_key="sk", base_url=simulator.anthropic_url))
        with gateway(made, keys, models=["gpt-4o"]) as (url, key):
            answer = requests.post(f"{url}/v1/chat/completions", json={**HELLO, "model": "smart"}, headers=key, timeout=30)

    assert 200 == answer.status_code
    assert ["openai"] == [one.format for one in simulator.requests]


def test_counts_and_vectors_are_held_to_the_globs(served, keys):
    """Also where they are made by another route of the gateway."""
    _, secret = keys.create("narrow", models=["gpt-4o-mini", "gemini-embedding-001"])
    count = served.post("/v1/messages/count_tokens", {**HELLO, "model": "claude-haiku-4-5"}, key=secret)
    vectors = served.post("/v1/embeddings", {"model": "text-embedding-3-small", "input": "a"}, key=secret)
    allowed = served.post("/v1/embeddings", {"model": "gemini-embedding-001", "input": "a"}, key=secret)

    assert 403 == vectors.status_code, vectors.text
    assert [403, 403, 200] == [count.status_code, vectors.status_code, allowed.status_code]
    assert "permission_error" == count.json()["error"]["type"]


# What becomes of an agent's fields


@pytest.mark.parametrize(
    ("model", "takes_billing"), [("gpt-4o-mini", False), ("claude-haiku-4-5", True), ("gemini-2.5-flash", False)]
)
def test_claude_code_s_own_fields(served, model, takes_billing):
    """The billing block goes to Anthropic alone, as do betas; what has no place elsewhere is dropped, told, and never refused."""
    headers = {"anthropic-beta": "context-management-2025-06-27", "anthropic-version": "2023-06-01"}
    answer = served.post("/v1/messages?beta=true", {**CLAUDE_CODE, "model": model}, headers=headers)
    streamed = served.post("/v1/messages?beta=true", {**CLAUDE_CODE, "model": model, "stream": True}, headers=headers)
    sent = served.simulator.requests[0]

    assert 200 == answer.status_code == streamed.status_code, answer.text
    assert takes_billing == ("x-anthropic-billing-header" in json.dumps(sent.json))
    assert takes_billing == ("anthropic-beta" in sent.headers)
    assert "You are an agent." in json.dumps(sent.json)
    for told in (answer, streamed):
        dropped = told.headers.get("x-llmdispatcher-dropped", "")
        assert takes_billing == ("context_management" not in dropped), dropped
        assert takes_billing == ("anthropic-beta" not in dropped), dropped


@pytest.mark.parametrize("model", ["gpt-4o-mini", "claude-haiku-4-5", "gemini-2.5-flash"])
def test_codex_s_own_fields(served, model):
    """Tools of a vendor's own, encrypted thoughts, verbosity: never a refusal."""
    answer = served.post("/v1/responses", {**CODEX, "model": model}, headers={"session-id": "019b-thread"})

    assert 200 == answer.status_code, answer.text
    if model != "gpt-4o-mini":
        assert "web_search" in answer.headers["x-llmdispatcher-dropped"]


def test_gemini_s_own_fields_elsewhere(served):
    """``thinkingConfig`` and safety settings of Gemini's command line."""
    body = {
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
        "systemInstruction": {"parts": [{"text": "You are an agent."}]},
        "tools": [{"functionDeclarations": [{"name": "read", "description": "Read.", "parametersJsonSchema": {"type": "object"}}]}],
        "generationConfig": {"thinkingConfig": {"includeThoughts": True, "thinkingBudget": 8192}, "topK": 64, "topP": 0.95},
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
    }
    for model in ("gpt-4o-mini", "claude-haiku-4-5", "gemini-2.5-flash"):
        answer = served.post(f"/v1beta/models/{model}:generateContent", body)
        assert 200 == answer.status_code, answer.text


ODD = {
    "a user that is a bomb": ({}, {"user": "{" + "[" * 60_000}),
    "a user that is deep": ({}, {"user": '{"a":' * 900 + "1" + "}" * 900}),
    "a user that is no object": ({}, {"user": '{"session_id": 5}'}),
    "an empty user": ({}, {"user": "", "prompt_cache_key": ""}),
    "a lone surrogate": ({}, {"user": "\ud83d", "prompt_cache_key": "\ud83d"}),
    "a session that is long": ({"X-Claude-Code-Session-Id": "s" * 4000}, {}),
    "a session of blanks": ({}, {"prompt_cache_key": "  "}),
    "betas of another alphabet": ({"anthropic-beta": "\u00e9\u00e8"}, {}),
    "betas without end": ({"anthropic-beta": "b," * 2000}, {}),
    "two sessions": ({"X-Claude-Code-Session-Id": "a", "session-id": "b"}, {"prompt_cache_key": "c"}),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_sessions_and_users_harm_nobody(served, case):
    """They are no session, and nothing else; an empty user is none."""
    headers, fields = ODD[case]
    data = json.dumps({**HELLO, "model": "claude-haiku-4-5", **fields}).encode()
    sent = {**{name: value.encode("latin-1") for name, value in headers.items()}, "Authorization": f"Bearer {served.key}"}
    answer = requests.post(f"{served.url}/v1/chat/completions", data=data, headers=sent, timeout=30)

    assert 200 == answer.status_code, answer.text
    if case == "an empty user":
        assert "metadata" not in served.simulator.requests[0].json


def test_another_vendor_goes_on_with_a_stream_as_configured(keys):
    """The client sees one answer; without the setting it is told that the answer broke off."""
    with VendorSimulator(responses="one two three four five six") as one, VendorSimulator(responses="three four five six") as two:
        one.always(faults.cut_after(2))
        told = []
        for continuation in (True, None):
            made = Dispatcher(
                Config(
                    default_vendor="openai", fallback_vendor="anthropic", continuation=continuation, retry_policy={"max_retries": 0}
                )
            )
            made.register_vendor(OpenAIVendor(api_key="sk", base_url=one.openai_url))
            made.register_vendor(AnthropicVendor(api_key="sk", base_url=two.anthropic_url))
            with gateway(made, keys) as (url, key):
                told.append(
                    requests.post(f"{url}/v1/chat/completions", json={**HELLO, "stream": True}, headers=key, timeout=30).text
                )

    assert "[DONE]" in told[0]
    assert '"error"' not in told[0]
    assert "[DONE]" not in told[1]
    assert '"error"' in told[1]
