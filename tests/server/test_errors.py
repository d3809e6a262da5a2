"""Errors by each face: the statuses, the words that agents act on, and what never reaches a caller."""

from __future__ import annotations

import itertools
import threading

import pytest
import requests

from llmdispatcher import (
    AnthropicVendor,
    AuthenticationError,
    BudgetExceeded,
    Capabilities,
    CircuitOpen,
    Config,
    ConfigError,
    ContentFiltered,
    ContextWindowExceeded,
    CostUnknown,
    DeadlineExceeded,
    Dispatcher,
    InvalidRequest,
    LedgerError,
    MalformedReply,
    ModelNotFound,
    OpenAIVendor,
    Overloaded,
    QuotaExceeded,
    RateLimitError,
    StreamInterrupted,
    VendorUnavailable,
)
from llmdispatcher.server import GatewaySettings, create_app
from llmdispatcher.testing import VendorSimulator, faults

from ..conftest import PATIENCE
from .conftest import HELLO, serving

TEXT = "the words of org-4711abc in proj_9 with sk-live-123"
TOO_LONG = "This model's maximum context length is 128000 tokens. However, your messages resulted in 131072 tokens."
FACES = {
    "chat": ("/v1/chat/completions", lambda text, model="m": {"model": model, "messages": [{"role": "user", "content": text}]}),
    "responses": ("/v1/responses", lambda text, model="m": {"model": model, "input": text}),
    "messages": (
        "/v1/messages",
        lambda text, model="m": {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": text}]},
    ),
    "google": (
        "/v1beta/models/m:generateContent",
        lambda text, model="m": {"contents": [{"role": "user", "parts": [{"text": text}]}]},
    ),
    "ollama": (
        "/api/chat",
        lambda text, model="m": {"model": model, "stream": False, "messages": [{"role": "user", "content": text}]},
    ),
}
# The error; its status; whether the vendor's words are told; OpenAI's code; the headers Retry-After and x-should-retry.
ROWS = {
    "InvalidRequest": (InvalidRequest(TEXT, status=400), 400, True, "invalid_request_error", None, None),
    "InvalidRequest 422": (InvalidRequest(TEXT, status=422), 400, True, "invalid_request_error", None, None),
    "ContextWindowExceeded": (ContextWindowExceeded(TOO_LONG, status=400), 400, True, "context_length_exceeded", None, None),
    "ConfigError": (ConfigError(TEXT), 500, False, "not_configured", None, None),
    "AuthenticationError": (AuthenticationError(TEXT, status=401), 502, False, "vendor_key_refused", None, "false"),
    "RateLimitError": (RateLimitError(TEXT, status=429, retry_after=900.0), 429, False, "rate_limit_exceeded", "900", None),
    "QuotaExceeded": (QuotaExceeded(TEXT, status=429), 429, False, "insufficient_quota", None, "false"),
    "BudgetExceeded": (BudgetExceeded("spent"), 402, True, "budget_exceeded", None, "false"),
    "CostUnknown": (CostUnknown(TEXT), 502, False, None, None, None),
    "ModelNotFound": (ModelNotFound(TEXT, status=404), 404, True, "model_not_found", None, None),
    "ContentFiltered": (ContentFiltered(TEXT, status=400), 400, True, "content_filter", None, None),
    "VendorUnavailable": (VendorUnavailable(TEXT, status=500, retry_after=900.0), 503, False, "server_error", "900", None),
    "MalformedReply": (MalformedReply(TEXT), 502, False, None, None, None),
    "StreamInterrupted": (StreamInterrupted(TEXT), 502, False, None, None, None),
    "DeadlineExceeded": (DeadlineExceeded(TEXT), 504, False, "timeout_error", None, None),
    "CircuitOpen": (CircuitOpen(TEXT, retry_after=900.0), 503, False, "server_error", "900", None),
    "Overloaded": (Overloaded(TEXT, retry_after=2.0), 503, False, "server_error", "2", None),
    "LedgerError": (LedgerError(TEXT), 503, False, "server_error", None, None),
}


class Failing:
    """A vendor of a user's own that raises what the prompt names."""

    name = "mine"
    capabilities = Capabilities(models=("m*",), supports_streaming=True)

    def send(self, request, _deadline):
        """Raise the error of a row."""
        error = ROWS[request.messages[-1].text][0]
        raise type(error)(error.message, **{name: value for name, value in vars(error).items() if name != "message"})

    def stream(self, request, deadline):
        """The same, before the first word."""
        yield self.send(request, deadline)

    def is_available(self):
        """It is."""
        return True


@pytest.fixture
def failing(keys):
    """The address and a key of a gateway over such a vendor."""
    _, secret = keys.create("a test")
    made = Dispatcher(Config(retry_policy={"max_retries": 0}, circuit_breaker={"enabled": False}))
    made.register_vendor(Failing())
    with made, serving(create_app(made, keys=keys, settings=GatewaySettings(threads=8))) as url:
        yield url, {"x-api-key": secret}


def message_of(face, answer):
    """The text of an error in a format."""
    told = answer.json()
    return told["error"] if face == "ollama" else told["error"]["message"]


def test_every_error_has_its_status_on_every_face(failing):
    """With its code, when to try again, whether to, and words of ours where a vendor's are not the caller's affair."""
    url, key = failing
    wrong = []
    for number, ((face, (path, body)), (name, row)) in enumerate(itertools.product(FACES.items(), ROWS.items())):
        model = f"m{number}"  # each has a rest of its own after a limit
        _error, status, words, code, after, retry = row
        answer = requests.post(url + path.replace("/m:", f"/{model}:"), json=body(name, model), headers=key, timeout=30)
        overloaded = face == "messages" and status == 503
        found = (answer.status_code, answer.headers.get("Retry-After"), answer.headers.get("x-should-retry"))
        text = message_of(face, answer)
        if found != (529 if overloaded else status, after, retry):
            wrong.append((face, name, found))
        if face in ("chat", "responses") and code is not None and answer.json()["error"]["code"] != code:
            wrong.append((face, name, answer.json()))
        if face == "messages" and overloaded and answer.json()["error"]["type"] != "overloaded_error":
            wrong.append((face, name, answer.json()))
        if name == "RateLimitError" and not text.endswith("try again in 900s"):  # for clients that see no header
            wrong.append((face, name, text))
        if not words and "words" in text:
            wrong.append((face, name, text))
        if any(secret in answer.text for secret in ("org-", "proj_", "sk-")):
            wrong.append((face, name, answer.text))

    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize("face", FACES)
def test_an_overflow_is_told_as_each_agent_knows_it(failing, face):
    """By Anthropic's sentence, by OpenAI's code; also as the event of a stream."""
    url, key = failing
    path, body = FACES[face]
    answer = requests.post(url + path, json=body("ContextWindowExceeded"), headers=key, timeout=30)

    assert 400 == answer.status_code
    if path == "/v1/messages":
        assert {"type": "invalid_request_error", "message": "prompt is too long: 131072 tokens > 128000 maximum"}.items() <= (
            answer.json()["error"].items()
        )
    elif path.startswith("/v1/") and "models" not in path:
        assert "context_length_exceeded" == answer.json()["error"]["code"]


OVERFLOWS = {
    "OpenAI's": (TOO_LONG, "prompt is too long: 131072 tokens > 128000 maximum"),
    "Google's": (
        "The input token count (1,200,000) exceeds the maximum number of tokens allowed (1048576).",
        "prompt is too long: 1200000 tokens > 1048576 maximum",
    ),
    "one number": ("the context length is 32768", "prompt is too long: 32769 tokens > 32768 maximum"),
    "none": ("the input is too long", "prompt is too long: 128001 tokens > 128000 maximum"),
}


@pytest.mark.parametrize("case", OVERFLOWS)
def test_the_sentence_has_the_numbers_of_the_vendor(keys, case):
    """Or, where it tells none, the window of the model."""
    told, sentence = OVERFLOWS[case]
    with VendorSimulator() as simulator:
        simulator.always(faults.refusal("overflow", faults.ApiError(400, "context", message=told, code="context_length_exceeded")))
        made = Dispatcher(Config(retry_policy={"max_retries": 0}))
        made.register_vendor(OpenAIVendor(api_key="sk", base_url=simulator.openai_url))
        _, secret = keys.create("a test")
        with made, serving(create_app(made, keys=keys, settings=GatewaySettings(threads=8))) as url:
            body = {**HELLO, "model": "gpt-4o", "max_tokens": 9}
            whole = requests.post(f"{url}/v1/messages", json=body, headers={"x-api-key": secret}, timeout=30)
            streamed = requests.post(f"{url}/v1/messages", json={**body, "stream": True}, headers={"x-api-key": secret}, timeout=30)

    for answer in (whole, streamed):
        assert (400, sentence) == (answer.status_code, answer.json()["error"]["message"])


@pytest.mark.parametrize("other", [faults.status(503), faults.status(401), faults.rate_limit(900), faults.silent()])
@pytest.mark.parametrize("first", [True, False])
def test_an_overflow_counts_before_what_else_went_wrong(keys, other, first):
    """The agent compacts, and does not send the same again: whichever target was asked first, be the other dead, shut or silent."""
    with VendorSimulator() as one, VendorSimulator() as two:
        one.always(faults.context_overflow() if first else other)
        two.always(other if first else faults.context_overflow())
        pool = {"models": ["openai:gpt-4o", "anthropic:claude-haiku-4-5"], "on": ["context", "policy", "quota", "auth"]}
        made = Dispatcher(Config(pools={"smart": pool}, retry_policy={"max_retries": 0}))
        made.register_vendor(OpenAIVendor(api_key="sk", base_url=one.openai_url))
        made.register_vendor(AnthropicVendor(api_key="sk", base_url=two.anthropic_url))
        _, secret = keys.create("a test")
        key = {"x-api-key": secret, "x-llmdispatcher-timeout": "3"}
        with made, serving(create_app(made, keys=keys, settings=GatewaySettings(threads=8))) as url:
            body = {**HELLO, "model": "smart", "stream": True}
            claude = requests.post(f"{url}/v1/messages", json={**body, "max_tokens": 9}, headers=key, timeout=30)
            chat = requests.post(f"{url}/v1/chat/completions", json=body, headers=key, timeout=30)

    assert 400 == claude.status_code, claude.text
    assert claude.json()["error"]["message"].startswith("prompt is too long: ")
    assert (400, "context_length_exceeded") == (chat.status_code, chat.json()["error"]["code"])


class FailingLater(Failing):
    """One that fails when it is told to."""

    def __init__(self):
        self.now = threading.Event()

    def stream(self, request, deadline):
        """Raise when the time has come."""
        assert self.now.wait(PATIENCE)
        yield self.send(request, deadline)


@pytest.mark.parametrize("face", ["chat", "responses", "messages"])
def test_an_overflow_behind_heartbeats_is_an_event_that_agents_know(keys, face):
    """The stream was open already: the event has the same words, and no end mark comes."""
    vendor, made = FailingLater(), Dispatcher(Config(retry_policy={"max_retries": 0}))
    made.register_vendor(vendor)
    _, secret = keys.create("a test")
    path, body = FACES[face]
    settings = GatewaySettings(threads=8, patience=0.01, heartbeat=0.3)
    with made, serving(create_app(made, keys=keys, settings=settings)) as url:
        asked = {**body("ContextWindowExceeded"), "stream": True}
        with requests.post(url + path, json=asked, headers={"x-api-key": secret}, timeout=30, stream=True) as answer:
            lines = answer.iter_lines()
            begun = next(lines)
            vendor.now.set()
            rest = b"\n".join(lines).decode()

    assert 200 == answer.status_code
    assert b"ping" in begun
    assert ("prompt is too long: 131072 tokens > 128000 maximum" if face == "messages" else "context_length_exceeded") in rest
    assert not any(mark in rest for mark in ("[DONE]", "message_stop", "response.completed"))


def test_long_words_of_a_vendor_are_cut(keys):
    """At 2,000 characters."""
    with VendorSimulator() as simulator:
        simulator.always(faults.status(400, message="long " * 2000))
        made = Dispatcher(Config(retry_policy={"max_retries": 0}))
        made.register_vendor(OpenAIVendor(api_key="sk", base_url=simulator.openai_url))
        _, secret = keys.create("a test")
        with made, serving(create_app(made, keys=keys, settings=GatewaySettings(threads=8))) as url:
            answer = requests.post(f"{url}/v1/chat/completions", json=HELLO, headers={"x-api-key": secret}, timeout=30)

    assert 400 == answer.status_code
    assert len(answer.json()["error"]["message"]) <= 2000


def test_codex_ends_its_turn_by_what_it_knows(served, keys):
    """A spent budget is 429 ``usage_limit_reached`` with the time; a forbidden model and a refused key are 400, others as ever."""
    _, poor = keys.create("poor", budget="0.000001/day")
    _, narrow = keys.create("narrow", models=["o3"])
    body, codex = {"model": "gpt-4o-mini", "input": "Hi", "stream": True}, {"originator": "codex_exec"}
    budget = served.post("/v1/responses", body, key=poor, headers=codex)
    other = served.post("/v1/responses", body, key=poor)
    model = served.post("/v1/responses", body, key=narrow, headers=codex)
    served.simulator.always(faults.status(401))
    refused = served.post("/v1/responses", body, headers=codex)
    served.simulator.always(faults.status(503))
    down = served.post("/v1/responses", {**body, "model": "gpt-4o"}, headers=codex)

    assert (429, "usage_limit_reached", 402) == (budget.status_code, budget.json()["error"]["type"], other.status_code)
    assert budget.json()["error"]["resets_at"] > 1_700_000_000
    assert "Retry-After" not in budget.headers
    assert (400, "model_not_allowed") == (model.status_code, model.json()["error"]["code"])
    assert (400, "vendor_key_refused") == (refused.status_code, refused.json()["error"]["code"])
    assert 503 == down.status_code
