"""What Alembic runs: the connection is handed in, with its transaction and its lock."""

from __future__ import annotations

from alembic import context

from llmdispatcher.ledger.migrating import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
