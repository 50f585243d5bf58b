"""The newest checkpoint, kept in a file beside the database.

A database that was put back from a backup is whole, and older than what the log has told the world: going on
from there would be a fork. The file remembers what was said, so the log refuses to start instead.

It is written by a thread of its own, at most once a second, so that no submitter waits for it; a crash leaves
it a little behind, never ahead. A backup of the whole folder takes the file along: such a return can only be
seen by those outside who remember.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from logging import getLogger
from pathlib import Path
from threading import Event, Lock, Thread

from touchplate.base.durable import remove_abandoned_writes, write_atomic
from touchplate.base.errors import StorageError
from touchplate.log.errors import CheckpointError
from touchplate.log.ports import Tree
from touchplate.log.publishing import stored_body
from touchplate.verify.checkpoints import UnverifiedCheckpoint
from touchplate.verify.notes import MAX_NOTE_BYTES, NoteKey
from touchplate.verify.proofs import root_of
from touchplate.verify.tiles import TileReader

FILE_NAME = "newest.checkpoint"

WRITE_SECONDS = 1.0
"""Between two writes of the file: its fsync must not compete with each commit's."""

POLL_SECONDS = 60.0
"""The longest wait for growth; only a bound, since growth and the end wake the thread."""

logger = getLogger(__name__)


def read_remembered(folder: Path, keys: Sequence[NoteKey]) -> UnverifiedCheckpoint | None:
    """What the file in a log's folder remembers; None when there is none.

    Raises CheckpointError when none of `keys` signed it, StorageError.
    """
    path = folder / FILE_NAME
    try:
        with path.open("rb") as file:
            note = file.read(MAX_NOTE_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    return stored_body(note, keys)


class Remembered:
    """The file of one log. `check` before use, `start` and `stop` around it."""

    def __init__(self, folder: Path, tree: Tree, wait_for_growth: Callable[[int, float], int]) -> None:
        self._path = folder / FILE_NAME
        self._tree = tree
        self._wait_for_growth = wait_for_growth
        self._stopping = Event()
        self._thread: Thread | None = None
        self._writing = Lock()
        self._written: bytes | None = None  # under _writing

    def check(self, keys: Sequence[NoteKey]) -> None:
        """Refuse a tree that does not contain what the file remembers.

        Raises CheckpointError, StorageError.
        """
        body = read_remembered(self._path.parent, keys)
        if body is None:
            return
        size = self._tree.head().size
        if body.size > size:
            raise CheckpointError(
                f"the database has {size} entries, but this log has published a checkpoint of {body.size}"
                f" ({self._path}): it is an older copy or another database; use the newest one"
            )
        if root_of(TileReader(self._tree.read_tile, body.size), body.size) != body.root:
            raise CheckpointError(
                f"the database has another history than the checkpoint of {body.size} entries that this log"
                f" has published ({self._path}); use the right database"
            )

    def start(self) -> None:
        """Write what is the newest now, then follow. Raises StorageError."""
        remove_abandoned_writes(self._path.parent)
        with self._writing:
            self._write()
        self._thread = Thread(target=self._run, name="remember-checkpoint", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write for the last time; the sequencer must have stopped (that wakes the thread).

        Safe to call twice.
        """
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        size = 0  # not the head's: a batch may have come since `start` wrote
        while not self._stopping.is_set():
            grown = self._wait_for_growth(size, POLL_SECONDS)
            if grown != size:
                size = grown
                self.write()
            self._stopping.wait(WRITE_SECONDS)
        self.write()

    def write(self) -> None:
        """Write what is the newest now; from any thread. What fails is logged."""
        try:
            with self._writing:
                self._write()
        except StorageError as error:
            # The log itself is durable; this only makes its memory of what it said shorter.
            logger.warning("the newest checkpoint could not be written beside the database: %s", error)

    def _write(self) -> None:
        checkpoint = self._tree.head().checkpoint
        if checkpoint is not None and checkpoint != self._written:
            write_atomic(self._path, checkpoint)
            self._written = checkpoint
