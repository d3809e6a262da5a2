"""CPU of a whole ``Dispatcher.send`` against one raw urllib3 call with json, in the same run."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable
from statistics import median
from typing import Any

import requests
import urllib3

from llmdispatcher import (
    Balance,
    Config,
    Dispatcher,
    OpenAIVendor,
    RateLimit,
    Request,
    ResponseCache,
    RoutingCondition,
    RoutingRule,
)

from .measure import cpu_per_call, in_fresh_processes
from .server import vendor

CALLS = 400
BODY: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "How fast is this?"}], "temperature": 0.2}
HEADERS = {"Authorization": "Bearer sk-bench", "Content-Type": "application/json"}
EVERYTHING = "llmdispatcher, everything on"
LEDGER = "llmdispatcher with a ledger"
Rows = list[tuple[str, float, float | None, str]]


def dispatcher_for(url: str, *, rules: int = 0, vendors: int = 0, pool_size: int = 128, ledger: str | None = None) -> Dispatcher:
    """A dispatcher with one live vendor, an observer, and any number of rules and vendors that do not match."""
    dispatcher = Dispatcher(
        Config(
            default_vendor="openai",
            routing_rules=[
                RoutingRule(
                    condition=RoutingCondition(model_pattern=f"other-model-{number}*", user=f"user-{number}"), vendor="openai"
                )
                for number in range(rules)
            ],
        ),
        observers=[lambda outcome: None],
        ledger=ledger,
    )
    dispatcher.register_vendor(OpenAIVendor(api_key="sk-bench", base_url=f"{url}/v1", pool_size=pool_size))
    for number in range(vendors):
        name = f"elsewhere-{number}"
        dispatcher.register_vendor(OpenAIVendor(name=name, api_key="sk-bench", base_url=url, models=("other-*",)))
    return dispatcher


def everything_on(url: str) -> Dispatcher:
    """A dispatcher with all that keeps something between calls: breaker, budget, limits, balancing between two vendors, cache."""
    dispatcher = Dispatcher(
        Config(balance=Balance(strategy="least_loaded"), cache=ResponseCache(max_temperature=2.0)), observers=[lambda outcome: None]
    )
    limit = RateLimit(requests_per_minute=10_000_000, tokens_per_minute=10_000_000_000)
    for name in ("openai", "second"):
        vendor = OpenAIVendor(name=name, api_key="sk-bench", base_url=f"{url}/v1", rate_limit=limit)
        dispatcher.register_vendor(vendor)
    return dispatcher


def raw(url: str) -> Callable[[], Any]:
    """What a careful person writes with urllib3 and json."""
    pool = urllib3.PoolManager()
    target = f"{url}/v1/chat/completions"

    def call() -> Any:
        reply = pool.request("POST", target, body=json.dumps(BODY).encode(), headers=HEADERS)
        return json.loads(reply.data)["choices"][0]["message"]["content"]

    return call


def ours(dispatcher: Dispatcher) -> Callable[[], Any]:
    """The same through the dispatcher, the request built anew each time as the raw call builds its JSON."""
    return lambda: dispatcher.send(Request(**BODY)).content


def always_new() -> Callable[[], Request]:
    """Makes requests of which no two are alike, so that a cache looks for each and finds none."""
    numbers = itertools.count()
    return lambda: Request(**{**BODY, "messages": [{"role": "user", "content": f"How fast is this, {next(numbers)}?"}]})


def plain() -> Rows:
    """One call: raw urllib3, requests' session, the openai SDK where there is one, and us: plain, with all policies, with a ledger.

    The ledger is a file of SQLite on disk; what its own thread takes is counted too.
    """
    with vendor() as url:
        runs = in_fresh_processes(_taken, url)
    rows: Rows = [(f"{name}, CPU per call", median([taken[name] for taken in runs]) * 1e6, None, "µs") for name in runs[0]]
    for name in ("llmdispatcher", EVERYTHING, LEDGER):
        rows.append((f"{name} / raw urllib3", median([taken[name] / taken["raw urllib3 + json"] for taken in runs]), 1.5, "x"))
    return rows


def _taken(url: str) -> dict[str, float]:
    """CPU per call of each client, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        session, full, new = requests.Session(), everything_on(url), always_new()
        clients = {
            "raw urllib3 + json": raw(url),
            "requests.Session": lambda: session.post(f"{url}/v1/chat/completions", json=BODY, headers=HEADERS).json(),
            "llmdispatcher": ours(dispatcher_for(url)),
            EVERYTHING: lambda: full.send(new()).content,
            LEDGER: ours(dispatcher_for(url, ledger=f"{folder}/calls.db")),
        }
        clients.update(_sdk(url))
        return cpu_per_call(clients, CALLS, rounds=2)


def growth() -> Rows:
    """What rules and vendors that do not match cost."""
    with vendor() as url:
        clients = {
            "plain": ours(dispatcher_for(url, rules=1)),
            "1,000 rules": ours(dispatcher_for(url, rules=1_000)),
            "50 vendors": ours(dispatcher_for(url, rules=1, vendors=50)),
        }
        taken = cpu_per_call(clients, CALLS)
    return [(f"{name} / plain", taken[name] / taken["plain"], 1.1, "x") for name in ("1,000 rules", "50 vendors")]


def _sdk(url: str) -> dict[str, Callable[[], Any]]:
    try:
        import openai
    except ImportError:
        return {}
    client: Any = openai.OpenAI(api_key="sk-bench", base_url=f"{url}/v1")
    return {"openai SDK": lambda: client.chat.completions.create(**BODY).choices[0].message.content}
