"""The rows of a batch are not looked up in `trees` one by one any more, on PostgreSQL."""

from alembic import op
from sqlalchemy import inspect

revision = "0005"
down_revision = "0004"

TABLES = ("leaves", "identities", "tiles", "raw_leaves", "raw_hashes")


def upgrade() -> None:
    """SQLite keeps them: there they cost little, and could only go with a copy of each table."""
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    for table in TABLES:
        for key in inspect(connection).get_foreign_keys(table):
            op.drop_constraint(str(key["name"]), table, type_="foreignkey")
