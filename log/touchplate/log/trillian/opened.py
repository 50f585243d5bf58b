"""Trees in use: opened when somebody asks for one, at most so many, closed when nobody does any more.

All of it runs in one event loop; only what waits for the database runs in threads.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from touchplate.log.errors import NotFoundError, OverloadedError
from touchplate.log.sequencer import Limits
from touchplate.log.storage.raw import Clock, RawTree
from touchplate.log.storage.registry import Registry, TreeRow
from touchplate.log.trillian.joined import Joined
from touchplate.log.trillian.served import ServedLog, ServedRaw, ServedTree, Threads

IDLE_SECONDS = 60.0
"""A tree that nobody asked for so long is closed: its thread ends, its memory is free."""

MAX_REMEMBERED = 10_000
"""Rows of trees kept in memory."""


@dataclass(frozen=True)
class Bounds:
    """What the trees of one process may take. `trees`: open ones; `limits`: of each tree's sequencer."""

    trees: int = 64
    limits: Limits = field(default_factory=Limits)
    idle_seconds: float = IDLE_SECONDS


class Trees:
    """The trees that calls ask for by id."""

    def __init__(
        self,
        registry: Registry,
        threads: Threads,
        open_raw: Callable[[TreeRow], RawTree],
        bounds: Bounds | None = None,
        *,
        is_shared: bool,
        now: Clock = time.time_ns,
    ) -> None:
        """`is_shared`: other processes may change the same database."""
        self.registry = registry
        self._threads = threads
        self._bounds = bounds or Bounds()
        self._open_raw = open_raw
        self._is_shared = is_shared
        self._now = now
        self._log: ServedLog | None = None
        self._rows: dict[int, TreeRow] = {}  # only where nobody else changes them
        self._open: dict[int, ServedRaw] = {}
        self._changes = 0  # of fields, so that what was read before one is not remembered after it
        self._changing = asyncio.Lock()  # held while a tree is opened or closed

    def __len__(self) -> int:
        return len(self._open)

    def add_log(self, log: ServedLog) -> None:
        """Serve the log of attestations, too."""
        self._log = log

    @asynccontextmanager
    async def use(self, public_id: int, *, appends_to: int | None = None) -> AsyncIterator[ServedTree]:
        """The tree with this id, which is not closed meanwhile.

        `appends_to`: the call only appends, to a tree of this type. If all is well as far as is known, what
        other processes did is then not asked first: the batch locks the tree, sees it, and is refused if it
        must be. The next call asks.

        Raises NotFoundError (also for a deleted one), OverloadedError.
        """
        if self._log is not None and public_id == self._log.row.fields.public_id:
            yield self._log
            return
        tree = self._open.get(public_id) if self._is_shared else None
        if tree is None:
            row = await self._find(public_id)
            _refuse_deleted(row)
            tree = self._open.get(public_id) or await self._opened(row)
            tree.row = row
        tree.users += 1  # nothing was awaited since it was found
        try:
            if self._is_shared and not tree.seems_to_take(appends_to):
                tree.row = await tree.latest()
                tree.in_doubt = False
                _refuse_deleted(tree.row)
            yield tree
        except Exception:
            tree.in_doubt = True
            raise
        finally:
            tree.users -= 1
            tree.used = time.monotonic()

    def changed(self, public_id: int) -> None:
        """Forget the fields of a tree that were read before they changed."""
        # Not the new ones instead: of two changes, the later one's may come here first.
        self._changes += 1
        self._rows.pop(public_id, None)

    async def close_idle(self) -> None:
        """Close those that were not used for long."""
        long_ago = time.monotonic() - self._bounds.idle_seconds
        async with self._changing:
            for public_id, tree in list(self._open.items()):
                if not tree.users and tree.used < long_ago:
                    await self._close(public_id)

    async def close(self) -> None:
        """Append what was taken, and close all."""
        async with self._changing:
            for public_id in list(self._open):
                await self._close(public_id)

    async def _find(self, public_id: int) -> TreeRow:
        row = self._rows.get(public_id)
        if row is None:
            changes = self._changes
            row = await self._threads(self.registry.find, public_id)
            if not self._is_shared and changes == self._changes:
                if len(self._rows) >= MAX_REMEMBERED:
                    self._rows.clear()
                self._rows[public_id] = row
        return row

    async def _opened(self, row: TreeRow) -> ServedRaw:
        public_id = row.fields.public_id
        async with self._changing:
            if (tree := self._open.get(public_id)) is not None:
                return tree
            await self._make_room()
            raw = await self._threads(self._open_raw, row)
            tree = ServedRaw(raw, self._threads, self._bounds.limits, self._now)
            tree.latest = Joined(lambda: self._threads(self._read_again, public_id, raw))
            tree.used = time.monotonic()
            self._open[public_id] = tree
            return tree

    def _read_again(self, public_id: int, raw: RawTree) -> TreeRow:
        """What other processes did to an open tree; its row."""
        row = self.registry.find(public_id)
        raw.refresh()
        return row

    async def _make_room(self) -> None:
        while len(self._open) >= self._bounds.trees:
            idle = [one for one, tree in self._open.items() if not tree.users]
            if not idle:
                raise OverloadedError(f"{len(self._open)} trees are in use, at most {self._bounds.trees} may")
            await self._close(min(idle, key=lambda one: self._open[one].used))

    async def _close(self, public_id: int) -> None:
        # Under `_changing`: whoever asks for it meanwhile opens it again when all that it took is appended.
        tree = self._open.pop(public_id)
        await self._threads(tree.close)


def _refuse_deleted(row: TreeRow) -> None:
    if row.fields.deleted is not None:
        raise NotFoundError(f"the tree {row.fields.public_id} is deleted")
