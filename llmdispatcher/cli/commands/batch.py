"""``batch``: read prompts, send them all, write the answers in order, and report how it went."""

from __future__ import annotations

import os
import re
import shlex
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import click
from click.core import ParameterSource

from ... import batch
from ..._text import escaped, without_passwords
from ...dispatcher import Stats, StreamingResponse, VendorStats
from ...errors import ConfigError, DispatchError, InvalidRequest
from ...resilience import AdaptiveConcurrency, RateLimit
from ...types import dollars_text
from ..estimates import may_begin, plain_number, print_estimates, with_price_options
from ..options import COUNT, FILE, GLOBALS, NO_FAILOVER, Positive, make_command, model_option
from ..session import Session, VendorChoice, open_session
from ..settings import Settings
from ..signals import GRACE, Stop, catch_signals
from ..tables import money_cells, print_rows, tell_wrapped
from ..terminal import FAILED, OK, UsageError, complain, for_stream, is_typed, may_write, say, tell, tell_json
from . import ask

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "prompts.jsonl"
_MOST_FAILURES = 10
"""Failed prompts, and invalid lines, that are printed one by one; the answers file has them all."""
_MOST_LINES = 10
"""Lines of progress if there is no terminal for a bar."""
_HEADS = ("vendor", "calls", "errors", "retries", "failovers", "p50 s", "p95 s", "tokens in", "tokens out", "US$")
_CAPTION = "failovers: calls that came to this vendor because another had failed"
_ENDING = f"Ending: no more prompts are sent; those under way are waited for, {GRACE:g} s at most. Once more cancels them."


@attrs.define(kw_only=True)
class Options:
    """The options of the command, as they were given."""

    file: Path | None
    output: Path | None
    force: bool
    resume: bool
    model: str | None
    substitute: bool
    no_failover: bool
    workers: int
    rpm: int | None
    tpm: int | None
    timeout: float | None
    limit: int | None
    max_failures: int | None
    stream: bool
    simulate: bool
    or_simulate: bool
    dry_run: bool
    max_cost: float | None
    confirm: bool
    yes: bool


@make_command(
    "batch",
    examples=(
        "llmdispatcher batch prompts.jsonl --output answers.jsonl",
        "llmdispatcher batch prompts.jsonl --output answers.jsonl --resume",
        "llmdispatcher batch prompts.jsonl --dry-run",
        "llmdispatcher batch prompts.jsonl --max-cost 2.50 --workers 20",
        "cat questions.txt | llmdispatcher batch - --model gpt-4o-mini",
        "llmdispatcher batch --simulate --stream --limit 5",
    ),
    codes=(
        "0 all answered, 1 some prompts failed or were not asked, or the price was declined, 2 wrong usage,"
        " 129 hung up, 130 interrupted, 143 terminated"
    ),
)
@click.argument(
    "file",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    required=False,
    metavar="[FILE]",
    help="The prompts, - for standard input; else what is piped in, else the examples.",
)
@click.option(
    "-o",
    "--output",
    type=FILE,
    metavar="FILE",
    help="The file for the answers, in the order of the prompts; else answers.jsonl, or a new name.",
)
@click.option("--force", is_flag=True, help="Overwrite the --output file.")
@click.option("--resume", is_flag=True, help="Resume a batch that was stopped; failed prompts are asked again.")
@model_option("The model of lines that name none; else $LLMDISPATCHER_MODEL.")
@click.option(
    "--substitute", is_flag=True, help="Where a model's own vendor is missing or fails, let a similar model of another answer."
)
@click.option("--workers", type=COUNT, default=8, show_default=True, metavar="N", help="Prompts in flight at once.")
@click.option("--rpm", type=COUNT, metavar="N", help="At most so many requests a minute at each vendor.")
@click.option("--tpm", type=COUNT, metavar="N", help="At most so many tokens a minute at each vendor.")
@click.option(
    "--timeout",
    type=Positive(),
    metavar="S",
    help="Seconds for each prompt, all retries and failovers included; else the configuration's, or what it may need, 60 to 600.",
)
@NO_FAILOVER
@click.option("--limit", type=COUNT, metavar="N", help="Only the first N prompts.")
@click.option(
    "--max-failures",
    type=COUNT,
    metavar="N",
    help="Stop after N failed prompts; else a vendor is left out that refuses its key, or its account 5 times in a row.",
)
@click.option("--stream", is_flag=True, help="Stream the answers and print them while they arrive, in order.")
@click.option("--simulate", is_flag=True, help="Ask simulated vendors even if there are keys; each answer says so.")
@click.option("--or-simulate", is_flag=True, help="Ask simulated vendors where there is no key; each answer says so.")
@with_price_options
def command(settings: Settings, **given: Any) -> int:
    """Ask every line of a file.

    A line is a JSON object: model, messages and, as you like, id, temperature, max_tokens, stop, user, metadata and so on; or
    {"prompt": "..."}; or a line of OpenAI's batch format (custom_id, method, url, body). A file without JSON has a prompt a line.
    The vendors whose keys are known are asked. Without a file, what is piped in is asked, else the example prompts of the sources.

    Beside the answers a journal (FILE.journal) is kept until all are there. After Ctrl-C, SIGTERM, a crash or failures the same
    command with --resume asks only what has no answer yet. A vendor that limits the rate is asked by fewer workers.
    """
    options = Options(**given)
    if options.output == Path("-"):
        raise UsageError("--output: - names no file; give a name, or /dev/stdout to print the answers")
    lines = _read(choose_prompts(options.file), options)
    with ExitStack() as outermost, open_session(settings, _vendors(options, lines)) as session:
        if _is_done(options, lines, simulated=session.simulated):
            say(f"{options.output}: all is answered")
            return OK
        if not settings.quiet:
            say(session.description)
        if options.dry_run:
            print_estimates(session, lines, settings)
            return OK
        if not may_begin(session, lines, given):
            return FAILED
        if not _may_overwrite(options):
            return FAILED
        # Only from here on: before, a signal ends the question at the terminal.
        stop = outermost.enter_context(catch_signals(GRACE, None if settings.quiet else _ENDING))
        tally = _run(session, lines, options, settings, stop)
        _print_tally(tally, settings)  # before the ledger closes, which may take the rest of the grace
    if stop.signal is not None:
        return stop.code
    return FAILED if tally.answered < tally.prompts else OK


def _run(session: Session, lines: list[batch.PromptLine], options: Options, settings: Settings, stop: Stop) -> batch.Tally:
    """Send the prompts and show the progress."""
    with (
        _open_files(options, choose_prompts(options.file)) as (answers, journal),
        progress(len(lines), quiet=settings.quiet or options.stream, no_color=settings.no_color) as advance,
    ):
        runner = batch.BatchRunner(
            dispatcher=session.dispatcher,
            workers=options.workers,
            timeout=options.timeout,
            cancel=stop.cancel,
            max_failures=options.max_failures,
            simulated=session.simulated,
            advance=advance,
            stream=options.stream,
            on_stream=None if settings.json else _print_stream,
            on_failure=_failure_printer(),
        )
        return runner.run(lines, answers, journal)


def choose_prompts(file: Path | None) -> Path | None:
    """Return the user's file, ``None`` for standard input, or the examples of a checkout.

    Without a file, standard input is read where it is a pipe or a file. Raises :class:`UsageError` where there are no prompts.
    """
    if file is None and _is_piped():
        return None
    if file is None and not EXAMPLES.is_file():
        raise UsageError("which file? the example prompts come with the sources only: llmdispatcher batch FILE.jsonl")
    return None if file == Path("-") else file or EXAMPLES


def _is_piped() -> bool:
    """Whether standard input is a pipe, a socket or a file, not a terminal or the null device."""
    try:
        kind = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # it is closed, or is no file of the system
        return False
    return stat.S_ISFIFO(kind) or stat.S_ISREG(kind) or stat.S_ISSOCK(kind)


def _read(source: Path | None, options: Options) -> list[batch.PromptLine]:
    """Read the prompts and report invalid lines. Raises :class:`UsageError` if all are invalid."""
    if source is None and sys.stdin is None:
        raise UsageError("-: there is no standard input; name a file of prompts")
    if source is None and sys.stdin.isatty():
        say("Type the prompts, a line each; Ctrl-D ends them.")
    try:
        lines = batch.read_prompts(source or sys.stdin.buffer, options.limit, model=ask.named_model(options.model))
    except InvalidRequest as error:
        raise UsageError(error.message) from None
    invalid = [line for line in lines if isinstance(line, batch.InvalidLine)]
    for line in invalid[:_MOST_FAILURES]:
        complain(f"{source or batch.STDIN}:{line.line}: {line.text}")
    if len(invalid) > _MOST_FAILURES:
        complain(f"{source or batch.STDIN}: {len(invalid) - _MOST_FAILURES} more lines are invalid")
    if len(invalid) == len(lines):
        raise UsageError(
            f"{source or batch.STDIN}: every line is invalid, so nothing was sent and no file was written; correct the lines"
        )
    return lines


def _is_done(options: Options, lines: list[batch.PromptLine], *, simulated: bool) -> bool:
    """Whether a resumed batch has all its answers; those of simulated vendors count only if such are asked."""
    if not options.resume or options.output is None or options.force:
        return False
    return batch.is_complete(options.output, lines, simulated=simulated)


def _may_overwrite(options: Options) -> bool:
    """Whether a person agrees that the answers file is overwritten; without one it is refused where it is opened."""
    if options.output is None or options.resume or not is_typed():
        return True
    exists = options.output.is_file()
    options.force = may_write(options.output, force=options.force) and (options.force or exists)
    return options.force or not exists


def _vendors(options: Options, lines: list[batch.PromptLine]) -> VendorChoice:
    limit = RateLimit(
        requests_per_minute=options.rpm,
        tokens_per_minute=options.tpm,
        adaptive=AdaptiveConcurrency(initial=options.workers, maximum=options.workers),
    )
    models = dict.fromkeys([line.request.model for line in lines if isinstance(line, batch.Prompt)])
    return VendorChoice(
        simulate=options.simulate,
        or_simulate=options.or_simulate,
        substitute=options.substitute,
        failover=not options.no_failover,
        dry_for=tuple(models) if options.dry_run else None,
        limit=limit,
    )


@contextmanager
def _open_files(options: Options, prompts: Path | None) -> Iterator[tuple[batch.AnswersFile, batch.Journal]]:
    """Open the answers file and its journal. Raises :class:`UsageError`, which names options where the library names parameters."""
    with ExitStack() as files:
        try:
            answers = batch.AnswersFile.create(options.output, prompts=prompts, force=options.force, resume=options.resume)
            files.enter_context(answers)
            journal = files.enter_context(batch.Journal.open(answers, resume=options.resume, warn=complain))
        except ConfigError as error:
            raise UsageError(_error_text(error)) from None
        yield answers, journal


def _error_text(error: ConfigError) -> str:
    """The text of an error, with options in the place of parameters."""
    remedy = re.sub(r"\b(output|force)\b", r"--\1", error.remedy or "")
    return f"{error.message}; {remedy}" if remedy else error.message


def _failure_printer() -> Callable[[batch.PromptLine, DispatchError | None], None]:
    failed = 0

    def print_failure(line: batch.PromptLine, error: DispatchError | None) -> None:
        nonlocal failed
        failed += 1
        if error is not None and failed <= _MOST_FAILURES:
            complain(f"{line.id}: {type(error).__name__}: {error}")

    return print_failure


def _print_stream(prompt: batch.Prompt, stream: StreamingResponse) -> None:
    """Print an answer while it arrives."""
    out = sys.stdout
    out.write(escaped(f"[{prompt.id}] ") if out.isatty() else f"[{prompt.id}] ")
    try:
        for chunk in stream:
            out.write(for_stream(chunk.content, out))
            out.flush()
    finally:
        out.write("\n\n")
        out.flush()


@contextmanager
def progress(total: int, *, quiet: bool = False, no_color: bool = False) -> Iterator[batch.Advance]:
    """Show the progress: a bar on a terminal, a line now and then elsewhere. Yields the function to call after each prompt."""
    if quiet:
        yield lambda *, cost=None, failed=False: None
    elif sys.stderr.isatty():
        with _progress_bar(total, no_color) as advance:
            yield advance
    else:
        yield _progress_lines(total)


@contextmanager
def _progress_bar(total: int, no_color: bool) -> Iterator[batch.Advance]:
    from rich.console import Console  # late: only a terminal has a bar
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    so_far = TextColumn("{task.description}")
    columns = (TextColumn("dispatching"), BarColumn(), MofNCompleteColumn(), so_far, TimeElapsedColumn(), TimeRemainingColumn())
    running = batch.RunningTotal()
    with Progress(*columns, console=Console(stderr=True, no_color=no_color or None)) as bar:
        task = bar.add_task(str(running), total=total)

        def advance(*, cost: Decimal | None = None, failed: bool = False) -> None:
            _, text = running.add(cost=cost, failed=failed)
            bar.update(task, advance=1, description=text)

        yield advance


def _progress_lines(total: int) -> batch.Advance:
    running = batch.RunningTotal()

    def advance(*, cost: Decimal | None = None, failed: bool = False) -> None:
        done, text = running.add(cost=cost, failed=failed)
        if done == total or done * _MOST_LINES // total > (done - 1) * _MOST_LINES // total:
            say(f"{done} of {total} done, {text}")

    return advance


def _print_tally(tally: batch.Tally, settings: Settings) -> None:
    """Print the result, and the command that asks the rest."""
    if settings.json:
        tell_json(tally.as_dict())
    else:
        _print_stats(tally, settings)
        tell_wrapped(_CAPTION)
        for name, stats in tally.stats.vendor_stats.items():
            if stats.errors:
                tell(f"{name}: {', '.join(f'{count} × {error}' for error, count in sorted(stats.errors.items()))}")
        tell_wrapped(_summary(tally))
    for reason in tally.left_out:
        complain(f"{reason}; it was asked no more{', and prompts for it alone were not sent' if tally.missing else ''}")
    for reason in tally.stopped:
        if reason not in tally.left_out:
            complain(f"{reason}; no further prompts were sent; a higher --max-failures allows more failures")
    if tally.answered < tally.prompts and not settings.quiet and tally.answers.is_file():
        command, from_stdin = _resume_command(tally.answers)
        rest = "the rest" if tally.answered + tally.invalid < tally.prompts else "the lines that cannot be read, correct them; then"
        say(f"To ask {rest}{', with the same prompts on standard input' if from_stdin else ''}: {command}")


def _resume_command(answers: Path) -> tuple[str, bool]:
    """The command that asks the rest, with every option that was given; True if it reads standard input."""
    context = click.get_current_context()
    from_stdin = choose_prompts(context.params["file"]) is None
    words = ["llmdispatcher"]
    given: dict[str, Any] = context.find_root().ensure_object(dict)
    for option in GLOBALS:
        if option.name in given:
            words += _option_words(option, given[option.name])
    words.append("batch")
    for param in context.command.params:
        value = context.params.get(param.name or "")
        if context.get_parameter_source(param.name or "") is not ParameterSource.COMMANDLINE or param.name in ("output", "force"):
            continue
        if isinstance(param, click.Option):
            words += _option_words(param, value) if param.name != "resume" else []
        else:
            words.append(str(value))
    words += ["-"] if from_stdin and "-" not in words else []
    return shlex.join([*words, "--output", str(answers), "--resume"]), from_stdin


def _option_words(option: click.Option, value: Any) -> list[str]:
    """An option as it is typed, without a password."""
    name = option.opts[-1]
    if option.is_flag:
        return [name]
    text = plain_number(value) if isinstance(value, float) else str(value)
    return [name, without_passwords(text)]


def _summary(tally: batch.Tally) -> str:
    before = f" ({tally.before} of them before)" if tally.before else ""
    parts = [f"{tally.answered} of {tally.prompts} prompts answered{before}", f"{tally.failed} failed"]
    parts += [f"{tally.missing} not asked to the end"] if tally.missing else []
    simulated = ", made up by simulated vendors" if tally.simulated else ""
    return (
        f"{', '.join(parts)}; {tally.seconds:.1f} s, {tally.rate:.1f} calls/s, US$ {dollars_text(tally.stats.total_cost, 4)}; "
        f"answers in {tally.answers}{simulated}"
    )


def _print_stats(tally: batch.Tally, settings: Settings) -> None:
    """Print a line for each vendor, and their sums."""
    found = [(name, tally.stats.vendor_stats.get(name, VendorStats())) for name in tally.vendors]
    costs, total = money_cells([stats.total_cost for _, stats in found])
    rows = [_vendor_row(name, stats, cost) for (name, stats), cost in zip(found, costs, strict=True)]
    spare = ("retries", "failovers", "p95 s")
    print_rows(_HEADS, rows, no_color=settings.no_color, spare=spare, total=_totals_row(tally.stats, total))


def _vendor_row(name: str, stats: VendorStats, cost: str) -> tuple[str, ...]:
    counts = (stats.requests, stats.failures, stats.retries, stats.failovers)
    return name, *map(str, counts), *_measures(stats, stats.successes), cost


def _totals_row(stats: Stats, cost: str) -> tuple[str, ...]:
    vendors = stats.vendor_stats.values()
    counts = (sum(one.requests for one in vendors), sum(one.failures for one in vendors), stats.retries, stats.failovers)
    return "all", *map(str, counts), *_measures(stats, stats.successful_requests), cost


def _measures(stats: Stats | VendorStats, answered: int) -> tuple[str, ...]:
    times = (f"{stats.p50_latency:.2f}", f"{stats.p95_latency:.2f}") if answered else ("–", "–")
    return *times, f"{stats.input_tokens:,}", f"{stats.output_tokens:,}"
