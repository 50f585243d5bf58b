"""Looking for the answer in what only some readers see: busybox, GNU tar, Commons Compress."""

import bz2
import gzip
import lzma
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.builder.answerparts import PUBLISHED, find, tarred, zipped
from tests.builder.tarparts import block, pax, with_checksums

from touchplate.base.environment import read_environment
from touchplate.builder.archives import zipviews
from touchplate.builder.errors import TooMuchError


def octal(number: int) -> bytes:
    return b"%011o\0" % number


def record(key: bytes, value: bytes) -> bytes:
    """A PAX record, whose length counts itself."""
    length = len(key) + len(value) + 3
    while len(found := b"%d %s=%s\n" % (length, key, value)) != length:
        length += 1
    return found


def sparse() -> bytes:
    """The header of a sparse member of GNU's old form: the answer behind a hole."""
    header = bytearray(block(b"a", b"S", octal(len(PUBLISHED)), PUBLISHED))
    header[257:265] = b"ustar  \0"
    header[386:410], header[483:495] = octal(512) + octal(len(PUBLISHED)), octal(512 + len(PUBLISHED))
    return with_checksums(bytes(header))


PLAIN = block(b"a", b"0", octal(len(PUBLISHED)), PUBLISHED)
LONGER = pax(record(b"size", str(len(PUBLISHED) + 512).encode()))
HOLE = (
    record(b"GNU.sparse.map", b"512,%d" % len(PUBLISHED))
    + record(b"GNU.sparse.size", b"%d" % (len(PUBLISHED) + 512))
    + record(b"GNU.sparse.numblocks", b"1")
)


@pytest.mark.parametrize(
    "content",
    [
        LONGER + PLAIN + bytes(3072),
        pax(record(b"size", b"3")) + PLAIN + bytes(1024),
        pax(HOLE) + PLAIN + bytes(1024),
        sparse() + bytes(1024),
        tarred() + bytes(512) + LONGER + PLAIN + bytes(3072),
    ],
    ids=range(5),
)
def test_a_member_is_also_as_long_as_its_own_header_says(tmp_path: Path, content: bytes) -> None:
    assert find(tmp_path, content) == "holds it as 'a'" or content.startswith(tarred())
    assert find(tmp_path, content.replace(PUBLISHED, PUBLISHED.upper())) is None


def test_busybox_reads_a_member_by_its_own_header(tmp_path: Path) -> None:
    program = read_environment().find_program("busybox")
    if program is None:
        pytest.skip("busybox is not installed")
    (tmp_path / "a.tar").write_bytes(LONGER + PLAIN + bytes(3072))
    done = subprocess.run([program, "tar", "xOf", tmp_path / "a.tar"], capture_output=True, check=False)
    assert done.stdout == PUBLISHED


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bzip2", "xz"])
def test_the_first_stream_is_looked_at_by_itself(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    # Apache Commons Compress, and so much of Maven, reads no more unless it is told to.
    assert find(tmp_path, pack(PUBLISHED) + pack(b"x")) == "holds it as '(unpacked, first part)'"
    assert find(tmp_path, pack(PUBLISHED[:5]) + pack(PUBLISHED[5:])) == "holds it as '(unpacked)'"
    assert find(tmp_path, pack(b"x") + pack(b"y")) is None


def streamed(content: bytes, size: int) -> bytes:
    """A stored member that says only behind itself how long it is, in no directory."""
    header = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 8, 0, 0, 0, 0, 0, 0, 1, 0)
    return header + b"a" + content + struct.pack("<4s3I", b"PK\7\x08", 0, size, size)


def test_a_stored_member_of_unsaid_length_ends_at_its_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find(tmp_path, streamed(PUBLISHED, len(PUBLISHED))) == "holds it as 'a'"
    assert find(tmp_path, streamed(b"x", 1) + streamed(PUBLISHED, len(PUBLISHED))) == "holds it as 'a'"
    assert find(tmp_path, streamed(PUBLISHED, len(PUBLISHED) + 1)) is None
    monkeypatch.setattr(zipviews, "MAX_DESCRIPTORS", 1)
    with pytest.raises(TooMuchError, match="more than 1 descriptors"):
        find(tmp_path, streamed(b"x", 1) * 2)


def test_a_header_behind_a_broken_one_counts_wherever_it_lies(tmp_path: Path) -> None:
    """GNU tar passes over what it does not understand, and goes on inside what others take for a member."""
    over = block(b"y", b"0", octal(1024))[:512]  # records for some, the header of a member for others
    path = tmp_path / "a.tar"
    path.write_bytes(pax(b"no record")[:512] + over + b"\1" * 512 + PLAIN + bytes(1024))
    done = subprocess.run(["tar", "xOf", path, "a"], capture_output=True, check=False)
    assert done.stdout == PUBLISHED
    assert find(tmp_path, path.read_bytes()) == "holds it as 'a'"


def test_a_listed_member_needs_no_mark(tmp_path: Path) -> None:
    # busybox's unzip does not look for it.
    content = bytearray(zipped("a.jar", PUBLISHED, zipfile.ZIP_STORED))
    content[content.index(b"a.jar") - 27] ^= 1
    assert content.count(b"PK\3\4") == 2
    assert find(tmp_path, bytes(content)) == "holds it as 'a.jar'"


def test_offsets_of_a_directory_are_also_taken_as_they_are(tmp_path: Path) -> None:
    """zipfile moves them to where the archive ends; busybox's unzip does not."""
    whole = bytearray(zipped("a.jar", PUBLISHED, zipfile.ZIP_STORED))
    whole[whole.index(b"a.jar") - 27] ^= 1
    behind = bytes(whole) + whole[whole.index(b"PK\1\2") :]
    program = read_environment().find_program("busybox")
    if program is not None:
        (tmp_path / "a.zip").write_bytes(behind)
        command = [str(program), "unzip", "-p", str(tmp_path / "a.zip"), "a.jar"]
        assert subprocess.run(command, capture_output=True, check=False).stdout == PUBLISHED
    assert find(tmp_path, behind) == "holds it as 'a.jar'"


def test_a_time_that_is_no_number_and_a_directory_of_no_size_hide_nothing(tmp_path: Path) -> None:
    odd = bytearray(PLAIN)
    odd[136:148] = b"g0000000002\0"
    data = with_checksums(bytes(odd)) + bytes(1024)
    (tmp_path / "a.tar").write_bytes(data)
    done = subprocess.run(["tar", "xOf", tmp_path / "a.tar", "a"], capture_output=True, check=False)
    assert done.stdout == PUBLISHED
    assert find(tmp_path, data) == "holds it as 'a'"
    whole = bytearray(zipped("a.jar", PUBLISHED, zipfile.ZIP_STORED))
    whole[whole.index(b"a.jar") - 27] ^= 1
    whole[-7] = 0x80  # of the directory's size, which zipfile then refuses and busybox's unzip does not read
    assert find(tmp_path, bytes(whole)) == "holds it as 'a.jar'"
