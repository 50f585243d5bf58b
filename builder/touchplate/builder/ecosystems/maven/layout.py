"""Where the files of a sources jar belong in a Maven source tree.

A sources jar is flat: the release plugin put `src/main/java` and the resources on top of each other. This
rule takes them apart again. Each exception was found by a release that did not rebuild without it.
"""

from collections.abc import Sequence

from touchplate.builder.ecosystems.maven.resources import Resource

ROOT_FILES = frozenset({"META-INF/LICENSE.txt", "META-INF/NOTICE.txt", "META-INF/LICENSE", "META-INF/NOTICE"})
"""Copied into META-INF by the build from the root of the tree, so there they must stand."""

DROPPED = frozenset({"META-INF/MANIFEST.MF", "META-INF/DEPENDENCIES"})
"""Made by the build of the sources jar. Kept, the rebuilt manifest would name them (Include-Resource)."""

DROPPED_FOLDER = "META-INF/maven/"

_RESERVED = frozenset({"pom.xml", ".mvn"})
"""At the top of the tree: the POM's own place, and options and extensions of Maven, which no jar holds."""

_JAVA_NAMES = frozenset({"overview.html", "package.html"})
_JAVA_FOLDER = "doc-files"
_JAVA_SUFFIXES = (".java", ".jj", ".jjt")
"""Sources, and JavaCC's grammars, from which some were made."""


def place_source(name: str, resources: Sequence[Resource] = ()) -> str | None:
    """Path in the source tree of the sources jar's entry `name`; None when the entry is dropped.

    `resources`: those that the POM itself declares; none = those that every project has.
    """
    if name in DROPPED or name.startswith(DROPPED_FOLDER):
        return None
    *folders, base = name.split("/")
    # Javadoc's own files live among the Java files: as resources they would land in the jar.
    if base.endswith(_JAVA_SUFFIXES) or base in _JAVA_NAMES or _JAVA_FOLDER in folders:
        return f"src/main/java/{name}"
    if resources:
        return _declared(name, resources)
    return name.removeprefix("META-INF/") if name in ROOT_FILES else f"src/main/resources/{name}"


def _declared(name: str, resources: Sequence[Resource]) -> str:
    """Where one of `resources` takes `name` from; one that asks for certain files comes before one that takes
    all."""
    for one in sorted(resources, key=lambda resource: not resource.includes):
        rest = one.takes(name)
        if rest is None or one.directory is None:
            continue
        place = f"{one.directory}/{rest}" if one.directory else rest
        if place.split("/")[0] not in _RESERVED:
            return place
    if name in ROOT_FILES:
        return name.removeprefix("META-INF/")
    return f"src/main/java/{name}"  # no resource takes it, so it stands among the sources
