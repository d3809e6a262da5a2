"""``batch``: read prompts, ask them all, write the answers down in order, say how it went."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ...policy.concurrency import AdaptiveConcurrency
from ...policy.rate_limit import RateLimit
from .. import fleet, preview, report
from ..answers import AnswersFile, is_whole
from ..batching import Job, Wanted, dispatched
from ..journal import Journal
from ..options import COUNT, FILE, Positive, a_command
from ..prompts import Mistake, chosen, read
from ..settings import Settings
from ..stopping import stoppable
from ..terminal import FAILED, INTERRUPTED, OK, complain, say


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
@click.option("--timeout", type=Positive(), help="Seconds for each prompt, all retries and failovers included.  [default: 30]")
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
    wanted = Wanted(**given)
    file = chosen(wanted.file)
    items = read(file, wanted.limit)
    for item in items:
        if isinstance(item, Mistake):
            complain(f"{file}:{item.line}: {item.text}")
    if wanted.resume and wanted.output is not None and not wanted.force and is_whole(wanted.output, items):
        say(f"{wanted.output}: all is answered")
        return OK
    with fleet.assembled(settings, _asked(wanted)) as (dispatcher, told):
        if not settings.quiet:
            say(told)
        if wanted.dry_run:
            preview.show(preview.of(dispatcher, items), settings)
            return OK
        if wanted.max_cost is not None and not preview.agreed(preview.of(dispatcher, items), wanted):
            return FAILED
        with (
            stoppable() as stop,
            AnswersFile.create(wanted.output, force=wanted.force, beside=file, resume=wanted.resume) as answers,
            Journal.beside(answers, resume=wanted.resume) as journal,
        ):
            job = Job(dispatcher=dispatcher, settings=settings, wanted=wanted, stop=stop)
            tally = dispatched(job, items, answers, journal)
    _tell(file, tally, settings)
    if stop.cancelled:
        return INTERRUPTED
    return FAILED if tally.failed else OK


def _asked(wanted: Wanted) -> fleet.Asked:
    limit = RateLimit(
        requests_per_minute=wanted.rpm,
        tokens_per_minute=wanted.tpm,
        adaptive=AdaptiveConcurrency(initial=wanted.workers, maximum=wanted.workers),
    )
    return fleet.Asked(simulate=wanted.simulate, exact=wanted.exact, limit=limit, pretend=True)


def _tell(file: Path, tally: report.Tally, settings: Settings) -> None:
    """What came of it, and how to go on."""
    if settings.json:
        print(json.dumps(report.as_json(tally), indent=2, default=str))
    else:
        report.print_table(tally, settings)
    if tally.answered < tally.prompts and not settings.quiet and Journal.place(tally.answers) is not None:
        say(f"To ask the rest: llmdispatcher batch {file} --output {tally.answers} --resume")
