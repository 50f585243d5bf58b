"""An operator's folder of definitions: one file for each package version, at the place of its package.

A folder is read as it lies on disk. Of a git repository that is the checked-out work tree: git is never
run, so neither are its hooks, filters and submodules. Files and folders whose names begin with a dot are no
part of it.
"""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from touchplate.base.durable import make_folder, write_atomic
from touchplate.builder.definitions.definition import Definition, parse_definition
from touchplate.builder.definitions.path import SUFFIXES, definition_path
from touchplate.builder.definitions.yamlcore import MAX_BYTES
from touchplate.builder.errors import DefinitionError, Mistake
from touchplate.verify.purl import PackageURL

MAX_FILES = 100_000
"""Definitions in one folder: an upstream's whole catalogue is split by somebody who knows why."""

_READ = (*SUFFIXES, ".yml")


@dataclass(frozen=True)
class CheckedFile:
    """One file that was looked at; `definition` is None when it has mistakes that leave none."""

    path: Path
    definition: Definition | None = field(default=None, repr=False)
    mistakes: tuple[Mistake, ...] = ()


def read_definition_file(path: Path, *, follow: bool = True) -> bytes:
    """The bytes of a regular file, one more than a definition may have at most.

    `follow`: whether it may be a symbolic link. Raises OSError, DefinitionError for what is no regular file.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    if not follow and path.is_symlink():
        raise DefinitionError("is a symbolic link; put the definition itself here")
    descriptor = os.open(path, flags)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DefinitionError("is no regular file; a definition is one")
        return stream.read(MAX_BYTES + 1)


def check_file(path: Path, place: PurePosixPath | None = None) -> CheckedFile:
    """One file, with all of its mistakes. `place`: its path in a folder of definitions. Raises OSError."""
    try:
        data = read_definition_file(path, follow=place is None)
        return CheckedFile(path, parse_definition(data, place=place))
    except DefinitionError as error:
        return CheckedFile(path, None, error.mistakes or (Mistake(1, 1, "", str(error)),))


def check_folder(folder: Path, looked_at: Callable[[], None] = lambda: None) -> list[CheckedFile]:
    """Every definition below `folder`, sorted by path. Raises OSError, and DefinitionError for none at all.

    `looked_at` is called after each.
    """
    checked: list[CheckedFile] = []
    first: dict[PurePosixPath, Path] = {}
    for path in definition_files(folder):
        one = check_file(path, PurePosixPath(path.relative_to(folder)))
        if one.definition is not None:
            other = first.setdefault(definition_path(one.definition.package), path)
            if other != path:
                text = f"{other.relative_to(folder)} is of the same package; keep one of them"
                one = CheckedFile(path, None, (Mistake(1, 1, "package", text),))
        checked.append(one)
        looked_at()
    if not checked:
        hint = "; it is a bare repository, check it out" if (folder / "HEAD").is_file() else ""
        raise DefinitionError(f"{str(folder)!r} holds no definition (…{', …'.join(SUFFIXES)}){hint}")
    return checked


def find_definition(folder: Path, package: PackageURL) -> Path | None:
    """The file of a package's definition; None when the folder has none.

    Raises DefinitionError when there are two.
    """
    place = folder / definition_path(package)
    found = [path for path in _alternatives(place) if path.is_file() or path.is_symlink()]
    if len(found) > 1:
        raise DefinitionError(f"{' and '.join(map(str, found))} are of one package; keep one of them")
    return found[0] if found else None


def check_definition_of(folder: Path, package: PackageURL) -> CheckedFile:
    """The definition that the folder has of a package version, with all of its mistakes.

    Raises DefinitionError when it has none, OSError.
    """
    path = find_definition(folder, package)
    if path is None:
        raise DefinitionError(f"{str(folder)!r} has no definition of {package}; infer or write one")
    return check_file(path, PurePosixPath(path.relative_to(folder)))


def save_definition(folder: Path, package: PackageURL, data: bytes) -> Path:
    """Write a definition to its place. Other content that stands there already is kept.

    Raises DefinitionError for that, and for a place that a symbolic link has led out of the folder; OSError,
    StorageError.
    """
    place = folder / definition_path(package)
    for path in _alternatives(place):
        if path.is_symlink() or path.exists():
            if path == place and read_definition_file(path, follow=False) == data:
                return path
            raise DefinitionError(f"{str(path)!r} stands there already, and is another; remove it first")
    existing = next(one for one in place.parents if one.exists())
    if not existing.resolve().is_relative_to(folder.resolve()) and folder.exists():
        raise DefinitionError(f"{str(existing)!r} leads out of {str(folder)!r}; remove the symbolic link")
    make_folder(place.parent)
    write_atomic(place, data, 0o644)
    return place


def _alternatives(place: Path) -> list[Path]:
    stem = place.name.removesuffix(SUFFIXES[0])
    return [place.with_name(f"{stem}{suffix}") for suffix in SUFFIXES]


def definition_files(folder: Path) -> Iterator[Path]:
    """Possible definitions, and links that may hide some, by path. Raises OSError, DefinitionError."""
    found: list[Path] = []
    for name, folders, files in os.walk(folder, onerror=_raise):
        links = [one for one in folders if (Path(name) / one).is_symlink() and not one.startswith(".")]
        folders[:] = [one for one in folders if not one.startswith(".")]
        found += [Path(name) / one for one in links]
        found += [Path(name) / one for one in files if one.endswith(_READ) and not one.startswith(".")]
        if len(found) > MAX_FILES:
            raise DefinitionError(f"{str(folder)!r} holds more than {MAX_FILES} definitions; check its parts")
    yield from sorted(found)


def _raise(error: OSError) -> None:
    raise error
