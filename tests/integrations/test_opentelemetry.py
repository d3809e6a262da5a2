"""OpenTelemetry: spans in their order, metrics, and the traceparent that a vendor gets, by the real SDK."""

from __future__ import annotations

import json
import os
import queue
import signal
import threading

import pytest

from llmdispatcher import (
    AuthenticationError,
    Config,
    ConfigError,
    Dispatcher,
    OpenAIVendor,
    Request,
    Response,
    RetryPolicy,
    ToolCall,
)
from llmdispatcher.testing import FakeVendor, VendorSimulator, faults

pytest.importorskip("opentelemetry.sdk", reason="the SDK of OpenTelemetry is not installed; scripts/test installs it")
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llmdispatcher.integrations.opentelemetry import OpenTelemetry

from ..cases import each


class Stage:
    """An observer with an SDK of its own."""

    def __init__(self, **settings):
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        meters = MeterProvider([self.reader])
        self.observer = OpenTelemetry(tracer_provider=self.provider, meter_provider=meters, **settings)

    def spans(self):
        """The ended spans in the order of their beginning."""
        return sorted(self.exporter.get_finished_spans(), key=lambda span: (span.start_time, span.parent is not None))

    def metrics(self):
        """The points of each metric."""
        found = {}
        for resource in self.reader.get_metrics_data().resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    found[metric.name] = list(metric.data.data_points)
        return found


@pytest.fixture
def stage():
    """One for each test."""
    return Stage()


def test_a_call_with_a_failover(stage):
    """A span of the call under the caller's, two of attempts under it; the vendor gets the traceparent of its own."""
    with (
        VendorSimulator() as simulator,
        Dispatcher(
            Config(default_vendor="first", retry_policy=RetryPolicy(max_retries=0)), observers=[stage.observer]
        ) as dispatcher,
    ):
        dispatcher.register_vendor(FakeVendor(AuthenticationError("no", status=401), name="first"))
        dispatcher.register_vendor(OpenAIVendor(api_key="sk", base_url=simulator.openai_url))
        with stage.provider.get_tracer("shop").start_as_current_span("checkout") as outer:
            response = dispatcher.send(Request("gpt-4o-mini", "A secret?", max_tokens=50, temperature=0.5, origin="shop"))
    spans = {span.name: span for span in stage.spans() if span.kind.name != "CLIENT"}
    call = spans["chat gpt-4o-mini"]
    refused, answered = [span for span in stage.spans() if span.kind.name == "CLIENT"]
    [parent] = [request.headers["traceparent"] for request in simulator.requests]

    assert outer.get_span_context().span_id == call.parent.span_id
    assert {call.context.span_id} == {refused.parent.span_id, answered.parent.span_id}
    assert f"00-{answered.context.trace_id:032x}-{answered.context.span_id:016x}-" == parent[:-2]
    assert {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.request.max_tokens": 50,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.response.finish_reasons": (response.finish_reason,),
        "gen_ai.provider.name": "openai",
        "gen_ai.usage.input_tokens": response.usage.input_tokens,
        "gen_ai.usage.output_tokens": response.usage.output_tokens,
        "llmdispatcher.attempts": 2,
        "llmdispatcher.origin": "shop",
        "llmdispatcher.vendor": "openai",
    }.items() <= dict(call.attributes).items()
    assert ("AuthenticationError", "ERROR") == (refused.attributes["error.type"], refused.status.status_code.name)
    assert ("openai", response.usage.output_tokens) == (
        answered.attributes["gen_ai.provider.name"],
        answered.attributes["gen_ai.usage.output_tokens"],
    )
    assert "secret" not in "".join(span.to_json() for span in stage.spans())


def test_metrics(stage):
    """Durations of attempts, tokens by kind, and the cost, which adds up."""
    with VendorSimulator() as simulator, Dispatcher(observers=[stage.observer]) as dispatcher:
        dispatcher.register_vendor(OpenAIVendor(api_key="sk", base_url=simulator.openai_url))
        answers = [dispatcher.send(Request("gpt-4o-mini", "Why?")) for _ in range(3)]
        answers.append(dispatcher.send_streaming(Request("gpt-4o-mini", "Why?")).response())
    found = stage.metrics()
    tokens = {point.attributes["gen_ai.token.type"]: point.sum for point in found["gen_ai.client.token.usage"]}

    assert 4 == sum(point.count for point in found["gen_ai.client.operation.duration"])
    assert 1 == sum(point.count for point in found["gen_ai.client.operation.time_to_first_chunk"])
    assert {
        "input": sum(answer.usage.input_tokens for answer in answers),
        "output": sum(answer.usage.output_tokens for answer in answers),
    } == tokens
    assert pytest.approx(float(sum(answer.usage.cost for answer in answers))) == found["llmdispatcher.cost"][0].value


def test_every_span_ends(stage):
    """Of a stream that breaks off, one that is left, vectors, and a call that asks nobody; nothing is remembered afterwards."""
    ended = queue.Queue()  # what is told last of each call
    with VendorSimulator() as simulator, Dispatcher(observers=[stage.observer, ended.put]) as dispatcher:
        dispatcher.register_vendor(OpenAIVendor(api_key="sk", base_url=simulator.openai_url))
        simulator.script(faults.cut_after(3))
        with pytest.raises(Exception, match="end"):
            dispatcher.send_streaming(Request("gpt-4o-mini", "Why?")).response()
        with dispatcher.send_streaming(Request("gpt-4o-mini", "Why?")) as stream:
            next(iter(stream))
        dispatcher.embed("text-embedding-3-small", "Why?")
        with pytest.raises(Exception, match="not registered"):
            dispatcher.send(Request("anthropic:claude-haiku-4-5", "Why?"))
        for _ in range(4):
            ended.get(timeout=20)
    names = [span.name for span in stage.spans() if span.kind.name == "INTERNAL"]

    assert ["chat gpt-4o-mini", "chat gpt-4o-mini", "embeddings text-embedding-3-small", "chat anthropic:claude-haiku-4-5"] == names
    assert 3 == len([span for span in stage.spans() if span.kind.name == "CLIENT"])
    assert {} == stage.observer._open


def test_spans_of_calls_that_are_forgotten_end(stage, monkeypatch):
    """Beyond the bound the oldest call's spans end, though nobody tells its end."""
    monkeypatch.setattr("llmdispatcher.integrations.opentelemetry._MOST_OPEN", 1)
    with Dispatcher(observers=[stage.observer]) as dispatcher:
        dispatcher.register_vendor(FakeVendor("yes"))
        with dispatcher.send_streaming(Request("first", "Hello")) as open_stream:
            next(iter(open_stream))
            dispatcher.send(Request("second", "Hello"))

    assert ["chat first", "chat first", "chat second", "chat second"] == sorted(span.name for span in stage.spans())
    assert {} == stage.observer._open


def test_content_is_off(stage):
    """Unless it is switched on: no attribute of any span holds a word of it."""
    with Dispatcher(observers=[stage.observer]) as dispatcher:
        dispatcher.register_vendor(FakeVendor("a secret answer"))
        dispatcher.send(Request("m", "a secret question", response_format={"type": "text"}))

    assert "secret" not in "".join(span.to_json() for span in stage.spans())


@each("settings", [{"mask": str}, {"origins": ["shop"]}])
def test_settings_without_content(settings):
    """Are told: who gives them wants content, or thinks that there is some."""
    with pytest.raises(ConfigError, match="of no use without content"):
        OpenTelemetry(**settings)


def test_names_that_no_exporter_can_write(stage):
    """Halves of surrogate pairs, which would cost an exporter its whole batch, are replaced; names are no longer than names are."""
    with Dispatcher(observers=[stage.observer]) as dispatcher:
        dispatcher.register_vendor(FakeVendor(Response(content="x", response_id="\ud800"), "y"))
        dispatcher.send(Request("m\ud800", "x", stop=["\udfff"], origin="\ud800" * 5_000))
    told = repr([(span.name, dict(span.attributes)) for span in stage.spans()]) + repr(stage.metrics())

    assert ("\\ud800" in told, "\\udfff" in told, len(told) < 10_000) == (False, False, True)


def test_content_in_spans():
    """As JSON in the span of the call, of named origins, masked; that of the attempt has none. The spans end when the call does."""
    stage = Stage(content="all", origins=["shop"], mask=lambda text: text.replace("Ada", "[name]"))
    with Dispatcher(observers=[stage.observer]) as dispatcher:
        dispatcher.register_vendor(FakeVendor("Hello Ada", "not told"))
        dispatcher.send(Request("m", "I am Ada", origin="shop", seed=7, top_k=4, response_format={"type": "text"}))
        dispatcher.send(Request("m", "not told", origin="crm"))
        assert stage.observer.flush(60)
    told, other = [span for span in stage.spans() if span.kind.name == "INTERNAL"]
    attempt, *_ = [span for span in stage.spans() if span.kind.name == "CLIENT"]

    assert [{"role": "user", "parts": [{"type": "text", "content": "I am [name]"}]}] == json.loads(
        told.attributes["gen_ai.input.messages"]
    )
    assert "Hello [name]" == json.loads(told.attributes["gen_ai.output.messages"])[0]["parts"][0]["content"]
    assert (7, 4) == (told.attributes["gen_ai.request.seed"], told.attributes["gen_ai.request.top_k"])
    assert "not told" not in other.to_json()
    assert "Ada" not in "".join(span.to_json() for span in stage.spans())
    assert "gen_ai.input.messages" not in attempt.attributes
    assert abs(told.end_time - attempt.end_time) < 1e9


def test_no_call_feels_a_mask_that_blocks():
    """Spans without room for their words end at once without them, and are counted."""
    held, release = threading.Event(), threading.Event()

    def mask(text):
        held.set()
        assert release.wait(60)
        return text

    stage = Stage(content="all", mask=mask, most_waiting=2)
    with Dispatcher(observers=[stage.observer]) as dispatcher:
        dispatcher.register_vendor(FakeVendor(*["yes"] * 10))
        dispatcher.send(Request("m", "x"))
        assert held.wait(60)
        for _ in range(9):
            dispatcher.send(Request("m", "x"))
        at_once = [span for span in stage.spans() if span.kind.name == "INTERNAL"]
        release.set()
        assert stage.observer.flush(60)
    spans = [span for span in stage.spans() if span.kind.name == "INTERNAL"]

    assert (7, 7, 10) == (stage.observer.lost, len(at_once), len(spans))
    assert 3 == len([span for span in spans if "gen_ai.input.messages" in span.attributes])


def test_tools():
    """A span for each, with what it was given and said where content is on; what it does itself is below it."""
    stage = Stage(content="all")
    tracer = stage.provider.get_tracer("shop")

    def weather(city: str) -> str:
        """Tell the weather."""
        with tracer.start_as_current_span("lookup"):
            if city == "nowhere":
                raise LookupError("no such city")
        return "rain"

    calls = [ToolCall(name="weather", arguments=f'{{"city": "{city}"}}', id=city) for city in ("Oslo", "nowhere")]
    calls.append(ToolCall(name="made_up", arguments="{}", id="c"))
    with Dispatcher(observers=[stage.observer]) as dispatcher:
        dispatcher.register_vendor(FakeVendor(Response(tool_calls=tuple(calls)), "It rains."))
        with tracer.start_as_current_span("checkout") as outer:
            dispatcher.run_tools(Request("m", "Weather?"), [weather])
    assert stage.observer.flush(60)
    spans = {span.attributes.get("gen_ai.tool.call.id"): span for span in stage.spans() if span.name.startswith("execute_tool")}
    lookups = {span.parent.span_id for span in stage.spans() if span.name == "lookup"}

    good, bad, unknown = spans["Oslo"], spans["nowhere"], spans["c"]
    assert {outer.get_span_context().span_id} == {span.parent.span_id for span in spans.values()}
    assert {good.context.span_id, bad.context.span_id} == lookups
    assert {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "weather",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.description": "Tell the weather.",
        "gen_ai.tool.call.arguments": '{"city": "Oslo"}',
        "gen_ai.tool.call.result": '"rain"',
    }.items() <= dict(good.attributes).items()
    assert [("ERROR", "_OTHER")] * 2 == [(span.status.status_code.name, span.attributes["error.type"]) for span in (bad, unknown)]
    assert 3 == sum(point.count for point in stage.metrics()["gen_ai.execute_tool.duration"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no forks")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_while_a_call_begins(stage):
    """A lock that another thread holds at the fork is open in the child, whose calls are observed."""
    held, release = threading.Event(), threading.Event()

    def hold():
        with stage.observer._lock:
            held.set()
            release.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # which kills it, if it waits for the lock
        with Dispatcher(observers=[stage.observer]) as dispatcher:
            dispatcher.register_vendor(FakeVendor("yes"))
            dispatcher.send(Request("m", "Hello"))
        os._exit(0 if stage.spans() else 1)
    release.set()
    holder.join()

    assert 0 == os.waitpid(child, 0)[1]
