"""The `Tree` port over Trillian: it keeps the entries and orders them; what is signed is computed here.

    1. entries whose identity is known here are answered; the others are queued: Trillian has them durably
    2. Trillian integrates when it likes; its newest root says how far it is
    3. every leaf after our head is read: an entry of this batch byte for byte, or one that this log admits
    4. they must hash, from our own edge on, to the root that Trillian told
    5. ONE transaction: identities, tiles, head, checkpoint. Then the answers

A crash anywhere leaves at most entries in Trillian that nobody was told of. The next batch, or the next
start, takes them up by the same steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from logging import getLogger
from threading import Lock
from typing import Protocol

from touchplate.log.errors import (
    CheckpointError,
    CorruptTreeError,
    LogError,
    NotFoundError,
    StorageFailedError,
)
from touchplate.log.ports import Head, PackedEntry, Sequenced, Sign
from touchplate.log.storage.derived import DerivedTree
from touchplate.log.storage.sql import without_repeats
from touchplate.log.trillian.roots import LogRoot
from touchplate.log.trillian.store.remote import RemoteLeaf, RemoteTrillian
from touchplate.verify.errors import VerifyError
from touchplate.verify.proofs import is_prefix
from touchplate.verify.rfc6962 import EMPTY_ROOT, HASH_SIZE, leaf_hash
from touchplate.verify.tiles import TILE_WIDTH, Tile, tile_width

POLL_SECONDS = (0.02, 0.2)
"""Between two questions for the newest root: the first pause, and the longest. Trillian's own signer looks
ten times a second."""

STEP_LEAVES = 4096
STEP_BYTES = 16 * 1024 * 1024
"""Leaves and bytes that are taken up in one transaction: a long tail is taken in steps."""

INTEGRATE_SECONDS = 20.0
"""The longest wait for integration unless the configuration says otherwise."""

logger = getLogger(__name__)


class Content(Protocol):
    """What the entries of a log are: whether a leaf that Trillian gives may be one."""

    def admit(self, entry: PackedEntry, index: int) -> None:
        """Raises LogError or VerifyError unless this log lets `entry` stand at `index`."""

    def check(self, entry: PackedEntry) -> None:
        """Raises LogError or VerifyError unless the packed entry is that of the leaf."""


class TrillianTree:
    """One tree of a Trillian, written by this process alone. See `Tree` for what is not said here.

    Where it differs: the order of what comes in one batch is Trillian's, and of a batch that fails a part may
    be there. `decided` is stored after the batch.
    """

    def __init__(
        self,
        remote: RemoteTrillian,
        tree_id: int,
        local: DerivedTree,
        content: Content,
        *,
        integrate_seconds: float = INTEGRATE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._remote = remote
        self._tree_id = tree_id
        self._local = local
        self._content = content
        self._integrate_seconds = integrate_seconds
        self._clock = clock
        self._writing = Lock()  # held for the whole of every batch

    @property
    def tree_id(self) -> int:
        """The tree's number in Trillian."""
        return self._tree_id

    def head(self) -> Head:
        """See `Tree.head`."""
        return self._local.head()

    def decided(self) -> bytes | None:
        """See `Tree.decided`."""
        return self._local.decided()

    def store_checkpoint(self, size: int, checkpoint: bytes) -> None:
        """See `Tree.store_checkpoint`."""
        self._local.store_checkpoint(size, checkpoint)

    def close(self) -> None:
        """See `Tree.close`."""
        self._local.close()
        self._remote.close()

    # Writing

    def catch_up(self) -> None:
        """Take up what Trillian has integrated beyond our head, unsigned; check that it has our head.

        A log that is frozen takes up nothing.

        Raises CheckpointError when Trillian's tree is not one that goes on from ours, or holds what this log
        never admitted; CorruptTreeError, StorageFailedError.
        """
        with self._writing:
            self._local.settle()
            root = self._remote.newest_root(self._tree_id)
            head = self._local.head()
            if head.frozen:
                self._check_not_back(head, root)
                self._check_grown(head.size, head.root, root)
            else:
                self._take(root, {}, None)

    def apply(
        self, entries: Sequence[PackedEntry], sign: Sign | None = None, decided: bytes | None = None
    ) -> list[Sequenced]:
        """See `Tree.apply`."""
        with self._writing:
            self._local.settle()
            identities = [entry.identity for entry in entries]
            known = dict(self._local.find_identities(identities))
            fresh = without_repeats([entry for entry in entries if entry.identity not in known])
            placed = self._integrate(fresh, sign) if fresh else {}
            if decided is not None:
                self._local.apply([], None, decided)
        return _answers(entries, known, placed)

    def _integrate(self, fresh: Sequence[PackedEntry], sign: Sign | None) -> dict[bytes, RemoteLeaf]:
        """Queue entries and wait until each stands below our own head; where, by identity."""
        self._local.check_writable()  # before Trillian has them
        self._remote.queue(self._tree_id, fresh)
        mine = {entry.identity: entry for entry in fresh}
        placed: dict[bytes, RemoteLeaf] = {}
        deadline, pause = self._clock() + self._integrate_seconds, POLL_SECONDS[0]
        while True:
            placed |= self._take(self._remote.newest_root(self._tree_id), mine, sign)
            if len(placed) == len(mine):
                return placed
            if self._clock() > deadline:
                raise StorageFailedError(
                    f"appending a batch: the Trillian at {self._remote.address} has not integrated"
                    f" {len(mine) - len(placed)} of {len(mine)} entries within"
                    f" {self._integrate_seconds:.0f} s: does its log signer run?"
                )
            time.sleep(pause)
            pause = min(2 * pause, POLL_SECONDS[1])

    def _take(
        self, root: LogRoot, mine: Mapping[bytes, PackedEntry], sign: Sign | None
    ) -> dict[bytes, RemoteLeaf]:
        """Move our head to `root`, in one step or several, and sign each; where those of `mine` were met.

        Nothing is kept of a step whose leaves do not hash to what Trillian says. Each is signed because from
        then on its entries are answered as duplicates: whatever is answered, a checkpoint covers it.
        """
        self._check_not_back(self._local.head(), root)
        met: dict[bytes, RemoteLeaf] = {}
        while (size := self._local.head().size) < root.size:
            leaves = self._step(size, root.size)
            entries = [self._entry(leaf, mine) for leaf in leaves]
            grown = self._local.root_after([entry.leaf_hash for entry in entries])
            self._check_grown(*grown, root)
            self._local.append(entries, sign)
            met |= {leaf.identity: leaf for leaf in leaves if leaf.identity in mine}
            if grown[0] < root.size:
                logger.info("%d of the %d entries in Trillian are taken up", grown[0], root.size)
        return met

    def _step(self, start: int, end: int) -> list[RemoteLeaf]:
        """The next leaves, as many as are taken up at once: one at least."""
        leaves, weight = list[RemoteLeaf](), 0
        for leaf in self._remote.leaves(self._tree_id, start, min(end, start + STEP_LEAVES)):
            leaves.append(leaf)
            weight += len(leaf.value) + len(leaf.extra)
            if weight > STEP_BYTES:
                break
        return leaves

    def _entry(self, leaf: RemoteLeaf, mine: Mapping[bytes, PackedEntry]) -> PackedEntry:
        """The entry that a leaf is. Raises CheckpointError for one that this log never admitted."""
        own = mine.get(leaf.identity)
        if own is not None and (own.leaf_data, own.packed) == (leaf.value, leaf.extra):
            return own
        entry = PackedEntry(leaf.value, leaf_hash(leaf.value), leaf.identity, leaf.extra)
        try:
            if len(leaf.identity) != HASH_SIZE:
                raise CorruptTreeError(f"it has an identity of {len(leaf.identity)} bytes")
            self._content.admit(entry, leaf.index)
        except (LogError, VerifyError) as error:
            raise CheckpointError(
                f"leaf {leaf.index} of tree {self._tree_id} in the Trillian at {self._remote.address} is"
                f" nothing that this log admits ({error}), and will not be signed: somebody else writes that"
                " tree, or a key was taken off the admission list instead of getting an until_index"
            ) from error
        return entry

    def _check_not_back(self, head: Head, root: LogRoot) -> None:
        if root.size < head.size or (root.size == head.size and root.root != head.root):
            raise CheckpointError(
                f"the Trillian at {self._remote.address} tells size {root.size}, root {root.root.hex()} for"
                f" tree {self._tree_id}; this log is at size {head.size}, root {head.root.hex()}: its"
                " database went back or was exchanged; nothing is signed until it contains this head"
            )

    def _check_grown(self, size: int, computed: bytes, root: LogRoot) -> None:
        """Check the root of our leaves against what Trillian told, at its size or on the way there."""
        if size in (0, root.size):
            is_right = computed == (root.root if size else EMPTY_ROOT)
        else:
            proof = self._remote.consistency(self._tree_id, size, root.size)
            is_right = all(len(each) == HASH_SIZE for each in proof) and is_prefix(
                root, size, computed, proof
            )
        if not is_right:
            raise CheckpointError(
                f"the leaves that the Trillian at {self._remote.address} gives for tree {self._tree_id} have"
                f" root {computed.hex()} at size {size}, which is not in the tree of size {root.size}, root"
                f" {root.root.hex()}, that it tells: nothing of it is signed"
            )

    # Reading

    def read_leaf_data(self, start: int, end: int) -> list[bytes]:
        """See `Tree.read_leaf_data`."""
        return [entry.leaf_data for entry in self._read(start, end)]

    def read_packed(self, start: int, end: int) -> list[bytes]:
        """See `Tree.read_packed`."""
        return [entry.packed for entry in self._read(start, end)]

    def read_tile(self, tile: Tile) -> bytes:
        """See `Tree.read_tile`."""
        return self._local.read_tile(tile)

    def find_identities(self, identities: Sequence[bytes]) -> Mapping[bytes, int]:
        """See `Tree.find_identities`."""
        return self._local.find_identities(identities)

    def _read(self, start: int, end: int) -> Iterable[PackedEntry]:
        """Entries as Trillian has them, each compared with the hash that was signed."""
        size = self._local.head().size
        if not 0 <= start <= end <= size:
            raise NotFoundError(f"entries {start} to {end} are not in a tree of size {size}")
        signed = self._leaf_hashes(start, end, size)
        return [
            self._checked(leaf, signed[leaf.index - start])
            for leaf in self._remote.leaves(self._tree_id, start, end)
        ]

    def _checked(self, leaf: RemoteLeaf, signed: bytes) -> PackedEntry:
        entry = PackedEntry(leaf.value, leaf_hash(leaf.value), leaf.identity, leaf.extra)
        try:
            if entry.leaf_hash != signed:
                raise CorruptTreeError("it has another hash")
            self._content.check(entry)
        except (LogError, VerifyError) as error:
            raise CorruptTreeError(
                f"what the Trillian at {self._remote.address} gives as leaf {leaf.index} of tree"
                f" {self._tree_id} is not what this log signed: {error}"
            ) from error
        return entry

    def _leaf_hashes(self, start: int, end: int, size: int) -> list[bytes]:
        hashes = list[bytes]()
        for number in range(start // TILE_WIDTH, -(-end // TILE_WIDTH)):
            first = number * TILE_WIDTH
            tile = self._local.read_tile(Tile(0, number, tile_width(0, number, size)))
            inside = range(max(start, first) - first, min(end - first, len(tile) // HASH_SIZE))
            hashes += [tile[HASH_SIZE * at : HASH_SIZE * (at + 1)] for at in inside]
        return hashes


def _answers(
    entries: Sequence[PackedEntry], known: Mapping[bytes, int], placed: Mapping[bytes, RemoteLeaf]
) -> list[Sequenced]:
    """One answer per entry. What was in Trillian with other bytes (a crash before, another signature) is a
    duplicate: the logged form is the one that counts."""
    seen: set[bytes] = set()
    answers = []
    for entry in entries:
        leaf = placed.get(entry.identity)
        if leaf is None:
            answers.append(Sequenced(known[entry.identity], duplicate=True))
        else:
            answers.append(Sequenced(leaf.index, entry.identity in seen or leaf.extra != entry.packed))
        seen.add(entry.identity)
    return answers
