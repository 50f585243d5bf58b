"""What a log key has signed: never two heads of one size, never back, across restarts.

For whoever signs heads before they are published: a peer of several, and a log that asks witnesses. The file
says the largest head that a signature was made for, or is about to be. It is durable before the signature
exists, so a crash can only make it remember too much.
"""

from collections.abc import Callable
from logging import getLogger
from pathlib import Path
from threading import Lock

from touchplate.base.durable import make_folder, remove_abandoned_writes
from touchplate.log.errors import CheckpointError
from touchplate.log.kept import read_kept, write_kept
from touchplate.verify.encoding import decode_base64, encode_base64, parse_decimal

FILE_NAME = "signed.head"

logger = getLogger(__name__)

RootAt = Callable[[int], bytes]
"""The root of the tree's first `size` leaves, as storage has them."""


class SigningGuard:
    """The memory of one log key (and of a peer's cosigner key). Safe from any thread."""

    def __init__(self, folder: Path, origin: str) -> None:
        """Raises CheckpointError for a file that cannot be understood, or of another log."""
        make_folder(folder)
        remove_abandoned_writes(folder)
        self._path = folder / FILE_NAME
        self._origin = origin
        self._lock = Lock()
        self._signed = self._read()  # (size, root), None before the first; under _lock
        self._checked = self._signed is None  # the tree was seen to contain it; under _lock

    @property
    def signed(self) -> tuple[int, bytes] | None:
        """Size and root of the largest head that was signed; None before the first."""
        with self._lock:
            return self._signed

    @property
    def size(self) -> int:
        """Size of the largest head that was signed; -1 before the first."""
        signed = self.signed
        return -1 if signed is None else signed[0]

    def check_tree(self, size: int, root_at: RootAt) -> None:
        """Refuse a tree of `size` leaves that does not contain what was signed: an older copy, put back.

        Raises CheckpointError, StorageError.
        """
        with self._lock:
            if self._signed is None:
                return
            signed_size, _ = self._signed
            if signed_size > size:
                raise CheckpointError(
                    f"the database has {size} entries, but its key has signed a head of {signed_size}"
                    f" ({self._path}): it is an older copy or another database; use the newest one"
                )
            self._check(signed_size, root_at(signed_size), root_at)
            self._checked = True

    def permit(self, size: int, root: bytes, root_at: RootAt) -> None:
        """Remember that this head is signed. Raises CheckpointError when it must not be, StorageError."""
        with self._lock:
            if self._signed is not None:
                self._check(size, root, root_at)
            if self._signed != (size, root):
                write_kept(self._path, self._origin, {"root": encode_base64(root), "size": str(size)})
                self._signed = (size, root)
            self._checked = True

    def _check(self, size: int, root: bytes, root_at: RootAt) -> None:
        assert self._signed is not None
        signed_size, signed_root = self._signed
        if size < signed_size:
            raise CheckpointError(
                f"this key has signed a head of {signed_size} entries and does not go back to {size}",
                reason="behind",
            )
        # In one process trees only grow. Across a restart the tree may be another: an older copy, put back.
        same = root if size == signed_size else (signed_root if self._checked else root_at(signed_size))
        if same != signed_root:
            raise CheckpointError(
                f"this key has signed another head of {signed_size} entries, root {signed_root.hex()},"
                f" than its tree has, root {same.hex()}: it signs nothing more; keep {self._path} as evidence"
            )

    def _read(self) -> tuple[int, bytes] | None:
        return read_kept(
            self._path,
            self._origin,
            ("root", "size"),
            lambda texts: (parse_decimal(texts["size"], "size"), decode_base64(texts["root"], "root")),
            remedy=", and without it this key might sign twice: find out what it has signed before you remove"
            " it",
        )
