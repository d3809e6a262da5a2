"""Receipts of calls that never were: in memory for what needs no database, and in a ledger of each kind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import insert

from llmdispatcher import Ledger, Receipt, Receipts, SigningKey
from llmdispatcher.accounting.ledger.schema import calls
from llmdispatcher.accounting.receipts import receipts as making
from llmdispatcher.accounting.receipts.receipt import sign_document
from llmdispatcher.accounting.receipts.receipts import label_fields
from llmdispatcher.accounting.receipts.rows import facts_of, row_digest
from llmdispatcher.accounting.receipts.verify import CertifiedCall

NOON = datetime(2026, 11, 21, 12, 0, 0, 250_000, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def call_row(number: int, **facts: Any) -> dict[str, Any]:
    """A settled call in which no column is empty."""
    begun = NOON + timedelta(seconds=number)
    row = {
        "id": f"{(begun - datetime(1970, 1, 1, tzinfo=UTC)) // MICROSECOND:016x}{number:016x}",
        "begun_at": begun,
        "ended_at": begun + timedelta(seconds=1, microseconds=7),
        "origin": "shop",
        "id_at_origin": f"order-{number}",
        "user": "ann",
        "alias": "fast" if number % 2 else "deep",
        "profile": "default",
        "vendor": "openai" if number % 3 else "anthropic",
        "model": "gpt-4o" if number % 3 else "claude-opus-4-1",
        "status": "success",
        "error_class": "RateLimitError",
        "input_tokens": 100 + number,
        "output_tokens": 50,
        "cache_read_tokens": 8,
        "cache_write_tokens": 7,
        "cache_write_long_tokens": 6,
        "reasoning_tokens": 5,
        "audio_input_tokens": 4,
        "audio_output_tokens": 3,
        "cost": Decimal("0.000123456789") * (number + 1),
        "cost_status": "priced",
        "price_version": "catalog 2026-11-01",
        "latency_us": 1_000_007,
        "first_token_us": 250_000,
        "streamed": True,
        "cached": False,
        "hedged": True,
        "attempts": 2,
        "metadata": {"team": "blue", "weight": 0.5},
    }
    return {**row, **facts}


class Chain:
    """A chain in memory: receipts, and the rows of the calls that they certify."""

    def __init__(self, key: SigningKey) -> None:
        self.key = key
        self.receipts: list[Receipt] = []
        self.calls: list[list[CertifiedCall]] = []
        self.now = NOON
        self._number = 0

    @property
    def documents(self) -> list[dict[str, Any]]:
        """The fields of all receipts, to be altered at will."""
        return [receipt.as_dict() for receipt in self.receipts]

    @property
    def bundles(self) -> list[dict[str, Any]]:
        """The same with the rows of their calls, as an export has them."""
        return [
            {"receipt": document, "calls": [{"call_id": one.call_id, "digest": one.digest, "row": one.facts} for one in calls]}
            for document, calls in zip(self.documents, self.calls, strict=True)
        ]

    def single(self, **facts: Any) -> Receipt:
        """A receipt of one call."""
        rows = self._rows(1, facts)
        return self._signed(making.draft_single(rows[0]).fields, rows)

    def batch(self, count: int = 3, **facts: Any) -> Receipt:
        """A receipt of several."""
        rows = self._rows(count, facts)
        chosen = making.selection_fields(
            "range", {"since": NOON, "until": NOON + timedelta(days=1), "origin": "shop", "id_at_origin": "x"}, 2
        )
        return self._signed(making.draft_batch(rows, chosen).fields, rows)

    def rotate(self, new: SigningKey) -> Receipt:
        """A rotation to another key."""
        receipt = making.rotation(self.place(), label_fields("yearly", ["keys"]), self.key, new)
        self.key = new
        return self._kept(receipt, [])

    def place(self) -> dict[str, Any]:
        """The place of the next receipt."""
        self.now += timedelta(minutes=1)
        return making.next_place(self.receipts[-1] if self.receipts else None, self.now)

    def _rows(self, count: int, facts: dict[str, Any]) -> list[dict[str, Any]]:
        self._number += count
        return [facts_of(call_row(number, **facts)) for number in range(self._number - count, self._number)]

    def _signed(self, fields: Any, rows: list[dict[str, Any]]) -> Receipt:
        words = label_fields("November", ["shop", "audit"])
        return self._kept(sign_document({**self.place(), **words, **fields}, self.key), rows)

    def _kept(self, receipt: Receipt, rows: list[dict[str, Any]]) -> Receipt:
        self.receipts.append(receipt)
        self.calls.append([CertifiedCall(facts["id"], row_digest(facts), facts) for facts in rows])
        return receipt


@pytest.fixture(scope="session")
def key() -> SigningKey:
    """A key that signs."""
    return SigningKey(bytes(range(32)))


@pytest.fixture(scope="session")
def other_key() -> SigningKey:
    """Another one."""
    return SigningKey(bytes(range(1, 33)))


@pytest.fixture
def chain(key: SigningKey) -> Chain:
    """An empty chain in memory."""
    return Chain(key)


def settle(ledger: Ledger, *numbers: int, **facts: Any) -> list[str]:
    """Write calls into a ledger; gives their ids."""
    rows = [call_row(number, **facts) for number in numbers]
    with ledger.transaction() as connection:
        connection.execute(insert(calls), rows)
    return [row["id"] for row in rows]


@pytest.fixture
def book(ledger: Ledger, key: SigningKey) -> Receipts:
    """The receipts of an empty ledger."""
    return Receipts(ledger, key)
