"""Fixtures of this folder."""

from tests.postgres_fixtures import database, postgres, shared_database

__all__ = ["database", "postgres", "shared_database"]
