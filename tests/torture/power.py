"""What a power cut would take: SIGKILL leaves everything that the kernel still holds in memory.

Every name that was given, taken away or changed counts as lost until its folder was synced, and all bytes of
a file until the file was. `cut` undoes what is left of that, newest first. SQLite's own files are not
followed: its calls are made in C.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from tests.torture.points import CREATE, FOLDER, REMOVE, RENAME, SYNC

_link = os.link  # bound before the hooks replace it


@dataclass(frozen=True)
class Change:
    """One change of a folder. `source`: the old name of a rename; `kept`: what stood there before."""

    call: str
    path: Path
    source: Path | None
    kept: Path | None


class Unsynced:
    """Follows the calls of one process. `spare`: a folder on the same disk for what may have to come back."""

    def __init__(self, spare: Path) -> None:
        spare.mkdir()
        self._spare = spare
        self._changes: list[Change] = []
        self._dirty: set[Path] = set()

    def keep(self, call: str, path: str) -> Path | None:
        """Before a call that takes a file's name away: a second name for it."""
        if call not in (REMOVE, RENAME) or not Path(path).is_file():
            return None
        kept = self._spare / f"{os.getpid()}-{len(list(self._spare.iterdir()))}"
        _link(path, kept)
        return kept

    def note(self, call: str, path: str, source: str | None, kept: Path | None) -> None:
        """After a call that worked."""
        at = Path(path)
        if call == SYNC:
            self._dirty.discard(at)
            self._changes = [change for change in self._changes if change.path.parent != at]
        elif call in (CREATE, FOLDER, RENAME) or (call == REMOVE and kept):
            self._changes.append(Change(call, at, Path(source) if source else None, kept))
        if call == CREATE:
            self._dirty.add(at)
        if call == RENAME and source and Path(source) in self._dirty:
            self._dirty.remove(Path(source))
            self._dirty.add(at)

    def cut(self) -> list[str]:
        """Undo what is not on disk for sure; what was undone, for the record."""
        for path in self._dirty:
            if path.is_file():
                os.truncate(path, 0)
        for change in reversed(self._changes):
            _undo(change)
        return [f"{change.call} {change.path}" for change in self._changes]


def _undo(change: Change) -> None:
    match change.call:
        case "create":
            change.path.unlink(missing_ok=True)
        case "folder":
            _remove_tree(change.path)
        case "rename" if change.source is not None and change.path.exists():
            change.path.rename(change.source)
    if change.kept is not None and change.path.parent.is_dir() and not change.path.exists():
        change.kept.rename(change.path)


def _remove_tree(folder: Path) -> None:
    """Not shutil's: that one works with descriptors, which the hooks follow for nothing."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            _remove_tree(path)
        else:
            path.unlink()
    folder.rmdir()
