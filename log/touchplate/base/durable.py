"""Files that are either whole and on disk, or not there: atomic writes and a folder of files named by
SHA-256.

After a crash at any line, a reader sees the old file or the new one, never a part. The order is always the
same: write a temporary file, fsync it, rename it, fsync the folder that holds the new name.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Protocol

from touchplate.base.errors import NotStoredError, StorageError, TooLargeError, WrongDigestError, quote

# Bytes read at once from a stream: large enough that hashing dominates, small enough for many at the same
# time.
CHUNK_BYTES = 256 * 1024
# Bytes after which the kernel is told to begin writing a file out: while more come, the disk works, and the
# fsync at the end has little left to wait for. Smaller files are not worth a call.
WRITE_BEHIND_BYTES = 8 * 1024 * 1024
FILE_MODE = 0o644
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SYNC_FILE_RANGE_WRITE = 2
_SUFFIX = ".tmp"
_ATOMIC = re.compile(r"\..+\.[0-9a-f]{16}\.tmp", re.ASCII | re.DOTALL)


class Readable(Protocol):
    """Anything with `read(n)` that gives bytes, empty at the end."""

    def read(self, size: int, /) -> bytes: ...


class Stored(NamedTuple):
    """What a `DigestFolder` took in: SHA-256 as lower-case hex, and the size in bytes."""

    sha256: str
    size: int


def sync_folder(path: Path) -> None:
    """fsync a folder: names made or renamed in it before are on disk afterwards."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path, mode: int = 0o755) -> None:
    """Make a folder and its parents, each durable before the next stands in it; existing ones are kept.

    On return the name of `path` is on disk, whoever made it.
    """
    if path.is_dir():
        # Another thread may just have made it, or a process that crashed before it could sync the name. A
        # parent that we may not read has nothing of ours to be synced.
        with contextlib.suppress(PermissionError):
            sync_folder(path.parent)
        return
    make_folder(path.parent, mode)
    # Another process may make it at the same moment; a file of this name is an error.
    path.mkdir(mode, exist_ok=True)
    sync_folder(path.parent)


def write_atomic(path: Path, data: bytes, mode: int = FILE_MODE) -> None:
    """Replace or make the file `path`; on return it is on disk whole.

    Raises StorageError; the old file, if any, is then still the one under this name. A crash may leave the
    temporary file: `remove_abandoned_writes` takes it away.
    """
    with _storage_errors(f"writing {path}"):
        temporary, file = _open_locked(
            lambda: path.with_name(f".{path.name}.{secrets.token_hex(8)}{_SUFFIX}")
        )
        try:
            # Named while it is locked: nobody may take it for abandoned before.
            with file:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
                temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def remove_abandoned_writes(folder: Path) -> None:
    """Remove what crashed `write_atomic`s left in `folder`; files that a living writer holds are kept.

    For whoever opens the folder: each crash would leave one more. Raises StorageError.
    """
    with _storage_errors(f"opening {folder}"):
        for path in folder.glob(f".*{_SUFFIX}"):
            if _ATOMIC.fullmatch(path.name):
                _remove_if_abandoned(path)


class FileLock:
    """A lock that one process at a time holds on a file; it ends with the process, however that ends.

    The file is made with its folder when it is not there, and stays.
    Children that this process starts do not inherit it.
    """

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises StorageError, `locked` when another holder has it."""
        with _storage_errors(f"locking {path}"):
            make_folder(path.parent)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BaseException as error:
                self.close()
                if isinstance(error, BlockingIOError):
                    raise StorageError(
                        f"{path} is locked by another process; stop that one first", reason="locked"
                    ) from None
                raise

    def close(self) -> None:
        """Let go. Safe to call twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class DigestWriter:
    """One file on its way into a `DigestFolder`: `write` chunks, then `commit`. Leaving the `with` block
    without `commit` leaves nothing behind. One thread uses it at a time.
    """

    def __init__(self, folder: DigestFolder, *, expected: str | None, max_bytes: int | None) -> None:
        self._folder = folder
        self._expected = check_sha256(expected) if expected is not None else None
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()
        self._done = False
        self._begun = 0  # bytes that the kernel was told to write out
        self.size = 0
        with _storage_errors(f"writing into {folder.folder}"):
            self._path, self._file = folder.open_temporary()

    def write(self, chunk: bytes) -> None:
        """Add bytes. Raises TooLargeError beyond `max_bytes`, StorageError when the disk refuses them."""
        self.size += len(chunk)
        if self._max_bytes is not None and self.size > self._max_bytes:
            raise TooLargeError(f"more than the {self._max_bytes} bytes allowed for this file")
        self._hash.update(chunk)
        with _storage_errors(f"writing into {self._folder.folder}"):
            self._file.write(chunk)
        if self.size - self._begun >= WRITE_BEHIND_BYTES:
            _begin_writing(self._file.fileno(), self._begun, self.size - self._begun)
            self._begun = self.size

    def flush(self) -> None:
        """Let those who `open` the unfinished file see what was written so far. Raises StorageError."""
        with _storage_errors(f"writing into {self._folder.folder}"):
            self._file.flush()

    def open(self) -> BinaryIO:
        """The unfinished file, for reading what was flushed. It stays readable after `commit`, and when the
        file is given up. Raises StorageError."""
        with _storage_errors(f"reading {self._path}"):
            return self._path.open("rb")

    def commit(self) -> Stored:
        """Check the digest, make the file durable and give it its name. Raises WrongDigestError,
        StorageError.
        """
        sha256 = self._hash.hexdigest()
        if self._expected is not None and sha256 != self._expected:
            raise WrongDigestError(
                f"the bytes have sha256 {sha256}, expected {self._expected}; nothing was stored"
            )
        with _storage_errors(f"storing {sha256} in {self._folder.folder}"):
            self._file.flush()
            os.fchmod(self._file.fileno(), FILE_MODE)
            os.fsync(self._file.fileno())
            # The bytes are on disk, under a name that a start-up removes.
            target = self._folder.path(sha256)
            self._folder.make_folder_of(sha256)
            # Also when the name exists: the same bytes again, or a damaged file healed.
            self._path.replace(target)
            sync_folder(target.parent)
            # Bytes and name are on disk.
        self._done = True
        self._file.close()
        return Stored(sha256, self.size)

    def __enter__(self) -> DigestWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._done:
            self._path.unlink(missing_ok=True)
            # Closing writes what is still in the buffer; a full disk then says again what it has said before.
            with contextlib.suppress(OSError):
                self._file.close()


class DigestFolder:
    """A folder of immutable files, each named by the SHA-256 of its bytes: `ab/ab12…`.

    Any number of threads and processes may use one folder at the same time. Opening it removes what crashed
    writers left; files that a living writer still holds are kept, since each writer locks its own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._temporary = folder / "tmp"
        self._made: set[str] = set()  # folders whose names are on disk for sure; only ever added to
        with _storage_errors(f"opening {folder}"):
            make_folder(self._temporary)
            for path in self._temporary.glob(f"*{_SUFFIX}"):
                _remove_if_abandoned(path)

    def path(self, sha256: str) -> Path:
        """Where the file of this digest is, or would be."""
        return self.folder / check_sha256(sha256)[:2] / sha256

    def has(self, sha256: str) -> bool:
        """Whether the file of this digest is held."""
        return self.path(sha256).is_file()

    def size(self, sha256: str) -> int:
        """Bytes of a held file; NotStoredError otherwise."""
        with _storage_errors(f"reading {sha256}"), _not_stored(sha256):
            return self.path(sha256).stat().st_size

    def open(self, sha256: str) -> BinaryIO:
        """The held file, opened for reading; NotStoredError otherwise."""
        with _storage_errors(f"reading {sha256}"), _not_stored(sha256):
            return self.path(sha256).open("rb")

    def remove(self, sha256: str) -> bool:
        """Remove a file; False when it was not held. Readers that have it open can read on."""
        path = self.path(sha256)
        with _storage_errors(f"removing {sha256}"):
            try:
                path.unlink()
            except FileNotFoundError:
                return False
            sync_folder(path.parent)
        return True

    def digests(self) -> Iterator[str]:
        """The SHA-256 of every held file, in order."""
        for folder in sorted(self.folder.glob("[0-9a-f][0-9a-f]")):
            yield from sorted(path.name for path in folder.iterdir() if _SHA256.fullmatch(path.name))

    def writer(self, *, expected: str | None = None, max_bytes: int | None = None) -> DigestWriter:
        """A writer for bytes that come piece by piece."""
        return DigestWriter(self, expected=expected, max_bytes=max_bytes)

    def put(
        self,
        source: bytes | Iterable[bytes] | Readable,
        *,
        expected: str | None = None,
        max_bytes: int | None = None,
    ) -> Stored:
        """Store bytes, chunks or a readable. On return the file is on disk whole under its digest.

        Raises WrongDigestError when `expected` (hex SHA-256) is another, TooLargeError beyond `max_bytes`,
        StorageError; then nothing is left behind.
        """
        with self.writer(expected=expected, max_bytes=max_bytes) as writer:
            for chunk in _chunks(source):
                writer.write(chunk)
            return writer.commit()

    def open_temporary(self) -> tuple[Path, BinaryIO]:
        """A new temporary file, locked by this process for as long as it is open. For `DigestWriter` only."""
        return _open_locked(lambda: self._temporary / f"{secrets.token_hex(16)}{_SUFFIX}")

    def make_folder_of(self, sha256: str) -> None:
        """Make the folder in which the file of this digest belongs, durably. For `DigestWriter` only."""
        folder = self.path(sha256).parent
        # One sync for each of the 256 in the life of a process: see `make_folder`.
        if folder.name not in self._made or not folder.is_dir():
            make_folder(folder)
            self._made.add(folder.name)


def check_sha256(text: str) -> str:
    """Give back `text` when it is a SHA-256 in lower-case hex; StorageError `bad-digest` otherwise."""
    if not _SHA256.fullmatch(text):
        raise StorageError(
            f"{quote(text)} is not a sha256; write 64 lower-case hex digits", reason="bad-digest"
        )
    return text


def _begin_writing(descriptor: int, start: int, length: int) -> None:
    """Tell the kernel to begin writing out this part of a file, and do not wait (sync_file_range(2)).

    A hint only: whether the bytes are on disk, and every error, is for the fsync to say.
    """
    call = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if call is not None:  # Linux alone has it
        call(descriptor, ctypes.c_int64(start), ctypes.c_int64(length), _SYNC_FILE_RANGE_WRITE)


def _chunks(source: bytes | Iterable[bytes] | Readable) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
    elif isinstance(source, Iterable) and not hasattr(source, "read"):
        yield from source
    else:
        while chunk := source.read(CHUNK_BYTES):
            yield chunk


def _open_locked(name: Callable[[], Path]) -> tuple[Path, BinaryIO]:
    """A new file under a name that nobody else uses, locked by this process for as long as it is open."""
    while True:
        path = name()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Another process that is starting may have taken the file between open and lock for abandoned.
            is_kept = os.fstat(descriptor).st_nlink == 1
        except BaseException:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        if is_kept:
            return path, os.fdopen(descriptor, "wb", buffering=CHUNK_BYTES)
        os.close(descriptor)


def _remove_if_abandoned(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _storage_errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{what}: {error.strerror or error}") from error


@contextlib.contextmanager
def _not_stored(sha256: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise NotStoredError(f"no file with sha256 {sha256} is held here") from None
