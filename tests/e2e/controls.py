"""Controls: what makes a cause more than a guess.

A comparison says what differs, and from that a cause is easily claimed. It is *named* only when a second,
real build that is one change apart from the first, and has no such cause, gives the published bytes. Both
builds are definitions, so the change is an edit of a definition; nothing else may differ between them.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from touchplate.builder.definitions.definition import make_definition
from touchplate.builder.ecosystems.maven.plan import MAVEN_ARGUMENTS
from touchplate.builder.ecosystems.maven.tools import MAVEN_INSIDE

Change = Callable[[dict[str, Any]], None]
"""Changes a definition's document in place. Raises ValueError when it finds nothing to change."""


@dataclass(frozen=True)
class Edit:
    """One change of a definition, and what it is in the table's words."""

    says: str
    change: Change


def edit_definition(definition: bytes, edit: Edit) -> bytes:
    """The saved form of an inferred `definition` after `edit`.

    Raises ValueError when the edit changes nothing, DefinitionError when the outcome is no definition.
    """
    value = json.loads(definition)
    edit.change(value)
    edited = make_definition(value).data
    if edited == definition:
        raise ValueError(f"the edit {edit.says!r} leaves the definition as it is")
    return edited


def is_control(varied: dict[str, Any], control: dict[str, Any]) -> bool:
    """Whether `control` (the JSON of a rebuild) shows what the difference of `varied` came from.

    One must differ from (or only be equivalent to), the other be identical with, the very same published
    files.
    """
    return (
        varied.get("result") in ("different", "equivalent")
        and control.get("result") == "identical"
        and published(varied) == published(control)
        and varied["definition"]["sha256"] != control["definition"]["sha256"]
    )


def published(answer: dict[str, Any]) -> dict[str, str]:
    """Package URL → sha256 of each published file that a rebuild was compared with."""
    return {one["package"]: one["published"]["sha256"] for one in answer.get("outputs", [])}


def with_jdk(major: int) -> Edit:
    """Another JDK."""

    def change(value: dict[str, Any]) -> None:
        value["tools"]["jdk"] = major

    return Edit(f"JDK {major}", change)


def without_goal(plugin: str, goal: str) -> Edit:
    """One goal of the command is left out."""

    def change(value: dict[str, Any]) -> None:
        kept = [word for word in value["command"] if not word.startswith(f"{plugin}:{goal}@")]
        if len(kept) != len(value["command"]) - 1:
            raise ValueError(f"{plugin}:{goal} is not once in the command")
        value["command"] = kept

    return Edit(f"{goal} left out", change)


def with_line_separator(separator: str, name: str) -> Edit:
    """Java's line separator, as on the publisher's system."""

    def change(value: dict[str, Any]) -> None:
        # Read by the JVM itself, before it makes the constant System.lineSeparator(): `mvn -D` comes too
        # late. Quoted, since it is split at white space, which the separator is.
        value["environment"]["JAVA_TOOL_OPTIONS"] = f"'-Dline.separator={separator}'"

    return Edit(f"line separator {name}", change)


_AS_RESOURCES = (
    "mkdir -p src/main/resources; cd src/main/java"
    ' && find . -type f "(" -path "*/doc-files/*" -o -name overview.html -o -name package.html ")"'
    ' -exec cp --parents -t ../resources "{}" + -exec rm "{}" +'
    ' && cd ../../.. && exec "$@"'
)


def with_javadoc_files_as_resources() -> Edit:
    """The layout of a sources jar without its exception: Javadoc's own files land among the resources."""

    def change(value: dict[str, Any]) -> None:
        program, *arguments = value["command"]
        if program != "mvn" or value["source"]["kind"] != "sources-jar":
            raise ValueError("not Maven on a sources jar")
        mvn = (f"{MAVEN_INSIDE}/bin/mvn", *MAVEN_ARGUMENTS)
        value["command"] = ["/usr/bin/sh", "-c", _AS_RESOURCES, "sh", *mvn, *arguments]

    return Edit("Javadoc's files as resources", change)
