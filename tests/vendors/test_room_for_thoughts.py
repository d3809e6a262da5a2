"""OpenAI's models that think count their thoughts in the limit of the answer: ``max_tokens`` is room for the answer beside them."""

import json
from decimal import Decimal

import pytest

from llmdispatcher import CostOptimization, Deadline, Request, Tool, vendor
from llmdispatcher.accounting.budgets.reservation import bound, measured
from llmdispatcher.catalog import Target
from llmdispatcher.routing.requirements import Ask
from llmdispatcher.runtime import SYSTEM_CLOCK
from llmdispatcher.wire import CODECS

LOW, MEDIUM, HIGH = 4096, 8192, 16_384


def limit(request, kind="openai", **settings):
    """The limit that is sent."""
    made = vendor(kind, api_key="sk-0123456789abcdef", base_url="http://127.0.0.1:9/v1", **settings)
    body = json.loads(made._encoded(request, Deadline.after(30), stream=False)[0].body)
    return body.get("max_completion_tokens", body.get("max_output_tokens", body.get("max_tokens")))


@pytest.mark.parametrize(
    ("model", "fields", "sent"),
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
        ("gpt-5", {"extra_params": {"max_completion_tokens": 800}}, 800),
    ],
)
def test_the_limit_has_room_for_the_thoughts_of_an_effort(model, fields, sent):
    """As far as the model gives so much; a limit of both that somebody wrote stays as it is written."""
    assert sent == limit(Request(model, "q", **{"max_tokens": 500, **fields}))


@pytest.mark.parametrize("kind", ["anthropic", "groq", "deepseek"])
def test_elsewhere_the_limit_is_what_was_asked_for(kind):
    """Of models that think as well."""
    assert 500 == limit(Request("m", "q", max_tokens=500), kind)


@pytest.mark.parametrize(
    ("source", "asked", "sent"),
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


def target(model):
    return Target(vendor="openai", model="m", kind="openai").asked_for(model)


def test_budgets_and_max_cost_see_the_larger_limit():
    """What may be billed is what is reserved."""
    small, thinker = Request("gpt-5", "q", max_tokens=500), target("gpt-5")
    dollars = thinker.price.output / 1_000_000
    tight = CostOptimization(max_cost=dollars * 1000)

    assert bound(measured(small), small, thinker, SYSTEM_CLOCK.now()) >= dollars * (500 + MEDIUM)
    assert "max_cost" in Ask(small, tight, frozenset()).objection(thinker).reason
    assert Ask(small, CostOptimization(max_cost=dollars * 10_000 + Decimal("0.01")), frozenset()).objection(thinker) is None
    assert Ask(Request("gpt-5.1", "q", max_tokens=500), tight, frozenset()).objection(target("gpt-5.1")) is None
