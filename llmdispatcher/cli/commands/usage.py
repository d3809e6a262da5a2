"""``usage``: what was used, and what it cost."""

from __future__ import annotations

import csv
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...sparkline import sparkline
from .. import picture, records
from ..options import COUNT, WRITABLE, a_command
from ..settings import Settings
from ..speaking import dollars
from ..tables import print_rows
from ..terminal import OK, UsageError, plain, say

if TYPE_CHECKING:
    from ...ledger.figures import UsageBucket, UsageStats

_PERIODS = ("day", "week", "month")
_BY = ("model", "vendor", "origin", "alias", "user")


@a_command(
    "usage",
    examples=(
        "llmdispatcher usage",
        "llmdispatcher usage --days 7 --by user",
        "llmdispatcher usage --group-by month --start 2026-01-01 --csv > usage.csv",
        "llmdispatcher usage --group-by day --plot usage.svg",
        "llmdispatcher usage --by model --json",
    ),
)
@click.option("--days", type=COUNT, default=30, show_default=True, metavar="N", help="The last N days, without --start and --end.")
@click.option("--group-by", type=click.Choice(_PERIODS), help="A line for each period.")
@click.option("--by", type=click.Choice(_BY), help="A line for each of these.  [default: model, without --group-by]")
@records.with_filters
@click.option("--timezone", default="UTC", show_default=True, metavar="ZONE", help="Whose days they are, such as Europe/Zurich.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--plot", type=WRITABLE, metavar="FILE", help="Draw the cost of each period; .svg, or .png with the extra `plot`.")
def command(settings: Settings, **given: Any) -> int:
    """Tell how many calls there were, their tokens and their cost, from the ledger.

    On a terminal a row of bars shows the cost of each day. Calls whose price is not known count as 0, and are counted.
    """
    by = given["by"] or (None if given["group_by"] else "model")
    asked = records.chosen(given) | {"days": given["days"], "timezone": given["timezone"]}
    if given["plot"] is not None:
        picture.check(given["plot"])
    with records.opened(settings) as ledger:
        stats = ledger.get_usage_stats(**asked, group_by=given["group_by"], by=by)
        drawn = given["plot"] is not None or sys.stdout.isatty()
        course = ledger.get_usage_stats(**asked, group_by=given["group_by"] or "day") if drawn else stats
    if given["plot"] is not None:
        _draw(given["plot"], course, settings)
    if settings.json:
        print(json.dumps(stats.as_dict(), indent=2))
    elif given["as_csv"]:
        _write_csv(stats)
    else:
        _show(stats, course, settings)
    return OK


def _show(stats: UsageStats, course: UsageStats, settings: Settings) -> None:
    heads = [head for head, wanted in ((stats.group_by, stats.group_by), (stats.by, stats.by)) if wanted]
    heads += ["calls", "failed", "tokens in", "tokens out", "US$", "seconds"]
    rows = [_row(bucket, stats) for bucket in stats.buckets]
    if rows:
        print_rows([str(head) for head in heads], rows, no_color=settings.no_color)
    if sys.stdout.isatty() and course.buckets:
        print(f"{sparkline([bucket.total_cost for bucket in course.buckets], width=60)}  US$ by {course.group_by}")
    print(closing(stats))


def closing(stats: UsageStats) -> str:
    """The span in one sentence."""
    parts = [
        f"{stats.total_calls:,} calls",
        f"{stats.input_tokens:,} tokens in, {stats.output_tokens:,} out",
        dollars(stats.total_cost),
    ]
    parts += [f"{stats.unpriced_calls:,} without a known price"] if stats.unpriced_calls else []
    parts += [] if stats.complete else ["a part of it was deleted by retention"]
    last = stats.end - timedelta(microseconds=1)  # the end itself does not belong to the span
    return f"{stats.start:%Y-%m-%d} to {last:%Y-%m-%d} ({stats.timezone}): {'; '.join(parts)}"


def _row(bucket: UsageBucket, stats: UsageStats) -> list[str]:
    names = [bucket.period or ""] if stats.group_by else []
    names += [plain(bucket.value or "–")] if stats.by else []
    seconds = "–" if bucket.average_latency is None else f"{bucket.average_latency:.2f}"
    failed = bucket.total_calls - bucket.successful_calls
    return [*names, f"{bucket.total_calls:,}", f"{failed:,}", f"{bucket.input_tokens:,}", f"{bucket.output_tokens:,}",
            f"{bucket.total_cost:.4f}", seconds]  # fmt: skip


def _write_csv(stats: UsageStats) -> None:
    rows = [bucket.as_dict() for bucket in stats.buckets]
    heads = list(rows[0]) if rows else ["period", "value", "total_calls", "total_cost"]
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(heads)
    table.writerows([[_cell(row[head]) for head in heads] for row in rows])


def _cell(value: Any) -> Any:
    """A value that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _draw(path: Path, course: UsageStats, settings: Settings) -> None:
    if not course.buckets:
        raise UsageError("--plot: there is nothing to draw, no call is like that")
    points = [(bucket.period or "", bucket.total_cost) for bucket in course.buckets]
    picture.draw(path, points, title=closing(course))
    if not settings.quiet:
        say(f"drawn: {path}")
