"""Where the files of a sources jar belong in a Maven source tree.

A sources jar is flat: the release plugin put `src/main/java` and `src/main/resources` on top of each
other. This rule takes them apart again. Each exception was found by a release that did not rebuild
without it.
"""

ROOT_FILES = frozenset({"META-INF/LICENSE.txt", "META-INF/NOTICE.txt", "META-INF/LICENSE", "META-INF/NOTICE"})
"""Copied into META-INF by the build from the root of the tree, so there they must stand."""

DROPPED = frozenset({"META-INF/MANIFEST.MF", "META-INF/DEPENDENCIES"})
"""Made by the build of the sources jar. Kept, the rebuilt manifest would name them (Include-Resource)."""

DROPPED_FOLDER = "META-INF/maven/"

_JAVA_NAMES = frozenset({"overview.html", "package.html"})
_JAVA_FOLDER = "doc-files"


def place_source(name: str) -> str | None:
    """Path in the source tree of the sources jar's entry `name`; None when the entry is dropped."""
    if name in DROPPED or name.startswith(DROPPED_FOLDER):
        return None
    if name in ROOT_FILES:
        return name.removeprefix("META-INF/")
    *folders, base = name.split("/")
    # Javadoc's own files live among the Java files: as resources they would land in the jar.
    if base.endswith(".java") or base in _JAVA_NAMES or _JAVA_FOLDER in folders:
        return f"src/main/java/{name}"
    return f"src/main/resources/{name}"
