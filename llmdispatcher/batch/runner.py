"""Run a batch: each prompt is sent once, each answer is in the journal before it counts, and the answers file is in order.

A vendor that refuses the key, or whose account is empty, would refuse every prompt: :class:`_Refusals` counts that and leaves the
vendor out. Prompts that only such vendors could answer are not sent any more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from typing import Any, Protocol

import attrs

from ..dispatcher import Dispatcher, StreamingResponse
from ..errors import AllTargetsFailed, AuthenticationError, Cancelled, DispatchError, QuotaExceeded, RateLimitError
from ..runtime import SYSTEM_CLOCK, Cancellation, fan_out, new_lock
from ..types import AttemptRecord, EmbeddingRequest, Embeddings, Request, Response, Usage, plausible_cost
from .estimate import Tally, plan_of
from .files import FINGERPRINT, AnswersFile, Journal
from .prompts import InvalidLine, Prompt, PromptLine


class Advance(Protocol):
    """A function called after each prompt, from any thread, with the cost of its answer."""

    def __call__(self, *, cost: Decimal | None = None, failed: bool = False) -> None: ...


@attrs.frozen
class _EarlierAnswer:
    """The answer of an earlier run."""

    record: dict[str, Any]


_SPENT = (QuotaExceeded.__name__,)
_REFUSED = (AuthenticationError.__name__, *_SPENT)
_Answer = Response | Embeddings
_Result = _Answer | DispatchError | _EarlierAnswer | None
"""``None`` for an invalid line, and for a prompt that was not answered because the run was stopped."""
_Opened = StreamingResponse | _Answer | DispatchError | None


def _do_not_advance(*, cost: Decimal | None = None, failed: bool = False) -> None:
    pass


@attrs.define(eq=False)
class _Count:
    """How many prompts were answered, how many of them in an earlier run, and how many failed."""

    answered: int = 0
    before: int = 0
    failed: int = 0


REFUSALS = 5
"""Prompts in a row that a vendor may refuse for its account, one model, or a key that was good before, unless ``max_failures``
says how many."""
LONG_WAIT = 3600.0
"""Seconds: a rate limit with a longer ``retry_after`` is counted like a spent account."""
_RUN = 7 * 86_400.0
"""Seconds for which a vendor is left out; no run takes longer."""


class _Refusals:
    """Counts refusals and decides which vendors and models are left out; safe under threads.

    A vendor that refuses its key before it has answered anything is left out at once. One that refuses its account, or a key that
    was good, is left out after :data:`REFUSALS` prompts in a row, and so is a model whose rate limit asks for over an hour. If the
    key may not use one model (403), that model is left out. ``most``, if given, takes the place of these numbers for prompts that
    fail, and ends the batch after so many failures of any kind.
    """

    def __init__(self, dispatcher: Dispatcher, most: int | None) -> None:
        self._dispatcher = dispatcher
        self._most = most
        self._lock = new_lock()
        self._failed = 0
        self._good: set[str] = set()
        self._in_a_row: dict[str, int] = {}
        self._waits: set[str] = set()
        self._left_out: dict[str, str] = {}

    @property
    def left_out(self) -> tuple[str, ...]:
        """A sentence for each vendor that is left out."""
        return tuple(self._left_out.values())

    @property
    def reasons(self) -> tuple[str, ...]:
        """A sentence for each reason why prompts were not sent."""
        many = (f"{self._failed} prompts failed, and max_failures is {self._most}",) if self._ended else ()
        return (*self.left_out, *many)

    @property
    def _ended(self) -> bool:
        return self._most is not None and self._failed >= self._most

    def note_answer(self, answer: _Answer) -> None:
        """Note an answer: key and account of its vendor are good. Vendors asked before it may have refused."""
        trace: Sequence[AttemptRecord] = (isinstance(answer, Response) and answer.trace) or ()
        asked = trace[-1].model if trace else answer.model
        with self._lock:
            self._good.add(answer.vendor or "")
            self._in_a_row.pop(answer.vendor or "", None)
            self._in_a_row.pop(f"{answer.vendor}:{asked}", None)
            self._waits.discard(f"{answer.vendor}:{asked}")
        refusals = {one.vendor: one for one in trace if one.error in _REFUSED}
        for one in refusals.values():
            what = "the account" if one.error in _SPENT else "the key"
            self._count_refusal(one.vendor, one.model, f"{one.error}, status {one.status}", what, one_model=one.status == 403)

    def note_failure(self, error: DispatchError) -> None:
        """Note a failed prompt, and the vendors that refused key or account, or their rate for over an hour."""
        with self._lock:
            self._failed += 1
        failures = error.failures if isinstance(error, AllTargetsFailed) else (error,)
        refusals = {one.vendor: (one, what) for one in failures if one.vendor and (what := self._refused_part(one)) is not None}
        for vendor, (one, what) in refusals.items():
            one_model = one.status == 403 or isinstance(one, RateLimitError)
            self._count_refusal(
                vendor or "", one.model, f"{type(one).__name__}: {one.message}", what, one_model=one_model, most=self._most
            )

    def _refused_part(self, error: DispatchError) -> str | None:
        """What the error refuses that further prompts would be refused, too; ``None`` for other errors."""
        if isinstance(error, QuotaExceeded):
            return "the account"
        if isinstance(error, AuthenticationError):
            return "the key"
        if not isinstance(error, RateLimitError):
            return None
        who = f"{error.vendor}:{error.model}"
        with self._lock:
            if (error.retry_after or 0) > LONG_WAIT:
                self._waits.add(who)  # later errors have the rest of the library's own cooldown, which is shorter
            return "further requests for over an hour" if who in self._waits else None

    def _count_refusal(
        self, vendor: str, model: str | None, text: str, what: str, *, one_model: bool, most: int | None = None
    ) -> None:
        """Count a refusal, and leave out its vendor or model if it is one too many."""
        one_model = one_model and model is not None
        who = f"{vendor}:{model}" if one_model else vendor
        with self._lock:
            times = self._in_a_row[who] = self._in_a_row.get(who, 0) + 1
            never = what == "the key" and not one_model and vendor not in self._good
            if who in self._left_out or times < (most or (1 if never else REFUSALS)):
                return
            often = f" for {times} prompts in a row" if times > 1 else ""
            self._left_out[who] = f"{who} refused {what}{often} ({text})"
        self._dispatcher.leave_alone(vendor, model=model if one_model else None, seconds=_RUN)

    def must_skip(self, prompt: Prompt) -> bool:
        """Whether a prompt is not to be sent: the batch ends, or all its targets are left out."""
        if self._ended or not self._left_out:
            return self._ended
        plan = plan_of(self._dispatcher, prompt)
        targets = plan.targets if plan is not None else ()
        return bool(targets) and all(target.vendor in self._left_out or str(target) in self._left_out for target in targets)


@attrs.frozen(kw_only=True)
class BatchRunner:
    """Send the prompts of a batch and write down what comes back.

    - ``workers``: prompts in flight at once; ``timeout``: seconds for each, all retries and failovers included.
    - ``cancel``: after its ``drain()`` nothing more is sent, but running requests, which are paid for, end; ``cancel()`` ends
      them too.
    - ``max_failures``: no further prompt is sent after so many failures. Without it a vendor is left out that refuses its key, or
      for five prompts in a row its account or, with a ``retry_after`` of over an hour, its rate; the others are still asked.
    - ``simulated``: the vendors are simulated; each line of the answers says so, and earlier simulated answers count.
    - ``advance``: called after each prompt, from the workers' threads; not called if answers are streamed.
    - ``stream``: stream the answers; ``on_stream`` is called with each prompt and its open stream, in the order of the prompts.
    - ``on_failure``: called for each line that failed, in order; the error is ``None`` where the line is invalid.
    """

    dispatcher: Dispatcher
    workers: int = 8
    timeout: float | None = None
    cancel: Cancellation = attrs.field(factory=Cancellation)
    max_failures: int | None = None
    simulated: bool = False
    advance: Advance = _do_not_advance
    stream: bool = False
    on_stream: Callable[[Prompt, StreamingResponse], None] | None = None
    on_failure: Callable[[PromptLine, DispatchError | None], None] | None = None

    def run(self, lines: Sequence[PromptLine], answers: AnswersFile, journal: Journal) -> Tally:
        """Send everything that has no answer yet and write it down; the journal is deleted once all is answered."""
        began = SYSTEM_CLOCK.monotonic()
        refusals = _Refusals(self.dispatcher, self.max_failures)
        results = self._stream_all(lines, journal, refusals) if self.stream else self._send_all(lines, journal, refusals)
        with closing(results):
            count = self._write(lines, results, answers)
        if count.answered == len(lines) and journal.is_used_up:
            answers.sync()
            journal.remove()
        return Tally(
            stats=self.dispatcher.get_stats(),
            vendors=tuple(self.dispatcher.get_vendors()),
            prompts=len(lines),
            answered=count.answered,
            before=count.before,
            failed=count.failed,
            invalid=min(count.failed, sum(isinstance(line, InvalidLine) for line in lines)),
            seconds=SYSTEM_CLOCK.monotonic() - began,
            answers=answers.path,
            simulated=self.simulated,
            left_out=refusals.left_out,
            stopped=refusals.reasons if count.answered + count.failed < len(lines) else (),
        )

    def _earlier_answer(self, line: PromptLine, journal: Journal) -> _EarlierAnswer | None:
        """The answer of an earlier run; a simulated one does not count if real vendors are asked."""
        record = journal.take(line)
        while record is not None and record.get("simulated") and not self.simulated:
            record = journal.take(line)
        return None if record is None else _EarlierAnswer(self._with_fingerprint(line, {**record, "id": line.id}))

    def _record(self, line: PromptLine, result: _Answer | DispatchError | None) -> dict[str, Any]:
        record = self._with_fingerprint(line, result_record(line, result))
        return {**record, "simulated": True} if self.simulated else record

    @staticmethod
    def _with_fingerprint(line: PromptLine, record: dict[str, Any]) -> dict[str, Any]:
        """The record of an answer with the key of its line."""
        return record if isinstance(line, InvalidLine) or "error" in record else {**record, FINGERPRINT: line.key}

    def _send_all(self, lines: Sequence[PromptLine], journal: Journal, refusals: _Refusals) -> Generator[_Result]:
        def answer(line: PromptLine) -> _Result:
            earlier = self._earlier_answer(line, journal)
            if earlier is not None:
                self.advance(cost=plausible_cost(earlier.record.get("cost")))
                return earlier
            result = self._send(line, refusals)
            if isinstance(result, _Answer):
                journal.add(line, self._record(line, result))
                self.advance(cost=result.usage.cost)
            elif result is not None or isinstance(line, InvalidLine):  # else it was not sent, or was cancelled
                self.advance(failed=True)
            return result

        yield from fan_out(answer, lines, min(self.workers, len(lines)), return_errors=True)

    def _may_send(self, line: PromptLine, refusals: _Refusals) -> bool:
        if isinstance(line, InvalidLine) or self.cancel.draining or self.cancel.cancelled:
            return False
        return not refusals.must_skip(line)

    def _send(self, line: PromptLine, refusals: _Refusals) -> _Answer | DispatchError | None:
        if not isinstance(line, Prompt) or not self._may_send(line, refusals):
            return None
        return self._note(lambda: self._ask(line.request), refusals)

    def _ask(self, request: Request | EmbeddingRequest) -> _Answer:
        if not isinstance(request, EmbeddingRequest):
            return self.dispatcher.send(request, timeout=self.timeout, cancel=self.cancel)
        fields = attrs.asdict(request, recurse=False)
        return self.dispatcher.embed(fields.pop("model"), fields.pop("texts"), timeout=self.timeout, cancel=self.cancel, **fields)

    def _note(self, ask: Callable[[], _Answer], refusals: _Refusals) -> _Answer | DispatchError | None:
        """Ask, and note the answer or the failure; ``None`` if it was cancelled."""
        try:
            answer = ask()
        except Cancelled:
            return None
        except DispatchError as error:
            refusals.note_failure(error)
            return error
        refusals.note_answer(answer)
        return answer

    def _stream_all(self, lines: Sequence[PromptLine], journal: Journal, refusals: _Refusals) -> Generator[_Result]:
        earlier = {line.line: found for line in lines if (found := self._earlier_answer(line, journal)) is not None}
        rest = [line for line in lines if line.line not in earlier]
        with closing(self._stream_ahead(rest, refusals)) as results:
            for line in lines:
                result: _Result = earlier.get(line.line) or next(results)
                if isinstance(result, _Answer):
                    journal.add(line, self._record(line, result))
                yield result

    def _stream_ahead(self, lines: Iterable[PromptLine], refusals: _Refusals) -> Generator[_Answer | DispatchError | None]:
        """Yield the results in the order of the lines.

        The streams behind the first one fill their channels, and then their vendors wait.
        """
        opened: deque[tuple[PromptLine, _Opened]] = deque()
        for line in lines:
            opened.append((line, self._open_stream(line, refusals)))
            if len(opened) >= self.workers:
                yield self._read_stream(*opened.popleft(), refusals)
        while opened:
            yield self._read_stream(*opened.popleft(), refusals)

    def _open_stream(self, line: PromptLine, refusals: _Refusals) -> _Opened:
        if not isinstance(line, Prompt) or not self._may_send(line, refusals):
            return None
        request = line.request
        if isinstance(request, EmbeddingRequest):  # vectors come in one piece
            return self._send(line, refusals)
        try:
            return self.dispatcher.send_streaming(request, timeout=self.timeout, cancel=self.cancel)
        except DispatchError as error:
            refusals.note_failure(error)
            return error

    def _read_stream(self, line: PromptLine, opened: _Opened, refusals: _Refusals) -> _Answer | DispatchError | None:
        if not isinstance(opened, StreamingResponse):
            return opened

        def read() -> Response:
            with opened:
                if self.on_stream is not None and isinstance(line, Prompt):
                    self.on_stream(line, opened)
                return opened.response()

        return self._note(read, refusals)

    def _write(self, lines: Sequence[PromptLine], results: Iterator[_Result], answers: AnswersFile) -> _Count:
        """Write each result as it comes."""
        count = _Count()
        for line, result in zip(lines, results, strict=True):
            if isinstance(result, _EarlierAnswer):
                answers.write(result.record)
                count.before += 1
                count.answered += 1
            elif result is not None or isinstance(line, InvalidLine):
                answers.write(self._record(line, result))
                if isinstance(result, _Answer):
                    count.answered += 1
                    continue
                count.failed += 1
                if self.on_failure is not None:
                    self.on_failure(line, result)
        return count


def result_record(line: PromptLine, result: _Answer | DispatchError | None) -> dict[str, Any]:
    """Return the line of the answers file for one prompt: its response or vectors, its error, or the mistake in it."""
    if isinstance(line, InvalidLine):
        return {"id": line.id, "line": line.line, "error": {"class": "InvalidRequest", "message": line.text}}
    if isinstance(result, Response):
        return {"id": line.id, **response_record(result)}
    if isinstance(result, Embeddings):
        return {"id": line.id, **_embeddings_record(result)}
    assert result is not None
    return {"id": line.id, "model": line.request.model, "error": error_record(result)}


def _embeddings_record(embeddings: Embeddings) -> dict[str, Any]:
    return {
        "model": embeddings.model,
        "vendor": embeddings.vendor,
        "embeddings": embeddings.vectors,
        "usage": _usage_record(embeddings.usage),
        "cost": embeddings.usage.cost,
        "latency": _round(embeddings.latency),
    }


def response_record(response: Response) -> dict[str, Any]:
    """Return a response as JSON can hold it: who, what, why it ended, what it cost, and every attempt."""
    record = {
        "model": response.model,
        "vendor": response.vendor,
        "content": response.content,
        "finish_reason": response.finish_reason,
        "usage": _usage_record(response.usage),
        "cost": response.usage.cost,
        "latency": _round(response.latency),
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
    record = {"vendor": attempt.vendor, "model": attempt.model, "latency": _round(attempt.latency)}
    more = {"first_token": _round(attempt.first_token), "error": attempt.error, "status": attempt.status}
    return record | {name: value for name, value in more.items() if value is not None}


def _round(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def error_record(error: DispatchError) -> dict[str, Any]:
    """Return an error as JSON can hold it: its class, its text, its attempts, and what the vendor said."""
    record = {"class": type(error).__name__, "message": str(error), "attempts": error.attempts}
    more = {name: getattr(error, name) for name in ("vendor", "status", "code", "request_id", "retry_after")}
    return record | {name: value for name, value in more.items() if value is not None}
