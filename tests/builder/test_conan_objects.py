"""Objects in the static libraries of a package: found, wherever they lie in it, and bounded."""

import hashlib

import pytest
from tests.builder.conanparts import tgz

from touchplate.builder.ecosystems.conan import objects
from touchplate.builder.ecosystems.conan.objects import digest_objects
from touchplate.builder.errors import ArchiveError

ONE, OTHER = b"\x7fELF one", b"BC\xc0\xde other!"


def library(**members: bytes) -> bytes:
    """A static library, as binutils write it."""
    parts = (
        f"{name + '/':16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode()
        + data
        + b"\n" * (len(data) % 2)
        for name, data in members.items()
    )
    return b"!<arch>\n" + b"".join(parts)


def digests(*data: bytes) -> frozenset[str]:
    return frozenset(hashlib.sha256(one).hexdigest() for one in data)


def test_objects_of_every_library_are_found_and_nothing_else() -> None:
    archive = tgz({"lib/a.a": library(a=ONE, b=b"text"), "x": library(c=OTHER), "y": b"\x7fELF program"})
    assert digest_objects(archive) == digests(ONE, OTHER)
    assert digest_objects(tgz({"a": b"!<arch>\n", "b": "a"})) == frozenset()


def test_what_stands_before_damage_counts() -> None:
    damaged = library(a=ONE) + library(b=OTHER)[8:].replace(b"100644", b"x").replace(b"10 ", b"x  ")
    assert digests(ONE) <= digest_objects(tgz({"a.a": damaged}))
    with pytest.raises(ArchiveError, match="cannot be read"):
        digest_objects(tgz({"a.a": library(a=ONE)})[:40])


def test_more_objects_than_any_package_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "MAX_OBJECTS", 1)
    with pytest.raises(ArchiveError, match="more than 1 objects"):
        digest_objects(tgz({"a.a": library(a=ONE, b=OTHER)}))
