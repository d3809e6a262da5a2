"""Signed receipts, and the calls that each certifies."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "receipts",
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("receipt_id", sa.Text, nullable=False),
        *[sa.Column(name, sa.Text, nullable=False) for name in ("receipt_type", "key_id")],
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.UniqueConstraint("receipt_id", name="uq_receipts_receipt_id"),
    )
    op.create_index("ix_receipts_receipt_type", "receipts", ["receipt_type"])
    op.create_table(
        "receipt_calls",
        sa.Column("call_id", sa.CHAR(32), primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.CHAR(71), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_receipt_calls_sequence", "receipt_calls", ["sequence"])


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("receipt_calls")
    op.drop_table("receipts")
