"""The tables of a ledger, the same for SQLite and PostgreSQL: facts and figures of calls, never a prompt or a response.

In the database times are microseconds since the epoch (UTC) and money is picodollars (1e-12 dollars); in Python they are aware
datetimes and ``Decimal`` dollars. A change of this file needs a migration.

Tables, constraints and indexes have a prefix, so that they stand beside an application's own tables.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from ..units import MOST_SUM, STATUSES, TOKENS, dollars, micros, moment, picodollars


class Money(sa.TypeDecorator[Decimal]):
    """``Decimal`` US dollars, kept as whole picodollars."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> int | None:
        """Return the value as the database keeps it."""
        return None if value is None else picodollars(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> Decimal | None:
        """Return the value as Python has it; a sum of BIGINT is NUMERIC in PostgreSQL."""
        return None if value is None else dollars(int(value))


class Moment(sa.TypeDecorator[datetime]):
    """An aware datetime, kept as microseconds since the epoch."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Return the value as the database keeps it."""
        return None if value is None else micros(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Return the value as Python has it."""
        return None if value is None else moment(int(value))


PREFIX = "llmdispatcher_"
"""The prefix of all tables' names. Up to version 0004 there was none."""

VERSION_TABLE = f"{PREFIX}schema"
"""The table of the version; not Alembic's usual name, which an application may use in the same database."""

_OPEN = sa.text("status = 'open'")

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

calls = sa.Table(
    f"{PREFIX}calls",
    metadata,
    sa.Column("id", sa.CHAR(32), primary_key=True),  # time-ordered: 16 hex digits of microseconds, 16 of chance
    sa.Column("begun_at", Moment, nullable=False),
    sa.Column("ended_at", Moment),
    sa.Column("origin", sa.Text),
    sa.Column("id_at_origin", sa.Text),
    sa.Column("user", sa.Text),
    sa.Column("alias", sa.Text),
    sa.Column("profile", sa.Text),
    sa.Column("vendor", sa.Text),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("error_class", sa.Text),
    *[sa.Column(name, sa.BigInteger) for name in TOKENS],
    sa.Column("cost", Money),
    sa.Column("cost_status", sa.Text),
    sa.Column("price_version", sa.Text),
    sa.Column("latency_us", sa.BigInteger),
    sa.Column("first_token_us", sa.BigInteger),
    sa.Column("streamed", sa.Boolean, nullable=False, default=False),
    sa.Column("cached", sa.Boolean, nullable=False, default=False),
    sa.Column("hedged", sa.Boolean, nullable=False, default=False),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("metadata", sa.JSON(none_as_null=True)),
    sa.Column("writer", sa.CHAR(32)),  # the process that reports it; see writers
    sqlite_with_rowid=False,
)
"""One row for each call; a call that ended without any attempt has one too. Tokens and cost are NULL where they are not known."""

sa.Index(f"ix_{PREFIX}calls_begun_at", calls.c.begun_at)
sa.Index(
    f"ix_{PREFIX}calls_id_at_origin",
    calls.c.id_at_origin,
    calls.c.begun_at,
    sqlite_where=sa.text("id_at_origin IS NOT NULL"),
    postgresql_where=sa.text("id_at_origin IS NOT NULL"),
)
sa.Index(f"ix_{PREFIX}calls_open", calls.c.writer, sqlite_where=_OPEN, postgresql_where=_OPEN)

attempts = sa.Table(
    f"{PREFIX}attempts",
    metadata,
    sa.Column("call_id", sa.CHAR(32), primary_key=True),
    sa.Column("number", sa.SmallInteger, primary_key=True, autoincrement=False),  # from 1, in the order of asking
    sa.Column("begun_at", Moment, nullable=False),
    sa.Column("vendor", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("error_class", sa.Text),
    sa.Column("http_status", sa.SmallInteger),
    sa.Column("retry", sa.Boolean, nullable=False, default=False),
    sa.Column("failover", sa.Boolean, nullable=False, default=False),
    sa.Column("hedge", sa.Boolean, nullable=False, default=False),
    sa.Column("continuation", sa.Boolean, nullable=False, default=False),
    sa.Column("sent", sa.Boolean),  # NULL where it is not known
    sa.Column("possibly_billed", sa.Boolean, nullable=False, default=False),
    sa.Column("cost", Money),
    sa.Column("latency_us", sa.BigInteger),
    sa.Column("first_token_us", sa.BigInteger),
    sa.Column("bytes_sent", sa.BigInteger),
    sa.Column("bytes_received", sa.BigInteger),
    sa.Column("writer", sa.CHAR(32)),
    sqlite_with_rowid=False,
)
"""One row for each vendor asked. ``call_id`` is the call on whose behalf it was asked first."""

sa.Index(f"ix_{PREFIX}attempts_open", attempts.c.writer, sqlite_where=_OPEN, postgresql_where=_OPEN)

DAILY_KEY = ("day", "origin", "user", "alias", "vendor", "model")
DAILY_COUNTS = ("calls", *STATUSES[1:], "cached", "streamed", "hedged", "attempts", "unpriced", "first_tokens")
DAILY_SUMS = (*DAILY_COUNTS, *TOKENS, "cost", "latency_us", "first_token_us")
daily = sa.Table(
    f"{PREFIX}daily",
    metadata,
    sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),  # days since 1970-01-01, UTC, of begun_at
    *[sa.Column(name, sa.Text, primary_key=True) for name in DAILY_KEY[1:]],
    *[sa.Column(name, sa.BigInteger, nullable=False, default=0) for name in (*DAILY_COUNTS, *TOKENS)],
    sa.Column("cost", Money, nullable=False, default=0),
    sa.Column("latency_us", sa.BigInteger, nullable=False, default=0),
    sa.Column("first_token_us", sa.BigInteger, nullable=False, default=0),
    sqlite_with_rowid=False,
)
"""The exact sums of all rows of ``calls`` that are not open, by day (UTC) and who and what; kept in their transactions.

NULL is '' in a key here. ``success`` to ``unknown`` count calls by status, ``unpriced`` those without a cost, ``first_tokens``
those with a ``first_token_us``; ``latency_us`` and ``first_token_us`` are sums, to be divided by ``calls`` and ``first_tokens``.
"""

_FULL = sa.literal_column(str(MOST_SUM), sa.BigInteger)


def capped_sum(kept: Any, more: Any) -> sa.ColumnElement[int]:
    """The sum of a daily total and an addition, capped at what a column holds."""
    before, new = sa.type_coerce(kept, sa.BigInteger), sa.type_coerce(more, sa.BigInteger)
    return sa.case((sa.cast(before, sa.Numeric) + new > _FULL, _FULL), else_=before + new)


writers = sa.Table(
    f"{PREFIX}writers",
    metadata,
    sa.Column("id", sa.CHAR(32), primary_key=True),
    sa.Column("place", sa.Text, nullable=False),  # host, boot and namespace of processes: where the pid means something
    sa.Column("pid", sa.BigInteger, nullable=False),
    sa.Column("started", sa.BigInteger, nullable=False),  # the process's own start, since pids come again
    sa.Column("begun_at", Moment, nullable=False),
    sa.Column("seen_at", Moment, nullable=False),
    sqlite_with_rowid=False,
)
"""The processes that write calls now; the open calls of a process that is gone are marked as unknown."""

marks = sa.Table(
    f"{PREFIX}marks",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Numbers that all processes share: ``pruned`` is the microsecond before which calls have been deleted."""

receipts = sa.Table(
    f"{PREFIX}receipts",
    metadata,
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("receipt_id", sa.Text, nullable=False, unique=True),
    sa.Column("receipt_type", sa.Text, nullable=False),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
)
"""Signed receipts, numbered without a gap, each with the hash of the one before.

``document`` is the canonical JSON of all fields, signed; the other columns are only to find it by.
"""

receipt_calls = sa.Table(
    f"{PREFIX}receipt_calls",
    metadata,
    sa.Column("call_id", sa.CHAR(32), primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("digest", sa.CHAR(71), nullable=False),
    sqlite_with_rowid=False,
)
"""Which calls a receipt certifies, one at most for each; a row here outlives the call's own.

``sequence`` is the receipt's, ``digest`` the "sha256:..." of the call's row as it was certified.
"""

sa.Index(f"ix_{PREFIX}receipt_calls_sequence", receipt_calls.c.sequence)
sa.Index(f"ix_{PREFIX}receipts_receipt_type", receipts.c.receipt_type)

models = sa.Table(
    f"{PREFIX}models",
    metadata,
    *[sa.Column(name, sa.Text, primary_key=True) for name in ("vendor", "model")],
    sa.Column("kind", sa.Text, nullable=False),
    *[sa.Column(name, sa.BigInteger) for name in ("context_window", "max_tokens")],
    *[sa.Column(name, sa.JSON, nullable=False) for name in ("capabilities", "lacks", "aliases")],
    *[sa.Column(name, Money) for name in ("input_price", "output_price", "cache_read_price", "cache_write_price")],
    sa.Column("price", sa.JSON(none_as_null=True)),
    sa.Column("price_version", sa.Text),
    *[sa.Column(name, sa.Text) for name in ("released", "deprecated", "source", "source_date")],  # days as "2026-11-21"
    sa.Column("inactive_from", Moment),
    *[sa.Column(name, Moment, nullable=False) for name in ("created_at", "updated_at")],
    sqlite_with_rowid=False,
)
"""The models that the catalog knew when they were last written; the catalog never reads them.

Prices are US dollars for a million tokens, ``price`` has all of it as the catalog's rows do. ``inactive_from`` is NULL for a model
that its vendor serves; ``updated_at`` is when its row last changed.
"""

budgets = sa.Table(
    f"{PREFIX}budgets",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("share", sa.Text, primary_key=True),
    sa.Column("begins", Moment, primary_key=True, autoincrement=False),
    sa.Column("ends", Moment, nullable=False),
    sa.Column("spent", Money, nullable=False),
    sa.Column("reserved", Money, nullable=False),
    sa.Column("warned", sa.Boolean, nullable=False, server_default=sa.false()),
    sqlite_with_rowid=False,
)
"""The accounts of budgets, one for each share and period; the epoch stands for a beginning or an end that there is not.

``share`` is whose it is (a user, a vendor), '' for all together. ``reserved`` is the sum of the reservations that have not expired.
A sliding period has many accounts: each counts until its ``ends``, all of them together. ``warned``: that so much is spent that a
warning is due has been told.
"""

reservations = sa.Table(
    f"{PREFIX}reservations",
    metadata,
    sa.Column("id", sa.CHAR(32), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("share", sa.Text, primary_key=True),
    sa.Column("begins", Moment, primary_key=True, autoincrement=False),
    sa.Column("amount", Money, nullable=False),
    sa.Column("expires_at", Moment, nullable=False),
    sa.Column("expired", sa.Boolean, nullable=False),
    sqlite_with_rowid=False,
)
"""What attempts that are under way may cost, by account; one that has ``expired`` is of a process that is gone, and is spent."""

sa.Index(f"ix_{PREFIX}reservations_expires_at", reservations.c.expires_at)
