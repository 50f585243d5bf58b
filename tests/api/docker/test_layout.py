"""Paths of the registry API: what they ask for, and what is refused."""

import pytest

from touchplate.api.docker.layout import RegistryRequest, image_purl, parse_registry_path
from touchplate.api.errors import BadNameError, NotFoundError
from touchplate.verify.purl import parse_purl

HEX = "ab" * 32


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("app/manifests/1.0", RegistryRequest("manifests", "app", "1.0")),
        ("a/b__c/d-e/manifests/_x", RegistryRequest("manifests", "a/b__c/d-e", "_x")),
        (f"a/manifests/sha256:{HEX}", RegistryRequest("manifests", "a", f"sha256:{HEX}")),
        (f"a/b/blobs/sha256:{HEX}", RegistryRequest("blobs", "a/b", f"sha256:{HEX}")),
        (f"a/referrers/sha256:{HEX}", RegistryRequest("referrers", "a", f"sha256:{HEX}")),
        ("a/b/tags/list", RegistryRequest("tags", "a/b")),
        ("manifests/manifests/manifests", RegistryRequest("manifests", "manifests", "manifests")),
        ("blobs/tags/list", RegistryRequest("tags", "blobs")),
    ],
)
def test_a_path_asks_for_one_thing(path: str, asked: RegistryRequest) -> None:
    assert parse_registry_path(path) == asked


def test_a_tag_has_no_digest_and_a_digest_is_given_in_hex() -> None:
    assert parse_registry_path("a/manifests/latest").sha256 is None
    assert parse_registry_path(f"a/manifests/sha256:{HEX}").sha256 == HEX


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("A/manifests/1", "bad-name"),
        ("a//b/manifests/1", "bad-name"),
        ("../a/manifests/1", "bad-name"),
        ("-a/manifests/1", "bad-name"),
        ("a./manifests/1", "bad-name"),
        ("a___b/manifests/1", "bad-name"),
        ("/manifests/1", "bad-name"),
        ("a\n/manifests/1", "bad-name"),
        ("x" * 256 + "/manifests/1", "bad-name"),
        ("a/manifests/.x", "bad-tag"),
        ("a/manifests/" + "x" * 129, "bad-tag"),
        ("a/manifests/x\n", "bad-tag"),
        ("a/manifests/", "bad-tag"),
        (f"a/manifests/sha256:{HEX[:-1]}", "bad-digest"),
        (f"a/blobs/sha256:{HEX.upper()}", "bad-digest"),
        (f"a/blobs/sha512:{HEX * 2}", "bad-digest"),
        (f"a/blobs/{HEX}", "bad-digest"),
        (f"a/blobs/sha256:{HEX}\n", "bad-digest"),
        ("a/blobs/latest", "bad-digest"),
        ("a/referrers/latest", "bad-digest"),
    ],
)
def test_refuses_what_names_nothing(path: str, reason: str) -> None:
    with pytest.raises(BadNameError) as caught:
        parse_registry_path(path)
    assert caught.value.reason == reason


@pytest.mark.parametrize("path", ["_catalog", "a/b", "a/tags", "a/tags/more", "a/uploads/x", "_x/y/z"])
def test_other_endpoints_are_not_there(path: str) -> None:
    with pytest.raises(NotFoundError):
        parse_registry_path(path)


def test_the_package_url_of_a_manifest_names_registry_and_full_path() -> None:
    text = f"pkg:oci/app@sha256:{HEX}?repository_url=registry.example.org:5000/team/app"
    assert str(image_purl("registry.example.org:5000", "team/app", HEX)) == text
    assert parse_purl(text).version == f"sha256:{HEX}"
