"""`tar-times@1` and `tar-owners@1`: what goes, that nothing else goes with it, and what is refused."""

import gzip
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builder.tarparts import (
    PACKAGE,
    Item,
    block,
    gzip_bytes,
    later,
    of,
    pax,
    seen,
    tar_bytes,
    with_checksums,
)

from touchplate.builder.errors import StabilizeError
from touchplate.builder.stabilize.pax import MAX_PAX_BYTES
from touchplate.builder.stabilize.registry import find_shortest, stabilize

TIMES, OWNERS = TAR = ("tar-times@1", "tar-owners@1")
ALL = ("gzip-header@1", *TAR)
ROOT = (0, 0, "root", "root")
FORMS = [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT]


def shortest(published: bytes, rebuilt: bytes) -> tuple[str, ...] | None:
    found = find_shortest(published, rebuilt, ALL)
    return None if found is None else found.stabilizers


@pytest.mark.parametrize("form", FORMS)
def test_times_and_owners_are_taken_out_and_everything_else_stays(form: int) -> None:
    items = PACKAGE[:4]
    one, other = tar_bytes(items, form=form), tar_bytes(later(of(items, ROOT)), form=form)
    made = stabilize(one, TAR)
    assert made == stabilize(other, TAR)
    assert seen(made) == seen(one)
    with tarfile.open(fileobj=io.BytesIO(made)) as archive:
        assert {(info.mtime, info.uid, info.gid, info.uname, info.gname) for info in archive} == {
            (0, 0, 0, "", "")
        }


def test_a_time_with_a_fraction_is_a_pax_record_and_goes_with_it() -> None:
    whole, fraction = tar_bytes(PACKAGE), tar_bytes(later(PACKAGE, 0.25))
    assert len(fraction) > len(whole)
    assert stabilize(whole, (TIMES,)) == stabilize(fraction, (TIMES,))


def test_other_records_of_a_pax_header_stay_with_it() -> None:
    one = tar_bytes([Item("a", b"1", time=1.5, records={"SCHILY.xattr.user.x": "1"})])
    other = tar_bytes([Item("a", b"1", time=2.5, records={"SCHILY.xattr.user.x": "2"})])
    assert stabilize(one, TAR) != stabilize(other, TAR)
    with tarfile.open(fileobj=io.BytesIO(stabilize(one, TAR))) as archive:
        assert archive.getmember("a").pax_headers == {"SCHILY.xattr.user.x": "1"}


def test_an_owner_with_a_line_end_is_kept_since_some_readers_see_a_record_in_it() -> None:
    # node-tar splits records at line ends, and takes what follows this one for the name of the member.
    hidden = pax(b"28 uname=x\n16 path=../evil\n\n") + block(b"a", b"0") + bytes(1024)
    plain = block(b"a", b"0") + bytes(1024)
    assert seen(hidden) == seen(plain)
    assert shortest(hidden, plain) is None


def test_owners_that_do_not_fit_a_header_are_records_and_go_with_it() -> None:
    one = tar_bytes(of(PACKAGE, (10_000_000, 10_000_000, "ü" * 40, "g" * 40)))
    assert stabilize(one, (OWNERS,)) == stabilize(tar_bytes(PACKAGE), (OWNERS,))


NAMES = st.text("abc/", min_size=1, max_size=120).filter(lambda name: not name.startswith("/"))
ITEMS = st.lists(
    st.builds(
        Item,
        name=NAMES,
        content=st.binary(max_size=600),
        mode=st.sampled_from([0o644, 0o755, 0o4755, 0]),
        time=st.one_of(st.integers(0, 2**40), st.integers(0, 2**34).map(lambda eighths: eighths / 8)),
        owner=st.tuples(
            st.integers(0, 2**31), st.integers(0, 2**31), st.text("uü", max_size=40), st.just("g")
        ),
        records=st.dictionaries(st.sampled_from(["comment", "SCHILY.x"]), st.text("xyü", max_size=9)),
    ),
    min_size=1,
    max_size=4,
)


@given(ITEMS, st.sampled_from(FORMS[:2]))
def test_whatever_is_packed_stays_and_a_second_time_changes_nothing(items: list[Item], form: int) -> None:
    data = tar_bytes(items, form=form)
    for names in (TAR, (TIMES,), (OWNERS,)):
        made = stabilize(data, names)
        assert seen(made) == seen(data)
        assert stabilize(made, names) == made
    assert stabilize(data, TAR) == stabilize(data, (OWNERS, TIMES))
    packed = stabilize(gzip_bytes(data), ALL)
    assert gzip.decompress(packed) == stabilize(data, TAR)
    assert stabilize(packed, ALL) == packed


def test_no_changed_byte_of_a_tar_ever_disappears_with_times_and_owners() -> None:
    """Every byte of an archive is changed, and the checksums are mended: either the change is one of times or
    owners, or the stabilized bytes differ, or the archive is refused."""
    data = tar_bytes(
        [Item("a/" + "b" * 101, b"content", time=1.5), Item("c", type=tarfile.SYMTYPE, link="d")]
    )
    before, view = stabilize(data, TAR), seen(data)
    hidden = 0
    for at in range(len(data)):
        for value in (data[at] ^ 1, 0, 0x30, 0xFF):
            if value == data[at]:
                continue
            other = with_checksums(data[:at] + bytes([value]) + data[at + 1 :])
            try:
                after = stabilize(other, TAR)
            except StabilizeError:
                continue
            if after == before:
                hidden += 1
                assert seen(other) == view, at
    assert hidden > 100  # or the test would show nothing


@given(st.data())
def test_no_bytes_written_over_a_tar_ever_disappear(draw: st.DataObject) -> None:
    data = tar_bytes(PACKAGE[1:4])
    at = draw.draw(st.integers(0, len(data) - 1))
    patch = draw.draw(st.binary(min_size=1, max_size=16))
    other = with_checksums(data[:at] + patch + data[at + len(patch) :])
    try:
        after = stabilize(other, TAR)
    except StabilizeError:
        return
    assert (after == stabilize(data, TAR)) <= (seen(other) == seen(data))


END = bytes(1024)
FILE = block(b"a", b"0")


BAD_TAR = [
    (b"", "not tar"),
    (b"text" * 300, "not tar"),
    (END, "or without any"),
    (pax(b"11 mtime=1\n", b"g") + END, "or without any"),
    (tar_bytes(PACKAGE)[:700], "cut short"),
    (tar_bytes(PACKAGE)[:-10000], "cut short|does not end"),
    (FILE, "not tar, cut short"),
    (FILE + bytes(512), "two or more"),
    (FILE + END + b"x", "whole zero blocks"),
    (FILE + END + FILE + END, "whole zero blocks"),
    (FILE[:300] + b"x" + FILE[301:] + END, "wrong checksum"),
    (block(b"a", b"S") + END, "type b'S'"),
    (block(b"a", b"V") + END, "type b'V'"),
    (block(b"a", b"X") + END, "type b'X'"),
    (block(b"a", b"2", b"00000000001\0", b"x") + END, "content behind a link"),
    (block(b"a", b"5", b"00000001000\0", bytes(512)) + END, "content behind a link"),
    (block(b"a", b"0", b"77777777777\0") + END, "cut short"),
    (block(b"a", b"0", b"\x80" + bytes(11)) + END, "not plain octal"),
    (block(b"a", b"0", b"0000000\x000001") + END, "not plain octal"),
    (block(b"a", b"0", b"-0000000001\0") + END, "not plain octal"),
    (pax(b"6 a=b\n") + END, "ends where a member should follow"),
    (pax(b"6 a=b\n") + pax(b"6 a=b\n", b"g") + FILE + END, "two headers about one member"),
    (FILE + pax(b"6 a=b\n", b"g") + END, "ends where a member should follow"),
    (pax(b"") + pax(b"6 a=b\n") + FILE + END, "two headers about one member"),
    (block(b"L", b"L") + block(b"L", b"L") + FILE + END, "two headers about one member"),
    (block(b"L", b"L") + pax(b"6 a=b\n") + FILE + END, "two headers about one member"),
    (block(b"L", b"L", b"00000000002\0", b"b\0") + END, "ends where a member should follow"),
    (pax(b"22 GNU.sparse.major=1\n") + FILE + END, "sparse member"),
    (with_checksums(pax(b"11 mtime=1\n")[:329] + b"device" + FILE[335:] + FILE + END), "for a number"),
    (pax(b"7 a=b\n") + FILE + END, "whole records"),
    (pax(b"06 a=b\n") + FILE + END, "whole records"),
    (pax(b"6 a=b\n6 a=") + FILE + END, "whole records"),
    (pax(b"a=b\n") + FILE + END, "whole records"),
    (pax(b"4 =\n") + FILE + END, "whole records"),
    (pax(b"11 mtime=x\n") + FILE + END, "mtime whose value is none"),
    (pax(b"9 uid=-1\n") + FILE + END, "uid whose value is none"),
    (pax(b"9 size=7\n") + FILE + END, "another size than its header"),
    (pax(b"9 size=x\n") + FILE + END, "size is not one number"),
    (pax(b"9 size=0\n9 size=7\n") + FILE + END, "size is not one number"),
    (pax(b"9 size=0\n") + pax(b"9 size=7\n") + FILE + END, "two headers about one member"),
    (
        pax(b"9 size=0\n") + block(b"L", b"L", b"00000000002\0", b"b\0") + FILE + END,
        "two headers about one member",
    ),
    (pax(b"9 size=0\n", b"g") + FILE + END, "one size to all members"),
    (
        block(b"x", b"x", b"%011o\0" % (MAX_PAX_BYTES + 1), bytes(MAX_PAX_BYTES + 1)) + END,
        "a header about a member of more",
    ),
    (with_checksums(FILE[:136] + b"0000000000x\0" + FILE[148:] + END), "for a number"),
]


@pytest.mark.parametrize(("data", "message"), BAD_TAR, ids=range(len(BAD_TAR)))
def test_what_readers_disagree_about_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(StabilizeError, match=message):
        stabilize(data, TAR)


def record(key: str, value: bytes) -> bytes:
    """One PAX record with its right length."""
    body = b" " + key.encode() + b"=" + value + b"\n"
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


RECORDS = st.lists(
    st.builds(
        record,
        st.sampled_from(["mtime", "ctime", "uid", "gname", "path", "linkpath", "size", "hdrcharset", "a.b"]),
        st.sampled_from([b"", b"0", b"7", b"1.5", b"a", b"a/b", b"\xff", b"BINARY"]),
    ),
    max_size=3,
).map(b"".join)
CONTENTS = st.sampled_from([b"", b"hello", bytes(512), FILE])
BLOCKS = st.one_of(
    st.builds(
        lambda name, kind, content: block(name, kind, b"%011o\0" % len(content), content),
        st.sampled_from([b"a", b"b/"]),
        st.sampled_from([b"0", b"\0", b"7"]),
        CONTENTS,
    ),
    st.builds(pax, RECORDS, st.sampled_from([b"x", b"g"])),
    st.builds(block, st.just(b"l"), st.sampled_from([b"1", b"2", b"3", b"5", b"6", b"S", b"V"])),
    st.builds(
        block, st.just(b"L"), st.sampled_from([b"L", b"K"]), st.just(b"00000000002\0"), st.just(b"z\0")
    ),
    st.binary(min_size=1, max_size=40),
)


@given(st.lists(BLOCKS, min_size=1, max_size=6))
def test_whatever_headers_follow_each_other_nothing_else_goes(parts: list[bytes]) -> None:
    data = b"".join(parts) + END
    try:
        made = stabilize(data, TAR)
    except StabilizeError:
        return
    assert seen(made) == seen(data) is not None
    assert stabilize(made, TAR) == made


def test_a_pax_header_that_goes_away_takes_nothing_else_with_it() -> None:
    header = pax(b"11 mtime=1\n")
    assert stabilize(header + FILE + END, (TIMES,)) == FILE + END
    padding = header[:-1] + b"!"
    named = with_checksums(header[:157] + b"link" + header[161:])
    unused = with_checksums(header[:500] + b"x" + header[501:])
    for hiding in (padding, named, unused):
        with pytest.raises(StabilizeError, match="something beside its records"):
            stabilize(hiding + FILE + END, (TIMES,))
        assert stabilize(hiding + FILE + END, (OWNERS,)) == hiding + FILE + END


def test_a_global_header_keeps_what_is_not_a_time() -> None:
    commit = b"22 comment=0123456789\n"
    assert len(commit) == 22
    one = pax(commit + b"11 mtime=1\n", b"g") + FILE + END
    other = pax(commit, b"g") + FILE + END
    assert shortest(one, other) == (TIMES,)
    assert shortest(one, pax(commit.replace(b"9", b"8"), b"g") + FILE + END) is None


def test_gnu_times_at_the_place_of_a_name_prefix_stay() -> None:
    """Python's reader takes bytes 345 to 500 for a part of the name, whatever the magic says."""
    gnu = FILE[:257] + b"ustar  \0" + FILE[265:]
    one, other = (
        with_checksums(gnu[:345] + time + gnu[357:] + END) for time in (b"00000000001\0", b"00000000002\0")
    )
    assert seen(one) != seen(other)
    assert shortest(one, other) is None


def test_an_old_header_without_magic_has_no_names_of_owners() -> None:
    old = with_checksums(FILE[:257] + b"whatever" + b"x" * 64 + FILE[329:] + END)
    assert stabilize(old, (OWNERS,))[257:329] == old[257:329]


def test_very_many_headers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("touchplate.builder.stabilize.tarblocks.MAX_HEADERS", 3)
    assert stabilize(FILE * 3 + END, (TIMES,)) == FILE * 3 + END
    with pytest.raises(StabilizeError, match="more than 3 headers"):
        stabilize(FILE * 4 + END, (TIMES,))
