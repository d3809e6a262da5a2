"""``manage.py llmdispatcher health`` and ``manage.py llmdispatcher ask QUESTION``: try the project's dispatcher."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from llmdispatcher import DispatchError, Request

from ... import get_dispatcher


class Command(BaseCommand):
    """The command."""

    help = "Try the dispatcher of settings.LLMDISPATCHER."

    def add_arguments(self, parser: CommandParser) -> None:
        """Name the two actions."""
        actions = parser.add_subparsers(dest="action", required=True)
        actions.add_parser("health", help="Ask each vendor how it is; costs nothing.")
        ask = actions.add_parser("ask", help="Ask a question, and show who answers and what it costs.")
        ask.add_argument("question")
        ask.add_argument("--model", default="auto")

    def handle(self, *_: Any, **options: Any) -> None:
        """Do one of them."""
        if options["action"] == "health":
            for health in get_dispatcher().health_check().values():
                self.stdout.write(f"{health.vendor:<16} {health.status:<12} {health.detail}")
            return
        try:
            response = get_dispatcher().send(Request(options["model"], options["question"]))
        except DispatchError as error:
            raise CommandError(f"{type(error).__name__}: {error}") from None
        self.stdout.write(response.content)
        cost = f"${response.usage.cost:f}" if response.usage.cost is not None else "of unknown cost"
        self.stderr.write(f"{response.vendor}:{response.model}, {response.usage.total_tokens} tokens, {cost}")
