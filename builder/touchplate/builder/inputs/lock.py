"""The input lock: every file that Build may see beside source and tools (input lock format 5).

RFC 8785 JSON `{"inputs":[{"path","sha256","size","upstream"}],"version":1}`, inputs sorted by the bytes of
(upstream, path), none twice, no final newline. Two rebuilders of one package compare the digest of this
file, so there is exactly one spelling of it.
"""

import hashlib
import re
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise

from touchplate.builder.errors import DefinitionError
from touchplate.builder.plan import PinnedInput
from touchplate.verify.errors import VerifyError
from touchplate.verify.jcs import JSON, JSONValue, format_json, parse_json

LOCK_BYTES = 16 * 1024 * 1024
"""Largest input lock, in bytes: about 50,000 inputs, ten times what a Fetch may record by default."""

PATH_BYTES = 1024
"""Longest input path, in bytes of UTF-8: repositories stay under 400, and PATH_MAX is 4096 with prefix."""

NAME_BYTES = 255
"""Longest part of a path, in bytes: what file systems take (NAME_MAX)."""

METADATA = "maven-metadata*.xml"
"""File names whose content changes from day to day: a lock with one of them cannot be repeated."""

_UPSTREAM = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MEMBERS = {"path", "sha256", "size", "upstream"}
_CHECKSUM_SUFFIXES = (".md5", ".sha1", ".sha256", ".sha512")


@dataclass(frozen=True)
class LockedInput:
    """One recorded file: where it came from (`upstream`, `path` in it, not percent-encoded) and its bytes."""

    upstream: str
    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class InputLock:
    """All inputs of a build, in the order of the format. Make it with `make_lock` or `parse_lock`."""

    inputs: tuple[LockedInput, ...]

    @property
    def total_bytes(self) -> int:
        """Sum of the sizes."""
        return sum(one.size for one in self.inputs)

    @property
    def sha256(self) -> str:
        """Digest of the lock's one spelling, lower-case hex."""
        return hashlib.sha256(format_lock(self)).hexdigest()


def is_checksum(path: str) -> bool:
    """Whether a path names a checksum file; those are left out of a lock (they follow from their file)."""
    return path.endswith(_CHECKSUM_SUFFIXES)


def is_metadata(path: str) -> bool:
    """Whether a path names a file that may only be an input when the definition allows it."""
    return fnmatchcase(path.rpartition("/")[2], METADATA)


def is_sha256(path: str) -> bool:
    """Whether a path is a sha256, as those of files that are asked for by what they hold."""
    return _SHA256.fullmatch(path) is not None


def check_input_path(path: str) -> None:
    """Refuse (DefinitionError) a path that could mean two things or leave its folder."""
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in path or not path.isprintable():
        raise DefinitionError(
            f"input path {path[:200]!r} is not plain (no '..', '//', '\\', control characters)"
        )
    if len(path.encode()) > PATH_BYTES or any(len(part.encode()) > NAME_BYTES for part in parts):
        raise DefinitionError(
            f"input path {path[:200]!r} is longer than {PATH_BYTES} bytes, or a part of it than 255"
        )


def make_lock(inputs: Iterable[LockedInput]) -> InputLock:
    """Sort and check inputs. Raises DefinitionError for duplicates and bad values."""
    ordered = tuple(sorted(inputs, key=_order))
    for one in ordered:
        _check(one)
    _check_tree(ordered)
    return InputLock(ordered)


def pinned_inputs(pins: Iterable[PinnedInput]) -> tuple[LockedInput, ...]:
    """What a definition names, as its locks have it."""
    return tuple(LockedInput(one.upstream, one.path, one.sha256, one.size) for one in pins)


def format_lock(lock: InputLock) -> bytes:
    """The bytes of a lock, as they are digested and stored."""
    inputs: list[dict[str, JSONValue]] = [
        {"path": one.path, "sha256": one.sha256, "size": one.size, "upstream": one.upstream}
        for one in lock.inputs
    ]
    return format_json({"inputs": inputs, "version": 1})


def parse_lock(data: bytes) -> InputLock:
    """Read a lock. Raises DefinitionError unless the bytes are exactly what `format_lock` would write."""
    try:
        value = parse_json(data, max_bytes=LOCK_BYTES)
    except VerifyError as error:
        raise DefinitionError(f"input lock: {error}") from error
    if not isinstance(value, dict) or set(value) != {"inputs", "version"}:
        raise DefinitionError("input lock: not an object of 'inputs' and 'version'")
    if value["version"] != 1 or isinstance(value["version"], bool):
        raise DefinitionError(
            f"input lock: version {value['version']!r} is not known here; this is version 1"
        )
    members = value["inputs"]
    if not isinstance(members, list):
        raise DefinitionError("input lock: 'inputs' is not a list")
    lock = make_lock(_parse_input(member) for member in members)
    if format_lock(lock) != data:
        raise DefinitionError("input lock: not in its one form (RFC 8785, sorted by upstream and path)")
    return lock


def _parse_input(value: JSON) -> LockedInput:
    if not isinstance(value, dict) or set(value) != _MEMBERS:
        raise DefinitionError(f"input lock: an input has exactly {sorted(_MEMBERS)!r}")
    upstream, path, sha256, size = value["upstream"], value["path"], value["sha256"], value["size"]
    if not (isinstance(upstream, str) and isinstance(path, str) and isinstance(sha256, str)):
        raise DefinitionError("input lock: upstream, path and sha256 are strings")
    if not isinstance(size, int) or isinstance(size, bool):
        raise DefinitionError(f"input lock: size of {path[:200]!r} is not an integer")
    return LockedInput(upstream, path, sha256, size)


def _order(one: LockedInput) -> tuple[bytes, bytes]:
    return one.upstream.encode(), one.path.encode()


def _check(one: LockedInput) -> None:
    if not _UPSTREAM.fullmatch(one.upstream):
        raise DefinitionError(f"input lock: upstream name {one.upstream[:80]!r} is not a-z 0-9 . _ -")
    check_input_path(one.path)
    if is_checksum(one.path):
        raise DefinitionError(f"input lock: {one.path!r} is a checksum file; those are left out")
    if not _SHA256.fullmatch(one.sha256):
        raise DefinitionError(f"input lock: sha256 of {one.path!r} is not 64 lower-case hex digits")
    if one.size < 0:
        raise DefinitionError(f"input lock: size of {one.path!r} is negative")


def _check_tree(ordered: tuple[LockedInput, ...]) -> None:
    paths = sorted((one.upstream, one.path) for one in ordered)
    if any(one == other for one, other in pairwise(paths)):
        raise DefinitionError("input lock: a path stands twice under one upstream")
    for upstream, path in paths:
        if _is_folder(paths, upstream, path):
            raise DefinitionError(f"input lock: {path!r} is both a file and a folder")
        for folder in (path + suffix for suffix in _CHECKSUM_SUFFIXES):
            # Build lays the checksum of each file beside it.
            if _is_folder(paths, upstream, folder):
                raise DefinitionError(f"input lock: {folder!r} is a folder, and where a checksum will lie")


def _is_folder(paths: list[tuple[str, str]], upstream: str, path: str) -> bool:
    """Whether one of the sorted `paths` lies below `path`: one search, however many folders they name."""
    at = bisect_left(paths, (upstream, f"{path}/"))
    return at < len(paths) and paths[at][0] == upstream and paths[at][1].startswith(f"{path}/")
