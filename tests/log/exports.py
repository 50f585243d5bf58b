"""Logs in databases, their exports, and looks at both."""

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.log.mirrors import entries_in, wrong_with
from tests.log.support import sign, signed_entries
from tests.simkeys import ORIGIN, solo_policy

from touchplate.base.sql import Engine, sqlite_engine
from touchplate.log.export import Exporter
from touchplate.log.follow import Update
from touchplate.log.mirror import Mirror
from touchplate.log.ports import PackedEntry
from touchplate.log.storage.rows import TreeRows
from touchplate.log.storage.sql import open_tree
from touchplate.verify.entry import pack_entry
from touchplate.verify.policy import Policy

ENTRIES = signed_entries(520)
"""Two full bundles and a third that is partial."""


def fill(engine: Engine, entries: list[PackedEntry]) -> None:
    """Append to the log of ORIGIN in `engine`; lets go of it."""
    tree = open_tree(engine, ORIGIN)
    tree.apply(entries, sign)
    tree.close()


def sqlite_log(folder: Path, size: int, start: int = 0) -> Path:
    """The database `log.sqlite` in `folder`, grown to `size` entries."""
    fill(sqlite_engine(folder / "log.sqlite"), ENTRIES[start:size])
    return folder / "log.sqlite"


def export(engine: Engine, folder: Path, policy: Policy | None = None) -> Update:
    """One update of the export in `folder`, by an exporter that was just started; lets go of `engine`."""
    policy = policy or solo_policy()
    rows = TreeRows(engine, ORIGIN)
    try:
        with Mirror(folder, policy) as mirror:
            return Exporter(mirror, policy).update(rows)
    finally:
        rows.close()
        engine.dispose()


def look(folder: Path) -> tuple[int, list[str]]:
    """The size of an export and what is wrong with it, as readers find it."""
    size = int((folder / "checkpoint").read_text().splitlines()[1])
    wrong = wrong_with(folder, solo_policy())
    if [pack_entry(entry) for entry in entries_in(folder, solo_policy())] != [
        entry.packed for entry in ENTRIES[:size]
    ]:
        wrong.append("other entries")
    return size, wrong


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder behind a static web server that knows nothing of logs."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
