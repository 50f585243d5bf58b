"""The last checkpoint that a client has seen, remembered across runs, so that a log cannot go back on it.

The file holds the signed note itself: anyone can read it, and it is verified again each time it is loaded.

There is one rule for every command that reads a log: one folder per user, in it one file `head-<origin>` per
log, however the log was reached. A URL would be the wrong name: it is the origin that may not fork, and a
second address of the same log is the place where a fork would be shown.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from touchplate.verify.checkpoints import Checkpoint, open_checkpoint
from touchplate.verify.errors import TrustError, VerifyError, shown
from touchplate.verify.notes import MAX_NOTE_BYTES
from touchplate.verify.policy import Policy
from touchplate.verify.reading import open_file

_MODE = 0o600
_UNSET = "$XDG_STATE_HOME"


def default_state() -> Path:
    """The folder in which a user's commands remember logs: `touchplate` below the XDG state folder.

    By `os.path`, as a shell would expand it: this room may neither read the environment itself nor import
    the one that does, and the default must be the same with and without the other rooms. Raises TrustError
    when the user has no home folder.
    """
    # XDG base directories: a relative path is to be ignored.
    named = os.path.expandvars(_UNSET)
    if named.startswith("/"):
        return Path(named) / "touchplate"
    home = os.path.expanduser("~")  # noqa: PTH111
    if not home.startswith("/") or home == "/":
        raise TrustError(
            "there is no home folder in which the last checkpoint could be remembered: give --state DIR",
            reason="remembered-checkpoint",
        )
    return Path(home) / ".local" / "state" / "touchplate"


def head_path(state: Path, origin: str) -> Path:
    """The file in the folder `state` that holds the last checkpoint of the log `origin`."""
    return state / f"head-{origin}"


class RememberedHead:
    """One checkpoint, in memory and, when `path` is given, in a file of mode 0600 that survives a crash.

    Several processes may share the file: whoever changes it does so inside `locked()`.
    """

    def __init__(self, path: Path | None, policy: Policy) -> None:
        self._path = path
        self._policy = policy
        self._head: Checkpoint | None = None

    @property
    def head(self) -> Checkpoint | None:
        """What this process saw last; another one may have gone further (see `load`)."""
        return self._head

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from changing the file meanwhile. Raises TrustError when it cannot be
        locked."""
        if self._path is None:
            yield
            return
        with self._failing("locked"):
            _make_folder(self._path.parent)
            lock = os.open(self._beside("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
        try:
            with self._failing("locked"):
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def load(self) -> Checkpoint | None:
        """The furthest checkpoint seen by this process or any that shares the file; None when there is none.

        It is not `head` before it is adopted: another process may have seen another history.

        Raises TrustError (`remembered-checkpoint`) when the file does not hold a checkpoint that the policy
        accepts: going on would mean to forget, and only a person can decide that.
        """
        stored = self._read()
        if stored is not None and (self._head is None or stored.size >= self._head.size):
            return stored
        return self._head

    def adopt(self, checkpoint: Checkpoint) -> None:
        """Take over what `load` returned, once it was found to go on where `head` ended."""
        self._head = checkpoint

    def store(self, checkpoint: Checkpoint) -> None:
        """Remember `checkpoint`; when this returns it is on disk. Raises TrustError when it cannot be
        written."""
        if self._path is not None:
            with self._failing("written"):
                self._write(self._path, checkpoint.note.encode())
        self._head = checkpoint

    def _read(self) -> Checkpoint | None:
        if self._path is None:
            return None
        try:
            # Anything but "there is none" is told: to go on would mean to forget.
            with self._failing("read"), open_file(self._path) as file:
                note = file.read(MAX_NOTE_BYTES + 1)
        except TrustError as error:
            if isinstance(error.__cause__, FileNotFoundError) and not self._path.is_symlink():
                return None
            raise
        try:
            return open_checkpoint(note, self._policy)
        except VerifyError as error:
            raise TrustError(
                f"the remembered checkpoint in {shown(str(self._path))} does not satisfy the policy "
                f"({error}): correct the policy, or remove the file to start from the log's next word",
                reason="remembered-checkpoint",
            ) from error

    def _write(self, path: Path, data: bytes) -> None:
        # One fixed name is enough, since writers hold the lock; a rest of a crash is overwritten.
        temporary = self._beside("tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(temporary, flags, _MODE), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # Until here the old checkpoint stands; from the rename on the new one, and after the folder's fsync
        # for good.
        temporary.replace(path)
        _sync_folder(path.parent)

    def _beside(self, suffix: str) -> Path:
        assert self._path is not None
        return self._path.with_name(f".{self._path.name}.{suffix}")

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TrustError(
                f"the remembered checkpoint {shown(str(self._path))} cannot be {what}: {error.strerror}",
                reason="remembered-checkpoint",
            ) from error


def _make_folder(path: Path) -> None:
    """Make a folder and its parents, each name on disk before the next: with its folder a head is lost."""
    if not path.is_dir():
        _make_folder(path.parent)
        path.mkdir(exist_ok=True)
        _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
