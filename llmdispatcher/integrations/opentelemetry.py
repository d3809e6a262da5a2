"""OpenTelemetry: a span for each call, attempt and tool, and metrics, by the semantic conventions for generative AI of 2026.

```python
dispatcher = Dispatcher.from_env(observers=[OpenTelemetry()])
```

The span of a call is a child of the caller's; those of its attempts are its children, of kind CLIENT, and their ``traceparent`` is
sent to the vendor. No prompt and no answer is in them unless ``content`` says so. It needs opentelemetry-api; without an SDK it
does nothing.

Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextvars import Token
from datetime import datetime
from functools import partial
from typing import Any

from opentelemetry import context as current
from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context
from opentelemetry.metrics import Histogram, MeterProvider
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider

from llmdispatcher import (
    AttemptRecord,
    AttemptStart,
    CallContent,
    CallStart,
    ConfigError,
    Observer,
    Outcome,
    Request,
    ToolResult,
    ToolStart,
    Usage,
    __version__,
)
from llmdispatcher.integrations.content import LONGEST, MOST_WAITING, BackgroundQueue, ContentPolicy, Record, size_of
from llmdispatcher.runtime import SYSTEM_CLOCK, new_lock

_PROVIDERS: Mapping[str, str] = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "vertex": "gcp.vertex_ai",
    "xai": "x_ai",
}
"""What the conventions call a vendor of the catalog, where that is another name."""
_MOST_OPEN = 100_000
"""Calls that are remembered while they are under way; beyond, the oldest are forgotten, and their spans end."""
MOST_TOOLS = 200
"""Tools whose durations have a name, since a model may make names up; those of all others are told as ``other``."""
_LONGEST_NAME = 1_000
_NANO = 1_000_000_000
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_COUNTS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
"""The bounds of the histograms, as the conventions have them."""


class _OpenCall:
    """The spans of a call under way."""

    __slots__ = ("attempts", "content", "context", "request", "span", "started")

    def __init__(self, span: Span, request: Request, started: int) -> None:
        self.span = span
        self.request = request
        self.started = started
        self.context: Context = trace.set_span_in_context(span)
        self.attempts: dict[int, tuple[Span, AttemptStart]] = {}
        self.content: CallContent | None = None


class OpenTelemetry(Observer):
    """An observer that makes spans and metrics; give it to ``Dispatcher(observers=[...])``.

    The providers are those of the process, if none are given. ``content`` ("all", or "errors" for calls that failed) writes what
    was asked and answered into the spans of calls, and of tools; ``origins``, ``mask``, ``longest`` and ``most_waiting`` are
    those of :class:`~llmdispatcher.integrations.content.ContentSink`. Such a span ends in a thread of its own; one that finds no
    room there ends at once, without words, and counts in ``lost``. Raises :class:`ConfigError` for a setting that cannot be.
    """

    def __init__(  # noqa: PLR0913 - all by keyword
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        content: Record | None = None,
        origins: Iterable[str] | None = None,
        mask: Callable[[str], str] | None = None,
        longest: int = LONGEST,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        if content is None and (origins is not None or mask is not None):
            raise ConfigError("origins and mask are of no use without content; give content='errors' or content='all', too")
        settings = ContentPolicy("all" if content is None else content, origins, mask, longest)
        self._policy = settings if content is not None else None
        self._queue = BackgroundQueue(most_waiting)
        self._here = threading.local()
        self._tools: set[str] = set()
        self._tracer = trace.get_tracer("llmdispatcher", __version__, tracer_provider)
        meter = metrics.get_meter("llmdispatcher", __version__, meter_provider)

        def histogram(name: str, unit: str, told: str, bounds: tuple[float, ...]) -> Histogram:
            return meter.create_histogram(f"gen_ai.{name}", unit, told, explicit_bucket_boundaries_advisory=bounds)

        self._duration = histogram("client.operation.duration", "s", "Seconds of an attempt at a vendor.", _SECONDS)
        self._first_chunk = histogram(
            "client.operation.time_to_first_chunk", "s", "Seconds until the first output of a stream.", _FIRST
        )
        self._tokens = histogram("client.token.usage", "{token}", "Tokens of a call.", _COUNTS)
        self._tool_seconds = histogram("execute_tool.duration", "s", "Seconds of a tool.", _SECONDS)
        self._cost = meter.create_counter("llmdispatcher.cost", "USD", "US dollars of all attempts.")
        self._lost = meter.create_counter("llmdispatcher.content.lost", "{call}", "Calls whose words found no room.")
        self._lock = new_lock()
        self._open: OrderedDict[str, _OpenCall] = OrderedDict()

    @property
    def lost(self) -> int:
        """Of how many calls the words are not in the spans, since there was no room for them or they could not be written."""
        return self._queue.lost

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until all spans so far have ended, so many seconds at most; whether they have. The process's end does so, too."""
        return self._queue.flush(timeout) if self._policy is not None else True

    def on_call_start(self, start: CallStart) -> None:
        """Begin the span of a call, as a child of the current one."""
        request, began = start.request, _nanoseconds(start.started_at)
        name = f"{_operation(request)} {request.model}"
        span = self._tracer.start_span(_plain(name), kind=SpanKind.INTERNAL, start_time=began, attributes=_of_request(start))
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
            _plain(f"{_operation(call.request)} {start.model}"),
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

    def on_content(self, content: CallContent) -> None:
        """Keep what was said until the call's outcome."""
        call = self._open.get(content.call_id)
        if call is not None:
            call.content = content

    def on_outcome(self, outcome: Outcome) -> None:
        """End the span of the call, and that of the attempt that answered."""
        with self._lock:
            call = self._open.pop(outcome.call_id, None)
        if call is None:
            return
        self._end_attempts(call, outcome)
        has_words = (
            self._policy is not None
            and call.content is not None
            and call.span.is_recording()
            and self._policy.wants(origin=outcome.origin, failed=outcome.error is not None)
        )
        if has_words and call.content is not None:
            if self._queue.put(partial(self._end_with_words, call, outcome), size_of(call.content)):
                return
            self._lost.add(1)
        self._end(call, outcome)

    def _end_with_words(self, call: _OpenCall, outcome: Outcome) -> None:
        try:
            if self._policy is not None and call.content is not None:
                words = self._policy.describe(call.content)
                call.span.set_attributes({name: json.dumps(value, ensure_ascii=False) for name, value in words.items()})
        finally:
            self._end(call, outcome)

    def _end_attempts(self, call: _OpenCall, outcome: Outcome) -> None:
        usage = _of_usage(outcome.usage) if outcome.usage is not None else {}
        ends = {record.number: record.started + record.latency for record in outcome.attempts}
        for number, (span, start) in call.attempts.items():
            labelled = _of_target(call.request, start.kind or start.vendor, start.model)
            span.set_attributes(usage)
            span.end(call.started + round(ends.get(number, outcome.latency) * _NANO))
            for kind in ("input", "output") if outcome.usage is not None else ():
                labels = {**labelled, "gen_ai.token.type": kind}
                self._tokens.record(getattr(outcome.usage, f"{kind}_tokens"), labels)
            if outcome.vendor == start.vendor:
                call.span.set_attribute("gen_ai.provider.name", labelled["gen_ai.provider.name"])

    def _end(self, call: _OpenCall, outcome: Outcome) -> None:
        usage, content = _of_usage(outcome.usage) if outcome.usage is not None else {}, call.content
        if content is not None and content.finish_reasons:
            call.span.set_attribute("gen_ai.response.finish_reasons", [_plain(one) for one in content.finish_reasons])
        if content is not None and content.response_id:
            call.span.set_attribute("gen_ai.response.id", _plain(content.response_id))
        call.span.set_attributes({**usage, "llmdispatcher.attempts": len(outcome.attempts), "llmdispatcher.cached": outcome.cached})
        if outcome.cost is not None:
            call.span.set_attribute("llmdispatcher.cost", float(outcome.cost))
        if outcome.vendor is not None:
            call.span.set_attributes({"llmdispatcher.vendor": outcome.vendor, "gen_ai.response.model": _plain(outcome.model)})
        if outcome.error is not None:
            call.span.set_status(Status(StatusCode.ERROR, type(outcome.error).__name__))
            call.span.set_attribute("error.type", type(outcome.error).__name__)
        call.span.end(call.started + round(outcome.latency * _NANO))

    def on_tool_start(self, start: ToolStart) -> None:
        """Begin the span of a tool, the current one while the tool is at work."""
        described = {"gen_ai.tool.description": _plain(start.description)} if start.description else {}
        called = {"gen_ai.tool.call.id": _plain(start.call.id)} if start.call.id else {}
        name = _plain(start.call.name)  # which a model may have made up
        span = self._tracer.start_span(
            f"execute_tool {name}",
            attributes={
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": name,
                "gen_ai.tool.type": "function",
                **called,
                **described,
            },
        )
        if not hasattr(self._here, "tools"):
            self._here.tools = []
        self._here.tools.append((span, start, current.attach(trace.set_span_in_context(span))))

    def on_tool(self, result: ToolResult) -> None:
        """End the span of a tool."""
        tools: list[tuple[Span, ToolStart, Token[Context]]] = getattr(self._here, "tools", [])
        if not tools or tools[-1][1].call is not result.call:
            return
        span, start, token = tools.pop()
        current.detach(token)
        name = _plain(start.call.name)
        if len(self._tools) < MOST_TOOLS:
            self._tools.add(name)
        name = name if name in self._tools else "other"
        labels = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name}
        if result.is_error:
            span.set_status(Status(StatusCode.ERROR))
            span.set_attribute("error.type", "_OTHER")
            labels["error.type"] = "_OTHER"
        self._tool_seconds.record(result.latency, labels)
        wanted = self._policy is not None and self._policy.wants(origin=start.origin, failed=result.is_error)
        ended = _nanoseconds(SYSTEM_CLOCK.now())
        if not (wanted and span.is_recording() and self._queue.put(partial(self._end_tool, span, start, result, ended))):
            span.end(ended)

    def _end_tool(self, span: Span, start: ToolStart, result: ToolResult, ended: int) -> None:
        try:
            if self._policy is not None:
                words = self._policy.words(start.masked)
                given, said = words.json_text(result.call.arguments), words.message(result.message)["parts"][0]["response"]
                span.set_attribute("gen_ai.tool.call.arguments", json.dumps(given, ensure_ascii=False))
                span.set_attribute("gen_ai.tool.call.result", json.dumps(said, ensure_ascii=False))
        finally:
            span.end(ended)


def _operation(request: Request) -> str:
    return "embeddings" if request.max_tokens == 0 else "chat"  # vectors have no output, and nothing else may ask for none


def _plain(text: str) -> str:
    """A text as every exporter can write it, and no longer than a name is."""
    text = text[:_LONGEST_NAME]
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _of_target(request: Request, kind: str, model: str) -> dict[str, Any]:
    return {
        "gen_ai.operation.name": _operation(request),
        "gen_ai.provider.name": _PROVIDERS.get(kind, kind),
        "gen_ai.request.model": _plain(model),
    }


def _of_request(start: CallStart) -> dict[str, Any]:
    """The parameters of a request; none of its content."""
    request = start.request
    given: dict[str, Any] = {
        "gen_ai.operation.name": _operation(request),
        "gen_ai.request.model": _plain(request.model),
        "gen_ai.request.max_tokens": request.max_tokens or None,
        "gen_ai.request.temperature": request.temperature,
        "gen_ai.request.top_p": request.top_p,
        "gen_ai.request.stop_sequences": [_plain(one) for one in request.stop] or None,
        "gen_ai.request.top_k": request.top_k,
        "gen_ai.request.frequency_penalty": request.frequency_penalty,
        "gen_ai.request.presence_penalty": request.presence_penalty,
        "gen_ai.request.seed": request.seed,
        "gen_ai.request.choice.count": request.n if request.n != 1 else None,
        "gen_ai.request.stream": start.streamed or None,
        "gen_ai.output.type": "json" if request.response_format is not None else None,
        "llmdispatcher.call_id": start.call_id,
        "llmdispatcher.origin": _plain(start.origin) if start.origin is not None else None,
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
