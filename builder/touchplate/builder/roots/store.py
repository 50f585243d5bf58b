"""The build roots of this host: made from their locks, each under its tree digest, and checked before use.

    <data>/roots/<tree digest>/     the root: usr, etc, var and the links beside them (`shelf`)
    <data>/debs/                    the packages of which they are made (`debs`)
    <data>/evidence/                root locks, and the listing of each root (by its SHA-256, the tree digest)

A root is hashed whole when a process first uses it, and its *seal* is taken: what the file system says of
each of its files. Each later use of that process compares the seal. So a root that was changed on disk is
refused; what changes it while a build runs is not seen by that build, but by the next.
"""

import hashlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from touchplate.base.durable import DigestFolder, sync_folder
from touchplate.base.errors import StorageError
from touchplate.base.progress import Progress
from touchplate.builder.attestation.evidence import MAX_EVIDENCE_BYTES
from touchplate.builder.errors import BuilderError, HostLack, needing_disk
from touchplate.builder.roots.apt import find_archives, machine_architecture, resolve
from touchplate.builder.roots.archives import fetch_packages
from touchplate.builder.roots.debs import Debs, RemovedPackages
from touchplate.builder.roots.listing import first_difference
from touchplate.builder.roots.lock import LOCK_BYTES, RootLock, RootLockError, make_root_lock, parse_root_lock
from touchplate.builder.roots.make import Recipe, make_root, need_mmdebstrap
from touchplate.builder.roots.shelf import ASIDE, Shelf
from touchplate.builder.sandbox.bubblewrap import Sandbox, SandboxConfig
from touchplate.builder.sandbox.ranged import ID_RANGES
from touchplate.builder.sandbox.runc import open_runc_sandbox
from touchplate.builder.sandbox.workspace import locked_folder, rename_unless_there
from touchplate.builder.trees import tree_lines, tree_seal


@dataclass(frozen=True)
class Root:
    """A root of this host, as its lock says. `listing`: the lines of its tree digest."""

    path: Path
    lock: RootLock
    listing: bytes = field(repr=False)


class Roots:
    """Safe for several threads and processes at once. `archives`: addresses by name, before those of apt.
    `most`: roots that are kept, when another one is made, of those that nobody uses; None for all.

    Roots that it has given are in use until `close`.
    """

    def __init__(
        self,
        data: Path,
        work: Path,
        evidence: DigestFolder,
        display: Progress,
        archives: Mapping[str, str] | None = None,
        *,
        most: int | None = None,
        open_sandbox: Callable[[SandboxConfig], Sandbox] = open_runc_sandbox,
    ) -> None:
        self._data = data
        self.shelf = Shelf(data / "roots")
        self._debs = Debs(data / "debs")
        self._most = most
        self._work = work
        self._evidence = evidence
        self._display = display
        self._archives = archives or {}
        self._open_sandbox = open_sandbox
        self._seals: dict[str, str] = {}

    def close(self) -> None:
        """Use none of the roots any more."""
        self.shelf.close()

    def lock(self, suite: str, include: Sequence[str], epoch: int | None = None) -> RootLock:
        """The lock of a root of `suite` with these packages: made twice, and kept.

        Raises HostLack: for what apt says, and for a root of which two makings differ.
        """
        need_mmdebstrap()
        self._display.step(f"resolve: {suite}, {', '.join(include) or 'what is essential'}")
        self.shelf.make()
        resolved = resolve(suite, include, self._data)
        recipe = Recipe(resolved.architecture, resolved.epoch if epoch is None else epoch, resolved.packages)
        # Before minutes of work: what apt says must be what a lock can say.
        make_root_lock(suite, recipe.architecture, recipe.epoch, recipe.packages, "0" * 64)
        with self._debs.using() as debs, locked_folder(self.shelf.folder, ASIDE) as aside:
            self._fetch(recipe, suite, debs)
            first = self._make(recipe, debs, aside / "first")
            second = self._make(recipe, debs, aside / "second")
            if found := first_difference(first, second):
                raise HostLack(f"two makings of this root differ: {found}", reason="not-reproducible")
            tree = hashlib.sha256(first).hexdigest()
            lock = make_root_lock(suite, recipe.architecture, recipe.epoch, recipe.packages, tree)
            self.shelf.hold(lock.tree, lock.sha256)
            self._keep(lock, first, aside / "first")
        return lock

    def make(self, lock: RootLock) -> Root:
        """The root of `lock`, made unless it is there.

        Raises RootLockError for one that becomes the same other root each time, by a lock that was never true
        here; HostLack for one that becomes another each time, or that this host could make and cannot any
        more, naming the first file that differs, and for one that is there and was changed.
        """
        self.learn(lock)
        self.shelf.make()
        self.shelf.hold(lock.tree, lock.sha256)  # before it is looked for: from now on nobody removes it
        home = self._home(lock)
        if home.is_dir():
            return self._checked(lock)
        self._check_machine(lock)
        if self._most is not None:
            self.shelf.prune(keep=max(0, self._most - 1))
        recipe = Recipe(lock.architecture, lock.source_date_epoch, lock.packages)
        with self._debs.using() as debs, locked_folder(self.shelf.folder, ASIDE) as aside:
            self._fetch(recipe, lock.suite, debs)
            listing = self._make(recipe, debs, aside / "first")
            if hashlib.sha256(listing).hexdigest() != lock.tree:
                again = self._make(recipe, debs, aside / "second")
                raise _differs(lock, listing, self._listing_of(lock.tree), again)
            self._keep(lock, listing, aside / "first")
        return Root(home, lock, listing)

    def prune_packages(self) -> RemovedPackages:
        """Remove downloaded packages that the lock of no root that stands names. None goes while somebody
        makes a root, or while one stands whose lock is not known here.

        Never done by itself: mirrors drop packages that were superseded, and a root that is made again later
        may need an archive that keeps them.
        """
        return self._debs.remove_others(self._named_packages)

    def _named_packages(self) -> tuple[Collection[str], str]:
        """SHA-256 of the packages of all roots that stand, or why they are not known."""
        named: set[str] = set()
        for root in self.shelf.standing():
            lock = self.find_lock(root.lock) if root.lock else None
            if lock is None:
                return (), f"the lock of the root {root.tree} is not known here"
            named.update(package.sha256 for package in lock.packages)
        return named, ""

    def need(self, sha256: str) -> Root:
        """The root of the lock with this digest, made when it is not there.

        Raises HostLack when the lock is not known here, and as `make`.
        """
        lock = self.find_lock(sha256)
        if lock is None:
            raise HostLack(
                f"the root lock {sha256} is not known here; run touchplate builder root make FILE",
                reason="no-root",
            )
        return self.make(lock)

    def find_lock(self, sha256: str) -> RootLock | None:
        """The lock with this digest; None when it is not known here."""
        data = self._read(sha256, LOCK_BYTES)
        return parse_root_lock(data) if data is not None else None

    def learn(self, lock: RootLock) -> None:
        """Keep a lock, for definitions that name it. Raises HostLack."""
        self._put(lock.data)

    def evidence_of(self, sha256: str) -> dict[str, bytes]:
        """What to publish with a build in the root of the lock `sha256`: lock and listing, by digest."""
        lock = self.find_lock(sha256)
        if lock is None:
            return {}
        listing = self._listing_of(lock.tree)
        return {sha256: lock.data} | ({lock.tree: listing} if listing is not None else {})

    def _home(self, lock: RootLock) -> Path:
        return self.shelf.home(lock.tree)

    def _check_machine(self, lock: RootLock) -> None:
        need_mmdebstrap()
        here = machine_architecture()
        if lock.architecture != here:
            raise HostLack(
                f"the root is of {lock.architecture}, and this machine of {here}", reason="no-root"
            )

    def _fetch(self, recipe: Recipe, suite: str, debs: DigestFolder) -> None:
        def find() -> Mapping[str, str]:
            needed = {one.upstream for one in recipe.packages}
            known = {} if needed <= self._archives.keys() else find_archives(suite, self._data)
            return {**known, **self._archives}

        fetch_packages(recipe.packages, debs, find, self._display)

    def _make(self, recipe: Recipe, debs: DigestFolder, target: Path) -> bytes:
        """Make a root as `target`; its listing."""
        sandbox = self._open_sandbox(SandboxConfig(work=self._work, uids=ID_RANGES))
        make_root(recipe, debs, sandbox, target, self._display)
        listing = b"".join(tree_lines(target))
        if len(listing) > MAX_EVIDENCE_BYTES:  # it could never be published
            raise HostLack(
                f"the listing of the root has {len(listing)} bytes, more than {MAX_EVIDENCE_BYTES}; include "
                "fewer packages",
                reason="root-too-large",
            )
        return listing

    def _keep(self, lock: RootLock, listing: bytes, made: Path) -> None:
        """Give what was made its name; all of it is on disk before it has one."""
        self._put(listing)
        self.learn(lock)
        with needing_disk("cannot keep the root", self.shelf.folder):
            os.sync()
            rename_unless_there(made, self._home(lock))
            sync_folder(self.shelf.folder)
        if not made.exists():  # else another process was first, and its root is checked when it is used
            self._seals[lock.tree] = tree_seal(self._home(lock))

    def _checked(self, lock: RootLock) -> Root:
        home = self._home(lock)
        listing = self._listing_of(lock.tree)
        seal = tree_seal(home)
        if listing is None or self._seals.get(lock.tree) != seal:
            task = self._display.task(f"check the root {lock.tree[:16]}")
            found = b"".join(tree_lines(home))
            task.finish()
            if hashlib.sha256(found).hexdigest() != lock.tree:
                where = (
                    first_difference(listing, found) if listing is not None else "(no listing of it is here)"
                )
                raise HostLack(
                    f"the root {home} is not what it was when it was made: {where}; remove the folder, "
                    "and it is made again",
                    reason="root-changed",
                )
            self._put(found)
            listing, self._seals[lock.tree] = found, seal
        return Root(home, lock, listing)

    def _listing_of(self, tree: str) -> bytes | None:
        return self._read(tree, None)

    def _read(self, sha256: str, limit: int | None) -> bytes | None:
        try:
            if not self._evidence.has(sha256):
                return None
            with self._evidence.open(sha256) as stream:
                data = stream.read() if limit is None else stream.read(limit + 1)
        except (StorageError, OSError) as error:
            raise HostLack(f"cannot read {sha256}: {error}") from error
        # What the disk has changed is as good as not there.
        return data if hashlib.sha256(data).hexdigest() == sha256 else None

    def _put(self, data: bytes) -> None:
        with needing_disk("cannot keep what is known of a root", self._evidence.folder):
            self._evidence.put(data)


def _differs(lock: RootLock, listing: bytes, expected: bytes | None, again: bytes) -> BuilderError:
    """What to say of a root that is not the one of its lock, whose two makings are `listing` and `again`, and
    of which this host may have a listing, `expected`.

    The packages are those of the lock, by digest. So the lock is wrong when they become the same other root
    each time; but not where the host has had the root of the lock: then the host is what has changed.
    """
    became = f"the root of the root lock {lock.sha256} became {hashlib.sha256(listing).hexdigest()}"
    said = f"{became}, and the lock says {lock.tree}"
    if here := first_difference(listing, again):
        return HostLack(f"{said}: it is another each time: {here}", reason="root-differs")
    if expected is not None:
        where = first_difference(expected, listing)
        return HostLack(f"{said}, as it was made here before: {where}", reason="root-differs")
    return RootLockError(
        f"{said}: it was made twice, and is the same each time here; the lock is wrong, or of other tools"
    )
