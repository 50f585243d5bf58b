"""Reading a Conan remote: which files a revision has, and the files.

Only what a rebuild needs of its protocol (`GET …/files` lists them, `GET …/files/NAME` gives one; for
inference `GET …/revisions` and the search by name). What stands below `metadata/` can change without a new
revision and is never read.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import urlencode

from touchplate.builder.ecosystems.conan.conaninfo import package_id_of
from touchplate.builder.ecosystems.conan.reference import (
    CONANFILE,
    CONANINFO,
    EXPORTED,
    EXPORTED_SOURCES,
    MANIFEST,
    PACKAGE,
    Revision,
)
from touchplate.builder.ecosystems.conan.revisions import package_revision, recipe_revision
from touchplate.builder.errors import ArchiveError, DefinitionError, HostLack
from touchplate.builder.inputs.repository import RemoteFile, Repository
from touchplate.verify.errors import VerifyError
from touchplate.verify.jcs import JSON, parse_json

MAX_LIST_BYTES = 1024 * 1024
"""Of a list of files: with a hundred of metadata it has 10 kB."""

MAX_REVISIONS = 1000
"""Of one recipe or package, and versions of one recipe, that are looked at: the most that is known is 200."""

SEARCH_PATH = "v2/conans/search"

NO_REMOTE = "no-conan-remote"
"""Reason of a HostLack: what answers does not know Conan's protocol."""

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}")
_RECIPE_STEMS = ("conan_export.", "conan_sources.")
_PACKAGE_STEM = "conan_package."


def list_files(repository: Repository, revision: Revision) -> tuple[str, ...]:
    """Names of the files of a revision, metadata left out.

    Raises DefinitionError when there is no such revision, HostLack when the answer is none of a remote.
    """
    value = _ask(repository, revision.files_path)
    if value is None:
        raise DefinitionError(f"upstream {repository.upstream.name!r} has no {revision}")
    files = value.get("files")
    if not isinstance(files, dict):
        raise _no_remote(repository, "no list of files")
    return tuple(sorted(name for name in files if "/" not in name))


def read_recipe(repository: Repository, revision: Revision) -> tuple[RemoteFile, ...]:
    """The files of a recipe revision but its manifest, each by its package URL, after `check_recipe`.

    Raises DefinitionError for a revision that cannot be rebuilt, HostLack.
    """
    names = [name for name in list_files(repository, revision) if name == CONANFILE or _is_archive(name)]
    if CONANFILE not in names:
        raise DefinitionError(f"{revision} has no {CONANFILE}")
    files = tuple(read_file(repository, revision, name) for name in names)
    check_recipe(revision, files)
    return files


def read_file(repository: Repository, revision: Revision, name: str, sha256: str | None = None) -> RemoteFile:
    """One file of a recipe, by its package URL, with this digest when one is given."""
    path = revision.path(name)
    found = repository.need(path) if sha256 is None else repository.need_exact(path, sha256)
    return RemoteFile(str(revision.purl(name)), name, found.data)


def check_recipe(revision: Revision, files: Sequence[RemoteFile]) -> None:
    """Refuse (DefinitionError) files that are not those of the revision that is asked for."""
    other = [file.path for file in files if file.path not in (CONANFILE, EXPORTED, EXPORTED_SOURCES)]
    if other:
        raise DefinitionError(f"{revision}: {other[0][:80]!r} cannot be read yet; only .tgz archives are")
    try:
        made = recipe_revision({file.path: file.data for file in files})
    except ArchiveError as error:
        raise DefinitionError(f"{revision}: {error}") from error
    if made != revision.rrev:
        raise DefinitionError(
            f"the recipe of {revision.reference} has the revision {made}, and {revision.rrev} is asked for "
            "(revisions that are commits of a repository cannot be checked yet)"
        )


def check_package_id(revision: Revision, conaninfo: bytes) -> None:
    """Refuse (DefinitionError) a conaninfo.txt of another package id than the one that is asked for."""
    if (made := package_id_of(conaninfo)) != revision.package_id:
        raise DefinitionError(
            f"{CONANINFO} of {revision} has the package id {made}, and {revision.package_id} is asked for"
        )


def check_package(revision: Revision, files: Mapping[str, RemoteFile]) -> None:
    """Refuse (DefinitionError) files that are not those of the package revision that is asked for."""
    check_package_id(revision, files[CONANINFO].data)
    try:
        made = package_revision({name: file.data for name, file in files.items()})
    except ArchiveError as error:
        raise DefinitionError(f"{revision}: {error}") from error
    if made != revision.prev:
        raise DefinitionError(
            f"the package {revision} has the revision {made}, and {revision.prev} is asked for"
        )


def read_package(repository: Repository, revision: Revision) -> Mapping[str, RemoteFile]:
    """The published files of a package revision, by name. Raises DefinitionError, HostLack."""
    names = list_files(repository, revision)
    archives = [name for name in names if name.startswith(_PACKAGE_STEM)]
    if archives != [PACKAGE]:
        named = f"{archives[0][:80]!r}, one of {len(archives)}," if archives else "nothing"
        raise DefinitionError(f"{revision} has {named} as its archive; only {PACKAGE} can be rebuilt yet")
    missing = [name for name in (CONANINFO, MANIFEST) if name not in names]
    if missing:
        raise DefinitionError(f"{revision} has no {missing[0]}")
    files = {name: repository.need(revision.path(name)) for name in (PACKAGE, CONANINFO, MANIFEST)}
    check_package_id(revision, files[CONANINFO].data)
    return files


def list_revisions(repository: Repository, path: str) -> tuple[tuple[str, int], ...]:
    """The revisions below `path` of a recipe or package, newest first, each with when the remote took it
    (Unix seconds). None when it has none. Raises HostLack.
    """
    value = _ask(repository, f"{path}/revisions")
    if value is None:
        return ()
    listed = value.get("revisions")
    if not isinstance(listed, list):
        raise _no_remote(repository, "no list of revisions")
    found = []
    for one in listed[:MAX_REVISIONS]:
        if not isinstance(one, dict) or not isinstance(revision := one.get("revision"), str):
            raise _no_remote(repository, "a list of something else than revisions")
        found.append((revision, _seconds(repository, one.get("time"))))
    return tuple(found)


def list_references(repository: Repository, pattern: str) -> tuple[str, ...]:
    """References of recipes that match `pattern` (`zlib/*`). Raises HostLack."""
    value = _ask(repository, SEARCH_PATH, urlencode({"q": pattern}))
    found = value.get("results") if value is not None else []
    if not isinstance(found, list):
        raise _no_remote(repository, "no list of references")
    return tuple(one for one in found[:MAX_REVISIONS] if isinstance(one, str))


def _ask(repository: Repository, path: str, query: str = "") -> dict[str, JSON] | None:
    found = repository.get(path, query, MAX_LIST_BYTES)
    if found is None:
        return None
    try:
        value = parse_json(found.data, max_bytes=MAX_LIST_BYTES)
    except VerifyError as error:
        raise _no_remote(repository, str(error)) from error
    if not isinstance(value, dict):
        raise _no_remote(repository, f"{path} is no JSON object")
    return value


def _seconds(repository: Repository, time: JSON) -> int:
    """Remotes write `2026-11-28T20:39:16Z`, or with fractions and an offset."""
    text = time if isinstance(time, str) else ""
    found = _TIME.match(text)
    try:
        if found is not None:
            return int(datetime.fromisoformat(found[0]).replace(tzinfo=UTC).timestamp())
    except ValueError:
        pass
    raise _no_remote(repository, f"{text[:40]!r} is no time")


def _is_archive(name: str) -> bool:
    return name.startswith(_RECIPE_STEMS)


def _no_remote(repository: Repository, why: str) -> HostLack:
    return HostLack(
        f"upstream {repository.upstream.name!r} does not answer as a Conan remote: {why}", reason=NO_REMOTE
    )
