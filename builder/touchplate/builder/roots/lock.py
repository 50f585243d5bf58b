"""The root lock: which Debian packages a build root is made of, and which tree they give.

RFC 8785 JSON of version 1, no final newline (builder/docs/build-roots.md, "The lock"):

    {"architecture":"amd64","packages":[{"arch","name","path","sha256","size","upstream","version"}],
     "source_date_epoch":1700000000,"suite":"bookworm","tree":"<sha256>","version":1}

Packages are sorted by the bytes of their names, none twice. `upstream` is an archive by name (`debian`,
`debian-security`), `path` the place of the file in it. `tree` is the tree digest of the root, which is also
the SHA-256 of its listing (`listing.py`). A definition names a lock by the SHA-256 of these bytes, so there
is exactly one spelling.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from touchplate.builder.errors import DefinitionError
from touchplate.builder.inputs.lock import check_input_path
from touchplate.builder.plan import GIB
from touchplate.verify.errors import VerifyError
from touchplate.verify.fields import take_list, take_object
from touchplate.verify.jcs import JSON, JSONValue, format_json, parse_json

VERSION = 1

LOCK_BYTES = 4 * 1024 * 1024
"""Largest root lock, in bytes: about 15,000 packages, a hundred times what a compiler and a JDK take."""

MAX_PACKAGES = 5_000
"""Packages of one root: a whole desktop has 2,000."""

MAX_TOTAL_BYTES = 8 * GIB
"""All packages of one root together, packed: a compiler and a JDK have 0.25 GiB."""

MAX_EPOCH = 1 << 33
"""Latest time of a root, Unix seconds (the year 2242)."""

_SHA256 = r"[0-9a-f]{64}"
_FORMS = {
    "name": (r"[a-z0-9][a-z0-9+.-]{1,127}", "a package name (Debian policy 5.6.7)"),
    "version": (r"[0-9][A-Za-z0-9.+:~-]{0,127}", "a version (Debian policy 5.6.12)"),
    "arch": (r"[a-z0-9-]{2,32}", "an architecture"),
    "upstream": (r"[a-z0-9][a-z0-9._-]{0,63}", "the name of an archive"),
    "sha256": (_SHA256, "64 lower-case hex digits"),
    "suite": (r"[a-z0-9][a-z0-9.+-]{0,63}", "the name of a suite"),
    "architecture": (r"[a-z0-9-]{2,32}", "an architecture"),
    "tree": (_SHA256, "64 lower-case hex digits"),
}
_PACKAGE = ("arch", "name", "path", "sha256", "size", "upstream", "version")
_LOCK = ("architecture", "packages", "source_date_epoch", "suite", "tree", "version")


class RootLockError(DefinitionError):
    """A root lock that is well-formed and not true: of the tree that its packages become, or of a package.

    What its packages are is fixed by digest, so there is nothing that another try could change.
    """

    default_reason = "wrong-root-lock"


@dataclass(frozen=True)
class RootPackage:
    """One binary package (.deb). `path`: in the archive `upstream`, plain. `size` in bytes."""

    name: str
    version: str
    arch: str
    upstream: str
    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class RootLock:
    """A root. `tree`: its tree digest, lower-case hex. `source_date_epoch`: Unix seconds; no file is newer.

    Make it with `make_root_lock` or `parse_root_lock`.
    """

    suite: str
    architecture: str
    source_date_epoch: int
    packages: tuple[RootPackage, ...]
    tree: str

    @property
    def data(self) -> bytes:
        """The lock's one spelling."""
        return format_root_lock(self)

    @property
    def sha256(self) -> str:
        """By which a definition names it, lower-case hex."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def total_bytes(self) -> int:
        """Of all packages."""
        return sum(one.size for one in self.packages)

    def version_of(self, name: str) -> str:
        """The version of a package; empty when the root has none of this name."""
        return next((one.version for one in self.packages if one.name == name), "")


def make_root_lock(
    suite: str, architecture: str, epoch: int, packages: Iterable[RootPackage], tree: str
) -> RootLock:
    """Sort and check. Raises DefinitionError naming the value that does not fit."""
    ordered = tuple(sorted(packages, key=_order))
    lock = RootLock(suite, architecture, epoch, ordered, tree)
    for field in ("suite", "architecture", "tree"):
        _check_text(field, getattr(lock, field), "the root")
    if not 0 <= epoch <= MAX_EPOCH:
        raise DefinitionError(f"root lock: source_date_epoch {epoch} is not between 0 and {MAX_EPOCH}")
    if not 1 <= len(ordered) <= MAX_PACKAGES:
        raise DefinitionError(f"root lock: has {len(ordered)} packages, and a root has 1 to {MAX_PACKAGES}")
    for one in ordered:
        _check_package(one, architecture)
    if len({one.name for one in ordered}) != len(ordered):
        raise DefinitionError("root lock: a package stands twice")
    if lock.total_bytes > MAX_TOTAL_BYTES:
        raise DefinitionError(f"root lock: its packages have more than {MAX_TOTAL_BYTES} bytes")
    return lock


def format_root_lock(lock: RootLock) -> bytes:
    """The bytes of a lock, as they are digested and stored."""
    packages: list[dict[str, JSONValue]] = [
        {field: getattr(one, field) for field in _PACKAGE} for one in lock.packages
    ]
    return format_json(
        {
            "architecture": lock.architecture,
            "packages": packages,
            "source_date_epoch": lock.source_date_epoch,
            "suite": lock.suite,
            "tree": lock.tree,
            "version": VERSION,
        }
    )


def parse_root_lock(data: bytes) -> RootLock:
    """Read a lock. Raises DefinitionError unless the bytes are exactly what `format_root_lock` writes."""
    try:
        members = take_object(parse_json(data, max_bytes=LOCK_BYTES), "the lock", _LOCK)
        packages = [
            take_object(each, f"package {number}", _PACKAGE)
            for number, each in enumerate(take_list(members["packages"], "packages", most=MAX_PACKAGES), 1)
        ]
    except VerifyError as error:
        raise DefinitionError(f"root lock: {error}") from error
    if _number(members["version"], "version") != VERSION:
        raise DefinitionError(
            f"root lock: version {members['version']!r} is not known here; this is {VERSION}"
        )
    lock = make_root_lock(
        _text(members["suite"], "suite"),
        _text(members["architecture"], "architecture"),
        _number(members["source_date_epoch"], "source_date_epoch"),
        [_parse_package(each) for each in packages],
        _text(members["tree"], "tree"),
    )
    if format_root_lock(lock) != data:
        raise DefinitionError("root lock: not in its one form (RFC 8785, sorted by name, no final newline)")
    return lock


def _parse_package(members: dict[str, JSON]) -> RootPackage:
    texts = {field: _text(members[field], field) for field in _PACKAGE if field != "size"}
    return RootPackage(**texts, size=_number(members["size"], "size"))


def _text(value: JSON, field: str) -> str:
    if not isinstance(value, str):
        raise DefinitionError(f"root lock: {field} is not text")
    return value


def _number(value: JSON, field: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise DefinitionError(f"root lock: {field} is not an integer")
    return value


def _order(one: RootPackage) -> tuple[bytes, bytes]:
    return one.name.encode(), one.arch.encode()


def _check_text(field: str, value: str, whose: str) -> None:
    pattern, form = _FORMS[field]
    if not re.fullmatch(pattern, value, re.ASCII):
        raise DefinitionError(f"root lock: {field} {value[:80]!r} of {whose} is not {form}")


def _check_package(one: RootPackage, architecture: str) -> None:
    for field in ("name", "version", "arch", "upstream", "sha256"):
        _check_text(field, getattr(one, field), one.name[:80])
    check_input_path(one.path)
    if one.arch not in (architecture, "all"):
        raise DefinitionError(f"root lock: {one.name} is of {one.arch}, and the root of {architecture}")
    if one.size < 1:
        raise DefinitionError(f"root lock: size of {one.name} is not positive")
