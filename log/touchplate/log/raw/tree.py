"""One raw tree as a log of its own: it takes leaves, signs each head within the batch that makes it, is
read.

Trillian's interface may serve the same tree: in this process it then writes through the same object, so its
heads are signed, too. What other processes did is seen, and signed, by `follow`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from touchplate.base.durable import make_folder
from touchplate.base.sql import Engine
from touchplate.log.errors import (
    CheckpointError,
    ClosedError,
    ExistsError,
    LogError,
    NotFoundError,
    RequestError,
    UnauthenticatedError,
)
from touchplate.log.ports import Sequenced
from touchplate.log.publishing import Publisher
from touchplate.log.raw.config import RawConfig, read_keys, read_tokens
from touchplate.log.raw.reading import RawReader
from touchplate.log.remembered import Remembered
from touchplate.log.sequencer import SoloDecider, TreeSequencer
from touchplate.log.storage.raw import RawTree
from touchplate.log.storage.raw_rows import MAX_VALUE, RawEntry
from touchplate.log.storage.registry import ACTIVE, LOG, Registry, TreeRow, check_open
from touchplate.verify.rfc6962 import leaf_hash


class RawLog:
    """`start` before use, `stop` at the end; `add` and `add_batch` for an event loop, all else from any
    thread."""

    def __init__(self, config: RawConfig, engine: Engine, row: TreeRow, folder: Path) -> None:
        """`folder` holds what it remembers. Raises ConfigError, VerifyError (key, tokens), CheckpointError,
        CorruptTreeError, StorageFailedError."""
        self.origin = config.origin
        self._row = row
        self._is_gone = False
        self._write = config.write
        self._tokens = read_tokens(config)
        keys = read_keys(config)
        self.tree = RawTree(engine, row)
        self._publisher = Publisher(self.tree, keys, config.origin)
        self.tree.sign = self._publisher.sign
        self.sequencer = TreeSequencer(self.tree, SoloDecider(config.limits), sign=None, limits=config.limits)
        make_folder(folder)
        self._remembered = Remembered(folder, self.tree, self.sequencer.wait_for_growth)
        self._remembered.check(keys.known)
        self.reader = RawReader(self.tree)

    @property
    def public_id(self) -> int:
        """The id under which Trillian's interface knows the tree."""
        return self._row.fields.public_id

    def start(self) -> None:
        """Make the first root and checkpoint if there are none, and take leaves."""
        self._prepare()
        self.sequencer.start()
        self._remembered.start()

    def stop(self) -> None:
        """Append what was taken, and end. Safe to call twice."""
        self.sequencer.stop()
        self._remembered.stop()

    def follow(self, registry: Registry) -> None:
        """See what others did: leaves, which are signed now if nobody did, and what became of the tree."""
        try:
            self._row = registry.find(self.public_id)
        except NotFoundError:  # deleted, and then removed for good
            self._is_gone = True
        if self._is_gone:
            return
        size = self.tree.head().size
        self.tree.refresh()
        self._prepare()
        if self.tree.head().size > size:
            self.sequencer.answer([], [])  # whoever waits for growth

    def _prepare(self) -> None:
        """A root and a checkpoint for the tree as it is, if nobody made them. Others may write meanwhile."""
        if self._row.fields.deleted is not None:
            return
        if self.tree.root()[1] is None:
            try:
                self.tree.initialise()
            except ExistsError:
                self.tree.refresh()
        size = self.tree.head().size
        try:
            self._publisher.start()
        except CheckpointError:
            # Of a head that somebody has moved on from, who signed the next one: then nothing is left to do.
            self.tree.refresh()
            if self.tree.head().size == size:
                raise

    def check_there(self) -> None:
        """Raises NotFoundError when the tree is deleted."""
        if self._is_gone or self._row.fields.deleted is not None:
            raise NotFoundError(f"the log {self.origin} was deleted")

    def check_writer(self, authorization: str | None) -> None:
        """Refuse who may not write. Raises ClosedError, UnauthenticatedError."""
        if self._write == "everybody":
            return
        if self._write == "nobody":
            raise ClosedError(f"nothing can be written to {self.origin} over HTTP", reason="read-only")
        if self._tokens.find(authorization) is None:
            raise UnauthenticatedError("a token that is known here is needed: Authorization: Bearer …")

    async def add(self, value: bytes) -> Sequenced:
        """Append a leaf; returns when it is durable, integrated, and covered by the checkpoint.

        Raises RequestError (empty, too-large), ClosedError, ExistsError (identity-taken), NotFoundError,
        BusyError.
        """
        entry = raw_entry(value)
        if self._takes():
            (future,) = self.sequencer.submit_here([entry])
            outcomes: list[Sequenced | LogError] = [await future]
        else:
            outcomes = await self._known([entry])
        return _result((await self._of_these_bytes([entry], outcomes))[0])

    async def add_batch(self, values: Sequence[bytes]) -> list[Sequenced | LogError]:
        """Append several; one result each, in order. One that is refused does not hold up the others.

        Raises what `add` raises when none was taken.
        """
        made = await asyncio.to_thread(_entries, values)
        entries = [one for one in made if isinstance(one, RawEntry)]
        if self._takes():
            futures = self.sequencer.submit_here(entries)
            found = await asyncio.gather(*futures, return_exceptions=True)
            outcomes = [_outcome(one) for one in found]
        else:
            outcomes = await self._known(entries)
        placed = iter(await self._of_these_bytes(entries, outcomes))
        return [next(placed) if isinstance(one, RawEntry) else one for one in made]

    def _takes(self) -> bool:
        """Whether new leaves are taken, as far as is known: the batch looks again. Raises RequestError."""
        fields = self._row.fields
        if fields.type != LOG:
            raise RequestError(
                "the tree is a PREORDERED_LOG, whose leaves come with AddSequencedLeaves (Trillian)"
            )
        return fields.state == ACTIVE

    async def _known(self, entries: Sequence[RawEntry]) -> list[Sequenced | LogError]:
        """Of a tree that takes nothing: what is in it is a duplicate as ever, all else is refused."""
        identities = [entry.identity for entry in entries]
        known = await asyncio.to_thread(self.tree.find_identities, identities)
        try:
            check_open(self._row.fields.state, self._row.fields.type)
            closed: LogError = ClosedError("the tree was changed just now; send it again")
        except ClosedError as error:
            closed = error
        return [closed if (at := known.get(one)) is None else Sequenced(at, True) for one in identities]

    async def _of_these_bytes(
        self, entries: Sequence[RawEntry], outcomes: Sequence[Sequenced | LogError]
    ) -> list[Sequenced | LogError]:
        """The same outcomes, but no leaf is called a duplicate of one with other bytes.

        Through Trillian's interface, somebody may have chosen the hash of one leaf as the identity of
        another. Its index would tell the submitter that a leaf is in the tree that is not.
        """
        pairs = zip(entries, outcomes, strict=True)
        asked = {one.leaf_hash for one, found in pairs if isinstance(found, Sequenced) and found.duplicate}
        if not asked:
            return list(outcomes)
        there = await asyncio.to_thread(self.tree.find_hashes, list(asked))
        return [
            _duplicate(found, there.get(one.leaf_hash, []))
            if isinstance(found, Sequenced) and found.duplicate
            else found
            for one, found in zip(entries, outcomes, strict=True)
        ]


def raw_entry(value: bytes) -> RawEntry:
    """What the tree takes of a leaf: its identity is its hash. Raises RequestError (empty, too-large)."""
    if not value:
        raise RequestError("the leaf is empty", reason="empty")
    if len(value) > MAX_VALUE:
        raise RequestError(f"the leaf has {len(value)} bytes; at most {MAX_VALUE}", reason="too-large")
    digest = leaf_hash(value)
    return RawEntry(value, digest, digest, b"", time.time_ns())


def _entries(values: Sequence[bytes]) -> list[RawEntry | LogError]:
    made: list[RawEntry | LogError] = []
    for value in values:
        try:
            made.append(raw_entry(value))
        except LogError as error:
            made.append(error)
    return made


def _duplicate(found: Sequenced, indexes: Sequence[int]) -> Sequenced | LogError:
    """`found` by its identity, if its bytes stand at `indexes`, ascending."""
    if found.index in indexes:
        return found
    if indexes:
        return Sequenced(indexes[0], duplicate=True)
    return ExistsError(
        f"the leaf is not in the tree and cannot be added here: leaf {found.index}, of other bytes, was"
        " queued under its hash as identity; queue it through Trillian's interface under another identity",
        reason="identity-taken",
    )


def _outcome(found: Sequenced | BaseException) -> Sequenced | LogError:
    if isinstance(found, Sequenced | LogError):
        return found
    raise found


def _result(outcome: Sequenced | LogError) -> Sequenced:
    if isinstance(outcome, LogError):
        raise outcome
    return outcome
