"""A log in a bucket: a destination of the export (`export.py`) that several processes may write to.

    checkpoint      replaced last, and only by the process that read what it replaces
    tile/…          as in a mirror; each name has one content for ever, so that it never matters who wrote it

Objects are confirmed by the store before the checkpoint that needs them is sent. The checkpoint is replaced
under the condition that it is still the one that was read at the beginning of the update (its ETag): of two
processes one comes first, the other finds out and begins again, and no reader is ever led back. What a crash
leaves is more objects than the checkpoint speaks of, and partials that are not needed any more; the latter go
at the next start.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from logging import getLogger

from touchplate.base.errors import StorageError
from touchplate.log.bucket.config import BucketConfig
from touchplate.log.bucket.objects import Kind, Objects, Stored
from touchplate.log.export import OVERTAKEN
from touchplate.log.growth import Edge
from touchplate.log.http.answers import FRESH, IMMUTABLE, SHORT
from touchplate.log.mirror import CHECKPOINT, PARTIALS, is_covered, paths_of_edge, read_edge
from touchplate.verify.checkpoints import Checkpoint, open_checkpoint
from touchplate.verify.errors import MalformedError, TrustError, VerifyError
from touchplate.verify.notes import MAX_NOTE_BYTES
from touchplate.verify.policy import Policy
from touchplate.verify.tiles import FULL_TILE_BYTES

WRITERS = 8
"""Objects on their way at the same time: a store answers after some milliseconds, however small the object.
At most that many full bundles (17 MB each) are in memory."""

PROBE = "conditions-"
"""How the name of an object begins that shows whether the store knows conditions; it is there for a moment
only."""

NOTE = Kind("text/plain; charset=utf-8", FRESH)
FULL = Kind("application/octet-stream", IMMUTABLE)
PARTIAL = Kind("application/octet-stream", SHORT)

logger = getLogger(__name__)


class Bucket:
    """See the module. One thread uses it."""

    kind = "bucket"

    def __init__(self, config: BucketConfig, policy: Policy) -> None:
        """Sends nothing yet: a store that does not answer must not keep a log from starting. `policy`: the
        log's own keys. Raises ConfigError, StorageError (see `Objects`)."""
        self._objects = Objects(config)
        self._policy = policy
        self._conditional = config.conditional
        self._head: Checkpoint | None = None
        self._tag: str | None = None
        self._opened = False
        self._writers = ThreadPoolExecutor(WRITERS, "bucket")
        self._writing: set[Future[None]] = set()

    def __str__(self) -> str:
        return str(self._objects)

    @property
    def head(self) -> Checkpoint | None:
        """See `Destination.head`."""
        return self._head

    def close(self) -> None:
        """Let go; what is on its way is finished. Safe to call twice."""
        self._writers.shutdown()

    def refresh(self) -> None:
        """Read the checkpoint; the first time, try the store and remove what a crash left.

        Raises StorageError, TrustError when the bucket holds the checkpoint of another log.
        """
        wait(self._writing)  # of an update that failed
        self._writing = set()
        self._adopt(self._read())
        if not self._opened:
            if self._conditional:
                self._try_conditions()
            self._sweep()
            self._opened = True

    def edge(self) -> Edge | None:
        """See `Destination.edge`. Raises StorageError, `overtaken` when another process has moved on."""

        def read(path: str) -> bytes | None:
            found = self._objects.get(path, FULL_TILE_BYTES)
            return None if found is None else found.data

        edge = read_edge(self._head, read)
        if edge is None and not self._is_current(self._read()):
            raise self._overtaken()
        return edge

    def put(self, path: str, data: bytes) -> None:
        """See `Destination.put`. Raises StorageError, also of one that was put before."""
        kind = PARTIAL if f"{PARTIALS}/" in path else FULL
        if len(self._writing) >= WRITERS:
            self._finish(FIRST_COMPLETED)
        self._writing.add(self._writers.submit(self._objects.put, path, data, kind))

    def commit(self, head: Checkpoint) -> None:
        """See `Destination.commit`. Raises StorageError, `overtaken` when another process was first."""
        while self._writing:
            self._finish(FIRST_COMPLETED)
        old = self._head
        if old is not None and head.size < old.size:
            raise StorageError(f"{self} shows {old.size} entries: not replaced by {head.size}")
        self._replace(head)
        if old is not None:
            self._prune(f"{path}{PARTIALS}" for path in paths_of_edge(old.size))

    # --- the checkpoint ---

    def _read(self) -> Stored | None:
        return self._objects.get(CHECKPOINT, MAX_NOTE_BYTES)

    def _adopt(self, found: Stored | None) -> None:
        if self._head is not None and found is None:
            raise StorageError(
                f"the checkpoint of {self} is gone; somebody removed it: restart to write anew"
            )
        if not self._is_current(found):
            assert found is not None
            try:
                self._head = open_checkpoint(found.data, self._policy)
            except VerifyError as error:
                raise TrustError(
                    f"the checkpoint in {self} is not of this log ({error}): give another bucket or prefix",
                    reason="remembered-checkpoint",
                ) from error
        self._tag = None if found is None else found.tag

    def _is_current(self, found: Stored | None) -> bool:
        note = None if self._head is None else self._head.note.encode()
        return note == (None if found is None else found.data)

    def _replace(self, head: Checkpoint) -> None:
        note = head.note.encode()
        if not self._conditional:
            # A look is all there is. It leaves a moment, so only one process may write there.
            if not self._is_current(self._read()):
                raise self._overtaken()
            self._objects.put(CHECKPOINT, note, NOTE)
        elif not self._objects.replace(CHECKPOINT, note, NOTE, self._tag):
            found = self._read()
            if found is None or found.data != note:  # else it was ours, and its answer was lost
                raise self._overtaken()
        self._head, self._tag = head, None  # the next update reads it again

    def _overtaken(self) -> StorageError:
        return StorageError(
            f"another process has written the checkpoint of {self} meanwhile", reason=OVERTAKEN
        )

    # --- the other objects ---

    def _finish(self, how: str) -> None:
        """Wait for some of what is on its way; raises the first failure when all the rest has ended."""
        done, self._writing = wait(self._writing, return_when=how)
        failed = [error for one in done if (error := one.exception()) is not None]
        if failed:
            wait(self._writing)
            self._writing = set()
            raise failed[0]

    def _prune(self, folders: Iterable[str]) -> None:
        """Remove the partials below these folders whose full form is covered by the checkpoint."""
        for folder in folders:
            if is_covered(folder.removesuffix(PARTIALS), self._head):
                self._objects.remove(list(self._objects.list(folder)))

    def _sweep(self) -> None:
        """Remove the partials that a finished update no longer needed, of a process that could not.

        One look at all names: a thousand in each answer.
        """
        folders = {name.rpartition("/")[0] for name in self._objects.list("tile") if f"{PARTIALS}/" in name}
        for folder in sorted(folders):
            try:
                self._prune([folder])
            except MalformedError:
                logger.warning("%s in %s is no part of a log", folder, self)

    def _try_conditions(self) -> None:
        """Raises StorageError when the store writes although a condition does not hold: then nothing keeps
        two processes from leading readers back."""
        word, probe = b"tells whether this store knows conditions", f"{PROBE}{secrets.token_hex(8)}"
        try:
            self._objects.put(probe, word, NOTE)
            ignores = [
                name
                for name, tag in (("If-None-Match", None), ("If-Match", '"00000000000000000000000000000000"'))
                if self._objects.replace(probe, word, NOTE, tag)
            ]
        finally:
            self._objects.remove([probe])
        if ignores:
            raise StorageError(
                f"{self} writes although the condition {' and '.join(ignores)} does not hold: two processes"
                " could lead readers back; let only one write there, and say conditional = false",
                reason="no-conditions",
            )
