"""States of a tree: active, frozen, importing."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Every tree of before is active."""
    op.add_column("heads", sa.Column("state", sa.String(20), nullable=False, server_default="active"))
