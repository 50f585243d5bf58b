"""Taking outputs out of a workspace that a hostile build has written.

Every component of the path is opened without following links, by the supervisor, after the build is dead;
only a regular file is taken, up to a size, and hashed while it is copied out.
"""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from touchplate.builder.cache import Cache
from touchplate.builder.errors import PhaseFailed, needing_disk
from touchplate.builder.plan import MIB, CollectedFile, check_relative

_CHUNK = MIB
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a FIFO would wait for a writer for ever.
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


def collect(
    folder: Path, outputs: Sequence[str], cache: Cache, *, max_bytes: int
) -> dict[str, CollectedFile]:
    """Copy each output (path below `folder`) into the cache and hash it.

    Raises PhaseFailed `collect` with missing-output, refused-output (a link, folder, device, pipe on the way
    or at its end) or too-large, naming the output; HostLack without room for it.
    """
    collected = {}
    for output in outputs:
        check_relative(output)
        with _open_output(folder, output) as descriptor:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise PhaseFailed(
                    "collect", "refused-output", f"{output} is {_kind(found.st_mode)}, not a file"
                )
            if found.st_size > max_bytes:
                detail = f"{output} has {found.st_size} bytes, more than {max_bytes}"
                raise PhaseFailed("collect", "too-large", detail)
            collected[output] = _take(descriptor, cache)
    return collected


def _take(descriptor: int, cache: Cache) -> CollectedFile:
    sha512 = hashlib.sha512()

    def chunks() -> Iterator[bytes]:
        while data := os.read(descriptor, _CHUNK):
            sha512.update(data)
            yield data

    with needing_disk("cannot keep an output", cache.outputs.folder):
        stored = cache.outputs.put(chunks())
    return CollectedFile(cache.outputs.path(stored.sha256), stored.sha256, sha512.hexdigest(), stored.size)


@contextlib.contextmanager
def _open_output(folder: Path, output: str) -> Iterator[int]:
    *folders, name = output.split("/")
    current = os.open(folder, _OPEN_FOLDER)
    try:
        for part in folders:
            inner = _open_part(part, _OPEN_FOLDER, current, output)
            os.close(current)
            current = inner
        file = _open_part(name, _OPEN_FILE, current, output)
    finally:
        os.close(current)
    try:
        yield file
    finally:
        os.close(file)


def _open_part(name: str, flags: int, parent: int, output: str) -> int:
    try:
        return os.open(name, flags, dir_fd=parent)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise PhaseFailed("collect", "missing-output", f"the build made no {output}") from None
        detail = f"{output}: {name!r} is {_kind_of(name, parent)}"
        raise PhaseFailed("collect", "refused-output", detail) from None


def _kind_of(name: str, parent: int) -> str:
    try:
        return _kind(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except OSError as error:
        return f"not readable ({error.strerror})"


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFDIR: "a folder",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFREG: "a file that cannot be opened as asked",
    }
    return kinds.get(stat.S_IFMT(mode), "of an unknown kind")
