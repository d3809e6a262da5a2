"""What budgets have spent and reserved."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "budgets",
        *[sa.Column(name, sa.Text, primary_key=True) for name in ("name", "share")],
        sa.Column("begins", sa.BigInteger, primary_key=True, autoincrement=False),
        *[sa.Column(name, sa.BigInteger, nullable=False) for name in ("ends", "spent", "reserved")],
        sqlite_with_rowid=False,
    )
    op.create_table(
        "reservations",
        sa.Column("id", sa.CHAR(32), primary_key=True),
        *[sa.Column(name, sa.Text, primary_key=True) for name in ("name", "share")],
        sa.Column("begins", sa.BigInteger, primary_key=True, autoincrement=False),
        *[sa.Column(name, sa.BigInteger, nullable=False) for name in ("amount", "expires_at")],
        sa.Column("expired", sa.Boolean, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_reservations_expires_at", "reservations", ["expires_at"])


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("reservations")
    op.drop_table("budgets")
