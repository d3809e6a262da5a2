"""``manage.py llmdispatcher``: try the project's dispatcher, show usage, and keep its ledger.

``health`` asks the vendors how they are, ``ask QUESTION`` tries one question; ``usage`` shows sums, ``migrate_ledger`` brings the
ledger's tables up to date, and ``prune`` deletes the rows of old calls.
"""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from llmdispatcher import DispatchError, Request
from llmdispatcher.types import dollars_text

from ... import get_dispatcher, get_ledger


def _days(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a number of days \u2265 1")
    return int(text)


class Command(BaseCommand):
    """The command."""

    help = "Try the dispatcher of settings.LLMDISPATCHER, show usage, and keep its ledger."

    def add_arguments(self, parser: CommandParser) -> None:
        """Name the actions."""
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("health", help="Ask each vendor how it is; costs nothing.")
        ask = actions.add_parser("ask", help="Ask a question, and show who answers and what it costs.")
        ask.add_argument("question")
        ask.add_argument("--model", default="auto")
        ask.add_argument("--max-tokens", type=int, help="the most of the answer's tokens; a budget reserves for all of them")
        usage = actions.add_parser("usage", help="Show what was used and what it cost.")
        usage.add_argument("--days", type=_days, default=30, help="so many days, today among them (30)")
        usage.add_argument("--by", choices=("day", "model", "vendor", "user", "origin", "alias"), default="model")
        usage.add_argument("--origin", help="of one origin; all are shown without it")
        actions.add_parser("migrate_ledger", help="Bring the ledger's tables up to date.")
        prune = actions.add_parser("prune", help="Delete the rows of old calls; the sums of their days stay.")
        prune.add_argument("--older-than", type=_days, required=True, metavar="DAYS")

    def handle(self, *_: Any, **options: Any) -> None:
        """Do one of them."""
        try:
            getattr(self, f"_{options['action']}")(options)
        except DispatchError as error:
            raise CommandError(f"{type(error).__name__}: {error}") from None

    def _health(self, _options: dict[str, Any]) -> None:
        for health in get_dispatcher().health_check().values():
            self.stdout.write(f"{health.vendor:<16} {health.status:<12} {health.detail}")

    def _ask(self, options: dict[str, Any]) -> None:
        response = get_dispatcher().send(Request(options["model"], options["question"], max_tokens=options["max_tokens"]))
        self.stdout.write(response.content)
        cost = f"${response.usage.cost:f}" if response.usage.cost is not None else "of unknown cost"
        self.stderr.write(f"{response.vendor}:{response.model}, {response.usage.total_tokens} tokens, {cost}")
        ledger = get_dispatcher().ledger
        if ledger is not None:
            ledger.flush()

    def _usage(self, options: dict[str, Any]) -> None:
        by = {"group_by": "day"} if options["by"] == "day" else {"by": options["by"]}
        stats = get_ledger().get_usage_stats(options["origin"], days=options["days"], **by)
        rows = [(one.value if one.value is not None else one.period, one) for one in stats.buckets if one.total_calls]
        self.stderr.write(f"{options['by']:<32} {'calls':>8} {'input':>12} {'output':>12} {'US$':>12}")
        self.stderr.flush()  # a terminal shows the heads above their columns; a pipe gets the rows alone
        for name, figures in [*rows, ("total", stats)]:
            tokens = f"{figures.input_tokens:>12} {figures.output_tokens:>12}"
            self.stdout.write(f"{name or '(none)':<32} {figures.total_calls:>8} {tokens} {dollars_text(figures.total_cost):>12}")

    def _migrate_ledger(self, _options: dict[str, Any]) -> None:
        self.stdout.write(f"the ledger's tables are at {get_ledger().migrate()}")

    def _prune(self, options: dict[str, Any]) -> None:
        report = get_ledger().prune(timedelta(days=options["older_than"]))
        self.stdout.write(f"{report.calls} calls deleted")
