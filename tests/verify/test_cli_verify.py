"""`touchplate verify`: what a person and a program see."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.verify.bundles import make_bundle
from tests.verify.cases import comparison, good_bundle, provenance, second, trust_text
from tests.verify.support import LIB, LIB_OTHER_VERSION, OPERATOR_A, OPERATOR_B, PUBLISHED
from tests.verify.test_sigstore import bundle_of

from touchplate.verify import cli

Captured = pytest.CaptureFixture[str]


@dataclass
class Folder:
    """A file, its bundle and a trust file, as somebody would have them."""

    path: Path

    def write(self, bundle: bytes | None = None, data: bytes = PUBLISHED, trust: str | None = None) -> None:
        """Put the three files there; good ones unless given."""
        (self.path / "lib-1.0.jar").write_bytes(data)
        (self.path / "lib-1.0.jar.touchplate.json").write_bytes(good_bundle() if bundle is None else bundle)
        (self.path / "trust.toml").write_text(trust or trust_text())

    def verify(self, *arguments: str, package: str | None = "pkg:maven/org.example/lib@1.0") -> int:
        """The exit code of `touchplate verify`."""
        named = () if package is None else ("--package", package)
        file, trust = str(self.path / "lib-1.0.jar"), str(self.path / "trust.toml")
        return cli.main(["verify", file, "--trust", trust, *named, *arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    made.write()
    return made


def test_a_verified_file_is_shown_with_its_evidence(folder: Folder, capsys: Captured) -> None:
    assert folder.verify() == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"verified: lib-1.0.jar is {LIB}, reproduced\n")
    for part in (
        OPERATOR_A,
        OPERATOR_B,
        "entry 1: identical",
        "log.example.org, tree of 3",
        "2 of 2 operators",
    ):
        assert part in shown
    assert "SLSA_BUILD_REPRODUCED" in shown


def test_the_report_is_json_when_asked(folder: Folder, capsys: Captured) -> None:
    assert folder.verify("--json", "--require", "recorded,reproduced") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["verdict"], report["package"]) == ("verified", str(LIB))
    assert report["levels"] == ["recorded", "reproduced"]
    assert report["need"] == ["recorded", "reproduced"]
    assert [one["index"] for one in report["operators"]] == ["1", "2"]
    assert report["checkpoint"]["size"] == "3"
    assert report["slsa"] == ["SLSA_BUILD_REPRODUCED"]
    assert report["warnings"] == []


def test_a_refusal_says_why_and_what_to_do(folder: Folder, capsys: Captured) -> None:
    folder.write(make_bundle([provenance()]))
    assert folder.verify() == 1
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert lines[0] == "refused: not-reproduced (step 7)"
    assert lines[1] == "  why: not reproduced: 1 of 2 operators"
    assert lines[2].startswith("  do:  ")
    assert captured.out == ""


def test_a_refusal_is_json_when_asked(folder: Folder, capsys: Captured) -> None:
    assert folder.verify("--json", package=str(LIB_OTHER_VERSION)) == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["verdict"], answer["reason"], answer["step"]) == ("refused", "wrong-package", 5)
    assert [warning["reason"] for warning in answer["warnings"]] == ["wrong-package"] * 3


def test_a_flipped_byte_is_refused(folder: Folder, capsys: Captured) -> None:
    folder.write(data=b"T" + PUBLISHED[1:])
    assert folder.verify() == 1
    assert capsys.readouterr().err.startswith("refused: wrong-digest (step 2)\n")


def test_a_mistake_in_the_trust_file_is_refused_at_step_0(folder: Folder, capsys: Captured) -> None:
    folder.write(trust=trust_text("operators = 0"))
    assert folder.verify("--json") == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["reason"], answer["step"]) == ("trust-file", 0)


def test_without_a_package_the_attested_ones_are_printed(folder: Folder, capsys: Captured) -> None:
    folder.write(make_bundle([second(uri=LIB_OTHER_VERSION), provenance()]))
    assert folder.verify(package=None) == 2
    captured = capsys.readouterr()
    assert captured.out == f"{LIB}\n{LIB_OTHER_VERSION}\n"
    assert "--package" in captured.err
    assert folder.verify("--json", package=None) == 2
    assert json.loads(capsys.readouterr().out)["packages"] == [str(LIB), str(LIB_OTHER_VERSION)]


def test_without_a_package_damage_is_still_refused(folder: Folder, capsys: Captured) -> None:
    folder.write(data=b"T" + PUBLISHED[1:])
    assert folder.verify(package=None) == 1
    assert capsys.readouterr().out == ""


def test_levels_may_be_required_one_by_one(folder: Folder) -> None:
    folder.write(make_bundle([provenance(), second()]))
    assert folder.verify("--require", "reproduced") == 0
    assert folder.verify("--require", "reproduced", "--require", "recorded") == 1
    assert folder.verify("--require", "recorded,reproduced") == 1


def test_contradictions_and_warnings_are_shown(folder: Folder, capsys: Captured) -> None:
    folder.write(
        make_bundle([provenance(), second(), comparison("rebuilder-c", "different"), comparison("stranger")])
    )
    assert folder.verify() == 0
    shown = capsys.readouterr().out
    assert "contradicted" in shown
    assert "entry 2: 3 differences (jdk-major)" in shown
    assert "entry 3 does not count (step 4, unknown-key)" in shown


def test_a_missing_bundle_cannot_be_determined(folder: Folder, capsys: Captured) -> None:
    (folder.path / "lib-1.0.jar.touchplate.json").unlink()
    assert folder.verify() == 2
    err = capsys.readouterr().err
    assert "lib-1.0.jar.touchplate.json" in err
    assert err.count("\n") == 1


def test_a_missing_file_is_told_before_its_bundle(folder: Folder, capsys: Captured) -> None:
    for name in ("lib-1.0.jar", "lib-1.0.jar.touchplate.json"):
        (folder.path / name).unlink()
    assert folder.verify() == 2
    assert "lib-1.0.jar: no such file" in capsys.readouterr().err


def test_a_bundle_may_be_named(folder: Folder) -> None:
    (folder.path / "other.json").write_bytes(good_bundle())
    (folder.path / "lib-1.0.jar.touchplate.json").unlink()
    assert folder.verify("--bundle", str(folder.path / "other.json")) == 0


def test_a_sigstore_bundle_is_checked_by_the_same_steps(folder: Folder, capsys: Captured) -> None:
    folder.write(bundle_of([provenance(), second()]), trust=trust_text("operators = 1"))
    assert folder.verify() == 0
    assert "SLSA" not in capsys.readouterr().out
    folder.write(bundle_of([provenance(), second()]))
    assert folder.verify() == 1
    assert folder.verify(package=None) == 2


def test_a_bundle_that_is_too_large_is_refused(folder: Folder, capsys: Captured) -> None:
    folder.write(good_bundle() + b" " * (4 << 20))
    assert folder.verify() == 1
    assert capsys.readouterr().err.startswith("refused: too-large (step 1)\n")


def test_a_stale_checkpoint_is_refused_when_freshness_is_asked_for(folder: Folder, capsys: Captured) -> None:
    assert folder.verify("--fresh") == 1
    assert capsys.readouterr().err.startswith("refused: no-age-limit (step 1)\n")
