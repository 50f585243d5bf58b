"""Follow a log: bring a mirror up to its newest head, believing nothing that is not proven under that.

One update, in order, each step of which a kill may follow:

    1  head      fetched, opened under the policy, consistent with the remembered one and with the mirror
    2  bundles   each entry: envelope -> signature -> leaf -> inclusion under the head; then written
    3  tiles     hashed from those leaves, compared with the ones that are served; then written
    4  checkpoint written, and partials removed that nobody can ask for any more

Steps 2 and 3 take turns, a bundle at a time. What they wrote before a kill is read again from the folder, and
checked again, at the next start. A mirror therefore is always what `touchplate log fsck` finds clean, except
that fsck also looks for identities that were logged twice, which needs the whole log at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from touchplate.base.progress import Progress, QuietProgress, Task
from touchplate.log.growth import Edge, edge_tiles, grow
from touchplate.log.mirror import Mirror, MirrorFirst
from touchplate.verify.checkpoints import Checkpoint
from touchplate.verify.client import LogClient
from touchplate.verify.entry import Entry, pack_entry, verify_entry
from touchplate.verify.errors import (
    DamageError,
    ForkError,
    MalformedError,
    ProofError,
    SignatureError,
)
from touchplate.verify.forks import damage_report, keep_evidence
from touchplate.verify.rfc6962 import HASH_SIZE
from touchplate.verify.tiles import (
    TILE_WIDTH,
    Tile,
    entries_path,
    envelopes_path,
    format_entry_bundle,
    format_envelope_bundle,
    tile_path,
)

T = TypeVar("T")

_WRONG = (ProofError, MalformedError, SignatureError)  # bytes that came whole and are not what was signed


@dataclass(frozen=True)
class Update:
    """What one update did. `head`: the mirror's now; `since`: its size before; `complete`: False when it was
    stopped on the way; `healed`: the mirror's own files did not hold, and all of it was checked again."""

    head: Checkpoint | None
    since: int
    complete: bool = True
    healed: bool = False


class Follower:
    """Brings one mirror up to date, again and again. One thread uses it."""

    def __init__(self, mirror: Mirror, source: MirrorFirst, client: LogClient) -> None:
        """`client` reads from `source`, which reads the mirror's folder first."""
        self._mirror = mirror
        self._source = source
        self._client = client

    def update(
        self,
        *,
        stopping: Callable[[], bool] = lambda: False,
        progress: Callable[[], Progress] = QuietProgress,
        recheck: bool = False,
    ) -> Update:
        """Fetch and check everything up to the newest head, then make it the mirror's.

        `stopping` is asked between bundles; `progress` makes a display when there is something to fetch;
        `recheck` begins at the first entry. Raises ForkError, and
        DamageError for what does not belong to the head: the mirror then stays as it was, and the error
        names the report. Raises TransportError for what could not be fetched, what `LogClient.checkpoint`
        raises, StorageError.
        """
        old = self._mirror.head
        try:
            head = self._next_head(old)
        except DamageError as error:
            raise self._reported(error, error.checkpoint, str(error)) from error
        edge = Edge() if recheck else self._mirror.edge()
        healed = edge is None
        edge = edge or Edge()
        since = 0 if old is None else old.size
        with (progress if edge.size < head.size else QuietProgress)() as display:
            task = display.task(f"entries of {head.origin}", head.size - edge.size, "entries")
            try:
                grown = self._grow(edge, head, stopping, task)
            except _WRONG as error:
                raise self._reported(
                    DamageError(str(error), reason=error.reason), head, str(error)
                ) from error
            task.finish()
        if grown is None:
            return Update(old, since, complete=False, healed=healed)
        if old is None or old.note != head.note:
            self._mirror.commit(head)
        return Update(head, since, healed=healed)

    # --- 1: the head --------------------------------------------------------------------------------------

    def _next_head(self, old: Checkpoint | None) -> Checkpoint:
        """The newest head, after the one that is remembered and the mirror's own."""
        head = self._trying(self._client.checkpoint)
        if old is None:
            return head
        if old.size <= head.size:
            self._trying(lambda: self._client.check_prefix(old, head))
            return head
        # Somebody else's memory may be shorter than the mirror; an older head can be compared by the mirror's
        # own tiles. What is read from here on must be of the mirror's tree, not of the shorter one.
        return self._trying(lambda: self._client.adopt(old))

    def _trying(self, do: Callable[[], T]) -> T:
        """Do it; when it fails and the mirror's own files had a part in that, once more without them."""
        self._source.used = False
        try:
            return do()
        except ForkError:  # proven by signatures, whatever the tiles came from
            raise
        except _WRONG:
            if not self._source.used:
                raise
        with self._source.only_remote():
            return do()

    # --- 2 and 3: bundles and tiles -----------------------------------------------------------------------

    def _grow(self, edge: Edge, head: Checkpoint, stopping: Callable[[], bool], task: Task) -> Edge | None:
        """From `edge` to `head`, a bundle at a time; None when it was stopped."""
        while edge.size < head.size:
            if stopping():
                return None
            number = edge.size // TILE_WIDTH
            entries = self._trying(lambda number=number: self._bundle(number))  # type: ignore[misc]
            growth = grow(edge, [entry.leaf_hash for entry in entries[edge.size % TILE_WIDTH :]])
            self._put_bundles(number, entries)
            self._put_tiles((tile, data) for tile, data in growth.tiles.items() if tile.width == TILE_WIDTH)
            task.advance(growth.edge.size - edge.size)
            edge = growth.edge
        self._put_tiles((tile, edge.partial[tile.level]) for tile in edge_tiles(edge.size))
        if edge.root() != head.root:
            raise ProofError(f"the leaves lead to root {edge.root().hex()}, the head has {head.root.hex()}")
        return edge

    def _bundle(self, number: int) -> list[Entry]:
        entries = self._client.bundle(number)
        for offset, entry in enumerate(entries):
            try:
                verify_entry(entry)
            except SignatureError as error:
                index = number * TILE_WIDTH + offset
                raise SignatureError(
                    f"the entry at index {index} is not signed by its key: {error}"
                ) from error
        return entries

    def _put_bundles(self, number: int, entries: list[Entry]) -> None:
        width = len(entries)
        self._mirror.put(entries_path(number, width), format_entry_bundle([e.leaf_data for e in entries]))
        packed = [pack_entry(entry) for entry in entries]
        self._mirror.put(envelopes_path(number, width), format_envelope_bundle(packed))

    def _put_tiles(self, expected: Iterable[tuple[Tile, bytes]]) -> None:
        for tile, data in expected:
            self._trying(lambda tile=tile, data=data: self._compare(tile, data))  # type: ignore[misc]
            self._mirror.put(tile_path(tile), data)

    def _compare(self, tile: Tile, data: bytes) -> None:
        """Demand that the log serves the tile that its leaves have."""
        served = self._client.tile(tile)
        if served != data:
            first = next(
                at for at in range(0, len(data), HASH_SIZE) if served[at : at + 32] != data[at : at + 32]
            )
            self._client.forget_tiles()
            raise ProofError(
                f"{tile_path(tile)} has a wrong hash at {first // HASH_SIZE}", reason="damaged-tiles"
            )

    # --- reports ------------------------------------------------------------------------------------------

    def _reported(self, error: DamageError, head: Checkpoint | None, what: str) -> DamageError:
        """The error, with its report kept beside the mirror."""
        if head is not None:
            error.evidence = damage_report(self._mirror.head, head, what)
            keep_evidence(self._mirror.folder, error)
        return error
