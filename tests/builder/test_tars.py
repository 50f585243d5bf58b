"""Tars made to take the memory of whoever reads them, or to end it: refused by every reader, early."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from tests.builder.test_image_comparison import compared, with_layer

from touchplate.builder.archives.tars import (
    MAX_GLOBAL_RECORDS,
    MAX_HEADER_BYTES,
    PIECE_BYTES,
    UNBOUNDED,
    TarReader,
)
from touchplate.builder.comparison.compare import compare
from touchplate.builder.ecosystems.conan.archive import digest_members
from touchplate.builder.ecosystems.oci import layers
from touchplate.builder.ecosystems.oci.context import unpack_context
from touchplate.builder.errors import ArchiveError, TooMuchError
from touchplate.builder.inputs.answer import AnswerFinder

BLOCK = 512
MANY = 3000
"""More headers about one member than Python's stack has room for."""


def header(kind: bytes, size: int, name: str = "a") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.USTAR_FORMAT)


def with_records(kind: bytes, records: bytes) -> bytes:
    return header(kind, len(records)) + records + bytes(-len(records) % BLOCK)


def record(key: str, value: str) -> bytes:
    body = f" {key}={value}\n".encode()
    length = len(body)
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


FILE = header(tarfile.REGTYPE, 1) + b"x".ljust(BLOCK, b"\0")
END = bytes(2 * BLOCK)
LARGE = with_records(tarfile.XHDTYPE, record("comment", "c" * 2 * MAX_HEADER_BYTES))
CHAIN = with_records(tarfile.GNUTYPE_LONGNAME, b"name\0") * MANY
GLOBAL = b"".join(
    with_records(tarfile.XGLTYPE, record(f"key{number}", "v")) + FILE
    for number in range(MAX_GLOBAL_RECORDS + 1)
)
BOMBS = pytest.mark.parametrize("start", [LARGE, CHAIN, GLOBAL], ids=["large", "chain", "global"])


class Counted:
    """Endless zeros behind a start; counts what was read."""

    def __init__(self, start: bytes) -> None:
        self.start = io.BytesIO(start)
        self.given = 0

    def read(self, size: int, /) -> bytes:
        data = self.start.read(size)
        self.given += size
        return data.ljust(size, b"\0")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_header_that_says_it_is_huge_is_never_read(kind: bytes) -> None:
    stream = Counted(header(kind, 1 << 32))
    with pytest.raises(ArchiveError, match="headers of more than"):
        list(TarReader(stream, UNBOUNDED).members())
    assert stream.given < MAX_HEADER_BYTES


def test_content_comes_in_bounded_pieces() -> None:
    data = header(tarfile.REGTYPE, 3 * PIECE_BYTES + 1) + bytes(4 * PIECE_BYTES) + END
    reader = TarReader(io.BytesIO(data), UNBOUNDED)
    sizes = [len(piece) for member in reader.members() for piece in reader.pieces(member)]
    assert sum(sizes) == 3 * PIECE_BYTES + 1
    assert max(sizes) <= PIECE_BYTES


@BOMBS
def test_no_context_is_laid_out_from_a_bomb(tmp_path: Path, start: bytes) -> None:
    with pytest.raises(ArchiveError):
        unpack_context(gzip.compress(start + FILE + END), tmp_path)
    unpack_context(gzip.compress(FILE + END), tmp_path)  # the control


@BOMBS
def test_no_package_is_digested_from_a_bomb(start: bytes) -> None:
    with pytest.raises(ArchiveError):
        digest_members(gzip.compress(start + FILE + END))
    assert digest_members(gzip.compress(FILE + END)).keys() == {"a"}


@BOMBS
def test_input_that_is_a_bomb_is_refused(tmp_path: Path, start: bytes) -> None:
    """What is not looked through may hold the answer."""
    path = tmp_path / "input"
    path.write_bytes(start + FILE + END)
    with pytest.raises(TooMuchError):
        AnswerFinder(frozenset({"0" * 64})).find(path)


@BOMBS
def test_tars_that_are_bombs_are_compared_as_bytes(start: bytes) -> None:
    found = compare(start + FILE + END, FILE + END, "a.tar")
    assert found.result == "different"
    assert "not compared as an archive" in " ".join(found.summary)


@BOMBS
def test_layer_that_is_a_bomb_differs_as_a_whole(start: bytes) -> None:
    manifest, blobs = with_layer([("a", {}, b"y")])
    value = json.loads(manifest)
    data = gzip.compress(start + FILE + END)
    digest = hashlib.sha256(data).hexdigest()
    value["layers"][0].update(digest=f"sha256:{digest}")
    found = compared((manifest, blobs), (json.dumps(value).encode(), {**blobs, digest: data}))
    assert found.result == "different"
    assert "not compared member by member" in " ".join(found.summary)


def test_contents_of_a_layer_are_held_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (with_layer([(f"f{n}", {}, text * 5000) for n in range(9)]) for text in (b"a\n", b"b\n"))
    monkeypatch.setattr(layers, "MAX_HELD_BYTES", 25_000)
    found = compared(one, other)
    assert found.count == 9
    assert (
        found.report.decode().count("10000 bytes of") == 7
    )  # two fit; of the others the digests are compared


def test_hard_links_of_a_context_cost_no_search_and_no_stack(tmp_path: Path) -> None:
    """Each leads to the one before: an archive's members need not be searched, nor links followed."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        first = tarfile.TarInfo("d/f0")
        first.size = 1
        archive.addfile(first, io.BytesIO(b"x"))
        for number in range(1, MANY):
            link = tarfile.TarInfo(f"d/f{number}")
            link.type, link.linkname = tarfile.LNKTYPE, f"d/f{number - 1}"
            archive.addfile(link)
    unpack_context(data.getvalue(), tmp_path)
    assert (tmp_path / f"f{MANY - 1}").read_bytes() == b"x"
