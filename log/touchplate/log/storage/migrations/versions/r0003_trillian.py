"""Trees of Trillian's interface: their fields, and what their leaves have beside the bytes."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add them."""
    op.create_table(
        "trillian_trees",
        sa.Column("tree_id", sa.Integer, sa.ForeignKey("trees.tree_id"), primary_key=True),
        sa.Column("public_id", sa.BigInteger, nullable=False, unique=True),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("type", sa.Integer, nullable=False),
        sa.Column("display_name", sa.String(20), nullable=False),
        sa.Column("description", sa.String(200), nullable=False),
        sa.Column("storage_settings", sa.LargeBinary, nullable=True),
        sa.Column("max_root_nanos", sa.BigInteger, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
        sa.Column("deleted", sa.BigInteger, nullable=True),
        sa.Column("root_nanos", sa.BigInteger, nullable=True),
        sa.Column("root_size", sa.BigInteger, nullable=True),
    )
    op.create_table(
        "raw_leaves",
        sa.Column("tree_id", sa.Integer, sa.ForeignKey("trees.tree_id"), primary_key=True),
        sa.Column("leaf_index", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("identity", sa.LargeBinary, nullable=True),
        sa.Column("queued", sa.BigInteger, nullable=False),
        sa.Column("integrated", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "raw_hashes",
        sa.Column("tree_id", sa.Integer, sa.ForeignKey("trees.tree_id"), primary_key=True),
        sa.Column("leaf_hash", sa.LargeBinary(32), primary_key=True),
        sa.Column("leaf_index", sa.BigInteger, primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )
