"""Archives and manifests: what a manifest has to say, and archives that must not be unpacked."""

import gzip
import hashlib
import io
import lzma
import os
import random
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conan_packages import archive, make_package, make_recipe, manifest_of, md5, tar_of

from touchplate.api.conan import archive as module
from touchplate.api.conan.archive import digest_members
from touchplate.api.conan.layout import MANIFEST
from touchplate.api.conan.manifest import check_manifest, expected_sums
from touchplate.api.errors import RefusedError
from touchplate.api.links import Link


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def digests(tmp_path: Path, data: bytes, suffix: str = "tgz") -> dict[str, str]:
    path = tmp_path / "archive"
    path.write_bytes(data)
    return digest_members(path, suffix)


def link(name: str, data: bytes, folder: Path) -> Link:
    sums = {
        kind: hashlib.new(kind, data).hexdigest() for kind in ("sha256", "sha512", "sha384", "sha1", "md5")
    }
    (folder / sums["sha256"]).write_bytes(data)
    return Link("conan:team", name, size=len(data), by="upstream", seen=1, **sums)


@pytest.mark.parametrize("form", ["tgz", "txz"])
def test_lists_files_of_any_size_by_their_md5(tmp_path: Path, form: str) -> None:
    files: dict[str, bytes | str] = {
        "a.h": b"", "lib/liba.a": b"x" * 3_000_001, "lib/b": b"y" * 512, "z/\u00e9 \u00fc: x": b"z" * 511,
    }  # fmt: skip
    found = digests(tmp_path, archive(files, form=form), form)
    assert found == {name: md5(data) for name, data in files.items() if isinstance(data, bytes)}


def test_a_link_counts_by_the_place_that_it_points_to_unless_that_is_a_folder(tmp_path: Path) -> None:
    found = digests(
        tmp_path,
        archive(
            {
                "lib/libz.so.1": b"elf",
                "lib/libz.so": "libz.so.1",
                "lib/broken": "nowhere",
                "lib64": "lib",
                "here": ".",
                "again": "lib64",
                "up/one": "../lib",
                "loop-a": "loop-b",
                "loop-b": "loop-a",
            }
        ),
    )
    assert found == {
        "lib/libz.so.1": md5(b"elf"),
        "lib/libz.so": md5(b"libz.so.1"),
        "lib/broken": md5(b"nowhere"),
        "loop-a": md5(b"loop-b"),
        "loop-b": md5(b"loop-a"),
    }


def test_a_hard_link_has_the_digest_of_its_file(tmp_path: Path) -> None:
    data = tar_of([(member("a"), b"one"), (member("b", tarfile.LNKTYPE, "a"), b"")])
    assert digests(tmp_path, data) == {"a": md5(b"one"), "b": md5(b"one")}


@pytest.mark.parametrize(
    "members",
    [
        [(member("/etc/passwd"), b"x")],
        [(member("../x"), b"x")],
        [(member("a/../../x"), b"x")],
        [(member("a//b"), b"x")],
        [(member("a\nb"), b"x")],
        [(member("a"), b"x"), (member("a"), b"y")],
        [(member("a"), b"x"), (member("./a"), b"y")],
        [(member("a", tarfile.SYMTYPE, "/etc"), b""), (member("a/passwd"), b"x")],
        [(member("a", tarfile.SYMTYPE, ".."), b""), (member("a/b/c"), b"x")],
        [(member("a"), b"x"), (member("a/b"), b"x")],
        [(member("a/b"), b"x"), (member("a", tarfile.SYMTYPE, "/etc"), b"")],
        [(member("a", tarfile.SYMTYPE, "b"), b""), (member("a"), b"x")],
        [(member("a", tarfile.LNKTYPE, "/etc/passwd"), b"")],
        [(member("a", tarfile.LNKTYPE, "b"), b""), (member("b"), b"x")],
        [(member("a", tarfile.FIFOTYPE), b"")],
        [(member("a", tarfile.CHRTYPE), b"")],
        [(member("a/"), b"a file for one client, a folder for another")],
        [(member("b"), b"x"), (member("a/", tarfile.SYMTYPE, "b"), b"")],
        [(member("b"), b"x"), (member("a/", tarfile.LNKTYPE, "b"), b"")],
    ],
)
def test_refuses_archives_that_would_write_elsewhere_or_twice(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    with pytest.raises(RefusedError) as caught:
        digests(tmp_path, tar_of(members))
    assert caught.value.reason == "unsafe-archive"


def _lying_header(size: int) -> bytes:
    header = tarfile.TarInfo("./PaxHeaders/x")
    header.type, header.size = tarfile.XHDTYPE, size
    return gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + b"\0" * 4096)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: b"no archive at all", id="text"),
        pytest.param(lambda data: data[: len(data) // 2], id="half"),
        pytest.param(lambda data: data[:-5], id="no end"),
        pytest.param(lambda data: gzip.compress(b"x" * 5000), id="no tar"),
        pytest.param(lambda data: data[:-8] + b"\0" * 8, id="wrong check sum"),
        pytest.param(lambda data: data + archive({"c": b"three"}), id="a second archive"),
        pytest.param(lambda data: gzip.compress(gzip.decompress(data)[:5000]), id="half a member"),
        pytest.param(lambda data: _lying_header(1 << 33), id="8 GiB header"),
    ],
)
def test_refuses_what_is_no_whole_archive(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    good = archive({"a": bytes(range(256)) * 40, "b": b"two"})
    with pytest.raises(RefusedError) as caught:
        digests(tmp_path, damage(good))
    assert caught.value.reason == "bad-archive"


def test_refuses_xz_that_is_cut_goes_on_or_wants_all_the_memory(tmp_path: Path) -> None:
    good = archive({"a": bytes(range(256)) * 400}, form="txz")
    hungry = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 30}]
    for data in (
        good[:-1], good[:200], good + b"\0", good + good, good.replace(b"\xfd7z", b"\xfd7y"), b"",
        lzma.compress(lzma.decompress(good), filters=hungry),
        lzma.compress(lzma.decompress(good), format=lzma.FORMAT_ALONE),
    ):  # fmt: skip
        with pytest.raises(RefusedError) as caught:
            digests(tmp_path, data, "txz")
        assert caught.value.reason == "bad-archive"


def test_headers_upon_headers_end(tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2
    chain = (header.tobuf(tarfile.GNU_FORMAT) + b"a\0" + b"\0" * 510) * 5_000
    with pytest.raises(RefusedError) as caught:
        digests(tmp_path, gzip.compress(chain))
    assert caught.value.reason == "bad-archive"


def test_a_form_that_cannot_be_read_here_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="tzst"):
        digests(tmp_path, b"", "tzst")


def test_a_bomb_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_UNPACKED_BYTES", 1_000_000)
    assert digests(tmp_path, archive({"a": b"\0" * 900_000}))
    with pytest.raises(RefusedError, match="more than 1000000 bytes"):
        digests(tmp_path, archive({"a": b"\0" * 900_000, "b": b"\0" * 900_000}))
    monkeypatch.setattr(module, "MAX_MEMBERS", 1)
    with pytest.raises(RefusedError, match="more than 1 files"):
        digests(tmp_path, archive({"a": b"", "b": b""}))


def test_names_take_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders within folders: 60 KB of archive took 600 MB."""
    deep = "a/" * (module.MAX_PARTS - 1)
    assert digests(tmp_path, archive({f"{deep}x": b"1"})) == {f"{deep}x": md5(b"1")}
    with pytest.raises(RefusedError, match="no path inside the archive"):
        digests(tmp_path, archive({f"{deep}a/x": b"1"}))
    folders = archive({f"{number:04}/{deep[6:]}x": b"" for number in range(300)})
    links = archive({f"{number}": f"{number}" + "x" * 1000 for number in range(900)})
    monkeypatch.setattr(module, "MAX_NAMES_BYTES", 600_000)
    for packed in (folders, links):
        tracemalloc.start()
        try:
            with pytest.raises(RefusedError, match="bytes of names"):
                digests(tmp_path, packed)
            assert tracemalloc.get_traced_memory()[1] < 3_000_000
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("what", ["recipe", "package"])
def test_manifests_as_conan_writes_them_are_what_the_files_give(tmp_path: Path, what: str) -> None:
    recipe = make_recipe()
    published = recipe if what == "recipe" else make_package(recipe, {"a": b"1", "b/c": b"2", "d": "a"})
    links = {name: link(name, data, tmp_path) for name, data in published.files.items() if name != MANIFEST}
    sums = expected_sums(links, lambda sha256: tmp_path / sha256)
    body = published.files[MANIFEST]
    check_manifest(body, sums)
    check_manifest(b"1\n" + body.partition(b"\n")[2], sums)
    for wrong in (
        body.replace(b": ", b": 0", 1),
        body + b"more: d41d8cd98f00b204e9800998ecf8427e\n",
        b"\n".join(body.split(b"\n")[:-2]),
        body.partition(b"\n")[2],
        b"-1" + body,
        b"",
    ):
        with pytest.raises(RefusedError) as caught:
            check_manifest(wrong, sums)
        assert caught.value.reason == "wrong-manifest"


def test_lines_of_a_manifest_in_another_order_are_refused() -> None:
    sums = {"a": md5(b"1"), "b": md5(b"2")}
    lines = manifest_of(sums).split(b"\n")
    with pytest.raises(RefusedError, match="the order"):
        check_manifest(b"\n".join([lines[0], lines[2], lines[1], b""]), sums)


@pytest.mark.parametrize("name", ["conaninfo.txt", "conanmanifest.txt", "conan_package.tgz"])
def test_an_archive_must_not_hold_what_lies_beside_it(tmp_path: Path, name: str) -> None:
    info = b"[settings]\n"
    links = {
        "conan_package.tgz": link("conan_package.tgz", archive({name: info}), tmp_path),
        "conaninfo.txt": link("conaninfo.txt", info, tmp_path),
    }
    with pytest.raises(RefusedError) as caught:
        expected_sums(links, lambda sha256: tmp_path / sha256)
    assert caught.value.reason == "unsafe-archive"


def _unpacked(data: bytes, folder: Path) -> dict[str, str]:
    """What a client finds after unpacking, as its own code makes a manifest of a folder (conan 2.34:
    `gather_files`, `FileTreeManifest.create`)."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        tar.extraction_filter = lambda one, _: one
        tar.extractall(folder)
    found = {}
    for root, _, files in os.walk(folder):
        for name in files:
            path = Path(root, name)
            content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
            found[str(path.relative_to(folder))] = md5(content)
    return found


def test_what_is_listed_is_what_a_client_unpacks_whatever_the_archive(tmp_path: Path) -> None:
    members = [
        (member("a.h"), b"one"), (member("lib", tarfile.DIRTYPE), b""), (member("lib/liba.a"), b"x" * 700),
        (member("lib/so", tarfile.SYMTYPE, "liba.a"), b""), (member("lib64", tarfile.SYMTYPE, "lib"), b""),
        (member("b.h", tarfile.LNKTYPE, "a.h"), b""), (member("n" * 120 + "\u00e9"), b"long"),
    ]  # fmt: skip
    plain = gzip.decompress(tar_of(members))
    chance, accepted = random.Random(7), 0
    for number in range(600):
        data = bytearray(plain)
        for _ in range(chance.choice((0, 1, 1, 2, 4))):
            block = chance.randrange(len(data) // 512 - 4) * 512
            place = block + chance.choice((0, 1, 3, 100, 124, 128, 135, 156, 157, 160, 257, 345, 400))
            data[place] = chance.choice((0, 46, 47, 48, 49, 50, 53, 55, 76, 120, 103, 255, data[place] ^ 1))
            if chance.random() < 0.8:  # else the header is refused at once
                head = bytes(data[block : block + 148]) + b" " * 8 + bytes(data[block + 156 : block + 512])
                data[block + 148 : block + 156] = b"%06o\0 " % sum(head)
        packed = gzip.compress(bytes(data), 1)
        try:
            found = digests(tmp_path, packed)
        except RefusedError:
            continue
        folder = tmp_path / f"folder-{number}"
        try:
            unpacked = _unpacked(packed, folder)
        except (OverflowError, OSError, tarfile.TarError):
            continue  # nor does a client get anything
        accepted += 1
        assert found == unpacked, number
    assert accepted > 100
