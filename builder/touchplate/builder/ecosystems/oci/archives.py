"""Whether what was recorded of an archive fits together: what a mirror gives while it changes does not.

apt checks the same, and fails. Without this check a package would be said not to build because somebody's
mirror was just being updated.
"""

import bz2
import gzip
import lzma
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from touchplate.builder.errors import HostLack
from touchplate.builder.lock import LockedInput

MAX_INDEX_BYTES = 1024 * 1024 * 1024
"""Unpacked bytes of an index that are looked at: twelve times Debian's own list of packages."""

MAX_LINE_BYTES = 64 * 1024
"""Of a line that is read at once; the longest real ones (dependencies) have 10 kB."""

_LISTED = re.compile(rb" ([0-9a-f]{64}) +[0-9]+ (\S+)")
_BY_HASH = re.compile(r"(.+)/by-hash/SHA256/([0-9a-f]{64})")
_INDEX = re.compile(r"(?:.*/)?(?:Packages(?:\.[a-z0-9]+)?|by-hash/[A-Za-z0-9]+/[0-9a-f]+)")
_OPENERS: tuple[tuple[bytes, Any], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\x00", lzma.open),
)
_DAMAGED = (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error)


def check_archives(inputs: Iterable[LockedInput], folder: Mapping[str, Path]) -> None:
    """Raise HostLack for the first recorded file that another one of its archive names with another sha256.

    `folder`: where each input's bytes are, by sha256. Only for a build that failed: it reads all indexes.
    """
    by_upstream: dict[str, dict[str, LockedInput]] = {}
    for one in inputs:
        by_upstream.setdefault(one.upstream, {})[one.path] = one
    for files in by_upstream.values():
        for one in files.values():
            for path, sha256 in _promised(one, folder[one.sha256]):
                given = files.get(path)
                if given is not None and given.sha256 != sha256:
                    raise HostLack(
                        f"upstream {one.upstream!r} changed while it was read, or is damaged: {path} has "
                        f"sha256 {given.sha256}, and {one.path} says {sha256}; try again later",
                        reason="upstream-failed",
                    )


def _promised(one: LockedInput, data: Path) -> Iterator[tuple[str, str]]:
    """(path, sha256) of the files that this one names."""
    if match := _BY_HASH.fullmatch(one.path):
        yield one.path, match[2]
    parent, _, name = one.path.rpartition("/")
    if name in ("InRelease", "Release"):
        yield from _read_release(data, f"{parent}/" if parent else "")
    elif _INDEX.fullmatch(one.path):
        top, found, _ = one.path.rpartition("dists/")
        yield from _read_packages(data, top if found else f"{parent}/" if parent else "")


def _read_release(data: Path, folder: str) -> Iterator[tuple[str, str]]:
    with data.open("rb") as file:
        for line in _lines(file):
            if match := _LISTED.fullmatch(line.rstrip()):
                yield folder + match[2].decode(errors="replace"), match[1].decode()


def _read_packages(data: Path, folder: str) -> Iterator[tuple[str, str]]:
    path = sha256 = ""
    with data.open("rb") as packed:
        start = packed.read(8)
        packed.seek(0)
        opener = next((opener for magic, opener in _OPENERS if start.startswith(magic)), None)
        try:
            for line in _lines(opener(packed, "rb") if opener else packed):
                key, _, value = line.partition(b":")
                if key == b"Filename":
                    path = value.strip().decode(errors="replace").removeprefix("./")
                elif key == b"SHA256":
                    sha256 = value.strip().decode(errors="replace")
                elif not line.strip():
                    if path and sha256:
                        yield folder + path, sha256
                    path = sha256 = ""
        except _DAMAGED:
            return  # what apt made of it is in its log
    if path and sha256:
        yield folder + path, sha256


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    left = MAX_INDEX_BYTES
    while left > 0 and (line := file.readline(MAX_LINE_BYTES)):
        left -= len(line)
        yield line
