"""The models and prices that the catalog knows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_TABLE = "llmdispatcher_models"
_SCHEMA = sa.text(
    "SELECT nspname FROM pg_namespace AS n JOIN pg_class AS c ON c.relnamespace = n.oid"
    " WHERE c.oid = to_regclass('llmdispatcher_schema')"
)


def upgrade() -> None:
    """Create the table, beside that of the version: a schema that is searched before may be another's."""
    connection = op.get_bind()
    op.create_table(
        _TABLE,
        *[sa.Column(name, sa.Text, primary_key=True) for name in ("vendor", "model")],
        sa.Column("kind", sa.Text, nullable=False),
        *[sa.Column(name, sa.BigInteger) for name in ("context_window", "max_tokens")],
        *[sa.Column(name, sa.JSON, nullable=False) for name in ("capabilities", "lacks", "aliases")],
        *[sa.Column(name, sa.BigInteger) for name in ("input_price", "output_price", "cache_read_price", "cache_write_price")],
        sa.Column("price", sa.JSON),
        *[sa.Column(name, sa.Text) for name in ("price_version", "released", "deprecated", "source", "source_date")],
        sa.Column("inactive_from", sa.BigInteger),
        *[sa.Column(name, sa.BigInteger, nullable=False) for name in ("created_at", "updated_at")],
        sqlite_with_rowid=False,
        schema=connection.scalar(_SCHEMA) if connection.dialect.name == "postgresql" else None,
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table(_TABLE)
