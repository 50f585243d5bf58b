"""Records of PAX extended headers: `LENGTH KEY=VALUE` and a line end each (POSIX pax, extended header)."""

import re
from collections.abc import Iterator, Mapping

from touchplate.builder.errors import StabilizeError

MAX_PAX_BYTES = 1024 * 1024
"""Records of one header, in bytes: a path, a link target and some attributes; real ones stay under 10 kB."""

_START = re.compile(rb"([1-9][0-9]{0,6}) ([^=\0\n]+)=")


def split_records(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """(whole record, key, value) of each. Raises StabilizeError for bytes that are not such records."""
    at = 0
    while at < len(data):
        found = _START.match(data, at)
        end = at + int(found[1]) if found else 0
        if found is None or not found.end() < end <= len(data) or data[end - 1 : end] != b"\n":
            raise StabilizeError("a PAX header that does not consist of whole records")
        if found[2].startswith(b"GNU.sparse."):
            raise StabilizeError("a PAX header of a sparse member: readers disagree about its size")
        yield data[at:end], found[2], data[found.end() : end - 1]
        at = end


def keep_records(data: bytes, dropped: Mapping[bytes, re.Pattern[bytes]]) -> bytes:
    """All records but those with a key of `dropped`, in their order and spelling.

    Raises StabilizeError for one to be dropped whose value has not the form that its key is given there.
    """
    kept = []
    for record, key, value in split_records(data):
        if key not in dropped:
            kept.append(record)
        elif dropped[key].fullmatch(value) is None:
            raise StabilizeError(f"a PAX record {key.decode()} whose value is none: {value[:40]!r}")
    return b"".join(kept)


def pax_size(data: bytes) -> int | None:
    """The member size that the records give; None without one. Raises StabilizeError for a bad one."""
    sizes = {value for _, key, value in split_records(data) if key == b"size"}
    if not sizes:
        return None
    (only, *others) = sizes
    if others or re.fullmatch(rb"[0-9]{1,19}", only) is None:
        raise StabilizeError("a PAX header whose size is not one number")
    return int(only)
