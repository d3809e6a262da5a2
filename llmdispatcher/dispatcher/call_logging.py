"""One line of the log for each call, and with ``attempts=True`` one for each vendor asked.

Lines go to the logger ``llmdispatcher.calls``: INFO for an answer, WARNING for a failure. Their facts are fields of the record, too
(``record.llm``), for formatters that write JSON. No prompt and no answer is among them.
"""

from __future__ import annotations

import logging
from typing import Any

from ..types import AttemptRecord, Observer, Outcome


class CallLogging(Observer):
    """An observer that logs; give it to ``Dispatcher(observers=[...])``."""

    def __init__(self, logger: logging.Logger | str = "llmdispatcher.calls", *, attempts: bool = False) -> None:
        self._logger = logging.getLogger(logger) if isinstance(logger, str) else logger
        self._attempts = attempts

    def on_attempt(self, record: AttemptRecord) -> None:
        """Log one vendor asked."""
        if self._attempts:
            self._write(record.error is None, f"attempt {record.number} of {record.call_id}: {record}", record.as_dict())

    def on_outcome(self, outcome: Outcome) -> None:
        """Log one call."""
        facts = _facts(outcome)
        told = [f"{name}={value}" for name, value in facts.items() if value not in (None, False, "")]
        self._write(outcome.error is None, " ".join(told), facts)

    def _write(self, is_good: bool, text: str, facts: dict[str, Any]) -> None:
        self._logger.log(logging.INFO if is_good else logging.WARNING, "%s", _one_line(text), extra={"llm": facts})


def _facts(outcome: Outcome) -> dict[str, Any]:
    usage, error = outcome.usage, outcome.error
    return {
        "call": outcome.call_id,
        "vendor": outcome.vendor,
        "model": outcome.model,
        "alias": outcome.alias,
        "origin": outcome.origin,
        "user": outcome.user,
        "seconds": round(outcome.latency, 3),
        "first_token": round(outcome.first_token, 3) if outcome.first_token is not None else None,
        "streamed": outcome.streamed,
        "cached": outcome.cached,
        "attempts": len(outcome.attempts),
        "input_tokens": usage.input_tokens if usage is not None else None,
        "output_tokens": usage.output_tokens if usage is not None else None,
        "cost": f"{outcome.cost:f}" if outcome.cost is not None else None,
        "error": type(error).__name__ if error is not None else None,
        "status": error.status if error is not None else None,
        "retry_after": error.retry_after if error is not None else None,
    }


def _one_line(text: str) -> str:
    """The text with everything that could begin a line, or move a cursor, as escapes."""
    return "".join([one if one.isprintable() else one.encode("unicode_escape").decode() for one in text])
