"""The durable steps of every store, in one table: what a process does to its disk that outlives it.

A step is one call: a file made, a file or folder synced, a name given or taken away, a transaction committed.
`Table.find` gives the point of a call, or None for one that nobody has listed here: then the series fails.
A new store is a few rows more.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

CREATE, SYNC, RENAME, REMOVE, FOLDER = "create", "sync", "rename", "remove", "folder"
"""Calls on files: O_CREAT, fsync, rename (by its new name), unlink or rmdir, mkdir."""

DATABASE, STATEMENT, COMMIT, CLOSE = "database", "statement", "commit", "close"
"""Calls on databases: the first write to an empty file, a statement inside a transaction (with the table
written), COMMIT (with all of them), the last close."""


class Point(NamedTuple):
    """One durable step of one store. `pattern` matches `<root>/<path>`, for a statement
    and a commit with ` <tables>`."""

    store: str
    step: str
    call: str
    pattern: str

    @property
    def name(self) -> str:
        """How it is printed and told to the process that dies there."""
        return f"{self.store}: {self.step}"


_HEX = "[0-9a-f]"


def _digest_folder(store: str, folder: str) -> Iterator[Point]:
    """base/durable.DigestFolder."""
    temporary = f"{folder}/tmp/{_HEX}{{32}}\\.tmp"
    yield Point(store, "its folders made", FOLDER, f"{folder}(/tmp)?")
    yield Point(store, "temporary file made", CREATE, temporary)
    yield Point(store, "temporary file synced", SYNC, temporary)
    yield Point(store, "folder made", FOLDER, f"{folder}/{_HEX}{{2}}")
    yield Point(store, "name of a folder synced", SYNC, folder)
    yield Point(store, "renamed", RENAME, f"{folder}/{_HEX}{{2}}/{_HEX}{{64}}")
    yield Point(store, "name of the file synced", SYNC, f"{folder}/{_HEX}{{2}}")
    yield Point(store, "abandoned file removed", REMOVE, temporary)


def _atomic_file(store: str, folder: str, name: str) -> Iterator[Point]:
    """base/durable.write_atomic."""
    temporary = f"{folder}/\\.{name}\\.{_HEX}{{16}}\\.tmp"
    yield Point(store, "temporary file made", CREATE, temporary)
    yield Point(store, "temporary file synced", SYNC, temporary)
    yield Point(store, "renamed", RENAME, f"{folder}/{name}")
    yield Point(store, "name of the file synced", SYNC, folder)
    yield Point(store, "abandoned file removed", REMOVE, temporary)


def _database(store: str, path: str, commits: dict[str, str]) -> Iterator[Point]:
    """base/sql: `commits` gives the tables of each kind of transaction."""
    yield Point(store, "database made", DATABASE, path)
    for step, tables in commits.items():
        yield Point(store, step, COMMIT, f"{path} {tables}")
    yield Point(store, "database closed", CLOSE, path)


_LOG = {
    "tree committed": "create( \\w+)* heads( \\w+)* trees( \\w+)*",
    "checkpoint committed": "heads",
    "batch committed": "heads identities leaves tiles",
}
_INDEX = {
    "emptied": "create( drop)?( \\w+)* state( \\w+)*",
    "entries committed": "(contradicted )?entries( evidence)? kinds( lost)?( rebuilt)? state",
}

NODE: Sequence[Point] = (
    Point("node", "folders made", FOLDER, "node(/log)?"),
    Point("node", "names of its folders synced", SYNC, "node(/\\.\\.)?"),
    Point("node", "lock file made", CREATE, "node/(node\\.lock|log/lock)"),
    *_digest_folder("blobs", "node/blobs"),
    *_digest_folder("evidence", "node/evidence"),
    *_database("links", "node/links\\.sqlite", {"tables committed": "create", "row committed": "links"}),
    *_database("log", "node/log/log\\.sqlite", _LOG),
    *_atomic_file("log's head", "node/log", "newest\\.checkpoint"),
    *_database("index", "node/index\\.sqlite", _INDEX),
    Point("index", "damaged file removed", REMOVE, "node/index\\.sqlite(-wal|-shm)?"),
)

_PARCEL = "[0-9]{20}-[0-9a-f]{8}\\.json"

BUILDER: Sequence[Point] = (
    Point("builder", "folders made", FOLDER, "builder(/work|/cache)?"),
    Point("builder", "names of its folders synced", SYNC, "builder(/\\.\\.|/cache)?"),
    Point("builder", "workspace made", FOLDER, f"builder/(work/job-|tree-){_HEX}+"),
    Point("builder", "workspace removed", REMOVE, f"builder/(work/job-|tree-){_HEX}+"),
    *_digest_folder("downloads", "builder/downloads"),
    # Which address gave them. Not synced: without the mark, the address is asked once more.
    Point("downloads", "folder of marks made", FOLDER, "builder/downloads/served"),
    Point("downloads", "mark made", CREATE, f"builder/downloads/served/{_HEX}{{64}}"),
    *_digest_folder("inputs", "builder/cache/inputs"),
    *_digest_folder("outputs", "builder/cache/outputs"),
    *_digest_folder("own evidence", "builder/evidence"),
    Point("outbox", "its folders made", FOLDER, "builder/outbox(/done)?"),
    *_atomic_file("outbox", "builder/outbox", _PARCEL),
    *_atomic_file("outbox, done", "builder/outbox/done", _PARCEL),
    Point("outbox, refused", "folder made", FOLDER, "builder/outbox/refused"),
    *_atomic_file("outbox, refused", "builder/outbox/refused", _PARCEL),
    Point("outbox", "parcel removed", REMOVE, f"builder/outbox/{_PARCEL}"),
    Point("input locks", "folder made", FOLDER, "builder/locks"),
    *_atomic_file("input locks", "builder/locks", f"{_HEX}{{64}}\\.json"),
    Point("definitions", "folder made", FOLDER, "builder/definitions"),
    *_atomic_file("definitions", "builder/definitions", "[^/]+\\.json"),
)

_ASIDE = f"builder/roots/\\.new-{_HEX}{{16}}"
_MARK = f"builder/roots/\\.used-{_HEX}{{64}}"

ROOTS: Sequence[Point] = (
    Point("build roots", "mark made", CREATE, _MARK),
    Point("build roots", "folder aside made", FOLDER, _ASIDE),
    Point("build roots", "root put aside", RENAME, f"{_ASIDE}/gone"),
    Point("build roots", "its new name synced", SYNC, _ASIDE),
    Point("build roots", "names of roots synced", SYNC, "builder/roots"),
    Point("build roots", "mark removed", REMOVE, _MARK),
    Point("build roots", "root removed", REMOVE, f"{_ASIDE}/gone"),
    Point("build roots", "folder aside removed", REMOVE, _ASIDE),
    Point("packages of roots", "lock file made", CREATE, "builder/debs/\\.lock"),
    # Whoever opens a folder syncs the names of what is in it.
    Point("packages of roots", "names of its folders synced", SYNC, "builder/debs"),
    Point("packages of roots", "package removed", REMOVE, f"builder/debs/{_HEX}{{2}}/{_HEX}{{64}}"),
    Point("packages of roots", "its name synced", SYNC, f"builder/debs/{_HEX}{{2}}"),
)
"""Roots that are removed; how they are made has a test of its own, which needs a small sandbox."""

READER: Sequence[Point] = (
    Point("reader's head", "folder made", FOLDER, "state"),
    Point("reader's head", "name of the folder synced", SYNC, "state/\\.\\."),
    Point("reader's head", "lock file made", CREATE, "state/\\.head-[^/]+\\.lock"),
    Point("reader's head", "temporary file made", CREATE, "state/\\.head-[^/]+\\.tmp"),
    Point("reader's head", "temporary file synced", SYNC, "state/\\.head-[^/]+\\.tmp"),
    Point("reader's head", "renamed", RENAME, "state/head-[^/]+"),
    Point("reader's head", "name of the file synced", SYNC, "state"),
)

_TILES = "mirror/tile/.*/"

MIRROR: Sequence[Point] = (
    Point("mirror", "folders made", FOLDER, "mirror(/tile(/.*)?)?"),
    Point("mirror", "name of the mirror synced", SYNC, "mirror/\\.\\."),
    Point("mirror", "lock file made", CREATE, "mirror/\\.lock"),
    Point("mirror", "temporary file made", CREATE, f"{_TILES}\\.[0-9]+\\.{_HEX}{{16}}\\.tmp"),
    Point("mirror", "temporary file synced", SYNC, f"{_TILES}\\.[0-9]+\\.{_HEX}{{16}}\\.tmp"),
    Point("mirror", "renamed", RENAME, f"{_TILES}[0-9]{{1,3}}"),
    Point("mirror", "names in a folder synced", SYNC, "mirror/tile(/[^.]*(\\.p)?)?"),
    Point("mirror", "partial removed", REMOVE, f"{_TILES}[0-9]{{3}}\\.p/[0-9]{{1,3}}"),
    Point("mirror", "folder of partials removed", REMOVE, f"{_TILES}[0-9]{{3}}\\.p"),
    Point("mirror", "abandoned file removed", REMOVE, f"{_TILES}\\.[0-9]+\\.{_HEX}{{16}}\\.tmp"),
    *_atomic_file("mirror's head", "mirror", "checkpoint"),
)

EXPORT: Sequence[Point] = (
    # The folder is a mirror: its points are those of MIRROR. The database is only read.
    Point("exported log", "name of its folder synced", SYNC, "exported(/\\.\\.)?"),
    Point("exported log", "database closed", CLOSE, "exported/log/log\\.sqlite"),
)

IMPORT: Sequence[Point] = (
    Point("imported log", "folders made", FOLDER, "imported(/log)?"),
    Point("imported log", "names of its folders synced", SYNC, "imported(/\\.\\.)?"),
    Point("imported log", "lock file made", CREATE, "imported/log/lock"),
    *_database(
        "imported log",
        "imported/log/log\\.sqlite",
        {
            "tree committed": "create( \\w+)* heads( \\w+)* trees( \\w+)*",
            "state committed": "heads",
            "batch committed": "heads identities leaves tiles",
        },
    ),
)

_COPY = "backup/\\.copy\\.sqlite\\.tmp"

BACKUP: Sequence[Point] = (
    Point("backup", "copy closed", CLOSE, _COPY),
    Point("backup", "copy synced", SYNC, _COPY),
    Point("backup", "named", RENAME, "backup/copy\\.sqlite"),
    Point("backup", "name synced", SYNC, "backup"),
    Point("backup", "temporary name removed", REMOVE, f"{_COPY}(-wal|-shm)?"),
)


def _statements(store: str, path: str, tables: Sequence[str]) -> Iterator[Point]:
    """The statements of a batch's transaction, in their order."""
    for table in tables:
        yield Point(store, f"{table} written", STATEMENT, f"{path} {table}")


_BATCH = ("identities", "heads", "leaves", "tiles")

BATCH: Sequence[Point] = tuple(_statements("log", "node/log/log\\.sqlite", _BATCH))

SIGNED: Sequence[Point] = tuple(
    # The folder's own sync is a point of the log's head already.
    point
    for point in _atomic_file("signed head", "node/log", "signed\\.head")
    if point.call != SYNC or point.pattern != "node/log"
)
"""What a log that asks witnesses has signed: durable before the signature exists."""

RAW: Sequence[Point] = (
    *_statements("raw tree", "node/log/log\\.sqlite", ("raw_leaves", "trillian_trees")),
    Point("raw tree", "made", COMMIT, "node/log/log\\.sqlite heads trees trillian_trees"),
    Point("raw tree", "time of the log's root committed", COMMIT, "node/log/log\\.sqlite trillian_trees"),
    Point(
        "raw tree",
        "batch committed",
        COMMIT,
        "node/log/log\\.sqlite heads identities leaves raw_leaves tiles trillian_trees",
    ),
)

_SHARED = "postgresql/\\w+"

SHARED: Sequence[Point] = (
    Point("database", "tree committed", COMMIT, f"{_SHARED} create( \\w+)* heads( \\w+)* trees( \\w+)*"),
    Point("database", "submissions committed", COMMIT, f"{_SHARED} submissions"),
    Point("database", "term begun", COMMIT, f"{_SHARED} heads submissions"),
    Point("database", "checkpoint committed", COMMIT, f"{_SHARED} heads"),
    *_statements("database", _SHARED, _BATCH),
    Point("database", "own batch committed", COMMIT, f"{_SHARED} heads identities leaves tiles"),
    Point(
        "database",
        "batch with submissions committed",
        COMMIT,
        f"{_SHARED} heads identities leaves submissions tiles",
    ),
)
"""Frontends of one log on PostgreSQL; `hooks_postgresql.py`."""

TRILLIAN_STORE: Sequence[Point] = (
    # A log whose entries are in a Trillian: what it keeps beside them.
    Point("log in Trillian", "folders made", FOLDER, "kept(/log)?"),
    Point("log in Trillian", "names of its folders synced", SYNC, "kept(/\\.\\.)?"),
    Point("log in Trillian", "lock file made", CREATE, "kept/log/lock"),
    *_atomic_file("tree in Trillian", "kept/log", "trillian\\.tree"),
    *_database(
        "log in Trillian",
        "kept/log/trillian\\.sqlite",
        {**_LOG, "batch committed": "heads identities tiles"},
    ),
    # The sync of their folder is one point, whichever of the two files it is for.
    *(
        point
        for point in _atomic_file("head of a log in Trillian", "kept/log", "newest\\.checkpoint")
        if point.pattern != "kept/log"
    ),
)

POINTS: Sequence[Point] = (
    *NODE,
    *BUILDER,
    *ROOTS,
    *READER,
    *MIRROR,
    *EXPORT,
    *IMPORT,
    *BACKUP,
    *TRILLIAN_STORE,
)
"""That the series of all stores hits."""

DETAILED = frozenset({"jobs"})
"""Tables of which an update names its columns, too: they tell what is done to a job."""

_LOST = "( jobs\\((lost|overruns)\\))?"

_STEPS = {
    "job added": "jobs",
    "lease given": f"jobs\\(attempts,[^)]*\\){_LOST}",
    "lease kept": "jobs\\(beats,held,lease_until(,phase)?\\)",
    "result judged": "jobs\\(result\\)",
    "statements stored": "jobs\\(parcel\\)",
    "job finished": "jobs\\(detail,finished,indexes,lease_until,state\\)",
    "job failed": "jobs\\(detail,finished,lease_until,state\\)",
    "job given back": "jobs\\(detail,lease_until,not_before,state\\)( jobs\\(lacks\\))?",
    "output stored": "job_output",
    "worker noted": "workers",
    "jobs emptied": "(job_output )?jobs\\(emptied,parcel\\)",
    "jobs deleted": "(job_output )?jobs pruned",
}
"""What is committed to the queue's database."""

QUEUE: Sequence[Point] = (
    *_database("queue", "node/queue\\.sqlite", {"tables committed": "create( \\w+)*", **_STEPS}),
    *(Point("shared queue", step, COMMIT, f"{_SHARED} {tables}") for step, tables in _STEPS.items()),
    Point("shared queue", "tables committed", COMMIT, f"{_SHARED} create( \\w+)* queue_version( \\w+)*"),
)
"""The jobs of a node: in a file, or in a database on PostgreSQL."""

KILLED: Sequence[Point] = (*BATCH, *SIGNED, *RAW, *SHARED, *QUEUE)
"""That only the series under load hit (`kills/`, `jobs/`)."""

SCRATCH = (
    # What a job or a tree holds: nothing of it is read by anybody after a crash, all of it is removed.
    f"builder/(work/job-|tree-){_HEX}+/.*",
    # What has lost its name as a root.
    f"{_ASIDE}/(gone/.*|\\.moved-.*)",
    # What archives hold: made again from them, and checked by a sum of its own.
    "builder/cache/contents(/.*)?",
)
"""Not durable, below the roots."""

OUTSIDE = ("/sys/fs/cgroup/", "/proc/", "/dev/", "/run/lock/touchplate", "/memfd:")
"""Not durable, elsewhere: control groups, descriptors, devices, memory, and the locks of job uids."""


class Table:
    """Finds the point of a call. `roots`: name → folder, as the process was given them."""

    def __init__(self, roots: dict[str, str]) -> None:
        # The deepest first: a state folder may lie beside or below another root.
        self._roots = sorted(roots.items(), key=lambda item: -len(item[1]))
        self._points = [(point, re.compile(point.pattern)) for point in (*POINTS, *KILLED)]
        self._statements = [pattern for point, pattern in self._points if point.call == STATEMENT]
        self._scratch = [re.compile(pattern) for pattern in SCRATCH]

    def find(self, call: str, path: str, tables: str = "") -> Point | None:
        """The point of this call. Raises LookupError for a call that stands nowhere in the table."""
        subject = self._named(path)
        if subject == path and path.startswith(OUTSIDE):
            return None
        if any(pattern.fullmatch(subject) for pattern in self._scratch):
            return None
        wanted = f"{subject} {tables}" if call in (STATEMENT, COMMIT) else subject
        for point, pattern in self._points:
            if point.call == call and pattern.fullmatch(wanted):
                return point
        raise LookupError(f"{call} {wanted}")

    def has_statement(self, path: str, table: str) -> bool:
        """Whether a statement that writes `table` of this database is a point: none has to be."""
        wanted = f"{self._named(path)} {table}"
        return any(pattern.fullmatch(wanted) for pattern in self._statements)

    def is_ours(self, path: str) -> bool:
        """Whether the path is in one of the roots."""
        return self._named(path) != path

    def _named(self, path: str) -> str:
        for name, folder in self._roots:
            if path == folder:
                return name
            if path.startswith(f"{folder}/"):
                return f"{name}/{path[len(folder) + 1 :]}"
            if folder.startswith(f"{path.rstrip('/')}/"):
                return f"{name}/.."  # a folder in which the root itself was made
        return path
