"""The tools of a build as its provenance names them: by digest, and whether they came from the host."""

import hashlib
from pathlib import Path

from touchplate.builder.definitions import Definition
from touchplate.builder.ecosystems.maven.plan import MavenTools
from touchplate.builder.errors import HostLack
from touchplate.verify.predicates.provenance import Dependency

_HOST = {"root": "host"}


def describe_tools(definition: Definition, tools: MavenTools) -> tuple[Dependency, ...]:
    """One dependency of kind `tool` for each. Raises HostLack when a tool cannot be read.

    Beside these, a build sees the host's `/usr`: a tool from there is annotated `root = host`, and readers
    are told "tools not pinned".
    """
    described = []
    if tools.jdk is not None:
        labels = {"version": tools.jdk.version, "vendor": tools.jdk.vendor, **_HOST}
        described.append(
            Dependency(
                "tool", {"sha256": tools.jdk.digest()}, name=f"jdk-{tools.jdk.major}", annotations=labels
            )
        )
    if tools.maven is not None:
        artifact = tools.maven.artifact
        digests = {"sha256": artifact.sha256, "sha512": artifact.sha512}
        described.append(Dependency("tool", digests, artifact.uri, "maven", {"version": tools.maven.version}))
    program = definition.command[0]
    if program.startswith("/usr/"):
        described.append(
            Dependency("tool", {"sha256": _digest(Path(program))}, name=program, annotations=_HOST)
        )
    return tuple(described)


def _digest(program: Path) -> str:
    try:
        with program.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise HostLack(f"this host has no {str(program)!r}: {error.strerror}") from error
