"""diffoscope's text beside a comparison: made in the sandbox, capped, and never needed for the verdict."""

import hashlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.builder.mavenparts import zip_bytes
from tests.builder.rebuildparts import Scene, scene, scripted
from tests.builder.sandboxes import require_sandbox

from touchplate.base.environment import read_environment
from touchplate.builder import rebuild as rebuild_module
from touchplate.builder.attestation.attest import Operator
from touchplate.builder.cli.report import rebuild_json
from touchplate.builder.comparison import detailed
from touchplate.builder.comparison.compare import compare
from touchplate.builder.comparison.detailed import Detailer, open_detailer
from touchplate.builder.errors import HostLack
from touchplate.builder.rebuild import fetch_published, rebuild
from touchplate.builder.sandbox.workspace import remove_abandoned
from touchplate.builder.submit import sign_rebuild
from touchplate.verify.jcs import parse_json
from touchplate.verify.keys import generate_signer


@pytest.fixture
def here() -> Iterator[Scene]:
    require_sandbox()
    with scene() as one:
        yield replace_workshop(one)


def replace_workshop(one: Scene) -> Scene:
    return replace(one, workshop=replace(one.workshop, detailed=True))


@pytest.fixture
def detailer(here: Scene) -> Detailer:
    found = open_detailer(here.workshop.open_sandbox(), here.workshop.cache)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("diffoscope is not installed")
        pytest.skip("diffoscope is not installed: apt-get install diffoscope-minimal")
    return found


def look(
    detailer: Detailer, folder: Path, published: bytes, rebuilt: bytes
) -> tuple[bytes, dict[str, object]]:
    path = folder / "rebuilt"
    path.write_bytes(rebuilt)
    found = detailer.detail(compare(published, rebuilt, "a.jar"), published, path, "a.jar")
    assert found.result == "different"
    report = parse_json(found.report, max_bytes=10_000_000)
    assert isinstance(report, dict)
    said = report["diffoscope"]
    assert isinstance(said, dict)
    return found.detailed, dict(said)


def test_a_different_rebuild_has_diffoscopes_text_among_its_evidence(here: Scene, detailer: Detailer) -> None:
    definition = scripted(here, "jar(b'made from another source\\n')")
    done = rebuild(here.workshop, definition, fetch_published(here.workshop, definition))
    assert done.built is not None
    found = done.built.verdicts[0].comparison
    assert b"-made from source\n" in found.detailed
    assert b"+made from another source\n" in found.detailed
    digest = hashlib.sha256(found.detailed).hexdigest()
    report = parse_json(found.report, max_bytes=100_000)
    assert isinstance(report, dict)
    assert report["diffoscope"] == {
        "version": detailer.version,
        "sha256": digest,
        "size": len(found.detailed),
    }
    signed = sign_rebuild(here.workshop, done, Operator("https://rebuild.example.org", generate_signer()))
    assert digest in signed.parcel.evidence
    assert here.workshop.evidence.has(digest)
    assert digest in str(rebuild_json(done))


def test_an_identical_rebuild_has_none(here: Scene) -> None:
    definition = scripted(here, "jar(b'made from source\\n')")
    done = rebuild(here.workshop, definition, fetch_published(here.workshop, definition))
    assert done.built is not None
    assert done.built.verdicts[0].comparison.detailed == b""


def test_a_text_that_would_be_long_is_cut(
    detailer: Detailer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detailed, "MAX_TEXT_BYTES", 4000)
    files = {f"{number}.txt": f"{number}\n".encode() for number in range(300)}
    others = {name: data + b"!\n" for name, data in files.items()}
    text, said = look(detailer, tmp_path, zip_bytes(files), zip_bytes(others))
    assert len(text) == 4000
    assert text.endswith(detailed.CUT)
    assert said["size"] == len(text)


def test_no_end_is_said_and_nothing_is_missing_but_the_text(
    detailer: Detailer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detailed, "LIMITS", replace(detailed.LIMITS, wall_seconds=0.01))
    text, said = look(detailer, tmp_path, zip_bytes({"a": b"1"}), zip_bytes({"a": b"2"}))
    assert text == b""
    assert said == {"version": detailer.version, "missing": "timeout"}


class Taken(Detailer):
    """A diffoscope that a hostile file has taken over: what it writes leads to a file of the host."""

    def _command(self, suffix: str) -> tuple[str, ...]:
        return ("/usr/bin/ln", "-s", "/etc/passwd", "report.txt")


def test_what_it_writes_is_taken_as_a_file_and_no_other(detailer: Detailer, tmp_path: Path) -> None:
    hostile = Taken(**vars(detailer))
    text, said = look(hostile, tmp_path, zip_bytes({"a": b"1"}), zip_bytes({"a": b"2"}))
    assert text == b""
    assert said["missing"] == "refused-output"


def test_nothing_is_left_of_it(here: Scene, detailer: Detailer, tmp_path: Path) -> None:
    before = sorted(here.workshop.work.iterdir())
    look(detailer, tmp_path, zip_bytes({"a": b"1"}), zip_bytes({"a": b"2"}))
    assert sorted(here.workshop.work.iterdir()) == before


def test_a_text_commands_no_terminal(detailer: Detailer, tmp_path: Path) -> None:
    hostile = "\x1b[2J\x1b]0;title\x07\x9b31m\u202e\r"
    files = ({f"{hostile}.txt": f"{number}\t{hostile}\n".encode()} for number in range(2))
    text, _ = look(detailer, tmp_path, *map(zip_bytes, files))
    assert b"title" in text
    assert all(character.isprintable() or character in "\n\t" for character in text.decode())


class Endless(Detailer):
    """A diffoscope that comes to no end."""

    def _command(self, suffix: str) -> tuple[str, ...]:
        return ("/usr/bin/sleep", "100")


def test_what_a_killed_rebuild_left_of_it_is_tidied_up(
    here: Scene, detailer: Detailer, tmp_path: Path
) -> None:
    work = here.workshop.work
    before = sorted(work.iterdir())
    child = os.fork()
    if child == 0:
        try:
            look(Endless(**vars(detailer)), tmp_path, b"one", b"other")
        finally:
            os._exit(1)
    while not list(work.glob("*/build/rebuilt*")):
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert sorted(work.iterdir()) != before
    here.workshop.open_sandbox()
    remove_abandoned(work)
    assert sorted(work.iterdir()) == before


def test_files_that_cannot_be_laid_out_are_a_lack_of_the_host(detailer: Detailer, tmp_path: Path) -> None:
    found = compare(b"one", b"other", "a.jar")
    with pytest.raises(HostLack, match="lay both files out"):
        detailer.detail(found, b"one", tmp_path / "gone", "a.jar")


def test_a_rebuild_of_many_outputs_explains_the_first_ones(
    here: Scene, detailer: Detailer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild_module, "MAX_LOOKS", 0)
    definition = scripted(here, "jar(b'other\\n')")
    done = rebuild(here.workshop, definition, fetch_published(here.workshop, definition))
    assert done.result == "different"
    assert done.built is not None
    assert done.built.verdicts[0].comparison.detailed == b""


def test_a_host_without_it_compares_all_the_same(here: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detailed, "PROGRAM", "no-such-diffoscope")
    assert read_environment().find_program("no-such-diffoscope") is None
    definition = scripted(here, "jar(b'other\\n')")
    done = rebuild(here.workshop, definition, fetch_published(here.workshop, definition))
    assert done.result == "different"
    assert done.built is not None
    assert done.built.verdicts[0].comparison.detailed == b""
