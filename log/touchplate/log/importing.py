"""A whole log out of a folder, into an empty database or an older copy of the same log.

    1  check    everything that `fsck` checks, and that the folder's tree contains what is known of this log:
       the
                database's own tree, and the checkpoint that it published last. Nothing is written before
    2  copy     in batches, into a tree in the state `importing`: nobody can serve or sign what is there so
       far
    3  finish   the root is the one of the checkpoint, whose signed note becomes the newest; the tree is
       active

A kill in step 2 leaves that state. The same import again checks everything again, and goes on where it
stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from touchplate.log.errors import CheckpointError
from touchplate.log.fsck import Result, check_log
from touchplate.log.ports import PackedEntry, pack
from touchplate.log.served import ServedLog
from touchplate.verify.checkpoints import Checkpoint, UnverifiedCheckpoint, open_checkpoint
from touchplate.verify.entry import parse_packed
from touchplate.verify.errors import MalformedError
from touchplate.verify.notes import MAX_NOTE_BYTES
from touchplate.verify.policy import Policy
from touchplate.verify.sources import LogSource
from touchplate.verify.tiles import TILE_WIDTH

if TYPE_CHECKING:
    from touchplate.log.storage.states import ImportTree

BATCH_BUNDLES = 16
"""Bundles in one transaction: 4,096 entries, as many as the sequencer takes."""

Progress = Callable[[int, int], None]


class ImportedLog:
    """The log in a folder, as somebody left it there."""

    def __init__(self, source: LogSource, policy: Policy) -> None:
        """`policy`: the keys of which one must have signed the checkpoint. Raises TransportError when there
        is none, and what `open_checkpoint` raises."""
        self._policy = policy
        self.head: Checkpoint = open_checkpoint(source.read("checkpoint", MAX_NOTE_BYTES), policy)
        self._served = ServedLog(source, self._read_head)
        self._served.head()

    def _read_head(self, note: bytes) -> tuple[int, bytes]:
        head = open_checkpoint(note, self._policy)
        if head.note != self.head.note:
            raise CheckpointError(
                "the folder changed while it was read: stop what writes to it, and try again"
            )
        return head.size, head.root

    def check(self, known: Sequence[UnverifiedCheckpoint], progress: Progress | None = None) -> Result:
        """Recompute all of it; `known`: trees that must be its beginnings. Raises TransportError."""
        return check_log(self._served, policy=self._policy, against=known, progress=progress)

    def copy(self, tree: ImportTree, progress: Progress | None = None) -> None:
        """Append what `tree` lacks and finish the import.

        Raises CheckpointError when the outcome is not the tree of the checkpoint (the state stays
        `importing`), StorageFailedError, TransportError.
        """
        while (size := tree.head().size) < self.head.size:
            end = min(self.head.size, (size // TILE_WIDTH + BATCH_BUNDLES) * TILE_WIDTH)
            tree.append(self._entries(size, end))
            if progress is not None:
                progress(end, self.head.size)
        head = tree.head()
        if (head.size, head.root) != (self.head.size, self.head.root):
            raise CheckpointError(
                f"the database has {head.size} entries and root {head.root.hex()}, the checkpoint in the"
                f" folder {self.head.size} and {self.head.root.hex()}: one of them was changed meanwhile"
            )
        tree.finish(self.head.note.encode())

    def _entries(self, start: int, end: int) -> list[PackedEntry]:
        entries: list[PackedEntry] = []
        while start < end:
            stop = min(end, (start // TILE_WIDTH + 1) * TILE_WIDTH)
            rows = self._served.leaves(start, stop)
            for index in range(start, stop):
                _, packed = rows.get(index, (None, None))
                if packed is None:
                    raise MalformedError(f"envelope {index} is not in the folder any more")
                entries.append(pack(parse_packed(packed), packed))
            start = stop
        return entries
