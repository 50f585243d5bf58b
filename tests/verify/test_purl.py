"""Package URLs, upstream URIs, operators and builders: one spelling each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.verify.support import mangle

from touchplate.verify.errors import MalformedError, VerifyError
from touchplate.verify.names import (
    check_operator,
    decode_name,
    encode_name,
    format_builder,
    format_upstream_uri,
    parse_builder,
    parse_upstream_uri,
)
from touchplate.verify.purl import PackageURL, format_purl, maven_purl, normalise_purl, parse_purl

DIGEST = "sha256:" + "0a" * 32

GOOD = [
    "pkg:maven/org.apache.commons/commons-lang3@3.17.0?type=jar",
    "pkg:maven/g/a@1?classifier=sources&repository_url=repo.example.org/releases&type=tar.gz",
    "pkg:maven/g/a@1.0%2Bbuild?type=jar",
    "pkg:maven/g/%C3%A4@1~2:3?type=jar",
    "pkg:conan/zlib@1.3.1?file=conan_package.tgz&package_id=da39&prev=552828&rrev=b8bc26",
    "pkg:conan/zlib@1.3.1?channel=stable&file=conanfile.py&rrev=b8bc26&user=me",
    f"pkg:oci/debian@{DIGEST}?repository_url=docker.io/library/debian",
]


@pytest.mark.parametrize("text", GOOD)
def test_reads_the_one_spelling_and_writes_it_back(text: str) -> None:
    purl = parse_purl(text)
    assert format_purl(purl) == str(purl) == text
    assert normalise_purl(text) == purl


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not start with pkg:"),
        ("pkg:npm/a@1", "not one of maven, conan, oci"),
        ("pkg:maven", "no version"),
        ("pkg:maven/g/a", "no version"),
        ("pkg:maven/g/a@?type=jar", "empty"),
        ("pkg:maven/a@1?type=jar", "group and artifact"),
        ("pkg:maven/g/h/a@1?type=jar", "group and artifact"),
        ("pkg:maven//a@1?type=jar", "empty"),
        ("pkg:maven/g/a@1", "no type"),
        ("pkg:maven/g/a@1?classifier=&type=jar", "empty"),
        ("pkg:maven/g/a@1?classifier&type=jar", "without value"),
        ("pkg:maven/g/a@1?", "without value"),
        ("pkg:maven/g/a@1?type=jar&", "without value"),
        ("pkg:maven/g/a@1?type=jar&classifier=c", "one spelling"),
        ("pkg:maven/g/a@1?type=jar&type=jar", "twice"),
        ("pkg:maven/g/a@1?arch=x&type=jar", "unknown qualifiers"),
        ("pkg:maven/g/a@1?type=jar#sub", "subpath"),
        ("pkg:maven/g/a@1+2?type=jar", "one spelling"),
        ("pkg:maven/g/a@1%2b2?type=jar", "one spelling"),
        ("pkg:maven/g/%61@1?type=jar", "one spelling"),
        ("pkg:maven/g/a@1@2?type=jar", "one spelling"),
        ("pkg:maven/g/ä@1?type=jar", "one spelling"),
        ("pkg:maven/g/%FF@1?type=jar", "not utf-8"),
        ("pkg:maven/g/%ED%A0%80@1?type=jar", "not utf-8"),
        ("pkg:maven/g/a%@1?type=jar", "one spelling"),
        ("pkg:maven/g/..@1?type=jar", "relative"),
        ("pkg:maven/g/a%2Fb@1?type=jar", "slash"),
        ("pkg:maven/g/a%00@1?type=jar", "relative"),
        ("pkg:maven/g/a@1?type=jar/x", "slash"),
        ("pkg:maven/g/a@1?repository_url=central&type=jar", "default upstream"),
        ("PKG:maven/g/a@1?type=jar", "does not start"),
        ("pkg:Maven/g/a@1?type=jar", "not one of"),
        ("pkg:maven/g/a@1?type=jar ", "one spelling"),
        ("pkg:conan/me/zlib@1", "no namespace"),
        ("pkg:conan/Zlib@1", "upper case"),
        ("pkg:conan/zlib@1?user=Me", "upper case"),
        # A capital letter since Unicode 16: whether it has a small one depends on the Python that asks.
        ("pkg:conan/%F0%90%B5%90@1", "other than ascii"),
        ("pkg:conan/zlib@1?user=%C3%A9", "other than ascii"),
        ("pkg:conan/zlib@1?repository_url=conancenter", "default upstream"),
        ("pkg:conan/zlib@1?file=../x", "relative"),
        ("pkg:oci/debian@1?repository_url=docker.io/library/debian", "digest"),
        (f"pkg:oci/debian@{DIGEST.upper()}?repository_url=docker.io/library/debian", "digest"),
        (f"pkg:oci/debian@{DIGEST}", "repository_url"),
        (f"pkg:oci/debian@{DIGEST}?repository_url=debian", "repository_url"),
        (f"pkg:oci/debian@{DIGEST}?repository_url=docker.io/library/ubuntu", "repository_url"),
        (f"pkg:oci/debian@{DIGEST}?repository_url=docker.io/library/debian&tag=1", "unknown qualifiers"),
    ],
)
def test_refuses(text: str, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        parse_purl(text)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("pkg:maven/g/a@1", "pkg:maven/g/a@1?type=jar"),
        (" PKG://Maven/g/a@1+2?TYPE=&classifier=x ", "pkg:maven/g/a@1%2B2?classifier=x&type=jar"),
        ("pkg:maven/g/a@1?type=pom&classifier=", "pkg:maven/g/a@1?type=pom"),
        ("pkg:maven/g/a@1?repository_url=central", "pkg:maven/g/a@1?type=jar"),
        ("pkg:conan/ZLib@1?user=Me", "pkg:conan/zlib@1?user=me"),
        (
            f"pkg:oci/debian@{DIGEST.replace(':', '%3a')}?repository_url=docker.io%2flibrary%2Fdebian",
            f"pkg:oci/debian@{DIGEST}?repository_url=docker.io/library/debian",
        ),
    ],
)
def test_brings_what_a_person_types_into_the_one_spelling(typed: str, meant: str) -> None:
    assert str(normalise_purl(typed)) == meant
    assert parse_purl(meant) == normalise_purl(typed)


@pytest.mark.parametrize(
    "typed",
    ["", "lib", "pkg:", "pkg:maven/a@1", "pkg:npm/a@1", "pkg:maven/g/a@1?type=jar&type=pom", "pkg:oci/a@1"],
)
def test_refuses_what_a_person_cannot_mean(typed: str) -> None:
    with pytest.raises(MalformedError):
        normalise_purl(typed)


@pytest.mark.parametrize("text", GOOD)
def test_damage_gives_our_errors_only_or_another_purl(text: str) -> None:
    for damaged in mangle(text.encode()):
        try:
            purl = parse_purl(damaged.decode("latin-1"))
        except VerifyError:
            continue
        assert str(purl).encode() == damaged
        assert purl != parse_purl(text)


def test_names_the_last_path_segment_of_the_file() -> None:
    names = [parse_purl(text).file_name for text in GOOD[:2] + GOOD[4:]]
    assert names == [
        "commons-lang3-3.17.0.jar",
        "a-1-sources.tar.gz",
        "conan_package.tgz",
        "conanfile.py",
        "debian",
    ]
    for text in ("pkg:conan/zlib@1", "pkg:maven/g/a@1?type=jar"):
        with pytest.raises(MalformedError, match="names no file"):
            _ = parse_purl(text).package.file_name


def test_files_of_one_package_version_share_their_package() -> None:
    jar, sources = maven_purl("g", "a", "1"), maven_purl("g", "a", "1", classifier="sources")
    assert jar != sources
    assert jar.package == sources.package == PackageURL("maven", "g", "a", "1")
    assert jar.package != maven_purl("g", "a", "1", repository_url="repo.example.org").package
    assert jar.package != maven_purl("g", "a", "2").package
    tgz = parse_purl("pkg:conan/zlib@1.3.1?channel=stable&file=conanfile.py&rrev=b8bc26&user=me")
    assert str(tgz.package) == "pkg:conan/zlib@1.3.1?channel=stable&user=me"
    assert sorted([sources, jar]) == [sources, jar]
    assert jar.ecosystem == "maven"
    assert jar.qualifier("classifier") is None


def test_maven_purls_with_impossible_parts_are_refused() -> None:
    for group, version in (("..", "1"), ("g", ""), ("g", "1/2"), ("g", "\ud800")):
        with pytest.raises(MalformedError):
            maven_purl(group, "a", version)


@given(st.text(max_size=20))
def test_encoded_names_are_plain_and_decode_again(text: str) -> None:
    encoded = encode_name(text)
    assert encoded.isascii()
    assert "/" not in encoded
    assert decode_name(encoded) == decode_name(encode_name(text, slash=True)) == text


@pytest.mark.parametrize(
    "text", ["upstream:central/g/a/1/a-1.jar", "upstream:docker.io/a%2Bb/c", "upstream:a/b"]
)
def test_reads_and_writes_upstream_uris(text: str) -> None:
    assert format_upstream_uri(*parse_upstream_uri(text)) == text
    for damaged in mangle(text.encode()):
        try:
            identity, path = parse_upstream_uri(damaged.decode("latin-1"))
        except VerifyError:
            continue
        assert format_upstream_uri(identity, path).encode() == damaged


@pytest.mark.parametrize(
    "text",
    [
        *("", "upstream:", "upstream:central", "upstream:/a", "upstream:central/", "upstream:central//a"),
        *("upstream:c/../a", "https://example.org/a", "upstream:c/a+b", "upstream:c/a%2fb", "upstream:c/a?b"),
        *("upstream:../a", "upstream:c/%0A"),
    ],
)
def test_refuses_other_uris(text: str) -> None:
    with pytest.raises(MalformedError, match="uri"):
        parse_upstream_uri(text)


OPERATORS = [
    "https://a",
    "https://rebuild.example.org",
    "https://a.example.org:8443/team/b~c",
    "https://10.0.0.1",
]


@pytest.mark.parametrize("operator", OPERATORS)
def test_takes_operators_and_their_builders(operator: str) -> None:
    check_operator(operator)
    builder = format_builder(operator, "bubblewrap")
    assert builder == operator + "/touchplate/bubblewrap/v1"
    assert parse_builder(builder) == (operator, "bubblewrap")


@pytest.mark.parametrize(
    "text",
    [
        *("", "http://a", "https://", "https://A.org", "https://a/", "https://a//b", "https://a?x"),
        *("https://a#x", "https://u@a", "https://a/%61", "https://a:0", "https://a:080", "https://a:123456"),
        *("https://-a", "https://a.", "https://a/..", "https://a/./b", "https://a\n", "https://a b"),
        *("a.example.org", "https://ä.org"),
    ],
)
def test_refuses_other_spellings_of_an_operator(text: str) -> None:
    with pytest.raises(MalformedError, match="operator"):
        check_operator(text)
    with pytest.raises(MalformedError):
        parse_builder(text + "/touchplate/bubblewrap/v1")


@pytest.mark.parametrize(
    "tail", ["", "/touchplate/none/v1", "/touchplate/bubblewrap/v2", "/touchplate/bubblewrap/v1/"]
)
def test_refuses_builders_of_unknown_isolation_or_form(tail: str) -> None:
    with pytest.raises(MalformedError, match="builder"):
        parse_builder("https://a" + tail)
