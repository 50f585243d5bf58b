"""What a published jar and its POM tell about the publisher's side beyond the manifest: the machine's line
separator, and that it was not Maven that made the release."""

from touchplate.builder.archives.zips import SafeZip
from touchplate.builder.ecosystems.maven.coordinates import Coordinates
from touchplate.builder.ecosystems.maven.pom import Build, Pom
from touchplate.builder.errors import DefinitionError

GRADLE = "gradle"
"""`reason` of the error about a release that Gradle made."""

MAX_PROPERTIES_BYTES = 64 * 1024
"""Of a `pom.properties`: Maven writes three short values into it."""

_GRADLE_MARKER = b"published-with-gradle-metadata"
"""In a comment of every POM that Gradle publishes beside its module metadata (Gradle: module metadata)."""


def uses_crlf(jar: bytes, coordinates: Coordinates) -> bool:
    """Whether the jar was built where lines end with CR LF, by its own `pom.properties`.

    Maven writes that file itself, with the line separator of its JVM, whatever the sources have: it shows the
    machine and nothing else. Where there is none, or one with mixed ends, nothing is known: False.
    Raises ArchiveError when the jar does not parse, or the file is longer than `MAX_PROPERTIES_BYTES`.
    """
    data = _pom_properties(jar, coordinates)
    return data is not None and data.count(b"\n") == data.count(b"\r\n") > 0


def refuse_gradle(jar: bytes, pom: Pom, pom_data: bytes, coordinates: Coordinates) -> None:
    """Raises DefinitionError, reason `gradle`, when the release was made by Gradle, which is not run here.

    A plugin of Maven leaves Gradle's marker in a POM too. But Gradle's POMs inherit nothing and say nothing
    of a build, and its jars hold no `pom.properties`.
    """
    by_gradle = (
        _GRADLE_MARKER in pom_data
        and (pom.parent, pom.build, pom.profiles) == (None, Build(), ())
        and _pom_properties(jar, coordinates) is None
    )
    if by_gradle:
        raise DefinitionError(
            f"not built: Gradle made {coordinates.folder} (its POM has Gradle's marker and no build of its "
            "own), and only Maven's builds are run here",
            reason=GRADLE,
        )


def _pom_properties(jar: bytes, coordinates: Coordinates) -> bytes | None:
    return SafeZip(jar).read_named(
        f"META-INF/maven/{coordinates.group}/{coordinates.artifact}/pom.properties", MAX_PROPERTIES_BYTES
    )
