"""Recompute a whole log and name everything that is wrong with it. The oracle of the tests, and an auditor's
tool.

    for every index     envelope -> entry -> signature -> leaf data -> leaf hash; identity -> this index, once
    for every tile      all of its hashes, from those leaf hashes
    for the head        root of the recomputed tree; the newest checkpoint says the same

Nothing that is stored is believed, so a damaged row is told apart from the tile that still has its hash.
A log that was rewritten as a whole cannot be found out by looking at it alone: compare with a checkpoint
kept from before (`against`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Protocol

from touchplate.log.growth import Edge, edge_tiles, grow
from touchplate.verify.checkpoints import UnverifiedCheckpoint, open_checkpoint, parse_checkpoint_body
from touchplate.verify.entry import Entry, parse_packed, verify_entry
from touchplate.verify.errors import VerifyError
from touchplate.verify.policy import Policy
from touchplate.verify.rfc6962 import HASH_SIZE, leaf_hash
from touchplate.verify.tiles import TILE_WIDTH, Tile, tile_path, tile_width

MAX_FINDINGS = 1000
"""Findings kept: enough to see the pattern of any damage; a rotten disk would fill the memory."""


class Source(Protocol):
    """A log to be recomputed. Every answer is taken for what it is: a claim."""

    def origin(self) -> str | None:
        """The log's name, where the source knows it from elsewhere than the checkpoint."""

    def head(self) -> tuple[int, bytes, bytes | None]:
        """Claimed size (0 or more), claimed root, newest checkpoint if any."""

    def leaves(self, start: int, end: int) -> Mapping[int, tuple[bytes | None, bytes | None]]:
        """(leaf data, packed entry) by index; what is missing is left out or None."""

    def tile(self, tile: Tile) -> bytes | None:
        """The bytes of a tile, None when there is none."""

    def identities(self, identities: Sequence[bytes]) -> Mapping[bytes, int] | None:
        """Claimed index by identity; None when this source keeps no such table."""

    def raw_identities(self, start: int, end: int) -> Mapping[int, bytes | None] | None:
        """Claimed identities by index, where leaves are any bytes (None: the leaf hash); None for a log of
        envelopes."""

    def leftovers(self, size: int) -> Iterator[tuple[str, str]]:
        """(where, what) of everything that a tree of `size` has no place for."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: where, and what."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where} {self.what}"


@dataclass
class Result:
    """What was found. `size` and `root`: of the recomputed tree."""

    size: int = 0
    root: bytes = b""
    findings: list[Finding] = field(default_factory=list)
    dropped: int = 0

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def add(self, where: str, what: str, *, always: bool = False) -> None:
        """Note one finding; `always` keeps it also when there are more than anybody reads."""
        if always or len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(where, what))
        else:
            self.dropped += 1


def check_log(
    source: Source,
    *,
    policy: Policy | None = None,
    against: Sequence[UnverifiedCheckpoint] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Recompute the log of `source`.

    `policy`: who may sign its checkpoint; without one the signature is not checked. `against`: checkpoints
    kept from before, whose roots must be those of this tree's beginnings. `progress` is told (entries done,
    size). Raises what `source` raises; damage never raises.
    """
    result = Result()
    size, root, checkpoint = source.head()
    newest = _checkpoint_body(result, checkpoint, policy)
    claims = [("an older checkpoint", old) for old in against]
    claims += [] if newest is None else [("checkpoint", newest)]
    roots = _recompute(source, result, size, {claim.size for _, claim in claims}, progress)
    if result.root != root:
        what = f"says root {root.hex()} for size {size}; its leaves have {result.root.hex()}"
        result.add("head", what, always=True)
    # A raw tree without a key has no checkpoints: whoever writes it publishes it.
    if checkpoint is None and size and source.raw_identities(0, 0) is None:
        result.add("checkpoint", f"is missing, and the tree has {size} entries", always=True)
    origin = source.origin()
    if newest is not None and origin not in (None, newest.origin):
        result.add("checkpoint", f"is of origin {newest.origin!r}, in the log {origin!r}", always=True)
    for whose, claim in claims:
        if newest is not None and claim.origin != newest.origin:
            what = f"is of the log {claim.origin!r}; this one is {newest.origin!r}"
            result.add(whose, what, always=True)
        else:
            _check_root(result, roots, whose, claim)
    for where, what in source.leftovers(size):
        result.add(where, what)
    return result


def _recompute(
    source: Source,
    result: Result,
    size: int,
    marks: AbstractSet[int],
    progress: Callable[[int, int], None] | None,
) -> Mapping[int, bytes]:
    """Grow the tree anew and compare everything on the way. Returns its roots at the sizes in `marks`."""
    check = _Check(source, result, size)
    edge = Edge()
    roots = {0: edge.root()}
    while edge.size < size:
        # Whole bundles, but stop where somebody's root wants to be compared.
        bundle_end = edge.size - edge.size % TILE_WIDTH + TILE_WIDTH
        end = min([bundle_end, size, *(mark for mark in marks if mark > edge.size)])
        hashes = check.leaves(edge.size, end)
        if result.dropped and check.found_nothing:
            # A size that is made up could be 2^62: nobody can wait for all that is missing.
            what = f"and all that follow, up to {size}, were not looked for: too much is missing"
            result.add(f"leaf {edge.size}", what, always=True)
            break
        growth = grow(edge, hashes)
        check.tiles({tile: data for tile, data in growth.tiles.items() if tile.width == TILE_WIDTH})
        edge = growth.edge
        if edge.size in marks:
            roots[edge.size] = edge.root()
        if progress is not None:
            progress(edge.size, size)
    check.tiles({tile: edge.partial[tile.level] for tile in edge_tiles(edge.size)})
    result.size, result.root = edge.size, edge.root()
    return roots


class _Check:
    """The parts of one run."""

    def __init__(self, source: Source, result: Result, size: int) -> None:
        self._source = source
        self._result = result
        self._size = size
        self.found_nothing = False  # of what `leaves` was last asked for
        self._seen: dict[bytes, int] | None = None  # identities, where the source keeps no table of them

    def leaves(self, start: int, end: int) -> list[bytes]:
        """Check the entries `start` to `end - 1` of one bundle; returns the leaf hashes to go on with."""
        rows = self._source.leaves(start, end)
        number = start // TILE_WIDTH
        stored = self._source.tile(Tile(0, number, tile_width(0, number, self._size))) or b""
        raw = self._source.raw_identities(start, end)
        hashes: list[bytes] = []
        identities: dict[int, bytes] = {}
        for index in range(start, end):
            data, packed = rows.get(index, (None, None))
            offset = index % TILE_WIDTH * HASH_SIZE
            claimed = stored[offset : offset + HASH_SIZE]
            entry = self._entry(index, packed) if raw is None else None
            hashes.append(self._leaf(index, data, entry, claimed))
            if entry is not None:
                identities[index] = entry.identity
            elif raw is not None and index in raw:
                identities[index] = raw[index] or hashes[-1]
            elif raw is not None:
                self._result.add(f"raw leaf {index}", "is missing")
        self.found_nothing = not rows and not stored
        self._identities(identities)
        return hashes

    def _entry(self, index: int, packed: bytes | None) -> Entry | None:
        if packed is None:
            self._result.add(f"envelope {index}", "is missing")
            return None
        try:
            entry = parse_packed(packed)
            verify_entry(entry)
        except VerifyError as error:
            self._result.add(f"envelope {index}", f"is not an entry: {error}")
            return None
        return entry

    def _leaf(self, index: int, data: bytes | None, entry: Entry | None, claimed: bytes) -> bytes:
        """The leaf hash at `index`: from the envelope, else from the leaf data, else what the tile says."""
        if data is None:
            self._result.add(f"leaf {index}", "is missing")
        elif entry is not None and data != entry.leaf_data:
            self._result.add(f"leaf {index}", "is not the leaf data of its envelope")
        candidates = [] if entry is None else [entry.leaf_hash]
        candidates += [] if data is None else [leaf_hash(data)]
        if claimed in candidates:
            return claimed
        if claimed and candidates:
            self._result.add(f"tile 0/{index // TILE_WIDTH}", f"has another hash than leaf {index}")
        return candidates[0] if candidates else claimed.ljust(HASH_SIZE, b"\0")

    def _identities(self, identities: Mapping[int, bytes]) -> None:
        known = self._source.identities(list(identities.values()))
        if known is None:
            known = self._remember(identities)
        for index, identity in identities.items():
            found = known.get(identity)
            if found is None:
                self._result.add(f"identity of {index}", "is missing")
            elif found != index:
                self._result.add(f"identity of {index}", f"stands at index {found}")

    def _remember(self, identities: Mapping[int, bytes]) -> Mapping[bytes, int]:
        if self._seen is None:
            self._seen = {}
        for index, identity in identities.items():
            self._seen.setdefault(identity, index)
        return self._seen

    def tiles(self, expected: Mapping[Tile, bytes]) -> None:
        """Compare tiles; those of level 0 were compared hash by hash with their leaves, unless they are
        missing."""
        for tile, data in expected.items():
            found = self._source.tile(tile)
            if found is None:
                self._result.add(tile_path(tile), "is missing")
            elif tile.level and found != data and len(found) == len(data):
                first = next(
                    i for i in range(0, len(data), HASH_SIZE) if found[i : i + 32] != data[i : i + 32]
                )
                self._result.add(tile_path(tile), f"has a wrong hash at {first // HASH_SIZE}")
            elif len(found) != len(data):
                self._result.add(tile_path(tile), f"has {len(found)} bytes, not {len(data)}")


def unverified_body(note: bytes) -> UnverifiedCheckpoint:
    """The body of a checkpoint whose signatures nobody looked at. Raises MalformedError."""
    return parse_checkpoint_body(note.decode("utf-8", "replace").partition("\n\n")[0] + "\n")


def _checkpoint_body(
    result: Result, checkpoint: bytes | None, policy: Policy | None
) -> UnverifiedCheckpoint | None:
    """What the newest checkpoint says; its signatures are checked when there is a policy."""
    if checkpoint is None:
        return None
    try:
        if policy is not None:
            open_checkpoint(checkpoint, policy)
        return unverified_body(checkpoint)
    except VerifyError as error:
        result.add("checkpoint", f"cannot be opened: {error}")
        return None


def _check_root(result: Result, roots: Mapping[int, bytes], whose: str, claim: UnverifiedCheckpoint) -> None:
    if claim.size > result.size:
        what = f"speaks of {claim.size} entries; the log has {result.size}"
        result.add(whose, what, always=True)
    elif roots[claim.size] != claim.root:
        what = f"says root {claim.root.hex()} at size {claim.size}; the log has {roots[claim.size].hex()}"
        result.add(whose, what, always=True)
