"""A copy of a log's SQLite database, made while the log is written, and kept only if it is a whole log.

Copied under another name, recomputed by fsck, synced, then named: after a crash at any line there is no file
of the asked name, or one that was found clean.
"""

import os
from pathlib import Path

from touchplate.base.durable import sync_folder
from touchplate.base.progress import Progress, counting
from touchplate.base.sql import Engine, copy_sqlite, sqlite_engine
from touchplate.log.errors import CorruptTreeError
from touchplate.log.fsck import Result, check_log
from touchplate.log.storage.rows import TreeRows
from touchplate.verify.policy import Policy


def back_up(engine: Engine, origin: str, policy: Policy, file: Path, progress: Progress) -> Result:
    """Copy the database of `engine` to the new `file`; what fsck says of the copy.

    Raises CorruptTreeError when that is anything (then there is no `file`), StorageError, OSError
    (FileExistsError when `file` is there).
    """
    temporary = file.with_name(f".{file.name}.tmp")
    _remove(temporary)
    try:
        task = progress.task("pages copied")
        copy_sqlite(engine, temporary, counting(task))
        task.finish()
        result = _check(temporary, origin, policy, progress)
        descriptor = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.link(temporary, file)  # not a rename: that would replace a file which somebody made meanwhile
        sync_folder(file.absolute().parent)
    finally:
        _remove(temporary)
    return result


def _check(copy: Path, origin: str, policy: Policy, progress: Progress) -> Result:
    engine = sqlite_engine(copy)
    try:
        rows = TreeRows(engine, origin)
        try:
            task = progress.task("entries checked", rows.head()[0], unit="entries")
            result = check_log(rows, policy=policy, progress=counting(task))
            task.finish()
        finally:
            rows.close()
    finally:
        engine.dispose()
    if not result.clean:
        count = len(result.findings) + result.dropped
        raise CorruptTreeError(
            f"fsck has {count} findings in the copy ({result.findings[0]}), and so in the log: nothing"
            " was kept; run log fsck on it"
        )
    return result


def _remove(temporary: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{temporary}{suffix}").unlink(missing_ok=True)
