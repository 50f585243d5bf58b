"""Leaves between messages and rows."""

from collections.abc import Sequence

from google.rpc.status_pb2 import Status

from touchplate.base.status import GRPCCode
from touchplate.log.errors import RequestError, StateError
from touchplate.log.storage.raw import Placed, RawLeaf
from touchplate.log.storage.raw_rows import MAX_VALUE, RawEntry
from touchplate.proto.trillian.trillian_log_api_pb2 import LogLeaf, QueuedLogLeaf
from touchplate.verify.rfc6962 import leaf_hash

MAX_EXTRA = 1024 * 1024
"""Bytes of extra data: certificate chains of the largest kind fit several times."""

MAX_IDENTITY = 255
"""Bytes of an identity hash that a caller gives, as in Trillian's own schema."""

_PLACED = {
    Placed.NEW: (GRPCCode.OK, "OK"),
    Placed.THERE: (GRPCCode.ALREADY_EXISTS, "this leaf is at this index already"),
    Placed.TAKEN: (GRPCCode.FAILED_PRECONDITION, "another leaf is at this index"),
    Placed.KNOWN: (GRPCCode.FAILED_PRECONDITION, "this leaf is in the tree at another index"),
    Placed.BEYOND: (GRPCCode.OUT_OF_RANGE, "leaves before this one are missing; send them first"),
}


def raw_entry(leaf: LogLeaf, now: int) -> RawEntry:
    """What the tree takes of a leaf in a request; `now` in nanoseconds. Raises RequestError."""
    if not leaf.leaf_value:
        raise RequestError("leaf_value: is empty")
    if len(leaf.leaf_value) > MAX_VALUE:
        raise RequestError(
            f"leaf_value: has {len(leaf.leaf_value)} bytes; at most {MAX_VALUE}", reason="too-large"
        )
    if len(leaf.extra_data) > MAX_EXTRA:
        raise RequestError(
            f"extra_data: has {len(leaf.extra_data)} bytes; at most {MAX_EXTRA}", reason="too-large"
        )
    if len(leaf.leaf_identity_hash) > MAX_IDENTITY:
        raise RequestError(
            f"leaf_identity_hash: has {len(leaf.leaf_identity_hash)} bytes; at most {MAX_IDENTITY}"
        )
    if leaf.leaf_index < 0:
        raise RequestError(f"leaf_index: must not be negative, not {leaf.leaf_index}")
    merkle = leaf_hash(leaf.leaf_value)
    return RawEntry(leaf.leaf_value, merkle, leaf.leaf_identity_hash or merkle, leaf.extra_data, now)


def check_contiguous(indexes: Sequence[int]) -> None:
    """Refuse leaves that do not follow each other. Raises StateError."""
    for at, index in enumerate(indexes):
        if index != indexes[0] + at:
            raise StateError(
                f"leaves[{at}].leaf_index: is {index}; after the first it must be {indexes[0] + at}"
            )


def accepted(entry: RawEntry, index: int) -> QueuedLogLeaf:
    """The answer to a leaf that is new."""
    leaf = _hashes(entry, index)
    leaf.leaf_value, leaf.extra_data = entry.leaf_data, entry.packed
    leaf.queue_timestamp.FromNanoseconds(entry.queued)
    return QueuedLogLeaf(leaf=leaf, status=Status(code=GRPCCode.OK, message="OK"))


def duplicate(old: RawLeaf) -> QueuedLogLeaf:
    """The answer to a leaf that was there: the one that was there."""
    status = Status(code=GRPCCode.ALREADY_EXISTS, message=f"this leaf is in the tree at index {old.index}")
    return QueuedLogLeaf(leaf=stored(old), status=status)


def placed(index: int, entry: RawEntry, outcome: Placed) -> QueuedLogLeaf:
    """The answer to a leaf that named its index: its hashes, not its bytes, which the caller has."""
    code, message = _PLACED[outcome]
    return QueuedLogLeaf(leaf=_hashes(entry, index), status=Status(code=code, message=message))


def stored(leaf: RawLeaf) -> LogLeaf:
    """The message of a stored leaf."""
    merkle = leaf_hash(leaf.value)
    message = LogLeaf(
        merkle_leaf_hash=merkle,
        leaf_value=leaf.value,
        extra_data=leaf.extra,
        leaf_index=leaf.index,
        leaf_identity_hash=leaf.identity or merkle,
    )
    if leaf.queued is not None:
        message.queue_timestamp.FromNanoseconds(leaf.queued)
    if leaf.integrated is not None:
        message.integrate_timestamp.FromNanoseconds(leaf.integrated)
    return message


def _hashes(entry: RawEntry, index: int) -> LogLeaf:
    return LogLeaf(merkle_leaf_hash=entry.leaf_hash, leaf_identity_hash=entry.identity, leaf_index=index)
