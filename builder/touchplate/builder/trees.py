"""The tree digest: one SHA-256 for a folder of files, links and their modes (statement format 4)."""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from touchplate.builder.errors import HostLack

_CHUNK_BYTES = 1024 * 1024
_PLAIN = frozenset(range(0x21, 0x7F)) - {ord("%")}


def tree_digest(root: Path) -> str:
    """Lower-case hex SHA-256 over one line per file and link below `root`, sorted by path bytes.

    Raises HostLack for a tree that cannot be read or that holds devices, sockets or pipes.
    """
    digest = hashlib.sha256()
    for line in tree_lines(root):
        digest.update(line)
    return digest.hexdigest()


def tree_lines(root: Path) -> Iterator[bytes]:
    """The lines over which the digest is taken, each with its LF. Raises as `tree_digest`."""
    try:
        for path in sorted(_files(root), key=lambda path: os.fsencode(path.relative_to(root))):
            yield _line(path, os.fsencode(path.relative_to(root)))
    except OSError as error:
        raise HostLack(f"cannot read the tool tree {str(root)!r}: {error.strerror}") from error


def tree_seal(root: Path) -> str:
    """A digest of what the file system says of each file, link and folder below `root`, without reading one.

    Whoever changes a tree changes it: content cannot be written without the time of the last change (ctime),
    which no call sets. It says nothing on another disk, or after a copy. Raises HostLack as `tree_digest`.
    """
    digest = hashlib.sha256()
    try:
        for folder, folders, files in os.walk(root, onerror=_raise):
            folders.sort()
            for name in ("", *folders, *sorted(files)):
                path = os.path.join(folder, name)  # noqa: PTH118  twice as fast, and it is all that is done
                found = os.lstat(path)
                facts = (found.st_mode, found.st_uid, found.st_size, found.st_ino)
                times = (found.st_mtime_ns, found.st_ctime_ns)
                digest.update(os.fsencode(f"{path}\0{facts}{times}\n"))
    except OSError as error:
        raise HostLack(f"cannot read the tool tree {str(root)!r}: {error.strerror}") from error
    return digest.hexdigest()


def _raise(error: OSError) -> None:
    raise error


def _files(folder: Path) -> Iterator[Path]:
    """All files and links below `folder`; directories themselves are left out."""
    for path in folder.iterdir():
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            yield from _files(path)
        elif stat.S_ISREG(mode) or stat.S_ISLNK(mode):
            yield path
        else:
            raise HostLack(f"{str(path)!r} of a tool tree is neither file nor link")


def _line(path: Path, name: bytes) -> bytes:
    if path.is_symlink():
        return b"l " + escape_path(os.fsencode(path.readlink())) + b" " + escape_path(name) + b"\n"
    permission = b"0755" if path.stat().st_mode & 0o111 else b"0644"
    return b"f " + permission + b" " + _file_digest(path) + b" " + escape_path(name) + b"\n"


def _file_digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest().encode("ascii")


def escape_path(name: bytes) -> bytes:
    """A path as it stands in a line."""
    return b"".join(bytes([byte]) if byte in _PLAIN else b"%%%02X" % byte for byte in name)
