"""Lists of what archives hold: right for every later build, and never believed when damaged."""

import errno
import hashlib
from pathlib import Path

import pytest
from tests.builder.mavenparts import zip_bytes

from touchplate.builder.errors import TooMuchError
from touchplate.builder.inputs import answer
from touchplate.builder.inputs.answer import AnswerFinder
from touchplate.builder.known_contents import KnownContents

MEMBER, INNER = b"the published file", b"something else, one archive deeper"
ARCHIVE = zip_bytes({"a/b.jar": MEMBER, "nested.zip": zip_bytes({"c": INNER})})


def hexdigest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def finder(folder: Path, *answers: bytes) -> AnswerFinder:
    return AnswerFinder(frozenset(map(hexdigest, answers)), KnownContents(folder / "known"))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "input.zip"
    path.write_bytes(ARCHIVE)
    return path


def kept(folder: Path) -> list[Path]:
    return [path for path in (folder / "known").rglob("*") if path.is_file()]


def test_a_list_names_the_archive_and_all_that_it_holds(tmp_path: Path, archive: Path) -> None:
    assert finder(tmp_path, b"absent").find(archive) is None
    found = KnownContents(tmp_path / "known").find(hexdigest(ARCHIVE))
    assert found is not None
    assert {hexdigest(ARCHIVE), hexdigest(MEMBER), hexdigest(INNER)} <= found


def test_the_answer_is_found_in_an_archive_that_was_clean_for_another_build(
    tmp_path: Path, archive: Path
) -> None:
    assert finder(tmp_path, b"absent").find(archive) is None
    for what in (MEMBER, INNER, ARCHIVE):
        assert finder(tmp_path, what).find(archive) is not None
        assert finder(tmp_path, what).find(archive, hexdigest(ARCHIVE)) is not None


def test_a_known_archive_is_not_opened_again(tmp_path: Path, archive: Path) -> None:
    assert finder(tmp_path, b"absent").find(archive) is None
    archive.unlink()
    assert finder(tmp_path, b"other").find(archive, hexdigest(ARCHIVE)) is None


def test_an_archive_that_holds_the_answer_leaves_no_list(tmp_path: Path, archive: Path) -> None:
    assert finder(tmp_path, MEMBER).find(archive) is not None
    assert not kept(tmp_path)


def test_what_could_not_be_looked_through_leaves_no_list(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer, "MEMBERS", 1)
    with pytest.raises(TooMuchError):
        finder(tmp_path, b"absent").find(archive)
    assert not kept(tmp_path)


def test_what_a_failing_disk_did_not_give_leaves_no_list(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    # Only the places where a disk fails are made up: no real one does at will.
    for name in ("find_listed", "find_unlisted"):
        monkeypatch.setattr(answer, name, fail)
    assert finder(tmp_path, MEMBER).find(archive) is None
    assert not kept(tmp_path)
    monkeypatch.undo()
    assert finder(tmp_path, MEMBER).find(archive) is not None


def test_a_damaged_list_is_as_good_as_none(tmp_path: Path, archive: Path) -> None:
    assert finder(tmp_path, b"absent").find(archive) is None
    (path,) = kept(tmp_path)
    whole = path.read_bytes()
    known = KnownContents(tmp_path / "known")
    flipped = bytes([whole[0] ^ 1]) + whole[1:]
    for damaged in (b"", whole[:32], whole[:-32], whole[32:], whole[:-1], flipped, whole + b"\0" * 32):
        path.write_bytes(damaged)
        assert known.find(hexdigest(ARCHIVE)) is None
        assert finder(tmp_path, MEMBER).find(archive) is not None


def test_a_list_under_another_archives_name_is_not_believed(tmp_path: Path, archive: Path) -> None:
    clean = tmp_path / "clean.zip"
    clean.write_bytes(zip_bytes({"x": b"x"}))
    assert finder(tmp_path, b"absent").find(clean) is None
    (path,) = kept(tmp_path)
    other = tmp_path / "known" / path.relative_to(tmp_path / "known").parts[0] / hexdigest(ARCHIVE)[:2]
    other.mkdir(exist_ok=True)
    (other / hexdigest(ARCHIVE)).write_bytes(path.read_bytes())
    assert finder(tmp_path, MEMBER).find(archive) is not None


def test_a_file_that_holds_nothing_needs_no_list(tmp_path: Path) -> None:
    plain = tmp_path / "plain.txt"
    plain.write_bytes(b"text")
    assert finder(tmp_path, b"absent").find(plain) is None
    assert not kept(tmp_path)
