"""What follows from leaves that are kept elsewhere: tiles, the index of identities, the signed head.

A log on Trillian keeps no second copy of its entries. What is here can be made again from them; it is kept
because a checkpoint is signed over exactly this, in one transaction, and because readers' proofs need it.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, Engine

from touchplate.log.errors import CorruptTreeError, FrozenError
from touchplate.log.growth import grow
from touchplate.log.ports import PackedEntry, Sign
from touchplate.log.storage.failures import answering
from touchplate.log.storage.sql import DERIVED, SQLTree, open_as


class DerivedTree(SQLTree):
    """A tree without its leaves, written by this process. Made by `open_derived`."""

    def _keep_leaves(self, connection: Connection, first: int, fresh: Sequence[PackedEntry]) -> None:
        """Nothing: whoever gave them keeps them."""

    def settle(self) -> None:
        """After a write whose end nobody knows: read the head again. Raises StorageFailedError and what
        opening raises."""
        with self._writing, self._recovering():
            return

    def check_writable(self) -> None:
        """Raises FrozenError when an operator froze the tree, also just now and from another process."""
        with answering("reading the head"), self._engine.connect() as connection:
            frozen = self._read_head(connection).frozen
        if frozen:
            raise FrozenError("this log is frozen: it takes no new entries; write to its successor")

    def root_after(self, leaf_hashes: Sequence[bytes]) -> tuple[int, bytes]:
        """Size and root of the tree if these leaves came next. Nothing is changed."""
        edge = grow(self._state.edge, leaf_hashes).edge
        return edge.size, edge.root()

    def append(self, entries: Sequence[PackedEntry], sign: Sign | None) -> None:
        """Append entries at the indexes that they have elsewhere, with a checkpoint if `sign` is given.

        Raises CorruptTreeError, and keeps nothing, when one of them is in the tree already; what `apply`
        raises.
        """
        identities = [entry.identity for entry in entries]
        known = self.find_identities(identities)
        if known or len(set(identities)) != len(identities):
            where = f"index {min(known.values())}" if known else "one another"
            raise CorruptTreeError(
                f"of the leaves after index {self.head().size} one has the identity of {where}: no tree that"
                " keeps identities apart has that"
            )
        self.apply(entries, sign)


def open_derived(engine: Engine, name: str) -> DerivedTree:
    """The tree called `name`, made empty if it is not there, in a database of its own. Raises what
    `open_tree` raises."""
    return open_as(DerivedTree, engine, name, DERIVED, alone=True)
