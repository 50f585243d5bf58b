"""LogRootV1: the bytes in which Trillian's clients read a root. Pure.

Big-endian (Trillian 1.7, types/logroot.go): uint16 version = 1, uint64 tree size, uint8 length and root hash,
uint64 nanoseconds since 1970, uint64 revision = 0, uint16 length and metadata. Nothing in it is signed.
"""

import struct
from dataclasses import dataclass

from touchplate.log.errors import RequestError

VERSION = 1
MAX_HASH = 128
"""Bytes of a root hash at most, by the format."""
MAX_METADATA = 65_535

_HEAD = struct.Struct(">HQB")
_TAIL = struct.Struct(">QQH")


@dataclass(frozen=True, slots=True)
class LogRoot:
    """A root. `nanos`: nanoseconds since 1970."""

    size: int
    root: bytes
    nanos: int
    revision: int = 0
    metadata: bytes = b""


def format_log_root(root: LogRoot) -> bytes:
    """The bytes of `root`. Raises RequestError when a part does not fit."""
    if len(root.root) > MAX_HASH or len(root.metadata) > MAX_METADATA:
        raise RequestError(
            f"a root of {len(root.root)} bytes with {len(root.metadata)} bytes of metadata does not fit into"
            f" LogRootV1: at most {MAX_HASH} and {MAX_METADATA}"
        )
    try:
        head = _HEAD.pack(VERSION, root.size, len(root.root))
        tail = _TAIL.pack(root.nanos, root.revision, len(root.metadata))
    except struct.error as error:
        raise RequestError(f"{root} does not fit into LogRootV1: {error}") from error
    return head + root.root + tail + root.metadata


def parse_log_root(data: bytes) -> LogRoot:
    """The root in `data`. Raises RequestError for anything else, also for bytes that follow it."""
    try:
        version, size, length = _HEAD.unpack_from(data)
        if version != VERSION:
            raise RequestError(f"a log root of version {version}; only {VERSION} is known")
        if length > MAX_HASH:
            raise RequestError(f"a root hash of {length} bytes; at most {MAX_HASH}")
        end = _HEAD.size + length
        nanos, revision, more = _TAIL.unpack_from(data, end)
    except struct.error as error:
        raise RequestError(f"{len(data)} bytes are no LogRootV1: {error}") from error
    end += _TAIL.size
    if len(data) != end + more:
        raise RequestError(f"a log root of {end + more} bytes in {len(data)}")
    return LogRoot(size, data[_HEAD.size : _HEAD.size + length], nanos, revision, data[end:])
