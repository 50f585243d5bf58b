"""`gzip-header@1`: headers and compression go, content and whatever follows stay; damage is refused."""

import gzip
import zlib

import pytest
from tests.builder.tarparts import PACKAGE, gzip_bytes, tar_bytes

from touchplate.builder.errors import StabilizeError
from touchplate.builder.stabilize import gzip as neutral
from touchplate.builder.stabilize.gzip import MAX_NAME_BYTES, read_member, wrap
from touchplate.builder.stabilize.registry import find_shortest, stabilize

GZIP = "gzip-header@1"


def shortest(published: bytes, rebuilt: bytes) -> tuple[str, ...] | None:
    found = find_shortest(published, rebuilt, (GZIP,))
    return None if found is None else found.stabilizers


def test_no_changed_byte_of_a_gzip_file_ever_disappears() -> None:
    data = gzip_bytes(b"some content, some content", time=7, name="file")
    before = stabilize(data, (GZIP,))
    for at in range(len(data)):
        for value in range(256):
            other = data[:at] + bytes([value]) + data[at + 1 :]
            try:
                after = stabilize(other, (GZIP,))
            except StabilizeError:
                continue
            if after == before:
                assert gzip.decompress(other) == b"some content, some content"


def test_what_follows_a_gzip_member_is_compared_as_it_is() -> None:
    one, two = gzip_bytes(b"a", time=1), gzip_bytes(b"b")
    assert shortest(one + two, gzip_bytes(b"a", time=2) + two) == (GZIP,)
    assert shortest(one + two, gzip_bytes(b"a", time=2) + gzip_bytes(b"b", time=1)) is None
    assert shortest(one + b"tail", gzip_bytes(b"a", time=2) + b"liat") is None
    assert shortest(one, gzip_bytes(b"a", time=2) + two) is None
    assert stabilize(stabilize(one + two, (GZIP,)), (GZIP,)) == stabilize(one + two, (GZIP,))
    packed = gzip_bytes(tar_bytes(PACKAGE))
    with pytest.raises(StabilizeError, match="gzip-header@1 comes first"):
        stabilize(packed + two, (GZIP, "tar-times@1"))


def member(flags: int, more: bytes = b"", content: bytes = b"x") -> bytes:
    """A gzip member with these flags and these bytes behind the fixed header."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = stream.compress(content) + stream.flush()
    trailer = zlib.crc32(content).to_bytes(4, "little") + len(content).to_bytes(4, "little")
    return bytes([0x1F, 0x8B, 8, flags, 0, 0, 0, 0, 0, 3]) + more + packed + trailer


def test_a_header_checksum_is_checked_and_goes() -> None:
    start = bytes([0x1F, 0x8B, 8, 2, 0, 0, 0, 0, 0, 3])
    good = (zlib.crc32(start) & 0xFFFF).to_bytes(2, "little")
    assert stabilize(member(2, good), (GZIP,)) == stabilize(member(0), (GZIP,))
    with pytest.raises(StabilizeError, match="wrong checksum"):
        stabilize(member(2, b"\0\0"), (GZIP,))


BAD_GZIP = [
    (b"", "not gzip"),
    (b"\x1f\x8b\x08", "not gzip"),
    (b"\x1f\x8b\x07" + bytes(20), "not gzip"),
    (member(4, b"\x05\0hello"), "extra field, comment"),
    (member(16, b"comment\0"), "extra field, comment"),
    (member(0x80), "extra field, comment"),
    (member(8, b"n" * (MAX_NAME_BYTES + 1) + b"\0"), "name of more than 255"),
    (member(0)[:-9], "cut short"),
    (member(0)[:-1], "cut short"),
    (member(0)[:12], "cut short"),
    (member(0)[:-8] + bytes(8), "wrong checksum"),
    (member(0)[:10] + b"\xff" * 40, "does not decompress"),
]


@pytest.mark.parametrize(("data", "message"), BAD_GZIP, ids=range(len(BAD_GZIP)))
def test_damaged_gzip_and_free_data_in_it_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(StabilizeError, match=message):
        stabilize(data, (GZIP,))


def test_a_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neutral, "MAX_CONTENT_BYTES", 5 << 20)
    assert len(read_member(gzip_bytes(bytes(5 << 20))).content) == 5 << 20
    with pytest.raises(StabilizeError, match=r"more than 5242880 bytes"):
        stabilize(gzip_bytes(bytes(64 << 20)), (GZIP,))


@pytest.mark.parametrize("size", [0, 1, 65534, 65535, 65536, 131070, 131071])
def test_the_neutral_form_holds_any_length(size: int) -> None:
    content = bytes(size)
    assert gzip.decompress(wrap(content)) == content
    assert stabilize(gzip_bytes(content), (GZIP,)) == wrap(content)
