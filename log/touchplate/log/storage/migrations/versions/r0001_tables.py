"""The tables of the first logs. SQLite databases that name no revision have them."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make them; a database that came without a revision has them already."""
    op.create_table(
        "trees",
        sa.Column("tree_id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(255), nullable=False, unique=True),
        sa.Column("kind", sa.String(20), nullable=False),
    )
    op.create_table(
        "leaves",
        sa.Column("tree_id", sa.Integer, sa.ForeignKey("trees.tree_id"), primary_key=True),
        sa.Column("leaf_index", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("leaf_data", sa.LargeBinary, nullable=False),
        sa.Column("packed", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "identities",
        sa.Column("tree_id", sa.Integer, sa.ForeignKey("trees.tree_id"), primary_key=True),
        sa.Column("identity", sa.LargeBinary(32), primary_key=True),
        sa.Column("leaf_index", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tiles",
        sa.Column("tree_id", sa.Integer, sa.ForeignKey("trees.tree_id"), primary_key=True),
        sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("tile_index", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "heads",
        sa.Column("tree_id", sa.Integer, sa.ForeignKey("trees.tree_id"), primary_key=True),
        sa.Column("tree_size", sa.BigInteger, nullable=False),
        sa.Column("root", sa.LargeBinary(32), nullable=False),
        sa.Column("checkpoint_size", sa.BigInteger, nullable=False),
        sa.Column("checkpoint", sa.LargeBinary, nullable=True),
    )
