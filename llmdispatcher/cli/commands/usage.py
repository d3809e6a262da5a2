"""``usage``: show what was used and what it cost, as a table, a sparkline, or a picture."""

from __future__ import annotations

import csv
import itertools
import math
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..._text import escaped
from .. import records, values
from ..options import COUNT, FILE, OVERWRITE, OneOf, make_command
from ..plots import Plot, check_picture
from ..settings import Settings
from ..tables import cell, drawable, money_cells, print_rows, tell_wrapped, terminal_width
from ..terminal import FAILED, OK, UsageError, may_write, plain, say, tell, tell_json
from .ask import dollars

if TYPE_CHECKING:
    from ...accounting import UsageBucket, UsageStats

_BARS = "▁▂▃▄▅▆▇█"


def sparkline(amounts: Sequence[Decimal], width: int) -> str:
    """Draw a bar for each amount, from 0 to the greatest; more amounts than *width* are drawn as the means of equal shares."""
    count = min(len(amounts), width)
    edges = [place * len(amounts) // count for place in range(count + 1)] if count else []
    heights = [float(sum(amounts[begin:end])) / (end - begin) for begin, end in itertools.pairwise(edges)]
    most = max([0.0, *heights]) or 1.0
    return "".join([_BARS[math.ceil(max(0.0, height) / most * (len(_BARS) - 1))] for height in heights])


_PERIODS = ("day", "week", "month")
_BY = ("model", "vendor", "origin", "alias", "user", "tag")


@make_command(
    "usage",
    examples=(
        "llmdispatcher usage",
        "llmdispatcher usage --days 7 --by user",
        "llmdispatcher usage --group-by month --start 2026-01-01 --csv > usage.csv",
        "llmdispatcher usage --by vendor --group-by day --plot usage.svg",
        "llmdispatcher usage --by model --json",
    ),
)
@click.option(
    "--days",
    type=COUNT,
    default=30,
    show_default=True,
    metavar="N",
    help="The last N days, without --start and --end.",
)
@click.option("--group-by", type=OneOf(_PERIODS), help="A line for each period.")
@click.option("--by", type=OneOf(_BY), help="A line for each value of this.  [default: model, without --group-by]")
@records.with_filters
@click.option(
    "--timezone",
    default="UTC",
    show_default=True,
    metavar="ZONE",
    shell_complete=values.ZONE,
    help="The time zone of the days, such as Europe/Zurich.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option(
    "--plot",
    type=FILE,
    metavar="FILE",
    help="Draw the cost over time, a line for each value of --by; .svg, or .png with the extra `plot`.",
)
@OVERWRITE
def command(settings: Settings, **given: Any) -> int:
    """Show the number of calls, their tokens and their cost, from the ledger.

    On a terminal a row of bars shows the cost of each day. Calls without a known price cost 0 here, and their number is shown.
    """
    by = given["by"] or (None if given["group_by"] else "model")
    asked = records.filters_of(given) | {"days": given["days"], "timezone": given["timezone"]}
    picture: Path | None = given["plot"]
    if picture is not None:
        check_picture(picture)
        if not may_write(picture, force=given["force"]):
            return FAILED
    with records.open_ledger(settings) as ledger:
        stats = ledger.get_usage_stats(**asked, group_by=given["group_by"], by=by)
        period = given["group_by"] or "day"
        drawn = picture is not None or sys.stdout.isatty()
        course = ledger.get_usage_stats(**asked, group_by=period) if drawn else stats
        series = ledger.get_usage_stats(**asked, group_by=period, by=by or "model") if picture is not None else stats
    if picture is not None:
        if not series.buckets:
            raise UsageError("--plot: no call matches, so there is nothing to draw; choose other filters")
        _plot_of(series, course).draw(picture)
        if not settings.quiet:
            say(f"drawn: {picture}")
    if settings.json:
        tell_json(stats.as_dict())
    elif given["as_csv"]:
        _write_csv(stats)
    else:
        _show(stats, course, settings, given)
    return OK


def _show(stats: UsageStats, course: UsageStats, settings: Settings, given: Mapping[str, Any]) -> None:
    heads = [str(head) for head in (stats.group_by, stats.by) if head]
    heads += ["calls", "failed", "tokens in", "tokens out", "US$", "seconds"]
    costs, total = money_cells([bucket.total_cost for bucket in stats.buckets])
    rows = [_row(bucket, stats, cost) for bucket, cost in zip(stats.buckets, costs, strict=True)]
    if rows:
        spare = ("seconds", "failed", "tokens out", "tokens in")
        print_rows(heads, rows, no_color=settings.no_color, whole=heads[: heads.index("calls")], spare=spare)
    if sys.stdout.isatty() and course.total_calls:
        bars = sparkline([bucket.total_cost for bucket in course.buckets], width=min(60, terminal_width() - 16))
        tell(drawable(f"{bars}  US$ by {course.group_by}"))
    tell_wrapped(closing(stats, total if rows else None))
    if not rows and (hint := records.similar(given)):
        say(f"llmdispatcher: there is no call like that{hint}")


def closing(stats: UsageStats, cost: str | None = None) -> str:
    """Return one sentence about the whole span, with the cost as it is in a table if given."""
    parts = [
        f"{stats.total_calls:,} calls",
        f"{stats.input_tokens:,} tokens in, {stats.output_tokens:,} out",
        f"US$ {cost}" if cost is not None else dollars(stats.total_cost),
    ]
    parts += [f"{stats.unpriced_calls:,} without a known price"] if stats.unpriced_calls else []
    parts += [] if stats.complete else ["a part of it was deleted by retention"]
    last = stats.end - timedelta(microseconds=1)  # the end itself does not belong to the span
    return f"{stats.start:%Y-%m-%d} to {last:%Y-%m-%d} ({stats.timezone}): {'; '.join(parts)}"


def _row(bucket: UsageBucket, stats: UsageStats, cost: str) -> list[str]:
    names = [bucket.period or ""] if stats.group_by else []
    names += [plain(bucket.value or "–")] if stats.by else []
    failed = bucket.total_calls - bucket.successful_calls
    return [*names, f"{bucket.total_calls:,}", f"{failed:,}", f"{bucket.input_tokens:,}", f"{bucket.output_tokens:,}",
            cost, cell(bucket.average_latency, ".2f")]  # fmt: skip


def _write_csv(stats: UsageStats) -> None:
    rows = [bucket.as_dict() for bucket in stats.buckets]
    heads = list(rows[0]) if rows else ["period", "value", "total_calls", "total_cost"]
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(heads)
    table.writerows([[_cell(row[head]) for head in heads] for row in rows])


def _cell(value: Any) -> Any:
    """Quote what a spreadsheet would take for a formula, and escape what would control a terminal."""
    if isinstance(value, str) and sys.stdout.isatty():
        value = escaped(value)
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _plot_of(stats: UsageStats, course: UsageStats) -> Plot:
    """The picture: ``stats`` by period and value, ``course`` by period alone, which has all periods."""
    places = {bucket.period or "": place for place, bucket in enumerate(course.buckets)}
    series: dict[str, list[Decimal]] = {}
    for bucket in stats.buckets:
        amounts = series.setdefault(bucket.value or f"no {stats.by}", [Decimal(0)] * len(places))
        if bucket.period in places:  # a new day may have begun between the two questions
            amounts[places[bucket.period]] += bucket.total_cost
    period = str(course.group_by)
    return Plot(
        title=f"Cost of calls by {stats.by}",
        subtitle=closing(course),
        axis=f"{period} ({stats.timezone})",
        unit=f"US$ per {period}",
        periods=list(places),
        series=series,
    )
