"""Taking overlay notes out of layers: nothing else of an archive may change."""

import io
import tarfile
from pathlib import Path

import pytest

from touchplate.builder.ecosystems.oci.unmark import unmark

NOTE = "SCHILY.xattr.user.overlay.origin"


def archive(*members: tuple[str, dict[str, str], bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, records, data in members:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.pax_headers = len(data), 1700000000, records
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def unmarked(data: bytes) -> bytes:
    return b"".join(unmark(io.BytesIO(data)))


def test_archive_without_notes_stays_byte_for_byte() -> None:
    long = "folder/" + "x" * 180
    data = archive(("a", {}, b"a" * 5000), (long, {"SCHILY.xattr.user.mine": "b"}, b""), ("c", {}, b"c"))
    assert unmarked(data) == data
    assert unmarked(b"") == b""


def test_notes_go_and_leave_what_an_archive_without_them_is() -> None:
    noted = archive(("a", {NOTE: ""}, b"a" * 5000), ("b", {}, b"b"), ("c", {NOTE: "", NOTE + "2": "y"}, b""))
    plain = archive(("a", {}, b"a" * 5000), ("b", {}, b"b"), ("c", {}, b""))
    assert noted != plain
    assert unmarked(noted).rstrip(b"\0") == plain.rstrip(b"\0")


def test_other_records_of_the_same_header_stay(tmp_path: Path) -> None:
    records = {"SCHILY.xattr.user.mine": "value\nwith a line", NOTE: "", "comment": "x" * 600}
    path = tmp_path / "layer.tar"
    path.write_bytes(unmarked(archive(("a", records, b"content"), ("b", {}, b"b"))))
    with tarfile.open(path) as tar:  # which checks every header's sum
        first, second = tar.getmembers()
        assert first.pax_headers == {"SCHILY.xattr.user.mine": "value\nwith a line", "comment": "x" * 600}
        content = tar.extractfile(first)
        assert content is not None
        assert content.read() == b"content"
        assert second.name == "b"


def test_name_that_only_looks_like_a_note_stays() -> None:
    data = archive(("a", {"SCHILY.xattr.user.overlays": "x", "comment": NOTE}, b""))
    assert unmarked(data) == data


@pytest.mark.parametrize("cut", [100, 512, 700, 1100, 2000])
def test_archive_that_is_cut_gives_no_endless_output(cut: int) -> None:
    data = archive(("a", {NOTE: ""}, b"a" * 1000))[:cut]
    assert len(unmarked(data)) <= len(data)
