"""Who sequences, of several processes: whoever holds the tree's advisory lock in PostgreSQL.

The lock belongs to a session. A process that dies lets go of it at once, since its connection closes; one
that is stopped or cut off lets go of it when the server has heard nothing from it for `SILENCE_SECONDS`.
Holding the lock is a reason to begin a term, not a licence to write: see `shared.py`.

What the other processes tell (LISTEN) is heard by a session of its own: the server waits for ever to hand
news to a process that was stopped, and does not end a session for which it waits like that.
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
    """One process's two sessions: its hand at the lock, and its ear. For one thread.

    Every method raises StorageFailedError when one of them is gone; then `close`, and make another one.
    """

    def __init__(self, engine: Engine, tree_id: int) -> None:
        """Connect and listen."""
        self._tree_id = tree_id
        self.is_taken = False
        self._error: type[Exception] = engine.dialect.loaded_dbapi.Error
        self._sessions: list[Any] = []  # psycopg's
        try:
            self._hand, self._ear = self._connect(engine), self._connect(engine)
            with self._failing():
                self._hand.execute(f"SET idle_session_timeout = '{SILENCE_SECONDS}s'")
                self._ear.execute(f"LISTEN {channel(tree_id)}")
        except BaseException:
            self.close()
            raise

    def _connect(self, engine: Engine) -> Any:
        with answering("connecting for the election"), self._failing():
            pooled = engine.raw_connection()
            session = cast("Any", pooled.driver_connection)
            pooled.detach()  # ours alone: a lock must not go back into the pool
            self._sessions.append(session)
            session.autocommit = True
        return session

    def take(self) -> bool:
        """Try for the lock; whether it is held (now, or already). Also tells the server that we are there."""
        with self._failing():
            if self.is_taken:
                self._hand.execute("SELECT 1")
            else:
                found = self._hand.execute("SELECT pg_try_advisory_lock(%s, %s)", (LOCK_SPACE, self._tree_id))
                self.is_taken = bool(found.fetchone()[0])
        return self.is_taken

    def wait(self, seconds: float = WAIT_SECONDS) -> set[str]:
        """What was told since the last call; waits a while for something."""
        with self._failing():
            return {note.payload for note in self._ear.notifies(timeout=seconds, stop_after=1)}

    def close(self) -> None:
        """End the sessions; the lock is free. Safe to call twice."""
        self.is_taken = False
        for session in self._sessions:
            session.close()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            cause = " ".join(str(error).split())
            raise StorageFailedError(f"no session for the election: {cause}") from error
