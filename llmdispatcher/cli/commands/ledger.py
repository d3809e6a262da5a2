"""``init-db``, ``migrate``, ``calls``, ``export``, ``import``, ``prune``, ``erase-user``: make the ledger, show its calls, take
calls out and in, and delete what is old or somebody's.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from ...errors import InvalidRequest
from .. import records
from ..options import FILE, OVERWRITE, OneOf, WholeNumber, make_command
from ..settings import Settings
from ..tables import cell, money_cells, print_records, print_result, print_rows
from ..terminal import FAILED, OK, UsageError, complain, confirm, may_write, plain, say, tell, tell_json
from .ask import dollars

if TYPE_CHECKING:
    from ...accounting import Ledger, LedgerAttempt, LedgerCall


_DELETES = "--yes does so, --dry-run only tells"
_MOST_NAMED = 5
"""Tables of an application that are named before the question whether to go on."""
_MOST_TOLD = 20
"""Rows that are no calls, and are told one by one."""
_STATUSES = ("open", "success", "error", "timeout", "rate_limited", "cancelled", "unknown")


@make_command(
    "init-db",
    examples=(
        "llmdispatcher init-db",
        "llmdispatcher init-db --sqlite calls.db",
        "llmdispatcher init-db --db postgresql://me@host/calls --yes",
    ),
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask if the database holds tables of an application.")
def init_db(settings: Settings, yes: bool) -> int:
    """Make the ledger's tables, in the user's own SQLite file, or in the database that is named; idempotent.

    A new ledger gets the models and prices that the library knows; `json-refresh` brings them up to date.
    Asks before it writes into a database that holds other tables, as an application's DATABASE_URL may. Once the user's own ledger
    is there, `ask`, `chat` and `batch` write every call into it, never a prompt or an answer.
    """
    with records.ledger_to_make(settings) as ledger:
        if not yes and not ledger.is_there() and not _may_make_tables(ledger):
            return FAILED
        return _migrate(settings, ledger, fill=True)


def _migrate(settings: Settings, ledger: Ledger, *, fill: bool = False) -> int:
    """Bring the tables up to date and print their version; ``fill`` a ledger that has no models with those of the catalog."""
    version, shown = ledger.migrate(), ledger.address.shown
    if fill and not ledger.list_models(active_only=False):
        ledger.refresh_models()
    print_result(settings, {"database": shown, "schema": version}, f"{shown}: schema {version}")
    return OK


def _may_make_tables(ledger: Ledger) -> bool:
    """Whether tables may be made beside others."""
    others = ledger.foreign_tables()
    if not others:
        return True
    named = plain(", ".join(others[:_MOST_NAMED])) + (", ..." if len(others) > _MOST_NAMED else "")
    count = "1 table that is" if len(others) == 1 else f"{len(others):,} tables that are"
    text = f"{ledger.address.shown} holds {count} not the ledger's ({named}); the ledger's are made beside them"
    return confirm(text, otherwise="--yes makes them, --db and --sqlite name another database")


@make_command("migrate", examples=("llmdispatcher migrate", "llmdispatcher --db postgresql://me@host/calls migrate"))
def migrate(settings: Settings) -> int:
    """Bring the tables of a ledger up to what this version knows; many processes may do so at once, one does it.

    Every other command does the same when it opens the ledger; this one does it at a time of your choice.
    """
    with records.open_ledger(settings) as ledger:
        return _migrate(settings, ledger)


@make_command(
    "calls",
    examples=(
        "llmdispatcher calls",
        "llmdispatcher calls --status error --limit 50",
        "llmdispatcher calls 0193a5f2c1d84e0fa0b1c2d3e4f50617",
    ),
    codes="0 ok, 1 there is no such call, 2 wrong usage, 130 interrupted",
)
@click.argument("call_id", required=False, metavar="[ID]", help="One call, with all its attempts.")
@click.option(
    "-n", "--limit", type=WholeNumber(1, 10_000), default=20, show_default=True, metavar="N", help="The number of rows at most."
)
@click.option("--before", metavar="ID", help="Only calls before this one, for the next page.")
@click.option("--status", type=OneOf(_STATUSES), help="Only calls with this status.")
@records.with_filters
def calls(settings: Settings, **given: Any) -> int:
    """List the latest calls of the ledger, the latest first, or show one in full. The ledger holds neither prompts nor answers."""
    if given["call_id"]:
        return _show_call(settings, given["call_id"])
    with records.open_ledger(settings) as ledger:
        found = ledger.list_recent_calls(limit=given["limit"], **records.filters_of(given, "status", "before"))
    heads = ("call", "begun (UTC)", "model", "status", "tokens in", "tokens out", "US$", "seconds")
    costs, _ = money_cells([call.cost for call in found])
    rows = [_row(call, cost) for call, cost in zip(found, costs, strict=True)]
    spare = ("seconds", "tokens out", "tokens in")
    if not print_records(settings, [call.as_dict() for call in found], heads, rows, spare=spare):
        say(f"llmdispatcher: there is no call like that{records.similar(given)}")
    return OK


def _show_call(settings: Settings, call_id: str) -> int:
    with records.open_ledger(settings) as ledger:
        call, attempts = ledger.get_call(call_id), ledger.get_attempts(call_id)
    if call is None:
        complain(f"{call_id}: there is no such call; `llmdispatcher calls` lists the latest")
        return FAILED
    record = call.as_dict()
    if settings.json:
        tell_json(record | {"attempt_records": [one.as_dict() for one in attempts]})
        return OK
    for name, value in record.items():
        if value not in (None, {}, False):
            shown = dollars(call.cost) if name == "cost" else value
            tell(f"{name.replace('_', ' '):<22} {shown}")
    if attempts:
        heads = ("attempt", "model", "status", "error", "http", "US$", "seconds")
        costs, _ = money_cells([one.cost for one in attempts])
        rows = [_attempt_row(one, cost) for one, cost in zip(attempts, costs, strict=True)]
        print_rows(heads, rows, no_color=settings.no_color, whole=("attempt", "model"), spare=("seconds", "http"))
    return OK


def _row(call: LedgerCall, cost: str) -> tuple[str, ...]:
    model = f"{call.vendor}:{call.model}" if call.vendor else call.model
    tokens = cell(call.input_tokens, ","), cell(call.output_tokens, ",")
    return call.id, f"{call.begun_at:%Y-%m-%d %H:%M:%S}", model, call.status, *tokens, cost, cell(call.latency, ".2f")


def _attempt_row(one: LedgerAttempt, cost: str) -> tuple[str, ...]:
    model, seconds = f"{one.vendor}:{one.model}", cell(one.latency, ".2f")
    return str(one.number), model, one.status, one.error_class or "–", cell(one.http_status), cost, seconds


@make_command(
    "export", examples=("llmdispatcher export calls.jsonl", "llmdispatcher export --start 2026-11-01 --format csv > calls.csv")
)
@click.argument("file", type=FILE, required=False, metavar="[FILE]", help="Where to; else stdout.")
@click.option("--format", type=OneOf(["jsonl", "json", "csv", "parquet"]), help="Else by the file's suffix; jsonl if it has none.")
@click.option("--attempts", is_flag=True, help="Write the attempts, too, in the JSON formats.")
@OVERWRITE
@records.with_filters
def export_calls(settings: Settings, **given: Any) -> int:
    """Write the calls that have ended, the oldest first; a file is readable by its owner alone.

    `llmdispatcher import` reads such files. In CSV, text that a spreadsheet would take for a formula is quoted.
    """
    file = given["file"]
    if file is None and given["format"] == "parquet":
        raise UsageError("--format parquet: it cannot go through a pipe; name a FILE")
    with records.open_ledger(settings) as ledger:
        if file is not None and not may_write(file, force=given["force"]):
            return FAILED
        target = sys.stdout if file is None else file
        try:
            report = ledger.export_usage_logs(target, given["format"], attempts=given["attempts"], **records.filters_of(given))
        except InvalidRequest as error:
            raise UsageError(error.message) from None
    if settings.json and file is not None:
        tell_json({"file": str(file), "calls": report.rows})
    elif not settings.quiet:
        say(f"{report.rows:,} calls{f' in {file}' if file is not None else ''}")
    return OK


@make_command(
    "import",
    examples=("llmdispatcher import calls.jsonl", "llmdispatcher --db postgresql://me@host/calls import calls.csv"),
    codes="0 ok, 1 some rows are no calls (the rest was taken in), 2 wrong usage, 130 interrupted (run it again)",
)
@click.argument("file", type=FILE, help="JSON Lines, JSON, CSV or Parquet, as `export` writes them or llmring has logged them.")
@click.option("--format", type=OneOf(["jsonl", "json", "csv", "parquet"]), help="Else by the file's suffix, else by its content.")
def import_calls(settings: Settings, file: Path, format: str | None) -> int:
    """Add calls to the ledger, each once, however often they are imported."""
    if not file.is_file():
        raise UsageError(f"{file}: No such file")
    with records.open_ledger(settings, make=True) as ledger:
        report = ledger.import_usage_logs(file, format)
    for problem in report.problems[:_MOST_TOLD]:
        complain(f"{file}:{problem.line}: {problem.reason}")
    print_result(
        settings,
        attrs.asdict(report),
        f"{report.imported:,} calls taken in, {report.known:,} were known, {report.failed:,} are not calls",
        say,
    )
    return FAILED if report.failed else OK


@make_command(
    "prune",
    examples=(
        "llmdispatcher prune --older-than 90d --dry-run",
        "llmdispatcher prune --older-than 2026-01-01",
        "llmdispatcher --db postgresql://me@host/calls prune --older-than 52w --yes",
    ),
)
@click.option("--older-than", required=True, metavar="AGE|DAY", help="An age (90d, 12w, 48h), or a day such as 2026-01-01.")
@click.option("--dry-run", is_flag=True, help="Count what would be deleted, and delete nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def prune(settings: Settings, older_than: str, dry_run: bool, yes: bool) -> int:
    """Delete the calls and attempts of all days (UTC) before an age or a day. The sums by day stay.

    Asks before it deletes. Calls of those days cannot be imported any more.
    """
    with records.open_ledger(settings) as ledger:
        try:
            report = ledger.prune(older_than, dry_run=True)
        except InvalidRequest as error:
            raise UsageError(f"--older-than: {error.message.removeprefix('older_than: ')}") from None
        what = f"{report.calls:,} calls and {report.attempts:,} attempts from before {report.before:%Y-%m-%d} UTC"
        if not dry_run and report.calls:
            if not (yes or confirm(f"Delete {what} in {ledger.address.shown}", otherwise=_DELETES)):
                return FAILED
            report = ledger.prune(older_than)
            what = f"{report.calls:,} calls and {report.attempts:,} attempts from before {report.before:%Y-%m-%d} UTC"
    print_result(
        settings,
        attrs.asdict(report) | {"before": report.before.isoformat()},
        f"{what}: {'would be deleted' if dry_run else 'deleted'}",
    )
    return OK


@make_command(
    "erase-user",
    examples=("llmdispatcher erase-user ann@example.com --dry-run", "llmdispatcher erase-user ann@example.com"),
)
@click.argument("user", help="The user as the requests named it.")
@click.option("--dry-run", is_flag=True, help="Count what would be erased, and change nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def erase_user(settings: Settings, user: str, dry_run: bool, yes: bool) -> int:
    """Erase a user from the ledger: calls stay for the sums, without user, id_at_origin and metadata.

    Asks before it changes anything, and tells what cannot be erased: receipts are signed, and exports, logs and caches are not in
    the ledger.
    """
    with records.open_ledger(settings) as ledger:
        try:
            report = ledger.erase_user(user, dry_run=True)
        except InvalidRequest as error:
            raise UsageError(error.message) from None
        what = f"{report.calls:,} calls and {report.accounts:,} accounts of budgets"
        if not dry_run and (report.calls or report.days or report.accounts):
            if not (yes or confirm(f"Erase {plain(user)} from {what} in {ledger.address.shown}", otherwise=_DELETES)):
                return FAILED
            report = ledger.erase_user(user)
    if settings.json:
        tell_json(attrs.asdict(report))
        return OK
    if not settings.quiet:
        tell(f"{what}: {'would be erased' if dry_run else 'erased'}")
        for text in report.left:
            say(f"not erased: {text}")
    return OK
