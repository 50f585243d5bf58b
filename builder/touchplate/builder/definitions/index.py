"""The definitions of an operator's folder (`folder.py`), by the package files that they build.

The folder may be a checkout that changes while it is used: it is looked at again, and files that are no
definitions (any more) are left out with a warning.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from touchplate.builder.definitions.definition import Definition
from touchplate.builder.definitions.folder import check_file, definition_files
from touchplate.builder.errors import DefinitionError

MAX_DEFINITIONS = 10_000
"""Files of one folder that are looked at, by name: to read so many takes a minute, once."""

SHOWN = 3
"""Mistakes of a file that are told; `touchplate definition check` names all."""

FRESH_SECONDS = 10.0
"""How long nobody looks for changes."""

_Stamp = tuple[int, int, int]


class DefinitionIndex:
    """Finds definitions. Safe from any thread; `find` may read files."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._lock = threading.Lock()
        self._looked_at = -FRESH_SECONDS - clock()  # all below under self._lock
        self._read: dict[Path, tuple[_Stamp, Definition | None]] = {}
        self._by_package: dict[str, Definition] = {}

    def find(self, package: str) -> Definition | None:
        """The definition that builds this package file (a package URL in its one spelling): of several, the
        one whose file comes first by name. Raises DefinitionError when the folder cannot be read."""
        with self._lock:
            now = self._clock()
            if not self._looked_at <= now < self._looked_at + FRESH_SECONDS:
                self._look()
                self._looked_at = now
            return self._by_package.get(package)

    def _look(self) -> None:
        try:
            paths = list(definition_files(self._folder))
        except OSError as error:
            raise DefinitionError(
                f"cannot read the definitions in {str(self._folder)!r}: {error.strerror}"
            ) from error
        if len(paths) > MAX_DEFINITIONS:
            logging.getLogger(__name__).warning(
                "%s holds %d definitions; the first %d are used", self._folder, len(paths), MAX_DEFINITIONS
            )
        self._read = {path: self._load(path) for path in paths[:MAX_DEFINITIONS]}
        self._by_package = {}
        for _, definition in self._read.values():
            if definition is not None:
                for output in definition.outputs:
                    self._by_package.setdefault(str(output.package), definition)

    def _load(self, path: Path) -> tuple[_Stamp, Definition | None]:
        place, stamp = path.relative_to(self._folder), (0, 0, 0)
        try:
            found = path.lstat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            known = self._read.get(path)
            if known is not None and known[0] == stamp:
                return known
            checked = check_file(path, PurePosixPath(place))
            mistakes = [mistake.text for mistake in checked.mistakes]
        except OSError as error:
            checked, mistakes = None, [str(error.strerror)]
        if checked is not None and checked.definition is not None:
            return stamp, checked.definition
        logging.getLogger(__name__).warning("%s is left out: %s", place, "; ".join(mistakes[:SHOWN]))
        return stamp, None
