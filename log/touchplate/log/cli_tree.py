"""Trees of any bytes beside a log: `touchplate log tree create`, `list`, `freeze`, `delete`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from touchplate.log.cli_store import read_store
from touchplate.log.errors import RequestError
from touchplate.verify.jcs import JSONValue
from touchplate.verify.output import print_json, print_line
from touchplate.verify.usage import OK

if TYPE_CHECKING:
    from touchplate.log.storage.raw_trees import RawTrees
    from touchplate.log.storage.registry import TreeRow


def register(commands: Any) -> None:
    """Add `tree` to the commands of `touchplate log`."""
    tree = commands.add_parser(
        "tree",
        help="make and change trees of any bytes beside the log",
        description="Make and change trees of any bytes (raw trees) beside the log of a configuration. They "
        "are written to over HTTP ([[log.raw]]) or through Trillian's interface. The log may run.",
    )
    actions = tree.add_subparsers(dest="tree_command", required=True, metavar="COMMAND")
    create = _add(actions, "create", _create, "make an empty raw tree; prints its id")
    create.add_argument("--name", default="", metavar="TEXT", help="for people, at most 20 characters")
    _add(actions, "list", _list, "all raw trees: id, size, state, name")
    for name, run, summary in (
        ("freeze", _freeze, "let a raw tree take no new leaves"),
        ("delete", _delete, "hide a raw tree; nothing of it is removed"),
    ):
        changed = _add(actions, name, run, summary)
        changed.add_argument("tree", type=int, metavar="ID", help="the tree's id")
        changed.add_argument("--undo", action="store_true", help="the other way round")


def _add(actions: Any, name: str, run: Callable[..., int], summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=summary, description=f"{summary.capitalize()}."
    )
    parser.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="the node's TOML: its database"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run_log=run)
    return parser


@contextmanager
def _trees(args: argparse.Namespace, *, make: bool = False) -> Iterator[RawTrees]:
    store = read_store(args.config)
    store.refuse_peers("tree")
    if store.trillian is not None:
        raise RequestError("log tree: this log is kept in a Trillian, which makes its own trees")
    # On use: an auditor's installation has no SQLAlchemy.
    from touchplate.log.storage.raw_trees import RawTrees

    engine = store.open_engine(make=make)
    try:
        yield RawTrees(engine)
    finally:
        engine.dispose()


def _create(args: argparse.Namespace) -> int:
    with _trees(args, make=True) as trees:
        row = trees.create(args.name)
    if args.json:
        print_json(_document(row))
    else:
        print_line(str(row.fields.public_id))
    return OK


def _list(args: argparse.Namespace) -> int:
    with _trees(args) as trees:
        rows = trees.rows()
    if args.json:
        print_json({"trees": [_document(row) for row in rows]})
        return OK
    for row in rows:
        print_line(_line(row))
    return OK


def _freeze(args: argparse.Namespace) -> int:
    with _trees(args) as trees:
        return _report(args, trees.freeze(args.tree, undo=args.undo))


def _delete(args: argparse.Namespace) -> int:
    with _trees(args) as trees:
        return _report(args, trees.delete(args.tree, undo=args.undo))


def _report(args: argparse.Namespace, row: TreeRow) -> int:
    if args.json:
        print_json(_document(row))
    else:
        print_line(_line(row))
    return OK


def _line(row: TreeRow) -> str:
    found = _document(row)
    name = f" {row.fields.display_name}" if row.fields.display_name else ""
    return f"{found['tree']} {found['size']} leaves, {found['state']}{name}"


def _document(row: TreeRow) -> dict[str, JSONValue]:
    from touchplate.log.storage.registry import ACTIVE, DRAINING, FROZEN, LOG

    fields = row.fields
    state = {ACTIVE: "active", FROZEN: "frozen", DRAINING: "draining"}[fields.state]
    return {
        "tree": str(fields.public_id),
        "size": str(row.root_size or 0),
        "state": state if fields.deleted is None else "deleted",
        "preordered": fields.type != LOG,
        "name": fields.display_name,
    }
