"""The tables of a ledger, the same for SQLite and PostgreSQL: facts and figures of calls, never a prompt or a response.

In the database times are microseconds since the epoch (UTC) and money is picodollars (1e-12 dollars); in Python they are aware
datetimes and ``Decimal`` dollars. A change of this file needs a migration.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    CHAR,
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Index,
    Integer,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    TypeDecorator,
    case,
    cast,
    literal_column,
    text,
    type_coerce,
)
from sqlalchemy.engine import Dialect

from ..units import MOST_SUM, STATUSES, TOKENS, dollars, micros, moment, picodollars


class Money(TypeDecorator[Decimal]):
    """``Decimal`` US dollars, kept as whole picodollars."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> int | None:
        """To the database."""
        return None if value is None else picodollars(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> Decimal | None:
        """From the database; a sum of BIGINT is NUMERIC in PostgreSQL."""
        return None if value is None else dollars(int(value))


class Moment(TypeDecorator[datetime]):
    """An aware datetime, kept as microseconds since the epoch."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """To the database."""
        return None if value is None else micros(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """From the database."""
        return None if value is None else moment(int(value))


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

calls = Table(
    "calls",
    metadata,
    Column("id", CHAR(32), primary_key=True),  # time-ordered: 16 hex digits of microseconds, 16 of chance
    Column("begun_at", Moment, nullable=False),
    Column("ended_at", Moment),
    Column("origin", Text),
    Column("id_at_origin", Text),
    Column("user", Text),
    Column("alias", Text),
    Column("profile", Text),
    Column("vendor", Text),
    Column("model", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("error_class", Text),
    *[Column(name, BigInteger) for name in TOKENS],
    Column("cost", Money),
    Column("cost_status", Text),
    Column("price_version", Text),
    Column("latency_us", BigInteger),
    Column("first_token_us", BigInteger),
    Column("streamed", Boolean, nullable=False, default=False),
    Column("cached", Boolean, nullable=False, default=False),
    Column("hedged", Boolean, nullable=False, default=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("metadata", JSON(none_as_null=True)),
    Column("writer", CHAR(32)),  # the process that reports it; see writers
    sqlite_with_rowid=False,
)
"""One row for each call; a call that ended without any attempt has one too. Tokens and cost are NULL where they are not known."""

Index("ix_calls_begun_at", calls.c.begun_at)
Index(
    "ix_calls_id_at_origin",
    calls.c.id_at_origin,
    calls.c.begun_at,
    sqlite_where=text("id_at_origin IS NOT NULL"),
    postgresql_where=text("id_at_origin IS NOT NULL"),
)
Index("ix_calls_open", calls.c.writer, sqlite_where=text("status = 'open'"), postgresql_where=text("status = 'open'"))

attempts = Table(
    "attempts",
    metadata,
    Column("call_id", CHAR(32), primary_key=True),
    Column("number", SmallInteger, primary_key=True, autoincrement=False),  # from 1, in the order of asking
    Column("begun_at", Moment, nullable=False),
    Column("vendor", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("error_class", Text),
    Column("http_status", SmallInteger),
    Column("retry", Boolean, nullable=False, default=False),
    Column("failover", Boolean, nullable=False, default=False),
    Column("hedge", Boolean, nullable=False, default=False),
    Column("continuation", Boolean, nullable=False, default=False),
    Column("sent", Boolean),  # NULL where nobody knows
    Column("possibly_billed", Boolean, nullable=False, default=False),
    Column("cost", Money),
    Column("latency_us", BigInteger),
    Column("first_token_us", BigInteger),
    Column("bytes_sent", BigInteger),
    Column("bytes_received", BigInteger),
    Column("writer", CHAR(32)),
    sqlite_with_rowid=False,
)
"""One row for each vendor asked. ``call_id`` is the call on whose behalf it was asked first."""

Index("ix_attempts_open", attempts.c.writer, sqlite_where=text("status = 'open'"), postgresql_where=text("status = 'open'"))

DAILY_KEY = ("day", "origin", "user", "alias", "vendor", "model")
DAILY_COUNTS = ("calls", *STATUSES[1:], "cached", "streamed", "hedged", "attempts", "unpriced", "first_tokens")
DAILY_SUMS = (*DAILY_COUNTS, *TOKENS, "cost", "latency_us", "first_token_us")
daily = Table(
    "daily",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),  # days since 1970-01-01, UTC, of begun_at
    *[Column(name, Text, primary_key=True) for name in DAILY_KEY[1:]],
    *[Column(name, BigInteger, nullable=False, default=0) for name in (*DAILY_COUNTS, *TOKENS)],
    Column("cost", Money, nullable=False, default=0),
    Column("latency_us", BigInteger, nullable=False, default=0),
    Column("first_token_us", BigInteger, nullable=False, default=0),
    sqlite_with_rowid=False,
)
"""The exact sums of all rows of ``calls`` that are not open, by day (UTC) and who and what; kept in their transactions.

NULL is '' in a key here. ``success`` to ``unknown`` count calls by status, ``unpriced`` those without a cost, ``first_tokens``
those with a ``first_token_us``; ``latency_us`` and ``first_token_us`` are sums, to be divided by ``calls`` and ``first_tokens``.
"""

_FULL = literal_column(str(MOST_SUM), BigInteger)


def added(kept: Any, more: Any) -> ColumnElement[int]:
    """A sum by day and what is to be added to it; one that is full stays so, and does not overflow."""
    before, new = type_coerce(kept, BigInteger), type_coerce(more, BigInteger)
    return case((cast(before, Numeric) + new > _FULL, _FULL), else_=before + new)


writers = Table(
    "writers",
    metadata,
    Column("id", CHAR(32), primary_key=True),
    Column("place", Text, nullable=False),  # host, boot and namespace of processes: where the pid means something
    Column("pid", BigInteger, nullable=False),
    Column("started", BigInteger, nullable=False),  # the process's own start, since pids come again
    Column("begun_at", Moment, nullable=False),
    Column("seen_at", Moment, nullable=False),
    sqlite_with_rowid=False,
)
"""The processes that report calls now; one that is gone leaves its open calls to be marked as unknown."""

marks = Table(
    "marks",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Single numbers that all processes share: ``pruned``, the microsecond before which retention has deleted calls."""

receipts = Table(
    "receipts",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("receipt_id", Text, nullable=False, unique=True),
    Column("receipt_type", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("document", Text, nullable=False),
)
"""Signed receipts, numbered without a gap, each with the hash of the one before.

``document`` is the canonical JSON of all fields, signed; the other columns are only to find it by.
"""

receipt_calls = Table(
    "receipt_calls",
    metadata,
    Column("call_id", CHAR(32), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("digest", CHAR(71), nullable=False),
    sqlite_with_rowid=False,
)
"""Which calls a receipt certifies, one at most for each; a row here outlives the call's own.

``sequence`` is the receipt's, ``digest`` the "sha256:..." of the call's row as it was certified.
"""

Index("ix_receipt_calls_sequence", receipt_calls.c.sequence)
Index("ix_receipts_receipt_type", receipts.c.receipt_type)

budgets = Table(
    "budgets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("share", Text, primary_key=True),
    Column("begins", Moment, primary_key=True, autoincrement=False),
    Column("ends", Moment, nullable=False),
    Column("spent", Money, nullable=False),
    Column("reserved", Money, nullable=False),
    sqlite_with_rowid=False,
)
"""The accounts of budgets, one for each share and period; the epoch stands for a beginning or an end that there is not.

``share`` is whose it is (a user, a vendor), '' for all together. ``reserved`` is the sum of the reservations that have not expired.
"""

reservations = Table(
    "reservations",
    metadata,
    Column("id", CHAR(32), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("share", Text, primary_key=True),
    Column("begins", Moment, primary_key=True, autoincrement=False),
    Column("amount", Money, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("expired", Boolean, nullable=False),
    sqlite_with_rowid=False,
)
"""What attempts that are under way may cost, by account; one that has ``expired`` is of a process that is gone, and is spent."""

Index("ix_reservations_expires_at", reservations.c.expires_at)
