"""What a verification found, as values: every single thing that is wrong, and where."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs

from .receipt import ReceiptAnchor

PROBLEMS = {
    "form": "a field is missing, unknown or malformed",
    "sum": "a field does not follow from the others",
    "unknown_key": "it is signed with a key that nobody vouches for",
    "wrong_key": "it is signed with another key than the chain's at this place",
    "signature": "the signature does not fit the content",
    "ledger": "it belongs to another ledger's chain",
    "missing": "a sequence number is not there",
    "duplicate": "a sequence number or an id is there twice",
    "order": "it stands behind a later one",
    "previous": "it does not follow the receipt before it",
    "anchor": "the chain is not the one whose head was noted",
    "stored": "the ledger has it otherwise, or not at all",
    "call_altered": "a call's row is not as it was certified",
    "call_missing": "a call's row is gone",
    "calls_digest": "the list of certified calls is not the one that was signed",
    "summary": "the calls come to something else",
}
"""The codes of problems, and what they mean."""

WARNINGS = {
    "clock_back": "it has an earlier time than the receipt before it",
    "took_over": "its key took over without a word of the one before",
    "calls_pruned": "rows of its calls were deleted by retention, and cannot be compared any more",
}
"""The codes of warnings: what may be in order."""


@attrs.frozen(kw_only=True)
class Problem:
    """One thing that is wrong. ``code`` is one of :data:`PROBLEMS` or :data:`WARNINGS`; where it is: whichever of the others apply.

    ``sequence`` and ``receipt_id`` are as the receipt says them, ``position`` counts receipts as they came, from 1; ``field`` is a
    path such as ``"summary.total_cost"``, ``call_id`` a row.
    """

    code: str
    text: str
    position: int | None = None
    sequence: int | None = None
    receipt_id: str | None = None
    field: str | None = None
    call_id: str | None = None

    def __str__(self) -> str:
        where = [f"sequence {self.sequence}" if self.sequence is not None else f"receipt {self.position}" if self.position else ""]
        where += [f"call {self.call_id}" if self.call_id else "", self.field or ""]
        return ": ".join([part for part in (*where, self.text) if part])


@attrs.frozen(kw_only=True)
class ReceiptVerification:
    """The end of a verification: it is ``valid``, and true as a boolean, where there is no problem.

    ``receipts`` and ``calls`` count what was looked at; ``calls`` is 0 where only receipts were given. ``warnings`` are what may be
    in order: a clock that went back, a key that took over. ``head`` is the last receipt's anchor, to be noted outside.
    """

    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()
    receipts: int
    calls: int = 0
    head: ReceiptAnchor | None = None

    @property
    def valid(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def __bool__(self) -> bool:
        return self.valid

    def __str__(self) -> str:
        counts = f"{self.receipts:,} receipts and {self.calls:,} calls" if self.calls else f"{self.receipts:,} receipts"
        if self.valid:
            return f"{counts}: valid"
        codes = ", ".join(f"{code} {count}" for code, count in Counter(one.code for one in self.problems).items())
        return "\n".join([f"{counts}: NOT valid ({codes})", *map(str, self.problems)])

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON can hold it."""
        return {
            "valid": self.valid,
            "algorithm": "Ed25519",
            "receipts": self.receipts,
            "calls": self.calls,
            "head": str(self.head) if self.head is not None else None,
            "problems": [attrs.asdict(one) for one in self.problems],
            "warnings": [attrs.asdict(one) for one in self.warnings],
        }
