"""What a Maven definition says beside the common fields: a JDK of this host, an exact Maven, stabilizers."""

from dataclasses import dataclass

from touchplate.builder.definitions.definition import VCS, Definition
from touchplate.builder.definitions.schema import Reader
from touchplate.builder.ecosystem import DefinitionForm
from touchplate.builder.stabilize.registry import JAR_STABILIZERS
from touchplate.verify.jcs import JSONValue

FORM = DefinitionForm(
    required=("command",),
    optional=("tools", "stabilizers"),
    # A release tree, sources jar + POM (the weaker claim), or the tree of a commit.
    source_kinds=("source-release", "sources-jar", VCS),
    upstreams=("central",),
)


@dataclass(frozen=True)
class MavenTool:
    """The exact Maven distribution (bin.zip), fetched as an artifact."""

    version: str
    sha256: str


@dataclass(frozen=True)
class MavenDetails:
    """Tools of the build. `jdk`: major version, taken from the host.

    `stabilizers`: which of `JAR_STABILIZERS` comparing may try. None by default: a jar that is not the
    published one is `different`, whatever makes it so, until a person decides otherwise.
    """

    jdk: int | None = None
    maven: MavenTool | None = None
    stabilizers: tuple[str, ...] = ()


def details_of(definition: Definition) -> MavenDetails:
    """The details of a Maven definition."""
    assert isinstance(definition.details, MavenDetails)  # its reader made them
    return definition.details


def read_details(reader: Reader) -> MavenDetails:
    """Read `tools` and `stabilizers`; mistakes go to the reader."""
    stabilizers = _read_stabilizers(reader)
    if not reader.has("tools"):
        return MavenDetails(stabilizers=stabilizers)
    reader.known("tools", optional=("jdk", "maven"))
    maven = None
    if reader.has("tools.maven"):
        reader.known("tools.maven", required=("version", "sha256"))
        maven = MavenTool(
            version=reader.text("tools.maven.version", r"[0-9][0-9A-Za-z.-]{0,31}", "a release, as 3.9.11"),
            sha256=reader.sha256("tools.maven.sha256"),
        )
    jdk = reader.number("tools.jdk", low=5, high=99) if reader.has("tools.jdk") else None
    return MavenDetails(jdk, maven, stabilizers)


def _read_stabilizers(reader: Reader) -> tuple[str, ...]:
    if not reader.has("stabilizers"):
        return ()
    items = reader.items("stabilizers", low=1, high=len(JAR_STABILIZERS))
    return tuple(reader.choice(item, JAR_STABILIZERS) for item in items)


def format_details(details: MavenDetails) -> dict[str, JSONValue]:
    """The fields that `read_details` reads."""
    tools: dict[str, JSONValue] = {}
    if details.jdk is not None:
        tools["jdk"] = details.jdk
    if details.maven is not None:
        tools["maven"] = {"version": details.maven.version, "sha256": details.maven.sha256}
    return {"tools": tools, **({"stabilizers": list(details.stabilizers)} if details.stabilizers else {})}


def check_command(reader: Reader, definition: Definition) -> None:
    """`mvn` is the Maven of the definition; everything else an absolute path."""
    command = definition.command
    if command and command[0] == "mvn":
        if not (reader.has("tools.jdk") and reader.has("tools.maven")):
            reader.mistake("tools", "the command mvn needs tools.jdk and tools.maven")
    elif command and not command[0].startswith("/"):
        reader.mistake("command", f"starts with {command[0][:80]!r}; use mvn or an absolute path")
