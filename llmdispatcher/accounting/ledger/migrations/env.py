"""The script that Alembic runs. The connection is passed in, with its transaction and its lock."""

from __future__ import annotations

from alembic import context

from llmdispatcher.accounting.ledger.schema import VERSION_TABLE, metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table=VERSION_TABLE, target_metadata=metadata)  # whose names constraints get
context.run_migrations()
