"""Coordinates, manifests, the layout rule, and unpacking sources safely."""

import io
import stat
import zipfile
from contextlib import nullcontext
from pathlib import Path

import pytest
from tests.builder.mavenparts import manifest, pom, zip_bytes

from touchplate.builder.archives.manifest import MANIFEST, read_traces
from touchplate.builder.archives.zips import ArchiveLimits, SafeZip, checked_files, unpack
from touchplate.builder.definitions.definition import Source
from touchplate.builder.ecosystems.maven.coordinates import (
    Coordinates,
    coordinates_of,
    identity_of,
    parse_path,
    purl_of,
)
from touchplate.builder.ecosystems.maven.layout import place_source
from touchplate.builder.ecosystems.maven.pom import parse_pom
from touchplate.builder.ecosystems.maven.publisher import MAX_PROPERTIES_BYTES, uses_crlf
from touchplate.builder.ecosystems.maven.resources import Resource, check_tries, is_match
from touchplate.builder.ecosystems.maven.sources import prepare_tree
from touchplate.builder.errors import ArchiveError, BuilderError, DefinitionError
from touchplate.builder.inputs.repository import RemoteFile
from touchplate.verify.purl import parse_purl

LINK = stat.S_IFLNK | 0o777


@pytest.mark.parametrize(
    ("purl", "path"),
    [
        ("pkg:maven/org.example/a@1.0?type=jar", "org/example/a/1.0/a-1.0.jar"),
        ("pkg:maven/g/a@1.0-rc1?classifier=sources&type=jar", "g/a/1.0-rc1/a-1.0-rc1-sources.jar"),
        ("pkg:maven/g/a@1?classifier=bin&type=tar.gz", "g/a/1/a-1-bin.tar.gz"),
        ("pkg:maven/g/a@1?type=tar.gz", "g/a/1/a-1.tar.gz"),
        ("pkg:maven/g/a-b@1-2?type=pom", "g/a-b/1-2/a-b-1-2.pom"),
    ],
)
def test_purl_and_repository_path_name_each_other(purl: str, path: str) -> None:
    coordinates = coordinates_of(parse_purl(purl))
    assert coordinates.path == path
    assert parse_path(path) == coordinates
    assert str(purl_of(coordinates)) == purl


def test_upstream_identity_travels_in_the_purl() -> None:
    purl = purl_of(Coordinates("g", "a", "1"), "repo.example.org")
    assert str(purl) == "pkg:maven/g/a@1?repository_url=repo.example.org&type=jar"
    assert identity_of(purl) == "repo.example.org"
    assert identity_of(purl_of(Coordinates("g", "a", "1"))) == "central"


@pytest.mark.parametrize(
    "bad", [("g..x", "a", "1"), ("g", "a/b", "1"), ("g", "..", "1"), ("g", "a", "1-SNAPSHOT")]
)
def test_refuses_names_that_are_no_path(bad: tuple[str, str, str]) -> None:
    with pytest.raises(DefinitionError):
        Coordinates(*bad)


@pytest.mark.parametrize(
    "path", ["", "a/b", "g/a/1/b-1.jar", "g/a/1/a-1", "g/a/maven-metadata.xml", "g/a/1/a-2.jar"]
)
def test_refuses_paths_of_other_files(path: str) -> None:
    with pytest.raises(DefinitionError):
        parse_path(path)


@pytest.mark.parametrize(
    ("lines", "major"),
    [
        (("Build-Jdk-Spec: 17",), 17),
        (("Build-Jdk-Spec: 1.8",), 8),
        (("Build-Jdk: 11.0.2",), 11),
        (("Build-Jdk: 1.8.0_252", "Created-By: Apache Maven 3.6"), 8),
        (("Created-By: 17.0.2 (Oracle Corporation)",), 17),
        (("Created-By: 1.8.0_131-b11 (Oracle Corporation)",), 8),
        (("Created-By: Maven JAR Plugin 3.4.2",), None),
        ((), None),
    ],
)
def test_jdk_major_from_the_manifest(lines: tuple[str, ...], major: int | None) -> None:
    assert read_traces(zip_bytes({"META-INF/MANIFEST.MF": manifest(*lines)})).jdk_major == major


def test_manifest_lines_are_joined_across_characters() -> None:
    text = "Manifest-Version: 1.0\r\nBuild-Jdk-Spe\r\n c: 2\r\n 1\r\nName-é: \r\n\r\n".encode()
    assert read_traces(zip_bytes({"META-INF/MANIFEST.MF": text})).jdk_major == 21


def test_jar_without_manifest_says_nothing() -> None:
    assert read_traces(zip_bytes({"a": b""})).jdk_major is None


@pytest.mark.parametrize("text", [b"no colon\r\n", b"\xff: x\r\n", b": x\r\n", b"A: " + b"x" * (1 << 20)])
def test_refuses_manifests_that_are_none(text: bytes) -> None:
    with pytest.raises(ArchiveError):
        read_traces(zip_bytes({"META-INF/MANIFEST.MF": text}))


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("org/x/A.java", "src/main/java/org/x/A.java"),
        ("org/x/data.txt", "src/main/resources/org/x/data.txt"),
        ("org/x/doc-files/picture.gif", "src/main/java/org/x/doc-files/picture.gif"),
        ("overview.html", "src/main/java/overview.html"),
        ("org/x/package.html", "src/main/java/org/x/package.html"),
        ("META-INF/LICENSE.txt", "LICENSE.txt"),
        ("META-INF/NOTICE.txt", "NOTICE.txt"),
        ("META-INF/services/x", "src/main/resources/META-INF/services/x"),
        ("META-INF/MANIFEST.MF", None),
        ("META-INF/DEPENDENCIES", None),
        ("META-INF/maven/g/a/pom.xml", None),
    ],
)
def test_layout_rule(name: str, place: str | None) -> None:
    assert place_source(name) == place


def remote(path: str, data: bytes) -> RemoteFile:
    return RemoteFile(f"upstream:central/{path}", path, data)


def test_sources_jar_and_pom_become_a_tree(tmp_path: Path) -> None:
    jar = zip_bytes({"META-INF/MANIFEST.MF": b"", "A.java": b"class A {}", "META-INF/LICENSE.txt": b"free"})
    files = [remote("g/a/1/a-1-sources.jar", jar), remote("g/a/1/a-1.pom", b"<project/>")]
    prepare_tree(Source("sources-jar", ()), files, tmp_path)
    made = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert made == {"pom.xml", "LICENSE.txt", "src/main/java/A.java"}


def test_single_top_folder_of_a_source_release_is_stripped(tmp_path: Path) -> None:
    archive = zip_bytes({"a-1/pom.xml": b"<project/>", "a-1/src/x": b"y"}, mode=0o100755)
    prepare_tree(Source("source-release", ()), [remote("g/a/1/a-1-source-release.zip", archive)], tmp_path)
    assert (tmp_path / "pom.xml").read_bytes() == b"<project/>"
    assert (tmp_path / "src/x").stat().st_mode & 0o777 == 0o755


def release_with(tmp_path: Path, name: str, mode: int) -> None:
    """Prepare the tree of a source release that holds a POM and `name`, an entry of this mode."""
    special = zip_bytes({name: b"../../../../etc/passwd"}, mode=mode)
    buffer = io.BytesIO(special)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("a-1/pom.xml", b"<project/>")
    prepare_tree(Source("source-release", ()), [remote("g/a/1/s.zip", buffer.getvalue())], tmp_path)


@pytest.mark.parametrize("folder", ["src/test/resources", "module/src/it"])
def test_links_among_the_tests_of_a_release_are_left_out(tmp_path: Path, folder: str) -> None:
    release_with(tmp_path, f"a-1/{folder}/link", LINK)
    assert [path.name for path in tmp_path.rglob("*")] == ["pom.xml"]


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("a-1/src/main/java/A.java", LINK),
        ("a-1/link", LINK),
        ("a-1/mysrc/test/link", LINK),
        ("a-1/src/test", LINK),
        ("a-1/src/test/../../link", LINK),
        ("a-1/src/test/device", stat.S_IFCHR | 0o666),
        ("a-1/src/test/pipe", stat.S_IFIFO | 0o666),
    ],
)
def test_other_links_and_special_files_of_a_release_are_refused(tmp_path: Path, name: str, mode: int) -> None:
    with pytest.raises(ArchiveError):
        release_with(tmp_path, name, mode)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a/../../x", "a\\..\\x", "a//x", "./x", "C:/x", "a\nb", "x" * 2000, "a/./b"]
)
def test_refuses_names_that_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArchiveError):
        unpack(SafeZip(zip_bytes({name: b"!"})), tmp_path, lambda given: given)
    assert list(tmp_path.rglob("*")) == []


def test_refuses_a_name_with_a_nul_which_readers_take_for_two_names() -> None:
    data = zip_bytes({"a.java-b": b"!"}).replace(b"a.java-b", b"a.java\0b")
    assert zipfile.ZipFile(io.BytesIO(data)).namelist() == ["a.java"]
    with pytest.raises(ArchiveError, match="NUL"):
        SafeZip(data)


def test_refuses_links_duplicates_and_files_that_are_folders(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="link"):
        unpack(SafeZip(zip_bytes({"a": b"/etc/passwd"}, mode=0o120777)), tmp_path, lambda name: name)
    with pytest.raises(ArchiveError, match="file and a folder"):
        unpack(SafeZip(zip_bytes({"a": b"", "a/b": b""})), tmp_path, lambda name: name)
    # zipfile will not write one name twice without a warning; two names of one length are made the same.
    twice = zip_bytes({"first": b"1", "other": b"2"}).replace(b"other", b"first")
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(ArchiveError, match="twice"):
        unpack(SafeZip(twice), target, lambda name: name)


def test_refuses_bombs_before_unpacking() -> None:
    bomb = zip_bytes({"zeros": bytes(64 * 1024 * 1024)})
    with pytest.raises(ArchiveError, match="more than 200 times"):
        SafeZip(bomb)
    with pytest.raises(ArchiveError, match="more than 1000"):
        SafeZip(bomb, ArchiveLimits(total_bytes=1000))
    with pytest.raises(ArchiveError, match="2 entries, more than 1"):
        SafeZip(zip_bytes({"a": b"", "b": b""}), ArchiveLimits(entries=1))


def test_folders_that_names_imply_are_counted(tmp_path: Path) -> None:
    """A kilobyte of name makes five hundred; a hundred thousand such names would fill disk and memory."""
    limits = ArchiveLimits(entries=30)
    deep = {f"{number}/{'d/' * 9}A.java": b"" for number in range(4)}
    with pytest.raises(ArchiveError, match="make more than 30 folders"):
        checked_files(SafeZip(zip_bytes(deep)), limits)
    beside = {f"{'d/' * 25}{number}.java": b"" for number in range(9)}
    assert len(checked_files(SafeZip(zip_bytes(beside)), limits)) == 9
    many = {f"{number}/{'d/' * 498}A.java": b"" for number in range(300)}
    with pytest.raises(ArchiveError, match="make more than 100000 folders"):
        unpack(SafeZip(zip_bytes(many)), tmp_path, lambda name: name)
    assert list(tmp_path.iterdir()) == []


def test_an_entry_that_lies_about_its_size_is_refused() -> None:
    data = bytearray(zip_bytes({"a": b"hello world"}, method=zipfile.ZIP_STORED))
    at = data.index(b"PK\x01\x02") + 24  # uncompressed size in the central directory
    data[at : at + 4] = (5).to_bytes(4, "little")
    with pytest.raises(ArchiveError):
        SafeZip(bytes(data)).read(0)


def test_a_named_entry_is_read_only_up_to_what_its_reader_takes() -> None:
    """Two gigabytes of manifest pack into ten megabytes of jar."""
    jar = zip_bytes({MANIFEST: manifest("Build-Jdk-Spec: 17") + b"A: b\r\n" * 200_000})
    with pytest.raises(ArchiveError, match=r"MANIFEST\.MF' of 1200045 bytes is longer than 1048576"):
        read_traces(jar)
    properties = "META-INF/maven/g/a/pom.properties"
    long = zip_bytes({properties: b"\r\n" * MAX_PROPERTIES_BYTES})
    with pytest.raises(ArchiveError, match=f"{properties}' of 131072 bytes is longer than 65536"):
        uses_crlf(long, Coordinates("g", "a", "1"))


def test_damaged_archives_give_only_our_errors(tmp_path: Path) -> None:
    data = zip_bytes({"META-INF/MANIFEST.MF": manifest("Build-Jdk-Spec: 17"), "A.java": b"class A {}"})
    refused = 0
    for position in range(len(data)):
        for mutated in (
            data[:position],
            data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :],
        ):
            try:
                archive = SafeZip(mutated)
                for number in range(len(archive.members)):
                    archive.read(number)
                read_traces(mutated)
            except BuilderError:
                refused += 1
    assert len(data) <= refused < 2 * len(data)  # every cut and some changes, not all of them


def test_directory_of_millions_is_refused_before_it_is_read() -> None:
    directory = (b"PK\1\2" + bytes(42)) * 200_000
    end = b"PK\5\6" + bytes(8) + len(directory).to_bytes(4, "little") + bytes(6)
    with pytest.raises(ArchiveError, match="200000 entries"):
        SafeZip(directory + end)


def test_encrypted_and_unknown_entries_do_not_unpack(tmp_path: Path) -> None:
    for offset, value in ((8, 1), (10, 99)):  # general purpose bit 0; method
        data = bytearray(zip_bytes({"a.java": b"class A {}"}))
        data[data.rindex(b"PK\1\2") + offset] = value
        with pytest.raises(ArchiveError):
            unpack(SafeZip(bytes(data)), tmp_path, lambda name: name)
        (tmp_path / "a.java").unlink(missing_ok=True)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_entries_packed_as_no_java_reads_them_do_not_unpack(tmp_path: Path, method: int) -> None:
    with pytest.raises(ArchiveError, match=f"'a.java' is packed by method {method}; jars are stored or"):
        unpack(SafeZip(zip_bytes({"a.java": b"class A {}"}, method=method)), tmp_path, lambda name: name)


def test_entry_with_a_wrong_checksum_does_not_unpack(tmp_path: Path) -> None:
    data = bytearray(zip_bytes({"a.java": b"class A {}"}))
    data[data.rindex(b"PK\1\2") + 16] ^= 1
    with pytest.raises(ArchiveError, match="does not unpack"):
        unpack(SafeZip(bytes(data)), tmp_path, lambda name: name)


WHOLE = Resource("src/main/resources")
OUTSIDE = Resource(None, "META-INF", ("LICENSE.txt",))
AT_ROOT = Resource("", "META-INF", ("LICENSE.txt", "README.md"))
AMONG_SOURCES = Resource("src/main/java", includes=("**/*.properties",), excludes=("**/own/*",))


@pytest.mark.parametrize(
    ("name", "resources", "place"),
    [
        ("META-INF/LICENSE.txt", (WHOLE, AT_ROOT), "LICENSE.txt"),
        ("META-INF/README.md", (WHOLE, AT_ROOT), "README.md"),
        ("META-INF/LICENSE.txt", (OUTSIDE, WHOLE), "src/main/resources/META-INF/LICENSE.txt"),
        ("META-INF/NOTICE.txt", (AMONG_SOURCES,), "NOTICE.txt"),
        ("org/x/a.properties", (WHOLE, AMONG_SOURCES), "src/main/java/org/x/a.properties"),
        ("org/own/a.properties", (WHOLE, AMONG_SOURCES), "src/main/resources/org/own/a.properties"),
        ("org/x/a.txt", (AMONG_SOURCES,), "src/main/java/org/x/a.txt"),
        ("data/a.txt", (Resource("conf", "data"),), "conf/a.txt"),
        ("pom.xml", (Resource(""),), "src/main/java/pom.xml"),
        ("pom.xml/a", (Resource("", includes=("**",)), WHOLE), "src/main/resources/pom.xml/a"),
        ("a", (Resource("pom.xml"),), "src/main/java/a"),
        ("org/x/A.java", (WHOLE,), "src/main/java/org/x/A.java"),
        ("org/x/P.jjt", (WHOLE,), "src/main/java/org/x/P.jjt"),
        ("META-INF/MANIFEST.MF", (WHOLE,), None),
    ],
)
def test_layout_follows_the_resources_that_the_pom_declares(
    name: str, resources: tuple[Resource, ...], place: str | None
) -> None:
    assert place_source(name, resources) == place


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("**/*.xml", "a.xml", True),
        ("**/*.xml", "x/y/a.xml", True),
        ("*.xml", "x/a.xml", False),
        ("x/**", "x/y/z", True),
        ("x/", "x/y/z", True),
        ("x\\**\\z", "x/z", True),
        ("x/**/z", "x/y/w", False),
        ("a?.t[x]", "ab.t[x]", True),
        ("a[b]", "ab", False),
        ("**", "x", True),
        ("x/y", "x", False),
        ("**/" * 2000 + "b", "a/" * 2000 + "a", False),
    ],
)
def test_patterns_are_those_of_ant(pattern: str, path: str, *, matches: bool) -> None:
    assert is_match(pattern, path) is matches


@pytest.mark.parametrize(
    ("directory", "inside"),
    [
        ("${project.basedir}", ""),
        ("${basedir}/src/x/", "src/x"),
        ("./src", "src"),
        ("${project.basedir}/..", None),
        ("/etc", None),
        ("src/../../x", None),
        ("${somewhere}/x", None),
    ],
)
def test_a_resource_outside_the_project_has_no_folder(directory: str, inside: str | None) -> None:
    more = f"<build><resources><resource><directory>{directory}</directory></resource></resources></build>"
    assert parse_pom(pom("a", more=more)).build.resources == (Resource(inside),)


@pytest.mark.parametrize(
    ("resource", "count", "names", "refused"),
    [
        ("<includes><include>**/a</include></includes>", 10, ["a"] * 10_000, False),
        ("<includes><include>**/a</include></includes>", 10, ["a"] * 10_001, True),
        ("", 200_001, ["a"], True),
        (f"<excludes><exclude>{'*/' * 100}</exclude></excludes>", 1, ["a"], False),
        (f"<excludes><exclude>{'**/a/' * 40}</exclude></excludes>", 1, ["a/" * 250] * 5_001, True),
        (f"<excludes><exclude>{'**/a/' * 40}</exclude></excludes>", 1, ["a/" * 250] * 5_000, False),
        (f"<excludes><exclude>{'*/' * 100}*</exclude></excludes>", 1, ["a"], True),
    ],
)
def test_a_pom_whose_patterns_are_endless_work_is_refused(
    resource: str, count: int, names: list[str], *, refused: bool
) -> None:
    more = f"<build><resources>{f'<resource>{resource}</resource>' * count}</resources></build>"
    resources = parse_pom(pom("a", more=more)).build.resources if count < 1000 else (WHOLE,) * count
    with pytest.raises(DefinitionError, match="the POM") if refused else nullcontext():
        check_tries(resources, names)


@pytest.mark.parametrize("directory", [".mvn", "${basedir}/.mvn", ""])
def test_no_file_of_a_sources_jar_is_an_option_of_maven(directory: str, tmp_path: Path) -> None:
    more = f"<build><resources><resource><directory>{directory}</directory></resource></resources></build>"
    names = ("jvm.config", "maven.config", "extensions.xml")
    content = {("" if directory else ".mvn/") + name: b"-javaagent:a.jar" for name in names}
    files = [
        remote("g/a/1/a-1-sources.jar", zip_bytes(content)),
        remote("g/a/1/a-1.pom", pom("a", more=more)),
    ]
    prepare_tree(Source("sources-jar", ()), files, tmp_path)
    assert not (tmp_path / ".mvn").exists()
    assert len(list(tmp_path.rglob("*.config"))) == 2


def test_endless_patterns_keep_a_sources_jar_from_being_laid_out(tmp_path: Path) -> None:
    exclude = f"<excludes><exclude>{'a' * 201}</exclude></excludes>"
    more = f"<build><resources><resource>{exclude}</resource></resources></build>"
    files = [
        remote("g/a/1/a-1-sources.jar", zip_bytes({"a": b""})),
        remote("g/a/1/a-1.pom", pom("a", more=more)),
    ]
    with pytest.raises(DefinitionError, match="more than 200 characters"):
        prepare_tree(Source("sources-jar", ()), files, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_sources_jar_is_laid_out_by_its_pom(tmp_path: Path) -> None:
    more = (
        "<build><resources><resource><directory>conf</directory><targetPath>/x/</targetPath>"
        "<includes><include>*.txt</include></includes></resource></resources></build>"
    )
    jar = zip_bytes({"x/a.txt": b"1", "x/b.bin": b"2"})
    files = [remote("g/a/1/a-1-sources.jar", jar), remote("g/a/1/a-1.pom", pom("a", more=more))]
    prepare_tree(Source("sources-jar", ()), files, tmp_path)
    made = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert made == {"pom.xml", "conf/a.txt", "src/main/java/x/b.bin"}
