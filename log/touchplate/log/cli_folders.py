"""`touchplate log export` and `log import`: a whole log as files in a folder, and back."""

import argparse
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from touchplate.base.errors import ConfigError, TouchplateError
from touchplate.base.progress import counting, open_progress
from touchplate.log.cli_findings import count_findings, findings_json, print_findings
from touchplate.log.cli_follow import DEFAULT_INTERVAL, read_interval, stopping
from touchplate.log.cli_store import Store, read_store
from touchplate.log.errors import FatalError
from touchplate.log.fsck import Result, unverified_body
from touchplate.log.mirror import Mirror
from touchplate.verify.checkpoints import UnverifiedCheckpoint
from touchplate.verify.encoding import encode_base64
from touchplate.verify.jcs import JSONValue
from touchplate.verify.notes import MAX_NOTE_BYTES
from touchplate.verify.output import flush_output, print_json, print_line, print_note
from touchplate.verify.reading import read_at_most
from touchplate.verify.sources import FolderSource
from touchplate.verify.usage import OK, REFUSED, UNDETERMINED, UsageError

if TYPE_CHECKING:
    from touchplate.log.export import Destination, Exporter
    from touchplate.log.follow import Update


def register(commands: Any) -> None:
    """Add `export` and `import` to the commands of `touchplate log`."""
    export = commands.add_parser(
        "export",
        help="write a log as files that any web server or object store can serve",
        description="Write the log of a configuration as files into a folder, for any web server, or into "
        "the bucket of its table [log.bucket]. The log may run. What is there is a whole log at each moment; "
        "the next run goes on from there.",
    )
    where = export.add_mutually_exclusive_group(required=True)
    where.add_argument("folder", type=Path, nargs="?", metavar="DIR", help="the folder; made if missing")
    where.add_argument("--bucket", action="store_true", help="into the bucket that the configuration names")
    _add_common(export)
    export.add_argument("--follow", action="store_true", help="go on until SIGTERM or SIGINT")
    export.add_argument(
        "--interval", metavar="TIME", help=f"with --follow, between two looks (default: {DEFAULT_INTERVAL}s)"
    )
    export.set_defaults(run_log=_export)
    imported = commands.add_parser(
        "import",
        help="read a log from a folder into an empty database, or an older copy of its own",
        description="Read the log in a folder (an export, a mirror) into the database of a configuration. "
        "It is "
        "empty or holds an older copy of the same log, and not in use. All of the folder is checked "
        "first: exit "
        "code 1 when it is refused, and nothing was written then.",
    )
    imported.add_argument("folder", type=Path, metavar="DIR", help="the folder")
    _add_common(imported)
    imported.set_defaults(run_log=_import)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="the node's TOML: its database and log key"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


# --- export -----------------------------------------------------------------------------------------------


def _export(args: argparse.Namespace) -> int:
    if args.interval is not None and not args.follow:
        raise UsageError("--interval says nothing without --follow")
    interval = read_interval(args.interval)
    store = read_store(args.config)
    store.refuse_peers("export")
    # On use: it brings no database, but `follow` does not need it either.
    from touchplate.log.export import Exporter

    policy = store.keys.policy()
    exporter = Exporter(_destination(store, args), policy)
    with stopping() as stop, closing(exporter):
        said, shown = "", None
        while True:
            try:
                done = _update(store, exporter, stop.is_set, quiet=args.json)
            except TouchplateError as error:
                # A database that does not answer now may answer later. Another history does not become this
                # one by waiting: whoever looks after this process has to see it end.
                if not args.follow or isinstance(error, FatalError):
                    raise
                if str(error) != said:
                    print_note(f"{error.reason}: {error}; trying again")
                said = str(error)
            else:
                note = None if done.head is None else done.head.note
                if not args.follow or (note, done.complete) != shown:
                    _print_update(done, str(exporter.destination), args)
                said, shown = "", (note, done.complete)
                if not args.follow:
                    return OK if done.complete else UNDETERMINED
            if stop.wait(interval):
                return OK


def _destination(store: Store, args: argparse.Namespace) -> "Destination":
    if not args.bucket:
        return Mirror(args.folder, store.keys.policy())
    if store.bucket is None:
        raise ConfigError(args.config.name, ("log.bucket: is missing; write which bucket",))
    from touchplate.log.bucket.bucket import Bucket

    return Bucket(store.bucket, store.keys.policy())


def _update(store: Store, exporter: "Exporter", stopped: Any, *, quiet: bool) -> "Update":
    rows, close = store.open_rows()
    try:
        return exporter.update(rows, stopping=stopped, progress=lambda: open_progress(quiet=quiet))
    finally:
        close()


def _print_update(done: "Update", where: str, args: argparse.Namespace) -> None:
    size = 0 if done.head is None else done.head.size
    if args.json:
        root = None if done.head is None else encode_base64(done.head.root)
        told: dict[str, JSONValue] = {"complete": done.complete}
        told |= {"bucket" if args.bucket else "folder": where}
        told |= {"healed": done.healed, "new": str(size - done.since), "size": str(size), "root": root}
        print_json(told)
    elif done.head is None:
        print_note("the log has not signed a checkpoint yet: start it once")
    elif not done.complete:
        print_note(f"stopped; {where} is at size {size}, and goes on from there when started again")
    else:
        if done.healed:
            print_note(f"files of {where} were missing or damaged: all of it was written again")
        print_line(f"{done.head.origin}: {size} entries (+{size - done.since}), root {done.head.root.hex()}")
    flush_output()


# --- import -----------------------------------------------------------------------------------------------


def _import(args: argparse.Namespace) -> int:
    store = read_store(args.config)
    store.refuse_peers("import")
    store.refuse_trillian("import", "import into a log on SQLite or PostgreSQL")
    from touchplate.base.durable import FileLock
    from touchplate.log.importing import ImportedLog
    from touchplate.log.service import LOCK_NAME
    from touchplate.log.storage.states import open_import

    lock = FileLock(store.folder / LOCK_NAME)
    try:
        imported = ImportedLog(FolderSource(args.folder), store.keys.policy())
        known = [*_published(store), *_stored(store)]
        with open_progress(quiet=args.json) as progress:
            task = progress.task("entries checked", imported.head.size, unit="entries")
            result = imported.check(known, counting(task))
            task.finish()
            if not result.clean:
                return _refuse(result, args)
            tree = open_import(store.open_engine(make=True), store.origin)
            try:
                begun = tree.head().size
                task = progress.task("entries copied", imported.head.size - begun, unit="entries")
                imported.copy(tree, counting(task, begun))
                task.finish()
            finally:
                tree.close()
    finally:
        lock.close()
    head = imported.head
    if args.json:
        root = encode_base64(head.root)
        print_json({"imported": True, "new": str(head.size - begun), "size": str(head.size), "root": root})
    else:
        print_line(f"{head.origin}: {head.size} entries (+{head.size - begun}), root {head.root.hex()}")
    return OK


def _published(store: Store) -> list[UnverifiedCheckpoint]:
    """What this log is known to have published, or signed for witnesses: nothing older may take its place."""
    from touchplate.log.guard import SigningGuard
    from touchplate.log.remembered import FILE_NAME

    path = store.folder / FILE_NAME
    found = [unverified_body(read_at_most(path, MAX_NOTE_BYTES))] if path.exists() else []
    if (signed := SigningGuard(store.folder, store.origin).signed) is not None:
        found.append(UnverifiedCheckpoint(store.origin, *signed))
    return found


def _stored(store: Store) -> list[UnverifiedCheckpoint]:
    """The tree that is in the database already: the folder's must go on from there."""
    from touchplate.log.errors import RequestError

    if store.database is not None and not store.database.exists():
        return []
    try:
        rows, close = store.open_rows()
    except RequestError:  # no tables, no such log: an empty database
        return []
    try:
        size, root, _ = rows.head()
    finally:
        close()
    return [UnverifiedCheckpoint(store.origin, size, root)] if size else []


def _refuse(result: Result, args: argparse.Namespace) -> int:
    if args.json:
        print_json({"imported": False, **findings_json(result)})
        return REFUSED
    print_findings(result)
    print_line(f"refused: {count_findings(result)}; nothing was imported")
    return REFUSED
