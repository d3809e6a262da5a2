"""``credentials = "client"``: a developer's own subscription goes through to that vendor, and to nobody else."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from llmdispatcher import AnthropicVendor, Config, ConfigError, Dispatcher, HttpVendor, OpenAIVendor
from llmdispatcher.server import GatewaySettings, create_app

from ..cases import each
from .conftest import Passing, serving
from .test_passing import CHAT_ANSWER, MESSAGES, MESSAGES_ANSWER, MESSAGES_STREAM
from .upstream import streamed, upstream, whole

TOKEN = "sk-ant-oat01-a-canary-of-a-developer"


@pytest.fixture
def own(vendor: Any, keys: Any, monkeypatch: Any) -> Any:
    """A gateway whose Anthropic has no key of its own, and whose OpenAI has one."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-the-environment")
    _, secret = keys.create("a test")
    with upstream() as other:
        made = Dispatcher(Config(retry_policy={"max_retries": 0}, fallback_vendor="openai", fallback_model="gpt-4o-mini"))
        made.register_vendor(AnthropicVendor(base_url=vendor.url, credentials="client"))
        made.register_vendor(OpenAIVendor(api_key="sk-of-the-gateway", base_url=f"{other.url}/v1"))
        other.answers = [whole(json.dumps(CHAT_ANSWER).encode())]
        with made:
            app = create_app(made, keys=keys, settings=GatewaySettings(threads=8))
            with serving(app) as url:
                yield Passing(app, url, secret, vendor), other


def carriers(key: str) -> dict[str, dict[str, str]]:
    """How a client may show its own."""
    return {
        "a bearer": {"Authorization": f"Bearer {TOKEN}", "x-llmdispatcher-key": key},
        "a key": {"Authorization": "", "x-api-key": TOKEN, "x-llmdispatcher-key": key},
    }


@each("carrier", ["a bearer", "a key"])
@pytest.mark.parametrize("is_stream", [False, True])
def test_the_client_s_own_goes_to_its_vendor(own, carrier, is_stream):
    """With its body byte for byte; ours does not, nor one of the environment."""
    gate, other = own
    gate.vendor.heard.clear()
    gate.vendor.answers = [streamed(MESSAGES_STREAM) if is_stream else whole(json.dumps(MESSAGES_ANSWER).encode())]
    body = json.dumps({**MESSAGES, "stream": is_stream}).encode()
    got = gate.post("/v1/messages", body, headers=carriers(gate.key)[carrier])
    heard = gate.vendor.heard[0]

    assert (200, body) == (got.status_code, heard.body), got.text
    wanted = {"authorization": f"Bearer {TOKEN}"} if carrier == "a bearer" else {"x-api-key": TOKEN}
    assert wanted == {name: text for name, text in heard.headers.items() if name in ("authorization", "x-api-key")}
    assert gate.key not in f"{heard.headers}"
    assert [] == other.heard


def test_no_other_vendor_gets_it_and_no_log(own, caplog):
    """Where the vendor fails, and the next has a key of its own."""
    caplog.set_level(logging.DEBUG)
    gate, other = own
    gate.vendor.answers = [whole(f'{{"error": {{"message": "{TOKEN} is busy"}}}}'.encode(), status=529)]
    got = gate.post("/v1/messages", MESSAGES, headers=carriers(gate.key)["a bearer"])

    assert (200, "openai") == (got.status_code, got.headers["x-llmdispatcher-vendor"])
    assert "Bearer sk-of-the-gateway" == other.heard[0].headers["authorization"]
    assert TOKEN not in f"{other.heard}{got.headers}{got.text}{caplog.text}"


def test_a_refused_one_is_the_client_s_to_mend(own):
    """401, with which an agent signs in again, and without the token."""
    gate, other = own
    gate.vendor.answers = [whole(f'{{"error": {{"message": "bad {TOKEN}"}}}}'.encode(), status=401)]
    other.answers = [whole(b"{}", status=503)]
    got = gate.post("/v1/messages", MESSAGES, headers=carriers(gate.key)["a bearer"])

    assert (401, "authentication_error") == (got.status_code, got.json()["error"]["type"])
    assert TOKEN not in got.text


def test_without_it_the_vendor_is_not_asked(own):
    """Neither with our key in its place, nor with another format's credentials."""
    gate, other = own
    gate.vendor.answers = [whole(json.dumps(MESSAGES_ANSWER).encode())]
    plain = gate.post("/v1/messages", MESSAGES)
    ask = {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "a"}]}
    foreign = gate.post("/v1/chat/completions", ask, headers=carriers(gate.key)["a bearer"])

    assert [("openai", 200)] * 2 == [(one.headers["x-llmdispatcher-vendor"], one.status_code) for one in (plain, foreign)]
    assert [] == gate.vendor.heard
    assert TOKEN not in f"{other.heard}"


def test_a_wrong_key_of_ours_beside_a_good_one_of_theirs(own):
    """Is refused; their credentials are never looked up as ours."""
    gate, _other = own
    wrong = gate.post("/v1/messages", MESSAGES, headers=carriers("llmr_pk_wrong")["a bearer"])
    swapped = {"Authorization": f"Bearer {gate.key}", "x-llmdispatcher-key": "llmr_pk_wrong"}

    assert [401, 401] == [wrong.status_code, gate.post("/v1/messages", MESSAGES, headers=swapped).status_code]
    assert [] == gate.vendor.heard


def test_without_such_a_vendor_several_credentials_are_ambiguous(passing):
    """Ours in the header of its own is good alone."""
    headers = {"Authorization": f"Bearer {TOKEN}", "x-llmdispatcher-key": passing.key}
    passing.vendor.answers = [whole(json.dumps(MESSAGES_ANSWER).encode())]
    both = passing.post("/v1/messages", MESSAGES, headers=headers)
    alone = passing.post("/v1/messages", MESSAGES, headers={"Authorization": "", "x-llmdispatcher-key": passing.key})

    assert (400, 200) == (both.status_code, alone.status_code)
    assert TOKEN not in f"{passing.vendor.heard}"


def test_two_vendors_of_one_format_cannot_both_take_them(keys):
    """One would see the other's."""
    made = Dispatcher()
    made.register_vendor(AnthropicVendor(credentials="client"))
    made.register_vendor(HttpVendor(kind="anthropic", name="second", base_url="http://127.0.0.1:9", credentials="client"))
    with made, pytest.raises(ConfigError, match=r"vendors\.second\.credentials"):
        create_app(made, keys=keys)


@each("settings", [{"credentials": "mine"}, {"credentials": "client", "api_key": "sk"}])
def test_a_mistake_is_told(settings):
    """With the field."""
    with pytest.raises(ConfigError, match=r"^credentials: "):
        AnthropicVendor(**settings)


def test_tokens_are_counted_with_the_client_s_own(own):
    """As its conversations are answered; a client without any is told an estimate, and the vendor nothing."""
    gate, _other = own
    gate.vendor.answers = [whole(b'{"input_tokens": 41}')]
    body = json.dumps(MESSAGES).encode()
    got = gate.post("/v1/messages/count_tokens", body, headers=carriers(gate.key)["a bearer"])
    bare = gate.post("/v1/messages/count_tokens", body)

    assert (200, b'{"input_tokens": 41}', 200) == (got.status_code, got.content, bare.status_code), bare.text
    assert [(body, f"Bearer {TOKEN}")] == [(heard.body, heard.headers["authorization"]) for heard in gate.vendor.heard]
    assert 0 < bare.json()["input_tokens"] != 41
