"""The paths of a Conan remote: what they name, and what names nothing."""

import pytest

from touchplate.api.conan.layout import (
    MAX_PATH,
    FileRequest,
    FilesRequest,
    PackagesRequest,
    PingRequest,
    ProofRequest,
    Reference,
    Revision,
    RevisionsRequest,
    SearchRequest,
    UserRequest,
    parse_conan_path,
    parse_reference,
    repository_url,
)
from touchplate.api.errors import BadNameError, NotFoundError

RREV = "6b202e2d2c7b745dad2ce1c2faeee61e"
PID = "5bc851010eb7b707e5cb2e24cb8ccf0f27989fa9"
PREV = "aaa8233dbeb9d796ad3a03063dd0194a"
LZ4 = Reference("lz4", "1.9.4")
R = "v2/conans/lz4/1.9.4/_/_"
RECIPE = Revision(LZ4, RREV)
PACKAGE = Revision(LZ4, RREV, PID, PREV)
FILES = f"{R}/revisions/{RREV}/files"
PACKAGE_FILES = f"{R}/revisions/{RREV}/packages/{PID}/revisions/{PREV}/files"


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("v1/ping", PingRequest()),
        ("v2/users/authenticate", UserRequest("authenticate")),
        ("v2/users/check_credentials", UserRequest("check_credentials")),
        ("v2/conans/search", SearchRequest()),
        (f"{R}/latest", RevisionsRequest(LZ4, True)),
        (f"{R}/revisions", RevisionsRequest(LZ4, False)),
        (f"{R}/search", PackagesRequest(LZ4, None)),
        (f"{R}/revisions/{RREV}/search", PackagesRequest(LZ4, RREV)),
        (f"{R}/revisions/{RREV}/packages/{PID}/latest", RevisionsRequest(LZ4, True, RREV, PID)),
        (f"{R}/revisions/{RREV}/packages/{PID}/revisions", RevisionsRequest(LZ4, False, RREV, PID)),
        (FILES, FilesRequest(RECIPE)),
        (PACKAGE_FILES, FilesRequest(PACKAGE)),
        (f"{FILES}/conanfile.py", FileRequest(RECIPE, "conanfile.py")),
        (f"{FILES}/conan_sources.txz", FileRequest(RECIPE, "conan_sources.txz")),
        (f"{PACKAGE_FILES}/conan_package.tzst", FileRequest(PACKAGE, "conan_package.tzst")),
        (f"{PACKAGE_FILES}/conanmanifest.txt", FileRequest(PACKAGE, "conanmanifest.txt")),
        (f"{FILES}/metadata/sign/pkgsign-manifest.json", ProofRequest(RECIPE, None)),
        (
            f"{FILES}/metadata/sign/conanfile.py.touchplate.json",
            ProofRequest(RECIPE, "conanfile.py", "bundle"),
        ),
        (
            f"{PACKAGE_FILES}/metadata/sign/conaninfo.txt.intoto.jsonl",
            ProofRequest(PACKAGE, "conaninfo.txt", "intoto"),
        ),
        (
            f"v2/conans/qt/6.7.1/acme/stable/revisions/{RREV}/files",
            FilesRequest(Revision(Reference("qt", "6.7.1", "acme", "stable"), RREV)),
        ),
        (
            "v2/conans/libstdc++/cci.20200203/acme/_/revisions/0/files",
            FilesRequest(Revision(Reference("libstdc++", "cci.20200203", "acme"), "0")),
        ),
    ],
)
def test_reads_every_call_of_a_reading_client(path: str, asked: object) -> None:
    assert parse_conan_path(path) == asked
    if isinstance(asked, RevisionsRequest | PackagesRequest):
        assert asked.path == path


def test_a_file_stands_where_it_was_read_from() -> None:
    assert RECIPE.file_path("conanfile.py") == f"{FILES}/conanfile.py"
    assert PACKAGE.file_path("conaninfo.txt") == f"{PACKAGE_FILES}/conaninfo.txt"


@pytest.mark.parametrize(
    "path",
    [
        "v2/conans/../1.0/_/_/latest",
        "v2/conans/lz4/../_/_/latest",
        "v2/conans/./1.0/_/_/latest",
        "v2/conans//1.0/_/_/latest",
        "v2/conans/LZ4/1.0/_/_/latest",
        "v2/conans/lz4/1.0-RC/_/_/latest",
        "v2/conans/-lz4/1.0/_/_/latest",
        "v2/conans/lz4/1.0\n/_/_/latest",
        "v2/conans/lz4/1.0\x00/_/_/latest",
        "v2/conans/lz4/1.0@x/_/_/latest",
        "v2/conans/l z4/1.0/_/_/latest",
        "v2/conans/lz4/1.0/_/stable/latest",
        "v2/conans/lz4/1.0/Acme/stable/latest",
        "v2/conans/lz\u00e9/1.0/_/_/latest",
        f"v2/conans/{'a' * 102}/1.0/_/_/latest",
        f"{R}/revisions/../files",
        f"{R}/revisions/..%2f/files",
        f"{R}/revisions/{'a' * 65}/files",
        f"{R}/revisions//files",
        f"{R}/revisions/{RREV}/packages/{PID}x-/latest",
        f"{R}/revisions/{RREV}/packages/{PID}/revisions/a:b/files",
        f"{R}/latest" + "a" * MAX_PATH,
    ],
)
def test_refuses_names_that_nothing_can_have(path: str) -> None:
    with pytest.raises(BadNameError):
        parse_conan_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "v1/conans/search",
        "v2/ping",
        "v1/ping/",
        "v2/users",
        "v2/users/authenticate/x",
        "v2/conans",
        R,
        f"{R}/",
        f"{R}/latest/",
        f"{R}/delete",
        f"{R}/revisions/{RREV}",
        f"{R}/revisions/{RREV}/packages",
        f"{R}/revisions/{RREV}/packages/{PID}",
        f"{R}/revisions/{RREV}/packages/{PID}/revisions/{PREV}",
        f"{FILES}/",
        f"{FILES}/conan_package.tgz",
        f"{PACKAGE_FILES}/conanfile.py",
        f"{FILES}/../conanfile.py",
        f"{FILES}/conanfile.py/",
        f"{FILES}/CONANFILE.PY",
        f"{FILES}/conan_export.tar.gz",
        f"{FILES}/metadata/logs/build.log",
        f"{FILES}/metadata/sign/upstream.sig",
        f"{FILES}/metadata/sign/conan_package.tgz.touchplate.json",
        f"{FILES}/metadata/sign/conanmanifest.txt.touchplate.json",
        f"{FILES}/metadata/sign/../conanfile.py.touchplate.json",
        f"{FILES}/metadata/sign/conanfile.py.touchplate.json.touchplate.json",
    ],
)
def test_what_is_no_call_of_a_remote_is_not_found(path: str) -> None:
    with pytest.raises(NotFoundError):
        parse_conan_path(path)


def test_package_urls_are_those_of_the_formats() -> None:
    assert str(PACKAGE.package_url("conan_package.tgz", None)) == (
        f"pkg:conan/lz4@1.9.4?file=conan_package.tgz&package_id={PID}&prev={PREV}&rrev={RREV}"
    )
    url = Revision(Reference("a+b", "1", "acme", "x"), "0").package_url("conanfile.py", "r.example.org")
    assert str(url) == (
        "pkg:conan/a%2Bb@1?channel=x&file=conanfile.py&repository_url=r.example.org&rrev=0&user=acme"
    )
    assert str(url.package) == "pkg:conan/a%2Bb@1?channel=x&repository_url=r.example.org&user=acme"
    assert repository_url("conancenter") is None
    assert repository_url("r.example.org") == "r.example.org"


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("lz4/1.9.4", LZ4),
        ("lz4/1.9.4@", LZ4),
        ("lz4/1.9.4@_/_", LZ4),
        ("qt/6.7.1@acme/stable", Reference("qt", "6.7.1", "acme", "stable")),
        ("qt/6.7.1@acme", Reference("qt", "6.7.1", "acme")),
    ],
)
def test_reads_references_as_searches_list_them(text: str, reference: Reference) -> None:
    assert parse_reference(text) == reference
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize("text", ["", "lz4", "lz4/", "/1", "lz4/1/2", "../x", "lz4/1@/stable", "lz4/1@a/b/c"])
def test_refuses_references_that_nothing_has(text: str) -> None:
    with pytest.raises(BadNameError):
        parse_reference(text)
