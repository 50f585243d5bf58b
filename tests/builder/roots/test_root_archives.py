"""Packages of a root are taken by their bytes, whoever serves them."""

import contextlib
import hashlib
import shutil
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.builder.rootparts import PACKAGE
from tests.builder.sandboxes import Site

from touchplate.base.durable import DigestFolder
from touchplate.base.progress import QuietProgress
from touchplate.builder.errors import HostLack
from touchplate.builder.plan import MIB
from touchplate.builder.roots.archives import fetch_packages
from touchplate.builder.roots.lock import RootPackage

DATA = b"a package's bytes\n" * 100
PATH = "pool/main/a/a%2Bb/a%2Bb_1:2.0~rc1_all.deb"
PLAIN = "pool/main/a/a+b/a+b_1:2.0~rc1_all.deb"


def package(data: bytes = DATA, path: str = PLAIN) -> RootPackage:
    return replace(PACKAGE, sha256=hashlib.sha256(data).hexdigest(), size=len(data), path=path)


class Archive:
    """One archive, served on loopback, and what is fetched from it."""

    def __init__(self, site: Site, store: DigestFolder) -> None:
        self.site = site
        self.store = store
        self.asked = 0

    def find(self) -> dict[str, str]:
        self.asked += 1
        return {"debian": self.site.url}

    def fetch(self, *packages: RootPackage) -> None:
        fetch_packages(packages, self.store, self.find, QuietProgress())


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with contextlib.closing(Site()) as site:
        yield Archive(site, DigestFolder(tmp_path / "debs"))


def test_a_package_is_fetched_once_and_then_taken_by_digest(archive: Archive) -> None:
    archive.site.pages[PATH] = DATA
    archive.fetch(package())
    archive.site.pages.clear()
    archive.fetch(package())
    assert archive.asked == 1
    with archive.store.open(package().sha256) as stream:
        assert stream.read() == DATA


def test_other_bytes_under_the_name_are_refused_and_not_kept(archive: Archive) -> None:
    archive.site.pages[PATH] = DATA[:-1] + b"!"
    with pytest.raises(HostLack, match=r"is not what the root lock has: the bytes have sha256") as caught:
        archive.fetch(package())
    assert caught.value.reason == "wrong-digest"
    assert not list(archive.store.digests())


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"more"], ids=["too short", "too long"])
def test_a_file_of_another_size_is_refused(archive: Archive, data: bytes) -> None:
    archive.site.pages[PATH] = data
    with pytest.raises(HostLack, match=r"have sha256|does not give"):
        archive.fetch(package())
    assert not list(archive.store.digests())


def test_a_package_that_left_the_mirror_says_what_to_do(archive: Archive) -> None:
    with pytest.raises(HostLack, match=r"answers 404 .*give --archive debian=URL"):
        archive.fetch(package())


def test_an_archive_that_nobody_knows_says_what_to_do(archive: Archive) -> None:
    other = replace(package(), upstream="debian-security")
    with pytest.raises(HostLack, match="no archive 'debian-security' is known here; give --archive"):
        archive.fetch(other)


def test_a_kept_package_that_the_disk_has_changed_is_fetched_again(archive: Archive) -> None:
    archive.site.pages[PATH] = DATA
    archive.fetch(package())
    path = archive.store.path(package().sha256)
    path.chmod(0o644)
    path.write_bytes(b"changed")
    archive.fetch(package())
    assert path.read_bytes() == DATA


def test_a_large_package_is_never_held_in_memory(archive: Archive) -> None:
    data = bytes(48 * MIB)
    archive.site.pages[PATH] = data
    one = package(data)
    tracemalloc.start()
    try:
        archive.fetch(one)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert archive.store.size(one.sha256) == len(data)
    assert peak < len(data) // 4


def test_packages_for_which_the_disk_has_no_room_are_not_asked_for(archive: Archive) -> None:
    archive.site.pages[PATH] = DATA
    free = shutil.disk_usage(archive.store.folder).free
    with pytest.raises(HostLack, match="make room, or lock a smaller root") as caught:
        archive.fetch(package(), replace(package(b"other"), size=free))
    assert caught.value.reason == "disk-full"
    assert not list(archive.store.digests())
