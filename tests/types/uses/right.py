"""Uses that a type checker must let pass: each public parameter as the documents write it. Checked, never run."""

from __future__ import annotations

import enum
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Literal, TypedDict

import attrs

from llmdispatcher import (
    Admission,
    AnthropicVendor,
    Balance,
    Budget,
    CircuitBreaker,
    Config,
    CostOptimization,
    Dispatcher,
    EmbeddingRequest,
    Ledger,
    Message,
    OpenAIVendor,
    Outcome,
    RateLimit,
    RateWindow,
    Request,
    Response,
    ResponseCache,
    RetryPolicy,
    RoutingCondition,
    RoutingRule,
    TextPart,
    ToolCall,
    vendor,
)


def weather(city: str) -> str:
    """The weather of a city."""
    return city


def seen(outcome: Outcome) -> None:
    print(outcome.cost)


config = Config(
    default_vendor="openai",
    timeout=30,
    retry_policy={"max_retries": 2, "backoff_strategy": "jitter"},
    circuit_breaker=CircuitBreaker(),
    routing_rules=[RoutingRule(vendor="openai"), {"vendor": "anthropic", "condition": {"model_pattern": "claude-*"}}],
    cache=True,
    hedge={"after": 2.0},
    continuation=True,
    guards=[],
    balance="least_loaded",
    modes={"mine": lambda now: now.targets},
    pools={"smart": ["openai:gpt-4o"], "wide": {"models": ["gpt-4o"], "on": ["context"]}},
    cost_optimization=CostOptimization(max_cost="0.05", vendor_costs={"openai": 0.03}),
    latency_optimization=False,
    lockfile=Path("llmring.lock"),
    admission=100,
    budgets=[Budget(limit="5.00"), {"limit": 3}],
    ledger=Path("calls.db"),
)
Config(
    retry_policy=RetryPolicy(),
    cache=ResponseCache(store=Path("answers.db"), finish_reasons=["stop"], schema=None, client=None),
    limits_storage=None,
    limits_prefix="app:",
    balance=Balance(strategy=lambda now: now.targets[:1]),
)
Config(
    balance=Balance(weights={"a": 2}), admission=Admission(max_calls=3), fallback_vendor="a", fallback_model=False, timeout="auto"
)
Config(ledger=Ledger("calls.db"), lockfile=True, registry="https://example.com")
Budget(limit=Decimal(5), match={"user": "u-*"})
Budget(limit="5.00", period=timedelta(days=30), warn_at=0.8)
Budget(limit="5.00", period="week", week_start="sunday")
RateLimit(
    requests_per_day=3, input_tokens_per_minute=3, windows=[RateWindow(period="30d", requests=3), {"period": "1h", "tokens": 3}]
)
Request("m", "Hi", failover=False)
Config(failover=False)
RoutingCondition(requires=["vision"])
dispatcher = Dispatcher(config, observers=[seen], ledger="calls.db")
Dispatcher({"timeout": 3}).register_vendor(
    OpenAIVendor(api_key=["a", "b"], models=["gpt-*"], rate_limit={"requests_per_minute": 9})
)
Dispatcher.from_env(config).register_vendor(AnthropicVendor(api_key=lambda: "token", fetch_remote=True))
Dispatcher.from_file(Path("llmdispatcher.toml"), observers=[seen])
vendor("groq", api_key="gsk", rate_limit=RateLimit(requests_per_minute=3, adaptive=True))
request = Request(
    "gpt-4o",
    [Message.user("Hello"), {"role": "assistant", "content": "Hi"}, Message("user", [TextPart(text="x"), "y"])],
    tools=[weather],
    stop="END",
    response_format={"type": "json_object"},
)
Message("assistant", tool_calls=[ToolCall(id="c", name="f", arguments="{}")])
response: Response = dispatcher.send(request, timeout=3)
text: str = response.content


class City(TypedDict):
    name: str


class Size(enum.Enum):
    SMALL = "small"


Answer = City | None
city: City = dispatcher.send(Request("gpt-4o", "Where?", response_format=City)).parsed
cities: list[City] = dispatcher.send_to_vendor("openai", Request("gpt-4o", "Where?", response_format=list[City])).parsed
size: Size = dispatcher.send_streaming(Request("gpt-4o", "How big?", response_format=Size)).response().parsed
asked: Request[City | None] = Request("gpt-4o", "Where?", response_format=City | None)
maybe: City | None = dispatcher.send(attrs.evolve(asked, model="gpt-5")).parsed
several: list[City] = [answer.parsed for answer in dispatcher.map([Request("gpt-4o", "Where?", response_format=City)])]
Request("gpt-4o", "Where?", response_format=Answer)
Request("gpt-4o", "Yes?", response_format=Literal["yes", "no"])
Request("gpt-4o", "Where?", response_format={"type": "array", "items": {"type": "string"}})
cost: Decimal | None = response.usage.cost
EmbeddingRequest("text-embedding-3-small", ["a", "b"])
with dispatcher.send_streaming(Request("gpt-4o", "Hello", stop=["a", "b"])) as stream:
    for chunk in stream:
        print(chunk.content)
