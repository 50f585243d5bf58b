"""Comparison of tars and gzip files: causes by member, and `equivalent` with what makes them equal."""

import hashlib
import tarfile
from dataclasses import replace

import pytest
from tests.builder.tarparts import PACKAGE, Item, block, gzip_bytes, later, of, pax, tar_bytes

from touchplate.builder.comparison.compare import Comparison, compare
from touchplate.builder.comparison.tars import MAX_MEMBERS
from touchplate.builder.stabilize.registry import stabilize
from touchplate.verify.jcs import parse_json

ROOT = (0, 0, "root", "root")
OWNERS = "1000/1000 builder/builder != 0/0 root/root"
ALL = ("gzip-header@1", "tar-times@1", "tar-owners@1")


def tgz(published: tuple[Item, ...], rebuilt: tuple[Item, ...]) -> Comparison:
    found = compare(gzip_bytes(tar_bytes(published)), gzip_bytes(tar_bytes(rebuilt)), "conan_package.tgz")
    assert found.result == "different"
    return found


def changed(number: int, **change: object) -> tuple[Item, ...]:
    items = list(PACKAGE)
    items[number] = replace(items[number], **change)  # type: ignore[arg-type]
    return tuple(items)


@pytest.mark.parametrize(
    ("rebuilt", "cause", "line"),
    [
        (later(PACKAGE[:1]) + PACKAGE[1:], "timestamps", "include: 1700000000 != 1700003600"),
        (
            of(PACKAGE[:1], ROOT) + PACKAGE[1:],
            "owners",
            f"include: {OWNERS}",
        ),
        (changed(2, mode=0o4755), "set-id", "bin/tool: 0755 != 4755"),
        (changed(2, mode=0o700), "umask", "bin/tool: 0755 != 0700"),
        (changed(2, mode=0o655), "modes", "bin/tool: 0755 != 0655"),
        (changed(1, content=b"#pragma twice\n"), "content", "include/a.h: #pragma once != #pragma twice"),
        (changed(3, link="other"), "content", "lib/liba.so: type 2 to liba.so.1 != type 2 to other"),
        (changed(4, records={}), "content", f"{PACKAGE[4].name}: attributes SCHILY.xattr.user.x differ"),
        (PACKAGE[:4], "missing-entries", f"{PACKAGE[4].name}: is not in the rebuilt file"),
        ((*PACKAGE, Item("x")), "extra-entries", "x: is only in the rebuilt file"),
        (PACKAGE[1:] + PACKAGE[:1], "entry-order", "the same entries in another order"),
    ],
)
def test_names_causes_by_member(rebuilt: tuple[Item, ...], cause: str, line: str) -> None:
    found = tgz(PACKAGE, rebuilt)
    assert (found.causes, found.summary) == ((cause,), (line,))
    report = parse_json(found.report, max_bytes=1 << 20)
    assert isinstance(report, dict)
    assert (report["artifact"], report["count"]) == ("conan_package.tgz", 1)


def test_many_owners_are_summed_up() -> None:
    (line,) = tgz(PACKAGE, of(PACKAGE, ROOT)).summary
    assert line.startswith(f"5 entry owners differ, first bin/tool: {OWNERS}")


def test_a_plain_tar_is_compared_by_member_too() -> None:
    one, other = (tar_bytes(PACKAGE[:2], form=form) for form in (tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT))
    assert compare(one, other, "a.tar").causes == ("container",)


def test_names_what_a_gzip_header_says() -> None:
    one = gzip_bytes(b"text")
    found = compare(one, gzip_bytes(b"text", time=5, name="a"), "a.gz")
    assert found.causes == ("timestamps", "container")
    assert found.summary == (
        "a.gz: gzip header 0 != 5",
        "a.gz: gzip header flags 0, XFL 2, OS 255, name '' != flags 8, XFL 2, OS 255, name 'a'",
    )
    again = gzip_bytes(b"text" * 99, level=1)
    assert "compression" in compare(gzip_bytes(b"text" * 99), again, "a.gz").causes
    assert compare(one, one + one, "a.gz").summary == ("a.gz: other bytes behind the first gzip member",)
    assert compare(one, gzip_bytes(b"test"), "a.gz").summary == ("a.gz: text != test",)


def test_equivalent_names_what_makes_both_equal_and_their_common_digest() -> None:
    one, other = (gzip_bytes(tar_bytes(items)) for items in (PACKAGE, later(of(PACKAGE, ROOT))))
    found = compare(one, other, "conan_package.tgz", ALL)
    assert (found.result, found.stabilizers) == ("equivalent", ALL)
    assert found.stabilized == hashlib.sha256(stabilize(one, ALL)).hexdigest()
    assert found.causes == ("timestamps", "owners")
    assert found.report == b""
    assert compare(one, other, "conan_package.tgz", ALL[:2]).result == "different"
    assert compare(one, one, "conan_package.tgz", ALL) == Comparison("identical")


def test_one_changed_byte_is_different_whatever_else_is_equivalent() -> None:
    one, other = (gzip_bytes(tar_bytes(items)) for items in (PACKAGE, later(changed(2, content=b"\x7fELG"))))
    found = compare(one, other, "conan_package.tgz", ALL)
    assert found.result == "different"
    assert set(found.causes) == {"timestamps", "content"}


SPARSE = block(b"a", b"S", b"00000000000\0")
CHAIN = pax(b"6 a=b\n") * 3000
END = bytes(1024)


@pytest.mark.parametrize(
    "rebuilt",
    [
        b"",
        b"\x1f\x8b\x08",
        gzip_bytes(b"not tar"),
        gzip_bytes(tar_bytes(PACKAGE)[:1500]),
        gzip_bytes(tar_bytes(PACKAGE))[:-5],
        gzip_bytes(SPARSE + END),
        gzip_bytes(CHAIN + block(b"a", b"0") + END),
        gzip_bytes(block(b"a", b"0", b"77777777777\0") + END),
        gzip_bytes(block(b"\xff\xfe", b"0") + END),
        gzip_bytes(block(b"a", b"0") + block(b"a", b"0", b"\xff" * 10 + b"\xfe\x00") + END),
        gzip_bytes(pax(b"6 a=b") + block(b"a", b"0") + END),
    ],
    ids=range(11),
)
def test_hostile_archives_are_different_and_nothing_more(rebuilt: bytes) -> None:
    found = compare(gzip_bytes(tar_bytes(PACKAGE)), rebuilt, "conan_package.tgz", ALL)
    assert found.result == "different"
    assert found.count >= 1
    assert parse_json(found.report, max_bytes=1 << 20)


def test_a_member_of_negative_size_is_not_read_for_ever() -> None:
    back = block(b"a", b"0") + block(b"a", b"0", b"\xff" * 10 + b"\xfe\x00") + END
    (line,) = (line for line in compare(tar_bytes(PACKAGE), back, "a.tar").summary if "archive" in line)
    assert line == "a.tar: not compared as an archive: it has a member 'a' of -512 bytes"


def test_very_many_members_are_not_compared_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(PACKAGE) < MAX_MEMBERS
    monkeypatch.setattr("touchplate.builder.comparison.tars.MAX_MEMBERS", 3)
    found = tgz(PACKAGE, later(PACKAGE))
    assert found.summary[-1] == "conan_package.tgz: not compared as an archive: a tar of more than 3 members"
