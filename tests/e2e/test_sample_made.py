"""The rows of packages that are made here cannot flatter: what is expected of each is really looked at."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from tests.conan_packages import Published
from tests.e2e.sample import OK, Run, SampleRow, make_row, summary
from tests.e2e.sample_conan import FLIP, forged_row, purl_of, release_row, with_epoch
from tests.e2e.sample_images import NAMES
from tests.e2e.sample_recipes import LIBRARIES, WITH_DEBUG

from touchplate.api.conan.layout import Reference, Revision

RECIPE, PACKAGE_ID = "1" * 32, "2" * 40
HONEST, OTHER = "a" * 32, "b" * 32
LIBRARY = WITH_DEBUG
USUAL = ("gzip-header@1", "tar-times@1", "tar-owners@1")
LIBRARY_DIFFERS = "content: lib/libutf8proc.a: differs from byte 1000"


def package(prev: str = HONEST, rrev: str = RECIPE) -> Published:
    revision = Revision(Reference(LIBRARY.name, LIBRARY.version), rrev, PACKAGE_ID, prev)
    return Published(revision, {"conan_package.tgz": prev.encode()})


def run(
    of: Published, result: str = "equivalent", *, made: str = HONEST, stabilizers: tuple[str, ...] = USUAL
) -> Run:
    """A rebuild of `of` from which the package revision `made` came out."""
    sha256 = hashlib.sha256(of.files["conan_package.tgz"]).hexdigest()
    output: dict[str, Any] = {
        "package": purl_of(of),
        "published": {"sha256": sha256},
        "rebuilt": {"sha256": made},
        "causes": ["content"] if result == "different" else ["timestamps"],
        "summary": [LIBRARY_DIFFERS] if result == "different" else [],
        "stabilizers": list(stabilizers) if result == "equivalent" else [],
    }
    info = {
        "package": "i",
        "published": {"sha256": "c"},
        "rebuilt": {"sha256": "c"},
        "causes": [],
        "summary": [],
        "stabilizers": [],
    }
    word = "as published" if made == of.revision.prev else f"not {of.revision.prev}"
    answer = {
        "result": result,
        "definition": {"name": "demo", "sha256": "d1"},
        "labels": {"revision": f"{made}, {word}"},
        "outputs": [output, info],
    }
    return Run(answer, 1.0, 3, 0 if result == "identical" else 1)


def test_a_release_with_its_revision_and_the_usual_stabilizers_is_a_success() -> None:
    row = release_row(LIBRARY, package(), run(package()), [])
    assert (row.mistakes, row.unexplained) == ((), False)
    assert row.cause == "equal after gzip-header@1, tar-times@1, tar-owners@1"
    assert summary([row]).startswith(OK)


@pytest.mark.parametrize(
    ("found", "offline"),
    [
        (run(package(), made=OTHER), []),
        (run(package(), stabilizers=(*USUAL, "zip-entry-times@1")), []),
        (run(package(OTHER)), []),
        (run(package(), "different"), []),
        (replace(run(package()), entries=2), []),
        (replace(run(package()), code=0), []),
        (run(package()), ["does not verify offline"]),
        (Run({"error": "no gcc"}), []),
    ],
)
def test_whatever_else_a_release_comes_to_is_a_surprise(found: Run, offline: list[str]) -> None:
    row = release_row(LIBRARY, package(), found, offline)
    assert row.mistakes
    assert not summary([row]).startswith(OK)


def test_a_forged_package_is_named_by_an_honest_one_of_the_same_recipe() -> None:
    forged = package(OTHER)
    row = forged_row(forged, run(forged, "different"), package(), run(package(), "identical"))
    assert (row.mistakes, row.unexplained) == ((), False)
    assert row.cause.startswith("control: identical (honest, of the same recipe); content: ")


@pytest.mark.parametrize(
    ("honest", "control"),
    [
        (package(), run(package(), "different")),
        (package(), run(package())),
        (package(rrev="3" * 32), run(package(rrev="3" * 32), "identical")),
        (package(), run(package(), "identical", made=OTHER)),
        (package(), Run({"error": "no gcc"})),
    ],
)
def test_a_forged_package_without_such_a_control_is_unexplained(honest: Published, control: Run) -> None:
    forged = package(OTHER)
    row = forged_row(forged, run(forged, "different"), honest, control)
    assert row.unexplained
    assert not summary([row]).startswith(OK)


def test_a_forged_package_that_comes_out_as_published_is_a_surprise() -> None:
    forged = package(OTHER)
    found = run(forged, "identical", made=OTHER)
    assert forged_row(forged, found, package(), run(package(), "identical")).mistakes


def test_what_is_equivalent_is_named_only_by_an_identical_control() -> None:
    varied = run(package(), stabilizers=("tar-times@1",))
    same = run(package(), "identical")
    same.answer["definition"]["sha256"] = "d2"
    named = make_row("a", varied, {}, "the time", same)
    assert named.cause == "control: identical (the time); equal after tar-times@1"
    assert make_row("a", varied, {}, "the time", run(package())).unexplained
    assert not make_row("a", varied, {}, "", None).unexplained
    assert not make_row("a", same, {}, "the time", varied).unexplained


def test_the_time_that_a_definition_has_is_the_only_thing_that_its_edit_changes() -> None:
    value = {"environment": {"SOURCE_DATE_EPOCH": "1", "LANG": "C"}, "umask": "022"}
    with_epoch(2).change(value)
    assert value == {"environment": {"SOURCE_DATE_EPOCH": "2", "LANG": "C"}, "umask": "022"}


def test_a_sample_of_equivalent_packages_alone_is_a_success_and_counted() -> None:
    row = SampleRow("a", "equivalent", 1.0, "", ())
    assert "1 equivalent" in summary([row])
    assert summary([row]).startswith(OK)


def test_every_library_has_its_own_archive_and_a_recipe_that_says_so() -> None:
    libraries = (*LIBRARIES, WITH_DEBUG)
    assert len({one.sha256 for one in libraries}) == len({one.name for one in libraries}) == len(libraries)
    for one in libraries:
        assert f'name = "{one.name}"' in one.recipe
        assert f'version = "{one.version}"' in one.recipe
        # Archives that Debian repacked are named so in their version.
        assert not any(mark in one.tarball for mark in ("dfsg", "+ds", "repack"))
        compile(one.recipe, one.name, "exec")
    assert len(LIBRARIES) >= 6
    assert len(NAMES) >= 3


def test_the_forger_changes_one_byte() -> None:
    old, new = b'"Memory for', b'"memory for'
    assert repr(old) in FLIP
    assert repr(new) in FLIP
    assert sum(a != b for a, b in zip(old, new, strict=True)) == 1
