"""Stabilizers together: names, the shortest list that makes two files equal, and what none of them hides."""

import ast
import hashlib
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from tests.builder.tarparts import PACKAGE, Item, gzip_bytes, later, of, tar_bytes

import touchplate.builder
from touchplate.builder.stabilize.gzip import wrap
from touchplate.builder.stabilize.registry import (
    JAR_STABILIZERS,
    STABILIZERS,
    Stabilized,
    find_shortest,
    stabilize,
)

GZIP, TIMES, OWNERS = (one.name for one in STABILIZERS if one.name not in JAR_STABILIZERS)
ALL = (GZIP, TIMES, OWNERS)
TAR = (TIMES, OWNERS)
ROOT = (0, 0, "root", "root")


def shortest(published: bytes, rebuilt: bytes, allowed: tuple[str, ...] = ALL) -> tuple[str, ...] | None:
    found = find_shortest(published, rebuilt, allowed)
    return None if found is None else found.stabilizers


def test_names_and_order_stand_for_ever() -> None:
    assert ALL == ("gzip-header@1", "tar-times@1", "tar-owners@1")
    assert JAR_STABILIZERS == (
        "zip-compression@1",
        "zip-entry-times@1",
        "zip-entry-modes@1",
        "zip-entry-order@1",
        "pom-properties-date@1",
    )
    assert [one.name for one in STABILIZERS] == [*ALL, *JAR_STABILIZERS]


def test_the_bytes_of_each_version_stay_what_they_are() -> None:
    packed = tar_bytes(PACKAGE)
    digests = [
        hashlib.sha256(stabilize(data, names)).hexdigest()[:16]
        for data, names in (
            (packed, (TIMES,)),
            (packed, (OWNERS,)),
            (packed, TAR),
            (gzip_bytes(packed), (GZIP,)),
            (gzip_bytes(packed), ALL),
            (gzip_bytes(b""), (GZIP,)),
        )
    ]
    assert digests == [
        "68e4edac8a5a60d6",
        "694a592cccf345c6",
        "d495e619bf723326",
        "96a346cc0d5f83b0",
        "af72703c404ae690",
        "30e6fa98fb48c2b1",
    ]


PAIRS = [
    (tar_bytes(PACKAGE), tar_bytes(later(PACKAGE)), (TIMES,)),
    (tar_bytes(PACKAGE), tar_bytes(of(PACKAGE, ROOT)), (OWNERS,)),
    (tar_bytes(PACKAGE), tar_bytes(later(of(PACKAGE, ROOT))), TAR),
    (gzip_bytes(b"text"), gzip_bytes(b"text", time=5, name="a"), (GZIP,)),
    (gzip_bytes(b"text" * 99, level=1), gzip_bytes(b"text" * 99), (GZIP,)),
    (gzip_bytes(tar_bytes(PACKAGE)), gzip_bytes(tar_bytes(later(PACKAGE))), (GZIP, TIMES)),
    (gzip_bytes(tar_bytes(PACKAGE)), gzip_bytes(tar_bytes(of(PACKAGE, ROOT))), (GZIP, OWNERS)),
    (gzip_bytes(tar_bytes(PACKAGE)), gzip_bytes(tar_bytes(later(of(PACKAGE, ROOT)))), ALL),
    (wrap(tar_bytes(PACKAGE)), wrap(tar_bytes(later(PACKAGE))), (TIMES,)),
    (b"text", b"other", None),
    (gzip_bytes(tar_bytes(PACKAGE)), tar_bytes(PACKAGE), None),
]


@pytest.mark.parametrize(("published", "rebuilt", "expected"), PAIRS, ids=range(len(PAIRS)))
def test_the_shortest_list_is_found(
    published: bytes, rebuilt: bytes, expected: tuple[str, ...] | None
) -> None:
    assert shortest(published, rebuilt) == expected
    assert shortest(rebuilt, published) == expected


def test_both_files_then_have_the_digest_that_is_signed() -> None:
    one, other = gzip_bytes(tar_bytes(PACKAGE)), gzip_bytes(tar_bytes(later(PACKAGE)), time=9)
    found = find_shortest(one, other, ALL)
    digests = {hashlib.sha256(stabilize(data, (GZIP, TIMES))).hexdigest() for data in (one, other)}
    assert found == Stabilized((GZIP, TIMES), digests.pop())
    assert not digests


def test_only_what_is_allowed_is_tried() -> None:
    one, other = tar_bytes(PACKAGE), tar_bytes(later(of(PACKAGE, ROOT)))
    assert shortest(one, other, (TIMES,)) is None
    assert shortest(one, other, ()) is None
    assert shortest(one, other, (OWNERS, TIMES)) == TAR  # in the order of application


def changed(number: int, **change: object) -> bytes:
    items = list(later(of(PACKAGE, ROOT)))
    items[number] = replace(items[number], **change)  # type: ignore[arg-type]
    return gzip_bytes(tar_bytes(items))


OTHERS = [
    changed(1, content=b"#pragma twice"),
    changed(1, name="include/b.h"),
    changed(2, mode=0o4755),
    changed(2, mode=0o644),
    changed(3, link="liba.so.2"),
    changed(3, type=tarfile.LNKTYPE),
    changed(3, link="l" * 200),
    changed(4, records={"SCHILY.xattr.user.x": "2"}),
    changed(4, records={}),
    gzip_bytes(tar_bytes(PACKAGE[:4])),
    gzip_bytes(tar_bytes((*PACKAGE, PACKAGE[1]))),
    gzip_bytes(tar_bytes((*PACKAGE[:1], PACKAGE[2], PACKAGE[1], *PACKAGE[3:]))),
    gzip_bytes(tar_bytes(PACKAGE, form=tarfile.GNU_FORMAT)),
]


@pytest.mark.parametrize("rebuilt", OTHERS, ids=range(len(OTHERS)))
def test_content_names_modes_links_attributes_and_order_are_never_hidden(rebuilt: bytes) -> None:
    assert shortest(gzip_bytes(tar_bytes(PACKAGE)), rebuilt) is None


def test_duplicates_are_compared_one_by_one() -> None:
    one = tar_bytes([Item("a", b"1"), Item("a", b"2")])
    assert shortest(one, tar_bytes(later([Item("a", b"1"), Item("a", b"2")]))) == (TIMES,)
    assert shortest(one, tar_bytes(later([Item("a", b"2"), Item("a", b"1")]))) is None


PURE = {
    *(
        "collections",
        "dataclasses",
        "difflib",
        "hashlib",
        "itertools",
        "posixpath",
        "re",
        "stat",
        "struct",
        "typing",
        "zlib",
    ),
    *("io", "tarfile"),  # over bytes in memory
    "touchplate",
}


@pytest.mark.parametrize("name", ["stabilize/*.py", "comparison/[!d]*.py"])
def test_comparing_reads_no_file_no_clock_and_no_network(name: str) -> None:
    for path in Path(touchplate.builder.__path__[0]).glob(name):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                imported = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported = {node.module or ""}
            else:
                assert not (isinstance(node, ast.Name) and node.id == "open"), path
                continue
            assert {one.partition(".")[0] for one in imported} <= PURE, path
