"""The shapes of what calls give back: fields and kinds of values, and the keys of each ``as_dict()``.

A few calls are made to a simulated vendor, some of which fail; then everything that can be asked about them is asked.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs

from llmdispatcher import (
    Budget,
    Cancellation,
    Config,
    CostOptimization,
    Dispatcher,
    DispatchError,
    Embeddings,
    Hedge,
    Ledger,
    Lockfile,
    OpenAIVendor,
    Outcome,
    RateLimit,
    Receipts,
    Registry,
    Request,
    Response,
    ResponseCache,
    RetryPolicy,
    SigningKey,
    ToolCall,
    get_model,
    open_ledger,
    tool,
    verify_receipts,
)
from llmdispatcher.testing import OK, FakeVendor, ManualClock, VendorSimulator, faults

from .shaping import Shaper, as_text

ASK = Request(
    "gpt-4o", "Why is the sky blue?", max_tokens=100, user="ann", origin="shop", id_at_origin="order 7", metadata={"team": 1}
)
DATA = frozenset(
    {"vendor_stats", "errors", "by_model", "by_alias", "models", "vendors", "tool_requests", "registry_versions", "profiles"}
)
"""Keys below which the names are data: of vendors, models, errors."""


def values() -> str:
    """All of them as JSON text, by name."""
    with tempfile.TemporaryDirectory() as folder:
        found = list(_values(Path(folder)))
    shaper = Shaper(DATA)
    shapes = {name: shaper.shape(value) for name, value in found}
    return as_text({"answers": shapes, "classes": shaper.classes()})


def document(version: int, dollars: float) -> str:
    """A registry's document of one model."""
    model = {
        "provider": "openai",
        "model_name": "gpt-next",
        "display_name": "GPT Next",
        "description": "For tests.",
        "model_aliases": ["gpt-next-latest"],
        "dollars_per_million_tokens_input": dollars,
        "dollars_per_million_tokens_output": 6.0,
        "max_input_tokens": 200_000,
        "supports_vision": True,
    }
    told = {"provider": "openai", "version": version, "updated_at": "2026-01-01T12:00:00", "models": {"openai:gpt-next": model}}
    return json.dumps(told)


def publish(folder: Path, version: int, dollars: float) -> None:
    """Write a registry's version, and make it the current one."""
    for place in (folder / "openai", folder / "openai" / "v" / str(version)):
        place.mkdir(parents=True, exist_ok=True)
        (place / "models.json").write_text(document(version, dollars))


def _values(folder: Path) -> Iterator[tuple[str, Any]]:
    heard: list[Outcome] = []
    with ExitStack() as stack:
        simulator = stack.enter_context(VendorSimulator(responses="Rayleigh scattering."))
        ledger = stack.enter_context(open_ledger(folder / "ledger.db"))
        dispatcher = stack.enter_context(_dispatcher(simulator, ledger, heard))
        yield from _answers(dispatcher, simulator, heard)
        yield from _ledger(ledger, folder)
        yield from _receipts(ledger, folder)
    yield from _registry(folder)
    yield from _lockfile(folder)


def _dispatcher(simulator: VendorSimulator, ledger: Ledger, heard: list[Outcome]) -> Dispatcher:
    config = Config(
        cache=ResponseCache(),
        hedge=Hedge(after=30),
        retry_policy=RetryPolicy(max_retries=1, initial_delay=0),
        cost_optimization=CostOptimization(vendor_costs={"other": "0.5"}),
        budgets=[Budget(limit="5.00", period="total", name="all")],
    )
    dispatcher = Dispatcher(config, ledger=ledger, observers=[heard.append])
    limit = RateLimit(requests_per_minute=1000, tokens_per_minute=1_000_000)
    dispatcher.register_vendor(
        OpenAIVendor(api_key="sk-0123456789abcdef", base_url=simulator.openai_url, trust_env=False, rate_limit=limit)
    )
    other = FakeVendor("Something else.", name="other", tokens=lambda _request: None)
    other.list_models = None  # as an object of five members
    dispatcher.register_vendor(other)
    return dispatcher


def _answers(dispatcher: Dispatcher, simulator: VendorSimulator, heard: list[Outcome]) -> Iterator[tuple[str, Any]]:
    plan = dispatcher.explain(ASK)
    yield "Plan", plan
    yield "Plan.as_dict", plan.as_dict()
    yield "Plan.statuses[].as_dict", [standing.as_dict() for standing in plan.statuses]
    yield "Plan.hedge.as_dict", plan.hedge and plan.hedge.as_dict()
    yield "Plan.budgets[].as_dict", [outlook.as_dict() for outlook in plan.budgets]
    simulator.script(faults.status(503), OK)
    response = dispatcher.send_to_vendor("openai", ASK)
    yield "Response", response
    yield "Response.trace", response.trace
    yield "Response.trace.as_dict", response.trace.as_dict()
    yield "AttemptRecord.as_dict", [attempt.as_dict() for attempt in response.trace]
    yield "Response, cached", dispatcher.send_to_vendor("openai", ASK)
    with dispatcher.send_streaming_to_vendor("openai", attrs.evolve(ASK, cache=False)) as stream:
        yield "StreamChunk", list(stream)
        yield "Response, streamed", stream.response()
    yield "Error.trace.as_dict", _failed(dispatcher).trace.as_dict()
    yield "Outcome", heard
    yield "Stats", dispatcher.get_stats()
    yield "CacheStats", dispatcher.cache and dispatcher.cache.stats()
    yield from _budgets()
    yield "RateLimitStatus", dispatcher.get_rate_limit_status("openai", "gpt-4o")
    yield "VendorHealth", list(dispatcher.health_check().values())
    yield "TokenCount", dispatcher.count_tokens(Request("other:m", "Hi"))
    yield (
        "Embeddings",
        Embeddings(vectors=((0.5, 0.25),), model="m", vendor="other", usage=response.usage, request_id="r", latency=0.1),
    )
    yield "ToolRun", _tools()
    yield "ModelFacts", get_model("openai:gpt-4o")


def _failed(dispatcher: Dispatcher) -> DispatchError:
    cancel = Cancellation()
    cancel.cancel()
    try:
        dispatcher.send(attrs.evolve(ASK, model="openai:gpt-4o-mini"), cancel=cancel)
    except DispatchError as error:
        return error
    raise AssertionError("a cancelled call was answered")


def _budgets() -> Iterator[tuple[str, Any]]:
    """On a clock that stands still, so that no day ends meanwhile."""
    periods = {"all": "total", "each": "day"}
    budgets = [Budget(limit="5.00", period=period, name=name, unpriced="allow") for name, period in periods.items()]
    with Dispatcher(Config(budgets=budgets), clock=ManualClock()) as dispatcher:
        dispatcher.register_vendor(FakeVendor("Here.", name="other"))
        dispatcher.send(ASK)
        yield "BudgetStatus", dispatcher.get_budgets()
        yield "BudgetStatus.as_dict", [status.as_dict() for status in dispatcher.get_budgets()]


def _tools() -> Any:
    @tool
    def place(name: str) -> str:
        """Where something is."""
        return f"{name} is here"

    asks = Response(
        content="", tool_calls=(ToolCall(id="c1", name="place", arguments='{"name": "it"}'),), finish_reason="tool_calls"
    )
    with Dispatcher() as dispatcher:
        dispatcher.register_vendor(FakeVendor(asks, "It is here.", name="other"))
        return dispatcher.run_tools(Request("m", "Where is it?"), [place])


def _ledger(ledger: Ledger, folder: Path) -> Iterator[tuple[str, Any]]:
    assert ledger.flush(30)
    yield "RecordedCall", ledger.record("openai", "gpt-4o", input_tokens=10, output_tokens=5, origin="shop", latency=0.5)
    calls = ledger.list_recent_calls()
    yield "LedgerCall", calls
    yield "LedgerCall.as_dict", [call.as_dict() for call in calls]
    attempts = [attempt for call in calls for attempt in ledger.get_attempts(call.id)]
    yield "LedgerAttempt", attempts
    yield "LedgerAttempt.as_dict", [attempt.as_dict() for attempt in attempts]
    stats = ledger.get_usage_stats(group_by="day", by="model")
    yield "UsageStats", stats
    yield "UsageStats.as_dict", stats.as_dict()
    yield "LedgerStats", ledger.stats()
    yield "RollupCheck", ledger.check_rollups()
    yield "ExportReport", ledger.export_usage_logs(folder / "calls.jsonl", attempts=True)
    yield "exported calls", [json.loads(line) for line in (folder / "calls.jsonl").read_text().splitlines()]
    broken = folder / "broken.jsonl"
    broken.write_text('{"model": 3}\n')
    yield "ImportReport", ledger.import_usage_logs(broken)
    yield "PruneReport", ledger.prune("2020-01-01")


def _receipts(ledger: Ledger, folder: Path) -> Iterator[tuple[str, Any]]:
    receipts = Receipts(ledger, SigningKey.generate())
    chosen = next(call for call in ledger.list_recent_calls() if call.status == "success" and call.id_at_origin)
    single = receipts.create(chosen.id, description="Order 7", tags=["shop"])
    yield "Receipt.as_dict, of one call", single.as_dict()
    yield "Receipts.preview", receipts.preview()
    yield "Receipt.as_dict, of several", receipts.create().as_dict()
    yield "Receipt.as_dict, of a rotation", receipts.rotate(SigningKey.generate()).as_dict()
    yield "PublicKeys.as_dict", receipts.public_keys().as_dict()
    yield "ReceiptAnchor", receipts.anchor()
    receipts.export(folder / "receipts.jsonl", rows=True)
    yield "exported receipts", [json.loads(line) for line in (folder / "receipts.jsonl").read_text().splitlines()]
    checked = receipts.verify()
    assert checked.valid, checked
    yield "ReceiptVerification", checked
    wrong = verify_receipts({**single.as_dict(), "description": "Order 8"}, receipts.public_keys())
    yield "ReceiptVerification.as_dict", wrong.as_dict()


def _registry(folder: Path) -> Iterator[tuple[str, Any]]:
    publish(folder / "registry", 7, 1.5)
    publish(folder / "registry", 8, 1.25)
    registry = Registry(folder / "registry", vendors=["openai"], versions={"openai": 7}, cache_dir=folder / "copies")
    edition = registry.edition("openai")
    yield "Edition.as_dict", edition.as_dict()
    status = registry.refresh()["openai"]
    registry.close()
    yield "RegistryStatus", status
    yield "RegistryStatus.as_dict", status.as_dict()
    yield "Drift.as_dict", registry.drift().as_dict()
    yield "Changes.as_dict", [changes.as_dict() for changes in registry.changelog("openai", since=7)]


def _lockfile(folder: Path) -> Iterator[tuple[str, Any]]:
    lock = Lockfile.create_default(folder / "llmdispatcher.lock")
    lock.bind("summarizer", ["openai:gpt-4o", "other:m"], constraints={"region": "eu"})
    lock.pin("openai", 7)
    yield "Lockfile.contents", lock.contents
