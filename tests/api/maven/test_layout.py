"""Paths of the Maven layout: what they name, and what is refused."""

import pytest

from touchplate.api.errors import BadNameError, NotFoundError
from touchplate.api.maven.layout import FileRequest, MavenFile, MetadataRequest, parse_path

DIRECTORY = "org/example/lib/1.0"


def parse_file(path: str) -> MavenFile:
    asked = parse_path(path)
    assert isinstance(asked, FileRequest)
    return asked.file


@pytest.mark.parametrize(
    ("name", "purl"),
    [
        ("lib-1.0.jar", "pkg:maven/org.example/lib@1.0?type=jar"),
        ("lib-1.0.pom", "pkg:maven/org.example/lib@1.0?type=pom"),
        ("lib-1.0-sources.jar", "pkg:maven/org.example/lib@1.0?classifier=sources&type=jar"),
        ("lib-1.0-bin.tar.gz", "pkg:maven/org.example/lib@1.0?classifier=bin&type=tar.gz"),
        ("lib-1.0.tar.gz", "pkg:maven/org.example/lib@1.0?type=tar.gz"),
        ("lib-1.0-scala_2.13.jar", "pkg:maven/org.example/lib@1.0?classifier=scala_2.13&type=jar"),
        ("lib-1.0.jar.asc", "pkg:maven/org.example/lib@1.0?type=jar.asc"),
        ("lib-1.0-sources.jar.asc", "pkg:maven/org.example/lib@1.0?classifier=sources&type=jar.asc"),
        ("lib-1.0.jar.sigstore.json", "pkg:maven/org.example/lib@1.0?type=jar.sigstore.json"),
        ("lib-1.0.module", "pkg:maven/org.example/lib@1.0?type=module"),
    ],
)
def test_names_the_file_of_a_path(name: str, purl: str) -> None:
    file = parse_file(f"{DIRECTORY}/{name}")
    assert str(file.package_url(None)) == purl
    assert file.package_url(None).file_name == file.name == name


def test_names_the_upstream_unless_it_is_the_default_one() -> None:
    file = parse_file(f"{DIRECTORY}/lib-1.0.jar")
    assert file.package_url("mirror.example.org").qualifier("repository_url") == "mirror.example.org"


@pytest.mark.parametrize(
    ("name", "is_supporting"),
    [
        ("lib-1.0.jar", False),
        ("lib-1.0-tests.jar", False),
        ("lib-1.0-sources.war", False),
        ("lib-1.0-javadoc.zip", False),
        ("lib-1.0-tests-sources.jar", False),
        ("lib-1.0.module", False),
        ("lib-1.0.pom", True),
        ("lib-1.0.jar.asc", True),
        ("lib-1.0.jar.sigstore.json", True),
        ("lib-1.0-sources.jar", True),
        ("lib-1.0-javadoc.jar", True),
        ("lib-1.0-asc.jar", False),
        ("lib-1.0-pom.jar", False),
    ],
)
def test_knows_files_that_only_support_another(name: str, *, is_supporting: bool) -> None:
    assert parse_file(f"{DIRECTORY}/{name}").is_supporting is is_supporting


@pytest.mark.parametrize(
    ("name", "aspect", "algorithm"),
    [
        ("lib-1.0.jar.sha1", "checksum", "sha1"),
        ("lib-1.0.jar.md5", "checksum", "md5"),
        ("lib-1.0.jar.asc.sha256", "checksum", "sha256"),
        ("lib-1.0.jar.sha512", "checksum", "sha512"),
        ("lib-1.0.jar.touchplate.json", "bundle", None),
        ("lib-1.0.jar.intoto.jsonl", "intoto", None),
    ],
)
def test_a_checksum_or_sibling_belongs_to_its_file(name: str, aspect: str, algorithm: str | None) -> None:
    asked = parse_path(f"{DIRECTORY}/{name}")
    assert isinstance(asked, FileRequest)
    assert (asked.aspect, asked.algorithm) == (aspect, algorithm)
    assert asked.file.name.startswith("lib-1.0.jar")


def test_tells_the_two_kinds_of_snapshot_files_apart() -> None:
    stamped = parse_file("org/example/lib/1.1-SNAPSHOT/lib-1.1-20270115.080000-3-tests.jar")
    assert (stamped.version, stamped.classifier) == ("1.1-20270115.080000-3", "tests")
    assert stamped.is_snapshot
    assert not stamped.is_mutable
    plain = parse_file("org/example/lib/1.1-SNAPSHOT/lib-1.1-SNAPSHOT.jar")
    assert plain.is_snapshot
    assert plain.is_mutable


def test_knows_metadata_of_groups_artifacts_and_snapshots() -> None:
    assert parse_path("org/example/lib/maven-metadata.xml") == MetadataRequest("org/example/lib")
    asked = parse_path("org/example/lib/1.1-SNAPSHOT/maven-metadata.xml.sha1")
    assert isinstance(asked, MetadataRequest)
    assert asked.is_snapshot
    assert asked.algorithm == "sha1"
    assert MetadataRequest("org/example/lib").group_and_artifact == ("org.example", "lib")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "..",
        "../secret",
        "org/example/../../etc/passwd",
        "org/./example/lib/1.0/lib-1.0.jar",
        "org//lib/1.0/lib-1.0.jar",
        "org/example/lib/1.0/",
        "org/example/lib/1.0/lib-1.0.jar\n",
        "org/example/lib/1.0/lib-1.0.jar\0",
        "org/example/lib/1.0\\lib-1.0.jar",
        "org/example/lib/1.0/lib-1.0%2f.jar",
        "org/exämple/lib/1.0/lib-1.0.jar",
        "org.example/lib/1.0/lib-1.0.jar/x/y/y-x.jar",
        "-org/example/lib/1.0/lib-1.0.jar",
        "a/" * 600 + "a",
        "org/" + "a" * 300 + "/1.0/x-1.0.jar",
    ],
)
def test_refuses_what_no_repository_can_hold(path: str) -> None:
    with pytest.raises(BadNameError):
        parse_path(path)


@pytest.mark.parametrize(
    "path",
    [
        ".meta/prefixes.txt",
        ".index/nexus-maven-repository-index.gz",
        "archetype-catalog.xml",
        "maven-metadata.xml",
        "org/example",
        "example/1.0/lib-1.0.jar",
        "org/example/lib/1.0/other-1.0.jar",
        "org/example/lib/1.0/lib-1.1.jar",
        "org/example/lib/1.0/lib-1.0",
        "org/example/lib/1.0/lib-1.0-tests",
        "org/example/lib/1.0/lib-1.0.",
        "org/example/lib/1.0/lib-1.0-.jar",
        "org/example/lib/1.0/lib-1.0.jar..asc",
        "org/example/lib/1.1-SNAPSHOT/lib-1.1-2027.jar",
    ],
)
def test_finds_nothing_where_no_file_of_a_package_can_be(path: str) -> None:
    with pytest.raises(NotFoundError):
        parse_path(path)
