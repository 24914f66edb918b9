"""Alembic's own entry: runs the steps on the connection it is given, or writes them down."""

from __future__ import annotations

from alembic import context

_VERSION_TABLE = "schema_version"

if context.is_offline_mode():
    context.configure(
        dialect_name="postgresql", version_table=_VERSION_TABLE, transactional_ddl=False
    )
else:
    context.configure(
        connection=context.config.attributes["connection"],
        version_table=_VERSION_TABLE,
        transactional_ddl=False,  # the caller has begun a transaction, and ends it
    )
context.run_migrations()
