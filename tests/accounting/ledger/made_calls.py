"""Calls that nobody made, for tests: rows as the table has them, and how they get into a ledger with its sums."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from llmdispatcher import Ledger
from llmdispatcher.accounting.ledger.schema import attempts, calls
from llmdispatcher.accounting.ledger.usage import add_rows
from llmdispatcher.accounting.units import STATUSES, TOKENS

MODELS = (("openai", "gpt-4o"), ("azure", "gpt-4o"), ("anthropic", "claude-haiku-4-5"), ("ollama", "llama3:8b"), (None, "nobody"))


def made(chance: Random, begun_at: datetime, **facts: Any) -> dict[str, Any]:
    """One call like any other, with some facts given."""
    vendor, model = chance.choice(MODELS)
    status = chance.choice([*STATUSES, *["success"] * 9])
    ended = status != "open"
    row = {
        "id": f"{chance.getrandbits(128):032x}",
        "begun_at": begun_at,
        "ended_at": begun_at + timedelta(microseconds=chance.randrange(10**7)) if ended else None,
        "origin": chance.choice([None, "shop", "bücher", "'; DROP TABLE calls; --"]),
        "id_at_origin": chance.choice([None, None, "order 1", "order 2"]),
        "user": chance.choice([None, "ada", "grace", "*"]),
        "alias": chance.choice([None, "summarizer"]),
        "profile": chance.choice([None, "prod"]),
        "vendor": vendor,
        "model": model,
        "status": status,
        "error_class": None if status in ("success", "open") else "VendorUnavailable",
        **{name: chance.choice([None, 0, chance.randrange(10**6)]) if ended else None for name in TOKENS},
        "cost": chance.choice([None, Decimal(0), Decimal(chance.randrange(10**13)).scaleb(-12)]) if ended else None,
        "cost_status": "priced",
        "price_version": "catalog 2026-11-01",
        "latency_us": chance.randrange(10**8) if ended and chance.random() < 0.9 else None,
        "first_token_us": chance.choice([None, chance.randrange(10**6)]) if ended else None,
        **{name: chance.random() < 0.2 for name in ("streamed", "cached", "hedged")},
        "attempts": chance.randrange(4),
        "metadata": chance.choice([None, {"feature": "chat", "deep": [1, {"ünï": None}]}]),
    }
    return row | facts


def made_attempt(call: dict[str, Any], number: int, **facts: Any) -> dict[str, Any]:
    """An attempt of a call."""
    row = {
        "call_id": call["id"],
        "number": number,
        "begun_at": call["begun_at"] + timedelta(milliseconds=number),
        "vendor": "openai",
        "model": "gpt-4o",
        "status": "error",
        "error_class": "RateLimitError",
        "http_status": 429,
        "retry": number > 1,
        "sent": True,
        "cost": Decimal("0.000000000001"),
        "latency_us": 1234,
    }
    return row | facts


def between(chance: Random, start: datetime, end: datetime) -> datetime:
    """A moment, now and then exactly on an hour, where days begin."""
    begun = start + timedelta(microseconds=chance.randrange((end - start) // timedelta(microseconds=1)))
    return begun.replace(minute=0, second=0, microsecond=0) if chance.random() < 0.2 else begun


def put(ledger: Ledger, rows: list[dict[str, Any]], asked: list[dict[str, Any]] = []) -> None:  # noqa: B006  # never changed
    """Write calls and attempts, with the sums by day."""
    with ledger.transaction() as connection:
        connection.execute(calls.insert(), rows)
        if asked:
            connection.execute(attempts.insert(), asked)
        add_rows(connection, calls.c.status != "open")


def at(text: str) -> datetime:
    """A moment of UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
