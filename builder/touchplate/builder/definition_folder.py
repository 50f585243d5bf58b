"""The definitions that an operator keeps in a folder, by the package files that they build.

The folder may be a checkout that changes while it is used: it is looked at again, and files that are no
definitions (any more) are left out with a warning.
"""

from __future__ import annotations

import logging
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

from touchplate.builder.definitions import Definition, load_definition
from touchplate.builder.errors import DefinitionError

SUFFIXES = (".yaml", ".yml", ".json")

MAX_DEFINITIONS = 10_000
"""Files of one folder that are looked at, by name: to read so many takes a minute, once."""

FRESH_SECONDS = 10.0
"""How long nobody looks for changes."""

_Stamp = tuple[int, int, int]


class DefinitionFolder:
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
            paths = sorted(path for path in self._folder.iterdir() if path.suffix in SUFFIXES)
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
        try:
            found = path.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for
                raise DefinitionError("it is no file")
            known = self._read.get(path)
            if known is not None and known[0] == stamp:
                return known
            return stamp, load_definition(path)
        except OSError as error:
            mistake, stamp = str(error.strerror), (0, 0, 0)
        except DefinitionError as error:
            mistake = str(error)
        logging.getLogger(__name__).warning("%s is left out: %s", path.name, mistake)
        return stamp, None
