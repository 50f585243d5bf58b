"""Whether what was recorded of an archive fits together."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from touchplate.builder.ecosystems.oci import archives
from touchplate.builder.ecosystems.oci.archives import check_archives
from touchplate.builder.errors import HostLack
from touchplate.builder.inputs.lock import LockedInput

DEB = b"a package"
RIGHT, WRONG = hashlib.sha256(DEB).hexdigest(), hashlib.sha256(b"another").hexdigest()
POOL = "pool/a_1_all.deb"


def listing(sha256: str, path: str = POOL) -> bytes:
    return (
        f"Package: z\nFilename: pool/z.deb\nSHA256: {'0' * 64}\n\n"
        f"Package: a\nDescription: b\n Filename: c\nFilename: {path}\nSize: 9\nSHA256: {sha256}\n"
    ).encode()


def release(path: str, data: bytes) -> bytes:
    digest = hashlib.sha256(data).hexdigest()
    return f"-----BEGIN PGP SIGNED MESSAGE-----\n\nSHA256:\n {digest} {len(data):8} {path}\n".encode()


def check(folder: Path, files: Mapping[str, bytes]) -> None:
    inputs, paths = [], {}
    for path, data in files.items():
        sha256 = hashlib.sha256(data).hexdigest()
        paths[sha256] = folder / sha256
        paths[sha256].write_bytes(data)
        inputs.append(LockedInput("archive", path, sha256, len(data)))
    check_archives(inputs, paths)


@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, bz2.compress, lzma.compress], ids=["plain", "gzip", "bzip2", "xz"]
)
@pytest.mark.parametrize(
    "index", ["debian/dists/x/main/binary-amd64/Packages", "debian/dists/x/by-hash/SHA256/"]
)
def test_package_has_the_digest_of_its_index(
    tmp_path: Path, index: str, pack: Callable[[bytes], bytes]
) -> None:
    for sha256 in (RIGHT, WRONG):
        packed = pack(listing(sha256))
        name = index + (hashlib.sha256(packed).hexdigest() if index.endswith("/") else ".any")
        files = {name: packed, f"debian/{POOL}": DEB}
        if sha256 == RIGHT:
            check(tmp_path, files)
            continue
        with pytest.raises(HostLack, match=f"debian/{POOL} has sha256 {RIGHT}, and {name} says {WRONG}"):
            check(tmp_path, files)


def test_flat_archive_counts_from_its_own_folder(tmp_path: Path) -> None:
    for folder in ("", "flat/"):
        check(tmp_path, {f"{folder}Packages": listing(RIGHT, "./a.deb"), f"{folder}a.deb": DEB})
        with pytest.raises(HostLack, match="changed while it was read, or is damaged"):
            check(tmp_path, {f"{folder}Packages": listing(WRONG, "./a.deb"), f"{folder}a.deb": DEB})


def test_index_has_the_digest_of_the_release(tmp_path: Path) -> None:
    index, other = listing(RIGHT), listing(WRONG)
    name = "dists/x/main/Packages"
    check(tmp_path, {"dists/x/InRelease": release("main/Packages", index), name: index})
    with pytest.raises(HostLack, match=f"{name} has sha256"):
        check(tmp_path, {"dists/x/InRelease": release("main/Packages", index), name: other})


def test_file_by_hash_has_that_hash(tmp_path: Path) -> None:
    with pytest.raises(HostLack, match="by-hash"):
        check(tmp_path, {f"dists/x/by-hash/SHA256/{WRONG}": DEB})


def test_damaged_index_is_left_to_apt(tmp_path: Path) -> None:
    for damaged in (lzma.compress(listing(WRONG))[:40], b"\x1f\x8bodd", b"BZh odd", b"\xff\xfe\n: \n"):
        check(tmp_path, {"Packages": damaged, POOL: DEB})


def test_indexes_are_read_up_to_a_limit_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_INDEX_BYTES", 1000)
    bomb = gzip.compress(b"\n" * 2000)
    files = {"a/Packages": bomb, "b/Packages": listing(WRONG, "x.deb"), "b/x.deb": DEB}
    check(tmp_path, files)
    with pytest.raises(HostLack):
        check(tmp_path, dict(reversed(files.items())))  # the control: before the bomb it is seen
