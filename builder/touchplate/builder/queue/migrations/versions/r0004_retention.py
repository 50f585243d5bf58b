"""Jobs are deleted a time after their end; requests of the last hour are counted by an index of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_IS_FULL = sa.text("emptied = 0 AND finished IS NOT NULL")
_HAS_ENDED = sa.text("finished IS NOT NULL")


def upgrade() -> None:
    """Add what this takes. All that ended before is emptied in its turn."""
    op.add_column("jobs", sa.Column("emptied", sa.Integer, nullable=False, server_default="0"))
    op.create_index("jobs_by_time", "jobs", ["created", "client"])
    op.drop_index("jobs_of_client", table_name="jobs")
    for name, columns, which in (
        ("jobs_to_empty", ["finished"], _IS_FULL),
        ("jobs_ended", ["state", "finished"], _HAS_ENDED),
    ):
        op.create_index(name, "jobs", columns, sqlite_where=which, postgresql_where=which)
    op.create_table(
        "pruned",
        sa.Column("state", sa.String(10), primary_key=True),
        sa.Column("highest", sa.BigInteger, nullable=False),
        sa.Column("jobs", sa.BigInteger, nullable=False),
        sa.Column("kept_seconds", sa.BigInteger, nullable=False),
    )
