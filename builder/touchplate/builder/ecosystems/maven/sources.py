"""The source of a release: its source-release archive, else the sources jar with the POM; as a tree."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from touchplate.builder.archives.zips import Member, SafeZip, checked_files, unpack
from touchplate.builder.definitions.definition import Source
from touchplate.builder.ecosystems.maven.coordinates import Coordinates
from touchplate.builder.ecosystems.maven.layout import place_source
from touchplate.builder.ecosystems.maven.pom import MAX_POM_BYTES, parse_pom
from touchplate.builder.ecosystems.maven.resources import Resource, check_tries
from touchplate.builder.errors import DefinitionError
from touchplate.builder.git.commit_tree import list_files, read_files
from touchplate.builder.git.commits import CommitTree
from touchplate.builder.inputs.repository import RemoteFile, Repository
from touchplate.builder.plan import MIB

SOURCE_RELEASE = "source-release"
SOURCES_JAR = "sources-jar"
POM_NAME = "pom.xml"

_MAX_MODULES = 500  # POMs of one release tree that are looked at

MAX_POMS_BYTES = 16 * MIB
"""Of those POMs together: seconds of parsing. The largest trees, of 500 modules, have 5 MB."""


@dataclass(frozen=True)
class FoundSource:
    """A source as the upstream has it. `files`: for a sources jar also the POM, in this order."""

    kind: str
    files: tuple[RemoteFile, ...]

    def names(self) -> frozenset[str]:
        """Paths of the source tree that the files make."""
        if isinstance(commit := self.files[0], CommitTree):
            return frozenset(list_files(commit.data))
        archive = SafeZip(self.files[0].data)
        if self.kind == SOURCES_JAR:
            resources = _resources(self.files[1], archive)
            placed = (place_source(member.name, resources) for _, member in checked_files(archive))
            return frozenset(name for name in placed if name is not None) | {POM_NAME}
        top = _top_folder(archive)
        return frozenset(member.name.removeprefix(top) for _, member in _release_files(archive))

    def poms(self) -> Iterator[tuple[str, bytes]]:
        """Path in the tree and content of each POM of a source release, topmost first.

        Those of its tests are left out: fixtures are no modules, and may claim to be any.
        """
        if isinstance(commit := self.files[0], CommitTree):
            yield from _poms_of_commit(commit)
            return
        archive = SafeZip(self.files[0].data)
        top = _top_folder(archive)
        found = {
            member.name.removeprefix(top): position
            for position, member in _release_files(archive)
            if member.name.rpartition("/")[2] == POM_NAME
            and member.size <= MAX_POM_BYTES
            and not is_test_file(member.name)
        }
        for name in _topmost({name: archive.members[position].size for name, position in found.items()}):
            yield name, archive.read(found[name])


def _poms_of_commit(commit: CommitTree) -> Iterator[tuple[str, bytes]]:
    names = _topmost(
        {
            name: size
            for name, size in list_files(commit.data).items()
            if name.rpartition("/")[2] == POM_NAME and size <= MAX_POM_BYTES and not is_test_file(name)
        }
    )
    found = read_files(commit.data, frozenset(names))
    yield from ((name, found[name]) for name in names)


def _topmost(sizes: Mapping[str, int]) -> list[str]:
    """Of these paths (with sizes in bytes) the topmost, as many as are looked at. Raises DefinitionError."""
    names = sorted(sizes, key=lambda name: (name.count("/"), name))[:_MAX_MODULES]
    if (total := sum(sizes[name] for name in names)) > MAX_POMS_BYTES:
        raise DefinitionError(
            f"the POMs of the source tree have {total} bytes together, more than {MAX_POMS_BYTES}; "
            "write a definition"
        )
    return names


def find_release(repository: Repository, coordinates: Coordinates) -> FoundSource | None:
    """The source-release archive that was published under these coordinates; None when there is none."""
    release = repository.get(coordinates.sibling("zip", SOURCE_RELEASE).path)
    return None if release is None else FoundSource(SOURCE_RELEASE, (release,))


def need_sources_jar(repository: Repository, coordinates: Coordinates, pom: RemoteFile) -> FoundSource:
    """The sources jar with the POM, where no archive is. Raises DefinitionError when there is none either."""
    sources = repository.get(coordinates.sibling("jar", "sources").path)
    if sources is None:
        raise DefinitionError(
            f"{coordinates.folder} has neither a source-release archive nor a sources jar; write a definition"
        )
    return FoundSource(SOURCES_JAR, (sources, pom))


def prepare_tree(source: Source, files: Sequence[RemoteFile], target: Path) -> None:
    """Make the source tree in the empty folder `target`.

    Raises ArchiveError for an archive that may not be unpacked, DefinitionError for files that do not fit
    the kind.
    """
    if source.kind == SOURCE_RELEASE:
        if len(files) != 1:
            raise DefinitionError(f"a source-release is one archive, not {len(files)} files")
        archive = SafeZip(files[0].data)
        top = _top_folder(archive)
        unpack(archive, target, lambda name: name.removeprefix(top), drops_link=is_test_file)
        return
    jars = [file for file in files if file.path.endswith(".jar")]
    poms = [file for file in files if file.path.endswith(".pom")]
    if len(jars) != 1 or len(poms) != 1 or len(files) != 2:
        raise DefinitionError("a sources-jar source is one .jar and one .pom")
    archive = SafeZip(jars[0].data)
    resources = _resources(poms[0], archive)
    unpack(archive, target, lambda name: place_source(name, resources))
    path = target / POM_NAME
    path.write_bytes(poms[0].data)
    path.chmod(0o644)


def is_test_file(name: str) -> bool:
    """Whether a file of a release tree belongs to its tests, of which no main jar is made.

    Links among them are left out: archivers are tested with links, also with some that lead nowhere or away.
    """
    return any(f"/{folder}/" in f"/{name}" for folder in ("src/test", "src/it"))


def _resources(pom: RemoteFile, archive: SafeZip) -> tuple[Resource, ...]:
    """Those that the POM declares, for the files of a sources jar."""
    try:
        found = parse_pom(pom.data).build.resources
    except DefinitionError:  # Maven will say what is wrong with it, as the build's own failure
        return ()
    check_tries(found, [member.name for member in archive.members])
    return found


def _release_files(archive: SafeZip) -> list[tuple[int, Member]]:
    return checked_files(archive, drops_link=is_test_file)


def _top_folder(archive: SafeZip) -> str:
    """`name/` of the single folder that holds everything, or an empty string."""
    tops = {member.name.split("/")[0] for _, member in _release_files(archive)}
    only = min(tops) if len(tops) == 1 else ""
    return (
        f"{only}/" if only and all(member.name.startswith(f"{only}/") for member in archive.members) else ""
    )
