"""Input locks of earlier rebuilds on this host: what the same definition with the same tools was given by
the same upstreams.

Fetch exists to find out what a build needs. When that is known, Build alone gives the same outputs and the
same evidence, in half the time. A lock is kept once a build from it gave all outputs; it is checked like
anybody's (see `phases.run_build`), so a wrong one can waste a build, and nothing else.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from touchplate.base.durable import make_folder, remove_abandoned_writes, write_atomic
from touchplate.base.errors import StorageError
from touchplate.base.upstreams import Upstream
from touchplate.builder.definitions.definition import Definition
from touchplate.builder.errors import UPSTREAM_FAILED, DefinitionError, HostLack, storage_lack
from touchplate.builder.inputs.lock import LOCK_BYTES, InputLock, format_lock, parse_lock
from touchplate.verify.predicates.provenance import Dependency
from touchplate.verify.reading import read_at_most


@dataclass(frozen=True)
class LockKey:
    """What a lock depends on. `upstreams`: as resolved; what one of them gave is not what another would."""

    definition: Definition
    tools: tuple[Dependency, ...]
    upstreams: tuple[Upstream, ...]

    @property
    def sha256(self) -> str:
        """One name for all of it, lower-case hex."""
        # Other tools may ask for other inputs, and ask in another order; one that was moved does not.
        parts = [self.definition.sha256]
        parts += sorted(f"tool {tool.name} {tool.digests['sha256']}" for tool in self.tools)
        parts += sorted(f"upstream {one.name} {one.identity} {one.url}" for one in self.upstreams)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def check_unchanged(known: InputLock, found: InputLock, upstreams: Sequence[Upstream]) -> None:
    """Raise HostLack when a Maven upstream gave other bytes for a file than `known` has of it.

    Released files do not change, so one of the two is wrong, and a comparison made with it would be about
    the upstream and not about the package. Archives for apt have files that change each day.
    """
    maven = {one.name for one in upstreams if one.ecosystem == "maven"}
    before = {(one.upstream, one.path): one.sha256 for one in known.inputs if one.upstream in maven}
    for one in found.inputs:
        sha256 = before.get((one.upstream, one.path), one.sha256)
        if sha256 != one.sha256:
            raise HostLack(
                f"upstream {one.upstream!r} gives {one.path} with sha256 {one.sha256}, and gave an earlier "
                f"rebuild {sha256}: find out which is right; --refetch takes what it gives now",
                reason=UPSTREAM_FAILED,
            )


class KnownLocks:
    """One small file for each key. Safe for several processes at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if folder.is_dir():
            remove_abandoned_writes(folder)

    def find(self, key: LockKey) -> InputLock | None:
        """The lock that such a build succeeded from; None for none that can be read."""
        try:
            return parse_lock(read_at_most(self._path(key), LOCK_BYTES))
        except (OSError, DefinitionError):
            return None

    def keep(self, key: LockKey, lock: InputLock) -> None:
        """Remember `lock`. Raises HostLack when it cannot be written."""
        try:
            make_folder(self._folder)
            write_atomic(self._path(key), format_lock(lock))
        except (OSError, StorageError) as error:
            raise storage_lack("cannot keep the input lock", self._folder, error) from error

    def _path(self, key: LockKey) -> Path:
        return self._folder / f"{key.sha256}.json"
