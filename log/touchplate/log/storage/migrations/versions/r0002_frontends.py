"""Several frontends: terms of the sequencer, and entries on their way to it.

Also the table of peers' decisions where it is missing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add them."""
    # Logs of the time when peers came have this table, older ones do not; neither says so.
    if not sa.inspect(op.get_bind()).has_table("decisions"):
        op.create_table(
            "decisions",
            sa.Column("tree_id", sa.Integer, sa.ForeignKey("trees.tree_id"), primary_key=True),
            sa.Column("state", sa.LargeBinary, nullable=False),
        )
    op.add_column("heads", sa.Column("term", sa.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "submissions",
        sa.Column("submission_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("tree_id", sa.Integer, sa.ForeignKey("trees.tree_id"), nullable=False),
        sa.Column("identity", sa.LargeBinary(32), nullable=False),
        sa.Column("leaf_data", sa.LargeBinary, nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("packed", sa.LargeBinary, nullable=False),
        sa.Column("duplicate_of", sa.BigInteger, nullable=True),
        sa.Column("submitted", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    if op.get_bind().dialect.name == "postgresql":
        for table, column in (("leaves", "leaf_data"), ("leaves", "packed"), ("tiles", "hashes")):
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL")
