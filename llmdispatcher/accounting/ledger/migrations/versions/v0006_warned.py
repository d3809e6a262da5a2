"""Whether it was told that most of a budget is spent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_BUDGETS = "llmdispatcher_budgets"
_SCHEMA = sa.text(
    "SELECT nspname FROM pg_namespace AS n JOIN pg_class AS c ON c.relnamespace = n.oid WHERE c.oid = to_regclass(:of)"
)


def upgrade() -> None:
    """Add the column."""
    op.add_column(_BUDGETS, sa.Column("warned", sa.Boolean, nullable=False, server_default=sa.false()), schema=_schema())


def downgrade() -> None:
    """Drop the column."""
    op.drop_column(_BUDGETS, "warned", schema=_schema())


def _schema() -> str | None:
    """Where the ledger is in PostgreSQL: another schema that is searched before may have a table of the same name."""
    connection = op.get_bind()
    return connection.scalar(_SCHEMA, {"of": "llmdispatcher_schema"}) if connection.dialect.name == "postgresql" else None
