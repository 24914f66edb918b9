"""Alembic's own entry: runs the steps on the connection that it is given."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="schema_version",
    transactional_ddl=False,  # the caller has begun a transaction, and ends it
)
context.run_migrations()
