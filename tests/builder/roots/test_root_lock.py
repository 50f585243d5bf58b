"""Root locks have one spelling, and say what is wrong with another."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.builder.rootparts import EPOCH, PACKAGE

from touchplate.builder.errors import DefinitionError
from touchplate.builder.roots.lock import LOCK_BYTES, RootLock, make_root_lock, parse_root_lock
from touchplate.verify.jcs import format_json

OTHER = replace(PACKAGE, name="dash", path="pool/main/d/dash/dash_0.5.12-2_amd64.deb", arch="amd64")
TREE = "cd" * 32


def a_lock() -> RootLock:
    return make_root_lock("bookworm", "amd64", EPOCH, [PACKAGE, OTHER], TREE)


def test_a_lock_reads_back_as_it_was_written_and_is_sorted() -> None:
    lock = a_lock()
    assert parse_root_lock(lock.data) == lock
    assert [one.name for one in lock.packages] == ["dash", "python3-minimal"]
    assert not lock.data.endswith(b"\n")


def test_the_order_in_which_packages_are_given_does_not_change_the_lock() -> None:
    assert make_root_lock("bookworm", "amd64", EPOCH, [OTHER, PACKAGE], TREE).sha256 == a_lock().sha256


def test_a_lock_names_no_host() -> None:
    assert b"://" not in a_lock().data


def _drop(field: str) -> Callable[[Any], object]:
    return lambda value: value.pop(field)


def _set(field: str, to: Any) -> Callable[[Any], object]:
    return lambda value: value.update({field: to})


def _of_package(field: str, to: Any) -> Callable[[Any], object]:
    return lambda value: value["packages"][0].update({field: to})


MISTAKES: list[tuple[Callable[[Any], object], str]] = [
    (_drop("tree"), "lacks tree"),
    (_set("more", 1), "unknown fields"),
    (_set("version", 2), "version 2 is not known"),
    (_set("version", True), "version is not an integer"),
    (_set("tree", "CD" * 32), "is not 64 lower-case hex digits"),
    (_set("suite", "../x"), "is not the name of a suite"),
    (_set("source_date_epoch", -1), "source_date_epoch -1"),
    (_set("source_date_epoch", "1"), "source_date_epoch is not an integer"),
    (_set("packages", []), "has 0 packages"),
    (_set("packages", {}), "packages is not an array"),
    (_of_package("name", "--option"), "is not a package name"),
    (_of_package("name", "Dash"), "is not a package name"),
    (_of_package("version", "1,2"), "is not a version"),
    (_of_package("arch", "arm64"), "is of arm64, and the root of amd64"),
    (_of_package("path", "../../etc/passwd"), "is not plain"),
    (_of_package("path", "/pool/x.deb"), "is not plain"),
    (_of_package("sha256", "ab"), "is not 64 lower-case hex digits"),
    (_of_package("size", 0), "is not positive"),
    (_of_package("size", 1 << 40), "more than"),
    (_of_package("size", 1.5), "'1.5' is not an integer"),
    (_of_package("upstream", "https://x"), "is not the name of an archive"),
    (lambda value: value["packages"].reverse(), "not in its one form"),
    (lambda value: value["packages"].append(value["packages"][0]), "stands twice"),
]


@pytest.mark.parametrize(("edit", "says"), MISTAKES, ids=map(str, range(len(MISTAKES))))
def test_a_lock_that_is_wrong_is_refused_with_what_is_wrong(edit: Callable[[Any], object], says: str) -> None:
    value = json.loads(a_lock().data)
    edit(value)
    data = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(DefinitionError, match=says):
        parse_root_lock(data)


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{", b"null", b"\xff", a_lock().data + b"\n", b"[" * 100, b" " * (LOCK_BYTES + 1)],
    ids=["empty", "list", "cut", "null", "no text", "final newline", "deep", "large"],
)
def test_what_is_no_lock_is_refused(data: bytes) -> None:
    with pytest.raises(DefinitionError, match="root lock"):
        parse_root_lock(data)


def test_a_lock_with_too_many_packages_is_refused() -> None:
    value = json.loads(a_lock().data)
    value["packages"] = [value["packages"][0]] * 5001
    with pytest.raises(DefinitionError, match="root lock"):
        parse_root_lock(format_json(value))
