"""Mistakes that a type checker must find, one in each line that says so. Checked, never run."""

from __future__ import annotations

from llmdispatcher import (
    Balance,
    Budget,
    Config,
    CostOptimization,
    Dispatcher,
    EmbeddingRequest,
    Message,
    OpenAIVendor,
    RateLimit,
    RateWindow,
    Request,
    ResponseCache,
    RetryPolicy,
    RoutingCondition,
    RoutingRule,
)

Config(timeout="soon")  # wrong
Config(timeot=3)  # wrong
Config(retry_policy=3)  # wrong
Config(circuit_breaker=True)  # wrong
Config(routing_rules=RoutingRule(vendor="a"))  # wrong
Config(routing_rules=["openai"])  # wrong
Config(cache=3)  # wrong
ResponseCache(client="redis://host")  # wrong
RateLimit(storage=3)  # wrong
Config(hedge=2.0)  # wrong
Config(guards=3)  # wrong
Config(balance=3)  # wrong
Config(modes={"mine": "fast"})  # wrong
Config(pools=["a", "b"])  # wrong
Config(cost_optimization=0.05)  # wrong
Config(latency_optimization="fast")  # wrong
Config(lockfile=3)  # wrong
Config(admission="many")  # wrong
Config(budgets=Budget(limit=3))  # wrong
Config(ledger=3)  # wrong
Config(registry=3)  # wrong
Config(fallback_model=3)  # wrong
Config(strict_cost="yes")  # wrong
Balance(strategy=3)  # wrong
Balance(weights={"a": "2"})  # wrong
Budget(limit=None)  # wrong
Budget(limit=3, period=30)  # wrong
Budget(limit=3, warn_at="80%")  # wrong
RateLimit(requests_per_day="many")  # wrong
RateLimit(windows=RateWindow(period="30d", requests=3))  # wrong
Config(failover="no")  # wrong
CostOptimization(max_cost=[1])  # wrong
ResponseCache(store=3)  # wrong
ResponseCache(finish_reasons="stop")  # wrong
RetryPolicy(backoff_strategy=3)  # wrong
RetryPolicy(max_retries="3")  # wrong
RateLimit(adaptive="yes")  # wrong
RoutingCondition(requires="vision")  # wrong
RoutingRule(vendor=3)  # wrong
OpenAIVendor(api_key=3)  # wrong
OpenAIVendor(models="gpt-*")  # wrong
OpenAIVendor(rate_limit=500)  # wrong
OpenAIVendor(api_kei="sk")  # wrong
Request("gpt-4o", 3)  # wrong
Request("gpt-4o", [3])  # wrong
Request(3, "Hello")  # wrong
Request("gpt-4o", "Hello", temperature="warm")  # wrong
Request("gpt-4o", "Hello", stop=3)  # wrong
Request("gpt-4o", "Hello", tools="weather")  # wrong
Request("gpt-4o", "Hello", max_token=3)  # wrong
Message("user", 3)  # wrong
Message("user", tool_calls=[3])  # wrong
EmbeddingRequest("m", 3)  # wrong
dispatcher = Dispatcher(timeout=3)  # wrong
Dispatcher(observers=[3])  # wrong
Dispatcher.from_env(timeout=3)  # wrong
Dispatcher.from_file(3)  # wrong
dispatcher.send("Hello")  # wrong
dispatcher.send(Request("m", "x"), timeout="3")  # wrong
dispatcher.send(Request("m", "x"), max_tokens=3)  # wrong
print(dispatcher.send(Request("m", "x")).text)  # wrong
print(dispatcher.send_streaming(Request("m", "x")).content)  # wrong
Request("gpt-4o", "x", response_format=3)  # wrong
Request("gpt-4o", "x", response_format="json")  # wrong
number: int = Dispatcher().send(Request("gpt-4o", "x", response_format=list[int])).parsed  # wrong
