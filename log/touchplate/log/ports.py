"""What the parts of a log promise each other.

    submitter ─► Sequencer ─► Decider ─► (decided batches, in order) ─► Tree.apply ─► head, checkpoint

`Sequencer` is what the log's faces see. `Decider` puts entries into one order: alone (group commit) or
agreed between peers (blocks). `Tree` is the storage of record. Solo and peers differ in the decider only:
the same order gives the same root behind either (tests/log/test_deciders.py).
"""

from asyncio import Future as AsyncFuture
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from touchplate.verify.entry import Entry
from touchplate.verify.tiles import Tile

Sign = Callable[[int, bytes], bytes]
"""Makes the checkpoint (a signed note) of a tree size and root hash. Called inside the transaction of a
batch."""


@dataclass(frozen=True, slots=True)
class PackedEntry:
    """One entry as the sequencer and the tree need it: every hash made once, by whoever accepted it.

    `packed` is what envelope bundles serve (entry format 3); raw trees will put their extra data there.
    """

    leaf_data: bytes
    leaf_hash: bytes
    identity: bytes
    packed: bytes

    @property
    def weight(self) -> int:
        """Bytes that this entry adds to a batch."""
        return len(self.leaf_data) + len(self.packed)


def pack(entry: Entry, packed: bytes) -> PackedEntry:
    """The sequencer's view of an entry whose packed form is `packed`."""
    return PackedEntry(entry.leaf_data, entry.leaf_hash, entry.identity, packed)


@dataclass(frozen=True, slots=True)
class Sequenced:
    """Where an entry stands, for good. `duplicate`: its identity was there before this submission."""

    index: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Head:
    """The durable state of a tree. `checkpoint`: the newest signed note, None before the first was signed.

    The checkpoint may lag behind `size` (peers sign after they decided); it never runs ahead.
    """

    size: int
    root: bytes
    checkpoint: bytes | None
    frozen: bool = False
    """Whether the tree takes no new entries any more."""


class Tree(Protocol):
    """Storage of record of one tree. Any thread may read; `apply` calls must not overlap.

    Every read that names a range or a tile beyond the head raises NotFoundError of this part; a storage
    that does not answer raises StorageFailedError.
    """

    def head(self) -> Head:
        """The head of the last batch that is durable. Never blocks on storage."""

    def apply(
        self, entries: Sequence[PackedEntry], sign: Sign | None = None, decided: bytes | None = None
    ) -> list[Sequenced]:
        """Append what is new in `entries`, in order; one answer each, in order.

        One transaction: leaves, identities, tiles, head, and the checkpoint when `sign` is given. When this
        returns, all of it is durable and `head()` shows it. When it raises StorageFailedError, either all or
        nothing of the batch is there, and the next call finds out: submitting again is always safe. (Of a
        tree whose entries are elsewhere also a part, and the order within a batch is decided there:
        `trillian/store/tree.py`.)

        `decided`: what the decider has to remember beside the batch, such as the height of a block. It is
        stored in the same transaction, also when nothing in `entries` is new.
        """

    def decided(self) -> bytes | None:
        """The newest `decided` that is durable; None before the first."""

    def store_checkpoint(self, size: int, checkpoint: bytes) -> None:
        """Make `checkpoint` (of `size` entries) the newest one. Raises CheckpointError if that goes back."""

    def read_leaf_data(self, start: int, end: int) -> list[bytes]:
        """Leaf data of the indexes `start` to `end - 1`."""

    def read_packed(self, start: int, end: int) -> list[bytes]:
        """Packed entries of the indexes `start` to `end - 1`."""

    def read_tile(self, tile: Tile) -> bytes:
        """`tile.width` hashes of 32 bytes; also for widths that were passed long ago."""

    def find_identities(self, identities: Sequence[bytes]) -> Mapping[bytes, int]:
        """The indexes of those `identities` (32 bytes each) that are in the tree."""

    def close(self) -> None:
        """Let go of the storage. Safe to call twice."""


class Sequencer(Protocol):
    """Takes entries and answers when they are durable and integrated. Safe from any thread."""

    def submit(self, entries: Sequence[PackedEntry]) -> list[Future[Sequenced]]:
        """One future per entry. Raises OverloadedError (nothing was taken) or StoppedError."""

    def submit_here(self, entries: Sequence[PackedEntry]) -> "list[AsyncFuture[Sequenced]]":
        """The same for the running event loop, which is woken once per batch instead of once per entry."""


class Apply(Protocol):
    """Executes one decided batch. Raises StorageFailedError when nothing of it may be relied upon."""

    def __call__(self, entries: Sequence[PackedEntry], decided: bytes | None = None, /) -> None:
        """`decided`: see `Tree.apply`."""


class Decider(Protocol):
    """Decides on one order of all that is proposed, and executes it batch by batch."""

    def start(self, apply: Apply) -> None:
        """From now on call `apply` with decided batches: in order, one at a time."""

    def propose(self, entries: Sequence[PackedEntry]) -> None:
        """Take entries. Must not block for storage. Each is in some later `apply`, unless `stop` comes
        first."""

    def stop(self) -> None:
        """Execute what was proposed, then stop calling `apply`. Returns when that is so."""
