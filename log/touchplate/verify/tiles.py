"""Tiles and bundles: coordinates, paths, bytes (C2SP tlog-tiles), and our envelope bundles (entry format 3).

    tile/<L>/<N>[.p/<W>]            hashes: W or 256 of them, each the root of a full subtree of 256^L leaves
    tile/entries/<N>[.p/<W>]        leaf data: uint16 BE length || bytes, W or 256 times
    tile/envelopes/<N>[.p/<W>]      packed entries: uint32 BE length || envelope || uint16 BE length || SPKI

Pure: whoever calls brings the bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from touchplate.verify.errors import MalformedError, ProofError, shown
from touchplate.verify.proofs import MAX_SIZE, Node
from touchplate.verify.rfc6962 import HASH_SIZE, node_hash
from touchplate.verify.values import value

TILE_HEIGHT = 8
"""Levels of the tree in one tile (tlog-tiles)."""

TILE_WIDTH = 256
"""Hashes, entries or envelopes in a full tile or bundle (tlog-tiles)."""

FULL_TILE_BYTES = TILE_WIDTH * HASH_SIZE
"""Bytes of a full tile: 8192."""

MAX_LEAF_DATA = 65_535
"""Bytes of one leaf: its length is a uint16 (tlog-tiles)."""

MAX_ENTRY_BUNDLE = TILE_WIDTH * (2 + MAX_LEAF_DATA)
"""Bytes of an entry bundle: 256 leaves of the largest size."""

MAX_ENVELOPE_BUNDLE = 17 * 1024 * 1024
"""Bytes of an envelope bundle (entry format 3): 256 envelopes of 64 KiB with their keys and lengths."""

_PATH = re.compile(
    r"tile/(?P<kind>0|[1-9][0-9]?|entries|envelopes)"
    r"/(?P<index>(?:x[0-9]{3}/)*[0-9]{3})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)
_MAX_PATH = 80
_MAX_LEVEL = 63

BundleKind = Literal["entries", "envelopes"]


@value(order=True)
class Tile:
    """A tile of hashes: `level` (0 holds leaf hashes), `index` in that level, `width` hashes (1 to 256)."""

    level: int
    index: int
    width: int = TILE_WIDTH


@value(order=True)
class BundleCoord:
    """A bundle of entries or envelopes: leaves from `index` * 256 on, `width` of them (1 to 256)."""

    kind: BundleKind
    index: int
    width: int = TILE_WIDTH


# --- paths ------------------------------------------------------------------------------------------------


def tile_path(tile: Tile) -> str:
    """Path of a tile below the log's prefix, without a leading slash (tlog-tiles)."""
    return f"tile/{tile.level}/{_format_index(tile.index)}{_format_width(tile.width)}"


def entries_path(index: int, width: int = TILE_WIDTH) -> str:
    """Path of the bundle of leaf data from leaf `index` * 256 on (tlog-tiles)."""
    return f"tile/entries/{_format_index(index)}{_format_width(width)}"


def envelopes_path(index: int, width: int = TILE_WIDTH) -> str:
    """Path of the bundle of packed entries from leaf `index` * 256 on (entry format 3)."""
    return f"tile/envelopes/{_format_index(index)}{_format_width(width)}"


def parse_tile_path(path: str) -> Tile | BundleCoord:
    """The coordinates in a path, in its one spelling (1234067 is x001/x234/067). Raises MalformedError."""
    match = _PATH.fullmatch(path) if len(path) <= _MAX_PATH else None
    if match is None:
        raise MalformedError(
            f"{shown(path)} is no tile path: expected tile/LEVEL/N, tile/entries/N or tile/envelopes/N"
        )
    kind, groups, width_text = match["kind"], match["index"], match["width"]
    index = int(groups.replace("x", "").replace("/", ""))
    width = TILE_WIDTH if width_text is None else int(width_text)
    # Leading x000 groups and a partial of full width would be second names of the same bytes.
    if groups != _format_index(index) or (width_text is not None and width >= TILE_WIDTH):
        raise MalformedError(f"{shown(path)} is not in the one spelling of a tile path")
    if index >= MAX_SIZE // TILE_WIDTH:
        raise MalformedError(f"{shown(path)} lies beyond the largest tree")
    if kind == "entries":
        return BundleCoord("entries", index, width)
    if kind == "envelopes":
        return BundleCoord("envelopes", index, width)
    if int(kind) > _MAX_LEVEL:
        raise MalformedError(f"{shown(path)}: levels end at {_MAX_LEVEL}")
    return Tile(int(kind), index, width)


def _format_index(index: int) -> str:
    groups = [f"{index % 1000:03d}"]
    while index := index // 1000:
        groups.append(f"x{index % 1000:03d}")
    return "/".join(reversed(groups))


def _format_width(width: int) -> str:
    return "" if width == TILE_WIDTH else f".p/{width}"


# --- which tiles a tree has -------------------------------------------------------------------------------


def tiles_of(size: int, since: int = 0) -> Iterator[Tile]:
    """All tiles of a tree of `size` leaves, level by level; with `since`, only those that a tree of `since`
    leaves does not have in the same width (what growing from `since` to `size` has to write).

    Requires 0 <= since <= size < 2^63.
    """
    level = 0
    while size:
        for index in range(since // TILE_WIDTH, size // TILE_WIDTH):
            yield Tile(level, index)
        if size % TILE_WIDTH and size != since:
            yield Tile(level, size // TILE_WIDTH, size % TILE_WIDTH)
        size, since, level = size // TILE_WIDTH, since // TILE_WIDTH, level + 1


def tile_width(level: int, index: int, size: int) -> int:
    """Width of the tile at (`level`, `index`) in a tree of `size` leaves; 0 when it has no such tile."""
    return max(0, min(TILE_WIDTH, (size >> (TILE_HEIGHT * level)) - index * TILE_WIDTH))


# --- bytes ------------------------------------------------------------------------------------------------


def parse_tile(data: bytes, width: int) -> list[bytes]:
    """The `width` hashes of a tile. Raises MalformedError when `data` is not exactly that long."""
    if len(data) != width * HASH_SIZE:
        raise MalformedError(f"a tile of width {width} has {width * HASH_SIZE} bytes, not {len(data)}")
    return [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]


def format_entry_bundle(leaf_data: Sequence[bytes]) -> bytes:
    """The bytes of an entry bundle. Raises MalformedError for a leaf above 65,535 bytes."""
    parts = []
    for data in leaf_data:
        if len(data) > MAX_LEAF_DATA:
            raise MalformedError(f"a leaf of {len(data)} bytes is longer than {MAX_LEAF_DATA}")
        parts += [len(data).to_bytes(2, "big"), data]
    return b"".join(parts)


def parse_entry_bundle(data: bytes, width: int) -> list[bytes]:
    """The leaf data of the `width` entries of a bundle, every byte of it. Raises MalformedError."""
    leaves = []
    at = 0
    for _ in range(width):
        leaf, at = _take(data, at, 2, "entry bundle")
        leaves.append(leaf)
    _require_end(data, at, width, "entry bundle")
    return leaves


def format_envelope_bundle(packed: Sequence[bytes]) -> bytes:
    """The bytes of an envelope bundle: packed entries, one after the other."""
    return b"".join(packed)


def parse_envelope_bundle(data: bytes, width: int) -> list[bytes]:
    """The `width` packed entries of a bundle, every byte of it (the entries themselves stay unparsed).

    Raises MalformedError; `withheld` for the reserved empty form, which nothing defines yet (entry format 3).
    """
    packed = []
    at = 0
    for number in range(width):
        start = at
        envelope, at = _take(data, at, 4, "envelope bundle")
        key, at = _take(data, at, 2, "envelope bundle")
        if not envelope and not key:
            raise MalformedError(
                f"entry {number} of the envelope bundle is withheld: this version cannot read that",
                reason="withheld",
            )
        packed.append(data[start:at])
    _require_end(data, at, width, "envelope bundle")
    return packed


def _take(data: bytes, at: int, length_bytes: int, what: str) -> tuple[bytes, int]:
    begin = at + length_bytes
    length = int.from_bytes(data[at:begin], "big")
    end = begin + length
    if end > len(data) or begin > len(data):
        raise MalformedError(f"the {what} ends inside an entry, at byte {len(data)}")
    return data[begin:end], end


def _require_end(data: bytes, at: int, width: int, what: str) -> None:
    if at != len(data):
        raise MalformedError(f"the {what} has {len(data) - at} bytes after its {width} entries")


# --- hashes out of tiles ----------------------------------------------------------------------------------


class TileReader:
    """A `HashReader` over tiles of a tree of `size` leaves.

    It hands out what the tiles say and believes nothing: whoever makes a proof from it checks that proof
    against a checkpoint. `fetch` returns the bytes of a tile in exactly the width asked for. Tiles are kept
    only within one call; a `fetch` with its own cache makes later calls cheap.
    """

    def __init__(self, fetch: Callable[[Tile], bytes], size: int) -> None:
        self._fetch = fetch
        self._size = size

    @property
    def size(self) -> int:
        """Leaves in the tree that the tiles are of."""
        return self._size

    def read_hashes(self, nodes: Sequence[Node]) -> list[bytes]:
        """Hashes of complete subtrees. Raises ProofError outside the tree, MalformedError for a bad tile."""
        held: dict[Tile, list[bytes]] = {}
        return [self._read(node, held) for node in nodes]

    def _read(self, node: Node, held: dict[Tile, list[bytes]]) -> bytes:
        level, index = node
        if level < 0 or index < 0 or (index + 1) << level > self._size:
            raise ProofError(f"node {node!r} is not a complete subtree of a tree of {self._size} leaves")
        # A tile stores its lowest level only; the seven levels above are hashed from it.
        tile_level, height = divmod(level, TILE_HEIGHT)
        first = index << height
        tile_index, offset = divmod(first, TILE_WIDTH)
        tile = Tile(tile_level, tile_index, tile_width(tile_level, tile_index, self._size))
        if tile not in held:
            held[tile] = parse_tile(self._fetch(tile), tile.width)
        return _subtree(held[tile][offset : offset + (1 << height)])


def _subtree(hashes: list[bytes]) -> bytes:
    """Root of a complete subtree over 2^n hashes."""
    while len(hashes) > 1:
        hashes = [node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
    return hashes[0]
