"""The database's errors, as a submitter or an operator may see them."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from touchplate.base.errors import StorageError
from touchplate.log.errors import AbortedError, StorageFailedError

_ABORTED = frozenset({"40001", "40P01"})
"""PostgreSQL's codes of transactions that it ended for others' sake: serialization failure, deadlock."""


@contextmanager
def answering(doing: str) -> Iterator[None]:
    """Turn the errors of the database into StorageFailedError, which says what was being done."""
    try:
        yield
    except SQLAlchemyError as error:
        # Only the driver's own words: SQLAlchemy's text repeats the statement and its parameters.
        orig = getattr(error, "orig", None)
        cause = " ".join(str(orig or type(error).__name__).split())
        kind = AbortedError if getattr(orig, "sqlstate", None) in _ABORTED else StorageFailedError
        raise kind(f"{doing}: the database failed: {cause}") from error
    except StorageError as error:  # a server that came back is not fit any more
        raise StorageFailedError(f"{doing}: {error}") from error
