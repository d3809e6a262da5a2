"""Run a batch: each prompt is sent once, each answer is in the journal before it counts, and the answers file is in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from typing import Any, Protocol

import attrs

from ..dispatcher import Dispatcher, StreamingResponse
from ..errors import Cancelled, DispatchError
from ..runtime import SYSTEM_CLOCK, Cancellation, fan_out
from ..types import Response, Usage, plausible_cost
from .estimate import Tally
from .files import AnswersFile, InvalidLine, Journal, Prompt, PromptLine


class Advance(Protocol):
    """To be called after each prompt, from any thread, with what its answer cost."""

    def __call__(self, *, cost: Decimal | None = None, failed: bool = False) -> None: ...


@attrs.frozen
class _EarlierAnswer:
    """The answer that an earlier run got for a prompt."""

    record: dict[str, Any]


_Result = Response | DispatchError | _EarlierAnswer | None
"""``None`` for an invalid line, and for a prompt that was not answered because the run was cancelled."""
_Opened = StreamingResponse | DispatchError | None


def _do_not_advance(*, cost: Decimal | None = None, failed: bool = False) -> None:
    pass


@attrs.define(eq=False)
class _Count:
    """How many prompts were answered, how many of them in an earlier run, and how many failed."""

    answered: int = 0
    before: int = 0
    failed: int = 0


@attrs.frozen(kw_only=True)
class BatchRunner:
    """Send the prompts of a batch and write down what comes back.

    - ``workers``: prompts in flight at once; ``timeout``: seconds for each, all retries and failovers included.
    - ``cancel``: ends what is in flight; what was answered stays.
    - ``advance``: called after each prompt as it ends, from the workers' threads; not where answers are streamed.
    - ``stream``: stream the answers; ``on_stream`` is called with each prompt and its open stream, in the order of the prompts.
    - ``on_failure``: called for each line that failed, in order; the error is ``None`` where the line is invalid.
    """

    dispatcher: Dispatcher
    workers: int = 8
    timeout: float | None = None
    cancel: Cancellation = attrs.field(factory=Cancellation)
    advance: Advance = _do_not_advance
    stream: bool = False
    on_stream: Callable[[Prompt, StreamingResponse], None] | None = None
    on_failure: Callable[[PromptLine, DispatchError | None], None] | None = None

    def run(self, lines: Sequence[PromptLine], answers: AnswersFile, journal: Journal) -> Tally:
        """Send everything that has no answer yet and write it down; the journal is deleted once all is answered."""
        began = SYSTEM_CLOCK.monotonic()
        results = self._stream_all(lines, journal) if self.stream else self._send_all(lines, journal)
        with closing(results):
            count = self._write(lines, results, answers)
        if count.answered == len(lines) and journal.used_up:
            answers.sync()
            journal.remove()
        return Tally(
            stats=self.dispatcher.get_stats(),
            vendors=tuple(self.dispatcher.get_vendors()),
            prompts=len(lines),
            answered=count.answered,
            before=count.before,
            failed=count.failed,
            seconds=SYSTEM_CLOCK.monotonic() - began,
            answers=answers.path,
        )

    def _send_all(self, lines: Sequence[PromptLine], journal: Journal) -> Generator[_Result]:
        def answer(line: PromptLine) -> _Result:
            earlier = journal.take(line)
            if earlier is not None:
                self.advance(cost=plausible_cost(earlier.get("cost")))
                return _EarlierAnswer({**earlier, "id": line.id})
            result = self._send(line)
            if isinstance(result, Response):
                journal.add(line, result_record(line, result))
                self.advance(cost=result.usage.cost)
            elif result is not None or isinstance(line, InvalidLine):  # else the run was cancelled before its end
                self.advance(failed=True)
            return result

        yield from fan_out(answer, lines, min(self.workers, len(lines)), return_errors=True)

    def _send(self, line: PromptLine) -> Response | DispatchError | None:
        if isinstance(line, InvalidLine) or self.cancel.cancelled:
            return None
        try:
            return self.dispatcher.send(line.request, timeout=self.timeout, cancel=self.cancel)
        except Cancelled:
            return None
        except DispatchError as error:
            return error

    def _stream_all(self, lines: Sequence[PromptLine], journal: Journal) -> Generator[_Result]:
        earlier = {
            line.line: _EarlierAnswer({**record, "id": line.id}) for line in lines if (record := journal.take(line)) is not None
        }
        rest = [line for line in lines if line.line not in earlier]
        with closing(self._stream_ahead(rest)) as results:
            for line in lines:
                result: _Result = earlier.get(line.line) or next(results)
                if isinstance(result, Response):
                    journal.add(line, result_record(line, result))
                yield result

    def _stream_ahead(self, lines: Iterable[PromptLine]) -> Generator[Response | DispatchError | None]:
        """Yield the results in the order of the lines.

        Streams ahead of the front one fill their channels, and then hold their vendors back.
        """
        opened: deque[tuple[PromptLine, _Opened]] = deque()
        for line in lines:
            opened.append((line, self._open_stream(line)))
            if len(opened) >= self.workers:
                yield self._read_stream(*opened.popleft())
        while opened:
            yield self._read_stream(*opened.popleft())

    def _open_stream(self, line: PromptLine) -> _Opened:
        if isinstance(line, InvalidLine) or self.cancel.cancelled:
            return None
        try:
            return self.dispatcher.send_streaming(line.request, timeout=self.timeout, cancel=self.cancel)
        except DispatchError as error:
            return error

    def _read_stream(self, line: PromptLine, opened: _Opened) -> Response | DispatchError | None:
        if not isinstance(opened, StreamingResponse):
            return opened
        try:
            with opened:
                if self.on_stream is not None and isinstance(line, Prompt):
                    self.on_stream(line, opened)
                return opened.response()
        except Cancelled:
            return None
        except DispatchError as error:
            return error

    def _write(self, lines: Sequence[PromptLine], results: Iterator[_Result], answers: AnswersFile) -> _Count:
        """Write each result as it comes."""
        count = _Count()
        for line, result in zip(lines, results, strict=True):
            if isinstance(result, _EarlierAnswer):
                answers.write(result.record)
                count.before += 1
                count.answered += 1
            elif result is not None or isinstance(line, InvalidLine):
                answers.write(result_record(line, result))
                if isinstance(result, Response):
                    count.answered += 1
                    continue
                count.failed += 1
                if self.on_failure is not None:
                    self.on_failure(line, result)
        return count


def result_record(line: PromptLine, result: Response | DispatchError | None) -> dict[str, Any]:
    """Return the line of the answers file for one prompt: its response, its error, or the mistake in it."""
    if isinstance(line, InvalidLine):
        return {"id": line.id, "line": line.line, "error": {"class": "InvalidRequest", "message": line.text}}
    if isinstance(result, Response):
        return {"id": line.id, **response_record(result)}
    assert result is not None
    return {"id": line.id, "model": line.request.model, "error": _error_record(result)}


def response_record(response: Response) -> dict[str, Any]:
    """Return a response as JSON can hold it: who, what, why it ended, what it cost, and every attempt."""
    record = {
        "model": response.model,
        "vendor": response.vendor,
        "content": response.content,
        "finish_reason": response.finish_reason,
        "usage": _usage_record(response.usage),
        "cost": response.usage.cost,
        "latency": _rounded(response.latency),
        "attempts": [_attempt_record(attempt) for attempt in response.trace or ()],
    }
    if response.tool_calls:
        record["tool_calls"] = [attrs.asdict(call) for call in response.tool_calls]
    if response.refusal:
        record["refusal"] = response.refusal
    if response.parsed is not None:
        record["parsed"] = response.parsed
    if response.cached:
        record["cached"] = True
    return record


def _usage_record(usage: Usage) -> dict[str, int]:
    """The counts that are not zero; input and output always."""
    record = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    more = ("cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
    return record | {name: count for name in more if (count := getattr(usage, name))}


def _attempt_record(attempt: Any) -> dict[str, Any]:
    record = {"vendor": attempt.vendor, "model": attempt.model, "latency": _rounded(attempt.latency)}
    more = {"first_token": _rounded(attempt.first_token), "error": attempt.error, "status": attempt.status}
    return record | {name: value for name, value in more.items() if value is not None}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _error_record(error: DispatchError) -> dict[str, Any]:
    record = {"class": type(error).__name__, "message": str(error), "attempts": error.attempts}
    more = {name: getattr(error, name) for name in ("vendor", "status", "code", "request_id", "retry_after")}
    return record | {name: value for name, value in more.items() if value is not None}
