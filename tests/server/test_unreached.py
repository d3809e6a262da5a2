"""A vendor that is not reached: its client, the log and the operator hear of the cause, each as much as is theirs."""

from __future__ import annotations

import logging
import socket

import pytest
import requests

from llmdispatcher import AnthropicVendor, Config, Dispatcher, OpenAIVendor
from llmdispatcher.server import create_app

from ..cases import each
from .conftest import serving

_HELLO = {"messages": [{"role": "user", "content": "Why is the sky blue?"}], "max_tokens": 20}


@pytest.fixture
def deaf():
    """A port that nobody listens on, while it is taken; and one whose queue of connections nobody empties."""
    with socket.socket() as closed, socket.socket() as silent:
        closed.bind(("127.0.0.1", 0))
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        yield closed.getsockname()[1], silent.getsockname()[1]


@pytest.fixture
def gate(keys, deaf):
    """A gateway over vendors that cannot be reached: one refuses, one has no such name, one takes the request and is silent."""
    refused, silent = deaf
    made = Dispatcher(Config(retry_policy={"max_retries": 0}))
    made.register_vendor(OpenAIVendor(api_key="sk-test", base_url=f"http://127.0.0.1:{refused}/v1"))
    made.register_vendor(AnthropicVendor(api_key="sk-test", base_url="http://no-such-host.invalid:8443"))
    slow = {"base_url": f"http://127.0.0.1:{silent}/v1", "first_byte_timeout": 0.2, "models": ["slow"]}
    made.register_vendor(OpenAIVendor(name="slow", api_key="sk-test", **slow))
    with serving(create_app(made, keys=keys)) as url:
        yield url


def _ask(gate, keys, model, path="/v1/chat/completions"):
    _, secret = keys.create("somebody")
    answer = requests.post(gate + path, json={**_HELLO, "model": model}, headers={"X-API-Key": secret}, timeout=60)
    return answer, secret


_CASES = [
    ("openai:gpt-4o-mini", "the connection to the vendor is refused", "connect", "127.0.0.1:{refused}: connection refused"),
    ("anthropic:claude-haiku-4-5", "the vendor's name is not known", "dns", "no-such-host.invalid: the name cannot be resolved"),
    ("slow:slow", "the vendor did not begin to answer in time", "first_byte", "127.0.0.1:{silent}: no answer began within"),
]


@each("model, words, phase, cause", _CASES)
def test_the_cause_is_told_and_the_address_to_the_operator_alone(gate, keys, deaf, caplog, model, words, phase, cause):
    """The answer has what happened, the record its phase; host and port are in the log and in an operator's view of the record."""
    caplog.clear()
    caplog.set_level(logging.WARNING, "llmdispatcher")
    refused, silent = deaf
    told = cause.format(refused=refused, silent=silent)
    host = told.partition(": ")[0]
    answer, secret = _ask(gate, keys, model)
    assert answer.status_code == 503
    assert f"no vendor can answer now: {words}; " in answer.text
    assert host not in answer.text + str(answer.headers)
    _, operator = keys.create("an operator", scopes=("operator",))
    where = f"{gate}/proxy/requests/{answer.headers['x-llmdispatcher-request-id']}"
    mine = requests.get(where, headers={"X-API-Key": secret}, timeout=60)
    (attempt,) = mine.json()["attempts"]
    assert (phase, False) == (attempt["phase"], "cause" in attempt)
    assert host not in mine.text
    (attempt,) = requests.get(where, headers={"X-API-Key": operator}, timeout=60).json()["attempts"]
    assert attempt["cause"].startswith(told)
    assert f"{model} is not reached: {told}" in caplog.text
    assert "sk-test" not in caplog.text


def test_a_cause_is_logged_once_a_minute(gate, keys, caplog):
    """However many requests meet it."""
    caplog.set_level(logging.WARNING, "llmdispatcher")
    for _ in range(3):
        answer, secret = _ask(gate, keys, "openai:gpt-4o-mini")
        where = f"{gate}/proxy/requests/{answer.headers['x-llmdispatcher-request-id']}"
        assert requests.get(where, headers={"X-API-Key": secret}, timeout=60).ok  # the record is complete
    assert 1 == caplog.text.count("openai:gpt-4o-mini is not reached")


def test_agents_are_told_so_too(gate, keys):
    """In Anthropic's format, with its own status."""
    answer, _ = _ask(gate, keys, "anthropic:claude-haiku-4-5", "/v1/messages")
    assert (529, "overloaded_error") == (answer.status_code, answer.json()["error"]["type"])
    assert "the vendor's name is not known" in answer.json()["error"]["message"]
