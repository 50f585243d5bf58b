"""The tables of the first queues."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_IS_OPEN = sa.text("state IN ('waiting', 'leased')")


def upgrade() -> None:
    """Make them; every database of before names this revision, and has them already."""
    op.create_table(
        "jobs",
        sa.Column("job_id", _NUMBER, primary_key=True),
        sa.Column("package", sa.Text, nullable=False),
        sa.Column("definition", sa.String(64), nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("finished", sa.BigInteger, nullable=True),
        sa.Column("not_before", sa.BigInteger, nullable=False),
        sa.Column("worker", sa.Text, nullable=False, server_default=""),
        sa.Column("secret", sa.String(64), nullable=True),
        sa.Column("lease_until", sa.BigInteger, nullable=True),
        *(
            sa.Column(name, sa.Integer, nullable=False, server_default="0")
            for name in ("attempts", "lost", "lacks", "not_built", "different")
        ),
        sa.Column("result", sa.String(10), nullable=True),
        sa.Column("detail", sa.Text, nullable=False, server_default=""),
        sa.Column("indexes", sa.Text, nullable=False, server_default=""),
        sa.Column("parcel", sa.LargeBinary, nullable=True),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "jobs_one_open",
        "jobs",
        ["package", "definition"],
        unique=True,
        sqlite_where=_IS_OPEN,
        postgresql_where=_IS_OPEN,
    )
    op.create_index("jobs_in_order", "jobs", ["state", sa.text("priority DESC"), "job_id"])
    op.create_index("jobs_of_package", "jobs", ["package", "definition", "job_id"])
    op.create_index("jobs_of_client", "jobs", ["client", "created"])
    op.create_table(
        "job_output",
        sa.Column("job_id", _NUMBER, sa.ForeignKey("jobs.job_id"), primary_key=True),
        sa.Column("start", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
