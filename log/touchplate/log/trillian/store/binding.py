"""Which tree of which Trillian holds a log: found or made once, then remembered beside the log's database.

A file, written before and after the tree is made. It first holds a name that nobody else chooses, which the
tree then bears; so a crash in between leaves a tree that the next start finds, not a second one.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from pathlib import Path

from touchplate.base.durable import make_folder, remove_abandoned_writes
from touchplate.log.errors import CheckpointError
from touchplate.log.kept import read_kept, write_kept
from touchplate.log.trillian.store.remote import RemoteTrillian
from touchplate.proto.trillian.trillian_pb2 import TreeState, TreeType
from touchplate.verify.encoding import parse_decimal

FILE_NAME = "trillian.tree"

MARK_BYTES = 8
"""Random bytes of a mark: nobody meets one by chance."""

DESCRIPTION_ORIGIN = 160
"""Characters of an origin in a tree's description, for which Trillian's own schema has two hundred."""


@dataclass(frozen=True)
class Binding:
    """What the file says. `tree_id`: 0 while the tree is not known to be made."""

    origin: str
    mark: str
    tree_id: int

    @property
    def description(self) -> str:
        """How the tree is described in Trillian."""
        return f"{self.origin[:DESCRIPTION_ORIGIN]} {self.mark}"


def bind_tree(remote: RemoteTrillian, folder: Path, origin: str, configured: int, *, has_past: bool) -> int:
    """The id of the tree that holds the log `origin`; made if need be, and if `configured` is 0.

    `has_past`: the log has entries already. Raises CheckpointError when the file contradicts the
    configuration, or is missing although the log has a past, or when the tree is no usable LOG tree;
    StorageError, StorageFailedError.
    """
    make_folder(folder)
    remove_abandoned_writes(folder)
    path = folder / FILE_NAME
    binding = _read(path, origin)
    tree_id = configured or (0 if binding is None else binding.tree_id)
    if binding is not None and binding.tree_id not in (0, tree_id):
        raise CheckpointError(
            f"tree_id: is {configured}, but this log is kept in tree {binding.tree_id} ({path}); another tree"
            " is another log"
        )
    if not tree_id and binding is None and has_past:
        raise CheckpointError(
            f"{path} is missing, so nothing says which tree of the Trillian at {remote.address} holds this"
            " log: put the file back, or write tree_id"
        )
    marked = binding or Binding(origin, secrets.token_hex(MARK_BYTES), 0)
    if not tree_id:
        _write(path, marked)
        tree_id = _find_or_make(remote, marked)
    if marked.tree_id != tree_id:
        _write(path, replace(marked, tree_id=tree_id))
    check_tree(remote, tree_id)
    remote.initialise(tree_id)
    return tree_id


def remembered_tree(folder: Path, origin: str) -> int:
    """The id of the tree that holds the log in `folder`. Raises CheckpointError when nobody knows it."""
    binding = _read(folder / FILE_NAME, origin)
    if binding is None or not binding.tree_id:
        raise CheckpointError(f"{folder / FILE_NAME} names no tree: start the log once, or put the file back")
    return binding.tree_id


def _find_or_make(remote: RemoteTrillian, binding: Binding) -> int:
    """The tree that bears the mark: made by a start that crashed, or now."""
    found = remote.find_trees(binding.description)
    if len(found) > 1:
        raise CheckpointError(
            f"the Trillian at {remote.address} has several trees described as {binding.description!r}"
            f" ({', '.join(map(str, found))}); write tree_id"
        )
    return found[0] if found else remote.make_tree(binding.description)


def check_tree(remote: RemoteTrillian, tree_id: int) -> None:
    """Refuse a tree that is not what a log needs. Raises CheckpointError, StorageFailedError.

    One that is FROZEN or DRAINING can be read; the first entry is told.
    """
    tree = remote.tree(tree_id)
    mistakes = []
    if tree.tree_id != tree_id:
        mistakes.append(f"says that it is tree {tree.tree_id}")
    if tree.tree_type != TreeType.LOG:
        mistakes.append(f"is of type {_name(TreeType, tree.tree_type)}, not LOG")
    if tree.deleted:
        mistakes.append("is deleted")
    if tree.tree_state not in (TreeState.ACTIVE, TreeState.DRAINING, TreeState.FROZEN):
        mistakes.append(f"is in the state {_name(TreeState, tree.tree_state)}")
    if mistakes:
        raise CheckpointError(f"tree {tree_id} of the Trillian at {remote.address} " + ", ".join(mistakes))


def _name(kind: object, number: int) -> str:
    names: dict[int, str] = {value: name for name, value in kind.items()}  # type: ignore[attr-defined]
    return names.get(number, str(number))


def _write(path: Path, binding: Binding) -> None:
    write_kept(path, binding.origin, {"mark": binding.mark, "tree": str(binding.tree_id)})


def _read(path: Path, origin: str) -> Binding | None:
    return read_kept(
        path,
        origin,
        ("mark", "tree"),
        lambda texts: Binding(origin, texts["mark"], parse_decimal(texts["tree"], "tree")),
        remedy=": put the right one back, or remove it and write tree_id",
    )
