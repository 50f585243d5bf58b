"""The registry API of a node in this process, over a registry on loopback: the good cases."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.api.docker.support import IDENTITY, ImageWorld, image_world
from tests.images import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Image,
    describe,
    make_attestation,
    make_image,
    make_index,
    sha256,
)

from touchplate.api.docker.layout import image_purl
from touchplate.verify.sigstore import MEDIA_TYPE as BUNDLE_TYPE

GOOD = make_image("good")
BAD = make_image("bad")
ARM = make_image("arm", architecture="arm64")
BIG = make_image("big", layers=[{"big": random.Random(1).randbytes(600_000)}])  # nothing to compress


@pytest.fixture
def here(tmp_path: Path) -> Iterator[ImageWorld]:
    with image_world(tmp_path) as made:
        made.registry.push("team/app", "1", GOOD)
        made.registry.push("team/bad", "1", BAD)
        made.registry.push("team/free", "1", BIG)
        made.built("team/app", GOOD)
        yield made


def error(answer: Any) -> dict[str, Any]:
    (one,) = answer.json["errors"]
    return dict(one)


def test_says_that_it_is_a_registry(here: ImageWorld) -> None:
    for path in ("/v2/", "/v2"):
        answer = here.get(path)
        assert (answer.status, answer.json) == (200, {})
        assert answer.headers["docker-distribution-api-version"] == "registry/2.0"


@pytest.mark.parametrize("prefix", ["", "hub/", "pinned/"])
@pytest.mark.parametrize("reference", ["1", GOOD.digest])
def test_serves_a_manifest_as_it_was_published(here: ImageWorld, prefix: str, reference: str) -> None:
    path = f"/v2/{prefix}team/app/manifests/{reference}"
    head, whole = here.get(path, "HEAD"), here.get(path)
    assert (whole.status, whole.body) == (200, GOOD.manifest)
    assert head.status == 200
    assert head.body == b""
    assert head.headers == whole.headers
    assert whole.headers["docker-content-digest"] == GOOD.digest
    assert whole.headers["content-type"] == OCI_MANIFEST
    assert whole.headers["content-length"] == str(len(GOOD.manifest))
    assert whole.headers["etag"] == f'"{GOOD.digest}"'
    assert here.get(path, If_None_Match=f'"{GOOD.digest}"').status == 304


@pytest.mark.parametrize("docker", [False, True])
def test_serves_every_kind_of_manifest_whatever_the_client_accepts(here: ImageWorld, *, docker: bool) -> None:
    image = make_image("one", docker=docker)
    index = make_index({"amd64": image}, docker=docker)
    here.registry.push("team/kinds", "image", image)
    here.registry.push("team/kinds", "index", index)
    here.built("team/kinds", image)
    expected = {"image": DOCKER_MANIFEST if docker else OCI_MANIFEST,
                "index": DOCKER_LIST if docker else OCI_INDEX}  # fmt: skip
    for tag, media_type in expected.items():
        for accept in (OCI_MANIFEST, "*/*", "application/vnd.docker.distribution.manifest.v1+json"):
            for method in ("HEAD", "GET"):
                answer = here.get(f"/v2/team/kinds/manifests/{tag}", method, Accept=accept)
                assert (answer.status, answer.headers["content-type"]) == (200, media_type)


def test_asks_the_upstream_for_every_kind_whatever_the_client_accepts(here: ImageWorld) -> None:
    here.get("/v2/team/app/manifests/1", Accept=DOCKER_MANIFEST)
    accepts = [seen["accept"] for seen in here.registry.server.seen_headers if "accept" in seen]
    assert accepts
    for kind in (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST):
        assert all(kind in accept for accept in accepts)


def test_serves_config_and_layers_of_an_allowed_image(here: ImageWorld) -> None:
    assert here.get("/v2/team/app/manifests/1").status == 200
    for hexdigest, data in GOOD.blobs.items():
        path = f"/v2/team/app/blobs/sha256:{hexdigest}"
        head = here.get(path, "HEAD")
        assert (head.status, head.headers["content-length"]) == (200, str(len(data)))
        for _ in range(2):
            answer = here.get(path)
            assert (answer.status, answer.body) == (200, data)
            assert answer.headers["docker-content-digest"] == f"sha256:{hexdigest}"
            assert answer.headers["accept-ranges"] == "bytes"
        assert here.registry.count(urlsplit(path).path) == 1


def test_head_of_a_layer_fetches_nothing(here: ImageWorld) -> None:
    here.get("/v2/team/free/manifests/1")
    path = f"/v2/team/free/blobs/sha256:{BIG.layer}"
    answer = here.get(path, "HEAD")
    assert (answer.status, answer.headers["content-length"]) == (200, str(len(BIG.blobs[BIG.layer])))
    assert here.registry.count(path) == 0


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize(
    ("asked", "first", "end"), [("0-9", 0, 10), ("100000-", 100_000, None), ("-7", -7, None)]
)
def test_serves_parts_of_a_layer(
    here: ImageWorld, asked: str, first: int, end: int | None, *, is_there: bool
) -> None:
    here.get("/v2/team/free/manifests/1")
    data = BIG.blobs[BIG.layer]
    path = f"/v2/team/free/blobs/sha256:{BIG.layer}"
    if is_there:
        assert here.get(path).body == data
    answer = here.get(path, Range=f"bytes={asked}")
    assert (answer.status, answer.body) == (206, data[first:end])
    assert answer.headers["content-range"].endswith(f"/{len(data)}")
    assert answer.headers["content-length"] == str(len(answer.body))
    assert here.registry.count(path) == 1


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 131_072, 131_073])
def test_layers_of_every_size_around_what_is_held_back_arrive_whole(here: ImageWorld, size: int) -> None:
    data = random.Random(size).randbytes(size)
    value = json.loads(BIG.manifest)
    value["layers"] = [describe(OCI_LAYER, data)]
    here.registry.push(
        "team/free", "odd", Image(OCI_MANIFEST, json.dumps(value).encode(), {sha256(data): data})
    )
    assert here.get("/v2/team/free/manifests/odd").status == 200
    path = f"/v2/team/free/blobs/sha256:{sha256(data)}"
    before, first, later = here.get(path, "HEAD"), here.get(path), here.get(path)
    assert (first.status, first.body, later.body) == (200, data, data)
    assert first.headers == later.headers == before.headers == here.get(path, "HEAD").headers
    assert here.registry.count(path) == 1


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("asked", ["500-0", "99999999-"])
def test_a_range_outside_the_layer_is_a_416(here: ImageWorld, asked: str, *, is_there: bool) -> None:
    here.get("/v2/team/free/manifests/1")
    path = f"/v2/team/free/blobs/sha256:{BIG.layer}"
    if is_there:
        here.get(path)
    answer = here.get(path, Range=f"bytes={asked}")
    assert (answer.status, error(answer)["code"]) == (416, "SIZE_INVALID")
    assert answer.headers["content-range"] == f"bytes */{len(BIG.blobs[BIG.layer])}"


def test_streams_a_large_layer_and_stores_it(here: ImageWorld) -> None:
    here.get("/v2/team/free/manifests/1")
    path = f"/v2/team/free/blobs/sha256:{BIG.layer}"
    assert len(BIG.blobs[BIG.layer]) > 64 * 1024
    answer = here.get(path)
    assert (answer.status, answer.body) == (200, BIG.blobs[BIG.layer])
    assert here.node.blobs.is_sound(BIG.layer)


def test_the_first_sight_of_an_image_is_in_the_log_before_it_is_served(here: ImageWorld) -> None:
    size = here.size()
    assert here.get("/v2/team/free/manifests/1").status == 200
    assert here.size() == size + 1
    uri = f"pkg:oci/free@{BIG.digest}?repository_url={IDENTITY}/team/free"
    (row,) = here.node.index.store.evidence_of(BIG.hex, uri)
    assert row.kind == "record"
    assert here.get("/v2/team/free/manifests/1").status == 200
    assert here.size() == size + 1


def test_an_index_is_served_when_one_of_its_images_is_allowed(here: ImageWorld) -> None:
    index = make_index({"amd64": GOOD, "arm64": ARM}, [make_attestation(GOOD, b'{"_type":"x"}')])
    here.registry.push("team/app", "multi", index)
    answer = here.get("/v2/team/app/manifests/multi")
    assert (answer.status, answer.body) == (200, index.manifest)
    assert here.get(f"/v2/team/app/manifests/{GOOD.digest}").status == 200
    refused = here.get(f"/v2/team/app/manifests/{ARM.digest}")
    assert (refused.status, error(refused)["code"]) == (403, "DENIED")


def test_an_index_without_an_allowed_image_is_refused_and_names_them(here: ImageWorld) -> None:
    index = make_index({"amd64": BAD, "arm64": ARM}, [make_attestation(BAD, b"{}")])
    here.registry.push("team/bad", "multi", index)
    answer = here.get("/v2/team/bad/manifests/multi")
    assert answer.status == 403
    message = error(answer)["message"]
    assert "none of its 2 images passes" in message
    assert "linux/amd64: not reproduced: 0 of 2 operators" in message


def test_an_index_of_recorded_images_fetches_none_of_them(here: ImageWorld) -> None:
    index = make_index({"amd64": GOOD, "arm64": ARM})
    here.registry.push("team/free", "multi", index)
    size = here.size()
    assert here.get("/v2/team/free/manifests/multi").status == 200
    assert here.registry.count(f"/v2/team/free/manifests/{ARM.digest}") == 0
    assert here.size() == size


def test_lists_tags_in_pages(here: ImageWorld) -> None:
    for number in range(5):
        here.registry.push("team/many", f"v{number}", GOOD)
    whole = here.get("/v2/hub/team/many/tags/list")
    assert whole.json == {"name": "hub/team/many", "tags": ["v0", "v1", "v2", "v3", "v4"]}
    assert "link" not in whole.headers
    found, path = [], "/v2/hub/team/many/tags/list?n=2"
    while path:
        answer = here.get(path)
        found += answer.json["tags"]
        assert len(answer.json["tags"]) <= 2
        link = answer.headers.get("link", "")
        assert not link or link.endswith('; rel="next"')
        path = link.partition("<")[2].partition(">")[0]
    assert found == whole.json["tags"]
    assert here.get("/v2/team/many/tags/list?n=0").json["tags"] == []
    assert here.get("/v2/team/many/tags/list?last=v3").json["tags"] == ["v4"]
    assert here.get("/v2/team/many/tags/list?n=x").status == 400
    assert error(here.get("/v2/team/none/tags/list"))["code"] == "NAME_UNKNOWN"


def referrers(here: ImageWorld, image: Image, query: str = "", name: str = "team/app") -> Any:
    answer = here.get(f"/v2/{name}/referrers/{image.digest}{query}")
    assert answer.status == 200
    assert answer.headers["content-type"] == OCI_INDEX
    assert answer.json["schemaVersion"] == 2
    return answer.json["manifests"]


def test_our_entries_are_referrers_with_sigstore_bundles(here: ImageWorld) -> None:
    assert here.get("/v2/team/app/manifests/1").status == 200
    listed = referrers(here, GOOD)
    types = [one["annotations"]["dev.sigstore.bundle.predicateType"] for one in listed]
    assert sorted(types) == [
        "https://slsa.dev/provenance/v1",
        "https://slsa.dev/provenance/v1",
        "https://touchplate.dev/predicates/record/v1",
    ]
    for one in listed:
        assert one["artifactType"] == BUNDLE_TYPE
        manifest = here.get(f"/v2/team/app/manifests/{one['digest']}")
        assert (manifest.status, manifest.headers["content-type"]) == (200, one["mediaType"])
        assert len(manifest.body) == one["size"]
        assert f"sha256:{sha256(manifest.body)}" == one["digest"]
        assert manifest.json["subject"]["digest"] == GOOD.digest
        assert manifest.json["subject"]["size"] == len(GOOD.manifest)
        for part in (manifest.json["config"], *manifest.json["layers"]):
            blob = here.get(f"/v2/team/app/blobs/{part['digest']}")
            assert (blob.status, len(blob.body)) == (200, part["size"])
            assert f"sha256:{sha256(blob.body)}" == part["digest"]
        (layer,) = manifest.json["layers"]
        assert layer["mediaType"] == BUNDLE_TYPE
        bundle = here.get(f"/v2/team/app/blobs/{layer['digest']}").json
        assert bundle["mediaType"] == BUNDLE_TYPE
        assert len(bundle["dsseEnvelope"]["signatures"]) == 1


def test_referrers_keep_their_digests_while_the_log_grows(here: ImageWorld) -> None:
    before = referrers(here, GOOD)
    assert here.get("/v2/team/free/manifests/1").status == 200
    assert referrers(here, GOOD)[: len(before)] == before


def test_referrers_are_found_before_the_image_was_pulled(here: ImageWorld) -> None:
    assert len(referrers(here, GOOD)) >= 2


def test_referrers_of_the_upstream_are_listed_after_ours_and_filtered(here: ImageWorld) -> None:
    foreign = {"mediaType": OCI_MANIFEST, "digest": f"sha256:{'1' * 64}", "size": 3, "artifactType": "text/x"}
    here.registry.referrers[GOOD.digest] = [foreign, {"digest": 7}, "x"]  # type: ignore[list-item]
    assert referrers(here, GOOD)[-1] == foreign
    assert referrers(here, GOOD, "?artifactType=text/x") == [foreign]
    both = referrers(here, GOOD, f"?artifactType=text/x&artifactType={BUNDLE_TYPE.replace('+', '%2B')}")
    assert len(both) == len(referrers(here, GOOD))
    answer = here.get(f"/v2/team/app/referrers/{GOOD.digest}?artifactType=text/x")
    assert answer.headers["oci-filters-applied"] == "artifactType"


FOREIGN = {"mediaType": OCI_MANIFEST, "digest": f"sha256:{'1' * 64}", "size": 3}


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "x"}, {"digest": None}, {"size": -1}, {"size": "3"}, {"size": True}, {"mediaType": 7},
        {"artifactType": ["text/x"]}, {"annotations": {"a": 1}}, {"annotations": []},
    ],
)  # fmt: skip
def test_a_referrer_that_clients_cannot_read_is_left_out(here: ImageWorld, change: dict[str, Any]) -> None:
    """They would drop the whole list, and our statements with it."""
    here.registry.referrers[GOOD.digest] = [{**FOREIGN, **change}, FOREIGN]
    assert referrers(here, GOOD)[-2:] != [{**FOREIGN, **change}, FOREIGN]
    assert referrers(here, GOOD)[-1] == FOREIGN
    assert len(referrers(here, GOOD)) == 4


def test_very_many_referrers_of_the_upstream_do_not_hide_ours(here: ImageWorld) -> None:
    """Clients read no list beyond 4 MiB."""
    huge = {"note": "x" * 10_000}
    listed = [{**FOREIGN, "digest": f"sha256:{number:064x}", "annotations": huge} for number in range(410)]
    listed.append({**FOREIGN, "annotations": {"note": "x" * (4 * 1024**2 - len(json.dumps(listed)) - 300)}})
    here.registry.referrers[GOOD.digest] = listed
    answer = here.get(f"/v2/team/app/referrers/{GOOD.digest}")
    assert len(answer.body) < 4 * 1024**2
    manifests = answer.json["manifests"]
    assert [one.get("artifactType") for one in manifests[:3]] == [BUNDLE_TYPE] * 3
    assert manifests[3:] == listed[: len(manifests) - 3]


def test_the_tag_that_stands_in_for_the_referrers_api_is_read(here: ImageWorld) -> None:
    attestation = make_attestation(GOOD, b'{"_type":"x"}')
    here.registry.push("team/app", GOOD.digest.replace(":", "-"), make_index({}, [attestation]))
    assert attestation.digest in [one["digest"] for one in referrers(here, GOOD)]
    assert here.get(f"/v2/team/app/manifests/{attestation.digest}").status == 200


def test_nothing_refers_to_what_is_not_there(here: ImageWorld) -> None:
    assert referrers(here, ARM, name="team/none") == []


def test_a_namespace_says_whose_name_it_is(here: ImageWorld) -> None:
    answer = here.get(f"/v2/team/app/manifests/1?ns={IDENTITY}")
    assert (answer.status, answer.headers["oci-namespace"]) == (200, IDENTITY)
    # Of that registry, `hub/…` is a repository like any other.
    assert here.get(f"/v2/hub/team/app/manifests/1?ns={IDENTITY}").status == 404


def test_the_decision_is_explained(here: ImageWorld) -> None:
    assert "unseen" not in here.get("/why/v2/hub/team/bad/manifests/1").text
    assert "not seen yet" in here.get("/why/v2/hub/team/bad/manifests/1").text
    refused = error(here.get("/v2/hub/team/bad/manifests/1"))
    assert refused["detail"]["reason"] == "not-reproduced"
    page = here.get(refused["detail"]["explanation"])
    assert page.status == 200
    for word in ("refused", "0 of 2 operators", BAD.digest, "nobody has shown enough yet"):
        assert word in page.text or word in page.text.replace("&#39;", "'")
    assert "refused" in here.get("/why/v2/team/bad/manifests/1").text
    assert here.get("/v2/team/app/manifests/1").status == 200
    assert ">served<" in here.get("/why/v2/team/app/manifests/1").text
    assert here.get(f"/why/v2/team/app/blobs/sha256:{GOOD.layer}").status == 404


def test_a_list_of_images_is_explained_by_its_images(here: ImageWorld) -> None:
    """Nothing in the log speaks of the list: nobody is told to fetch proofs that are not there."""
    lists = {
        "team/app": make_index({"amd64": GOOD, "arm64": ARM}),
        "team/bad": make_index({"arm64": ARM, "amd64": BAD}),
    }
    for name, image in lists.items():
        here.registry.push(name, "list", image)
        status = here.get(f"/v2/{name}/manifests/list").status
        why = here.get(f"/api/v1/why/v2/hub/{name}/manifests/list").json
        assert (status, why["verdict"]) in ((200, "allow"), (403, "refuse"))
        assert why["changes"]
        assert all(line[0].isupper() and line.endswith(".") for line in why.get("missing", ()))
        told = " ".join(why["advice"])
        assert "/bundle" not in told
        assert why["sha256"] not in told
        assert here.get(f"/api/v1/artifacts/{image.hex}/bundle").status == 404


def test_auditors_find_images(here: ImageWorld) -> None:
    assert here.get("/v2/team/app/manifests/1").status == 200
    artifact = here.get(f"/api/v1/artifacts/{GOOD.hex}").json
    assert artifact["size"] == len(GOOD.manifest)
    assert artifact["served"] == [f"/v2/hub/team/app/manifests/{GOOD.digest}"]
    assert artifact["files"][0]["levels"] == ["recorded", "reproduced"]
    purl = f"pkg:oci/app@{GOOD.digest}?repository_url={IDENTITY}/team/app"
    assert here.get(f"/api/v1/packages/{purl}").json["package"] == purl
    bundle = here.get(f"/api/v1/artifacts/{GOOD.hex}/bundle").json
    assert bundle["artifact"]["package"] == purl
    assert len(bundle["entries"]) == 3
    for path in (f"/artifacts/{GOOD.hex}", f"/packages/{purl}", "/"):
        page = here.get(path)
        assert page.status == 200
        assert f"{IDENTITY}/team/app" in page.text
    assert "docker pull" in here.get("/").text


def test_a_rule_that_warns_serves_with_a_warning(tmp_path: Path) -> None:
    rules = '[[gate.rule]]\necosystem = "oci"\nneed = ["reproduced"]\nenforce = "warn"\n'
    with image_world(tmp_path, rules=f'{rules}[[gate.rule]]\nneed = ["recorded"]\n') as here:
        here.registry.push("team/bad", "1", BAD)
        answer = here.get("/v2/team/bad/manifests/1")
        assert answer.status == 200
        assert answer.headers["warning"] == '299 - "team/bad: not reproduced: 0 of 2 operators"'


def test_errors_are_those_of_a_registry(here: ImageWorld) -> None:
    cases = {
        "/v2/team/app/manifests/none": (404, "MANIFEST_UNKNOWN"),
        f"/v2/team/app/blobs/sha256:{'0' * 64}": (404, "BLOB_UNKNOWN"),
        "/v2/TEAM/manifests/1": (400, "NAME_INVALID"),
        "/v2/team/app/blobs/sha256:x": (400, "DIGEST_INVALID"),
        "/v2/team/app/manifests/.x": (400, "MANIFEST_INVALID"),
        "/v2/team%2fapp/manifests/1": (400, "NAME_INVALID"),
        "/v2/_catalog": (404, "NAME_UNKNOWN"),
        "/v2/team/app/manifests/1?ns=elsewhere.example.org": (403, "DENIED"),
    }
    for path, expected in cases.items():
        answer = here.get(path)
        assert (answer.status, error(answer)["code"]) == expected, path
        assert error(answer)["message"]
        assert answer.headers["cache-control"] == "no-store"
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = here.get("/v2/team/app/blobs/uploads/", method)
        assert (answer.status, error(answer)["code"]) == (405, "UNSUPPORTED")


def test_a_refusal_is_a_403_with_the_reason_for_people_and_programs(here: ImageWorld) -> None:
    answer = here.get("/v2/team/bad/manifests/1")
    assert answer.status == 403
    line = f"team/bad@sha256:{BAD.hex[:12]} not reproduced: 0 of 2 operators"
    assert error(answer)["message"] == line
    assert answer.headers["warning"] == f'299 - "{line}"'
    assert here.get("/v2/team/bad/manifests/1", "HEAD").status == 403
    assert json.loads(answer.body)["errors"][0]["detail"]["explanation"].startswith("/why/v2/hub/team/bad/")


def test_the_decision_about_an_index_names_each_of_its_images(here: ImageWorld) -> None:
    index = make_index({"amd64": GOOD, "arm64": ARM})
    here.registry.push("team/app", "multi", index)
    assert here.get("/v2/team/app/manifests/multi").status == 200
    page = here.get("/why/v2/hub/team/app/manifests/multi").text
    assert ">served<" in page
    assert "list of images for several platforms" in page
    assert f"linux/amd64, <code>sha256:{GOOD.hex}</code>: everything is there." in page
    assert f"linux/arm64, <code>sha256:{ARM.hex}</code>: not reproduced: 0 of 2 operators." in page


def test_a_first_sight_that_was_missing_is_asked_for_in_the_explanation(tmp_path: Path) -> None:
    with image_world(tmp_path, record=False, rules='[[gate.rule]]\nneed = ["recorded"]\n') as here:
        here.registry.push("team/bad", "1", BAD)
        assert error(here.get("/v2/team/bad/manifests/1"))["detail"]["reason"] == "not-recorded"
        assert "record = true" in here.get("/why/v2/hub/team/bad/manifests/1").text


def test_an_image_of_an_index_that_is_not_to_be_had_does_not_cost_the_others(tmp_path: Path) -> None:
    rules = '[[gate.rule]]\necosystem = "oci"\nneed = ["recorded", "reproduced"]\n'
    with image_world(tmp_path, rules=rules + '[[gate.rule]]\nneed = ["recorded"]\n') as here:
        here.registry.push("team/app", "1", make_index({"arm64": ARM, "amd64": GOOD}))
        del here.registry.manifests["team/app"][ARM.digest]
        here.built("team/app", GOOD)
        assert here.get("/v2/team/app/manifests/1").status == 200, "its first sight was what was missing"


def test_the_artifact_of_an_entry_is_made_once(here: ImageWorld) -> None:
    """Also when a second request began before the first one had made it."""
    listed = referrers(here, GOOD)
    place = here.node.images.registries.place("team/app")
    entry = int(listed[0]["annotations"]["dev.touchplate.entry"])
    assert here.get("/v2/team/free/manifests/1").status == 200  # the log grows, and a new bundle would differ
    again = here.node.referrers._made(place, GOOD.hex, entry, {})
    assert f"sha256:{again.manifest}" == listed[0]["digest"]


def test_an_artifact_that_was_lost_is_made_again(here: ImageWorld) -> None:
    before = referrers(here, GOOD)
    for kind in ("manifest", "bundle"):
        made = here.node.images.links.referrers("hub/team/app", GOOD.hex)[0]
        here.node.blobs.path(getattr(made, kind)).unlink()
        assert here.get("/v2/team/free/manifests/1").status == 200  # another checkpoint, so another bundle
        listed = referrers(here, GOOD)
        assert len(listed) == len(before)
        manifest = here.get(f"/v2/team/app/manifests/{listed[0]['digest']}")
        assert manifest.status == 200
        assert here.get(f"/v2/team/app/blobs/{manifest.json['layers'][0]['digest']}").status == 200


def test_an_empty_layer_is_a_layer(here: ImageWorld) -> None:
    empty = sha256(b"")
    manifest = json.loads(GOOD.manifest)
    manifest["layers"].append({**manifest["layers"][0], "digest": f"sha256:{empty}", "size": 0})
    image = Image(OCI_MANIFEST, json.dumps(manifest).encode(), {**GOOD.blobs, empty: b""})
    here.registry.push("team/free", "empty", image)
    assert here.get("/v2/team/free/manifests/empty").status == 200
    for method in ("HEAD", "GET", "GET"):
        answer = here.get(f"/v2/team/free/blobs/sha256:{empty}", method)
        assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")


def test_an_explanation_is_also_json_and_its_page_leads_to_it(here: ImageWorld) -> None:
    here.get("/v2/hub/team/bad/manifests/1")
    why = here.get("/api/v1/why/v2/hub/team/bad/manifests/1").json
    assert (why["verdict"], why["detail"]) == ("refuse", "not reproduced: 0 of 2 operators")
    assert why["package"].startswith("pkg:oci/bad@sha256:")
    page = here.get("/why/v2/hub/team/bad/manifests/1").text
    path = page.partition('href="/api/v1/why/')[2].partition('"')[0]
    assert here.get(f"/api/v1/why/{path}").json["sha256"] == BAD.hex
    nothing = here.get("/api/v1/why/v2/hub/TEAM/manifests/1")
    assert (nothing.status, nothing.json["verdict"]) == (400, "none")


def test_a_held_image_is_held_as_its_own_package_file(here: ImageWorld) -> None:
    assert here.get("/v2/team/app/manifests/1").status == 200
    held = image_purl(IDENTITY, "team/app", GOOD.hex)
    assert here.node.views.file(GOOD.hex, str(held)).is_held
    elsewhere = image_purl(IDENTITY, "team/other", GOOD.hex)
    assert not here.node.views.file(GOOD.hex, str(elsewhere)).is_held
