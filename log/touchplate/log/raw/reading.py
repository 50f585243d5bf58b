"""What can be read from a raw tree, beside what every log answers."""

from touchplate.log.errors import NotFoundError
from touchplate.log.reading import LogReader
from touchplate.log.storage.raw import RawLeaf, RawTree
from touchplate.log.storage.raw_rows import MAX_VALUE
from touchplate.verify.tiles import BundleCoord, Tile
from touchplate.verify.tlog_proof import TlogProof, format_tlog_proof


class RawReader(LogReader):
    """Reads one raw tree. Safe from any thread; everything but `checkpoint` may block on storage."""

    def __init__(self, tree: RawTree) -> None:
        super().__init__(tree)
        self._raw = tree

    def resource(self, coord: Tile | BundleCoord) -> bytes:
        """A hash tile or entry bundle. Raises NotFoundError, also for envelopes, which this tree has none
        of."""
        if isinstance(coord, BundleCoord) and coord.kind != "entries":
            raise NotFoundError("a tree of any bytes has no envelopes; its entries are in tile/entries/")
        return super().resource(coord)

    def leaf(self, index: int) -> RawLeaf:
        """The leaf at `index`. Raises NotFoundError."""
        (leaf,) = self._raw.read_leaves(index, index + 1, MAX_VALUE)
        return leaf

    def index_of(self, leaf_hash: bytes) -> int:
        """The first index of a leaf with this hash (32 bytes). Raises NotFoundError."""
        size = self.size()
        found = [index for index in self._raw.find_hashes([leaf_hash]).get(leaf_hash, []) if index < size]
        if not found:
            raise NotFoundError(f"no leaf of this tree of {size} entries has the hash {leaf_hash.hex()}")
        return found[0]

    def tlog_proof(self, index: int) -> bytes:
        """Inclusion of the leaf at `index` under the newest checkpoint (C2SP tlog-proof), without the leaf.

        Raises NotFoundError when that checkpoint does not cover it.
        """
        checkpoint, size = self.covering(index)
        return format_tlog_proof(TlogProof(index, tuple(self.inclusion(index, size)), checkpoint, None))
