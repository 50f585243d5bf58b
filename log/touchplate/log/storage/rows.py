"""The rows of a tree as they are, for fsck: no caches, no belief in the head, holes are answers."""

from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import Engine, inspect, text

from touchplate.log.errors import CorruptTreeError, RequestError
from touchplate.log.storage.schema import metadata
from touchplate.log.storage.statements import Statements
from touchplate.verify.rfc6962 import HASH_SIZE
from touchplate.verify.tiles import Tile, tile_width


class TreeRows:
    """One stored tree, read row by row: a `Source` of `touchplate.log.fsck`."""

    def __init__(self, engine: Engine, name: str | None = None) -> None:
        """The tree called `name`, or the only one. Raises RequestError when there is no such tree, or a
        choice."""
        self._sql = Statements(engine.dialect.name)
        self._dialect = engine.dialect.name
        # One read transaction for all: a log that goes on growing meanwhile looks the same throughout.
        self._connection = engine.connect()
        try:
            self.name, self._tree = self._choose(name)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the read transaction."""
        self._connection.close()

    def _choose(self, name: str | None) -> tuple[str, int]:
        missing = set(metadata.tables) - set(inspect(self._connection).get_table_names())
        if missing:
            raise RequestError(f"this is not a log's database: it has no table {', '.join(sorted(missing))}")
        found = {row.name: row.tree_id for row in self._connection.execute(self._sql.trees)}
        names = ", ".join(found) or "none"
        if name is None and len(found) != 1:
            raise RequestError(f"the database holds {len(found)} trees ({names}); name one")
        if name is not None and name not in found:
            raise RequestError(f"the database holds no tree {name!r}, only {names}")
        chosen = name or next(iter(found))
        return chosen, found[chosen]

    def head(self) -> tuple[int, bytes, bytes | None]:
        """(size, root, newest checkpoint) of the head row. Raises CorruptTreeError when there is none."""
        row = self._connection.execute(self._sql.head, {"tree": self._tree}).one_or_none()
        if row is None:
            raise CorruptTreeError(f"the head row of {self.name!r} is missing")
        return row.tree_size, row.root, row.checkpoint

    def leaves(self, start: int, end: int) -> Mapping[int, tuple[bytes | None, bytes | None]]:
        """(leaf data, packed entry) by index, as far as there are rows."""
        where = {"tree": self._tree, "start": start, "end": end}
        rows = self._connection.execute(self._sql.leaf_rows, where)
        return {row.leaf_index: (row.leaf_data, row.packed) for row in rows}

    def tile(self, tile: Tile) -> bytes | None:
        """The stored bytes of a tile in whatever width they have."""
        where = {"tree": self._tree, "level": tile.level, "index": tile.index}
        hashes: bytes | None = self._connection.execute(self._sql.tile, where).scalar_one_or_none()
        return hashes

    def identities(self, identities: Sequence[bytes]) -> Mapping[bytes, int]:
        """Stored indexes by identity."""
        rows = self._connection.execute(self._sql.known, {"tree": self._tree, "wanted": list(identities)})
        return {row.identity: row.leaf_index for row in rows}

    def leftovers(self, size: int) -> Iterator[tuple[str, str]]:
        """(where, what) of everything stored that a tree of `size` entries does not have."""
        here = {"tree": self._tree}
        for index in self._connection.execute(self._sql.leaves_beyond, {**here, "size": size}).scalars():
            yield f"leaf {index}", f"is beyond the head of size {size}"
        count = self._connection.execute(self._sql.count_identities, here).scalar_one()
        if count != size:
            yield "identities", f"has {count} rows for {size} entries"
        for level, index, length in self._connection.execute(self._sql.tile_rows, here):
            width = tile_width(level, index, size)
            if width == 0:
                yield f"tile {level}/{index}", f"is beyond the head of size {size}"
            elif length != width * HASH_SIZE:
                yield f"tile {level}/{index}", f"has {length} bytes, not {width * HASH_SIZE}"
        if self._dialect == "sqlite":
            # Pages, free list and indexes of the file itself; the first hundred complaints.
            for line in self._connection.execute(text("PRAGMA integrity_check")).scalars():
                if line != "ok":
                    yield "database file", str(line)
