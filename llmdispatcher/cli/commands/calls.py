"""``calls``: list the latest calls, or show one with its attempts."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from ...types import dollars_text
from .. import records
from ..options import make_command
from ..settings import Settings
from ..tables import cell, print_records, print_rows
from ..terminal import FAILED, OK, complain, tell, tell_json

if TYPE_CHECKING:
    from ...accounting import LedgerAttempt, LedgerCall


_STATUSES = ("open", "success", "error", "timeout", "rate_limited", "cancelled", "unknown")


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
    "-n", "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, metavar="N", help="The number of rows at most."
)
@click.option("--before", metavar="ID", help="Only calls before this one, for the next page.")
@click.option("--status", type=click.Choice(_STATUSES), help="Only calls with this status.")
@records.with_filters
def command(settings: Settings, **given: Any) -> int:
    """List the latest calls of the ledger, the latest first, or show one in full. The ledger holds neither prompts nor answers."""
    if given["call_id"]:
        return _show_call(settings, given["call_id"])
    with records.open_ledger(settings) as ledger:
        found = ledger.list_recent_calls(limit=given["limit"], **records.filters_of(given, "status", "before"))
    heads = ("call", "begun (UTC)", "model", "status", "tokens in", "tokens out", "US$", "seconds")
    if not print_records(settings, [call.as_dict() for call in found], heads, [_row(call) for call in found]):
        tell("there is no call like that")
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
            tell(f"{name.replace('_', ' '):<22} {value}")
    if attempts:
        heads = ("attempt", "model", "status", "error", "http", "US$", "seconds")
        print_rows(heads, [_attempt_row(one) for one in attempts], no_color=settings.no_color)
    return OK


def _row(call: LedgerCall) -> tuple[str, ...]:
    model = f"{call.vendor}:{call.model}" if call.vendor else call.model
    tokens = cell(call.input_tokens, ","), cell(call.output_tokens, ",")
    cost, seconds = _dollars(call.cost), cell(call.latency, ".2f")
    return call.id, f"{call.begun_at:%Y-%m-%d %H:%M:%S}", model, call.status, *tokens, cost, seconds


def _attempt_row(one: LedgerAttempt) -> tuple[str, ...]:
    model, cost, seconds = f"{one.vendor}:{one.model}", _dollars(one.cost), cell(one.latency, ".2f")
    return str(one.number), model, one.status, one.error_class or "–", cell(one.http_status), cost, seconds


def _dollars(amount: Decimal | None) -> str:
    return "–" if amount is None else dollars_text(amount, 6)
