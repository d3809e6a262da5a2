"""``export``: write the calls of the ledger to a file."""

from __future__ import annotations

import sys
from typing import Any

import click

from ...errors import InvalidRequest
from .. import records
from ..options import FILE, make_command
from ..settings import Settings
from ..terminal import OK, UsageError, say


@make_command(
    "export",
    examples=("llmdispatcher export calls.jsonl", "llmdispatcher export --start 2026-11-01 --format csv > calls.csv"),
)
@click.argument("file", type=FILE, required=False, metavar="[FILE]", help="Where to; else stdout.")
@click.option(
    "--format", type=click.Choice(["jsonl", "json", "csv", "parquet"]), help="Else by the file's suffix; jsonl if it has none."
)
@click.option("--attempts", is_flag=True, help="Write the attempts, too, in the JSON formats.")
@click.option("--force", is_flag=True, help="Overwrite the file.")
@records.with_filters
def command(settings: Settings, **given: Any) -> int:
    """Write the calls that have ended, the oldest first; a file is readable by its owner alone.

    `llmdispatcher import` reads such files. In CSV, text that a spreadsheet would take for a formula is quoted.
    """
    file = given["file"]
    if file is not None and file.exists() and not given["force"]:
        raise UsageError(f"{file} exists; choose another name, or --force to overwrite it")
    if file is None and given["format"] == "parquet":
        raise UsageError("--format parquet: it cannot go through a pipe; name a FILE")
    with records.open_ledger(settings) as ledger:
        target = sys.stdout if file is None else file
        try:
            report = ledger.export_usage_logs(target, given["format"], attempts=given["attempts"], **records.filters_of(given))
        except InvalidRequest as error:
            raise UsageError(error.message) from None
    if not settings.quiet:
        say(f"{report.rows:,} calls{f' in {file}' if file is not None else ''}")
    return OK
