"""Attacks on the OCI adapter: by clients, by upstreams that lie, and by damage below it."""

import asyncio
import contextlib
import json
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.api.docker.support import (
    ImageWorld,
    built,
    image_node,
    image_world,
    running_registry,
    upstream_text,
    write_image_node,
)
from tests.api.docker.team import BAD, FREE, GOOD, LAYER, error, team_world
from tests.base.support import Handler
from tests.images import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Image,
    describe,
    make_attestation,
    make_image,
    make_index,
    sha256,
)

from touchplate.api.docker import blobs as blobs_module
from touchplate.api.docker import judge as judge_module
from touchplate.api.docker import tags as tags_module
from touchplate.api.docker.evidence import MAX_ARRAYS, check_evidence
from touchplate.api.docker.indexes import MAX_NESTED, MAX_OBTAINED
from touchplate.api.errors import RefusedError
from touchplate.api.http.streams import HELD_BACK_BYTES


@pytest.fixture
def here(tmp_path: Path) -> Iterator[ImageWorld]:
    with team_world(tmp_path) as made:
        yield made


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-3"}, {"If_None_Match": f'"{BAD.digest}"'}])
def test_no_part_of_a_refused_image_can_be_had(
    here: ImageWorld, method: str, headers: dict[str, str]
) -> None:
    assert here.get("/v2/team/bad/manifests/1").status == 403
    secret = [BAD.manifest, *BAD.blobs.values()]
    for reference in (
        f"manifests/{BAD.digest}",
        "manifests/1",
        *(f"blobs/sha256:{one}" for one in BAD.blobs),
    ):
        for name in ("team/bad", "hub/team/bad", "pinned/team/bad"):
            answer = here.get(f"/v2/{name}/{reference}", method, **headers)
            # Through the third upstream nobody asked for the manifest, so nothing is known to name a blob.
            assert answer.status == 403 or (name.startswith("pinned") and answer.status == 404)
            assert all(data not in answer.body for data in secret)
            assert "docker-content-digest" not in answer.headers
            assert "etag" not in answer.headers
    assert not any(here.node.blobs.has(one) for one in BAD.blobs)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_blob_is_no_way_into_another_repository(here: ImageWorld, method: str) -> None:
    """The bytes are in the store, and the repository asked does not name them."""
    here.built("team/app", GOOD)
    assert here.get("/v2/team/app/manifests/1").status == 200
    assert here.get(f"/v2/team/app/blobs/sha256:{GOOD.layer}").status == 200
    for name in ("team/free", "team/bad", "team/none"):
        for headers in ({}, {"Range": "bytes=0-3"}):
            answer = here.get(f"/v2/{name}/blobs/sha256:{GOOD.layer}", method, **headers)
            assert answer.status == 404
    mount = f"/v2/team/free/blobs/uploads/?mount=sha256:{GOOD.layer}&from=team/app"
    assert here.get(mount, "POST").status == 405


def test_a_manifest_that_names_a_blob_of_another_repository_does_not_open_it(here: ImageWorld) -> None:
    """Its registry has to give the blob out as well: names alone are everybody's choice."""
    here.built("team/app", GOOD)
    here.get("/v2/team/app/manifests/1")
    assert here.get(f"/v2/team/app/blobs/sha256:{GOOD.layer}").status == 200
    thief = Image(GOOD.media_type, GOOD.manifest.replace(b'"layers"', b'\n"layers"'))
    here.registry.push("team/free", "thief", thief)
    assert here.get("/v2/team/free/manifests/thief").status == 200
    path = f"/v2/team/free/blobs/sha256:{GOOD.layer}"
    assert here.get(path).status == 404
    here.registry.blobs["team/free"] |= {f"sha256:{GOOD.layer}": GOOD.blobs[GOOD.layer]}
    here.node.images.registries.by_name["hub"].client._negative._until.clear()
    assert here.get(path).body == GOOD.blobs[GOOD.layer]
    assert here.registry.count(path) == 0, "its registry's word is enough: the bytes are here"


def test_a_registry_cannot_lay_claim_to_the_blobs_of_another(tmp_path: Path) -> None:
    """It names them in a manifest of its own, and says that it has them."""
    with running_registry() as registry, running_registry() as thief:
        registry.push("team/free", "1", FREE)
        thief.push("x/free", "1", Image(FREE.media_type, FREE.manifest.replace(b'"layers"', b'\n"layers"')))
        stolen = f"/v2/x/free/blobs/sha256:{FREE.layer}"
        thief.acts[stolen] = lambda handler: handler.reply(200 if handler.command == "HEAD" else 404, b"")
        text = upstream_text("hub", registry.url) + upstream_text(
            "thief", thief.url, identity="thief.example"
        )
        path = write_image_node(tmp_path, text, '[[gate.rule]]\nneed = ["recorded"]\n')
        with image_node(tmp_path, registry, path) as here:
            for name, status in (("hub/team/free", 200), ("thief/x/free", 404)):
                assert here.get(f"/v2/{name}/manifests/1").status == 200
                assert here.get(f"/v2/{name}/blobs/sha256:{FREE.layer}").status == status


def test_refused_manifests_that_name_a_layer_do_not_stand_before_the_one_that_was_served(
    here: ImageWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A base layer is in every nightly build, and anybody may ask for those."""
    monkeypatch.setattr(judge_module, "MOST_JUDGED", 3)
    here.built("team/app", GOOD)
    assert here.get("/v2/team/app/manifests/1").status == 200
    later = here.node.images._now() + 60
    here.node.images._now = lambda: later
    for number in range(5):
        manifest = GOOD.manifest.replace(b'"layers"', b" " * number + b' "layers"')
        here.registry.push("team/app", "n", Image(GOOD.media_type, manifest, GOOD.blobs))
        assert here.get(f"/v2/team/app/manifests/sha256:{sha256(manifest)}").status == 403
    assert here.get(f"/v2/team/app/blobs/sha256:{GOOD.layer}").body == GOOD.blobs[GOOD.layer]


def test_an_image_that_calls_itself_an_attestation_is_judged_as_an_image(here: ImageWorld) -> None:
    index = json.loads(make_index({"amd64": GOOD}, [BAD]).manifest)
    body = json.dumps(index).encode()
    here.built("team/app", GOOD)
    here.registry.push("team/app", "1", Image(OCI_INDEX, body, {}, (GOOD, BAD)))
    assert here.get("/v2/team/app/manifests/1").status == 200
    assert here.get(f"/v2/team/app/manifests/{BAD.digest}").status == 403


def test_attestations_of_an_index_never_make_it_pass(here: ImageWorld) -> None:
    here.built("team/app", GOOD)
    disguised = make_index({"amd64": BAD}, [GOOD])
    here.registry.push("team/app", "1", disguised)
    assert here.get("/v2/team/app/manifests/1").status == 403
    here.registry.push("team/app", "2", make_index({}, [make_attestation(GOOD, b"{}")]))
    assert error(here.get("/v2/team/app/manifests/2"))["detail"]["reason"] == "no-image"


@pytest.mark.parametrize(
    "layer",
    [
        FREE.blobs[FREE.layer],
        b"\x1f\x8b" + b"\0" * 600,
        b'"text"',
        b"{" + b'"a":1,' * 100,
        b"",
    ],
)
def test_evidence_whose_layers_are_no_documents_is_not_served(here: ImageWorld, layer: bytes) -> None:
    disguised = make_attestation(GOOD, layer)
    here.registry.push("team/bad", "a", disguised)
    assert here.get("/v2/team/bad/manifests/a").status == 200
    for method, headers in (("GET", {}), ("GET", {"Range": "bytes=0-0"}), ("HEAD", {})):
        answer = here.get(f"/v2/team/bad/blobs/sha256:{disguised.layer}", method, **headers)
        assert answer.status == 403
        assert not layer or layer not in answer.body
    assert not here.node.blobs.has(disguised.layer)


def test_a_layer_that_is_held_already_does_not_pass_as_evidence(here: ImageWorld) -> None:
    """The same bytes, first as a layer of an allowed image, then as an attestation beside a refused one."""
    here.get("/v2/team/free/manifests/1")
    assert here.get(LAYER).status == 200
    disguised = make_attestation(GOOD, FREE.blobs[FREE.layer])
    here.registry.push("team/bad", "a", disguised)
    assert here.get("/v2/team/bad/manifests/a").status == 200
    for headers in ({}, {"Range": "bytes=0-3"}):
        assert here.get(f"/v2/team/bad/blobs/sha256:{FREE.layer}", **headers).status == 403


def test_evidence_is_served_unjudged(here: ImageWorld) -> None:
    attestation = make_attestation(BAD, b'{"_type":"https://in-toto.io/Statement/v1"}')
    here.registry.push("team/bad", "", attestation)
    size = here.size()
    answer = here.get(f"/v2/team/bad/manifests/{attestation.digest}")
    assert (answer.status, answer.body) == (200, attestation.manifest)
    for hexdigest, data in attestation.blobs.items():
        assert here.get(f"/v2/team/bad/blobs/sha256:{hexdigest}").body == data
    assert here.size() == size, "nobody records what is never judged"
    assert "never counts" in here.get(f"/why/v2/team/bad/manifests/{attestation.digest}").text


def test_a_document_that_is_also_an_archive_is_refused() -> None:
    """A tar's first header can be written in letters only, so that the whole is a JSON text as well."""
    head = b'{"' + b"a" * 98 + b"0000644 0000000 0000000 00000000000 00000000000 " + b" " * 8 + b"0"
    head = head.ljust(512, b"a")
    plain = head + b'":1}'
    assert json.loads(plain)
    check_evidence(plain)
    total = sum(head)
    tar = head[:148] + b"%06o  " % total + head[156:] + b'":1}'
    assert json.loads(tar)
    with pytest.raises(RefusedError):
        check_evidence(tar)


def test_looking_at_evidence_takes_little_memory() -> None:
    """Objects are what most of a document of nonsense could consist of: thirty times its length."""
    body = b"[" + b",".join([b'{"":0}'] * 100_000) + b"]"
    tracemalloc.start()
    try:
        check_evidence(body)
        assert tracemalloc.get_traced_memory()[1] < 5 * len(body)
    finally:
        tracemalloc.stop()
    with pytest.raises(RefusedError):
        check_evidence(b"[" + b",".join([b"[]"] * (MAX_ARRAYS + 1)) + b"]")


def test_evidence_is_looked_at_one_by_one(here: ImageWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, most, second = [0], [0], threading.Event()

    def counting(body: bytes) -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        if inside[0] > 1:
            second.set()
        second.wait(0.3)
        check_evidence(body)
        inside[0] -= 1

    monkeypatch.setattr(blobs_module, "check_evidence", counting)
    layers = [json.dumps({"n": number}).encode() for number in range(4)]
    for number, layer in enumerate(layers):
        here.registry.push("team/bad", f"a{number}", make_attestation(BAD, layer))
        assert here.get(f"/v2/team/bad/manifests/a{number}").status == 200
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(here.get, f"/v2/team/bad/blobs/sha256:{sha256(layer)}") for layer in layers]
        assert [one.result(60).body for one in asked] == layers
    assert most == [1]


@pytest.mark.parametrize("reference", ["1", BAD.digest])
def test_an_upstream_that_sends_other_bytes_is_not_believed(here: ImageWorld, reference: str) -> None:
    def lie(handler: Handler) -> None:
        headers = {"Docker_Content_Digest": BAD.digest, "Content_Type": OCI_MANIFEST}
        handler.reply(200, GOOD.manifest, **headers)

    here.registry.acts[f"/v2/team/free/manifests/{reference}"] = lie
    here.registry.acts[f"/v2/team/free/manifests/{BAD.digest}"] = lie
    answer = here.get(f"/v2/team/free/manifests/{reference}")
    assert (answer.status, error(answer)["detail"]["reason"]) == (403, "upstream-wrong-digest")
    assert here.size() == 0


def test_a_manifest_beyond_the_limit_is_not_taken(here: ImageWorld) -> None:
    huge = make_image(extra={"annotations": {"x": "y" * (4 * 1024**2)}})
    here.registry.push("team/free", "huge", huge)
    answer = here.get("/v2/team/free/manifests/huge")
    assert (answer.status, error(answer)["detail"]["reason"]) == (502, "upstream-response-too-large")
    large = make_image(extra={"annotations": {"x": "y" * 3_900_000}})
    here.registry.push("team/free", "large", large)
    assert here.get("/v2/team/free/manifests/large").body == large.manifest


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("where", ["first", "last"])
@pytest.mark.parametrize("ranged", [False, True])
def test_a_layer_with_one_wrong_bit_never_arrives_whole(
    here: ImageWorld, where: str, *, ranged: bool
) -> None:
    data = FREE.blobs[FREE.layer]
    wrong = flipped(data, 0 if where == "first" else len(data) - 1)
    here.registry.blobs["team/free"][f"sha256:{FREE.layer}"] = wrong
    here.get("/v2/team/free/manifests/1")
    sent: list[bytes] = []
    status = stream(here, LAYER, sent, {"range": "bytes=0-"} if ranged else {})
    if ranged:
        assert status == 403
    else:
        # 403 when all had arrived, and was found wrong, before the first byte was sent.
        assert status in (200, 403)
        assert len(b"".join(sent)) <= len(data) - HELD_BACK_BYTES or status == 403
    assert not here.node.blobs.has(FREE.layer)
    again = here.get(LAYER)
    assert (again.status, error(again)["detail"]["reason"]) == (403, "upstream-wrong-digest")
    assert "sent other bytes than" in here.get("/").text
    here.registry.blobs["team/free"][f"sha256:{FREE.layer}"] = data
    assert here.get(LAYER).body == data


def stream(here: ImageWorld, path: str, sent: list[bytes], headers: dict[str, str]) -> int:
    """A request whose answer may break off; what was sent until then."""
    status = [0]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "extensions": {},
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            status[0] = message["status"]
        else:
            assert message.get("more_body") or status[0] != 200, "the answer ended as if it was whole"
            sent.append(message.get("body", b""))

    async def run() -> None:
        await here.app(scope, receive, send)

    # Whatever breaks it off after the first byte is the server's business.
    with contextlib.suppress(Exception):
        asyncio.run(run())
    return status[0]


def test_a_layer_that_the_upstream_cuts_is_cut_for_the_client(here: ImageWorld) -> None:
    data = FREE.blobs[FREE.layer]

    def cut(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.raw(data[: len(data) // 2])

    here.registry.acts[LAYER] = cut
    here.get("/v2/team/free/manifests/1")
    sent: list[bytes] = []
    assert stream(here, LAYER, sent, {}) in (200, 502)  # 502: before the first byte was sent
    assert len(b"".join(sent)) <= len(data) // 2
    assert not here.node.blobs.has(FREE.layer)
    del here.registry.acts[LAYER]
    assert here.get(LAYER).body == data


@pytest.mark.parametrize("change", [1, -1])
def test_a_layer_of_another_size_than_announced_is_refused(here: ImageWorld, change: int) -> None:
    value = json.loads(FREE.manifest)
    value["layers"][0]["size"] += change
    image = Image(OCI_MANIFEST, json.dumps(value).encode(), dict(FREE.blobs))
    here.registry.push("team/free", "odd", image)
    assert here.get("/v2/team/free/manifests/odd").status == 200
    assert stream(here, LAYER, [], {}) in (200, 403, 502)
    assert not here.node.blobs.has(FREE.layer)


def test_a_layer_that_is_not_there_is_a_404_and_not_a_cut(here: ImageWorld) -> None:
    here.get("/v2/team/free/manifests/1")
    del here.registry.blobs["team/free"][f"sha256:{FREE.layer}"]
    answer = here.get(LAYER)
    assert (answer.status, error(answer)["code"]) == (404, "BLOB_UNKNOWN")


def test_many_clients_share_one_fetch(here: ImageWorld) -> None:
    """The upstream waits in the middle of the layer until all clients are there."""
    data, go_on = FREE.blobs[FREE.layer], threading.Event()

    def slow(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:1000])
        go_on.wait(60)
        handler.wfile.write(data[1000:])

    here.registry.acts[LAYER] = slow
    manifest = "/v2/team/free/manifests/1"
    with ThreadPoolExecutor(8) as pool:
        manifests = [pool.submit(here.get, manifest) for _ in range(8)]
        assert {one.result(60).status for one in manifests} == {200}
        layers = [pool.submit(here.get, LAYER) for _ in range(4)]
        parts = [pool.submit(here.get, LAYER, Range="bytes=5-9") for _ in range(2)]
        while here.registry.count(LAYER) == 0:
            threading.Event().wait(0.01)
        go_on.set()
        assert all(one.result(60).body == data for one in layers)
        assert all(one.result(60).body == data[5:10] for one in parts)
    assert here.registry.count(f"/v2/team/free/manifests/{FREE.digest}") == 1
    assert here.registry.count(LAYER) == 1
    assert here.size() == 1


def test_many_listings_of_tags_share_one_fetch_and_take_little_memory(
    here: ImageWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tags_module, "MAX_LISTED_TAGS", 25)
    go_on, path = threading.Event(), "/v2/team/t0/tags/list"

    def slow(handler: Handler) -> None:
        go_on.wait(60)
        handler.reply(200, b'{"tags":["a"]}')

    here.registry.acts[path] = slow
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(here.get, path) for _ in range(6)]
        while here.registry.count(path) == 0:
            threading.Event().wait(0.01)
        go_on.set()
        assert {one.result(60).status for one in asked} == {200}
    assert here.registry.count(path) == 1
    body = json.dumps({"tags": [f"v{number}" for number in range(9)]}).encode()
    for number in range(5):
        path = f"/v2/team/t{number}/tags/list"
        here.registry.acts[path] = lambda handler: handler.reply(200, body)
        assert here.get(path).status == 200
    assert sum(len(tags) for tags, _ in here.node.images.tags._listings.values()) <= 25


def test_a_damaged_layer_or_manifest_is_fetched_again(here: ImageWorld) -> None:
    manifest = "/v2/team/free/manifests/1"
    assert here.get(manifest).status == 200
    assert here.get(LAYER).status == 200
    for hexdigest, data in ((FREE.hex, FREE.manifest), (FREE.layer, FREE.blobs[FREE.layer])):
        here.node.blobs.path(hexdigest).write_bytes(flipped(data, 0))
    assert here.get(manifest).body == FREE.manifest
    assert here.get(LAYER).body == FREE.blobs[FREE.layer]
    assert "damaged" in here.get("/").text


def test_a_crash_between_record_and_link_serves_nothing_and_records_once(
    here: ImageWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = here.node.images.registries.place("team/free")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    for store, name in ((here.node.images.links, "add_manifest"), (here.node.links, "add")):
        with monkeypatch.context() as patch:
            patch.setattr(store, name, crash)
            with pytest.raises(KeyboardInterrupt):
                here.node.images.obtain(place, FREE.hex)
        assert here.node.images.held(place, FREE.hex) is None
    assert here.get("/v2/team/free/manifests/1").status == 200
    assert here.size() == 1


def test_what_the_log_took_a_moment_ago_counts_at_once(here: ImageWorld) -> None:
    assert here.get("/v2/team/app/manifests/1").status == 403
    here.node.index.stop()
    here.node.log.append([entry.envelope for entry in built("team/app", GOOD)])
    assert here.get("/v2/team/app/manifests/1").status == 200


def test_facts_about_one_repository_never_answer_for_another(here: ImageWorld) -> None:
    here.built("team/other", GOOD)
    answer = here.get("/v2/team/app/manifests/1")
    assert (answer.status, error(answer)["detail"]["reason"]) == (403, "wrong-package")


def test_a_minimum_age_lets_an_index_in_once_one_of_its_images_is_old_enough(tmp_path: Path) -> None:
    rules = '[[gate.rule]]\necosystem = "oci"\nneed = ["recorded"]\nminimum_age = "3d"\n'
    with image_world(tmp_path, rules=rules + '[[gate.rule]]\nneed = ["recorded"]\n') as here:
        here.registry.push("team/app", "1", make_index({"amd64": GOOD, "arm64": BAD}))
        answer = here.get("/v2/team/app/manifests/1")
        assert (answer.status, error(answer)["detail"]["reason"]) == (403, "too-young")
        assert here.size() == 2, "both images were recorded, so that they can grow old"
        later = here.node.images._now() + 4 * 24 * 3600
        here.node.images._now = lambda: later
        assert here.get("/v2/team/app/manifests/1").status == 200


def test_the_config_of_an_artifact_without_layers_is_readable(here: ImageWorld) -> None:
    """A chart or a policy: no image, and judged like one."""
    body = b'{"x": 1}'
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/x",
                "config": describe(OCI_CONFIG, body), "layers": []}  # fmt: skip
    artifact = Image(OCI_MANIFEST, json.dumps(manifest).encode(), {sha256(body): body})
    here.registry.push("team/free", "chart", artifact)
    assert here.get("/v2/team/free/manifests/chart").status == 200
    assert here.get(f"/v2/team/free/blobs/sha256:{sha256(body)}").body == body


def test_an_index_of_thousands_of_images_costs_a_bounded_number_of_fetches(tmp_path: Path) -> None:
    rules = '[[gate.rule]]\necosystem = "oci"\nneed = ["recorded"]\nminimum_age = "3d"\n'
    with image_world(tmp_path, rules=rules + '[[gate.rule]]\nneed = ["recorded"]\n') as here:
        digests = [f"sha256:{number:064x}" for number in range(3000)]
        children = [{"mediaType": OCI_MANIFEST, "digest": digest, "size": 3} for digest in digests]
        body = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}).encode()
        here.registry.push("team/app", "1", Image(OCI_INDEX, body))
        assert here.get("/v2/team/app/manifests/1").status == 403
        asked = [digest for digest in digests if here.registry.count(f"/v2/team/app/manifests/{digest}")]
        assert len(asked) == MAX_OBTAINED


def test_indexes_within_indexes_are_followed_to_a_depth(here: ImageWorld) -> None:
    here.built("team/app", GOOD)
    chain = [make_index({"amd64": GOOD})]
    for _ in range(MAX_NESTED + 1):
        inner = chain[-1]
        children = [describe(OCI_INDEX, inner.manifest)]
        body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}
        chain.append(Image(OCI_INDEX, json.dumps(body).encode(), {}, (inner,)))
    here.registry.push("team/app", "deep", chain[-1])
    here.registry.push("team/app", "well", chain[-2])
    assert here.get("/v2/team/app/manifests/well").body == chain[-2].manifest
    assert here.get("/v2/team/app/manifests/deep").status == 403


def test_a_layer_of_an_image_that_is_no_longer_allowed_does_not_come_back_as_evidence(tmp_path: Path) -> None:
    """It was fetched through this very repository, when a rule let its image pass."""
    with running_registry() as registry:
        registry.push("team/app", "1", FREE)
        disguised = make_attestation(GOOD, FREE.blobs[FREE.layer])
        registry.push("team/app", "a", disguised)
        path = f"/v2/hub/team/app/blobs/sha256:{FREE.layer}"
        for need, status in (('["recorded"]', 200), ('["reproduced"]', 403)):
            rules = f"[[gate.rule]]\nneed = {need}\n"
            config = write_image_node(tmp_path, upstream_text("hub", registry.url), rules)
            with image_node(tmp_path, registry, config) as here:
                assert here.get("/v2/hub/team/app/manifests/1").status == status
                assert here.get("/v2/hub/team/app/manifests/a").status == 200
                assert here.get(path).status == status
                assert here.get(path, Range="bytes=0-9").status == (206 if status == 200 else 403)


def test_evidence_of_other_bytes_is_refused(here: ImageWorld) -> None:
    attestation = make_attestation(GOOD, b'{"_type":"one"}')
    here.registry.push("team/bad", "a", attestation)
    here.registry.blobs["team/bad"][f"sha256:{attestation.layer}"] = b'{"_type":"two"}'
    assert here.get("/v2/team/bad/manifests/a").status == 200
    answer = here.get(f"/v2/team/bad/blobs/sha256:{attestation.layer}")
    assert (answer.status, error(answer)["detail"]["reason"]) == (403, "upstream-wrong-digest")
    assert "sent other bytes" in here.get("/").text
