"""Who sequences, of several processes: whoever holds the tree's advisory lock in PostgreSQL.

The lock belongs to a session. A process that dies lets go of it at once, since its connection closes; one
that is stopped or cut off lets go of it when the server has heard nothing from it for `SILENCE_SECONDS`.
Holding the lock is a reason to begin a term, not a licence to write: see `shared.py`.

The same session hears what the other processes tell (LISTEN).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from sqlalchemy import Engine

from touchplate.log.errors import StorageFailedError
from touchplate.log.storage.failures import answering
from touchplate.log.storage.shared import channel

LOCK_SPACE = 0x746F7563
"""First half of the lock's key ("touc"); the second is the tree's number."""

SILENCE_SECONDS = 6
"""After this the server ends a session that says nothing: many times what `Seat.wait` waits, and more than a
new term may have to wait for a batch of the old one (`base.postgresql.IDLE_SECONDS`)."""

WAIT_SECONDS = 0.5
"""How long to wait for news before the session is used again, and the lock is tried for."""


class Seat:
    """One process's session: its ear, and its hand at the lock. For one thread.

    Every method raises StorageFailedError when the session is gone; then `close`, and make another one.
    """

    def __init__(self, engine: Engine, tree_id: int) -> None:
        """Connect and listen."""
        self._tree_id = tree_id
        self.is_taken = False
        self._error: type[Exception] = engine.dialect.loaded_dbapi.Error
        with answering("connecting for the election"), self._failing():
            pooled = engine.raw_connection()
            self._session = cast("Any", pooled.driver_connection)  # psycopg's
            pooled.detach()  # the session is ours: its lock must not go back into the pool
        try:
            with self._failing():
                self._session.autocommit = True
                self._session.execute(f"SET idle_session_timeout = '{SILENCE_SECONDS}s'")
                self._session.execute(f"LISTEN {channel(tree_id)}")
        except BaseException:
            self.close()
            raise

    def take(self) -> bool:
        """Try for the lock; whether it is held (now, or already). Also tells the server that we are there."""
        with self._failing():
            if self.is_taken:
                self._session.execute("SELECT 1")
            else:
                found = self._session.execute(
                    "SELECT pg_try_advisory_lock(%s, %s)", (LOCK_SPACE, self._tree_id)
                )
                self.is_taken = bool(found.fetchone()[0])
        return self.is_taken

    def wait(self, seconds: float = WAIT_SECONDS) -> set[str]:
        """What was told since the last call; waits a while for something."""
        with self._failing():
            return {note.payload for note in self._session.notifies(timeout=seconds, stop_after=1)}

    def close(self) -> None:
        """End the session; the lock is free. Safe to call twice."""
        self.is_taken = False
        self._session.close()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            cause = " ".join(str(error).split())
            raise StorageFailedError(f"no session for the election: {cause}") from error
