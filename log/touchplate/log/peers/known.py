"""Which identities are in the tree: asked of the database once, then remembered while they are not.

The engine asks about each transaction at least four times (may it wait, is it proposed, is the proposal
right, what follows), and again after each block while it waits. Between two blocks the answer cannot change,
and a block only adds what it contains: so "not there" is remembered until a block with that identity is
executed. That is exact, never a guess; what is not remembered is asked.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from threading import Lock

from touchplate.log.peers.machine import Known

REMEMBERED_IDENTITIES = 65_536
"""Identities known to be absent: those of all that waits at seven peers with full queues. Some 10 MB."""


class RememberedIdentities:
    """A `Known` over another one. Safe from any thread; every change of the tree goes through `changing`."""

    def __init__(self, find: Known, limit: int = REMEMBERED_IDENTITIES) -> None:
        """`find` asks the tree."""
        self._find = find
        self._limit = limit
        self._lock = Lock()
        self._absent: OrderedDict[bytes, None] = OrderedDict()  # oldest first; under _lock
        self._changes = 0  # begun and ended; under _lock

    def __call__(self, identities: Sequence[bytes]) -> Mapping[bytes, int]:
        """The indexes of those that are in the tree."""
        with self._lock:
            asked = [identity for identity in identities if identity not in self._absent]
            changes = self._changes
        if not asked:
            return {}
        there = self._find(asked)
        with self._lock:
            # Else a block came in between, and what was not there may be there now.
            if changes == self._changes and changes % 2 == 0:
                self._absent.update((identity, None) for identity in asked if identity not in there)
                while len(self._absent) > self._limit:
                    self._absent.popitem(last=False)
        return there

    @contextlib.contextmanager
    def changing(self, identities: Iterable[bytes]) -> Iterator[None]:
        """Around the one write that may bring these into the tree, whether it succeeds or not."""
        with self._lock:
            self._changes += 1
            for identity in identities:
                self._absent.pop(identity, None)
        try:
            yield
        finally:
            with self._lock:
                self._changes += 1
