"""What a package requires, pinned: every file of each recipe revision and package revision that its build may
use, by sha256. Nothing of it is built here: packages are the upstream's, as clients download them.

The supervisor fetches the files, looks whether they are what they are called, and makes them locked inputs;
Conan inside finds them in its cache, and nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from touchplate.base.errors import StorageError
from touchplate.builder.cache import Cache
from touchplate.builder.definitions.definition import SourceFile
from touchplate.builder.ecosystems.conan.archive import check_whole
from touchplate.builder.ecosystems.conan.conaninfo import PackageInfo, parse_conaninfo
from touchplate.builder.ecosystems.conan.profile import RequiredLines
from touchplate.builder.ecosystems.conan.reference import (
    CONANFILE,
    CONANINFO,
    EXPORTED,
    EXPORTED_SOURCES,
    PACKAGE,
    Revision,
    revision_of,
)
from touchplate.builder.ecosystems.conan.remote import check_package, check_recipe
from touchplate.builder.errors import ArchiveError, DefinitionError, storage_lack
from touchplate.builder.inputs.repository import RemoteFile, Repositories, Repository
from touchplate.builder.plan import REPOSITORY_FOLDER, PinnedInput
from touchplate.verify.jcs import JSONValue
from touchplate.verify.purl import parse_purl

MAX_REQUIREMENTS = 100
"""Recipes that one package may require, requirements of requirements too: the largest graphs of real packages
have about 60."""

MAX_FILES = 5 * MAX_REQUIREMENTS
"""Of all of them: up to three of a recipe, two of a package."""

ARCHIVE = ".tgz"
"""How the names of archives end."""

_OF_RECIPE = (CONANFILE, EXPORTED, EXPORTED_SOURCES)
_OF_PACKAGE = (PACKAGE, CONANINFO)


@dataclass(frozen=True)
class Requirement:
    """One recipe revision, with the package revision of it that is used. `package` is None for a recipe that
    Conan has to read and whose package is not used (`python_requires`, for one)."""

    recipe: Revision
    package: Revision | None
    files: tuple[SourceFile, ...]

    def __str__(self) -> str:
        return str(self.package or self.recipe)


@dataclass(frozen=True)
class FetchedRequirement:
    """A requirement whose files are in the cache of inputs, and what they were looked at for."""

    requirement: Requirement
    upstream: str
    """Name of the upstream that has it."""
    inputs: tuple[PinnedInput, ...]
    info: PackageInfo
    """What its package was built for; empty without a package."""
    conaninfo: str
    """sha256 of its conaninfo.txt; empty without a package."""

    @property
    def reference(self) -> str:
        """Name and version of the recipe, as Conan writes them."""
        return self.requirement.recipe.reference

    def job(self) -> dict[str, JSONValue]:
        """What the programs inside are told (`inside/place_in_cache.py`)."""
        recipe, package = self.requirement.recipe, self.requirement.package
        folder = f"{REPOSITORY_FOLDER}/{self.upstream}"
        told: dict[str, JSONValue] = {
            "recipe": str(recipe),
            "recipe_files": f"{folder}/{recipe.files_path}",
            "reference": recipe.reference,
        }
        if package is not None:
            told |= {"package": str(package), "package_files": f"{folder}/{package.files_path}"}
        return told


def group_requirements(own: Revision | None, files: Sequence[SourceFile]) -> tuple[Requirement, ...]:
    """The requirements that pinned files belong to, by reference. `own`: the package that requires them.

    Raises DefinitionError for files that are not all that is needed of each.
    """
    found: dict[str, list[tuple[Revision, SourceFile]]] = {}
    for file in files:
        package = parse_purl(file.uri)
        revision = revision_of(package)
        known = _OF_RECIPE if revision.package_id is None else _OF_PACKAGE
        if package.file_name not in known:
            raise DefinitionError(f"{file.uri} is not used of a requirement; {', '.join(known)} are")
        found.setdefault(revision.reference, []).append((revision, file))
    if own is not None and own.reference in found:
        raise DefinitionError(f"{own.reference} requires itself")
    if len(found) > MAX_REQUIREMENTS:
        raise DefinitionError(f"{len(found)} recipes, and {MAX_REQUIREMENTS} are the most")
    return tuple(_requirement(reference, found[reference]) for reference in sorted(found))


def _requirement(reference: str, found: Sequence[tuple[Revision, SourceFile]]) -> Requirement:
    recipes = {revision.recipe for revision, _ in found}
    if len(recipes) != 1:
        raise DefinitionError(f"{reference} has {len(recipes)} recipe revisions; keep one")
    packages = {revision for revision, _ in found if revision.package_id is not None}
    if len(packages) > 1:
        ids = ", ".join(sorted(str(package) for package in packages))
        raise DefinitionError(f"{reference} has more than one package: {ids}; keep one")
    (recipe,), package = recipes, next(iter(packages), None)
    uris = [file.uri for _, file in found]
    if len(set(uris)) != len(uris):
        raise DefinitionError(f"{reference} names a file twice; keep one")
    needed = [recipe.purl(CONANFILE), *(package.purl(name) for name in _OF_PACKAGE if package is not None)]
    for one in needed:
        if str(one) not in uris:
            raise DefinitionError(f"{reference} lacks {one}")
    return Requirement(recipe, package, tuple(file for _, file in found))


def fetch_requirement(
    requirement: Requirement, repositories: Repositories, cache: Cache
) -> FetchedRequirement:
    """Have its files in the cache of inputs, once it is sure that they are what they are called.

    Raises DefinitionError for other files than those that are pinned, or that are not of these revisions;
    HostLack when they cannot be had.
    """
    repository = repositories.of_identity(requirement.recipe.identity, "conan")
    recipe: list[RemoteFile] = []
    package: dict[str, RemoteFile] = {}
    inputs = []
    for file in requirement.files:
        purl = parse_purl(file.uri)
        path = revision_of(purl).path(purl.file_name)
        found = _need_pinned(repository, path, file.sha256)
        if len(found.data) != file.size:
            raise DefinitionError(
                f"{file.uri} has {len(found.data)} bytes, and the definition says {file.size}"
            )
        named = RemoteFile(file.uri, purl.file_name, found.data)
        if revision_of(purl).package_id is None:
            recipe.append(named)
        else:
            package[purl.file_name] = named
        _keep(cache, named)
        inputs.append(PinnedInput(repository.upstream.name, path, file.sha256, file.size))
    check_recipe(requirement.recipe, recipe)
    info, digest = PackageInfo(), ""
    if requirement.package is not None:
        check_package(requirement.package, package)
        info, digest = parse_conaninfo(package[CONANINFO].data), package[CONANINFO].sha256
    for named in (*recipe, *package.values()):
        if named.path.endswith(ARCHIVE):
            _check_whole(named)
    return FetchedRequirement(requirement, repository.upstream.name, tuple(inputs), info, digest)


def pin_files(files: Sequence[RemoteFile]) -> tuple[SourceFile, ...]:
    """Pins of files that were read at a remote, each by its package URL."""
    return tuple(SourceFile(file.uri, file.sha256, len(file.data)) for file in files)


def pin_package(package: Revision, files: Mapping[str, RemoteFile]) -> tuple[SourceFile, ...]:
    """Pins of the files of a package revision, by name, that a build uses."""
    return tuple(
        SourceFile(str(package.purl(name)), files[name].sha256, len(files[name].data)) for name in _OF_PACKAGE
    )


def required_lines(
    own: Revision, requirements: Sequence[FetchedRequirement], settings: Mapping[str, str]
) -> RequiredLines:
    """What a profile says so that Conan gives each requirement the package id of the package that is pinned:
    what this was built for, as its conaninfo.txt has it. `own`: the package that requires them."""
    return RequiredLines(
        own.reference,
        tuple(
            f"{one.reference}:{key}={value}"
            for one in requirements
            for key, value in sorted(one.info.settings.items())
            if settings.get(key) != value
        ),
        tuple(
            f"{one.reference}:{key}={value}"
            for one in requirements
            for key, value in sorted(one.info.options.items())
        ),
    )


def _need_pinned(repository: Repository, path: str, sha256: str) -> RemoteFile:
    try:
        return repository.need_exact(path, sha256)
    except DefinitionError as error:
        raise DefinitionError(
            f"{error}; it is pinned as a requirement: its upstream has to serve it as it was, or what is "
            "there now has to be pinned"
        ) from error


def _check_whole(file: RemoteFile) -> None:
    try:
        check_whole(file.data)
    except ArchiveError as error:
        raise DefinitionError(f"{file.uri}: {error}; its upstream has to mend it") from error


def _keep(cache: Cache, file: RemoteFile) -> None:
    if cache.inputs.has(file.sha256):
        return
    try:
        cache.inputs.put(file.data, expected=file.sha256)
    except (StorageError, OSError) as error:
        raise storage_lack(f"cannot keep {file.uri}", cache.inputs.folder, error) from error
