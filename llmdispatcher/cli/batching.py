"""A batch at work: every prompt asked once, each answer written into the journal before it counts, the answers file in order."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs

from ..cancellation import Cancellation
from ..clock import SYSTEM_CLOCK
from ..dispatcher import Dispatcher
from ..errors import Cancelled, DispatchError
from ..fanout import fan_out
from ..response_values import Response
from . import report
from .answers import AnswersFile, record
from .journal import Journal
from .live import Begun, streamed
from .progress import progress
from .prompts import Mistake, Prompt
from .settings import Settings
from .terminal import complain

MOST_TOLD = 10
"""Failed prompts that are told one by one; the answers file has them all."""


@attrs.frozen(kw_only=True)
class Wanted:
    """The command's options."""

    file: Path | None
    output: Path | None
    force: bool
    resume: bool
    workers: int
    rpm: int | None
    tpm: int | None
    timeout: float | None
    limit: int | None
    stream: bool
    simulate: bool
    exact: bool
    dry_run: bool
    max_cost: float | None
    yes: bool


@attrs.frozen
class Known:
    """The answer that an earlier run got for a prompt."""

    record: dict[str, Any]


Item = Prompt | Mistake
Result = Response | DispatchError | Known | None
"""``None`` for a mistake, and for a prompt that was not asked to the end because the user stopped the run."""


@attrs.frozen(kw_only=True)
class Job:
    """What the prompts are asked with."""

    dispatcher: Dispatcher
    settings: Settings
    wanted: Wanted
    stop: Cancellation

    def send(self, item: Item) -> Response | DispatchError | None:
        """The whole answer, the error, or nothing."""
        if isinstance(item, Mistake) or self.stop.cancelled:
            return None
        try:
            return self.dispatcher.send(item.request, timeout=self.wanted.timeout, cancel=self.stop)
        except Cancelled:
            return None
        except DispatchError as error:
            return error

    def begin(self, item: Item) -> Begun:
        """The stream, the error, or nothing."""
        if isinstance(item, Mistake) or self.stop.cancelled:
            return None
        try:
            return self.dispatcher.send_streaming(item.request, timeout=self.wanted.timeout, cancel=self.stop)
        except DispatchError as error:
            return error


@attrs.define(eq=False)
class Count:
    """How many prompts were answered, how many of them in an earlier run, and how many failed."""

    answered: int = 0
    before: int = 0
    failed: int = 0


def dispatched(job: Job, items: list[Item], answers: AnswersFile, journal: Journal) -> report.Tally:
    """Ask everything that has no answer yet and write it down; what it came to."""
    began = SYSTEM_CLOCK.monotonic()
    asking = _streamed if job.wanted.stream else _whole
    with closing(asking(job, items, journal)) as results:
        count = _written(items, results, answers)
    if count.answered == len(items) and journal.used_up:
        answers.sync()
        journal.remove()
    return report.Tally(
        stats=job.dispatcher.get_stats(),
        vendors=tuple(job.dispatcher.get_vendors()),
        prompts=len(items),
        answered=count.answered,
        before=count.before,
        failed=count.failed,
        seconds=SYSTEM_CLOCK.monotonic() - began,
        answers=answers.path,
    )


def _whole(job: Job, items: list[Item], journal: Journal) -> Generator[Result]:
    with progress(len(items), quiet=job.settings.quiet, no_color=job.settings.no_color) as advance:

        def ask(item: Item) -> Result:
            known = journal.known(item)
            if known is not None:
                advance(cost=Decimal(known.get("cost") or 0))
                return Known({**known, "id": item.id})
            result = job.send(item)
            if isinstance(result, Response):
                journal.add(item, record(item, result))
                advance(cost=result.usage.cost)
            elif result is not None or isinstance(item, Mistake):  # else the user stopped the run before its end
                advance(failed=True)
            return result

        yield from fan_out(ask, items, min(job.wanted.workers, len(items)), return_errors=True)


def _streamed(job: Job, items: list[Item], journal: Journal) -> Generator[Result]:
    answered = {item.line: Known({**known, "id": item.id}) for item in items if (known := journal.known(item)) is not None}
    rest = [item for item in items if item.line not in answered]
    out = None if job.settings.json else sys.stdout
    with closing(streamed(rest, job.begin, job.wanted.workers, out)) as results:
        for item in items:
            result: Result = answered.get(item.line) or next(results)
            if isinstance(result, Response):
                journal.add(item, record(item, result))
            yield result


def _written(items: list[Item], results: Iterator[Result], answers: AnswersFile) -> Count:
    """Write each result as it comes."""
    count = Count()
    for item, result in zip(items, results, strict=True):
        if isinstance(result, Known):
            answers.write(result.record)
            count.before += 1
            count.answered += 1
        elif result is not None or isinstance(item, Mistake):
            answers.write(record(item, result))
            _count(count, item, result)
    return count


def _count(count: Count, item: Item, result: Response | DispatchError | None) -> None:
    if isinstance(result, Response):
        count.answered += 1
        return
    count.failed += 1
    if isinstance(result, DispatchError) and count.failed <= MOST_TOLD:
        complain(f"{item.id}: {type(result).__name__}: {result}")
