"""Which revisions pass: the table of cases, through a whole node."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.api.conan.support import ConanWorld, conan_world
from tests.conan_packages import (
    IDENTITY,
    OPERATORS,
    Published,
    archive,
    built,
    make_package,
    make_recipe,
    md5,
)
from tests.verify.support import OPERATOR_A, make_comparison, sign, statement_signer

from touchplate.api.conan import answers
from touchplate.api.conan.layout import MANIFEST

RECIPE = make_recipe()
PACKAGE = make_package(RECIPE)
OTHER_ID = make_package(RECIPE, info=b"[settings]\nos=Windows\n")
OTHER_BYTES = PACKAGE.with_files(conan_package__tgz=archive({"lib/liblib.a": b"!<arch>\nother"}))
CHANGED_RECIPE = RECIPE.with_files(conanfile__py=b"import os  # and more\n")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[ConanWorld]:
    with conan_world(tmp_path) as made:
        made.remote.upload(RECIPE, PACKAGE)
        yield made


@dataclass(frozen=True)
class Case:
    """Who says what in the log, and what of recipe and package passes then; `why`: in the package's
    refusal."""

    name: str
    say: Callable[[ConanWorld], None]
    recipe: bool
    package: bool
    why: str = "not reproduced"


def nothing(_: ConanWorld) -> None:
    """Nobody says anything."""


def _renamed(published: Published, **parts: str) -> Published:
    return replace(published, revision=replace(published.revision, **parts))  # type: ignore[arg-type]


CASES = (
    Case("nobody", nothing, False, False, "0 of 2 operators"),
    Case("both operators", lambda here: here.built(PACKAGE, RECIPE), True, True),
    Case(
        "one operator",
        lambda here: here.built(PACKAGE, RECIPE, operators=OPERATORS[:1]),
        False,
        False,
        "1 of 2 operators",
    ),
    Case(
        "one operator twice",
        lambda here: here.append(
            *built(PACKAGE, RECIPE, operators=OPERATORS[:1]),
            *built(PACKAGE, RECIPE, operators=[(OPERATOR_A, "rebuilder-a")], leave_out=["conan_sources.tgz"]),
        ),
        False,
        False,
        "1 of 2 operators",
    ),
    Case("another package of the recipe", lambda here: here.built(OTHER_ID, RECIPE), True, False),
    Case(
        "one operator each of two packages",
        lambda here: here.append(
            *built(PACKAGE, RECIPE, operators=OPERATORS[:1]),
            *built(OTHER_ID, RECIPE, operators=OPERATORS[1:]),
        ),
        False,
        False,
        "1 of 2 operators",
    ),
    Case("other bytes", lambda here: here.built(OTHER_BYTES, RECIPE), True, False),
    Case(
        "from a recipe without its code",
        lambda here: here.built(PACKAGE, RECIPE, leave_out=["conanfile.py"]),
        False,
        False,
        "recipe",
    ),
    Case(
        "from a recipe without its sources",
        lambda here: here.built(PACKAGE, RECIPE, leave_out=["conan_sources.tgz"]),
        False,
        False,
        "recipe",
    ),
    Case("from a changed recipe", lambda here: here.built(PACKAGE, CHANGED_RECIPE), False, False, "recipe"),
    Case(
        "one from the recipe, one from a changed one",
        lambda here: here.append(
            *built(PACKAGE, RECIPE, operators=OPERATORS[:1]),
            *built(PACKAGE, CHANGED_RECIPE, operators=OPERATORS[1:]),
        ),
        False,
        False,
        "recipe",
    ),
    Case(
        "as another package revision",
        lambda here: here.built(_renamed(PACKAGE, prev="0" * 32), RECIPE),
        True,
        False,
    ),
    Case(
        "as another package id",
        lambda here: here.built(_renamed(PACKAGE, package_id="0" * 40), RECIPE),
        True,
        False,
    ),
    Case(
        "as another recipe revision",
        lambda here: here.built(_renamed(PACKAGE, rrev="0" * 32), _renamed(RECIPE, rrev="0" * 32)),
        False,
        False,
    ),
    Case(
        "of another upstream", lambda here: here.built(PACKAGE, RECIPE, identity="conancenter"), False, False
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_passes(here: ConanWorld, case: Case) -> None:
    case.say(here)
    for published, passes in ((RECIPE, case.recipe), (PACKAGE, case.package)):
        listed = here.files(published)
        assert listed.status == (200 if passes else 400), listed.text
        for name, data in published.files.items():
            answer = here.file(published, name)
            assert (answer.status, answer.body == data) == (listed.status, passes)
            assert passes or data not in answer.body
    if not case.package:
        assert case.why in here.files(PACKAGE).text


@pytest.mark.parametrize(
    ("recipe", "status"), [(RECIPE, 200), (CHANGED_RECIPE, 400)], ids=["same", "changed"]
)
def test_an_equivalent_rebuild_counts_when_its_provenance_names_the_recipe(
    tmp_path: Path, recipe: Published, status: int
) -> None:
    with conan_world(tmp_path, levels='stabilizers = ["zip-entry-times@1"]') as here:
        here.remote.upload(RECIPE, PACKAGE)
        # Of conaninfo.txt they made the very bytes.
        _say_equivalent(here, recipe)
        assert here.files(PACKAGE).status == status
        assert here.files(RECIPE).status == status


def _say_equivalent(here: ConanWorld, recipe: Published) -> None:
    for operator in OPERATORS:
        (rebuilt,) = built(OTHER_BYTES, recipe, operators=[operator])
        uri = PACKAGE.revision.package_url("conan_package.tgz", IDENTITY)
        payload = make_comparison(
            "equivalent",
            PACKAGE.files["conan_package.tgz"],
            OTHER_BYTES.files["conan_package.tgz"],
            uri,
            provenance=rebuilt.identity.hex(),
        )
        here.append(rebuilt, sign(payload, statement_signer(operator[1])))


def test_a_manifest_that_lists_something_else_refuses_the_revision(
    here: ConanWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = make_package(RECIPE, {"lib/a": b"1"}, info=b"[settings]\nos=Macos\n")
    lying = package.with_files(
        conanmanifest__txt=package.files[MANIFEST] + b"evil.py: " + md5(b"").encode() + b"\n"
    )
    here.remote.upload(lying)
    here.built(package, RECIPE)
    answer = here.files(lying)
    assert answer.status == 400
    assert "conanmanifest.txt differs from its files in 'evil.py" in answer.text
    for name in lying.files:
        assert here.file(lying, name).status == 400
    # Clients go on to their next remote after a 404, so that is no answer, whatever the upstream says now.
    here.remote.published.pop()
    monkeypatch.setattr(answers, "FRESH_SECONDS", -1)
    assert here.files(lying).status == 400


def test_the_time_in_a_manifest_is_anybodys(here: ConanWorld) -> None:
    lines = PACKAGE.files[MANIFEST].partition(b"\n")[2]
    other = PACKAGE.with_files(conanmanifest__txt=b"1700000000\n" + lines)
    here.remote.upload(other)
    here.built(PACKAGE, RECIPE)
    assert here.file(other, MANIFEST).body.startswith(b"1700000000\n")


def test_an_archive_that_would_write_elsewhere_is_refused_though_it_was_rebuilt(here: ConanWorld) -> None:
    members = {"lib/a": b"1", "../../.bashrc": b"rm -rf ~\n"}
    evil = make_package(RECIPE, members, info=b"[settings]\nos=FreeBSD\n")
    here.remote.upload(evil)
    here.built(evil, RECIPE)
    answer = here.files(evil)
    assert answer.status == 400
    assert "is no path inside the archive" in answer.text
    page = here.get(f"/why/conan/team/{evil.revision.path}/files").text
    assert "must not be unpacked" in page
    assert "Do not unpack it anywhere" in page


def test_what_needs_no_rebuild_passes_once_it_is_recorded(here: ConanWorld) -> None:
    recipe = make_recipe("free")
    package = make_package(recipe, form="txz")
    here.remote.upload(recipe, package)
    assert here.files(package).status == 200
    # Three files of the recipe, two of the package; manifests differ from node to node and are not recorded.
    assert here.size() == 5
    assert here.files(recipe).status == 200
    assert here.size() == 5


def test_rules_that_warn_or_observe_let_through_what_they_would_refuse(tmp_path: Path) -> None:
    for mode in ("warn", "observe"):
        rules = f'[[gate.rule]]\nneed = ["reproduced"]\nenforce = "{mode}"\n'
        with conan_world(tmp_path / mode, rules=rules) as here:
            here.remote.upload(RECIPE, PACKAGE)
            answer = here.files(PACKAGE)
            assert answer.status == 200
            assert ("0 of 2 operators" in answer.headers.get("warning", "")) == (mode == "warn")
            assert here.file(PACKAGE, "conan_package.tgz").body == PACKAGE.files["conan_package.tgz"]


def test_without_first_sight_what_must_be_recorded_is_refused(tmp_path: Path) -> None:
    with conan_world(tmp_path, record=False, rules='[[gate.rule]]\nneed = ["recorded"]\n') as here:
        here.remote.upload(RECIPE, PACKAGE)
        answer = here.files(PACKAGE)
        assert answer.status == 400
        assert "not recorded" in answer.text
        assert here.size() == 0


def test_a_rule_that_asks_for_nothing_lets_everything_through(tmp_path: Path) -> None:
    with conan_world(tmp_path, record=False, rules="[[gate.rule]]\nneed = []\n") as here:
        here.remote.upload(RECIPE, PACKAGE)
        assert here.files(PACKAGE).json == {
            "files": {
                "conan_package.tgz": {},
                "conaninfo.txt": {},
                "conanmanifest.txt": {},
                "metadata/sign/pkgsign-manifest.json": {},
            }
        }


def test_the_default_upstream_has_the_short_package_url(tmp_path: Path) -> None:
    with conan_world(tmp_path, identity="conancenter") as here:
        here.remote.upload(RECIPE, PACKAGE)
        here.built(PACKAGE, RECIPE, identity="conancenter")
        assert here.files(PACKAGE).status == 200
        assert here.get("/find?q=lib/1.0").headers["location"] == "/packages/pkg:conan/lib@1.0"
        view = here.get("/api/v1/packages/pkg:conan/lib@1.0").json
        assert view["package"] == "pkg:conan/lib@1.0"
        names = {file["name"]: file["levels"] for file in view["files"]}
        assert names["conan_package.tgz"] == ["recorded", "reproduced"]


def test_users_and_channels_are_packages_of_their_own(here: ConanWorld) -> None:
    recipe = make_recipe(user="acme")
    package = make_package(recipe)
    here.remote.upload(recipe, package)
    here.built(PACKAGE, RECIPE)
    assert here.files(package).status == 400
    here.built(package, recipe)
    assert here.files(package).status == 200
    assert "/lib/1.0/acme/stable/" in recipe.revision.path
