"""What was promised to somebody outside, and whether all of it still holds. Reads the stores at rest.

Nothing here belongs to the code that is tested but its readers: fsck recomputes the log, the index is built
again from the log beside the one that is there, files are hashed.
"""

import hashlib
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.simkeys import solo_policy

from touchplate.api.index.facts import FactIndex
from touchplate.api.index.observe import Observer
from touchplate.api.index.store import IndexStore
from touchplate.base.sql import sqlite_engine
from touchplate.log.fsck import check_log
from touchplate.log.service import database_path, log_folder
from touchplate.log.storage.rows import TreeRows
from touchplate.verify.checkpoints import UnverifiedCheckpoint, parse_checkpoint_body
from touchplate.verify.entry import parse_packed
from touchplate.verify.notes import open_note
from touchplate.verify.statements import Record, parse_predicate, parse_statement
from touchplate.verify.trust import load_trust

LOST, INCONSISTENT = "lost", "inconsistent"


@dataclass(frozen=True)
class Finding:
    """One broken promise. `kind`: what was promised is lost, or two things that were said contradict."""

    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


@dataclass
class Promises:
    """What the outside was told, by whom it does not matter."""

    entries: dict[bytes, int] = field(default_factory=dict)
    """Envelope → index that the log answered."""
    served: dict[str, bytes] = field(default_factory=dict)
    """Path below the upstream → bytes that the adapter served (recorded files only)."""
    evidence: dict[str, bytes] = field(default_factory=dict)
    """sha256 → bytes that the evidence store took."""
    checkpoints: set[bytes] = field(default_factory=set)
    """Every signed note that anybody saw."""
    broken: list[Finding] = field(default_factory=list)
    """What was seen to contradict an earlier answer while the process ran."""

    def answered(self, envelope: bytes, index: int) -> None:
        """The log said that the envelope is at `index`."""
        if self.entries.setdefault(envelope, index) != index:
            self.broken.append(
                Finding(INCONSISTENT, f"an entry was at index {self.entries[envelope]}, now at {index}")
            )


class ListedLog:
    """An `EntrySource` over the packed entries that were read."""

    def __init__(self, packed: list[bytes]) -> None:
        self.packed = packed

    def entries_after(self, count: int) -> list[tuple[int, bytes]]:
        """All at once."""
        return list(enumerate(self.packed))[count:]

    def wait_for_growth(self, size: int, timeout_seconds: float) -> int:
        """Never waits."""
        return len(self.packed)


@contextmanager
def _rows(data: Path) -> Iterator[TreeRows]:
    engine = sqlite_engine(database_path(log_folder(data)))
    rows = TreeRows(engine)
    try:
        yield rows
    finally:
        rows.close()
        engine.dispose()


def read_log(data: Path) -> list[bytes]:
    """The packed entries of the log in a node's data folder, in order."""
    with _rows(data) as rows:
        size = rows.head()[0]
        return [packed or b"" for _, (_, packed) in sorted(rows.leaves(0, size).items())]


def check_node(data: Path, trust: Path, promises: Promises) -> list[Finding]:
    """Everything that is wrong with a node at rest of which these promises were made."""
    # First: whoever opens a database tidies up after the one before.
    found = [Finding(LOST, f"room: {path} is left over") for path in leftovers(data)]
    found += check_promises(data, trust, promises)
    found += _check_links(data, promises)
    found += check_digests(data / "blobs")
    return found


def check_promises(data: Path, trust: Path, promises: Promises) -> list[Finding]:
    """What must be right in every moment in which nobody asks the node for anything: also just after a start,
    before links and blobs that were lost or damaged have come back."""
    packed = read_log(data)
    found = list(promises.broken)
    found += _check_tree(data, promises)
    found += _check_entries(packed, promises)
    found += _check_records(data, packed, promises)
    found += _check_evidence(data, promises)
    found += _check_index(data, trust, packed)
    return found


def _check_tree(data: Path, promises: Promises) -> Iterator[Finding]:
    notes = {*promises.checkpoints}
    newest = log_folder(data) / "newest.checkpoint"
    if newest.exists():
        notes.add(newest.read_bytes())
    bodies: list[UnverifiedCheckpoint] = [
        parse_checkpoint_body(open_note(note, solo_policy().keys).text) for note in sorted(notes)
    ]
    with _rows(data) as rows:
        size = rows.head()[0]
        ahead = [body for body in bodies if body.size > size]
        for body in ahead:
            yield Finding(INCONSISTENT, f"the log has {size} entries, and showed a checkpoint of {body.size}")
        past = [body for body in bodies if body.size <= size]
        for finding in check_log(rows, policy=solo_policy(), against=past).findings:
            yield Finding(INCONSISTENT, f"fsck: {finding}")


def _check_entries(packed: list[bytes], promises: Promises) -> Iterator[Finding]:
    for envelope, index in promises.entries.items():
        held = parse_packed(packed[index]).envelope if index < len(packed) else None
        if held != envelope:
            yield Finding(LOST, f"the entry that was answered with index {index} is not there")
    for identity, number in Counter(parse_packed(one).identity for one in packed).items():
        if number > 1:
            yield Finding(INCONSISTENT, f"entry {identity.hex()} is in the log {number} times")


def _check_records(data: Path, packed: list[bytes], promises: Promises) -> Iterator[Finding]:
    recorded = set(_recorded(packed))
    for path, body in promises.served.items():
        sha256 = hashlib.sha256(body).hexdigest()
        if (path, sha256) not in recorded:
            yield Finding(LOST, f"{path} was served, and the log has no record of {sha256}")
    for path, sha256 in _links(data).items():
        if (path, sha256) not in recorded:
            yield Finding(INCONSISTENT, f"{path} is linked to {sha256}, which no record names")
        if not (data / "blobs" / sha256[:2] / sha256).is_file():
            yield Finding(LOST, f"{path} is linked to {sha256}, which is not held")


def _links(data: Path) -> dict[str, str]:
    """sha256 by path; there is one repository."""
    with closing(sqlite3.connect(data / "links.sqlite")) as links:
        return dict(links.execute("SELECT path, sha256 FROM links"))


def _check_links(data: Path, promises: Promises) -> Iterator[Finding]:
    for path in promises.served.keys() - _links(data).keys():
        yield Finding(LOST, f"{path} was served, and is not linked")


def _recorded(packed: list[bytes]) -> Iterator[tuple[str, str]]:
    """(path below the upstream, sha256) of every record in the log."""
    for one in packed:
        statement = parse_statement(parse_packed(one).payload)
        predicate = parse_predicate(statement)
        if isinstance(predicate, Record):
            yield predicate.uri.partition("/")[2], statement.subjects[0].sha256


def _check_evidence(data: Path, promises: Promises) -> Iterator[Finding]:
    for sha256 in promises.evidence:
        if not (data / "evidence" / sha256[:2] / sha256).is_file():
            yield Finding(LOST, f"evidence {sha256} was stored, and is not held")
    yield from check_digests(data / "evidence")


def check_digests(folder: Path) -> Iterator[Finding]:
    """Every file of a digest folder has the digest that its name says."""
    for path in folder.glob("??/*"):
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != path.name:
            yield Finding(LOST, f"{folder.name}: {path.name} holds bytes of sha256 {found}")


def _check_index(data: Path, trust: Path, packed: list[bytes]) -> Iterator[Finding]:
    """The index says what one says that is built now from as many entries of the log."""
    held = _dump(data / "index.sqlite")
    (followed,) = [int(str(value)) for name, value in held["state"] if name == "followed"]
    if followed > len(packed):
        yield Finding(INCONSISTENT, f"index: follows {followed} entries of {len(packed)}")
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / "index.sqlite"
        store = IndexStore(sqlite_engine(again), "")
        FactIndex(store, ListedLog(packed[:followed]), Observer(load_trust(trust))).catch_up()
        store.close()
        built = _dump(again)
    for table in sorted(held.keys() | built.keys()):
        here, there = held.get(table, set()), built.get(table, set())
        if here != there:
            what = f"lacks {len(there - here)} rows and has {len(here - there)} others"
            yield Finding(INCONSISTENT, f"index: {table} {what}")


def _dump(path: Path) -> dict[str, set[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: set(database.execute(f'SELECT * FROM "{name}"')) for name in names}
    # The digest of the trust file is the node's own business.
    rows["state"] = {row for row in rows.get("state", set()) if row[0] != "trust"}
    return rows


def leftovers(data: Path) -> list[str]:
    """Temporary files and work folders that a process at rest has no use for."""
    patterns = ("*.tmp", "job-*", "tree-*", "*.sqlite-wal", "*.sqlite-journal")
    return sorted(str(path.relative_to(data)) for pattern in patterns for path in data.rglob(pattern))
