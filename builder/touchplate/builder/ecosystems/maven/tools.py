"""The tools of a Maven build: an exact Maven, fetched as an artifact, and a JDK of this host."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from touchplate.builder.archives.zips import SafeZip, checked_files, unpack
from touchplate.builder.ecosystems.maven.coordinates import Coordinates
from touchplate.builder.ecosystems.maven.definition import MavenTool
from touchplate.builder.errors import ArchiveError, DefinitionError, HostLack
from touchplate.builder.inputs.repository import RemoteFile, Repository
from touchplate.builder.plan import Bind
from touchplate.builder.roots.store import Root
from touchplate.builder.roots.use import digest_of_folder
from touchplate.builder.sandbox.workspace import locked_folder, remove_abandoned, rename_unless_there
from touchplate.builder.trees import tree_digest

DEFAULT_MAVEN = MavenTool("3.9.11", "0d7125e8c91097b36edb990ea5934e6c68b4440eef4ea96510a0f6815e7eeadb")
"""What inferred definitions use: pinned, so that two operators build with the same bytes."""

JDK_ROOTS = (Path("/usr/lib/jvm"),)
"""Where distributions install JDKs, one folder each."""

MAVEN_INSIDE = "/maven"
JDK_INSIDE = "/jdk"
"""The same paths on every host: a tool's place must not reach the output."""

_ASIDE = ".new-"  # prefix of folders in which tools are unpacked

_RELEASE_LINE = re.compile(r'([A-Z_]+)="([^"]*)"')
_MAX_RELEASE_BYTES = 64 * 1024  # the `release` file of a JDK has 2 kB


@dataclass(frozen=True)
class JDK:
    """One installed JDK (with javac)."""

    home: Path
    major: int
    version: str
    """JAVA_RUNTIME_VERSION, for example `17.0.15+6-Debian-1deb12u1`."""
    vendor: str
    root: Root | None = None
    """The build root that it is of; None: this host."""

    def binds(self) -> tuple[Bind, ...]:
        """The JDK at `JDK_INSIDE`, and the folders outside it to which its links lead (/etc/java-…)."""
        if self.root is not None:  # those folders are the root's own
            return (Bind(self.home, JDK_INSIDE),)
        outside = sorted(
            {folder for folder in _link_folders(self.home) if not _is_below(folder, Path("/usr"))}
        )
        kept = [
            one for one in outside if not any(_is_below(one, other) and one != other for other in outside)
        ]
        return (Bind(self.home, JDK_INSIDE), *(Bind(folder, str(folder)) for folder in kept))

    def digest(self) -> str:
        """Tree digest of the JDK's folder. Raises HostLack when it cannot be read."""
        return tree_digest(self.home) if self.root is None else digest_of_folder(self.root, self.home)


@dataclass(frozen=True)
class Maven:
    """An unpacked Maven distribution and the artifact that it came from."""

    home: Path
    artifact: RemoteFile
    version: str


def find_jdks(roots: Sequence[Path] = JDK_ROOTS) -> list[JDK]:
    """The JDKs with a compiler below `roots`, lowest major version first; links to others are left out."""
    found = []
    for root in roots:
        for home in sorted(root.iterdir()) if root.is_dir() else ():
            if not home.is_symlink() and (home / "bin" / "javac").is_file():
                jdk = _read_release(home)
                if jdk is not None:
                    found.append(jdk)
    return sorted(found, key=lambda jdk: (jdk.major, str(jdk.home)))


def need_jdk(major: int, roots: Sequence[Path] = JDK_ROOTS) -> JDK:
    """A JDK of this major version. Raises HostLack, `needs JDK <major>`, when this host has none."""
    jdks = find_jdks(roots)
    for jdk in jdks:
        if jdk.major == major:
            return jdk
    here = ", ".join(str(jdk.major) for jdk in jdks) or "none"
    raise HostLack(f"needs JDK {major}; this host has {here}", reason="jdk-missing")


def need_jdk_of(root: Root, major: int) -> JDK:
    """The JDK of this major version in a build root. Raises DefinitionError when it has none."""
    for jdk in find_jdks([root.path / str(folder).lstrip("/") for folder in JDK_ROOTS]):
        # A root may be a stranger's: no link of its own leads to a folder of this host.
        if jdk.major == major and _is_below(jdk.home.resolve(), root.path.resolve()):
            return replace(jdk, root=root)
    raise DefinitionError(
        f"needs JDK {major}, and the build root has none; include openjdk-{major}-jdk-headless in its lock"
    )


def need_maven(tool: MavenTool, repository: Repository, folder: Path) -> Maven:
    """The Maven distribution `tool`, unpacked below `folder`, fetched when it is not there yet.

    Raises DefinitionError when the artifact has another digest, HostLack when it cannot be fetched.
    """
    coordinates = Coordinates("org.apache.maven", "apache-maven", tool.version, "zip", "bin")
    artifact = repository.need_exact(coordinates.path, tool.sha256)
    home = folder / f"maven-{tool.version}-{tool.sha256[:16]}"
    if not home.is_dir():
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        remove_abandoned(folder, _ASIDE)
        # Unpacked aside and renamed: a crash leaves no half tool, and two processes do not meet.
        with locked_folder(folder, _ASIDE) as aside:
            _unpack_maven(artifact.data, aside / home.name)
            rename_unless_there(aside / home.name, home)
    _check_maven(artifact.data, home)
    return Maven(home, artifact, tool.version)


def _unpack_maven(data: bytes, target: Path) -> None:
    target.mkdir(mode=0o755)
    try:
        # All in one top folder, `apache-maven-3.9.11/`.
        unpack(SafeZip(data), target, lambda name: name.partition("/")[2] or None)
    except ArchiveError as error:
        raise DefinitionError(f"the Maven distribution does not unpack: {error}") from error
    program = target / "bin" / "mvn"
    if not program.is_file():
        raise DefinitionError("the Maven distribution has no bin/mvn")
    program.chmod(0o755)


def _check_maven(data: bytes, home: Path) -> None:
    """The provenance will name the artifact: what is shown to the build must be what it holds, no more."""
    archive = SafeZip(data)
    files = {member.name.partition("/")[2]: position for position, member in checked_files(archive)}
    try:
        here = {str(path.relative_to(home)) for path in home.rglob("*") if not path.is_dir()}
        same = here == files.keys() - {""} and all(
            not (home / name).is_symlink() and (home / name).read_bytes() == archive.read(files[name])
            for name in here
        )
    except OSError as error:
        raise HostLack(f"the unpacked Maven at {home} cannot be read: {error.strerror}") from error
    if not same:
        raise HostLack(f"the unpacked Maven at {home} is not what its artifact holds; remove it")


def _read_release(home: Path) -> JDK | None:
    try:
        with (home / "release").open(encoding="utf-8", errors="replace") as stream:
            text = stream.read(_MAX_RELEASE_BYTES)
    except OSError:
        return None
    values: dict[str, str] = dict(_RELEASE_LINE.findall(text))
    version = values.get("JAVA_VERSION", "")
    match = re.match(r"(?:1\.)?([0-9]{1,3})", version)
    if match is None:
        return None
    return JDK(
        home=home,
        major=int(match[1]),
        version=values.get("JAVA_RUNTIME_VERSION", version),
        vendor=values.get("IMPLEMENTOR", "unknown"),
    )


def _link_folders(home: Path) -> Iterator[Path]:
    """Folders outside `home` that hold the targets of its absolute links."""
    for folder, folders, files in os.walk(home):
        for name in (*folders, *files):
            path = Path(folder, name)
            if path.is_symlink():
                target = path.resolve()
                if target.exists() and not _is_below(target, home.resolve()):
                    yield target if target.is_dir() else target.parent


def _is_below(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents
