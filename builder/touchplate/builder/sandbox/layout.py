"""The source tree as a build finds it: a copy, which for a varied build is listed and dated otherwise.

What readdir(3) gives first is the file system's choice. Some list by when an entry was made (tmpfs, newest
first; others oldest first), and there the order in which a copy is made decides. Others list by a hash of the
name (ext4 with its usual `dir_index`), and no order of making anything changes that.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Literal

from touchplate.builder.plan import Surroundings

Listing = Literal["newest-first", "oldest-first", "fixed"]

_NAMES = ("a", "b", "c", "d", "e", "f")


def lay_out(source: Path, target: Path, around: Surroundings, *, usual: Path) -> None:
    """Copy the tree `source` to the new folder `target`; `usual` is where it is put without variation,
    a folder of the job as that of `target` is.

    Raises OSError: the first one, where shutil.copytree would go on, and say of each file that the disk is
    full.
    """
    if around.order_in is None:
        _copy(source, target, reverse=False)
    else:
        # The usual copy is listed as it was made, or the other way round, or as its source is: by a hash.
        backwards = find_listing(usual) == "newest-first"
        wanted_first = find_listing(target.parent) == "newest-first"
        _copy(source, target, reverse=backwards == wanted_first)
    if around.older:
        _make_older(target, around.older)


def find_listing(folder: Path) -> Listing:
    """In which order files are listed that are made below `folder`, tried with a few. Raises OSError."""
    listed = []
    with tempfile.TemporaryDirectory(dir=folder) as top:
        for number, names in enumerate((_NAMES, _NAMES[::-1])):
            made = Path(top, str(number))
            made.mkdir()
            for name in names:
                (made / name).touch()
            listed.append(tuple(path.name for path in made.iterdir()))
    if listed == [_NAMES, _NAMES[::-1]]:
        return "oldest-first"
    return "newest-first" if listed == [_NAMES[::-1], _NAMES] else "fixed"


def _copy(source: Path, target: Path, *, reverse: bool) -> None:
    """`source` must hold folders, regular files and links only, as a prepared tree does."""
    target.mkdir()
    with os.scandir(source) as found:
        entries = list(found)
    for entry in reversed(entries) if reverse else entries:
        if entry.is_dir(follow_symlinks=False):
            _copy(Path(entry.path), target / entry.name, reverse=reverse)
        else:
            shutil.copy2(entry.path, target / entry.name, follow_symlinks=False)
    shutil.copystat(source, target)


def _make_older(folder: Path, seconds: int) -> None:
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            then = path.lstat().st_mtime_ns - seconds * 1_000_000_000
            os.utime(path, ns=(then, then), follow_symlinks=False)
