"""A mirror: a log as files in a folder, with the paths of tlog-tiles, that goes on from where it stands.

    checkpoint                      the newest head that all files below are proven under; written last
    tile/…                          tiles, entry bundles and envelope bundles (tlog-tiles, entry format 3)
    fork-….json, damage-….json      reports, written once (report format 9)
    .lock                           held by the one process that writes

Every file is made durable under its own name before the checkpoint that needs it, so a reader, and the next
start after a crash, find at each moment a whole log of some size. A partial tile goes when its full one is
there and covered by the checkpoint, as tlog-tiles allows: until then somebody may read by an older head.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from touchplate.base.durable import FileLock, make_folder, remove_abandoned_writes, sync_folder, write_atomic
from touchplate.base.errors import StorageError
from touchplate.log.growth import Edge, edge_of, edge_tiles
from touchplate.verify.checkpoints import Checkpoint
from touchplate.verify.errors import NotFoundError, TransportError
from touchplate.verify.heads import RememberedHead
from touchplate.verify.policy import Policy
from touchplate.verify.rfc6962 import HASH_SIZE
from touchplate.verify.sources import FolderSource, LogSource
from touchplate.verify.tiles import FULL_TILE_BYTES, TILE_HEIGHT, TILE_WIDTH, Tile, parse_tile_path, tile_path

CHECKPOINT = "checkpoint"
LOCK = ".lock"
PARTIALS = ".p"
"""How the name ends below which the unfinished forms of a tile or bundle stand."""


class Mirror:
    """The folder of one mirror, locked for as long as this object is open. One thread uses it."""

    kind = "folder"

    def __init__(self, folder: Path, policy: Policy) -> None:
        """Take the lock, and remove what a crash left.

        Raises StorageError, `locked` when another process writes here; TrustError when the folder holds the
        checkpoint of another log, or one that the policy does not accept.
        """
        self.folder = folder
        make_folder(folder)
        self._lock = FileLock(folder / LOCK)
        try:
            self.head: Checkpoint | None = RememberedHead(folder / CHECKPOINT, policy).load()
            self._sweep()
        except BaseException:
            self._lock.close()
            raise

    def close(self) -> None:
        """Let go of the folder. Safe to call twice."""
        self._lock.close()

    def __str__(self) -> str:
        return str(self.folder)

    def refresh(self) -> None:
        """Nothing: while the folder is locked, nobody else writes into it."""

    def __enter__(self) -> Mirror:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def edge(self) -> Edge | None:
        """The right edge of the tree of `head`, from its unfinished tiles; None when they do not lead to it.

        (Then a file was changed or lost since, and only a look at everything can tell what else was.)
        """
        source = FolderSource(self.folder)

        def read(path: str) -> bytes | None:
            try:
                return source.read(path, FULL_TILE_BYTES)
            except TransportError:
                return None

        return read_edge(self.head, read)

    def put(self, path: str, data: bytes) -> None:
        """Write a file that was proven; on return it is on disk whole. Raises StorageError."""
        target = self.folder / path
        with _storage_errors(target):
            make_folder(target.parent)
            if target.is_file() and target.stat().st_size == len(data) and target.read_bytes() == data:
                # Of a run that was killed: its name may not be on disk yet.
                sync_folder(target.parent)
                return
        write_atomic(target, data)

    def commit(self, head: Checkpoint) -> None:
        """Make `head` the mirror's: all of its files are there. Raises StorageError."""
        old = 0 if self.head is None else self.head.size
        write_atomic(self.folder / CHECKPOINT, head.note.encode())
        self.head = head
        with _storage_errors(self.folder):
            for path in paths_of_edge(old):
                self._prune(self.folder / f"{path}{PARTIALS}")

    # --- what is not needed any more ----------------------------------------------------------------------

    def _sweep(self) -> None:
        """After a crash: half-written files, and partials that a finished step no longer needed."""
        remove_abandoned_writes(self.folder)
        with _storage_errors(self.folder):
            for path in [self.folder / "tile", *(self.folder / "tile").rglob("*")]:
                if not path.is_dir():
                    continue
                remove_abandoned_writes(path)
                if path.suffix == PARTIALS:
                    self._prune(path)

    def _prune(self, partials: Path) -> None:
        """Remove a folder of partials when the full file is there and the checkpoint covers it."""
        full = partials.with_suffix("")
        if partials.is_dir() and full.is_file() and self._is_covered(full):
            shutil.rmtree(partials)
            sync_folder(partials.parent)

    def _is_covered(self, full: Path) -> bool:
        return is_covered(full.relative_to(self.folder).as_posix(), self.head)


class MirrorFirst:
    """A source that reads what the mirror already has from there, and the rest from the log.

    Nothing of it is believed more for that: both are bytes, and both are checked. `used`: whether anything
    came from the mirror since it was last set to False.
    """

    def __init__(self, remote: LogSource, folder: Path) -> None:
        self._remote = remote
        self._local = FolderSource(folder)
        self._only_remote = False
        self.used = False

    def __str__(self) -> str:
        return str(self._remote)

    @contextmanager
    def only_remote(self) -> Iterator[None]:
        """Within the block the mirror is not read: what it has did not hold."""
        self._only_remote = True
        try:
            yield
        finally:
            self._only_remote = False

    def read(self, path: str, max_bytes: int) -> bytes:
        """See LogSource; the checkpoint always comes from the log."""
        if path != CHECKPOINT and not self._only_remote:
            try:
                data = self._local.read(path, max_bytes)
            except TransportError:  # not there, or not readable: the log has it
                pass
            else:
                self.used = True
                return data
        return self._remote.read(path, max_bytes)

    def post(self, path: str, body: bytes, headers: dict[str, str], max_bytes: int) -> bytes:
        """Nobody writes to a log by way of its mirror: raises NotFoundError."""
        raise NotFoundError("a mirror cannot be written to")


def read_edge(head: Checkpoint | None, read: Callable[[str], bytes | None]) -> Edge | None:
    """The right edge of the tree of `head`, from the files of its unfinished tiles; None when they do not
    lead to it. `read`: the bytes at a path, None when there are none."""
    if head is None:
        return Edge()
    partial = {}
    for tile in edge_tiles(head.size):
        data = read(tile_path(tile))
        if data is None or len(data) != tile.width * HASH_SIZE:
            return None
        partial[tile.level] = data
    edge = edge_of(head.size, partial)
    return edge if edge.root() == head.root else None


def paths_of_edge(size: int) -> Iterator[str]:
    """The full forms of the unfinished tiles of a tree and, for leaves, of the two bundles beside them."""
    for tile in edge_tiles(size):
        full = tile_path(Tile(tile.level, tile.index))
        yield full
        if tile.level == 0:
            for kind in ("entries", "envelopes"):
                yield full.replace("tile/0/", f"tile/{kind}/", 1)


def is_covered(full: str, head: Checkpoint | None) -> bool:
    """Whether the full tile or bundle at this path belongs to the tree of `head`: then nobody needs its
    unfinished forms. Raises MalformedError for another path."""
    coord = parse_tile_path(full)
    level = coord.level if isinstance(coord, Tile) else 0
    size = 0 if head is None else head.size
    return (coord.index + 1) * TILE_WIDTH <= size >> (TILE_HEIGHT * level)


@contextmanager
def _storage_errors(where: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{error.filename or where}: {error.strerror}") from error
