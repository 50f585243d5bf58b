"""`touchplate builder root list` and `prune`: which build roots stand here, and what goes."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from touchplate.base.durable import DigestFolder
from touchplate.base.progress import QuietProgress, open_progress
from touchplate.builder.cli.job_tables import format_age, show_table
from touchplate.builder.roots.lock import RootLock
from touchplate.builder.roots.shelf import MOST_ROOTS, StandingRoot
from touchplate.builder.roots.store import Roots
from touchplate.builder.workshop import default_data
from touchplate.verify.encoding import format_time
from touchplate.verify.jcs import JSONValue
from touchplate.verify.output import print_json, print_line, print_note
from touchplate.verify.usage import OK, UsageError

_DAY_SECONDS = 24 * 3600


def register_list(parser: argparse.ArgumentParser) -> None:
    """Add the options of `touchplate builder root list`."""
    _add_common(parser)


def register_prune(parser: argparse.ArgumentParser) -> None:
    """Add the options of `touchplate builder root prune`."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--keep", type=int, metavar="N", help=f"all but the N that were used last go ({MOST_ROOTS})"
    )
    which.add_argument(
        "--older-than", type=float, metavar="DAYS", help="those go that nobody used for so long"
    )
    _add_common(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress")


def run_list(args: argparse.Namespace) -> int:
    """Show what stands. Returns 0."""
    roots = _open(args)
    found = roots.shelf.standing()
    if args.json:
        print_json([_value(one, _lock_of(roots, one)) for one in found])
    elif not found:
        print_line("no build root is here")
    else:
        _show(roots, found)
    return OK


def run_prune(args: argparse.Namespace) -> int:
    """Remove, and show what went. Returns 0, also when nothing did."""
    if args.keep is not None and args.keep < 0:
        raise UsageError("--keep: write 0 or more")
    if args.older_than is not None and not args.older_than >= 0:
        raise UsageError("--older-than: write a number of days, 0 or more")
    roots = _open(args)
    with open_progress(quiet=args.quiet) as display:
        if args.older_than is None:
            keep, since = MOST_ROOTS if args.keep is None else args.keep, None
        else:
            keep, since = None, time.time() - args.older_than * _DAY_SECONDS
        gone = roots.shelf.prune(
            keep=keep,
            unused_since=since,
            removing=lambda one: display.step(f"remove the root {one.tree[:16]}"),
        )
    packages = roots.prune_packages()
    freed = sum(one.size for one in gone) + packages.size
    if args.json:
        removed: list[JSONValue] = [_value(one, _lock_of(roots, one)) for one in gone]
        told: dict[str, JSONValue] = {"kept": packages.why_not or None, "removed": packages.count}
        print_json({"freed_bytes": freed, "packages": told, "removed": removed})
        return OK
    for one in gone:
        print_line(f"removed  {one.tree}")
    said = f"{len(gone)} build roots and {packages.count} downloaded packages removed"
    print_line(f"{said}, {freed / 1e6:.1f} MB freed")
    if packages.why_not:
        print_note(f"all downloaded packages stay: {packages.why_not}")
    return OK


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="where roots, packages and evidence are kept"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _open(args: argparse.Namespace) -> Roots:
    data = (args.data or default_data()).absolute()
    return Roots(data, data / "work", DigestFolder(data / "evidence"), QuietProgress())


def _lock_of(roots: Roots, one: StandingRoot) -> RootLock | None:
    return roots.find_lock(one.lock) if one.lock else None


def _value(one: StandingRoot, lock: RootLock | None) -> dict[str, JSONValue]:
    return {
        "in_use": one.is_used,
        "lock": one.lock or None,
        "packages": len(lock.packages) if lock is not None else None,
        "size": one.size,
        "suite": lock.suite if lock is not None else None,
        "tree": one.tree,
        "used": format_time(one.used),
    }


def _show(roots: Roots, found: Sequence[StandingRoot]) -> None:
    now = int(time.time())
    rows = []
    for one in found:
        lock = _lock_of(roots, one)
        rows.append(
            (
                one.tree[:16],
                one.lock[:16],
                f"{len(lock.packages)} of {lock.suite}" if lock is not None else "",
                f"{one.size / 1e6:.1f} MB",
                "now" if one.is_used else f"{format_age(now - one.used)} ago",
            )
        )
    show_table(("tree", "root lock", "packages", "size", "used"), rows)
