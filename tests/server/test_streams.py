"""Streams through the gateway: every format, no buffering, heartbeats, clients that leave, failures before and in the middle."""

from __future__ import annotations

import itertools
import json
import threading

import pytest
import requests

from llmdispatcher import AnthropicVendor, Config, Dispatcher, OpenAIVendor
from llmdispatcher.server import GatewaySettings, create_app
from llmdispatcher.server.gateway.record import RequestRecord
from llmdispatcher.testing import VendorSimulator, faults

from ..cases import each
from ..conftest import PATIENCE
from .conftest import HELLO, serving, wait_until
from .test_gateway import GOOGLE, MODELS

STREAMED = {
    "chat": ("/v1/chat/completions", {**HELLO, "stream": True}),
    "responses": ("/v1/responses", {"model": "gpt-4o-mini", "input": "Why?", "stream": True}),
    "messages": ("/v1/messages", {**HELLO, "max_tokens": 50, "stream": True}),
    "google": ("/v1beta/models/gpt-4o-mini:streamGenerateContent?alt=sse", GOOGLE),
    "google in one array": ("/v1beta/models/gpt-4o-mini:streamGenerateContent", GOOGLE),
    "ollama": ("/api/chat", HELLO),
}


def text_of(form, body):
    """The text of a streamed answer."""
    if form == "ollama":
        return "".join([json.loads(line)["message"]["content"] for line in body.splitlines() if line])
    if form == "google in one array":
        events = json.loads(body)
    else:
        events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]
    if form.startswith("google"):
        return "".join([part.get("text", "") for event in events for part in event["candidates"][0]["content"].get("parts", ())])
    if form == "chat":
        return "".join([event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"]])
    if form == "responses":
        return "".join([event["delta"] for event in events if event["type"] == "response.output_text.delta"])
    return "".join([event["delta"]["text"] for event in events if event["type"] == "content_block_delta"])


@each("form, vendor", itertools.product(STREAMED, MODELS))
def test_every_format_streams_from_every_vendor(served, form, vendor):
    """The text is whole, and the head tells who answers."""
    path, body = STREAMED[form]
    served.simulator.script("one two three")
    asked = {**body, "model": MODELS[vendor]} if "model" in body else body
    answer = served.post(path.replace("gpt-4o-mini", MODELS[vendor]), asked, stream=True)

    assert (200, vendor) == (answer.status_code, answer.headers["x-llmdispatcher-vendor"])
    assert "one two three" == text_of(form, answer.text), answer.text
    assert "Content-Length" not in answer.headers


def test_each_piece_comes_when_it_comes(served):
    """The first word is there although the vendor never says the second."""
    served.simulator.script(faults.stall_after(words=1))
    with served.post("/v1/chat/completions", {**HELLO, "stream": True}, stream=True) as answer:
        first = next(json.loads(line[6:]) for line in answer.iter_lines() if b'"content":"' in line and b'"content":""' not in line)

    assert first["choices"][0]["delta"]["content"]


@pytest.mark.parametrize("form", ["chat", "messages", "google"])
def test_a_failure_before_the_first_word_has_its_status(served, form):
    """No 200 is sent for a vendor that fails at once."""
    path, body = STREAMED[form]
    served.simulator.always(faults.status(503))
    asked = {**body, "model": "openai:gpt-4o-mini"} if "model" in body else body
    answer = served.post(path.replace("models/gpt-4o-mini", "models/openai:gpt-4o-mini"), asked)

    assert answer.status_code in (503, 529)


@pytest.fixture
def quick():
    """Settings that let a test see heartbeats."""
    return GatewaySettings(threads=8, patience=0.1, heartbeat=0.3)


def _two_vendors(first, second):
    made = Dispatcher(Config(default_vendor="openai", fallback_vendor="anthropic", retry_policy={"max_retries": 0}, timeout=60))
    made.register_vendor(OpenAIVendor(api_key="sk", base_url=first.openai_url, first_byte_timeout=1.0))
    made.register_vendor(AnthropicVendor(api_key="sk", base_url=second.anthropic_url))
    return made


@pytest.mark.parametrize("form", ["chat", "responses", "messages", "google", "ollama"])
def test_silence_is_filled_and_failover_goes_on_behind_it(keys, quick, form):
    """The stream opens with 200 and heartbeats while the first vendor is silent; then the second answers."""
    _, secret = keys.create("a test")
    path, body = STREAMED[form]
    with VendorSimulator() as first, VendorSimulator(responses="late but whole") as second, _two_vendors(first, second) as made:
        first.always(faults.silent())
        with serving(create_app(made, keys=keys, settings=quick)) as url:
            answer = requests.post(url + path, json=body, headers={"x-api-key": secret}, timeout=30)

    assert (200, "late but whole") == (answer.status_code, text_of(form, answer.text)), answer.text
    assert {"chat": ": ping", "responses": ": ping", "messages": "event: ping", "google": ": ping", "ollama": "\n\n"}[
        form
    ] in f"\n{answer.text}"


def test_a_failure_behind_heartbeats_is_an_event(keys, quick, simulator):
    """Without an end mark."""
    _, secret = keys.create("a test")
    made = Dispatcher(Config(retry_policy={"max_retries": 0}, timeout=60))
    made.register_vendor(OpenAIVendor(api_key="sk", base_url=simulator.openai_url, first_byte_timeout=1.0))
    simulator.always(faults.silent())
    path, body = STREAMED["chat"]
    with made, serving(create_app(made, keys=keys, settings=quick)) as url:
        answer = requests.post(url + path, json=body, headers={"x-api-key": secret}, timeout=30)

    assert 200 == answer.status_code
    assert '"error"' in answer.text
    assert "[DONE]" not in answer.text


def test_a_client_that_leaves_stops_the_vendor(keys, quick):
    """Also while the vendor is silent; the place of the request is free again."""
    _, secret = keys.create("a test")
    ended = threading.Event()
    outcomes = []

    def note(outcome):
        outcomes.append(outcome)
        ended.set()

    with VendorSimulator() as simulator:
        simulator.always(faults.silent())
        made = Dispatcher(Config(timeout=600, retry_policy={"max_retries": 0}), observers=[note])
        made.register_vendor(OpenAIVendor(api_key="sk", base_url=simulator.openai_url))
        app = create_app(made, keys=keys, settings=quick)
        path, body = STREAMED["chat"]
        with made, serving(app) as url:
            with requests.post(url + path, json=body, headers={"x-api-key": secret}, timeout=30, stream=True) as answer:
                assert next(answer.iter_lines()) == b": ping"
            assert ended.wait(PATIENCE)
            assert "Cancelled" == type(outcomes[0].error).__name__
            assert requests.get(f"{url}/livez", timeout=30).status_code == 200


def test_the_places_of_requests_come_back(dispatcher, keys, simulator):
    """After more requests than there are places: whole, streamed, refused, left."""
    _, secret = keys.create("a test")
    app = create_app(dispatcher, keys=keys, settings=GatewaySettings(threads=8))
    with serving(app) as url:
        for turn in range(24):
            path, body = STREAMED["chat"]
            asked = [body, HELLO, {**HELLO, "model": "gtp-9"}][turn % 3]
            with requests.post(url + path, json=asked, headers={"x-api-key": secret}, timeout=30, stream=True) as answer:
                assert answer.status_code in (200, 404), answer.text
                assert turn % 2 or answer.text
    assert 0 == app._state.in_flight._all
    assert app.settings.bodies_together == app._bodies._left


@each("form", list(STREAMED))
def test_a_heartbeat_is_no_first_output(keys, form):
    """However a format writes it; the record's time is that of the vendor's first piece."""
    _, secret = keys.create("a test")
    path, body = STREAMED[form]
    with VendorSimulator(latency=1.0) as simulator, Dispatcher(Config(default_vendor="openai")) as made:
        made.register_vendor(OpenAIVendor(api_key="sk", base_url=simulator.openai_url))
        app = create_app(made, keys=keys, settings=GatewaySettings(threads=8, patience=0.1, heartbeat=0.3))
        records: list[RequestRecord] = []
        app.log.listeners.append(records.append)
        with serving(app) as url:
            requests.post(url + path, json=body, headers={"x-api-key": secret}, timeout=60).raise_for_status()
            wait_until(lambda: records)
    assert (records[0].first_output or 0.0) >= 1.0
