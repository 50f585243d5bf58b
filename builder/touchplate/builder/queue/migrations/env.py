"""What Alembic runs: the scripts, in the transaction that `prepare` is in."""

from alembic import context

from touchplate.builder.queue.migrations import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
