"""Fixtures of this folder."""

from tests.postgres_fixtures import database, postgres

__all__ = ["database", "postgres"]
