"""OpenTelemetry by a real collector, over OTLP: one call's trace, its content, its metrics."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest

from llmdispatcher import AuthenticationError, Config, Dispatcher, OpenAIVendor, Outcome, Request, RetryPolicy, ToolCall
from llmdispatcher.testing import FakeVendor, SimulatedResponse, VendorSimulator

pytest.importorskip(
    "opentelemetry.exporter.otlp.proto.http", reason="the exporter for OTLP is not installed; scripts/test installs it"
)
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from llmdispatcher.integrations.opentelemetry import OpenTelemetry


@pytest.fixture
def pipeline(collector, monkeypatch):
    """Providers that export to the collector as a program would."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    tracers, meters = (
        TracerProvider(),
        MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter(f"{collector.url}/v1/metrics"))]),
    )
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{collector.url}/v1/traces")))
    yield tracers, meters
    tracers.shutdown()
    meters.shutdown()


PROGRAM = """
import sys
from llmdispatcher import Dispatcher, Request
from llmdispatcher.integrations.opentelemetry import OpenTelemetry
from llmdispatcher.testing import FakeVendor
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

observer = OpenTelemetry(content="all")
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(OTLPSpanExporter(sys.argv[1] + "/v1/traces")))
dispatcher = Dispatcher(observers=[observer])
dispatcher.register_vendor(FakeVendor("the last words"))
dispatcher.send(Request("m", "x"))
"""


def test_the_end_of_a_process(collector, monkeypatch):
    """A program that just ends, as scripts do, loses no span: they end before the SDK does."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    done = subprocess.run([sys.executable, "-c", PROGRAM, collector.url], capture_output=True, text=True, timeout=120)

    assert (0, "") == (done.returncode, done.stderr)
    collector.await_text("the last words")


def test_a_collector_that_says_nothing(monkeypatch):
    """No call waits for it: all are answered while the first export hangs."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        exporter = OTLPSpanExporter(f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces", timeout=1)
        tracers = TracerProvider()
        tracers.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1))
        observer = OpenTelemetry(tracer_provider=tracers, content="all")
        with Dispatcher(observers=[observer]) as dispatcher:
            dispatcher.register_vendor(FakeVendor(*["yes"] * 60))
            dispatcher.send(Request("m", "x"))
            silent.settimeout(60)
            hanging, _ = silent.accept()
            with hanging:
                assert hanging.recv(1)
                answers = [dispatcher.send(Request("m", "x")).content for _ in range(59)]
                assert observer.flush(60)
        silent.close()
        tracers.shutdown()

    assert ["yes"] * 59 == answers


def test_a_trace(collector, pipeline):
    """The caller's span, the call, a target that refused, one that answered; a tool; a stream; vectors; what was said, masked."""
    tracers, meters = pipeline
    observer = OpenTelemetry(
        tracer_provider=tracers, meter_provider=meters, content="all", mask=lambda text: text.replace("Ada", "[name]")
    )

    def weather(city: str) -> str:
        return f"rain in {city}"

    def answer(body):
        if body["messages"][-1]["role"] == "user":
            return SimulatedResponse(tool_calls=ToolCall(name="weather", arguments='{"city": "Oslo"}', id="call_1"))
        return "It rains, Ada."

    ended: list[Outcome] = []
    config = Config(default_vendor="first", retry_policy=RetryPolicy(max_retries=0))
    with VendorSimulator() as simulator, Dispatcher(config, observers=[observer, ended.append]) as dispatcher:
        refusing = FakeVendor(AuthenticationError("no", status=401), name="first")
        refusing.can_embed = False
        dispatcher.register_vendor(refusing)
        dispatcher.register_vendor(OpenAIVendor(api_key="sk", base_url=simulator.openai_url))
        with tracers.get_tracer("shop").start_as_current_span("checkout") as outer:
            simulator.responses = answer
            dispatcher.run_tools(Request("gpt-4o-mini", "I am Ada. Weather?", origin="shop"), [weather])
            dispatcher.send_streaming(Request("gpt-4o-mini", "Why?")).response()
            dispatcher.embed("text-embedding-3-small", "x")
        assert observer.flush(60)
    trace = f"{outer.get_span_context().trace_id:032x}"
    tracers.force_flush()
    meters.force_flush()
    count = 2 + sum(1 + len(outcome.attempts) for outcome in ended)  # beside the caller's and the tool's
    spans = collector.spans(trace, count)
    by_id = {span.id: span for span in spans}
    tree = sorted((span.name, by_id[span.parent].name if span.parent in by_id else "") for span in spans)
    first = next(
        span for span in spans if span.name == "chat gpt-4o-mini" and "Weather?" in span.attributes.get("gen_ai.input.messages", "")
    )
    sent = {request.headers["traceparent"].split("-")[2] for request in simulator.requests}

    assert (4, count) == (len(ended), len(spans)), tree
    assert ("checkout", "") in tree
    assert ("execute_tool weather", "checkout") in tree
    assert ("embeddings text-embedding-3-small", "checkout") in tree
    assert sent == {span.id for span in spans if span.kind == "SPAN_KIND_CLIENT" and span.status != "STATUS_CODE_ERROR"}
    assert "[name]" in first.attributes["gen_ai.input.messages"]
    assert "Ada" not in collector.log.read_text()
    assert "tool_call" == json.loads(first.attributes["gen_ai.output.messages"])[0]["parts"][0]["type"]
    assert ("chat", "openai", "shop") == tuple(
        first.attributes[name] for name in ("gen_ai.operation.name", "gen_ai.provider.name", "llmdispatcher.origin")
    )
    written = collector.await_text("llmdispatcher.cost")
    for name in ("gen_ai.client.operation.duration", "gen_ai.client.token.usage", "gen_ai.client.operation.time_to_first_chunk"):
        assert name in written
