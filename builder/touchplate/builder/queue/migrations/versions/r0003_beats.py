"""How often a lease was renewed and how long it has lasted, by no clock of the wall."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add them. The longest time of a lease of before begins anew."""
    for name in ("beats", "held"):
        op.add_column("jobs", sa.Column(name, sa.Integer, nullable=False, server_default="0"))
