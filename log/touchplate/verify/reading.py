"""Reads files by name, without `pathlib`: it brings `urllib`, and a tenth of what a start may cost."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    StrPath = str | os.PathLike[str]


def open_file(path: StrPath) -> BinaryIO:
    """The file at `path`, to be read; pipes may be named, as shells do. Raises OSError, for devices too.

    A device may go on for ever, as /dev/zero does.
    """
    file = open(path, "rb")  # noqa: PTH123, SIM115 (see above; the caller closes it)
    if stat.S_ISCHR(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "is a device, not a file", os.fspath(path))
    return file


def read_at_most(path: StrPath, max_bytes: int) -> bytes:
    """The bytes of a file, of a longer one a byte more than `max_bytes`. Raises OSError."""
    with open_file(path) as file:
        return file.read(max_bytes + 1)


def file_name(path: StrPath) -> str:
    """The last segment of a path."""
    return os.fspath(path).rpartition("/")[2]


def beside(path: StrPath, name: str) -> str:
    """The path of `name`, which is relative to the folder of `path`."""
    folder, slash, _ = os.fspath(path).rpartition("/")
    return f"{folder}{slash}{name}"
