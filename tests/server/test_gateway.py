"""The gateway answers each format in its own words, and lets in whom it should."""

from __future__ import annotations

import itertools
import json
import socket
from urllib.parse import urlsplit

import pytest
import requests

from llmdispatcher import ConfigError, Dispatcher
from llmdispatcher.server import GatewaySettings, create_app
from llmdispatcher.server.gateway.app import ROUTES
from llmdispatcher.testing import faults

from ..cases import each
from .conftest import HELLO, serving

GOOGLE = {"contents": [{"role": "user", "parts": [{"text": "Why?"}]}]}
ASKING = {
    "chat": ("/v1/chat/completions", HELLO),
    "responses": ("/v1/responses", {"model": "gpt-4o-mini", "input": "Why?"}),
    "messages": ("/v1/messages", {**HELLO, "max_tokens": 50}),
    "google": ("/v1beta/models/gpt-4o-mini:generateContent", GOOGLE),
    "ollama": ("/api/chat", {**HELLO, "stream": False}),
}
TEXT_OF = {
    "chat": lambda told: told["choices"][0]["message"]["content"],
    "responses": lambda told: told["output"][0]["content"][0]["text"],
    "messages": lambda told: told["content"][0]["text"],
    "google": lambda told: told["candidates"][0]["content"]["parts"][0]["text"],
    "ollama": lambda told: told["message"]["content"],
}
MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5", "google": "gemini-2.5-flash"}


@each("form, vendor", itertools.product(ASKING, MODELS))
def test_every_format_reaches_every_vendor(served, form, vendor):
    """And the answer tells who gave it and what it cost."""
    path, body = ASKING[form]
    served.simulator.script("the sky scatters blue light")
    asked = {**body, "model": MODELS[vendor]} if "model" in body else body
    answer = served.post(path.replace("gpt-4o-mini", MODELS[vendor]), asked)

    assert 200 == answer.status_code, answer.text
    assert "the sky scatters blue light" == TEXT_OF[form](answer.json())
    assert (vendor, "1") == (answer.headers["x-llmdispatcher-vendor"], answer.headers["x-llmdispatcher-attempts"])
    assert float(answer.headers["x-llmdispatcher-cost"]) > 0


def test_embeddings_and_counts(served):
    """Vectors as lists and as base64, and the tokens of a conversation, in the formats that have them."""
    listed = served.post("/v1/embeddings", {"model": "text-embedding-3-small", "input": ["a", "b"]}).json()
    short = served.post("/v1/embeddings", {"model": "text-embedding-3-small", "input": "a", "encoding_format": "base64"}).json()
    single = served.post("/v1beta/models/gemini-embedding-001:embedContent", {"content": {"parts": [{"text": "a"}]}}).json()
    batch = {"requests": [{"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "a"}]}}]}
    several = served.post("/v1beta/models/gemini-embedding-001:batchEmbedContents", batch).json()
    counted = served.post("/v1/messages/count_tokens", {**HELLO, "model": "claude-haiku-4-5"}).json()
    google = served.post("/v1beta/models/gemini-2.5-flash:countTokens", GOOGLE).json()

    assert [0, 1] == [entry["index"] for entry in listed["data"]]
    assert isinstance(short["data"][0]["embedding"], str)
    assert single["embedding"]["values"] == several["embeddings"][0]["values"]
    assert counted["input_tokens"] > 0 < google["totalTokens"]


def test_models_are_listed_in_the_asker_s_format(served):
    """And one of them is shown."""
    ours = served.get("/v1/models").json()
    theirs = served.get("/v1/models", headers={"anthropic-version": "2023-06-01"}).json()
    google, ollama = served.get("/v1beta/models").json(), served.get("/api/tags").json()
    names = [entry["id"] for entry in ours["data"]]

    assert names == [entry["id"] for entry in theirs["data"]]
    assert names == [entry["name"].removeprefix("models/") for entry in google["models"]] == [e["name"] for e in ollama["models"]]
    assert {"auto", "openai:gpt-4o-mini", "anthropic:claude-haiku-4-5"} <= set(names)
    assert "openai:gpt-4o" == served.get("/v1/models/openai:gpt-4o").json()["id"]
    assert 404 == served.get("/v1/models/openai:nothing").status_code


def test_probes_of_agents_are_answered(served):
    """Claude Code asks ``HEAD /``; Codex asks for its own records of models, and a WebSocket first, which is told to be none."""
    head, plain = requests.head(f"{served.url}/", timeout=30), requests.get(f"{served.url}/", timeout=30)
    codex = served.get("/v1/models?client_version=0.171.0").json()
    socket_ = served.get("/v1/responses", headers={"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"})

    assert (200, "", 200) == (head.status_code, head.text, plain.status_code)
    assert ([], "list") == (codex["models"], codex["object"])
    assert "openai:gpt-4o-mini" in {entry["id"] for entry in codex["data"]}
    assert "models" not in served.get("/v1/models").json()
    assert (426, "upgrade_refused") == (socket_.status_code, socket_.json()["error"]["code"])
    assert 0 == served.simulator.hits


def test_google_s_stable_paths_are_google_s_too(served):
    """Its SDK asks there unless it is told otherwise; errors and lists are in its format, and the address takes no key."""
    whole = served.post("/v1/models/gemini-2.5-flash:generateContent", GOOGLE)
    counted = served.post("/v1/models/openai/gpt-4o-mini:countTokens", GOOGLE)
    embedded = served.post("/v1/models/gemini-embedding-001:embedContent", {"content": {"parts": [{"text": "a"}]}})
    streamed = served.post("/v1/models/gpt-4o-mini:streamGenerateContent?alt=sse", GOOGLE)
    listed = requests.get(f"{served.url}/v1/models", headers={"x-goog-api-key": served.key}, timeout=30).json()
    unknown = served.post("/v1/models/gtp-9:generateContent", GOOGLE)
    refused = requests.post(f"{served.url}/v1/models/gpt-4o-mini:generateContent?key={served.key}", json=GOOGLE, timeout=30)

    assert "candidates" in whole.json()
    assert counted.json()["totalTokens"] > 0
    assert embedded.json()["embedding"]["values"]
    assert "text/event-stream" in streamed.headers["content-type"]
    assert {"models/auto"} <= {entry["name"] for entry in listed["models"]}
    assert (404, "NOT_FOUND") == (unknown.status_code, unknown.json()["error"]["status"])
    assert (401, "UNAUTHENTICATED") == (refused.status_code, refused.json()["error"]["status"])
    theirs = requests.get(f"{served.url}/v1/models", headers={"anthropic-version": "1", "x-api-key": "no"}, timeout=30)
    assert "authentication_error" == theirs.json()["error"]["type"]


def test_a_refusal_of_the_gateway_has_no_vendor_s_id(served):
    """Of a path, a method and a key: nobody could be asked about it elsewhere."""
    answers = [
        requests.get(f"{served.url}/nowhere", timeout=30),
        requests.get(f"{served.url}/v1/chat/completions", timeout=30),
        served.post("/v1/chat/completions", HELLO, key="nobody"),
    ]

    assert [404, 405, 401] == [answer.status_code for answer in answers]
    assert not [answer for answer in answers if "x-llmdispatcher-vendor-request-id" in answer.headers]


def test_the_slash_form_names_a_registered_vendor(served):
    """As other gateways write it; with another word before the slash it is a model's name."""
    asked = served.post("/v1/chat/completions", {**HELLO, "model": "anthropic/claude-haiku-4-5"})
    unknown = served.post("/v1/chat/completions", {**HELLO, "model": "nobody/claude-haiku-4-5"})

    assert "anthropic" == asked.headers["x-llmdispatcher-vendor"]
    assert (404, "model_not_found") == (unknown.status_code, unknown.json()["error"]["code"])


REFUSED = {
    "no JSON": (b"{", {}, 400, "invalid_request_error"),
    "no object": (b"[]", {}, 400, "invalid_request_error"),
    "an unknown model": (json.dumps({**HELLO, "model": "gtp-9"}).encode(), {}, 404, "model_not_found"),
    "a vendor that is not registered": (json.dumps({**HELLO, "model": "groq:x"}).encode(), {}, 404, "model_not_found"),
    "an address": (json.dumps({**HELLO, "api_base": "http://127.0.0.1:1"}).encode(), {}, 400, "invalid_request_error"),
    "a key in the body": (json.dumps({**HELLO, "api_key": "sk"}).encode(), {}, 400, "invalid_request_error"),
    "kept at the vendor": (json.dumps({**HELLO, "store": True}).encode(), {}, 400, "stateful_not_allowed"),
    "a time that is none": (json.dumps(HELLO).encode(), {"x-llmdispatcher-timeout": "soon"}, 400, "bad_timeout"),
}


@each("told", REFUSED)
def test_what_is_refused_and_never_sent(served, told):
    """In the client's format, with a code that a program can read."""
    body, headers, status, code = told
    sent = {"Authorization": f"Bearer {served.key}", **headers}
    before = served.simulator.hits
    answer = requests.post(f"{served.url}/v1/chat/completions", data=body, headers=sent, timeout=30)

    assert (status, code) == (answer.status_code, answer.json()["error"]["code"])
    assert before == served.simulator.hits
    assert answer.headers["x-request-id"]


KEYS = {
    "none": ({}, 401, "missing_key"),
    "unknown": ({"Authorization": "Bearer llmr_pk_no"}, 401, "invalid_api_key"),
    "two that differ": ({"Authorization": "Bearer a", "x-api-key": "b"}, 400, "ambiguous_credentials"),
    "too long": ({"x-api-key": "k" * 256}, 400, "malformed_key"),
    "with a blank": ({"Authorization": "Bearer a b"}, 400, "malformed_key"),
}


@each("shown", KEYS)
def test_who_is_let_in(served, shown):
    """Nobody without a good key; a refused one is not told from an unknown one."""
    headers, status, code = shown
    answer = requests.post(f"{served.url}/v1/chat/completions", json=HELLO, headers=headers, timeout=30)

    assert (status, code) == (answer.status_code, answer.json()["error"]["code"])
    assert 0 == served.simulator.hits


def test_each_client_s_own_header_is_read(served):
    """Bearer, Anthropic's and Google's; Google's also in the address, where no other path takes one."""
    ways = [{"Authorization": f"Bearer {served.key}"}, {"x-api-key": served.key}, {"x-goog-api-key": served.key}]
    found = [requests.get(f"{served.url}/v1/models", headers=headers, timeout=30).status_code for headers in ways]
    google = requests.get(f"{served.url}/v1beta/models", params={"key": served.key}, timeout=30).status_code
    other = requests.get(f"{served.url}/v1/models", params={"key": served.key}, timeout=30).status_code

    assert ([200, 200, 200], 200, 401) == (found, google, other)


def test_wrong_keys_are_counted_by_address(served):
    """From the sixtieth on the database is not asked any more, for a while."""
    statuses = [
        requests.get(f"{served.url}/v1/models", headers={"x-api-key": f"no-{n}"}, timeout=30).status_code for n in range(61)
    ]

    assert [401] * 60 + [429] == statuses


def test_a_key_asks_for_its_models_alone(served, keys):
    """It sees no others, and a name in another spelling is no way round."""
    _, secret = keys.create("narrow", models=["gpt-4o-mini"])
    names = [entry["id"] for entry in served.get("/v1/models", key=secret).json()["data"]]
    asked = [
        served.post("/v1/chat/completions", {**HELLO, "model": model}, key=secret).status_code
        for model in ("gpt-4o-mini", "GPT-4o-mini", "gpt-4o", "openai:gpt-4o", "openai/gpt-4o", "auto", "claude-haiku-4-5")
    ]

    assert ["auto", "openai:gpt-4o-mini"] == names
    assert [403, 403, 403, 200, 403] == asked[2:]
    assert 200 == asked[0]


def test_scopes_are_asked_for(served, keys):
    """A key that manages keys asks no models."""
    _, secret = keys.create("manager", scopes=["keys"])

    assert "scope_required" == served.post("/v1/chat/completions", HELLO, key=secret).json()["error"]["code"]


def test_every_route_has_a_scope_but_health():
    """A route that forgets its scope would be open to everybody."""
    assert {"/", "/livez", "/readyz", r"/openapi\.json"} == {route.pattern.pattern for route in ROUTES if route.scope is None}


VENDOR_FAULTS = {
    "a refused key": (faults.status(401), 502, "vendor_key_refused", "false"),
    "no credit": (faults.status(402), 429, "insufficient_quota", "false"),
    "down": (faults.status(503), 503, None, None),
    "broken": (faults.status(500), 503, None, None),
    "a limit": (faults.status(429), 429, "rate_limit_exceeded", None),
}


@pytest.mark.parametrize("fault", VENDOR_FAULTS)
def test_a_vendor_s_failure_is_told_in_our_words(served, fault):
    """With a status that says whose fault it is: a refused key of ours is not the client's."""
    scripted, status, code, retry = VENDOR_FAULTS[fault]
    served.simulator.always(scripted)
    answer = served.post("/v1/chat/completions", {**HELLO, "model": "openai:gpt-4o-mini"})
    error = answer.json()["error"]

    assert (status, retry) == (answer.status_code, answer.headers.get("x-should-retry")), answer.text
    assert code in (None, error["code"])
    assert "sk-" not in error["message"]


def test_overload_is_told_to_anthropic_s_clients_as_theirs_expect(served):
    """529, which they try again after a pause."""
    served.simulator.always(faults.status(503))
    answer = served.post("/v1/messages", {**HELLO, "max_tokens": 9})

    assert (529, "overloaded_error") == (answer.status_code, answer.json()["error"]["type"])


def test_methods_paths_and_heads(served):
    """405 with what is allowed, 404 without an echo, HEAD as GET without a body, 426 for an upgrade."""
    wrong = served.get("/v1/chat/completions")
    unknown = served.get("/v1/secret-plans")
    head = requests.head(f"{served.url}/v1/models", headers={"x-api-key": served.key}, timeout=30)
    upgrade = served.get("/v1/responses", headers={"Upgrade": "websocket", "Connection": "Upgrade"})

    assert (405, "POST") == (wrong.status_code, wrong.headers["Allow"])
    assert 404 == unknown.status_code
    assert "secret-plans" not in unknown.text
    assert (200, "") == (head.status_code, head.text)
    assert int(head.headers["Content-Length"]) > 100
    assert 426 == upgrade.status_code


@each("path", ["//v1/models", "/v1//models", "/v1/./models", "/v1/x/../models", "/v1/models;x", "/v1%2Fmodels", "/V1/models"])
def test_paths_in_disguise_are_no_routes(served, path):
    """They are not mended into one, so no check can be passed by them."""
    address = urlsplit(served.url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = connection.makefile("rb").read()

    assert answer.split(b" ")[1] in (b"404", b"400", b"401"), answer


def test_large_and_broken_bodies(dispatcher, keys, served):
    """413 before a byte is read, and a length that is none."""
    _, secret = keys.create("small")
    app = create_app(dispatcher, keys=keys, settings=GatewaySettings(threads=8, max_body=1000))
    with serving(app) as url:
        long = requests.post(f"{url}/v1/chat/completions", data=b"x" * 1001, headers={"x-api-key": secret}, timeout=30)
        pieces = requests.post(f"{url}/v1/chat/completions", data=iter([b"x" * 600] * 3), headers={"x-api-key": secret}, timeout=30)

    assert (413, "body_too_large") == (long.status_code, long.json()["error"]["code"])
    assert 413 == pieces.status_code


def test_health_needs_no_key(served):
    """And tells the drain."""
    alive, ready = requests.get(f"{served.url}/livez", timeout=30), requests.get(f"{served.url}/readyz", timeout=30)
    served.app.draining = True

    assert (200, 200, 503) == (alive.status_code, ready.status_code, requests.get(f"{served.url}/readyz", timeout=30).status_code)


def test_what_create_app_takes(tmp_path):
    """A dispatcher, a file, fields; anything else is told."""
    path = tmp_path / "llmdispatcher.toml"
    path.write_text('[vendors.mine]\nkind = "openai"\napi_key = "sk"\n')
    app = create_app(path, keys=tmp_path / "keys.db")

    assert ["mine"] == app.dispatcher.get_vendors()
    app.close()
    with pytest.raises(ConfigError, match="int is no Dispatcher"):
        create_app(7, keys=tmp_path / "keys.db")
    assert isinstance(app.dispatcher, Dispatcher)
