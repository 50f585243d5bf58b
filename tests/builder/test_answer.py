"""Looking for the answer in inputs: deep enough, bounded, and not fooled by damage."""

import bz2
import gzip
import hashlib
import io
import lzma
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.builder.answerparts import FINDER, PUBLISHED, find, tarred, zipped

from touchplate.builder.archives import packed, tarchain
from touchplate.builder.errors import HostLack, TooMuchError
from touchplate.builder.inputs import answer
from touchplate.builder.inputs.answer import AnswerFinder

DIRECTORY_ENTRY_BYTES = 46  # before the name (APPNOTE 4.3.12)


def test_says_where_the_answer_is(tmp_path: Path) -> None:
    assert find(tmp_path, PUBLISHED) == "is it"
    assert find(tmp_path, zipped("lib/a.jar", zipped("b.jar", PUBLISHED))) == "holds it as 'lib/a.jar!b.jar'"
    assert find(tmp_path, gzip.compress(PUBLISHED)) == "holds it as '(unpacked)'"
    assert find(tmp_path, zipped("a.jar", b"another")) is None
    assert find(tmp_path, b"") is None


def test_a_digest_of_the_bytes_themselves_is_taken_and_that_of_a_name_is_not(tmp_path: Path) -> None:
    path, name = tmp_path / "input", hashlib.sha256(b"what the file is called after").hexdigest()
    path.write_bytes(PUBLISHED)
    assert FINDER.find(path, name) == "is it"
    assert FINDER.find(path, name, just_hashed=True) is None  # whoever says so has to be right
    assert FINDER.find(path, hashlib.sha256(PUBLISHED).hexdigest(), just_hashed=True) == "is it"
    path.write_bytes(outer := zipped("lib/a.jar", PUBLISHED))
    digest = hashlib.sha256(outer).hexdigest()
    assert FINDER.find(path, digest, just_hashed=True) == "holds it as 'lib/a.jar'"


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


def without_magic(content: bytes) -> bytes:
    """A tar as tools wrote it before POSIX: the checksum alone says what it is."""
    header = bytearray(content[:512])
    header[257:265] = bytes(8)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + content[512:]


def packaged(data: bytes) -> bytes:
    """A Debian package, as dpkg-deb lays it out."""
    parts = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": data}
    return b"!<arch>\n" + b"".join(
        f"{name:16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(part):<10}`\n".encode() + part + b"\n" * (len(part) % 2)
        for name, part in parts.items()
    )


def test_debian_packages_are_opened(tmp_path: Path) -> None:
    package = packaged(lzma.compress(tarred()))
    assert find(tmp_path, package) == "holds it as 'data.tar.xz!(unpacked)!a.jar'"
    assert find(tmp_path, packaged(lzma.compress(b"another"))) is None
    assert find(tmp_path, package.replace(b"3         `", b"-         `")) is None  # odd sizes are damage


def test_a_long_name_as_bsd_writes_it_is_no_content(tmp_path: Path) -> None:
    name = b"a-name-of-twenty.jar"
    member = struct.pack(
        "16s32x10s2s", b"#1/20".ljust(16), str(20 + len(PUBLISHED)).encode().ljust(10), b"`\n"
    )
    assert find(tmp_path, b"!<arch>\n" + member + name + PUBLISHED) == "holds it as '#1/20'"
    assert find(tmp_path, b"!<arch>\n" + member.replace(b"#1/20", b"#1/no") + name + PUBLISHED) is None


def test_file_of_two_kinds_is_opened_as_both(tmp_path: Path) -> None:
    inside = zipped("a.jar", PUBLISHED)
    for front in (gzip.compress(b"harmless"), lzma.compress(b"harmless"), without_magic(tarred())[:512]):
        assert find(tmp_path, front + inside) is not None


def test_tars_of_every_age_and_older_compression_are_opened(tmp_path: Path) -> None:
    assert find(tmp_path, without_magic(tarred())) == "holds it as 'a.jar'"
    for format_ in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        assert find(tmp_path, tarred(format_)) == "holds it as 'a.jar'"
    assert find(tmp_path, tarred(kind=b"Z")) == "holds it as 'a.jar'"  # unknown kinds are unpacked as files
    assert find(tmp_path, lzma.compress(PUBLISHED, lzma.FORMAT_ALONE)) == "holds it as '(unpacked)'"


def test_member_is_read_although_its_checksum_or_second_name_is_wrong(tmp_path: Path) -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        content = bytearray(zipped("hidden.jar", PUBLISHED, method))
        content[content.index(b"hidden.jar")] ^= 1  # the name before the data
        assert find(tmp_path, bytes(content)) == "holds it as 'hidden.jar'"
        content = bytearray(zipped("hidden.jar", PUBLISHED, method))
        content[content.rindex(b"hidden.jar") - 46 + 16] ^= 1  # the checksum in the directory
        assert find(tmp_path, bytes(content)) == "holds it as 'hidden.jar'"


@pytest.mark.parametrize("content", [PUBLISHED, zipped("deeper.jar", PUBLISHED)])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_that_no_directory_names_are_opened_as_readers_of_streams_do(
    tmp_path: Path, content: bytes, method: int
) -> None:
    whole, clean = zipped("a.jar", content, method), zipped("clean.txt", b"clean " * 50_000)
    cut = whole[: whole.rindex(b"before.txt") - DIRECTORY_ENTRY_BYTES]
    for data in (
        cut,
        whole + bytes(70_000),
        whole + clean,
        clean + cut + clean,
        clean + whole + bytes(70_000),
    ):
        assert ".jar'" in str(find(tmp_path, data))


def header(method: int, size: int) -> bytes:
    """What stands before a member of a zip archive, called `n` (APPNOTE 4.3.7)."""
    return struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, method, 0, 0, 0, size, 0, 1, 0) + b"n"


def test_headers_that_lie_about_sizes_and_methods_are_only_bytes(tmp_path: Path) -> None:
    for method in (0, 8, 99):
        one = header(method, 0xFFFFFFFF)
        for data in (one, one[:20], one * 3, one + b"\x03\x00", one + b"\xff" * 100):
            assert find(tmp_path, data) is None


def test_members_in_members_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "EXPANDED_BYTES", 1 << 20)
    with pytest.raises(TooMuchError):
        find(tmp_path, header(0, 1 << 30) * 2000)


def test_without_room_to_unpack_nothing_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "_IN_MEMORY", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(HostLack):
        find(tmp_path, zipped("a.jar", PUBLISHED))
    with pytest.raises(HostLack):
        FINDER.find(tmp_path / "not-there")


def test_directory_of_millions_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer, "MEMBERS", 10)
    monkeypatch.delattr(zipfile, "ZipFile")  # would make an object of each entry
    end = b"PK\5\6" + bytes(4) + b"\0\0\0\0" + (46 * 20).to_bytes(4, "little") + bytes(6)
    with pytest.raises(TooMuchError, match="more than 10 files"):
        find(tmp_path, (b"PK\1\2" + bytes(42)) * 20 + end)


def test_bombs_in_many_inputs_share_one_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "TOTAL_BYTES", 1_000_000)
    path = tmp_path / "input"
    path.write_bytes(zipped("a", bytes(400_000)))
    finder = AnswerFinder(frozenset({"00" * 32}))
    assert [finder.find(path), finder.find(path)] == [None, None]
    with pytest.raises(TooMuchError, match="unpacks to more"):
        finder.find(path)


def flipped(data: bytes, at: int) -> bytes:
    """`data` with another byte at `at`."""
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


LARGE = hashlib.shake_256(b"a jar larger than what is read at once").digest(700_000)
LZMA_1 = {"id": lzma.FILTER_LZMA1, "lc": 2, "lp": 1, "pb": 1}
GZIP_FIELDS = b"\x1f\x8b\x08\x1e" + bytes(6) + b"\x02\0xx" + b"name\0" + b"comment\0" + b"??"


@pytest.mark.parametrize("content", [PUBLISHED, LARGE])
def test_a_compressed_file_gives_what_it_unpacks_to_whatever_is_wrong_behind_that(
    tmp_path: Path, content: bytes
) -> None:
    whole = gzip.compress(content)
    held = {
        "something behind it": whole + b"what gunzip warns about, and Java does not",
        "a wrong checksum": flipped(whole, -6),
        "a wrong size": flipped(whole, -1),
        "no checksum": whole[:-8],
        "half a checksum": whole[:-5],
        "all fields": GZIP_FIELDS + whole[10:],
        "zeros behind it": whole + bytes(300_000),
        "in two members": gzip.compress(content[:5]) + bytes(7) + gzip.compress(content[5:]),
        "bzip2 in two streams": bz2.compress(content[:5]) + bz2.compress(content[5:]),
        "bzip2 and something": bz2.compress(content) + b"something",
        "xz in two streams": lzma.compress(content[:5]) + bytes(4) + lzma.compress(content[5:]),
        "xz and something": lzma.compress(content) + b"something",
        "xz without its end": lzma.compress(content)[:-20],
        "lzma with rare options": lzma.compress(content, lzma.FORMAT_ALONE, filters=[LZMA_1]),
        "lzma and something": lzma.compress(content, lzma.FORMAT_ALONE) + b"something",
    }
    finder = AnswerFinder(frozenset({hashlib.sha256(content).hexdigest()}))
    path = tmp_path / "input"
    for what, data in held.items():
        path.write_bytes(data)
        assert (what, finder.find(path)) == (what, "holds it as '(unpacked)'")


def test_streams_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "MAX_STREAMS", 3)
    for pack in (gzip.compress, bz2.compress, lzma.compress):
        assert find(tmp_path, pack(b"") * 2 + pack(PUBLISHED)) == "holds it as '(unpacked)'"
        with pytest.raises(TooMuchError, match="packed in more than 3 pieces"):
            find(tmp_path, pack(b"") * 4)


def test_compressed_files_without_the_answer_are_clean(tmp_path: Path) -> None:
    whole = gzip.compress(b"another")
    for data in (whole, whole[:5], b"\x1f\x8b\x08\x0c", GZIP_FIELDS[:-4], whole + whole[:3], whole[:-9]):
        assert find(tmp_path, data) is None


def tar_of(content: bytes) -> bytes:
    """A tar of one member with this content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("b.txt")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def behind_header(kind: bytes, content: bytes) -> bytes:
    """A header of a link, folder or pipe, and something behind it that its size speaks of."""
    member = tarfile.TarInfo("a.jar")
    member.size, member.type = len(content), kind
    return member.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def test_tars_are_read_to_the_end_that_the_most_patient_reader_knows(tmp_path: Path) -> None:
    one, other = tarred(), tar_of(b"another")
    held = {
        "behind another": other + one,
        "behind one zero block": bytes(512) + one,
        "behind two zero blocks": bytes(1024) + one,
        "behind a block that is none": b"none" * 128 + one,
        "behind a header with a wrong checksum": other[:1024] + flipped(one, 0)[:512] + one,
        "behind a header that is cut off": other[:1024] + one[:512] + other[:100] + bytes(412) + one,
        "behind a hard link": behind_header(tarfile.LNKTYPE, PUBLISHED) + other,
        "behind a folder": behind_header(tarfile.DIRTYPE, PUBLISHED) + other,
        "behind a pipe": other[:1024] + behind_header(tarfile.FIFOTYPE, PUBLISHED),
        "a member after a hard link's": behind_header(tarfile.LNKTYPE, b"x") + one,
    }
    for what, data in held.items():
        assert (what, find(tmp_path, data)) == (what, "holds it as 'a.jar'")
    assert find(tmp_path, other + bytes(512) + other + behind_header(tarfile.LNKTYPE, b"x")) is None


def test_beginnings_of_tars_without_end_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarchain, "MAX_BEGINNINGS", 3)
    assert find(tmp_path, tar_of(b"another") * 3) is None
    with pytest.raises(TooMuchError, match="more than 3 beginnings of tars"):
        find(tmp_path, tar_of(b"another") * 4)


def lying(packed_as: int, *changes: tuple[int, int, bytes]) -> bytes:
    """One member, `a.jar`, with other fields: (in the directory or before the data, offset there, value)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packed_as) as archive:
        archive.writestr("a.jar", PUBLISHED)
    data = bytearray(buffer.getvalue())
    for start, offset, value in changes:
        at = data.index(b"PK\x01\x02") if start else 0
        data[at + offset : at + offset + len(value)] = value
    return bytes(data)


DIRECTORY, OWN = 1, 0
FLAGS, METHOD, PACKED, SIZE = 8, 10, 20, 24  # in the directory; in a member's own header two bytes earlier


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_of_a_member_whose_headers_disagree_all_that_readers_see_is_looked_at(
    tmp_path: Path, method: int
) -> None:
    other = (8 - method).to_bytes(2, "little")
    nothing, little = bytes(4), (3).to_bytes(4, "little")
    for changed in (
        lying(method, (DIRECTORY, METHOD, other)),
        lying(method, (OWN, METHOD - 2, other)),
        lying(method, (DIRECTORY, FLAGS, b"\x01")),  # encrypted, as it says, and not
        lying(method, (OWN, FLAGS - 2, b"\x21")),
        lying(method, (DIRECTORY, PACKED, little)),
        lying(method, (DIRECTORY, PACKED, nothing), (DIRECTORY, SIZE, nothing)),
        lying(method, (OWN, PACKED - 2, little)),
        lying(method, (DIRECTORY, SIZE, little)),
        lying(method, (DIRECTORY, SIZE, b"\xff\xff\0\0")),
        lying(
            method,
            (DIRECTORY, METHOD, bytes(2)),
            (DIRECTORY, PACKED, nothing),
            (DIRECTORY, SIZE, nothing),
        ),
    ):
        assert find(tmp_path, changed) == "holds it as 'a.jar'"


def test_a_member_is_read_as_far_as_its_size_says_and_to_its_own_end(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jar", PUBLISHED + b" and more")
    data = bytearray(buffer.getvalue())
    assert find(tmp_path, bytes(data)) is None
    at = data.index(b"PK\x01\x02") + SIZE
    data[at : at + 4] = len(PUBLISHED).to_bytes(4, "little")
    assert find(tmp_path, bytes(data)) == "holds it as 'a.jar'"


def with_directory(front: bytes, *listed: tuple[bytes, int, int, int]) -> bytes:
    """`front` and a directory of `listed`: name, method, bytes (packed or not), where it is said to be."""
    directory = b""
    for name, method, size, at in listed:
        fields = (20, 20, 0, method, 0, 0, 0, size, size, len(name), 0, 0, 0, 0, 0, at)
        directory += struct.pack("<4s6H3I5H2I", b"PK\x01\x02", *fields) + name
    count = len(listed)
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(directory), len(front), 0)
    return front + directory + end


def test_a_directory_that_lies_about_where_members_are_hides_none(tmp_path: Path) -> None:
    first, hidden = header(0, 1) + b"x", zipped("a.jar", LARGE)
    cut = hidden[: hidden.rindex(b"before.txt") - DIRECTORY_ENTRY_BYTES]
    middle = len(first) + len(cut) // 2
    whole = first + cut
    finder = AnswerFinder(frozenset({hashlib.sha256(LARGE).hexdigest()}))
    path = tmp_path / "input"
    for what, data in {
        "one that covers all": with_directory(whole, (b"n", 0, len(whole) - 31, 0)),
        "one that has no end": with_directory(whole, (b"n", 0, 0xFFFFFFF0, 0)),
        "one without a header": with_directory(whole, (b"n", 0, 9, middle), (b"n", 8, 9, middle + 5)),
        "one far behind the end": with_directory(whole, (b"n", 0, 9, 0xFFFFFFF0), (b"n", 0, 1, 0)),
        "one before the beginning": with_directory(whole, (b"n", 0, 1, 0), (b"n", 0, 1, 0))[27:],
        "one by another method": with_directory(whole, (b"n", 12, len(whole), 0), (b"n", 12, 9, 0xFFFFFFF0)),
    }.items():
        path.write_bytes(data)
        assert "a.jar'" in str(finder.find(path)), what


def test_true_headers_have_a_member_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = b"a member of some bytes" * 1000
    monkeypatch.setattr(answer, "EXPANDED_BYTES", len(contents))
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        buffer = io.BytesIO()
        with (
            zipfile.ZipFile(buffer, "w", method) as archive,
            archive.open("n", "w", force_zip64=True) as member,
        ):
            member.write(contents)
        assert find(tmp_path, buffer.getvalue()) is None


def greedy_xz(content: bytes) -> bytes:
    """xz whose header asks for a dictionary of 4 GiB, which its content does not need."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 20}]
    data = bytearray(lzma.compress(content, lzma.FORMAT_XZ, lzma.CHECK_NONE, filters=filters))
    start, end = 12, 12 + (data[12] + 1) * 4 - 4  # the header of the first block, without its checksum
    assert data[start + 2 : start + 4] == b"\x21\x01"
    data[start + 4] = 40
    data[end : end + 4] = zlib.crc32(data[start:end]).to_bytes(4, "little")
    return bytes(data)


def greedy_lzma(content: bytes) -> bytes:
    """The same in the older .lzma."""
    data = bytearray(lzma.compress(content, lzma.FORMAT_ALONE))
    data[1:5] = b"\xff" * 4
    return bytes(data)


def greedy_zip(content: bytes) -> bytes:
    """The same in a member of a zip."""
    data = bytearray(zipped("a", content, zipfile.ZIP_LZMA))
    at = data.index(b"\x05\0\x5d", data.index(b"before.txt")) + 3
    data[at : at + 4] = b"\xff" * 4
    return bytes(data)


@pytest.mark.parametrize("pack", [greedy_xz, greedy_lzma, greedy_zip])
def test_what_asks_for_all_memory_is_refused_and_not_passed(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    """Half a megabyte of input took 4 GiB of the supervisor; and what is not looked through must not pass."""
    with pytest.raises(TooMuchError, match="asks for more than 268435456 bytes of memory"):
        find(tmp_path, pack(bytes(1000)))
