"""What package managers leave in an image that is not the same twice, and which packages it has. Pure.

A difference in one of these files is named by what the file is, with the remedy: people who look at such a
difference for the first time see bytes only. Where a file lies proves nothing about what it is: named is only
what no program is, and where what differs is what such a file differs in.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from touchplate.builder.comparison.contents import Difference
from touchplate.builder.comparison.programs import is_program

STATUS = "var/lib/dpkg/status"
"""dpkg's list of installed packages (dpkg(1))."""

_PYC_FLAGS, _PYC_TIME = slice(4, 8), slice(8, 12)  # PEP 552: after the magic, before size and code
_SHADOW_DAY = 2  # shadow(5): field of the day on which the password was changed
_MACHINE_ID = re.compile(rb"|uninitialized\n?|[0-9a-f]{32}\n?")  # machine-id(5)


@dataclass(frozen=True)
class Content:
    """A file of a layer: its mode, its first bytes, and all of them unless there are too many."""

    mode: int
    start: bytes
    data: bytes | None

    @property
    def is_program(self) -> bool:
        """Whether somebody may run it as it is."""
        return is_program(self.mode, self.start)


_Same = Callable[[bytes, bytes], bool]


@dataclass(frozen=True)
class _Known:
    """`is_same`: whether two contents differ in nothing but what such files differ in; None: in all of it."""

    pattern: re.Pattern[str]
    cause: str
    what: str
    is_same: _Same | None = None


def _differs_by_days(published: bytes, rebuilt: bytes) -> bool:
    """Two files of passwords that differ in the day of a change alone."""
    users = [[line.split(b":") for line in data.split(b"\n")] for data in (published, rebuilt)]
    for fields in (each for lines in users for each in lines):
        if len(fields) > _SHADOW_DAY:
            fields[_SHADOW_DAY] = b""
    return users[0] == users[1]


def _differs_by_time(published: bytes, rebuilt: bytes) -> bool:
    """Two compiled Python modules that differ in the time of their source alone."""
    theirs, ours = bytearray(published), bytearray(rebuilt)
    for data in (theirs, ours):
        if data[_PYC_FLAGS] == bytes(4):  # else a digest stands there
            data[_PYC_TIME] = bytes(4)
    return theirs == ours


def _are_ids(published: bytes, rebuilt: bytes) -> bool:
    return all(_MACHINE_ID.fullmatch(data) for data in (published, rebuilt))


def _known(pattern: str, cause: str, what: str, is_same: _Same | None = None) -> _Known:
    return _Known(re.compile(pattern), cause, what, is_same)


_REMOVE = "remove it in the RUN that makes it"
_KNOWN = (
    _known(
        r"var/log/(?:apt/.+|journal/.+|(?:dpkg|alternatives|bootstrap|fontconfig|dnf.*|yum|apk)\.log"
        r"|lastlog|faillog|tallylog|wtmp|btmp)",
        "logs",
        f"a log, with the times of the build; {_REMOVE}",
    ),
    _known(r"var/cache/apt/.+\.bin", "caches", f"apt's cache, made of times and addresses; {_REMOVE}"),
    _known(r"var/cache/ldconfig/aux-cache", "caches", f"ldconfig's cache, made of inode numbers; {_REMOVE}"),
    _known(
        r"var/cache/(?:debconf/.+-old|man/.+|fontconfig/.+|dnf/.+|yum/.+|apk/.+)",
        "caches",
        f"a cache; {_REMOVE}",
    ),
    _known(
        r"var/lib/apt/lists/.+", "archive-indexes", f"what the archive had on the day of the build; {_REMOVE}"
    ),
    _known(
        r"(?:etc|var/lib/dbus)/machine-id",
        "machine-id",
        "made by chance for each build; empty it in the RUN",
        _are_ids,
    ),
    _known(
        r"etc/shadow-?",
        "timestamps",
        "holds the day on which a user was made (shadow(5)); set it by chage -d",
        _differs_by_days,
    ),
    _known(
        r"var/lib/systemd/random-seed|etc/ssh/ssh_host_[a-z0-9]+_key(?:\.pub)?",
        "random",
        f"made by chance for each build; {_REMOVE}",
    ),
    _known(
        r"(?:.+/)?__pycache__/.+\.pyc",
        "caches",
        f"Python's cache, with times of the sources; {_REMOVE}",
        _differs_by_time,
    ),
    _known(
        r"var/lib/dpkg/[^/]+-old|etc/(?:passwd|group|gshadow|subuid|subgid)-",
        "backups",
        f"a copy of an earlier state; {_REMOVE}",
    ),
)


def named(path: str, difference: Difference, published: Content, rebuilt: Content) -> Difference:
    """The difference in the content of `path` (in a layer) with its cause, where the file is a known one."""
    if difference.cause != "content" or published.is_program or rebuilt.is_program:
        return difference
    for known in _KNOWN:
        if known.pattern.fullmatch(path) and _is_covered(known.is_same, published.data, rebuilt.data):
            return replace(difference, cause=known.cause, detail=known.what)
    return difference


def _is_covered(is_same: _Same | None, published: bytes | None, rebuilt: bytes | None) -> bool:
    if is_same is None:
        return True
    return published is not None and rebuilt is not None and is_same(published, rebuilt)


def compare_packages(path: str, published: bytes, rebuilt: bytes) -> Iterator[Difference]:
    """Packages that only one of two lists of dpkg has, or in another version; once there are such, also those
    of which the lists say other things in the same version."""
    theirs, ours = _stanzas(published), _stanzas(rebuilt)
    versions = [{name: version for name, (version, _) in one.items()} for one in (theirs, ours)]
    if versions[0] == versions[1]:
        return
    for name in sorted(theirs.keys() | ours.keys()):
        before, after = (one.get(name, "(not installed)") for one in versions)
        if before != after:
            yield Difference(path, "package-versions", f"{name} {before} != {after}")
        elif theirs[name] != ours[name]:
            yield Difference(path, "content", f"{name} is said to be another in the same version {before}")


def _stanzas(status: bytes) -> dict[str, tuple[str, str]]:
    """Version and all that is said, by name:architecture."""
    found: dict[str, tuple[str, str]] = {}
    for stanza in status.decode("utf-8", "backslashreplace").split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in stanza.splitlines() if ": " in line and not line.startswith(" ")
        )
        if "Package" in fields:
            name = f"{fields['Package']}:{fields.get('Architecture', '')}"
            found[name] = (fields.get("Version", ""), found.get(name, ("", ""))[1] + stanza.strip())
    return found
