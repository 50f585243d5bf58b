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

from touchplate.builder.archives.xz import open_xz
from touchplate.builder.errors import UPSTREAM_FAILED, HostLack, TooMuchError
from touchplate.builder.inputs.lock import LockedInput

MAX_INDEX_BYTES = 1024 * 1024 * 1024
"""Unpacked bytes of all indexes together that are looked at: twenty times Debian's list of packages."""

MAX_LINE_BYTES = 64 * 1024
"""Of a line that is read at once; the longest real ones (dependencies) have 10 kB."""

_LISTED = re.compile(rb" ([0-9a-f]{64}) +[0-9]+ (\S+)")
_BY_HASH = re.compile(r"(.+)/by-hash/SHA256/([0-9a-f]{64})")
_INDEX = re.compile(r"(?:.*/)?(?:Packages(?:\.[a-z0-9]+)?|by-hash/[A-Za-z0-9]+/[0-9a-f]+)")
_OPENERS: tuple[tuple[bytes, Any], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\x00", lambda file, _mode: open_xz(file)),
)
_DAMAGED = (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error, TooMuchError)


def check_archives(inputs: Iterable[LockedInput], folder: Mapping[str, Path]) -> None:
    """Raise HostLack for the first recorded file that another one of its archive names with another sha256.

    `folder`: where each input's bytes are, by sha256. Only for a build that failed: it reads all indexes.
    """
    reader = _Reader()
    by_upstream: dict[str, dict[str, LockedInput]] = {}
    for one in inputs:
        by_upstream.setdefault(one.upstream, {})[one.path] = one
    for files in by_upstream.values():
        for one in files.values():
            for path, sha256 in reader.promised(one, folder[one.sha256]):
                given = files.get(path)
                if given is not None and given.sha256 != sha256:
                    raise HostLack(
                        f"upstream {one.upstream!r} changed while it was read, or is damaged: {path} has "
                        f"sha256 {given.sha256}, and {one.path} says {sha256}; try again later",
                        reason=UPSTREAM_FAILED,
                    )


class _Reader:
    """Reads indexes, all together up to MAX_INDEX_BYTES."""

    def __init__(self) -> None:
        self._left = MAX_INDEX_BYTES

    def promised(self, one: LockedInput, data: Path) -> Iterator[tuple[str, str]]:
        """(path, sha256) of the files that this one names."""
        if match := _BY_HASH.fullmatch(one.path):
            yield one.path, match[2]
        parent, _, name = one.path.rpartition("/")
        folder = f"{parent}/" if parent else ""
        try:
            with data.open("rb") as file:
                if name in ("InRelease", "Release"):
                    yield from self._read_release(file, folder)
                elif _INDEX.fullmatch(one.path):
                    top, found, _ = one.path.rpartition("dists/")
                    yield from self._read_packages(file, top if found else folder)
        except _DAMAGED:
            return  # what apt made of it is in its log

    def _read_release(self, file: IO[bytes], folder: str) -> Iterator[tuple[str, str]]:
        for line in self._lines(file):
            if match := _LISTED.fullmatch(line.rstrip()):
                yield folder + match[2].decode(errors="replace"), match[1].decode()

    def _read_packages(self, packed: IO[bytes], folder: str) -> Iterator[tuple[str, str]]:
        start = packed.read(8)
        packed.seek(0)
        opener = next((opener for magic, opener in _OPENERS if start.startswith(magic)), None)
        path = ""
        for line in self._lines(opener(packed, "rb") if opener else packed):
            key, _, value = line.partition(b":")
            if key == b"Filename":
                path = value.strip().decode(errors="replace").removeprefix("./")
            elif key == b"SHA256" and path:  # behind it, as every program that makes indexes has it
                yield folder + path, value.strip().decode(errors="replace")
            elif not line.strip():
                path = ""

    def _lines(self, file: IO[bytes]) -> Iterator[bytes]:
        while self._left > 0 and (line := file.readline(MAX_LINE_BYTES)):
            self._left -= len(line)
            yield line
