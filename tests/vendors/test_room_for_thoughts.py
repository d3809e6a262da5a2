"""OpenAI's models that think count their thoughts in the limit of the answer: ``max_tokens`` is room for the answer beside them."""

import json

import pytest

from llmdispatcher import Budget, BudgetExceeded, Config, CostOptimization, Deadline, Dispatcher, Request, Tool, vendor
from llmdispatcher.catalog import model_facts
from llmdispatcher.testing import VendorSimulator
from llmdispatcher.wire import CODECS

from ..cases import each

LOW, MEDIUM, HIGH = 4096, 8192, 16_384


def limit(request, kind="openai", **settings):
    """The limit that is sent."""
    made = vendor(kind, api_key="sk-0123456789abcdef", base_url="http://127.0.0.1:9/v1", **settings)
    body = json.loads(made._encode(request, Deadline.after(30), stream=False)[0].body)
    return body.get("max_completion_tokens", body.get("max_output_tokens", body.get("max_tokens")))


@each(
    "model, fields, sent",
    [
        ("gpt-4o", {}, 500),
        ("gpt-5", {}, 500 + MEDIUM),
        ("o3-mini", {}, 500 + MEDIUM),
        ("gpt-5", {"reasoning_effort": "low"}, 500 + LOW),
        ("gpt-5", {"reasoning_effort": "high"}, 500 + HIGH),
        ("gpt-5.1", {}, 500),
        ("gpt-5.1", {"reasoning_effort": "none"}, 500),
        ("gpt-5.1", {"reasoning_effort": "high"}, 500 + HIGH),
        ("gpt-5-chat-latest", {}, 500),
        ("gpt-5.6", {}, 500 + MEDIUM),
        ("gpt-5.6", {"tools": [Tool(name="f")]}, 500 + MEDIUM),
        ("gpt-5", {"max_tokens": 127_000}, 128_000),
        ("gpt-5", {"max_tokens": 500, "reasoning_tokens": 2000}, 2500),
        ("gpt-5", {"max_tokens": None}, None),
        ("gpt-5", {"max_tokens": None, "extra_params": {"max_completion_tokens": 800}}, 800),
    ],
)
def test_the_limit_has_room_for_the_thoughts_of_an_effort(model, fields, sent):
    """As far as the model gives so much; a limit of both that somebody wrote stays as it is written."""
    assert sent == limit(Request(model, "q", **{"max_tokens": 500, **fields}))


@each("kind", ["anthropic", "groq", "deepseek"])
def test_elsewhere_the_limit_is_what_was_asked_for(kind):
    """Of models that think as well."""
    assert 500 == limit(Request("m", "q", max_tokens=500), kind)


@each(
    "source, asked, sent",
    [
        ("openai_chat", {"messages": [{"role": "user", "content": "q"}], "max_tokens": 500}, 500 + MEDIUM),
        ("openai_chat", {"messages": [{"role": "user", "content": "q"}], "max_completion_tokens": 500}, 500),
        ("openai_responses", {"input": "q", "max_output_tokens": 500}, 500),
        ("anthropic_messages", {"messages": [{"role": "user", "content": "q"}], "max_tokens": 500}, 500 + MEDIUM),
        (
            "anthropic_messages",
            {
                "messages": [{"role": "user", "content": "q"}],
                "max_tokens": 3000,
                "thinking": {"type": "enabled", "budget_tokens": 2000},
            },
            3000,
        ),
        ("ollama_chat", {"messages": [{"role": "user", "content": "q"}], "options": {"num_predict": 500}}, 500 + MEDIUM),
    ],
)
def test_a_clients_limit_of_thoughts_and_answer_stays(source, asked, sent):
    """By the words of its format."""
    assert sent == limit(CODECS[source].read_request(json.dumps({"model": "gpt-5", **asked}).encode()).request)


def asked(model, **settings):
    """A call's trace."""
    with VendorSimulator(responses="yes") as simulator, Dispatcher(Config(**settings)) as dispatcher:
        dispatcher.register_vendor(vendor("openai", api_key="sk-0123456789abcdef", base_url=simulator.openai_url, trust_env=False))
        return dispatcher.send(Request(f"openai:{model}", "q", max_tokens=500)).trace


def test_budgets_see_the_larger_limit():
    """What may be billed is what is reserved."""
    [attempt] = asked("gpt-5", budgets=[Budget(limit=100)]).attempts

    assert attempt.reserved >= model_facts("openai", "gpt-5").price.output * (500 + MEDIUM) / 1_000_000


def test_max_cost_sees_the_larger_limit():
    """A model that does not think unasked may cost as much as its answer alone."""
    enough = model_facts("openai", "gpt-5").price.output * 1000 / 1_000_000

    with pytest.raises(BudgetExceeded, match="max_cost"):
        asked("gpt-5", cost_optimization=CostOptimization(max_cost=enough))
    assert 1 == len(asked("gpt-5", cost_optimization=CostOptimization(max_cost=enough * 9)).attempts)
    assert 1 == len(asked("gpt-5.1", cost_optimization=CostOptimization(max_cost=enough)).attempts)
