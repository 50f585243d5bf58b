"""When a lease began and how often one was held for too long; where a build is; who works."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add them. A lease of before counts from when its worker was last heard of, at the latest."""
    op.add_column("jobs", sa.Column("leased", sa.BigInteger, nullable=True))
    op.add_column("jobs", sa.Column("overruns", sa.Integer, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("phase", sa.Text, nullable=False, server_default=""))
    op.execute("UPDATE jobs SET leased = lease_until WHERE state = 'leased'")
    op.create_table(
        "workers",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("backend", sa.Text, nullable=False),
        sa.Column("first_seen", sa.BigInteger, nullable=False),
        sa.Column("last_seen", sa.BigInteger, nullable=False),
    )
