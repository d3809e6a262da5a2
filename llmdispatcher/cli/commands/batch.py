"""``batch``: read prompts, send them all, write the answers in order, and report how it went."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from ...batch import (
    Advance,
    AnswersFile,
    BatchRunner,
    InvalidLine,
    Journal,
    ModelEstimate,
    Prompt,
    PromptLine,
    RunningTotal,
    Tally,
    estimate_cost,
    is_complete,
    read_prompts,
    total_cost,
)
from ...dispatcher import Stats, StreamingResponse, VendorStats
from ...errors import ConfigError, DispatchError
from ...resilience import AdaptiveConcurrency, RateLimit
from .. import session
from ..options import COUNT, FILE, Positive, a_command
from ..settings import Settings
from ..tables import console, print_rows
from ..terminal import FAILED, INTERRUPTED, OK, UsageError, complain, say, shown, stoppable

if TYPE_CHECKING:
    from rich.table import Table


EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "prompts.jsonl"
_MOST_FAILURES = 10
"""Failed prompts that are told one by one; the answers file has them all."""
_MOST_LINES = 10
"""Lines of progress where no terminal draws a bar."""
_HEADS = ("vendor", "calls", "errors", "retries", "fail-\novers", "p50\ns", "p95\ns", "tokens\nin", "tokens\nout", "US$")
_CAPTION = "failovers: calls that came to this vendor because another had failed"


@attrs.frozen(kw_only=True)
class Options:
    """The options of the command, as they were given."""

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


@a_command(
    "batch",
    examples=(
        "llmdispatcher batch prompts.jsonl --output answers.jsonl",
        "llmdispatcher batch prompts.jsonl --output answers.jsonl --resume",
        "llmdispatcher batch prompts.jsonl --dry-run",
        "llmdispatcher batch prompts.jsonl --max-cost 2.50 --workers 20",
        "llmdispatcher batch --simulate --stream --limit 5",
    ),
    codes="0 all answered, 1 some prompts failed or the price was declined, 2 wrong usage, 130 interrupted",
)
@click.argument("file", type=FILE, required=False, metavar="[FILE.jsonl]", help="The prompts; else the examples.")
@click.option(
    "-o",
    "--output",
    type=FILE,
    metavar="FILE",
    help="Where answers go, in the order of the prompts; else answers.jsonl, or a fresh name.",
)
@click.option("--force", is_flag=True, help="Overwrite the --output file.")
@click.option("--resume", is_flag=True, help="Go on with a batch that was stopped, or ask the prompts again that failed.")
@click.option("--workers", type=COUNT, default=8, show_default=True, help="Prompts in flight at once.")
@click.option("--rpm", type=COUNT, metavar="N", help="At most so many requests a minute at each vendor.")
@click.option("--tpm", type=COUNT, metavar="N", help="At most so many tokens a minute at each vendor.")
@click.option(
    "--timeout",
    type=Positive(),
    help="Seconds for each prompt, all retries and failovers included.  [default: what it may need, 60 to 600]",
)
@click.option("--limit", type=COUNT, metavar="N", help="Only the first N prompts.")
@click.option("--stream", is_flag=True, help="Stream the answers and print them while they arrive, in order.")
@click.option("--simulate", is_flag=True, help="Use simulated vendors even if there are keys.")
@click.option("--exact", is_flag=True, help="Never let a vendor answer with another model than the one asked for.")
@click.option("--dry-run", is_flag=True, help="Tell what it may cost, by model, and send nothing.")
@click.option(
    "--max-cost", type=Positive(), metavar="USD", help="Ask before a batch that may cost more; refuse where nobody can be asked."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def command(settings: Settings, **given: Any) -> int:
    """Ask every line of a JSONL file.

    A line is a JSON object: model, messages and, as you like, id, temperature, max_tokens, stop, user, metadata and so on. The
    vendors whose keys are known are asked, or four simulated ones where there is no key. Without a file the example prompts of the
    sources are asked.

    Beside the answers a journal (FILE.journal) is kept until all are there. After Ctrl-C, a crash or failures the same command with
    --resume asks only what has no answer yet. Vendors that refuse for their rate are asked by fewer workers at once.
    """
    options = Options(**given)
    file = choose_prompts(options.file)
    lines = read_prompts(file, options.limit)
    for line in lines:
        if isinstance(line, InvalidLine):
            complain(f"{file}:{line.line}: {line.text}")
    if options.resume and options.output is not None and not options.force and is_complete(options.output, lines):
        say(f"{options.output}: all is answered")
        return OK
    with session.assembled(settings, _vendors(options)) as (dispatcher, told):
        if not settings.quiet:
            say(told)
        if options.dry_run:
            _print_estimates(estimate_cost(dispatcher, lines), settings)
            return OK
        if options.max_cost is not None and not _agreed(estimate_cost(dispatcher, lines), options.max_cost, yes=options.yes):
            return FAILED
        with (
            stoppable() as stop,
            _open_files(options, file) as (answers, journal),
            progress(len(lines), quiet=settings.quiet or options.stream, no_color=settings.no_color) as advance,
        ):
            runner = BatchRunner(
                dispatcher=dispatcher,
                workers=options.workers,
                timeout=options.timeout,
                cancel=stop,
                advance=advance,
                stream=options.stream,
                on_stream=None if settings.json else _print_stream,
                on_failure=_failure_printer(),
            )
            tally = runner.run(lines, answers, journal)
    _print_tally(file, tally, settings)
    if stop.cancelled:
        return INTERRUPTED
    return FAILED if tally.failed else OK


def choose_prompts(file: Path | None) -> Path:
    """Return the user's file, or the examples of a checkout. Raises :class:`UsageError` where there are none."""
    if file is None and not EXAMPLES.is_file():
        raise UsageError("which file? the example prompts come with the sources only: llmdispatcher batch FILE.jsonl")
    return file or EXAMPLES


def _vendors(options: Options) -> session.Asked:
    limit = RateLimit(
        requests_per_minute=options.rpm,
        tokens_per_minute=options.tpm,
        adaptive=AdaptiveConcurrency(initial=options.workers, maximum=options.workers),
    )
    return session.Asked(simulate=options.simulate, exact=options.exact, limit=limit, pretend=True)


@contextmanager
def _open_files(options: Options, prompts: Path) -> Iterator[tuple[AnswersFile, Journal]]:
    """Open the answers file and its journal; what the library says of its parameters is said of the options of that name."""
    with ExitStack() as opened:
        try:
            answers = AnswersFile.create(options.output, prompts=prompts, force=options.force, resume=options.resume)
            opened.enter_context(answers)
            journal = opened.enter_context(Journal.open(answers, resume=options.resume, warn=complain))
        except ConfigError as error:
            raise UsageError(_error_text(error)) from None
        yield answers, journal


def _error_text(error: ConfigError) -> str:
    """Return an error of the batch's files as users of the command read it: parameters are options."""
    remedy = re.sub(r"\b(output|force)\b", r"--\1", error.remedy or "")
    return f"{error.message}; {remedy}" if remedy else error.message


def _failure_printer() -> Callable[[PromptLine, DispatchError | None], None]:
    failed = 0

    def print_failure(line: PromptLine, error: DispatchError | None) -> None:
        nonlocal failed
        failed += 1
        if error is not None and failed <= _MOST_FAILURES:
            complain(f"{line.id}: {type(error).__name__}: {error}")

    return print_failure


def _print_stream(prompt: Prompt, stream: StreamingResponse) -> None:
    """Print an answer while it arrives."""
    out = sys.stdout
    out.write(shown(f"[{prompt.id}] ", out))
    try:
        for chunk in stream:
            out.write(shown(chunk.content, out))
            out.flush()
    finally:
        out.write("\n\n")
        out.flush()


@contextmanager
def progress(total: int, *, quiet: bool = False, no_color: bool = False) -> Iterator[Advance]:
    """Show how far a batch has come: a bar on a terminal, a line now and then elsewhere. Yields what to call after each prompt."""
    if quiet:
        yield lambda *, cost=None, failed=False: None
    elif sys.stderr.isatty():
        with _progress_bar(total, no_color) as advance:
            yield advance
    else:
        yield _progress_lines(total)


@contextmanager
def _progress_bar(total: int, no_color: bool) -> Iterator[Advance]:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    except ImportError:
        raise UsageError("the command line needs rich: pip install 'llmdispatcher[cli]'") from None
    so_far = TextColumn("{task.description}")
    columns = (TextColumn("dispatching"), BarColumn(), MofNCompleteColumn(), so_far, TimeElapsedColumn(), TimeRemainingColumn())
    running = RunningTotal()
    with Progress(*columns, console=Console(stderr=True, no_color=no_color or None)) as bar:
        task = bar.add_task(str(running), total=total)

        def advance(*, cost: Decimal | None = None, failed: bool = False) -> None:
            _, text = running.add(cost=cost, failed=failed)
            bar.update(task, advance=1, description=text)

        yield advance


def _progress_lines(total: int) -> Advance:
    running = RunningTotal()

    def advance(*, cost: Decimal | None = None, failed: bool = False) -> None:
        done, text = running.add(cost=cost, failed=failed)
        if done == total or done * _MOST_LINES // total > (done - 1) * _MOST_LINES // total:
            say(f"{done} of {total} done, {text}")

    return advance


def _print_estimates(estimates: Mapping[str, ModelEstimate], settings: Settings) -> None:
    if settings.json:
        models = {name: attrs.asdict(estimate) for name, estimate in sorted(estimates.items())}
        print(json.dumps({"cost_at_most": total_cost(estimates), "models": models}, indent=2, default=str))
        return
    heads = ("model", "prompts", "tokens in", "tokens out at most", "US$ at most")
    rows = [(name, *_estimate_cells(estimate)) for name, estimate in sorted(estimates.items())]
    print_rows(heads, rows, no_color=settings.no_color)
    prompts = sum(estimate.prompts for estimate in estimates.values())
    print(f"about US$ {total_cost(estimates):.4f} for {prompts} prompts{_doubt(estimates)}; nothing was sent")


def _estimate_cells(estimate: ModelEstimate) -> tuple[str, ...]:
    cost = "unknown" if estimate.unpriced == estimate.prompts else f"{estimate.cost:.4f}"
    return str(estimate.prompts), f"{estimate.input_tokens:,}", f"{estimate.output_tokens:,}", cost


def _agreed(estimates: Mapping[str, ModelEstimate], max_cost: float, *, yes: bool) -> bool:
    """Whether a batch may begin: it keeps ``max_cost``, or a person says so."""
    amount = total_cost(estimates)
    unsure = any(estimate.unpriced for estimate in estimates.values())
    if yes or (amount <= Decimal(str(max_cost)) and not unsure):
        return True
    text = f"this may cost about US$ {amount:.4f}{_doubt(estimates)}, and --max-cost is {max_cost:g}"
    if not sys.stdin.isatty():
        complain(f"{text}; --yes asks it all the same")
        return False
    print(f"llmdispatcher: {text}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _doubt(estimates: Mapping[str, ModelEstimate]) -> str:
    unpriced = sum(estimate.unpriced for estimate in estimates.values())
    return f", and {unpriced} prompts to models whose price is not known" if unpriced else ""


def _print_tally(file: Path, tally: Tally, settings: Settings) -> None:
    """Print what came of it, and how to go on."""
    if settings.json:
        print(json.dumps(tally.as_dict(), indent=2, default=str))
    else:
        console(no_color=settings.no_color).print(_stats_table(tally))
        for name, stats in tally.stats.vendor_stats.items():
            if stats.errors:
                print(f"{name}: {', '.join(f'{count} × {error}' for error, count in sorted(stats.errors.items()))}")
        print(_summary(tally))
    if tally.answered < tally.prompts and not settings.quiet and tally.answers.is_file():
        say(f"To ask the rest: llmdispatcher batch {file} --output {tally.answers} --resume")


def _summary(tally: Tally) -> str:
    before = f" ({tally.before} of them before)" if tally.before else ""
    parts = [f"{tally.answered} of {tally.prompts} prompts answered{before}", f"{tally.failed} failed"]
    parts += [f"{tally.missing} not asked to the end"] if tally.missing else []
    return (
        f"{', '.join(parts)}; {tally.seconds:.1f} s, {tally.rate:.1f} calls/s, US$ {tally.stats.total_cost:.4f}; "
        f"answers in {tally.answers}"
    )


def _stats_table(tally: Tally) -> Table:
    from rich.box import SIMPLE  # late: only people read tables
    from rich.table import Table

    # Without lines between the columns it fits into the 80 of a plain terminal.
    table = Table(show_footer=True, box=SIMPLE, pad_edge=False, collapse_padding=True, caption=_CAPTION, caption_justify="left")
    for head, foot in zip(_HEADS, _totals_row(tally.stats), strict=True):
        table.add_column(head, foot, justify="left" if head == "vendor" else "right")
    for name in tally.vendors:
        table.add_row(*_vendor_row(name, tally.stats.vendor_stats.get(name, VendorStats())))
    return table


def _vendor_row(name: str, stats: VendorStats) -> tuple[str, ...]:
    counts = (stats.requests, stats.failures, stats.retries, stats.failovers)
    return name, *map(str, counts), *_measures(stats, stats.successes)


def _totals_row(stats: Stats) -> tuple[str, ...]:
    vendors = stats.vendor_stats.values()
    counts = (sum(one.requests for one in vendors), sum(one.failures for one in vendors), stats.retries, stats.failovers)
    return "all", *map(str, counts), *_measures(stats, stats.successful_requests)


def _measures(stats: Stats | VendorStats, answered: int) -> tuple[str, ...]:
    times = (f"{stats.p50_latency:.2f}", f"{stats.p95_latency:.2f}") if answered else ("–", "–")
    return *times, f"{stats.input_tokens:,}", f"{stats.output_tokens:,}", f"{stats.total_cost:.4f}"
