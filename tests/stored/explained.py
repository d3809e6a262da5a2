"""What ``explain()`` says of some forty routes: by rule, mode, price, speed, balance, pool, alias; and who is left out and why.

No vendor is on a network, the clock stands still, chance is always the same.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from llmdispatcher import (
    AnthropicVendor,
    AzureOpenAIVendor,
    Budget,
    Capabilities,
    CircuitBreaker,
    Config,
    CostOptimization,
    Dispatcher,
    DispatchError,
    Hedge,
    LatencyOptimization,
    Lockfile,
    Message,
    OllamaVendor,
    OpenAIVendor,
    RateLimit,
    RateLimitError,
    Request,
    RetryPolicy,
    RoutingCondition,
    RoutingRule,
    Tool,
    VendorUnavailable,
    image,
)
from llmdispatcher.testing import FakeVendor, ManualClock

KEY = "sk-0123456789abcdef"
ASK = Request("m", "Why is the sky blue?", max_tokens=100)
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER = Tool(
    name="weather",
    description="What it is like outside.",
    parameters={"type": "object", "properties": {"place": {"type": "string"}}},
)


@attrs.frozen
class Told:
    """A route as it is told: to people, and for streams where that differs."""

    text: str
    streaming: str | None = None

    def __str__(self) -> str:
        return self.text if self.streaming is None else f"{self.text}\n(streaming)\n{self.streaming}"


def explained() -> str:
    """All of them, each under its name."""
    return "".join(f"## {name}\n{told}\n\n" for name, told in ((name, route()) for name, route in ROUTES.items()))


def fakes(*names: str, **settings: Any) -> list[FakeVendor]:
    """Vendors that can do everything, by these names."""
    return [FakeVendor(name=name, **settings) for name in names]


def real(*kinds: type[Any], **settings: Any) -> list[Any]:
    """Vendors of the catalog with a key that nobody takes."""
    return [kind(**{"api_key": KEY, "trust_env": False} | settings) for kind in kinds]


def told(
    vendors: list[Any],
    request: Request = ASK,
    *,
    before: Callable[[Dispatcher, ManualClock], None] | None = None,
    streaming: bool = False,
    **settings: Any,
) -> Told:
    """What a dispatcher with these vendors and settings tells; ``before`` may ask or wait first."""
    clock = ManualClock()
    settings.setdefault("retry_policy", RetryPolicy(max_retries=0))
    with Dispatcher(Config(**settings), clock=clock) as dispatcher:
        for vendor in vendors:
            dispatcher.register_vendor(vendor)
        if before is not None:
            before(dispatcher, clock)
        return Told(_one(dispatcher, request), _one(dispatcher, request, streaming=True) if streaming else None)


def _one(dispatcher: Dispatcher, request: Request, *, streaming: bool = False) -> str:
    try:
        return str(dispatcher.explain(request, streaming=streaming)).replace(f"{Path.cwd()}/", "")
    except DispatchError as error:
        return f"{type(error).__name__}: {error}"


def failing(times: int = 1, *, vendor: str | None = None, request: Request = ASK) -> Callable[[Dispatcher, ManualClock], None]:
    """Ask so often before, and let it fail."""

    def ask(dispatcher: Dispatcher, clock: ManualClock) -> None:
        for _ in range(times):
            try:
                _ = dispatcher.send(request) if vendor is None else dispatcher.send_to_vendor(vendor, request)
            except DispatchError:
                clock.advance(0.5)

    return ask


def measured(dispatcher: Dispatcher, clock: ManualClock) -> None:
    """Ask each vendor three times before, so that its speed is known."""
    for vendor in dispatcher.get_vendors():
        for _ in range(3):
            dispatcher.send_to_vendor(vendor, ASK)


def rule(vendor: str, **facts: Any) -> RoutingRule:
    """A rule whose condition is given by its fields."""
    own = {name: facts.pop(name) for name in ("name", "priority", "enabled", "model") if name in facts}
    return RoutingRule(condition=RoutingCondition(**facts), vendor=vendor, **own)


def aliases() -> Lockfile:
    """A lockfile with two aliases, one of them of another profile."""
    lock = Lockfile.create_default("nowhere.lock")
    lock.bind("summarizer", ["a:large", "b:small"])
    lock.bind("drafts", "b:small", profile="prod")
    return lock


SMALL = Capabilities(models=("m",), context_window=50, max_tokens=20)
NO_TOOLS = Capabilities(supports_tools=False)
BLIND = Capabilities(supports_vision=False)
SEEING = Capabilities(supports_vision=True)
WITH_TOOLS = attrs.evolve(ASK, tools=[WEATHER])
WITH_PICTURE = Request("m", [Message("user", [image(PIXEL)])])
LONG = Request("m", "word " * 400, max_tokens=100)
PAIR = real(OpenAIVendor, AnthropicVendor)
CHEAP = CostOptimization(vendor_costs={"a": "0.03", "b": "0.01"})
POOLS = {"smart": ["a:large", "b:small", "nobody:else"]}
KNOWN = {"models": ("gpt-4o", "gpt-4o-mini")}


def _slow() -> list[FakeVendor]:
    return [FakeVendor(name="a", latency=2.0), FakeVendor(name="b", latency=0.5)]


ROUTES: dict[str, Callable[[], Told]] = {
    "nobody is registered": lambda: told([]),
    "one vendor": lambda: told(fakes("a")),
    "in order of registration": lambda: told(fakes("a", "b", "c"), streaming=True),
    "default and fallback vendor": lambda: told(fakes("a", "b", "c"), default_vendor="c", fallback_vendor="a"),
    "a default vendor that is not registered": lambda: told(fakes("a"), default_vendor="z"),
    "the request names a vendor": lambda: told(fakes("a", "b"), attrs.evolve(ASK, model="b:m")),
    "the request names nobody's vendor": lambda: told(fakes("a"), attrs.evolve(ASK, model="z:m")),
    "only some have the model": lambda: told([*fakes("a"), FakeVendor(name="b", capabilities=Capabilities(models=("other*",)))]),
    "nobody has the model": lambda: told([FakeVendor(name="b", capabilities=Capabilities(models=("other*",)))]),
    "one is not available": lambda: told([FakeVendor(name="a", available=False), *fakes("b")]),
    "nobody is available": lambda: told([FakeVendor(name="a", available=False)]),
    "the window is too small": lambda: told([FakeVendor(name="a", capabilities=SMALL), *fakes("b")], LONG),
    "the conversation fits nobody": lambda: told([FakeVendor(name="a", capabilities=SMALL)], LONG),
    "the answer is longer than one gives": lambda: told([FakeVendor(name="a", capabilities=SMALL), *fakes("b")]),
    "no tools": lambda: told([FakeVendor(name="a", capabilities=NO_TOOLS), *fakes("b")], WITH_TOOLS),
    "no pictures": lambda: told(
        [FakeVendor(name="a", capabilities=BLIND), FakeVendor(name="b", capabilities=SEEING)], WITH_PICTURE
    ),
    "a rule by the model": lambda: told(fakes("a", "b"), routing_rules=[rule("b", model_pattern="m*")]),
    "rules by priority": lambda: told(
        fakes("a", "b", "c"), routing_rules=[rule("b", priority=1), rule("c", priority=2, name="the best")]
    ),
    "a rule by the user": lambda: told(fakes("a", "b"), attrs.evolve(ASK, user="ann"), routing_rules=[rule("b", user="ann")]),
    "a rule by metadata": lambda: told(
        fakes("a", "b"), attrs.evolve(ASK, metadata={"team": "blue"}), routing_rules=[rule("b", metadata={"team": "blue"})]
    ),
    "a rule by what the request uses": lambda: told(fakes("a", "b"), WITH_TOOLS, routing_rules=[rule("b", requires=("tools",))]),
    "a rule that does not match": lambda: told(fakes("a", "b"), routing_rules=[rule("b", model_pattern="x*")]),
    "a disabled rule": lambda: told(fakes("a", "b"), routing_rules=[rule("b", enabled=False, name="off")]),
    "a rule that names nobody": lambda: told(fakes("a"), routing_rules=[rule("z")]),
    "a rule with another model": lambda: told(fakes("a", "b"), routing_rules=[rule("b", model="m-large")]),
    "by price": lambda: told(fakes("a", "b"), cost_optimization=CHEAP),
    "over the cap on cost": lambda: told(fakes("a", "b"), cost_optimization=attrs.evolve(CHEAP, max_cost="0.002")),
    "the cap is over nobody": lambda: told(fakes("a", "b"), cost_optimization=attrs.evolve(CHEAP, max_cost="0.0000001")),
    "a cap without a price": lambda: told(fakes("a", "x"), cost_optimization=attrs.evolve(CHEAP, max_cost="1")),
    "strict cost": lambda: told(fakes("a"), strict_cost=True),
    "by speed, not yet measured": lambda: told(fakes("a", "b"), latency_optimization=LatencyOptimization()),
    "by speed": lambda: told(_slow(), before=measured, latency_optimization=LatencyOptimization(max_latency=1.0)),
    "by price and speed": lambda: told(
        _slow(), before=measured, latency_optimization=LatencyOptimization(), cost_optimization=CHEAP
    ),
    "balanced": lambda: told(fakes("a", "b", "c"), balance="round_robin", fallback_vendor="a"),
    "balanced by the user": lambda: told(
        fakes("a", "b", "c"), attrs.evolve(ASK, user="ann"), balance={"strategy": "random", "sticky": "user"}
    ),
    "a mode of one's own": lambda: told(fakes("a", "b"), modes={"mine": lambda now: list(reversed(now.targets))[:1]}, mode="mine"),
    "a mode that nobody knows": lambda: told(fakes("a"), attrs.evolve(ASK, mode="clever")),
    "a pool": lambda: told(fakes("a", "b"), attrs.evolve(ASK, model="smart"), pools=POOLS),
    "a pool with a mode": lambda: told(fakes("a", "b"), attrs.evolve(ASK, model="smart", mode="fast"), pools=POOLS),
    "an alias": lambda: told(fakes("a", "b"), attrs.evolve(ASK, model="summarizer"), lockfile=aliases()),
    "an alias of another profile": lambda: told(
        fakes("a", "b"), attrs.evolve(ASK, model="drafts", profile="prod"), lockfile=aliases()
    ),
    "an alias that is missing": lambda: told(
        [FakeVendor(name="a", capabilities=Capabilities(models=("large",)))],
        attrs.evolve(ASK, model="drafts"),
        lockfile=aliases(),
    ),
    "hedged, not yet measured": lambda: told(fakes("a", "b"), hedge=Hedge()),
    "hedged after a fixed time": lambda: told(fakes("a", "b"), hedge=Hedge(after=0.25)),
    "an open circuit": lambda: told(
        [FakeVendor(VendorUnavailable("down", status=500), name="a"), *fakes("b")],
        before=failing(3),
        circuit_breaker=CircuitBreaker(min_calls=2, jitter=lambda seconds: seconds),
    ),
    "parked for a while": lambda: told(
        [FakeVendor(RateLimitError("slowly", retry_after=20, status=429), name="a"), *fakes("b")], before=failing(1)
    ),
    "rate limits": lambda: told(
        real(OpenAIVendor, rate_limit=RateLimit(requests_per_minute=60, tokens_per_minute=10_000)),
        attrs.evolve(ASK, model="gpt-4o"),
    ),
    "budgets": lambda: told(
        real(OpenAIVendor),
        attrs.evolve(ASK, model="gpt-4o"),
        budgets=[Budget(limit="5.00", period="total", name="all"), Budget(limit="0.25", period="call")],
    ),
    "a model of the catalog": lambda: told(PAIR, attrs.evolve(ASK, model="gpt-4o")),
    "vendors without a key": lambda: told(
        [AzureOpenAIVendor(trust_env=False), *real(OpenAIVendor)], attrs.evolve(ASK, model="gpt-4o")
    ),
    "a typo": lambda: told(PAIR, attrs.evolve(ASK, model="gtp-4o")),
    "the slash form": lambda: told(PAIR, attrs.evolve(ASK, model="openai/gpt-4o")),
    "a vendor that is not registered": lambda: told(PAIR, attrs.evolve(ASK, model="google:gemini-2.5-pro")),
    "a fallback vendor without the model": lambda: told(
        PAIR, attrs.evolve(ASK, model="gpt-3.5-turbo"), default_vendor="openai", fallback_vendor="anthropic"
    ),
    "a local vendor": lambda: told([OllamaVendor(trust_env=False)], attrs.evolve(ASK, model="ollama:llama3")),
    "any model, cost saving": lambda: told(real(OpenAIVendor, **KNOWN), attrs.evolve(ASK, model="auto", mode="cost_saving")),
    "any model, the best": lambda: told(real(OpenAIVendor, **KNOWN), attrs.evolve(ASK, model="auto", mode="sophisticated")),
    "any model, auto": lambda: told(real(OpenAIVendor, **KNOWN), attrs.evolve(ASK, model="auto")),
    "any model, auto with tools": lambda: told(real(OpenAIVendor, **KNOWN), attrs.evolve(WITH_TOOLS, model="auto")),
    "any model, nothing known": lambda: told(fakes("a"), attrs.evolve(ASK, model="auto")),
}
"""Each route by its name."""
