"""What package managers leave in an image that is not the same twice, and which packages it has. Pure.

A difference in one of these files is named by what the file is, with the remedy: people who look at such a
difference for the first time see bytes only.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from touchplate.builder.comparison.contents import Difference

STATUS = "var/lib/dpkg/status"
"""dpkg's list of installed packages (dpkg(1))."""

_REMOVE = "remove it in the RUN that makes it"
_KNOWN: tuple[tuple[str, str, str], ...] = (
    (r"var/log/.+", "logs", f"a log, with the times of the build; {_REMOVE}"),
    (r"var/cache/apt/.+\.bin", "caches", f"apt's cache, made of times and addresses; {_REMOVE}"),
    (r"var/cache/ldconfig/aux-cache", "caches", f"ldconfig's cache, made of inode numbers; {_REMOVE}"),
    (r"var/cache/.+", "caches", f"a cache; {_REMOVE}"),
    (r"var/lib/apt/lists/.+", "archive-indexes", f"what the archive had on the day of the build; {_REMOVE}"),
    (r"(?:etc|var/lib/dbus)/machine-id", "machine-id", "made by chance for each build; empty it in the RUN"),
    (r"etc/shadow-?", "timestamps", "holds the day on which a user was made (shadow(5)); set it by chage -d"),
    (
        r"var/lib/systemd/random-seed|etc/ssh/ssh_host_.+",
        "random",
        f"made by chance for each build; {_REMOVE}",
    ),
    (r"(?:.+/)?__pycache__/.+\.pyc", "caches", f"Python's cache, with times of the sources; {_REMOVE}"),
    (
        r"var/lib/dpkg/.+-old|var/cache/debconf/.+-old|etc/.+-",
        "backups",
        f"a copy of an earlier state; {_REMOVE}",
    ),
)
_PATTERNS = tuple((re.compile(pattern), cause, what) for pattern, cause, what in _KNOWN)


def named(path: str, difference: Difference) -> Difference:
    """The difference in the content of `path` (in a layer) with its cause, where the file is a known one."""
    if difference.cause != "content":
        return difference
    for pattern, cause, what in _PATTERNS:
        if pattern.fullmatch(path):
            return replace(difference, cause=cause, detail=what)
    return difference


def compare_packages(path: str, published: bytes, rebuilt: bytes) -> Iterator[Difference]:
    """Packages that only one of two lists of dpkg has, or in another version."""
    theirs, ours = _versions(published), _versions(rebuilt)
    for name in sorted(theirs.keys() | ours.keys()):
        before, after = theirs.get(name, "(not installed)"), ours.get(name, "(not installed)")
        if before != after:
            yield Difference(path, "package-versions", f"{name} {before} != {after}")


def _versions(status: bytes) -> dict[str, str]:
    """Version by name:architecture."""
    found = {}
    for stanza in status.decode("utf-8", "replace").split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in stanza.splitlines() if ": " in line and not line.startswith(" ")
        )
        if "Package" in fields:
            name = f"{fields['Package']}:{fields.get('Architecture', '')}"
            found[name] = fields.get("Version", "")
    return found
