"""Calls, their attempts, the daily totals, and the processes that write."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TOKENS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_long_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
)
_COUNTS = ("calls", "success", "error", "timeout", "rate_limited", "cancelled", "unknown")
_MARKS = ("cached", "streamed", "hedged", "attempts", "unpriced", "first_tokens")
_OPEN = sa.text("status = 'open'")


def upgrade() -> None:
    """Create the tables."""
    _calls()
    _attempts()
    op.create_table(
        "daily",
        sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
        *[sa.Column(name, sa.Text, primary_key=True) for name in ("origin", "user", "alias", "vendor", "model")],
        *[sa.Column(name, sa.BigInteger, nullable=False) for name in (*_COUNTS, *_MARKS, *_TOKENS)],
        *[sa.Column(name, sa.BigInteger, nullable=False) for name in ("cost", "latency_us", "first_token_us")],
        sqlite_with_rowid=False,
    )
    op.create_table(
        "writers",
        sa.Column("id", sa.CHAR(32), primary_key=True),
        sa.Column("place", sa.Text, nullable=False),
        *[sa.Column(name, sa.BigInteger, nullable=False) for name in ("pid", "started", "begun_at", "seen_at")],
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """There is nothing before."""
    for table in ("writers", "daily", "attempts", "calls"):
        op.drop_table(table)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False)


def _calls() -> None:
    op.create_table(
        "calls",
        sa.Column("id", sa.CHAR(32), primary_key=True),
        sa.Column("begun_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        *[sa.Column(name, sa.Text) for name in ("origin", "id_at_origin", "user", "alias", "profile", "vendor")],
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("error_class", sa.Text),
        *[sa.Column(name, sa.BigInteger) for name in (*_TOKENS, "cost")],
        sa.Column("cost_status", sa.Text),
        sa.Column("price_version", sa.Text),
        sa.Column("latency_us", sa.BigInteger),
        sa.Column("first_token_us", sa.BigInteger),
        *[_flag(name) for name in ("streamed", "cached", "hedged")],
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("metadata", sa.JSON),
        sa.Column("writer", sa.CHAR(32)),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_calls_begun_at", "calls", ["begun_at"])
    op.create_index("ix_calls_open", "calls", ["writer"], sqlite_where=_OPEN, postgresql_where=_OPEN)


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("call_id", sa.CHAR(32), primary_key=True),
        sa.Column("number", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("begun_at", sa.BigInteger, nullable=False),
        *[sa.Column(name, sa.Text, nullable=False) for name in ("vendor", "model", "status")],
        sa.Column("error_class", sa.Text),
        sa.Column("http_status", sa.SmallInteger),
        *[_flag(name) for name in ("retry", "failover", "hedge", "continuation")],
        sa.Column("sent", sa.Boolean),
        _flag("possibly_billed"),
        *[sa.Column(name, sa.BigInteger) for name in ("cost", "latency_us", "first_token_us", "bytes_sent", "bytes_received")],
        sa.Column("writer", sa.CHAR(32)),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_attempts_open", "attempts", ["writer"], sqlite_where=_OPEN, postgresql_where=_OPEN)
