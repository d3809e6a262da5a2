"""The time up to which rows have been deleted, and the index from an application's own id to its calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_NAMED = sa.text("id_at_origin IS NOT NULL")


def upgrade() -> None:
    """Make the table and the index."""
    op.create_table(
        "marks",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_calls_id_at_origin", "calls", ["id_at_origin", "begun_at"], sqlite_where=_NAMED, postgresql_where=_NAMED)


def downgrade() -> None:
    """Drop the table and the index."""
    op.drop_index("ix_calls_id_at_origin", "calls")
    op.drop_table("marks")
