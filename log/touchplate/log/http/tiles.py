"""Checkpoint, hash tiles and bundles of one log, as tlog-tiles has them: for the hot faces."""

import asyncio
import gzip
from dataclasses import replace

from touchplate.log.errors import NotFoundError
from touchplate.log.http.answers import (
    FRESH,
    IMMUTABLE,
    SHORT,
    Answer,
    Scope,
    tagged,
    takes_gzip,
)
from touchplate.log.http.kept import MAX_KEPT_BYTES, KeptAnswers
from touchplate.log.reading import LogReader
from touchplate.verify.errors import MalformedError
from touchplate.verify.tiles import TILE_WIDTH, BundleCoord, Tile, parse_tile_path

GZIP_LEVEL = 1
"""Most of a bundle is base64 of hashes: more work makes it hardly smaller."""

_PACKED = ("tile/entries/", "tile/envelopes/")
_OCTETS = "application/octet-stream"


class TileAnswers:
    """Answers of one log. For one event loop."""

    def __init__(self, reader: LogReader, kept_bytes: int = MAX_KEPT_BYTES) -> None:
        self._reader = reader
        self._kept = KeptAnswers(kept_bytes)  # only touched by the event loop

    def checkpoint(self) -> Answer:
        """The newest signed note. Raises NotFoundError before the first."""
        return tagged(Answer(self._reader.checkpoint(), headers={"Cache-Control": FRESH}))

    async def tile(self, path: str, scope: Scope) -> Answer:
        """What stands at `path` ("tile/…"). Raises NotFoundError."""
        packed = path.startswith(_PACKED) and takes_gzip(scope)
        if (kept := self._kept.get(path, packed=packed)) is not None:
            return kept
        try:
            tile = parse_tile_path(path)
        except MalformedError as error:
            raise NotFoundError(str(error)) from error
        answer = await asyncio.to_thread(self._read, tile, packed)
        if tile.width == TILE_WIDTH:
            self._kept.keep(path, answer, packed=packed)
        return answer

    def _read(self, coord: Tile | BundleCoord, packed: bool) -> Answer:
        headers = {"Cache-Control": IMMUTABLE if coord.width == TILE_WIDTH else SHORT}
        if isinstance(coord, BundleCoord):
            headers["Vary"] = "Accept-Encoding"
        answer = tagged(Answer(self._reader.resource(coord), content_type=_OCTETS, headers=headers))
        if not packed:
            return answer
        body = gzip.compress(answer.body, GZIP_LEVEL, mtime=0)
        return replace(answer, body=body, headers={**answer.headers, "Content-Encoding": "gzip"})
