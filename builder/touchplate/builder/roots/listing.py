"""The listing of a tree: the lines over which its tree digest is taken (statement format 4).

Kept as evidence under the tree digest, which is its SHA-256. With it, what became of a tree can be told by
file, and digests of what stands in it follow without reading it again.
"""

import hashlib
from collections.abc import Iterator

from touchplate.builder.trees import escape_path


def first_difference(expected: bytes, found: bytes) -> str:
    """The first path, in order, at which two listings differ, and how; empty when they are the same."""
    wanted, here = _by_path(expected), _by_path(found)
    for path in sorted(wanted.keys() | here.keys()):
        if wanted.get(path) != here.get(path):
            return f"{path.decode()!r} {_how(wanted.get(path), here.get(path))}"
    return ""


def folder_digest(listing: bytes, folder: str) -> str:
    """The tree digest of a folder of the tree (`usr/lib/jvm/…`, no final slash)."""
    start = escape_path(folder.encode()) + b"/"
    digest = hashlib.sha256()
    for words, path in _lines(listing):
        if path.startswith(start):
            digest.update(b" ".join((*words, path[len(start) :])) + b"\n")
    return digest.hexdigest()


def file_digest(listing: bytes, path: str) -> str | None:
    """The sha256 of a regular file of the tree; None when there is none at `path`."""
    words = _by_path(listing).get(escape_path(path.encode()))
    return words[2].decode() if words is not None and words[0] == b"f" else None


def _how(wanted: tuple[bytes, ...] | None, found: tuple[bytes, ...] | None) -> str:
    if wanted is None:
        return "is there, and should not be"
    if found is None:
        return "is not there"
    if wanted[:-1] == found[:-1]:
        return "has other bytes" if wanted[0] == b"f" else "leads elsewhere"
    return "is of another kind or mode"


def _by_path(listing: bytes) -> dict[bytes, tuple[bytes, ...]]:
    return {path: words for words, path in _lines(listing)}


def _lines(listing: bytes) -> Iterator[tuple[tuple[bytes, ...], bytes]]:
    """(what stands before the path, the path) of each line."""
    for line in listing.splitlines():
        *words, path = line.split(b" ")
        yield tuple(words), path
