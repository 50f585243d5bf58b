"""A log as it is served, by URL or as a folder: what fsck recomputes without the operator's database."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from touchplate.verify.errors import MalformedError, NotFoundError
from touchplate.verify.notes import MAX_NOTE_BYTES
from touchplate.verify.rfc6962 import HASH_SIZE
from touchplate.verify.sources import AnswerError, LogSource
from touchplate.verify.tiles import (
    FULL_TILE_BYTES,
    MAX_ENTRY_BUNDLE,
    MAX_ENVELOPE_BUNDLE,
    TILE_WIDTH,
    Tile,
    entries_path,
    envelopes_path,
    parse_entry_bundle,
    parse_envelope_bundle,
    tile_path,
    tile_width,
)

T = TypeVar("T")
NOT_FOUND = 404


class ServedLog:
    """A `Source` of `touchplate.log.fsck` over the paths of tlog-tiles. Raises TransportError when
    unreachable."""

    def __init__(
        self,
        source: LogSource,
        read_head: Callable[[bytes], tuple[int, bytes]],
        *,
        is_raw: bool = False,
    ) -> None:
        """`read_head` opens a checkpoint and tells size and root; it raises when the checkpoint is no
        good. `is_raw`: leaves of any bytes, without envelopes."""
        self._is_raw = is_raw
        self._source = source
        self._read_head = read_head
        self._size = 0
        self._problems: list[tuple[str, str]] = []
        self._bundle: tuple[int, list[tuple[bytes | None, bytes | None]]] | None = None

    def origin(self) -> None:
        """Only the checkpoint says it."""
        return

    def head(self) -> tuple[int, bytes, bytes | None]:
        """Size and root of the served checkpoint."""
        note = self._source.read("checkpoint", MAX_NOTE_BYTES)
        self._size, root = self._read_head(note)
        return self._size, root, note

    def leaves(self, start: int, end: int) -> Mapping[int, tuple[bytes | None, bytes | None]]:
        """Leaf data and packed entries out of the two bundles that hold `start` to `end - 1`."""
        number = start // TILE_WIDTH
        if self._bundle is None or self._bundle[0] != number:
            self._bundle = (number, self._read_bundles(number))
        rows = self._bundle[1]
        return {index: rows[index % TILE_WIDTH] for index in range(start, end) if rows}

    def _read_bundles(self, number: int) -> list[tuple[bytes | None, bytes | None]]:
        width = tile_width(0, number, self._size)
        leaves = self._parsed(entries_path, number, MAX_ENTRY_BUNDLE, parse_entry_bundle)
        packed = None
        if not self._is_raw:
            packed = self._parsed(envelopes_path, number, MAX_ENVELOPE_BUNDLE, parse_envelope_bundle)
        if leaves is None and packed is None:
            return []
        nothing: list[bytes | None] = [None] * width
        return list(zip(leaves or nothing, packed or nothing, strict=True))

    def _parsed(
        self, path: Callable[[int, int], str], number: int, limit: int, parse: Callable[[bytes, int], list[T]]
    ) -> list[T] | None:
        width = tile_width(0, number, self._size)
        # tlog-tiles: a partial may be removed once the full one exists.
        for served in dict.fromkeys((width, TILE_WIDTH)):
            data = self._read(path(number, served), limit)
            if data is None:
                continue
            try:
                return parse(data, served)[:width]
            except MalformedError as error:
                self._problems.append((path(number, served), f"cannot be read: {error}"))
                return None
        return None

    def tile(self, tile: Tile) -> bytes | None:
        """The bytes of a tile in the width that the checkpoint's size gives it, out of the full one when the
        log has removed the partial."""
        found = self._read(tile_path(tile), FULL_TILE_BYTES)
        if found is not None or tile.width == TILE_WIDTH:
            return found
        found = self._read(tile_path(Tile(tile.level, tile.index)), FULL_TILE_BYTES)
        return None if found is None else found[: tile.width * HASH_SIZE]

    def _read(self, path: str, limit: int) -> bytes | None:
        try:
            return self._source.read(path, limit)
        except NotFoundError:
            return None
        except AnswerError as error:
            if error.status != NOT_FOUND:
                raise
            return None

    def identities(self, identities: Sequence[bytes]) -> None:
        """Nobody serves a table of identities: duplicates are found by remembering."""
        return

    def raw_identities(self, start: int, end: int) -> Mapping[int, bytes | None] | None:
        """None for a log of envelopes. Identities of raw leaves are not served, and need not be their hashes:
        each is taken for one of its own."""
        if not self._is_raw:
            return None
        return {index: index.to_bytes(8, "big") for index in range(start, end)}

    def leftovers(self, size: int) -> Iterator[tuple[str, str]]:
        """What could not be parsed. What lies beyond the checkpoint cannot be seen from outside."""
        yield from self._problems
