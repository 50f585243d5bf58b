"""What can be read from a log, over any `Tree`: checkpoint, tiles, bundles, proofs, entries."""

from touchplate.log.errors import NotFoundError, RequestError
from touchplate.log.lookup import LeafLookup
from touchplate.log.ports import Tree
from touchplate.verify.checkpoints import parse_checkpoint_body
from touchplate.verify.entry import Entry, parse_packed
from touchplate.verify.errors import ProofError
from touchplate.verify.proofs import prove_consistency, prove_inclusion
from touchplate.verify.tiles import (
    TILE_WIDTH,
    BundleCoord,
    Tile,
    TileReader,
    format_entry_bundle,
    format_envelope_bundle,
)
from touchplate.verify.tlog_proof import TlogProof, format_tlog_proof

MAX_PAGE = 1000
"""Entries in one answer of `entries_after`: the size of a page everywhere."""


class LogReader:
    """Reads one tree. Safe from any thread; everything but `checkpoint` may block on storage."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._lookup = LeafLookup(tree)

    def size(self) -> int:
        """Entries that are durable and can be read."""
        return self._tree.head().size

    def checkpoint(self) -> bytes:
        """The newest signed note. Every tile that it speaks of can be read. Raises NotFoundError before the
        first."""
        checkpoint = self._tree.head().checkpoint
        if checkpoint is None:
            raise NotFoundError("this log has not signed a checkpoint yet")
        return checkpoint

    def resource(self, coord: Tile | BundleCoord) -> bytes:
        """The bytes of a hash tile, entry bundle or envelope bundle. Raises NotFoundError beyond the tree."""
        if isinstance(coord, Tile):
            return self._tree.read_tile(coord)
        start = coord.index * TILE_WIDTH
        if coord.kind == "entries":
            return format_entry_bundle(self._tree.read_leaf_data(start, start + coord.width))
        return format_envelope_bundle(self._tree.read_packed(start, start + coord.width))

    def entry(self, index: int) -> Entry:
        """The entry at `index`. Raises NotFoundError."""
        return parse_packed(self._tree.read_packed(index, index + 1)[0])

    def entries_after(self, size: int, limit: int = MAX_PAGE) -> list[tuple[int, bytes]]:
        """(index, packed entry) of up to `limit` entries from index `size` on: what a reader of `size`
        lacks."""
        end = min(self.size(), size + min(limit, MAX_PAGE))
        if size < 0 or size > end:
            raise RequestError(f"there is nothing after {size} in a tree of {end} entries")
        return list(enumerate(self._tree.read_packed(size, end), size))

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Proof that the leaf at `index` is in the tree of the first `size` leaves (RFC 6962 2.1.1)."""
        self._check_size(size)
        try:
            return prove_inclusion(TileReader(self._tree.read_tile, size), index, size)
        except ProofError as error:
            raise RequestError(str(error)) from error

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Proof that the tree of `old` leaves is a prefix of the tree of `new` leaves (RFC 6962 2.1.2)."""
        self._check_size(new)
        try:
            return prove_consistency(TileReader(self._tree.read_tile, new), old, new)
        except ProofError as error:
            raise RequestError(str(error)) from error

    def index_of(self, leaf_hash: bytes) -> int:
        """The index of the leaf with this hash (32 bytes). Raises NotFoundError."""
        return self._lookup.find(leaf_hash)

    def tlog_proof(self, index: int) -> bytes:
        """The entry at `index` and its inclusion under the newest checkpoint, as one file (C2SP tlog-proof).

        Raises NotFoundError when that checkpoint does not cover it.
        """
        checkpoint, size = self.covering(index)
        packed = self._tree.read_packed(index, index + 1)[0]
        return format_tlog_proof(TlogProof(index, tuple(self.inclusion(index, size)), checkpoint, packed))

    def covering(self, index: int) -> tuple[bytes, int]:
        """The newest checkpoint and its size, which is above `index`. Raises NotFoundError."""
        checkpoint = self.checkpoint()
        size = parse_checkpoint_body(checkpoint.decode().partition("\n\n")[0] + "\n").size
        if index >= size:
            raise NotFoundError(f"the newest checkpoint covers {size} entries, not index {index} (yet)")
        return checkpoint, size

    def _check_size(self, size: int) -> None:
        if size > self.size():
            raise NotFoundError(f"this tree has {self.size()} entries, not {size} (yet)")
