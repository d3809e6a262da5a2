"""Names with a prefix for all tables, constraints and indexes, so that an application may have tables of its own called `calls`.

A table is renamed at once, however many rows it has. SQLite cannot rename an index or a constraint: indexes are made anew, and
primary keys keep their old names, which are known only inside their table.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_PREFIX = "llmdispatcher_"
_VERSIONS = "llmdispatcher_schema"
_TABLES = ("calls", "attempts", "daily", "writers", "marks", "receipts", "receipt_calls", "budgets", "reservations")
_OPEN, _NAMED = sa.text("status = 'open'"), sa.text("id_at_origin IS NOT NULL")
_INDEXES = (
    ("calls", "begun_at", ["begun_at"], None),
    ("calls", "id_at_origin", ["id_at_origin", "begun_at"], _NAMED),
    ("calls", "open", ["writer"], _OPEN),
    ("attempts", "open", ["writer"], _OPEN),
    ("receipt_calls", "sequence", ["sequence"], None),
    ("receipts", "receipt_type", ["receipt_type"], None),
    ("reservations", "expires_at", ["expires_at"], None),
)
_SCHEMA = sa.text(
    "SELECT nspname FROM pg_namespace AS n JOIN pg_class AS c ON c.relnamespace = n.oid WHERE c.oid = to_regclass(:of)"
)
_INDEXES_OF = sa.text("SELECT indexname FROM pg_indexes WHERE schemaname = :schema AND tablename = :table")


def upgrade() -> None:
    """Put the prefix before all names."""
    _rename("", _PREFIX)


def downgrade() -> None:
    """Take the prefix away."""
    _rename(_PREFIX, "")


def _rename(old: str, new: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        _in_postgresql(old, new)
    else:
        _in_sqlite(old, new)


def _in_postgresql(old: str, new: str) -> None:
    """Only in the schema where the version stands: another that is searched before it may have tables of the same names.

    The index of a constraint gives its new name to the constraint.
    """
    connection = op.get_bind()
    schema = connection.scalar(_SCHEMA, {"of": _VERSIONS})
    quoted = connection.dialect.identifier_preparer.quote
    for table in _TABLES:
        for name in connection.scalars(_INDEXES_OF, {"schema": schema, "table": f"{old}{table}"}).all():
            renamed = name.replace(f"_{old}{table}", f"_{new}{table}", 1)
            op.execute(f"ALTER INDEX {quoted(schema)}.{quoted(name)} RENAME TO {quoted(renamed)}")
        op.rename_table(f"{old}{table}", f"{new}{table}", schema=schema)


def _in_sqlite(old: str, new: str) -> None:
    for table, of, _, _ in _INDEXES:
        op.drop_index(f"ix_{old}{table}_{of}", f"{old}{table}")
    for table in _TABLES:
        op.rename_table(f"{old}{table}", f"{new}{table}")
    for table, of, columns, where in _INDEXES:
        op.create_index(f"ix_{new}{table}_{of}", f"{new}{table}", columns, sqlite_where=where)
