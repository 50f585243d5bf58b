"""A log as files that need no program of ours to be served, written by the log itself.

They go into a folder, which is that of a mirror (`mirror.py`), or into a bucket (`bucket/`): the same paths,
the same order of durable steps, the same clean-up of partial tiles. The difference to a mirror is where the
bytes come from, and what is believed. A mirror checks what a log says; here the operator's own storage is
read, and what it says must be of one piece before anybody sees it:

    1  the tree that is shown is the beginning of the storage's, else nothing is written
    2  each leaf is that of its envelope; tiles are hashed from the leaves, and not copied
    3  the root that comes out is the one in the signed checkpoint
    4  all of these files are durable; then the checkpoint is written, and partials go that nobody can ask for

After a kill at any step, a reader and the next start find a whole log of the old size or the new.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from touchplate.base.progress import Progress, QuietProgress
from touchplate.log.errors import CheckpointError, CorruptTreeError, NotFoundError
from touchplate.log.follow import Update
from touchplate.log.growth import Edge, edge_tiles, grow
from touchplate.log.ports import Head, Tree
from touchplate.verify.checkpoints import Checkpoint, open_checkpoint
from touchplate.verify.entry import parse_packed
from touchplate.verify.errors import VerifyError
from touchplate.verify.policy import Policy
from touchplate.verify.proofs import root_of
from touchplate.verify.rfc6962 import HASH_SIZE, leaf_hash
from touchplate.verify.tiles import (
    TILE_WIDTH,
    Tile,
    TileReader,
    entries_path,
    envelopes_path,
    format_entry_bundle,
    format_envelope_bundle,
    tile_path,
)

OVERTAKEN = "overtaken"
"""`reason` of the StorageError of a destination where another process has shown a newer head meanwhile."""


class Exported(Protocol):
    """A stored tree: what fsck's `Source` has of it. Every answer is a claim."""

    def head(self) -> tuple[int, bytes, bytes | None]:
        """Size, root, newest checkpoint if any."""

    def leaves(self, start: int, end: int) -> Mapping[int, tuple[bytes | None, bytes | None]]:
        """(leaf data, packed entry) by index."""

    def tile(self, tile: Tile) -> bytes | None:
        """The bytes of a tile, also of a wider form of it; None when there is none."""


class Destination(Protocol):
    """Where the files go. One thread uses it."""

    kind: str
    """"folder" or "bucket"."""

    @property
    def head(self) -> Checkpoint | None:
        """The checkpoint that is shown, as it was read or written last."""

    def refresh(self) -> None:
        """Read `head` again, if others may write there. Raises StorageError, TrustError."""

    def edge(self) -> Edge | None:
        """The right edge of the tree of `head`; None when the files do not lead to it."""

    def put(self, path: str, data: bytes) -> None:
        """Write a file that was proven; it is durable at the latest when `commit` writes the checkpoint."""

    def commit(self, head: Checkpoint) -> None:
        """Show `head`: all of its files are there. Then partials go that nobody can ask for."""

    def close(self) -> None:
        """Let go. Safe to call twice."""


class TreeSource:
    """A running log's tree as something to export."""

    def __init__(self, tree: Tree, newest: Callable[[], Head]) -> None:
        """`newest`: the head, read again if other processes write it."""
        self._tree = tree
        self._newest = newest

    def head(self) -> tuple[int, bytes, bytes | None]:
        """See `Exported.head`."""
        head = self._newest()
        return head.size, head.root, head.checkpoint

    def leaves(self, start: int, end: int) -> Mapping[int, tuple[bytes | None, bytes | None]]:
        """See `Exported.leaves`."""
        rows = zip(self._tree.read_leaf_data(start, end), self._tree.read_packed(start, end), strict=True)
        return dict(enumerate(rows, start))

    def tile(self, tile: Tile) -> bytes | None:
        """See `Exported.tile`."""
        try:
            return self._tree.read_tile(tile)
        except NotFoundError:
            return None


class Exporter:
    """Brings one destination up to a stored tree's newest checkpoint, again and again. One thread uses it."""

    def __init__(self, destination: Destination, policy: Policy) -> None:
        """`policy`: the log's own keys, of which one signed what is exported."""
        self.destination = destination
        self._policy = policy

    def close(self) -> None:
        """Let go of the destination. Safe to call twice."""
        self.destination.close()

    def update(
        self,
        source: Exported,
        *,
        stopping: Callable[[], bool] = lambda: False,
        progress: Callable[[], Progress] = QuietProgress,
    ) -> Update:
        """Write everything up to the newest checkpoint of `source`. Without one there is nothing to do.

        `stopping` is asked between bundles. Raises CheckpointError when the tree that is shown is not the
        beginning of this one, CorruptTreeError for a storage that contradicts itself (what is shown stays
        as it was), StorageError, and what `source` raises.
        """
        # Before the source is asked: what others have shown since then is in it as well.
        self.destination.refresh()
        old = self.destination.head
        head = self._head(source)
        if head is None:
            return Update(old, 0 if old is None else old.size)
        if old is not None:
            _check_goes_on(source, old, head)
        edge = self.destination.edge()
        healed = edge is None
        edge = edge or Edge()
        since = 0 if old is None else old.size
        with (progress if edge.size < head.size else QuietProgress)() as display:
            task = display.task(f"entries of {head.origin}", head.size - edge.size, "entries")
            while edge.size < head.size:
                if stopping():
                    return Update(old, since, complete=False, healed=healed)
                before = edge.size
                edge = self._bundle(source, edge, head.size)
                task.advance(edge.size - before)
            task.finish()
        if edge.root() != head.root:
            raise CorruptTreeError(
                f"the leaves lead to root {edge.root().hex()}, the checkpoint of size {head.size} has"
                f" {head.root.hex()}: run log fsck"
            )
        if healed or edge.size > since:  # else they were just read
            for tile in edge_tiles(edge.size):
                self.destination.put(tile_path(tile), edge.partial[tile.level])
        if old is None or old.note != head.note:
            self.destination.commit(head)
        return Update(head, since, healed=healed)

    def _head(self, source: Exported) -> Checkpoint | None:
        _, _, note = source.head()
        if note is None:
            return None
        try:
            return open_checkpoint(note, self._policy)
        except VerifyError as error:
            raise CheckpointError(f"the stored checkpoint cannot be exported: {error}") from error

    def _bundle(self, source: Exported, edge: Edge, size: int) -> Edge:
        """Write the bundles that go on at `edge`, and the tiles that became full by them."""
        number = edge.size // TILE_WIDTH
        start, end = number * TILE_WIDTH, min(size, (number + 1) * TILE_WIDTH)
        rows = source.leaves(start, end)
        pairs = [_checked(index, rows.get(index, (None, None))) for index in range(start, end)]
        growth = grow(edge, [leaf_hash(data) for data, _ in pairs[edge.size - start :]])
        width = end - start
        self.destination.put(entries_path(number, width), format_entry_bundle([data for data, _ in pairs]))
        self.destination.put(
            envelopes_path(number, width), format_envelope_bundle([packed for _, packed in pairs])
        )
        for tile, data in growth.tiles.items():
            if tile.width == TILE_WIDTH:
                self.destination.put(tile_path(tile), data)
        return growth.edge


def _checked(index: int, row: tuple[bytes | None, bytes | None]) -> tuple[bytes, bytes]:
    """Leaf data and packed entry at `index`, which belong together."""
    data, packed = row
    if data is None or packed is None:
        raise CorruptTreeError(f"leaf {index} is not stored in full: run log fsck")
    try:
        derived = parse_packed(packed).leaf_data
    except VerifyError as error:
        raise CorruptTreeError(f"envelope {index} is no entry: {error}; run log fsck") from error
    if derived != data:
        raise CorruptTreeError(f"leaf {index} is not the leaf data of its envelope: run log fsck")
    return data, packed


def _check_goes_on(source: Exported, old: Checkpoint, new: Checkpoint) -> None:
    """Refuse a storage that does not contain the tree which is shown already."""

    def read(tile: Tile) -> bytes:
        hashes = source.tile(tile)
        if hashes is None or len(hashes) < tile.width * HASH_SIZE:
            raise CorruptTreeError(f"{tile} is not stored in full: run log fsck")
        return hashes[: tile.width * HASH_SIZE]

    if old.size > new.size:
        raise CheckpointError(
            f"{old.size} entries are shown already, the database has a checkpoint of {new.size}: it is an"
            " older copy, use the newest one"
        )
    root = new.root if old.size == new.size else root_of(TileReader(read, old.size), old.size)
    if root != old.root:
        raise CheckpointError(
            f"another history than the database's is shown already: root {old.root.hex()} at size {old.size},"
            f" not {root.hex()}; give another folder or prefix, or the right database"
        )
