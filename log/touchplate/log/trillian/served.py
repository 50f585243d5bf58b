"""One tree as the calls see it: a raw tree with its sequencer, or the log of attestations, which is only
read."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Protocol, TypeVar

from touchplate.log.errors import ClosedError, CorruptTreeError, StateError
from touchplate.log.ports import Head, Sequenced
from touchplate.log.sequencer import Limits, SoloDecider, TreeSequencer
from touchplate.log.storage.raw import Clock, Placed, RawLeaf, RawTree
from touchplate.log.storage.raw_rows import RawEntry
from touchplate.log.storage.registry import ACTIVE, FROZEN, Registry, TreeRow, check_open
from touchplate.log.storage.sql import SQLTree
from touchplate.log.trillian.errors import UnsupportedError
from touchplate.log.trillian.gathered import Gathered
from touchplate.log.trillian.joined import Joined
from touchplate.log.trillian.roots import LogRoot
from touchplate.verify.entry import parse_packed
from touchplate.verify.tiles import Tile

SHORTEST_ROOT_NANOS = 100_000_000
"""A root is renewed no more often than Trillian's signer would look, whatever `max_root_duration` says: each
time is a commit."""

LOG_PAGE = 256
"""Entries of the log of attestations in one answer: at most 17 MB in memory before it is cut."""

T = TypeVar("T")


class Threads:
    """Runs what waits for the database in threads."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def __call__(self, call: Callable[..., T], *arguments: object) -> T:
        """The result of `call(*arguments)`."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, partial(call, *arguments))


class ServedTree(Protocol):
    """What the calls need of a tree."""

    row: TreeRow

    @property
    def tree(self) -> SQLTree:
        """What proofs are made from."""

    async def root(self) -> LogRoot:
        """The newest root. Raises StateError before there is one."""

    async def append(self, entry: RawEntry) -> Sequenced:
        """Append one leaf; returns when it is durable and integrated."""

    async def place(self, leaves: list[tuple[int, RawEntry]]) -> list[Placed]:
        """Append leaves that name their indexes."""

    async def initialise(self) -> LogRoot:
        """Make the first root."""

    async def leaves(self, start: int, end: int, most_bytes: int) -> list[RawLeaf]:
        """Stored leaves from `start`, at least one."""

    async def find_hash(self, leaf_hash: bytes, size: int) -> list[int]:
        """Indexes below `size` of leaves with this hash, ascending."""

    async def tiles(self, wanted: Sequence[Tile]) -> Mapping[Tile, bytes]:
        """The hashes of at least these tiles."""


class ServedRaw:
    """A raw tree in use. Its sequencer begins with the first leaf."""

    def __init__(self, tree: RawTree, threads: Threads, limits: Limits, now: Clock) -> None:
        self.tree = tree
        self.row: TreeRow  # set for each call, by `Trees`
        self.latest: Joined[TreeRow]  # set by `Trees`; reads the tree again, where others write it, too
        self._threads = threads
        self._limits = limits
        self._now = now
        self._sequencer: TreeSequencer | None = None
        self._renewing = asyncio.Lock()
        self._find_hashes = Gathered(lambda keys: threads(tree.find_hashes, keys))
        self._read_tiles = Gathered(lambda keys: threads(tree.read_tiles, keys))
        self._writing = asyncio.Lock()
        self.in_doubt = False
        """A call failed: perhaps other processes changed the tree."""
        self.users = 0
        """Calls that are using it."""
        self.used = 0.0
        """When it was used last."""

    def seems_to_take(self, kind: int | None) -> bool:
        """Whether, as far as this process knows, leaves for a tree of type `kind` can be appended."""
        fields = self.row.fields
        is_open = fields.type == kind and fields.state == ACTIVE and self.tree.root()[1] is not None
        return is_open and not self.in_doubt

    def close(self) -> None:
        """Append what was taken, and end. Blocks."""
        if self._sequencer is not None:
            self._sequencer.stop()
            self._sequencer = None

    async def root(self) -> LogRoot:
        """See `ServedTree`. A root that is too old for the tree is renewed first."""
        head, nanos = self.tree.root()
        if nanos is None:
            raise StateError("the tree is not initialised; call InitLog first")
        most = self.row.fields.max_root_nanos
        if most and self.row.fields.state != FROZEN:
            most = max(most, SHORTEST_ROOT_NANOS)
            if self._now() - nanos > most:
                async with self._renewing:  # one commit for all who ask at the same time
                    head, later = self.tree.root()
                    if later == nanos:
                        return _root(*await self._alone(self.tree.renew, most))
                    nanos = nanos if later is None else later
        return _root(head, nanos)

    async def append(self, entry: RawEntry) -> Sequenced:
        """See `ServedTree`."""
        # The batch looks again, under a lock; but what is known already need not become a failed batch.
        if self.tree.root()[1] is None:
            raise StateError("the tree is not initialised; call InitLog first")
        check_open(self.row.fields.state, self.row.fields.type)
        if self._sequencer is None:
            self._sequencer = TreeSequencer(
                self.tree, SoloDecider(self._limits), sign=None, limits=self._limits
            )
            self._sequencer.start()
        (future,) = self._sequencer.submit_here([entry])
        return await future

    async def place(self, leaves: list[tuple[int, RawEntry]]) -> list[Placed]:
        """See `ServedTree`."""
        return await self._alone(self.tree.place, leaves)

    async def initialise(self) -> LogRoot:
        """See `ServedTree`."""
        return _root(*await self._alone(self.tree.initialise))

    async def _alone(self, write: Callable[..., T], *arguments: object) -> T:
        """Writes of this tree one at a time: while others hold it, it takes one thread, not all."""
        await self._writing.acquire()
        running = asyncio.ensure_future(self._threads(write, *arguments))
        running.add_done_callback(lambda _: self._writing.release())
        # The thread goes on when the caller gives up, and is then still the only one.
        return await asyncio.shield(running)

    async def leaves(self, start: int, end: int, most_bytes: int) -> list[RawLeaf]:
        """See `ServedTree`."""
        return await self._threads(self.tree.read_leaves, start, end, most_bytes)

    async def find_hash(self, leaf_hash: bytes, size: int) -> list[int]:
        """See `ServedTree`."""
        found = await self._find_hashes([leaf_hash])
        return [index for index in found.get(leaf_hash, ()) if index < size]

    async def tiles(self, wanted: Sequence[Tile]) -> Mapping[Tile, bytes]:
        """See `ServedTree`."""
        return await self._read_tiles(wanted)


class ServedLog:
    """The log of attestations, read only: entries come through admission, which this interface lacks."""

    def __init__(
        self,
        tree: SQLTree,
        row: TreeRow,
        registry: Registry,
        threads: Threads,
        *,
        follow: Callable[[], Head],
        now: Clock,
    ) -> None:
        """`follow` reads the head again, from the database when others write it."""
        self.tree = tree
        self.row = row
        self._registry = registry
        self._threads = threads
        self._follow = follow
        self._now = now
        self._read_tiles = Gathered(lambda keys: threads(tree.read_tiles, keys))
        self._issued: LogRoot | None = None
        self._issuing = asyncio.Lock()

    async def root(self) -> LogRoot:
        """See `ServedTree`. A head gets its time when somebody first asks for it here: the log's own writers
        know nothing of it."""
        if (issued := self._newest()) is not None:
            return issued
        async with self._issuing:  # one transaction for all who ask at the same time
            if (issued := self._newest()) is not None:
                return issued
            return await self._threads(self._issue)

    def _newest(self) -> LogRoot | None:
        """The root of the tree's head, if it has been issued here."""
        issued = self._issued
        return issued if issued is not None and issued.size == self.tree.head().size else None

    def _issue(self) -> LogRoot:
        head = self.tree.head()
        for _ in range(3):
            row = self._registry.issue_root(self.row.fields.public_id, head.size, self._now())
            if row.root_size == head.size and row.root_nanos is not None:
                self._issued = _root(head, row.root_nanos)
                return self._issued
            head = self._follow()  # another frontend issued a later one
        raise CorruptTreeError("roots were issued for entries that the database does not have: run log fsck")

    async def append(self, entry: RawEntry) -> Sequenced:
        """Refused."""
        raise self._closed()

    async def place(self, leaves: list[tuple[int, RawEntry]]) -> list[Placed]:
        """Refused."""
        raise self._closed()

    async def initialise(self) -> LogRoot:
        """Refused."""
        raise self._closed()

    def _closed(self) -> ClosedError:
        return ClosedError(
            "this tree takes signed envelopes of admitted keys only: POST them to its HTTP face"
        )

    async def leaves(self, start: int, end: int, most_bytes: int) -> list[RawLeaf]:
        """See `ServedTree`. The log keeps no times of its entries."""
        return await self._threads(self._read, start, min(end, start + LOG_PAGE), most_bytes)

    def _read(self, start: int, end: int, most_bytes: int) -> list[RawLeaf]:
        values, packed = self.tree.read_leaf_data(start, end), self.tree.read_packed(start, end)
        leaves: list[RawLeaf] = []
        for index, (value, extra) in enumerate(zip(values, packed, strict=True), start):
            most_bytes -= len(value) + len(extra)
            if leaves and most_bytes < 0:
                break
            leaves.append(RawLeaf(index, value, extra, parse_packed(extra).identity, None, None))
        return leaves

    async def tiles(self, wanted: Sequence[Tile]) -> Mapping[Tile, bytes]:
        """See `ServedTree`."""
        return await self._read_tiles(wanted)

    async def find_hash(self, leaf_hash: bytes, size: int) -> list[int]:
        """Refused."""
        raise UnsupportedError(
            "this tree has no look-up by leaf hash; its HTTP face tells an envelope's index, or ask by index"
        )


def _root(head: Head, nanos: int) -> LogRoot:
    return LogRoot(head.size, head.root, nanos)
