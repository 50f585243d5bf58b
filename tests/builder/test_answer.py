"""Looking for the answer in inputs: deep enough, bounded, and not fooled by damage."""

import gzip
import hashlib
import io
import zipfile
from pathlib import Path

import pytest

from touchplate.builder import answer
from touchplate.builder.answer import AnswerFinder, TooMuchError

PUBLISHED = b"the published jar"
FINDER = AnswerFinder(frozenset({hashlib.sha256(PUBLISHED).hexdigest()}))


def zipped(name: str, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("before.txt", "before")
        archive.writestr(name, content)
        archive.writestr("after.txt", "after")
    return buffer.getvalue()


def find(tmp_path: Path, content: bytes) -> str | None:
    path = tmp_path / "input"
    path.write_bytes(content)
    return FINDER.find(path)


def test_says_where_the_answer_is(tmp_path: Path) -> None:
    assert find(tmp_path, PUBLISHED) == "is it"
    assert find(tmp_path, zipped("lib/a.jar", zipped("b.jar", PUBLISHED))) == "holds it as 'lib/a.jar!b.jar'"
    assert find(tmp_path, gzip.compress(PUBLISHED)) == "holds it as '(unpacked)'"
    assert find(tmp_path, zipped("a.jar", b"another")) is None
    assert find(tmp_path, b"") is None


def test_looks_into_stored_and_compressed_members(tmp_path: Path) -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        assert find(tmp_path, zipped("a", PUBLISHED, method)) == "holds it as 'a'"


def test_damage_in_one_member_does_not_hide_the_next(tmp_path: Path) -> None:
    content = bytearray(zipped("a.jar", PUBLISHED, zipfile.ZIP_STORED))
    content[content.index(b"before", content.index(b"before.txt") + 10)] ^= 1  # its check sum is wrong now
    assert find(tmp_path, bytes(content)) == "holds it as 'a.jar'"


def test_damaged_archives_of_every_kind_are_only_files(tmp_path: Path) -> None:
    content = zipped("a", b"x" * 100)
    for cut in range(0, len(content), 7):
        assert find(tmp_path, content[:cut]) is None
        assert find(tmp_path, content[cut:]) is None
    for magic in (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"PK\x03\x04", b"PK\x05\x06"):
        assert find(tmp_path, magic + b"rubbish" * 50) is None
    assert find(tmp_path, b"\0" * 257 + b"ustar" + b"\xff" * 300) is None


def test_nesting_ends(tmp_path: Path) -> None:
    content = PUBLISHED
    for _ in range(answer.LAYERS):
        content = zipped("a", content)
    assert find(tmp_path, content) is not None
    assert find(tmp_path, zipped("a", content)) is None


def test_bombs_are_refused_and_not_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "EXPANDED_BYTES", 1_000_000)
    monkeypatch.setattr(answer, "MEMBERS", 10)
    with pytest.raises(TooMuchError, match="unpacks to more"):
        find(tmp_path, zipped("a", bytes(2_000_000)))
    with pytest.raises(TooMuchError, match="unpacks to more"):
        find(tmp_path, gzip.compress(gzip.compress(bytes(2_000_000))))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(11):
            archive.writestr(str(number), b"")
    with pytest.raises(TooMuchError, match="more than 10 files"):
        find(tmp_path, buffer.getvalue())


def test_without_forbidden_files_nothing_is_read(tmp_path: Path) -> None:
    assert AnswerFinder(frozenset()).find(tmp_path / "not-there") is None


def test_tree_is_looked_through_without_following_links(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tmp_path / "outside").write_bytes(PUBLISHED)
    (tree / "link").symlink_to(tmp_path / "outside")
    assert FINDER.find_below(tree) is None
    (tree / "deep" / "a.zip").write_bytes(zipped("a", PUBLISHED))
    assert FINDER.find_below(tree) == "deep/a.zip holds it as 'a'"
