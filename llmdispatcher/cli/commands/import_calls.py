"""``import``: add calls that were exported, or logged elsewhere, to the ledger."""

from __future__ import annotations

from pathlib import Path

import attrs
import click

from .. import records
from ..options import FILE, make_command
from ..settings import Settings
from ..terminal import FAILED, OK, UsageError, complain, say, tell_json

_MOST_TOLD = 20


@make_command(
    "import",
    examples=("llmdispatcher import calls.jsonl", "llmdispatcher --db postgresql://me@host/calls import calls.csv"),
    codes="0 ok, 1 some rows are no calls (the rest was taken in), 2 wrong usage, 130 interrupted (run it again)",
)
@click.argument("file", type=FILE, help="JSON Lines, JSON, CSV or Parquet, as `export` writes them or llmring has logged them.")
@click.option(
    "--format", type=click.Choice(["jsonl", "json", "csv", "parquet"]), help="Else by the file's suffix, else by its content."
)
def command(settings: Settings, file: Path, format: str | None) -> int:
    """Add calls to the ledger, each once, however often they are imported."""
    if not file.is_file():
        raise UsageError(f"{file}: No such file")
    with records.open_ledger(settings, make=True) as ledger:
        report = ledger.import_usage_logs(file, format)
    for problem in report.problems[:_MOST_TOLD]:
        complain(f"{file}:{problem.line}: {problem.reason}")
    if settings.json:
        tell_json(attrs.asdict(report))
    elif not settings.quiet:
        say(f"{report.imported:,} calls taken in, {report.known:,} were known, {report.failed:,} are not calls")
    return FAILED if report.failed else OK
