"""The downloaded packages of build roots: kept by digest, shared by all roots, removed when none names them.

    <data>/debs/ab/ab12…    a package
    <data>/debs/.lock       held, shared, by whoever fetches packages and makes roots of them; alone by
                            whoever removes some

The lock ends with its process, however that ends. A package is removed whole or not at all, and one that is
missed is fetched again.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from touchplate.base.durable import DigestFolder, make_folder
from touchplate.base.errors import StorageError
from touchplate.builder.errors import HostLack

_LOCK = ".lock"
_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(frozen=True)
class RemovedPackages:
    """What was removed."""

    count: int = 0
    size: int = 0
    """In bytes."""
    why_not: str = ""
    """Why nothing was; empty when what no root names is gone."""


class Debs:
    """One folder of packages. Safe for several threads and processes at once. Raises HostLack where the disk
    fails."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def using(self) -> Iterator[DigestFolder]:
        """The packages, of which nobody removes any until the end; waits for whoever does just now."""
        try:
            make_folder(self.folder)
            descriptor = self._locked(fcntl.LOCK_SH)
        except OSError as error:
            raise HostLack(f"cannot use {self.folder}: {error.strerror}", reason="disk-full") from error
        try:
            yield self._opened()
        finally:
            os.close(descriptor)

    def remove_others(self, find_kept: Callable[[], tuple[Collection[str], str]]) -> RemovedPackages:
        """Remove all packages but some; none while anybody uses some.

        `find_kept`: SHA-256 of those that stay, or why all do. It is asked once nobody can use any: what was
        found before may lack those of a root that was made meanwhile.
        """
        if not self.folder.is_dir():
            return RemovedPackages()
        try:
            descriptor = self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return RemovedPackages(why_not="a root is being made of some")
        except OSError as error:
            raise HostLack(f"cannot use {self.folder}: {error.strerror}") from error
        try:
            kept, why_not = find_kept()
            if why_not:
                return RemovedPackages(why_not=why_not)
            return self._remove([one for one in self._opened().digests() if one not in kept])
        except (OSError, StorageError) as error:
            raise HostLack(f"cannot remove packages of roots: {error}", reason="root-not-removed") from error
        finally:
            os.close(descriptor)

    def _remove(self, gone: Collection[str]) -> RemovedPackages:
        store, size = self._opened(), 0
        for sha256 in gone:
            size += store.size(sha256)
            store.remove(sha256)
        return RemovedPackages(len(gone), size)

    def _opened(self) -> DigestFolder:
        try:
            return DigestFolder(self.folder)
        except StorageError as error:
            raise HostLack(f"cannot use {self.folder}: {error}", reason="disk-full") from error

    def _locked(self, how: int) -> int:
        """The lock's descriptor. Raises OSError."""
        descriptor = os.open(self.folder / _LOCK, _OPEN, 0o644)
        try:
            fcntl.flock(descriptor, how)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor
