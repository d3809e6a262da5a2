"""The end of a run as people and programs read it: per vendor and in all."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
from rich.box import SIMPLE
from rich.table import Table

from ..stats import Stats, VendorStats
from .settings import Settings
from .tables import console

_HEADS = ("vendor", "calls", "errors", "retries", "fail-\novers", "p50\ns", "p95\ns", "tokens\nin", "tokens\nout", "US$")
_CAPTION = "failovers: calls that came to this vendor because another had failed"


@attrs.frozen(kw_only=True)
class Tally:
    """One run in numbers; ``seconds`` is wall time, ``before`` those of the answered that an earlier run had asked."""

    stats: Stats
    vendors: tuple[str, ...]
    prompts: int
    answered: int
    before: int = 0
    failed: int
    seconds: float
    answers: Path

    @property
    def rate(self) -> float:
        """Prompts settled a second."""
        return (self.answered - self.before + self.failed) / self.seconds if self.seconds else 0.0


def print_table(tally: Tally, settings: Settings) -> None:
    """The table, the errors by class and the closing line, on stdout."""
    console(settings).print(_table(tally))
    for name, stats in tally.stats.vendor_stats.items():
        if stats.errors:
            print(f"{name}: {', '.join(f'{count} × {error}' for error, count in sorted(stats.errors.items()))}")
    print(closing(tally))


def closing(tally: Tally) -> str:
    """The run in one sentence."""
    missing = tally.prompts - tally.answered - tally.failed
    parts = [f"{tally.answered} of {tally.prompts} prompts answered{_before(tally)}", f"{tally.failed} failed"]
    parts += [f"{missing} not asked to the end"] if missing else []
    return (
        f"{', '.join(parts)}; {tally.seconds:.1f} s, {tally.rate:.1f} calls/s, US$ {_dollars(tally.stats.total_cost)}; "
        f"answers in {tally.answers}"
    )


def _before(tally: Tally) -> str:
    return f" ({tally.before} of them before)" if tally.before else ""


def as_json(tally: Tally) -> dict[str, Any]:
    """The same for programs; money is a text, so that it stays exact."""
    return {
        "prompts": tally.prompts,
        "answered": tally.answered,
        "answered_before": tally.before,
        "failed": tally.failed,
        "seconds": round(tally.seconds, 3),
        "calls_per_second": round(tally.rate, 2),
        "answers": str(tally.answers),
        "stats": attrs.asdict(tally.stats),
    }


def _table(tally: Tally) -> Table:
    # Without lines between the columns it fits into the 80 of a plain terminal.
    table = Table(show_footer=True, box=SIMPLE, pad_edge=False, collapse_padding=True, caption=_CAPTION, caption_justify="left")
    for head, foot in zip(_HEADS, _footer(tally), strict=True):
        table.add_column(head, foot, justify="left" if head == "vendor" else "right")
    for name in tally.vendors:
        table.add_row(*_row(name, tally.stats.vendor_stats.get(name, VendorStats())))
    return table


def _row(name: str, stats: VendorStats) -> tuple[str, ...]:
    counts = (stats.requests, stats.failures, stats.retries, stats.failovers)
    return name, *map(str, counts), *_latencies(stats, stats.successes), *_spent(stats)


def _footer(tally: Tally) -> tuple[str, ...]:
    stats = tally.stats
    vendors = stats.vendor_stats.values()
    counts = (sum(one.requests for one in vendors), sum(one.failures for one in vendors), stats.retries, stats.failovers)
    return "all", *map(str, counts), *_latencies(stats, stats.successful_requests), *_spent(stats)


def _spent(stats: Stats | VendorStats) -> tuple[str, str, str]:
    return f"{stats.input_tokens:,}", f"{stats.output_tokens:,}", _dollars(stats.total_cost)


def _latencies(stats: Stats | VendorStats, answered: int) -> tuple[str, str]:
    if not answered:
        return "–", "–"
    return f"{stats.p50_latency:.2f}", f"{stats.p95_latency:.2f}"


def _dollars(amount: Decimal) -> str:
    return f"{amount:.4f}"
