"""Trees as Trillian's interface shows them: messages out of registry rows, and what may be in a request.

The rules are those of Trillian 1.7 (storage/tree_validation.go, server/admin), so that its tools meet what
they expect.
"""

import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from google.protobuf import symbol_database
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError

from touchplate.log.errors import ClosedError, NotFoundError, RequestError, StateError
from touchplate.log.storage.registry import ACTIVE, DRAINING, FROZEN, LOG, PREORDERED, TreeFields, TreeRow
from touchplate.log.storage.sql import RAW
from touchplate.proto.trillian.trillian_pb2 import Tree

MAX_DISPLAY_NAME = 20
MAX_DESCRIPTION = 200
"""Characters, as in Trillian's own schema."""
MAX_SETTINGS = 64 * 1024
"""Bytes of storage settings: they are kept, and nothing here reads them."""
MAX_DURATION_SECONDS = 315_576_000_000
"""Of a google.protobuf.Duration: ten thousand years."""
MAX_NANOS = 2**63 - 1
NANOS = 1_000_000_000

STATES = MappingProxyType({ACTIVE: "ACTIVE", FROZEN: "FROZEN", DRAINING: "DRAINING"})
TYPES = MappingProxyType({LOG: "LOG", PREORDERED: "PREORDERED_LOG"})


def tree_message(row: TreeRow) -> Tree:
    """The message of a tree."""
    fields = row.fields
    tree = Tree(
        tree_id=fields.public_id,
        tree_state=fields.state,  # type: ignore[arg-type]  # the numbers are the enumeration's
        tree_type=fields.type,  # type: ignore[arg-type]
        display_name=fields.display_name,
        description=fields.description,
        deleted=fields.deleted is not None,
    )
    if fields.storage_settings is not None:
        tree.storage_settings.MergeFromString(fields.storage_settings)
    tree.max_root_duration.FromNanoseconds(fields.max_root_nanos)
    tree.create_time.FromMilliseconds(fields.created)
    tree.update_time.FromMilliseconds(fields.updated)
    if fields.deleted is not None:
        tree.delete_time.FromMilliseconds(fields.deleted)
    return tree


def new_fields(tree: Tree, public_id: int, now: int) -> TreeFields:
    """The fields of a tree that somebody wants made; `now` in milliseconds. What is not his is ignored.

    Raises RequestError.
    """
    if tree.tree_state != ACTIVE:
        raise RequestError(f"tree_state: a new tree is ACTIVE, not {tree.tree_state}")
    if tree.deleted or tree.HasField("delete_time"):
        raise RequestError("deleted: a new tree is not deleted")
    checked = _checked(tree)
    return TreeFields(public_id=public_id, created=now, updated=now, **checked)


def changed_fields(row: TreeRow, tree: Tree, mask: Sequence[str], now: int) -> TreeFields:
    """The fields of `row` after those that `mask` names were taken from `tree`.

    Raises RequestError (also for a mask that is empty or names others), NotFoundError for a deleted tree,
    ClosedError for one that is made by configuration.
    """
    check_ours(row)
    if row.fields.deleted is not None:
        raise NotFoundError(f"the tree {row.fields.public_id} is deleted")
    if not mask:
        raise RequestError("update_mask: is empty; name what shall change")
    for path in mask:
        if path not in _MUTABLE:
            raise RequestError(f"update_mask: {path[:100]!r} cannot change; known: {', '.join(_MUTABLE)}")
    merged = tree_message(row)
    for path in mask:
        _MUTABLE[path](merged, tree)
    fields = TreeFields(
        public_id=row.fields.public_id, created=row.fields.created, updated=now, **_checked(merged)
    )
    _check_type(row.fields, fields)
    return fields


def deleted_fields(row: TreeRow, now: int) -> TreeFields:
    """The fields of a tree that goes. Raises StateError, ClosedError."""
    check_ours(row)
    if row.fields.deleted is not None:
        raise StateError(f"the tree {row.fields.public_id} is deleted already")
    return replace(row.fields, deleted=now, updated=now)


def undeleted_fields(row: TreeRow, now: int) -> TreeFields:
    """The fields of a tree that comes back. Raises StateError, ClosedError."""
    check_ours(row)
    if row.fields.deleted is None:
        raise StateError(f"the tree {row.fields.public_id} is not deleted")
    return replace(row.fields, deleted=None, updated=now)


def check_ours(row: TreeRow) -> None:
    """Refuse to change trees of another kind."""
    if row.kind != RAW:
        raise ClosedError(f"the tree {row.fields.public_id} is made by configuration, and changed there only")


def _check_type(old: TreeFields, new: TreeFields) -> None:
    if old.type == new.type:
        return
    if (old.type, new.type) != (PREORDERED, LOG):
        raise RequestError(f"tree_type: {TYPES[old.type]} cannot become {TYPES[new.type]}")
    if not old.state == new.state == FROZEN:
        raise RequestError("tree_type: changes only while the tree is FROZEN, and it stays FROZEN")


def _checked(tree: Tree) -> dict[str, typing.Any]:
    """The fields that makers choose, checked."""
    if tree.tree_state not in STATES:
        raise RequestError(f"tree_state: {tree.tree_state} is none of {', '.join(STATES.values())}")
    if tree.tree_type not in TYPES:
        raise RequestError(f"tree_type: {tree.tree_type} is none of {', '.join(TYPES.values())}")
    for name, text, most in (
        ("display_name", tree.display_name, MAX_DISPLAY_NAME),
        ("description", tree.description, MAX_DESCRIPTION),
    ):
        if len(text) > most:
            raise RequestError(f"{name}: has {len(text)} characters; at most {most}")
        if "\0" in text:
            raise RequestError(f"{name}: holds a zero byte")
    settings = tree.storage_settings if tree.HasField("storage_settings") else None
    return {
        "state": int(tree.tree_state),
        "type": int(tree.tree_type),
        "display_name": tree.display_name,
        "description": tree.description,
        "storage_settings": None if settings is None else _settings(settings),
        "max_root_nanos": _duration(tree),
    }


def _duration(tree: Tree) -> int:
    if not tree.HasField("max_root_duration"):
        raise RequestError("max_root_duration: is missing; zero means never")
    seconds, nanos = tree.max_root_duration.seconds, tree.max_root_duration.nanos
    total = seconds * NANOS + nanos
    is_valid = abs(seconds) <= MAX_DURATION_SECONDS and abs(nanos) < NANOS and seconds * nanos >= 0
    if not is_valid or not 0 <= total <= MAX_NANOS:
        raise RequestError(f"max_root_duration: {seconds} s {nanos} ns is no duration that can be used")
    return total


def _settings(settings: Any) -> bytes:
    """An Any whose type has a name, and whose bytes are of that type when it is known here."""
    prefix, slash, name = settings.type_url.rpartition("/")
    if not slash or not prefix or not name:
        raise RequestError(f"storage_settings: {settings.type_url[:100]!r} names no type")
    try:
        known = symbol_database.Default().GetSymbol(name)
    except KeyError:
        known = None
    try:
        if known is not None:
            known.FromString(settings.value)
    except DecodeError:
        raise RequestError(f"storage_settings: the bytes are no {name}") from None
    data = settings.SerializeToString(deterministic=True)
    if len(data) > MAX_SETTINGS:
        raise RequestError(f"storage_settings: {len(data)} bytes; at most {MAX_SETTINGS}")
    return data


def _put_state(to: Tree, of: Tree) -> None:
    to.tree_state = of.tree_state


def _put_type(to: Tree, of: Tree) -> None:
    to.tree_type = of.tree_type


def _put_name(to: Tree, of: Tree) -> None:
    to.display_name = of.display_name


def _put_description(to: Tree, of: Tree) -> None:
    to.description = of.description


def _put_settings(to: Tree, of: Tree) -> None:
    to.ClearField("storage_settings")
    if of.HasField("storage_settings"):
        to.storage_settings.CopyFrom(of.storage_settings)


def _put_duration(to: Tree, of: Tree) -> None:
    to.ClearField("max_root_duration")
    if of.HasField("max_root_duration"):
        to.max_root_duration.CopyFrom(of.max_root_duration)


_MUTABLE: Mapping[str, Callable[[Tree, Tree], None]] = MappingProxyType(
    {
        "tree_state": _put_state,
        "tree_type": _put_type,
        "display_name": _put_name,
        "description": _put_description,
        "storage_settings": _put_settings,
        "max_root_duration": _put_duration,
    }
)
