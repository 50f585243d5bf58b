"""The sample's table cannot flatter: edits change one thing, and only an identical control names a cause."""

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.builder.loghost import log_host
from tests.e2e.controls import (
    Edit,
    edit_definition,
    is_control,
    with_javadoc_files_as_resources,
    with_jdk,
    with_line_separator,
    without_goal,
)
from tests.e2e.rebuilds import Row
from tests.e2e.sample import (
    OK,
    Run,
    Runner,
    SampleRow,
    all_rows,
    controlled,
    different,
    released,
    skipped,
    summary,
    write_page,
)
from tests.e2e.sample_cases import CASES, Case, Variation

from touchplate.builder.definitions.definition import make_definition, parse_definition
from touchplate.builder.errors import DefinitionError

JAR_GOAL = "org.apache.maven.plugins:maven-jar-plugin:jar@default-jar"
MODULE_GOAL = "org.moditect:moditect-maven-plugin:add-module-info@add-module-infos"
PACKAGE = "pkg:maven/org.example/demo@1.0?type=jar"
SHA256 = "ab" * 32

DEFINITION = make_definition(
    {
        "version": 1,
        "name": "demo",
        "package": PACKAGE,
        "source": {
            "kind": "sources-jar",
            "files": [{"uri": "upstream:central/s.jar", "sha256": SHA256, "size": 1}],
        },
        "tools": {"jdk": 17, "maven": {"version": "3.9.11", "sha256": SHA256}},
        "command": ["mvn", "-B", JAR_GOAL, MODULE_GOAL],
        "environment": {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC"},
        "outputs": [{"path": "target/demo-1.0.jar", "package": PACKAGE}],
    }
).data

WITHOUT_MODULE_INFO = without_goal("org.moditect:moditect-maven-plugin", "add-module-info")


def answer(result: str, *, published: str = SHA256, definition: str = "d1", says: str = "") -> dict[str, Any]:
    """What `touchplate rebuild --json` prints, as far as the sample reads it."""
    output = {
        "package": PACKAGE,
        "published": {"sha256": published},
        "causes": ["content"] if result == "different" else [],
        "summary": [says or "a: x != y"],
    }
    return {
        "result": result,
        "definition": {"name": "demo", "sha256": definition},
        "source": {"kind": "source-release"},
        "outputs": [] if result == "not-built" else [output],
        **({"failure": {"phase": "build", "reason": "r", "detail": says}} if result == "not-built" else {}),
    }


def run(result: str, **more: str) -> Run:
    entries, code = {"identical": (2, 0), "different": (2, 1), "not-built": (1, 1)}[result]
    return Run(answer(result, **more), 1.0, entries, code)


LACK = Run({"error": "needs JDK 25; this host has 17", "reason": "jdk-missing"})
CONTROL = Edit("the other way", lambda value: None)
DIFFERS = Case("demo 1.0", PACKAGE, SHA256, project="Demo", says="x != y", control=CONTROL)
SAME = Case("demo 1.0", PACKAGE, SHA256, project="Demo")
REFUSED = Case("demo 1.0", PACKAGE, SHA256, project="Demo", refused="gradle")
NOT_INFERRED = Run({"error": "not built: Gradle made it", "reason": "gradle"})


@pytest.mark.parametrize(
    ("edit", "changed"),
    [
        (with_jdk(25), {"tools"}),
        (WITHOUT_MODULE_INFO, {"command"}),
        (with_line_separator("\r\n", "CRLF"), {"environment"}),
        (with_javadoc_files_as_resources(), {"command"}),
    ],
)
def test_an_edit_changes_one_part_of_the_definition_and_no_other(edit: Edit, changed: set[str]) -> None:
    before, after = json.loads(DEFINITION), json.loads(edit_definition(DEFINITION, edit))
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == changed


def test_the_line_separator_reaches_the_definition_unharmed() -> None:
    edited = parse_definition(edit_definition(DEFINITION, with_line_separator("\r\n", "CRLF")))
    assert edited.environment["JAVA_TOOL_OPTIONS"] == "'-Dline.separator=\r\n'"


def test_an_edit_that_finds_nothing_to_change_is_an_error() -> None:
    once = edit_definition(DEFINITION, WITHOUT_MODULE_INFO)
    for definition, edit in (
        (DEFINITION, with_jdk(17)),
        (once, WITHOUT_MODULE_INFO),
        (edit_definition(DEFINITION, with_javadoc_files_as_resources()), with_javadoc_files_as_resources()),
    ):
        with pytest.raises(ValueError, match=r"as it is|not once|not Maven"):
            edit_definition(definition, edit)


def test_an_edit_cannot_make_what_is_no_definition() -> None:
    with pytest.raises(DefinitionError):
        edit_definition(DEFINITION, with_jdk(0))


@pytest.mark.parametrize(
    ("varied", "control", "names"),
    [
        (answer("different"), answer("identical", definition="d2"), True),
        (answer("different"), answer("different", definition="d2"), False),
        (answer("different"), answer("not-built", definition="d2"), False),
        (answer("different"), answer("identical"), False),
        (answer("different"), answer("identical", definition="d2", published="cd" * 32), False),
        (answer("identical"), answer("identical", definition="d2"), False),
        (answer("different"), LACK.answer, False),
    ],
)
def test_only_an_identical_build_of_another_definition_is_a_control(
    varied: dict[str, Any], control: dict[str, Any], *, names: bool
) -> None:
    assert is_control(varied, control) is names


def test_a_release_that_differs_is_named_by_its_control_and_else_unexplained() -> None:
    named = released(DIFFERS, run("different"), run("identical", definition="d2"))
    assert (named.unexplained, named.mistakes) == (False, ())
    assert named.cause.startswith("control: identical (the other way); content:")
    for control in (None, run("different", definition="d2"), run("not-built", definition="d2"), LACK):
        row = released(DIFFERS, run("different"), control)
        assert row.unexplained
        assert row.cause.startswith("unexplained: ")
        assert not summary([row]).startswith(OK)


def test_a_variation_is_named_only_by_the_inferred_build() -> None:
    variation = Variation(WITHOUT_MODULE_INFO, "x != y")
    varied = run("different", definition="d2")
    row = different("demo", varied, variation, run("identical"))
    assert (row.unexplained, row.mistakes) == (False, ())
    assert different("demo", varied, variation, run("different")).unexplained
    assert different("demo", run("identical", definition="d2"), variation, run("identical")).mistakes


@pytest.mark.parametrize(
    ("case", "found"),
    [
        (SAME, run("different")),
        (SAME, run("not-built")),
        (SAME, LACK),
        (SAME, Run({"error": "broken", "reason": "error"})),
        (SAME, run("identical", published="cd" * 32)),
        (replace(SAME, source="sources-jar"), run("identical")),
        (SAME, replace(run("identical"), entries=1)),
        (SAME, replace(run("identical"), code=1)),
        (DIFFERS, run("identical")),
        (DIFFERS, run("different", says="something else")),
    ],
)
def test_whatever_is_not_as_expected_is_a_surprise(case: Case, found: Run) -> None:
    row = released(case, found, run("identical", definition="d2"))
    assert row.mistakes
    assert not summary([row]).startswith(OK)


def test_a_control_that_is_not_identical_is_a_surprise_of_its_own() -> None:
    assert controlled(CONTROL, run("different")).mistakes
    assert not controlled(CONTROL, run("identical")).mistakes


def test_a_missing_jdk_is_a_loud_skip_and_a_failure_in_ci() -> None:
    here, ci = (skipped("demo", LACK, in_ci=in_ci) for in_ci in (False, True))
    assert (here.result, here.cause) == ("SKIPPED", "needs JDK 25; this host has 17")
    assert summary([released(SAME, run("identical"), None), here]) == (
        f"{OK}: 1 identical, 0 equivalent, 0 different and named, 0 not built, 1 skipped, 0 unexplained, "
        "0 surprises; by inference 1 of 1 releases, of 1 projects"
    )
    assert not summary([ci]).startswith(OK)


def test_a_sample_without_a_build_and_a_surprise_of_another_row_are_no_success() -> None:
    assert not summary([]).startswith(OK)
    assert not summary([skipped("demo", LACK, in_ci=False)]).startswith(OK)
    good = released(SAME, run("identical"), None)
    assert summary([good]).startswith(OK)
    assert not summary([good, Row("repeat", "not the same", 1.0, "", ("not repeated",))]).startswith(OK)


def test_a_release_that_inference_refuses_for_the_expected_reason_is_not_built() -> None:
    row = released(REFUSED, NOT_INFERRED, None)
    assert (row.result, row.cause, row.mistakes) == ("not built", "not built: Gradle made it", ())
    for found in (
        LACK,
        run("not-built"),
        run("identical"),
        replace(NOT_INFERRED, entries=1),
        replace(NOT_INFERRED, code=0),
    ):
        assert released(REFUSED, found, None).mistakes


def test_fewer_than_four_of_five_identical_releases_are_no_success() -> None:
    good, bad = released(SAME, run("identical"), None), released(REFUSED, NOT_INFERRED, None)
    assert summary([good] * 4 + [bad]).startswith(OK)
    assert summary([good] * 4 + [bad]).endswith("by inference 4 of 5 releases, of 1 projects")
    assert not summary([good] * 3 + [bad]).startswith(OK)
    assert summary([good, bad], whole=False).startswith(OK)  # some were picked
    # Controls and variations are no releases, and cannot make up for them.
    assert not summary([good] * 3 + [bad, controlled(CONTROL, run("identical"))]).startswith(OK)


def test_rows_of_rebuilds_side_by_side_keep_their_order_and_their_logs() -> None:
    class Lane(Runner):
        """Answers at once, and notices when two releases share it."""

        def __init__(self) -> None:
            self._lock = threading.Lock()
            self.asked: list[str] = []

        def infer(self, package: str) -> Run:
            assert self._lock.acquire(blocking=False), "two rebuilds beside one log"
            self.asked.append(package)
            both.wait(10)  # until another release runs beside this one
            self._lock.release()
            return run("identical")

    both, lanes = threading.Barrier(2), [Lane(), Lane()]
    cases = [replace(SAME, name=f"demo {number}", package=f"p{number}") for number in range(6)]
    rows = [row.name for rows in all_rows(cases, lanes) for row in rows]
    assert rows == [case.name for case in cases]
    assert sorted(lanes[0].asked + lanes[1].asked) == [case.package for case in cases]
    assert len(lanes[0].asked) == 3


def test_the_sample_has_enough_releases_of_enough_projects() -> None:
    assert len(CASES) >= 25
    assert len({case.project for case in CASES if not case.refused}) >= 10
    assert all(case.project for case in CASES)


def test_an_edit_that_no_longer_fits_is_a_row_and_not_the_end_of_the_table(tmp_path: Path) -> None:
    sha256 = make_definition(json.loads(DEFINITION)).sha256
    (tmp_path / "definitions").mkdir()
    (tmp_path / "definitions" / f"demo-{sha256[:12]}.json").write_bytes(DEFINITION)
    inferred = run("identical", definition=sha256)
    with log_host(tmp_path / "host") as host:
        edited = Runner(host, tmp_path, tmp_path).edited(inferred, with_jdk(17))
    assert "as it is" in edited.answer["error"]
    assert different("demo", edited, Variation(with_jdk(17), "x != y"), inferred).mistakes


def test_every_case_that_differs_has_a_control_and_every_name_is_there_once() -> None:
    assert len({case.name for case in CASES}) == len({case.package for case in CASES}) == len(CASES)
    assert all(bool(case.says) == bool(case.control) for case in CASES)
    assert not any(case.says and case.variations for case in CASES)


def test_the_page_holds_each_row_and_keeps_the_table_whole(tmp_path: Path) -> None:
    rows = [SampleRow("a|b", "identical", 1.2, "", ()), SampleRow("  with c", "different", 3.0, "x | y", ())]
    page = tmp_path / "page.md"
    write_page(page, rows, summary(rows))
    lines = page.read_text(encoding="utf-8").splitlines()
    assert "| a\\|b | identical | 1 |  |" in lines
    assert "| &nbsp;&nbsp;with c | different | 3 | x \\| y |" in lines
