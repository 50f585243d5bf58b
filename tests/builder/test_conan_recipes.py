"""Reading recipes, packages and their archives from a Conan remote, and refusing what is none."""

import gzip
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from tests.builder.conanparts import tgz, upstreams
from tests.builder.sandboxes import Site
from tests.verify.support import mangle

from touchplate.base.durable import DigestFolder
from touchplate.base.http import AddressRules, HTTPClient
from touchplate.builder.ecosystems.conan import archive
from touchplate.builder.ecosystems.conan.archive import digest_members
from touchplate.builder.ecosystems.conan.conaninfo import package_id_of, parse_conaninfo
from touchplate.builder.ecosystems.conan.reference import Revision, package_revision_of, revision_of
from touchplate.builder.ecosystems.conan.remote import list_files, read_package, read_recipe
from touchplate.builder.ecosystems.conan.revisions import package_revision, recipe_revision
from touchplate.builder.errors import ArchiveError, DefinitionError, HostLack
from touchplate.builder.inputs.repository import Repository
from touchplate.verify.purl import parse_purl

INFO = b"[settings]\nos=Linux\n[options]\nshared=False\n"
RECIPE = {
    "conanfile.py": b"class Lib:\n    name = 'lib'\n",
    "conan_export.tgz": tgz({"conandata.yml": b"sources: {}\n"}),
    "conan_sources.tgz": tgz({"src/lib.c": b"int lib;\n", "src/also.c": "lib.c"}),
}
PACKAGE = {"conan_package.tgz": tgz({"lib/liblib.a": b"!<arch>\n"}), "conaninfo.txt": INFO}
REVISION = Revision(
    "lib", "1.0", recipe_revision(RECIPE), package_id_of(INFO), package_revision(PACKAGE), user="me"
)
MANIFEST = {"conanmanifest.txt": b"1700000000\n"}


class Remote:
    """A remote on loopback with one package, and the repository that reads it."""

    def __init__(self, site: Site, repository: Repository) -> None:
        self.site = site
        self.repository = repository
        self.put(REVISION.recipe, {**RECIPE, **MANIFEST, "metadata/log.txt": b"x"})
        self.put(REVISION, {**PACKAGE, **MANIFEST})

    def put(self, revision: Revision, files: Mapping[str, bytes]) -> None:
        self.site.pages[revision.files_path] = json.dumps({"files": {name: {} for name in files}}).encode()
        for name, data in files.items():
            self.site.pages[revision.path(name)] = data


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Remote]:
    site = Site()
    try:
        with HTTPClient(AddressRules.parse(hosts=["127.0.0.1"])) as client:
            yield Remote(site, Repository(upstreams(site)[0], client, DigestFolder(tmp_path)))
    finally:
        site.close()


def test_a_package_url_and_a_path_name_the_same_file() -> None:
    text = f"pkg:conan/lib@1.0?file=conaninfo.txt&package_id={REVISION.package_id}"
    text += f"&prev={REVISION.prev}&rrev={REVISION.rrev}&user=me"
    assert revision_of(parse_purl(text)) == REVISION
    assert str(REVISION.purl("conaninfo.txt")) == text
    expected = f"v2/conans/lib/1.0/me/_/revisions/{REVISION.rrev}/packages/{REVISION.package_id}"
    assert REVISION.path("conaninfo.txt") == f"{expected}/revisions/{REVISION.prev}/files/conaninfo.txt"
    assert (
        REVISION.recipe.path("conanfile.py")
        == f"v2/conans/lib/1.0/me/_/revisions/{REVISION.rrev}/files/conanfile.py"
    )


@pytest.mark.parametrize(
    "text",
    [
        "pkg:conan/lib@1.0",
        "pkg:conan/lib@1.0?file=conan_package.tgz",
        "pkg:conan/lib@1.0?file=conan_package.tgz&package_id=1&rrev=2",
        "pkg:conan/lib@1.0?channel=stable&file=conan_package.tgz&package_id=1&prev=3&rrev=2",
        "pkg:conan/lib@1.0?file=conan_package.tgz&package_id=1&prev=3&rrev=2%22",
        "pkg:conan/l@1.0?file=conan_package.tgz&package_id=1&prev=3&rrev=2",
        "pkg:maven/org.example/lib@1.0?type=jar",
    ],
)
def test_what_names_no_package_revision_is_refused(text: str) -> None:
    with pytest.raises(DefinitionError):
        package_revision_of(parse_purl(text))


def test_a_recipe_is_read_without_its_manifest_and_metadata(remote: Remote) -> None:
    files = read_recipe(remote.repository, REVISION.recipe)
    assert {file.path: file.data for file in files} == RECIPE
    assert {file.uri for file in files} == {str(REVISION.recipe.purl(name)) for name in RECIPE}


def test_a_package_is_read_with_its_manifest(remote: Remote) -> None:
    files = read_package(remote.repository, REVISION)
    assert {name: file.data for name, file in files.items()} == {**PACKAGE, **MANIFEST}
    assert files["conaninfo.txt"].uri.startswith("upstream:conancenter/v2/conans/lib/1.0/me/_/revisions/")


def test_a_changed_recipe_is_refused_with_both_revisions(remote: Remote) -> None:
    remote.put(REVISION.recipe, {**RECIPE, "conanfile.py": b"import os\n"})
    with pytest.raises(DefinitionError) as caught:
        read_recipe(remote.repository, REVISION.recipe)
    other = recipe_revision({**RECIPE, "conanfile.py": b"import os\n"})
    assert other in str(caught.value)
    assert REVISION.rrev in str(caught.value)


def test_a_recipe_without_its_sources_is_not_taken_for_it(remote: Remote) -> None:
    remote.put(REVISION.recipe, {name: RECIPE[name] for name in ("conanfile.py", "conan_export.tgz")})
    with pytest.raises(DefinitionError, match="is asked for"):
        read_recipe(remote.repository, REVISION.recipe)


def test_another_package_id_is_refused_with_both(remote: Remote) -> None:
    other = replace(REVISION, package_id="a" * 40)
    remote.put(other, {**PACKAGE, **MANIFEST})
    with pytest.raises(DefinitionError) as caught:
        read_package(remote.repository, other)
    assert "a" * 40 in str(caught.value)
    assert str(REVISION.package_id) in str(caught.value)


@pytest.mark.parametrize("name", ["conan_package.txz", "conan_package.tzst"])
def test_other_compressions_are_refused_by_name(remote: Remote, name: str) -> None:
    remote.put(REVISION, {name: b"", "conaninfo.txt": INFO, **MANIFEST})
    with pytest.raises(DefinitionError, match=name):
        read_package(remote.repository, REVISION)


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"files": []}', b'{"files": {}, "files": {}}'])
def test_an_answer_of_no_remote_says_nothing_about_the_package(remote: Remote, answer: bytes) -> None:
    remote.site.pages[REVISION.files_path] = answer
    with pytest.raises(HostLack, match="as a Conan remote"):
        list_files(remote.repository, REVISION)


def test_a_revision_that_is_not_there_is_named(remote: Remote) -> None:
    other = replace(REVISION, prev="b" * 32)
    with pytest.raises(DefinitionError, match="b" * 32):
        list_files(remote.repository, other)


def test_settings_options_and_requirements_are_read() -> None:
    info = parse_conaninfo(INFO + b"[requires]\nzlib/1.3.Z\n[conf]\na=b\n[python_requires]\n\n")
    assert info.settings == {"os": "Linux"}
    assert info.options == {"shared": "False"}
    assert info.requires == ("zlib/1.3.Z",)
    assert "conf" in info.others


@pytest.mark.parametrize(
    "text",
    [
        b"os=Linux\n",
        b"[settings]\nos\n",
        b"[settings]\nos={{ 1 }}\n",
        b"[settings]\nos=a\nos=b\n",
        b"[options]\na b=1\n",
        b"[settings]\n\xff=1\n",
        b"[settings]\n" + b"a" * 70_000,
    ],
)
def test_a_conaninfo_that_could_say_something_else_is_refused(text: bytes) -> None:
    with pytest.raises(DefinitionError):
        parse_conaninfo(text)


def tar_of(*infos: tarfile.TarInfo) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for info in infos:
            tar.addfile(info, io.BytesIO(b"\0" * info.size))
    return gzip.compress(plain.getvalue())


def member(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(b"no archive", "cannot be read", id="no-archive"),
        pytest.param(tgz({"a": b"1" * 5000})[:-20], "cannot be read|cut short", id="cut"),
        pytest.param(tar_of(member("../a")), "no plain path", id="climbs"),
        pytest.param(tar_of(member("/a")), "no plain path", id="absolute"),
        pytest.param(tar_of(member("a"), member("./a")), "stands twice", id="twice"),
        pytest.param(tar_of(member("a/")), "named as a folder", id="folder-name"),
        pytest.param(tgz({"a": "/tmp", "a/b": b"1"}), "below a link", id="through-link"),
        pytest.param(tgz({"a": "..", "a/b/c": b"1"}), "below a link", id="far-through-link"),
        pytest.param(tgz({"a/b": b"1", "a": "/tmp"}), "in place of a folder", id="link-for-folder"),
        pytest.param(tar_of(member("a", kind=tarfile.FIFOTYPE)), "neither file", id="pipe"),
        pytest.param(tar_of(member("a", kind=tarfile.LNKTYPE, link="b")), "not before it", id="hard-link"),
        pytest.param(tar_of(member("a" * 300_000)), "headers of more than", id="long-header"),
        # A hundred thousand folders, each named in full: more memory than any machine has.
        pytest.param(tar_of(member("d/" * 100_000 + "f")), "more than 1024 bytes", id="long-name"),
    ],
)
def test_an_archive_that_is_none_of_conans_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(ArchiveError, match=says):
        digest_members(data)


def test_an_archive_that_explodes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 1024 * 1024)
    with pytest.raises(ArchiveError, match="unpacks to more than"):
        digest_members(tar_of(member("a", size=2 * 1024 * 1024)))


def test_too_many_members_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBERS", 2)
    with pytest.raises(ArchiveError, match="more than 2 members"):
        digest_members(tar_of(*(member(f"f{number}") for number in range(4))))


def test_folders_that_names_imply_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBERS", 30)
    with pytest.raises(ArchiveError, match="the names in the archive make more than 30 folders"):
        digest_members(tar_of(*(member(f"{number}/{'d/' * 9}f") for number in range(4))))
    assert len(digest_members(tar_of(*(member(f"{'d/' * 25}{number}") for number in range(9))))) == 9


def test_members_of_every_size_around_a_block_are_digested() -> None:
    members: dict[str, bytes | str] = {
        f"f{size}": b"x" * size for size in (0, 1, 511, 512, 513, 1024, 300_000)
    }
    found = digest_members(tgz(members))
    assert set(found) == set(members)


def test_a_link_to_a_folder_is_no_file() -> None:
    found = digest_members(tgz({"lib/a": b"1", "lib64": "lib", "other": "lib64", "broken": "nowhere"}))
    assert set(found) == {"lib/a", "broken"}


def test_whatever_is_done_to_an_archive_it_is_read_or_refused() -> None:
    packed = tgz({"lib/a": b"x" * 700, "b": "lib/a", "long" * 40: b"1"})
    header = gzip.decompress(packed)[:512]
    refused = 0
    for data in (*mangle(packed), *(gzip.compress(one + bytes(2048), 1) for one in mangle(header))):
        try:
            digest_members(data)
        except ArchiveError:
            refused += 1
    assert refused > 100


def test_whatever_is_done_to_a_conaninfo_it_is_read_or_refused() -> None:
    refused = 0
    damaged = list(mangle(INFO))
    for data in damaged:
        try:
            parse_conaninfo(data)
        except DefinitionError:
            refused += 1
    assert 0 < refused < len(damaged)
