"""`touchplate builder root`: build roots of pinned Debian packages, locked once and made again anywhere."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from touchplate.base.durable import DigestFolder, write_atomic
from touchplate.base.progress import open_progress
from touchplate.builder.cli import root_shelf
from touchplate.builder.errors import DefinitionError
from touchplate.builder.roots.lock import LOCK_BYTES, RootLock, parse_root_lock
from touchplate.builder.roots.store import Roots
from touchplate.builder.workshop import default_data, make_enterable
from touchplate.verify.jcs import JSONValue
from touchplate.verify.output import print_json, print_pairs
from touchplate.verify.reading import read_at_most
from touchplate.verify.usage import OK, UsageError


def register(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands of `touchplate builder root`."""
    commands = parser.add_subparsers(dest="root_command", required=True, metavar="COMMAND")
    lock = commands.add_parser("lock", help="choose packages by apt, make the root twice, lock it")
    lock.add_argument("--suite", required=True, metavar="NAME", help="Debian suite, such as bookworm")
    lock.add_argument(
        "--include",
        action="append",
        default=[],
        metavar="PACKAGE,…",
        help="beside what is essential; NAME or NAME=VERSION; may be repeated",
    )
    lock.add_argument(
        "--epoch", type=int, metavar="SECONDS", help="time of the root; default: the suite's newest"
    )
    lock.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="where the root lock is written"
    )
    make = commands.add_parser("make", help="make the root of a lock, or check the one that is there")
    make.add_argument("file", type=Path, metavar="FILE", help="the root lock")
    root_shelf.register_list(
        commands.add_parser("list", help="the roots that stand here, and their last use")
    )
    root_shelf.register_prune(
        commands.add_parser("prune", help="remove roots, none in use, and their packages")
    )
    for each in (lock, make):
        each.add_argument(
            "--archive",
            action="append",
            default=[],
            metavar="NAME=URL",
            help="where the archive NAME (debian, debian-security) is; default: where apt finds it",
        )
        each.add_argument(
            "--data", type=Path, metavar="DIR", help="where roots, packages and evidence are kept"
        )
        each.add_argument(
            "--work", type=Path, metavar="DIR", help="where roots are made; default: below --data"
        )
        each.add_argument("--json", action="store_true", help="print the result as JSON")
        each.add_argument("--quiet", action="store_true", help="no progress")


def run(args: argparse.Namespace) -> int:
    """Do it. 0; 2 when this host cannot, or when the root becomes another than its lock says."""
    if args.root_command == "list":
        return root_shelf.run_list(args)
    if args.root_command == "prune":
        return root_shelf.run_prune(args)
    archives = _archives(args.archive)
    with _opened_roots(args, archives) as roots:
        if args.root_command == "lock":
            lock = roots.lock(args.suite, _names(args.include), args.epoch)
            write_atomic(args.out.absolute(), lock.data)
            root = roots.make(lock)
        else:
            lock = read_root_lock(args.file)
            root = roots.make(lock)
    _show(args, lock, root.path)
    return OK


def read_root_lock(path: Path) -> RootLock:
    """The root lock in a file. Raises DefinitionError, also when the file cannot be read."""
    try:
        return parse_root_lock(read_at_most(path, LOCK_BYTES))
    except OSError as error:
        raise DefinitionError(f"cannot read the root lock {str(path)!r}: {error.strerror}") from error


def _names(given: Sequence[str]) -> list[str]:
    return [name for words in given for name in words.split(",") if name]


def _archives(given: Sequence[str]) -> dict[str, str]:
    archives = {}
    for text in given:
        name, equals, url = text.partition("=")
        if not (name and equals and url):
            raise UsageError(f"--archive {text[:200]!r}: write NAME=URL, as debian=https://…")
        archives[name] = url
    return archives


@contextmanager
def _opened_roots(args: argparse.Namespace, archives: dict[str, str]) -> Iterator[Roots]:
    data = (args.data or default_data()).absolute()
    work = args.work.absolute() if args.work else data / "work"
    for folder in (data, work):
        make_enterable(folder)
    with open_progress(quiet=args.quiet) as display:
        roots = Roots(data, work, DigestFolder(data / "evidence"), display, archives)
        with closing(roots):
            yield roots


def _show(args: argparse.Namespace, lock: RootLock, path: Path) -> None:
    if args.json:
        value: dict[str, JSONValue] = {
            "architecture": lock.architecture,
            "lock": lock.sha256,
            "packages": len(lock.packages),
            "path": str(path),
            "suite": lock.suite,
            "tree": lock.tree,
        }
        print_json(value)
        return
    print_pairs(
        [
            ("root lock", lock.sha256),
            ("tree", lock.tree),
            ("packages", f"{len(lock.packages)} of {lock.suite}, {lock.total_bytes / 1e6:.1f} MB"),
            ("root", str(path)),
        ]
    )
