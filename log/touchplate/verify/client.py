"""A client of a log: reads it by URL or folder, believes only what a verified checkpoint covers, appends to
it.

Order of trust: a checkpoint is opened under the policy; it must be consistent with the last one that was
seen; and every entry that is handed out was proven to be in it. Bundles and tiles are only bytes until then.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from touchplate.verify.checkpoints import Checkpoint, check_age, open_checkpoint
from touchplate.verify.encoding import parse_decimal
from touchplate.verify.entry import Entry, parse_packed
from touchplate.verify.errors import (
    DamageError,
    ForkError,
    MalformedError,
    NotFoundError,
    ProofError,
    TransportError,
    shown,
)
from touchplate.verify.forks import fork_report, keep_evidence
from touchplate.verify.heads import RememberedHead
from touchplate.verify.jcs import JSON, parse_json
from touchplate.verify.notes import MAX_NOTE_BYTES
from touchplate.verify.policy import Policy
from touchplate.verify.proofs import (
    check_consistency,
    check_inclusion,
    is_prefix,
    prove_consistency,
    prove_inclusion,
    root_of,
)
from touchplate.verify.rfc6962 import HASH_SIZE
from touchplate.verify.sources import LogSource, add_envelope, open_source
from touchplate.verify.tiles import (
    FULL_TILE_BYTES,
    MAX_ENVELOPE_BUNDLE,
    TILE_WIDTH,
    Tile,
    TileReader,
    entries_path,
    envelopes_path,
    parse_entry_bundle,
    parse_envelope_bundle,
    tile_path,
    tile_width,
)
from touchplate.verify.values import value

MAX_CACHED_TILES = 512
"""Tiles kept in memory: 4 MiB, more than all inner tiles of a log with 30 million entries."""

MAX_BATCH_ENTRIES = 4096
"""Envelopes in one POST to add-batch: the log's own limit for a batch."""

MAX_BATCH_BYTES = 8 * 1024 * 1024
"""Bytes of one POST to add-batch: the log's own limit for a batch."""

_MAX_BATCH_ANSWER = 2 * 1024 * 1024  # 4,096 results with a reason and a detail each

_T = TypeVar("_T")


@value
class Appended:
    """An envelope that is in the log, durable and integrated, at `index`; `duplicate` when it was before."""

    index: int
    duplicate: bool


@value
class Rejected:
    """An envelope of a batch that the log refused: its kebab-case reason and a line for people."""

    reason: str
    detail: str


class LogClient:
    """A log as one reader sees it. Not safe for use by several threads at once.

    `source`: http(s) URL prefix of the log, or a folder with the same paths. `state`: file in which the last
    checkpoint is remembered across runs (without it, only as long as this object lives). `max_age`: seconds
    within which the policy's quorum must have vouched for each checkpoint that is fetched. `reports`: folder
    in which the evidence of a fork is kept (default: that of `state`; without either it is only raised).
    """

    def __init__(
        self,
        source: str | Path | LogSource,
        policy: Policy,
        state: Path | None = None,
        *,
        max_age: int | None = None,
        reports: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Reads nothing yet. Raises TransportError for an impossible URL."""
        self._source: LogSource = open_source(source) if isinstance(source, str | Path) else source
        self._policy = policy
        self._max_age = max_age
        self._clock = clock
        self._remembered = RememberedHead(state, policy)
        self._reports = state.parent if reports is None and state is not None else reports
        self._tiles: OrderedDict[Tile, bytes] = OrderedDict()
        self._last: tuple[tuple[bytes, int], list[Entry]] | None = None

    @property
    def head(self) -> Checkpoint:
        """The checkpoint that reads refer to: the last one fetched; fetched now when there is none yet."""
        return self._remembered.head or self.checkpoint()

    # --- checkpoints --------------------------------------------------------------------------------------

    def checkpoint(self) -> Checkpoint:
        """Fetch the log's checkpoint, demand consistency with the last one seen, and remember it.

        Never goes back: a smaller one that fits is ignored and the remembered one returned. Raises ForkError
        with the evidence when the log shows two histories; ProofError `damaged-tiles` when its tiles do not
        belong to its checkpoint; TransportError `stale` for an older copy that cannot be compared; and what
        `open_checkpoint` raises; PolicyError `stale-checkpoint` when it is older than `max_age`.
        """
        current = self._fetch_checkpoint()
        if self._max_age is not None:
            check_age(current, self._policy, self._max_age, int(self._clock()))
        return current

    def _fetch_checkpoint(self) -> Checkpoint:
        with self._remembered.locked():
            known = self._recall()
            offered = open_checkpoint(self._source.read("checkpoint", MAX_NOTE_BYTES), self._policy)
            if known is None or offered.size >= known.size:
                if known is not None:
                    self.check_prefix(known, offered)
                self._remembered.store(offered)
                return offered
            self._require_older(offered, known)
            return known

    def adopt(self, known: Checkpoint) -> Checkpoint:
        """Go on from a head of this log that somebody else kept (a mirror): the further one of it and the
        remembered one is `head` from now on, and remembered.

        Raises as `checkpoint` when the two are not of one history.
        """
        with self._remembered.locked():
            held = self._recall()
            if held is None or held.size < known.size:
                if held is not None:
                    self.check_prefix(held, known)
                self._remembered.store(known)
                return known
            self.check_prefix(known, held)
            return held

    def _recall(self) -> Checkpoint | None:
        """What this process or another that shares the file saw last; it goes on where `head` ended."""
        held, known = self._remembered.head, self._remembered.load()
        if known is not None:
            if held is not None:
                self.check_prefix(held, known)
            self._remembered.adopt(known)
        return known

    def _require_older(self, offered: Checkpoint, known: Checkpoint) -> None:
        """A smaller head than the known one must still be part of the same history."""
        try:
            self.check_prefix(offered, known)
        except TransportError as error:
            raise TransportError(
                f"the log offers size {offered.size} after {known.size} and no longer has what lies between: "
                "an old copy, or a log that was rolled back",
                reason="stale",
            ) from error

    def check_prefix(self, old: Checkpoint, new: Checkpoint) -> None:
        """Demand that `new` goes on where `old` ended, by the log's tiles; tells a fork from damaged tiles.

        Requires old.size <= new.size. Raises ForkError, whose evidence is then kept; DamageError,
        TransportError.
        """
        try:
            self._require_prefix(old, new)
        except ForkError as error:
            if self._reports is not None:
                keep_evidence(self._reports, error)
            raise

    def _require_prefix(self, old: Checkpoint, new: Checkpoint) -> None:
        if old.size == new.size:
            if old.root != new.root:
                raise ForkError(f"the log signed two trees of size {old.size}", fork_report(old, new))
            return

        def prove() -> None:
            reader = self._reader(new)
            proof = prove_consistency(reader, old.size, new.size)
            try:
                check_consistency(old, new, proof)
            except ProofError as error:
                # Only what is proven against the new root is evidence against the log; else its tiles are
                # broken.
                derived = root_of(reader, old.size)
                if not is_prefix(new, old.size, derived, proof):
                    raise
                raise ForkError(
                    f"the tree of size {new.size} does not contain the signed one of size {old.size}",
                    fork_report(old, new, derived, proof),
                ) from error

        self._proven(prove, new)

    # --- reading ------------------------------------------------------------------------------------------

    def tile(self, tile: Tile) -> bytes:
        """The bytes of a tile of `head`'s tree in the width asked for, as the log serves them: unproven.

        Raises NotFoundError, MalformedError, TransportError.
        """
        return self._fetch(tile)

    def forget_tiles(self) -> None:
        """Read all tiles anew: one that was served is not what it should be."""
        self._tiles.clear()

    def tile_reader(self) -> TileReader:
        """Hashes of the head's tree, as the log serves them: unproven."""
        return self._reader(self.head)

    def inclusion(self, index: int) -> list[bytes]:
        """The inclusion proof of `index` in `head`, checked for the leaf hash that the log's tiles have
        there.

        Raises NotFoundError beyond the tree, ProofError `damaged-tiles`, TransportError.
        """
        head = self._require_index(index)

        def prove() -> list[bytes]:
            reader = self._reader(head)
            proof = prove_inclusion(reader, index, head.size)
            check_inclusion(head, index, reader.read_hashes([(0, index)])[0], proof)
            return proof

        return self._proven(prove, head)

    def entry(self, index: int) -> Entry:
        """The entry at `index` of `head`'s tree: its envelope yields the leaf, and the leaf is in the tree.

        Its signature is not checked (see `verify_entry`), nor who may sign. Raises NotFoundError beyond the
        tree, MalformedError, SignatureError (form), ProofError, TransportError.
        """
        head = self._require_index(index)
        return self._entries_at(head, index // TILE_WIDTH)[index % TILE_WIDTH]

    def entries(self, start: int = 0, end: int | None = None) -> Iterator[tuple[int, Entry]]:
        """(index, entry) from `start` to before `end` (default: the size of `head` now); as `entry` each."""
        head = self.head
        end = head.size if end is None else end
        if not 0 <= start <= end <= head.size:
            raise NotFoundError(
                f"entries {shown(start)} to {shown(end)} are not in the tree of size {head.size}"
            )
        while start < end:
            number = start // TILE_WIDTH
            held = self._entries_at(head, number)
            stop = min(end, (number + 1) * TILE_WIDTH)
            for index in range(start, stop):
                yield index, held[index % TILE_WIDTH]
            start = stop

    def bundle(self, number: int) -> list[Entry]:
        """The entries from `number` * 256 on, up to 256 of them: one bundle of `head`'s tree, as `entry`
        each."""
        head = self._require_index(number * TILE_WIDTH)
        return self._entries_at(head, number)

    def _require_index(self, index: int) -> Checkpoint:
        head = self.head
        if not 0 <= index < head.size:
            raise NotFoundError(f"index {shown(index)} is not in the tree of size {head.size}")
        return head

    def _entries_at(self, head: Checkpoint, number: int) -> list[Entry]:
        """All entries of one bundle, proven. The last bundle is kept, for reads in order."""
        key = (head.root, number)
        if self._last is not None and self._last[0] == key:
            return self._last[1]
        entries = self._read_entries(number, tile_width(0, number, head.size))
        own = Tile(0, number, len(entries))
        hashes = b"".join(entry.leaf_hash for entry in entries)

        def fetch(tile: Tile) -> bytes:
            return hashes if tile == own else self._fetch(tile)

        def prove() -> None:
            # One proof binds the whole bundle: the siblings on the first leaf's way up through this tile are
            # hashed from all the others, since the tile's hashes are those of the leaves just read.
            first = number * TILE_WIDTH
            proof = prove_inclusion(TileReader(fetch, head.size), first, head.size)
            check_inclusion(head, first, entries[0].leaf_hash, proof)

        self._proven(prove, head)
        self._last = (key, entries)
        return entries

    def _read_entries(self, number: int, width: int) -> list[Entry]:
        """The entries of a bundle, each of which yields the leaf that the log serves for it."""
        leaves = self._read_bundle(entries_path, parse_entry_bundle, number, width)
        packed = self._read_bundle(envelopes_path, parse_envelope_bundle, number, width)
        entries = [parse_packed(each) for each in packed]
        for offset, (entry, leaf) in enumerate(zip(entries, leaves, strict=True)):
            if entry.leaf_data != leaf:
                raise ProofError(
                    f"the envelope at index {number * TILE_WIDTH + offset} does not yield the leaf there",
                    reason="wrong-leaf",
                )
        return entries

    def _read_bundle(
        self,
        path: Callable[[int, int], str],
        parse: Callable[[bytes, int], list[bytes]],
        number: int,
        width: int,
    ) -> list[bytes]:
        try:
            return parse(self._source.read(path(number, width), MAX_ENVELOPE_BUNDLE), width)
        except NotFoundError:
            # tlog-tiles: a partial may be removed once the full one exists.
            if width == TILE_WIDTH:
                raise
        return parse(self._source.read(path(number, TILE_WIDTH), MAX_ENVELOPE_BUNDLE), TILE_WIDTH)[:width]

    def _reader(self, head: Checkpoint) -> TileReader:
        return TileReader(self._fetch, head.size)

    def _fetch(self, tile: Tile) -> bytes:
        """The bytes of a tile in the width asked for, out of the cache, the partial tile or the full one."""
        full = Tile(tile.level, tile.index)
        length = tile.width * HASH_SIZE
        for held in (tile, full):
            if held in self._tiles:
                self._tiles.move_to_end(held)
                return self._tiles[held][:length]
        try:
            data = self._source.read(tile_path(tile), FULL_TILE_BYTES)
        except NotFoundError:
            if tile == full:
                raise
            tile, data = full, self._source.read(tile_path(full), FULL_TILE_BYTES)
        if len(data) != tile.width * HASH_SIZE:
            raise MalformedError(f"{tile_path(tile)} has {len(data)} bytes, not {tile.width * HASH_SIZE}")
        self._tiles[tile] = data
        if len(self._tiles) > MAX_CACHED_TILES:
            self._tiles.popitem(last=False)
        return data[:length]

    def _proven(self, prove: Callable[[], _T], head: Checkpoint) -> _T:
        """Run `prove`; when it fails, once more without the cache, which may hold tiles of another day."""
        try:
            return prove()
        except (ProofError, MalformedError):
            self._tiles.clear()
        try:
            return prove()
        except (ProofError, MalformedError) as error:
            raise DamageError(
                f"the tiles that the log serves do not lead to its checkpoint of size {head.size}: "
                f"they are damaged, or of another tree ({error})",
                checkpoint=head,
            ) from error

    # --- appending ----------------------------------------------------------------------------------------

    def append(self, envelope: bytes, key_sha256: bytes | None = None) -> int:
        """Put an envelope into the log; its index, once it is durable and integrated.

        `key_sha256`: SHA-256 of the signer's SPKI, which spares the log the search. Raises AnswerError with
        the log's reason (`unknown-key`, `busy`…), TransportError otherwise. The answer is not proven: fetch
        a checkpoint and read the entry for that.
        """
        return add_envelope(self._source, envelope, key_sha256)

    def append_batch(self, envelopes: Sequence[bytes]) -> list[Appended | Rejected]:
        """Put many envelopes into the log, in as few requests as its limits allow; one result for each.

        Raises as `append`; envelopes of earlier requests are then in the log already, and sending all of them
        again is safe: duplicates are answered with their old index.
        """
        results: list[Appended | Rejected] = []
        for batch in _batches(envelopes):
            body = b"".join(len(each).to_bytes(4, "big") + each for each in batch)
            headers = {"Content-Type": "application/octet-stream"}
            answer = self._source.post("add-batch", body, headers, _MAX_BATCH_ANSWER)
            results += _parse_results(answer, len(batch))
        return results


def _batches(envelopes: Sequence[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for envelope in envelopes:
        if batch and (len(batch) == MAX_BATCH_ENTRIES or size + 4 + len(envelope) > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(envelope)
        size += 4 + len(envelope)
    if batch:
        yield batch


def _parse_results(answer: bytes, count: int) -> list[Appended | Rejected]:
    """The results of add-batch, one for each envelope sent."""
    match parse_json(answer, max_bytes=_MAX_BATCH_ANSWER):
        case {"results": list(items), **rest} if not rest and len(items) == count:
            return [_parse_result(item) for item in items]
        case _:
            raise MalformedError(f"the log's answer to add-batch is not a list of {count} results")


def _parse_result(item: JSON) -> Appended | Rejected:
    match item:
        case {"index": str(index), "duplicate": bool(duplicate), **rest} if not rest:
            return Appended(parse_decimal(index, "an index in the answer to add-batch"), duplicate)
        case {"error": {"reason": str(reason), "detail": str(detail)}, **rest} if not rest:
            return Rejected(reason, detail)
        case _:
            raise MalformedError(f"the log's answer to add-batch has the result {shown(item)}")
