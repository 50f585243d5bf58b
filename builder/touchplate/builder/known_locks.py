"""Input locks of earlier rebuilds on this host: what the same definition with the same tools was given.

Fetch exists to find out what a build needs. When that is known, Build alone gives the same outputs and the
same evidence, in half the time. A lock is kept once a build from it gave all outputs; it is checked like
anybody's (see `phases.run_build`), so a wrong one can waste a build, and nothing else.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from touchplate.base.durable import make_folder, remove_abandoned_writes, write_atomic
from touchplate.base.errors import StorageError
from touchplate.builder.definitions import Definition
from touchplate.builder.errors import DefinitionError, HostLack
from touchplate.builder.lock import LOCK_BYTES, InputLock, format_lock, parse_lock
from touchplate.verify.predicates.provenance import Dependency


class KnownLocks:
    """One small file for each definition and set of tools. Safe for several processes at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if folder.is_dir():
            remove_abandoned_writes(folder)

    def find(self, definition: Definition, tools: Iterable[Dependency]) -> InputLock | None:
        """The lock that a build of `definition` with `tools` succeeded from; None for none that can be
        read."""
        try:
            with self._path(definition, tools).open("rb") as stream:
                return parse_lock(stream.read(LOCK_BYTES + 1))
        except (OSError, DefinitionError):
            return None

    def keep(self, definition: Definition, tools: Iterable[Dependency], lock: InputLock) -> None:
        """Remember `lock`. Raises HostLack when it cannot be written."""
        try:
            make_folder(self._folder)
            write_atomic(self._path(definition, tools), format_lock(lock))
        except (OSError, StorageError) as error:
            raise HostLack(f"cannot keep the input lock: {error}", reason="disk-full") from error

    def _path(self, definition: Definition, tools: Iterable[Dependency]) -> Path:
        # Other tools may ask for other inputs, and ask in another order; one that was moved does not.
        parts = [definition.sha256, *sorted(f"{tool.name} {tool.digests['sha256']}" for tool in tools)]
        name = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        return self._folder / f"{name}.json"
