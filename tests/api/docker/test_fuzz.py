"""Whatever a client or an upstream sends is parsed, or refused in our own words."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.images import OCI_INDEX, OCI_MANIFEST, make_attestation, make_image, make_index, sha256

from touchplate.api.docker.evidence import check_evidence
from touchplate.api.docker.layout import parse_registry_path
from touchplate.api.docker.manifests import parse_manifest
from touchplate.api.errors import APIError, RefusedError, UpstreamError

GOOD = make_image("good")
INDEX = make_index({"amd64": GOOD}, [make_attestation(GOOD, b"{}")])
NAMES = ("schemaVersion", "mediaType", "layers", "Layers", "manifests", "config", "subject", "artifactType")
INNER = [*NAMES, "digest", "size", "platform", "annotations"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(
        [2, OCI_MANIFEST, OCI_INDEX, f"sha256:{sha256(b'')}"]
    ),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(INNER), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.text(max_size=80) | st.text(alphabet="ab/:.-_manifestsblobstagslistsha256:0", max_size=120))
def test_any_path_is_parsed_or_refused(path: str) -> None:
    try:
        asked = parse_registry_path(path)
    except APIError:
        return
    assert asked.name
    assert asked.kind == "tags" or f"{asked.name}/{asked.kind}/{asked.reference}" == path


@settings(max_examples=300)
@given(
    st.sampled_from([GOOD, INDEX]),
    st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3),
    st.sampled_from([OCI_MANIFEST, OCI_INDEX, "", "text/html"]),
)
def test_any_manifest_is_parsed_or_refused(image: Any, members: dict[str, Any], media_type: str) -> None:
    body = json.dumps({**json.loads(image.manifest), **members}).encode()
    try:
        manifest = parse_manifest(body, media_type)
    except UpstreamError:
        return
    assert manifest.media_type in (OCI_MANIFEST, OCI_INDEX)
    assert (manifest.kind == "index") == (manifest.media_type == OCI_INDEX)
    for one in (*manifest.blobs, *manifest.children):
        assert len(one.sha256) in (0, 64)
        assert one.size >= 0


@given(st.binary(max_size=700), st.integers(0, 400))
def test_any_damage_to_a_manifest_is_found_or_harmless(noise: bytes, place: int) -> None:
    body = GOOD.manifest[:place] + noise + GOOD.manifest[place:]
    try:
        manifest = parse_manifest(body, OCI_MANIFEST)
    except UpstreamError:
        return
    assert manifest.kind in ("image", "evidence")


@given(st.binary(max_size=1200))
def test_any_bytes_are_a_document_or_refused(body: bytes) -> None:
    try:
        check_evidence(body)
    except RefusedError:
        return
    assert isinstance(json.loads(body), dict | list)


def test_a_document_of_endless_depth_is_refused() -> None:
    for body in (b"[" * 200_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000):
        for call in (check_evidence, lambda data: parse_manifest(data, OCI_MANIFEST)):
            try:
                call(body)
            except (RefusedError, UpstreamError):
                continue
            raise AssertionError("taken")
