"""The database's errors, as a submitter or an operator may see them."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from touchplate.base.errors import StorageError
from touchplate.log.errors import StorageFailedError


@contextmanager
def answering(doing: str) -> Iterator[None]:
    """Turn the errors of the database into StorageFailedError, which says what was being done."""
    try:
        yield
    except SQLAlchemyError as error:
        # Only the driver's own words: SQLAlchemy's text repeats the statement and its parameters.
        cause = " ".join(str(getattr(error, "orig", None) or type(error).__name__).split())
        raise StorageFailedError(f"{doing}: the database failed: {cause}") from error
    except StorageError as error:  # a server that came back is not fit any more
        raise StorageFailedError(f"{doing}: {error}") from error
