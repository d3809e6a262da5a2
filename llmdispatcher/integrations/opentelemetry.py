"""OpenTelemetry: a span for each call and each attempt, and metrics, by the semantic conventions for generative AI of 2026.

```python
dispatcher = Dispatcher.from_env(observers=[OpenTelemetry()])
```

The span of a call is a child of the caller's; those of its attempts are its children, of kind CLIENT, and their ``traceparent`` is
sent to the vendor. No prompt and no answer is in them. It needs opentelemetry-api; without an SDK it does nothing.

Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider

from llmdispatcher import AttemptRecord, AttemptStart, CallStart, Observer, Outcome, Request, Usage, __version__
from llmdispatcher.runtime import new_lock

_PROVIDERS: Mapping[str, str] = {
    "azure": "azure.ai.openai",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex": "gcp.vertex_ai",
    "xai": "x_ai",
}
"""What the conventions call a vendor of the catalog, where that is another name."""
_MOST_OPEN = 100_000
"""Calls that are remembered while they are under way; beyond, the oldest are forgotten, and their spans end."""
_NANO = 1_000_000_000


class _OpenCall:
    """The spans of a call under way."""

    __slots__ = ("attempts", "context", "request", "span", "started")

    def __init__(self, span: Span, request: Request, started: int) -> None:
        self.span = span
        self.request = request
        self.started = started
        self.context: Context = trace.set_span_in_context(span)
        self.attempts: dict[int, tuple[Span, AttemptStart]] = {}


class OpenTelemetry(Observer):
    """An observer that makes spans and metrics; give it to ``Dispatcher(observers=[...])``.

    The providers are those of the process, if none are given.
    """

    def __init__(self, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None) -> None:
        self._tracer = trace.get_tracer("llmdispatcher", __version__, tracer_provider)
        meter = metrics.get_meter("llmdispatcher", __version__, meter_provider)
        self._duration = meter.create_histogram("gen_ai.client.operation.duration", "s", "Seconds of an attempt at a vendor.")
        self._first_chunk = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk", "s", "Seconds until the first output of a stream."
        )
        self._tokens = meter.create_histogram("gen_ai.client.token.usage", "{token}", "Tokens of a call.")
        self._cost = meter.create_counter("llmdispatcher.cost", "USD", "US dollars of all attempts.")
        self._lock = new_lock()
        self._open: OrderedDict[str, _OpenCall] = OrderedDict()

    def on_call_start(self, start: CallStart) -> None:
        """Begin the span of a call, as a child of the current one."""
        request, began = start.request, _nanoseconds(start.started_at)
        name = f"{_operation(request)} {request.model}"
        span = self._tracer.start_span(name, kind=SpanKind.INTERNAL, start_time=began, attributes=_of_request(start))
        with self._lock:
            self._open[start.call_id] = _OpenCall(span, request, began)
            oldest = self._open.popitem(last=False)[1] if len(self._open) > _MOST_OPEN else None
        if oldest is not None:
            for open_span in (*[attempt for attempt, _start in oldest.attempts.values()], oldest.span):
                open_span.end()

    def on_attempt_start(self, start: AttemptStart) -> None:
        """Begin the span of an attempt, and have its ``traceparent`` sent."""
        call = self._open.get(start.call_id)
        if call is None:
            return
        marks = {"retry": start.retry, "failover": start.failover, "hedge": start.hedge}
        span = self._tracer.start_span(
            f"{_operation(call.request)} {start.model}",
            context=call.context,
            kind=SpanKind.CLIENT,
            start_time=call.started + round(start.started * _NANO),
            attributes={
                **_of_target(call.request, start.kind or start.vendor, start.model),
                "llmdispatcher.vendor": start.vendor,
                "llmdispatcher.attempt": start.number,
                **{f"llmdispatcher.{name}": True for name, is_set in marks.items() if is_set},
            },
        )
        call.attempts[start.number] = span, start
        propagate.inject(start.headers, context=trace.set_span_in_context(span, call.context))

    def on_attempt(self, record: AttemptRecord) -> None:
        """End the span of an attempt that failed; that of an answer waits for the usage."""
        call = self._open.get(record.call_id)
        begun = call.attempts.get(record.number) if call is not None else None
        if call is None or begun is None:
            return
        span, start = begun
        target = _of_target(call.request, start.kind or start.vendor, start.model)
        if record.error is not None:
            span.set_status(Status(StatusCode.ERROR, record.error))
            target["error.type"] = record.error
            span.set_attribute("error.type", record.error)
        if record.status is not None:
            span.set_attribute("http.response.status_code", record.status)
        if record.first_token is not None:
            span.set_attribute("gen_ai.response.time_to_first_chunk", record.first_token)
            self._first_chunk.record(record.first_token, target)
        self._duration.record(record.latency, target)
        if record.cost:
            span.set_attribute("llmdispatcher.cost", float(record.cost))
            self._cost.add(float(record.cost), target)
        if record.error is not None:
            del call.attempts[record.number]
            span.end(call.started + round((record.started + record.latency) * _NANO))

    def on_outcome(self, outcome: Outcome) -> None:
        """End the span of the call, and that of the attempt that answered."""
        with self._lock:
            call = self._open.pop(outcome.call_id, None)
        if call is None:
            return
        usage = _of_usage(outcome.usage) if outcome.usage is not None else {}
        ends = {record.number: record.started + record.latency for record in outcome.attempts}
        for number, (span, start) in call.attempts.items():
            span.set_attributes(usage)
            span.end(call.started + round(ends.get(number, outcome.latency) * _NANO))
            for kind in ("input", "output") if outcome.usage is not None else ():
                labels = {**_of_target(call.request, start.kind or start.vendor, start.model), "gen_ai.token.type": kind}
                self._tokens.record(getattr(outcome.usage, f"{kind}_tokens"), labels)
        call.span.set_attributes({**usage, "llmdispatcher.attempts": len(outcome.attempts), "llmdispatcher.cached": outcome.cached})
        if outcome.cost is not None:
            call.span.set_attribute("llmdispatcher.cost", float(outcome.cost))
        if outcome.vendor is not None:
            call.span.set_attributes({"llmdispatcher.vendor": outcome.vendor, "gen_ai.response.model": outcome.model})
        if outcome.error is not None:
            call.span.set_status(Status(StatusCode.ERROR, type(outcome.error).__name__))
            call.span.set_attribute("error.type", type(outcome.error).__name__)
        call.span.end(call.started + round(outcome.latency * _NANO))


def _operation(request: Request) -> str:
    return "embeddings" if request.max_tokens == 0 else "chat"  # vectors have no output, and nothing else may ask for none


def _of_target(request: Request, kind: str, model: str) -> dict[str, Any]:
    return {
        "gen_ai.operation.name": _operation(request),
        "gen_ai.provider.name": _PROVIDERS.get(kind, kind),
        "gen_ai.request.model": model,
    }


def _of_request(start: CallStart) -> dict[str, Any]:
    """The parameters of a request; none of its content."""
    request = start.request
    given: dict[str, Any] = {
        "gen_ai.operation.name": _operation(request),
        "gen_ai.request.model": request.model,
        "gen_ai.request.max_tokens": request.max_tokens,
        "gen_ai.request.temperature": request.temperature,
        "gen_ai.request.top_p": request.top_p,
        "gen_ai.request.stop_sequences": request.stop or None,
        "gen_ai.request.choice.count": request.n,
        "gen_ai.request.stream": start.streamed,
        "llmdispatcher.call_id": start.call_id,
        "llmdispatcher.origin": start.origin,
    }
    return {name: value for name, value in given.items() if value is not None}


def _of_usage(usage: Usage) -> dict[str, Any]:
    counts = {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }
    return {name: count for name, count in counts.items() if count or name.endswith(("usage.input_tokens", "usage.output_tokens"))}


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1000
