"""``run``: read prompts, ask them all, write the answers down in order, say how it went."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Generator, Iterator
from contextlib import closing

import attrs

from ..cancellation import Cancellation
from ..clock import SYSTEM_CLOCK
from ..dispatcher import Dispatcher
from ..errors import Cancelled, DispatchError
from ..fanout import fan_out
from ..types import Response
from . import fleet, report
from .answers import AnswersFile, record
from .live import Begun, streamed
from .progress import progress
from .prompts import Mistake, Prompt, chosen, read
from .stopping import stoppable
from .terminal import complain, say

Item = Prompt | Mistake
Result = Response | DispatchError | None
"""``None`` for a mistake, and for a prompt that was not asked to the end because the user stopped the run."""

MOST_TOLD = 10
"""Failed prompts that are told one by one; the answers file has them all."""


@attrs.frozen(kw_only=True)
class Job:
    """What the prompts are asked with."""

    dispatcher: Dispatcher
    timeout: float | None
    stop: Cancellation

    def send(self, item: Item) -> Result:
        """The whole answer, the error, or nothing."""
        if isinstance(item, Mistake) or self.stop.cancelled:
            return None
        try:
            return self.dispatcher.send(item.request, timeout=self.timeout, cancel=self.stop)
        except Cancelled:
            return None
        except DispatchError as error:
            return error

    def begin(self, item: Item) -> Begun:
        """The stream, the error, or nothing."""
        if isinstance(item, Mistake) or self.stop.cancelled:
            return None
        try:
            return self.dispatcher.send_streaming(item.request, timeout=self.timeout, cancel=self.stop)
        except DispatchError as error:
            return error


def run(options: argparse.Namespace) -> int:
    """Carry out the command; returns its exit code."""
    if not options.json:
        report.check_rich()
    file = chosen(options.file)
    items = read(file, options.limit)
    for item in items:
        if isinstance(item, Mistake):
            complain(f"{file}:{item.line}: {item.text}")
    with (
        stoppable() as stop,
        fleet.assembled(simulate=options.simulate, exact=options.exact) as (dispatcher, told),
        AnswersFile.create(options.output, force=options.force, beside=file) as answers,
    ):
        say(told)
        tally = _dispatched(Job(dispatcher=dispatcher, timeout=options.timeout, stop=stop), items, options, answers)
    if options.json:
        print(json.dumps(report.as_json(tally), indent=2, default=str))
    else:
        report.print_table(tally)
    if stop.cancelled:
        return 130
    return 1 if tally.failed else 0


def _dispatched(job: Job, items: list[Item], options: argparse.Namespace, answers: AnswersFile) -> report.Tally:
    """Ask everything and write it down; what it came to."""
    began = SYSTEM_CLOCK.monotonic()
    asking = _streamed if options.stream else _whole
    with closing(asking(job, items, options)) as results:
        answered, failed = _written(items, results, answers)
    return report.Tally(
        stats=job.dispatcher.get_stats(),
        vendors=tuple(job.dispatcher.get_vendors()),
        prompts=len(items),
        answered=answered,
        failed=failed,
        seconds=SYSTEM_CLOCK.monotonic() - began,
        answers=answers.path,
    )


def _whole(job: Job, items: list[Item], options: argparse.Namespace) -> Generator[Result]:
    with progress(len(items)) as advance:

        def ask(item: Item) -> Result:
            result = job.send(item)
            if result is not None or isinstance(item, Mistake):  # else the user stopped the run before its end
                advance()
            return result

        yield from fan_out(ask, items, min(options.workers, len(items)), return_errors=True)


def _streamed(job: Job, items: list[Item], options: argparse.Namespace) -> Generator[Result]:
    yield from streamed(items, job.begin, options.workers, None if options.json else sys.stdout)


def _written(items: list[Item], results: Iterator[Result], answers: AnswersFile) -> tuple[int, int]:
    """Write each result as it comes; how many prompts were answered and how many failed."""
    answered = failed = 0
    for item, result in zip(items, results, strict=True):
        if result is None and not isinstance(item, Mistake):
            continue
        answers.write(record(item, result))
        if isinstance(result, Response):
            answered += 1
            continue
        failed += 1
        if isinstance(result, DispatchError) and failed <= MOST_TOLD:
            complain(f"{item.id}: {type(result).__name__}: {result}")
    return answered, failed
