"""Alembic's entry: runs the migrations on the connection that :func:`mona_server.store.meta.upgrade` hands over."""

from alembic import context

from mona_server.store.meta import load_tables

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=load_tables(),
    render_as_batch=True,  # SQLite cannot alter a column in place
    transaction_per_migration=False,
)
context.run_migrations()
