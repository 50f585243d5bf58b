"""Manifests are read strictly: two readers must never see two images in one document."""

import json
from typing import Any

import pytest
from tests.images import (
    DOCKER_LIST,
    IN_TOTO,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Image,
    describe,
    make_attestation,
    make_image,
    make_index,
)

from touchplate.api.docker.manifests import (
    MAX_DESCRIPTORS,
    MAX_MANIFEST_BYTES,
    MAX_VALUES,
    Manifest,
    parse_manifest,
)
from touchplate.api.errors import UpstreamError


def parsed(image: Image) -> Manifest:
    return parse_manifest(image.manifest, image.media_type)


def changed(**members: Any) -> bytes:
    value = json.loads(make_image().manifest)
    return json.dumps({**value, **members}).encode()


@pytest.mark.parametrize("docker", [False, True])
def test_an_image_names_its_config_and_layers(*, docker: bool) -> None:
    image = make_image(docker=docker)
    manifest = parsed(image)
    assert manifest.kind == "image"
    assert {one.sha256 for one in manifest.blobs} == set(image.blobs)
    assert [one.size for one in manifest.blobs] == [len(image.blobs[one.sha256]) for one in manifest.blobs]


@pytest.mark.parametrize("docker", [False, True])
def test_an_index_has_images_and_attestations_that_do_not_count(*, docker: bool) -> None:
    amd, arm = make_image("amd"), make_image("arm", architecture="arm64")
    index = parsed(make_index({"amd64": amd, "arm64": arm}, [make_attestation(amd, b"{}")], docker=docker))
    assert index.kind == "index"
    assert [child.sha256 for child in index.images] == [amd.hex, arm.hex]
    assert [child.platform for child in index.images] == ["linux/amd64", "linux/arm64"]
    assert len(index.children) == 3


@pytest.mark.parametrize(
    "system", ["li\0nux", "\x1b[2J", "a b", "x" * 41, 7, ["linux"], "l\u0131nux", "linux\n"]
)
def test_a_platform_of_other_than_words_is_not_shown_to_anybody(system: object) -> None:
    value = json.loads(make_index({"amd64": make_image()}).manifest)
    value["manifests"][0]["platform"]["os"] = system
    (child,) = parse_manifest(json.dumps(value).encode(), OCI_INDEX).images
    assert child.platform == ""


def test_only_manifests_all_of_whose_layers_are_statements_are_evidence() -> None:
    image = make_image()
    assert parsed(make_attestation(image, b"{}")).kind == "evidence"
    assert parsed(make_attestation(image, b"{}")).subject == image.hex
    assert parsed(make_attestation(image, b"{}", OCI_LAYER)).kind == "image"
    two = json.loads(make_attestation(image, b"{}").manifest)
    two["layers"].append(describe(OCI_LAYER, b"x"))
    assert parse_manifest(json.dumps(two).encode(), OCI_MANIFEST).kind == "image"
    two["layers"] = []
    assert parse_manifest(json.dumps(two).encode(), OCI_MANIFEST).kind == "image"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"schemaVersion":2',
        b"\xff",
        changed(schemaVersion=1),
        changed(mediaType=OCI_INDEX),
        changed(layers={}),
        changed(layers=None),
        changed(config=None),
        changed(manifests=[]),
        changed(Layers=[]),
        changed(LAYERS=[]),
        make_image().manifest.replace(b'"layers"', b'"layer\\u017f": [], "layers"'),
        changed(layers=[{"mediaType": IN_TOTO, "digest": "sha256:x"}]),
        changed(layers=[{**describe(OCI_LAYER, b"x"), "size": -1}]),
        changed(layers=[{**describe(OCI_LAYER, b"x"), "size": True}]),
        changed(layers=[{**describe(OCI_LAYER, b"x"), "Digest": "sha256:y"}]),
        changed(layers=[describe(OCI_LAYER, b"x")] * (MAX_DESCRIPTORS + 1)),
        make_image().manifest.replace(b'"layers"', b'"layers": [], "layers"'),
    ],
)
def test_refuses_nonsense(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        parse_manifest(body, OCI_MANIFEST)
    assert caught.value.reason == "upstream-nonsense"


@pytest.mark.parametrize(
    "media_type",
    ["", "application/json", "application/vnd.docker.distribution.manifest.v1+prettyjws", DOCKER_LIST],
)
def test_refuses_other_kinds_of_manifest(media_type: str) -> None:
    body = json.loads(make_image().manifest)
    del body["mediaType"]
    with pytest.raises(UpstreamError):
        parse_manifest(json.dumps(body).encode(), media_type)


def test_a_manifest_need_not_say_its_own_type() -> None:
    body = json.loads(make_image().manifest)
    del body["mediaType"]
    assert parse_manifest(json.dumps(body).encode(), OCI_MANIFEST).kind == "image"


def test_a_layer_of_another_hash_algorithm_is_named_and_cannot_be_asked_for() -> None:
    layers = [{"mediaType": OCI_LAYER, "digest": "sha512:" + "0" * 128, "size": 1}]
    assert parse_manifest(changed(layers=layers), OCI_MANIFEST).blobs[1].sha256 == ""


@pytest.mark.parametrize("value", ["[]", '{"":0}', '"ab"'])
def test_a_manifest_of_very_many_values_is_not_even_parsed(value: str) -> None:
    body = changed(x=0).replace(b'"x": 0', b'"x": [' + ",".join([value] * MAX_VALUES).encode() + b"]")
    assert len(body) < MAX_MANIFEST_BYTES
    with pytest.raises(UpstreamError, match="more than 100000 members"):
        parse_manifest(body, OCI_MANIFEST)


def test_the_largest_index_that_is_taken_has_few_enough_values() -> None:
    child = describe(OCI_MANIFEST, b"") | {"annotations": {f"org.example.{n}": "text" for n in range(6)}}
    child["platform"] = {"os": "linux", "architecture": "arm64", "variant": "v8", "os.version": "1"}
    value = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child] * MAX_DESCRIPTORS}
    assert len(parse_manifest(json.dumps(value).encode(), OCI_INDEX).children) == MAX_DESCRIPTORS
