"""Which JDK made two class files that are not the same, as far as they say it (JVM specification 4). Pure."""

import re
import struct
from dataclasses import dataclass

from touchplate.builder.archives.manifest import parse_jdk_major

_MAGIC = b"\xca\xfe\xba\xbe"
JDK_MAJOR = "jdk-major"
"""Cause: another major version of the JDK."""

_POOL_AT = 8  # behind magic, minor and major (4.1)

_UTF8 = 1
_BYTES = {
    3: 4,
    4: 4,
    5: 8,
    6: 8,
    7: 2,
    8: 2,
    9: 4,
    10: 4,
    11: 4,
    12: 4,
    15: 3,
    16: 2,
    17: 4,
    18: 4,
    19: 2,
    20: 2,
}
"""Of the constants of each tag that is not `_UTF8` (4.4)."""
_TWO_PLACES = (5, 6)  # long and double (4.4.5)
_OF_THE_JDK = (b"java.", b"jdk.")  # beginnings of its modules' names

_ACC_MODULE = 0x8000
_RELEASE = re.compile(r"[0-9][0-9A-Za-z._+-]{0,60}")


def is_class(data: bytes) -> bool:
    """Whether `data` begins like a class file."""
    return data.startswith(_MAGIC)


def is_same_body(published: bytes, rebuilt: bytes) -> bool:
    """Whether two class files are the same but for the versions in their heads."""
    return published[_POOL_AT:] == rebuilt[_POOL_AT:]


def name_jdk(published: bytes, rebuilt: bytes) -> tuple[str, str] | None:
    """(cause, detail) for two class files that two JDKs made; None where they do not say so. `JDK_MAJOR` may
    stand beside other code: `is_same_body`.

    Of the same major version, a module's descriptor says so: javac writes into it against which release of
    the JDK's own modules it was compiled. It counts when nothing else differs.
    """
    theirs, ours = (int.from_bytes(data[6:_POOL_AT], "big") for data in (published, rebuilt))
    if theirs != ours:
        return JDK_MAJOR, f"class file version {theirs} != {ours}"
    try:
        left, right = _read(published), _read(rebuilt)
    except (struct.error, IndexError, KeyError, UnicodeDecodeError):
        return None
    if not left.releases or left.releases.keys() != right.releases.keys() or left.rest != right.rest:
        return None
    both = {(left.releases[at], right.releases[at]) for at in left.releases}
    pairs = sorted((one, other) for one, other in both if one != other)
    if not pairs or not all(_is_patch(*pair) for pair in pairs):
        return None
    return "jdk-patch", ", ".join(f"compiled against JDK {one} != {other}" for one, other in pairs)


def _is_patch(one: str, other: str) -> bool:
    majors = {parse_jdk_major(text) if _RELEASE.fullmatch(text) else None for text in (one, other)}
    return len(majors) == 1 and None not in majors


@dataclass(frozen=True)
class _Module:
    """A class file, taken apart: place in the pool → release of the JDK that a module's descriptor names
    there (empty for other classes), and all the rest."""

    releases: dict[int, str]
    rest: tuple[object, ...]


def _read(data: bytes) -> _Module:
    """Raises struct.error, IndexError, KeyError, UnicodeDecodeError for what is no class file."""
    (count,) = struct.unpack_from(">H", data, _POOL_AT)
    constants: dict[int, tuple[int, bytes]] = {}
    at, place = _POOL_AT + 2, 1
    while place < count:
        tag = data[at]
        size = 2 + struct.unpack_from(">H", data, at + 1)[0] if tag == _UTF8 else _BYTES[tag]
        constants[place] = tag, data[at + 1 : at + 1 + size]
        at += 1 + size
        place += 2 if tag in _TWO_PLACES else 1
    releases = {}
    for where in _release_places(data, at, constants):
        releases[where] = _text(constants, where).decode("ascii")
        del constants[where]
    return _Module(releases, (data[:_POOL_AT], count, tuple(constants.items()), data[at:]))


def _release_places(data: bytes, at: int, constants: dict[int, tuple[int, bytes]]) -> set[int]:
    """Places of the texts by which a module's descriptor names releases of the JDK's modules (4.7.25)."""
    flags, _, _, interfaces, fields, methods, attributes = struct.unpack_from(">7H", data, at)
    if not flags & _ACC_MODULE or interfaces or fields or methods:
        return set()
    at += 14
    for _ in range(attributes):
        name, size = struct.unpack_from(">HI", data, at)
        at += 6
        if _text(constants, name) == b"Module":
            return _required(data, at, constants)
        at += size
    return set()


def _required(data: bytes, at: int, constants: dict[int, tuple[int, bytes]]) -> set[int]:
    _, _, own_version, count = struct.unpack_from(">4H", data, at)
    found = set()
    for number in range(count):
        module, _, version = struct.unpack_from(">3H", data, at + 8 + 6 * number)
        (name,) = struct.unpack(">H", constants[module][1])
        if version not in (0, own_version) and _text(constants, name).startswith(_OF_THE_JDK):
            found.add(version)
    return found


def _text(constants: dict[int, tuple[int, bytes]], place: int) -> bytes:
    tag, data = constants[place]
    if tag != _UTF8:
        raise KeyError(place)
    return data[2:]
