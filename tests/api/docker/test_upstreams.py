"""Upstream registries of the OCI adapter: tokens, tags, redirects, outages, and answers that are nonsense."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.api.docker.support import (
    ImageWorld,
    image_node,
    image_world,
    running_registry,
    upstream_text,
    write_image_node,
)
from tests.api.docker.team import FREE, GOOD, LAYER, error, team_world
from tests.base.support import Handler, client
from tests.images import (
    OCI_MANIFEST,
    make_image,
    sha256,
)

from touchplate.base.registry_tokens import Tokens


@pytest.fixture
def here(tmp_path: Path) -> Iterator[ImageWorld]:
    with team_world(tmp_path) as made:
        yield made


def test_what_is_held_is_served_while_the_upstream_is_down(here: ImageWorld) -> None:
    here.built("team/app", GOOD)
    for path in ("/v2/team/app/manifests/1", f"/v2/team/app/blobs/sha256:{GOOD.layer}"):
        assert here.get(path).status == 200
    here.registry.is_down = True
    here.node.images.tags._kept.clear()
    for method in ("HEAD", "GET"):
        assert here.get("/v2/team/app/manifests/1", method).status == 200
        assert here.get(f"/v2/team/app/blobs/sha256:{GOOD.layer}", method).status == 200
    assert here.get("/v2/team/app/tags/list").json["tags"] == ["1"]
    assert here.get(f"/v2/team/app/referrers/{GOOD.digest}").status == 200
    assert here.get("/v2/team/app/manifests/2").status == 502


def test_what_is_absent_is_not_asked_for_again_at_once(here: ImageWorld) -> None:
    for _ in range(3):
        assert here.get("/v2/team/none/manifests/1").status == 404
    assert here.registry.count("/v2/team/none/manifests/1", "HEAD") == 1


def test_a_followed_tag_may_move_and_every_move_is_remembered(
    here: ImageWorld, caplog: pytest.LogCaptureFixture
) -> None:
    here.get("/v2/team/free/manifests/1")
    other = make_image("other")
    here.registry.push("team/free", "1", other)
    here.node.images.tags._kept.clear()
    assert here.get("/v2/team/free/manifests/1").body == other.manifest
    assert f"moved from {FREE.digest} to {other.digest}" in caplog.text
    page = here.get("/why/v2/team/free/manifests/1").text
    assert FREE.digest in page
    assert other.digest in page


def test_a_pinned_tag_that_moves_is_refused_loudly(here: ImageWorld) -> None:
    path = "/v2/pinned/team/free/manifests/1"
    assert here.get(path).body == FREE.manifest
    other = make_image("other")
    here.registry.push("team/free", "1", other)
    assert here.get(path).body == FREE.manifest, "the upstream's word holds for a moment"
    here.node.images.tags._kept.clear()
    for method in ("HEAD", "GET"):
        answer = here.get(path, method)
        assert answer.status == 403
        assert other.manifest not in answer.body
    refused = error(here.get(path))
    assert (refused["code"], refused["detail"]["reason"]) == ("DENIED", "tag-moved")
    assert FREE.digest in refused["message"]
    assert other.digest in refused["message"]
    assert "is pinned to" in here.get("/").text
    why = here.get(refused["detail"]["explanation"]).text
    assert "refused whatever the rules say" in why
    assert "the upstream moved it" in why
    # By digest both can be had: that says which one is meant.
    for image in (FREE, other):
        assert here.get(f"/v2/pinned/team/free/manifests/{image.digest}").status == 200
    here.registry.push("team/free", "1", FREE)
    assert here.get(path).body == FREE.manifest
    assert ">served<" in here.get("/why/v2/pinned/team/free/manifests/1").text


def test_a_pinned_tag_stays_pinned_after_a_restart(tmp_path: Path) -> None:
    with running_registry() as registry:
        registry.push("team/free", "1", FREE)
        path = write_image_node(tmp_path, upstream_text("hub", registry.url, 'tags = "pin"'))
        for image, status in ((FREE, 200), (make_image("other"), 403)):
            registry.push("team/free", "1", image)
            with image_node(tmp_path, registry, path) as here:
                assert here.get("/v2/hub/team/free/manifests/1").status == status


@pytest.fixture
def private(tmp_path: Path) -> Iterator[ImageWorld]:
    """A registry that wants a token, and a password for it."""
    with running_registry() as registry:
        registry.token, registry.credentials = "a-token", "Basic bWU6c2VjcmV0"
        registry.push("team/free", "1", FREE)
        (tmp_path / "hub.password").write_text("me:secret\n")
        (tmp_path / "hub.password").chmod(0o600)
        lines = 'default = true\ncredentials = "file:hub.password"'
        path = write_image_node(tmp_path, upstream_text("hub", registry.url, lines))
        with image_node(tmp_path, registry, path) as made:
            yield made


def test_a_token_is_asked_for_once_with_the_scope_pull(private: ImageWorld) -> None:
    for path in ("/v2/team/free/manifests/1", LAYER, "/v2/team/free/tags/list"):
        assert private.get(path).status == 200
    assert private.registry.count("/token") == 1


def test_a_token_that_ended_is_asked_for_again(private: ImageWorld) -> None:
    assert private.get("/v2/team/free/manifests/1").status == 200
    private.registry.token = "another"
    assert private.get(LAYER).status == 200
    assert private.registry.count("/token") == 2


def test_credentials_go_to_no_other_host_over_plain_http(private: ImageWorld) -> None:
    with running_registry() as thief:
        realm = thief.url.replace("127.0.0.1", "localhost")

        def challenge(handler: Handler) -> None:
            handler.reply(401, b"", WWW_Authenticate=f'Bearer realm="{realm}/token",service="x"')

        private.registry.acts["/v2/team/free/manifests/1"] = challenge
        assert private.get("/v2/team/free/manifests/1").status == 502
        assert all("authorization" not in seen for seen in thief.server.seen_headers)


def test_a_layer_on_another_host_is_fetched_without_the_token(private: ImageWorld) -> None:
    with running_registry() as store:
        store.blobs["x"] = {f"sha256:{FREE.layer}": FREE.blobs[FREE.layer]}
        elsewhere = f"{store.url}/v2/x/blobs/sha256:{FREE.layer}"
        private.registry.acts[LAYER] = lambda handler: handler.reply(307, b"", Location=elsewhere)
        assert private.get("/v2/team/free/manifests/1").status == 200
        assert private.get(LAYER).body == FREE.blobs[FREE.layer]
        (seen,) = store.server.seen_headers
        assert "authorization" not in seen


def test_a_host_that_the_registry_sends_us_to_gets_no_password_for_asking(private: ImageWorld) -> None:
    """It may be anybody's store of blobs, and name a token service of its own."""
    with running_registry() as store:
        challenge = f'Bearer realm="{store.url}/token",service="x"'
        store.acts["/here"] = lambda handler: handler.reply(401, b"", WWW_Authenticate=challenge)
        private.registry.acts[LAYER] = lambda handler: handler.reply(307, b"", Location=f"{store.url}/here")
        assert private.get("/v2/team/free/manifests/1").status == 200
        answer = private.get(LAYER)
        assert (answer.status, error(answer)["detail"]["reason"]) == (502, "upstream-status")
        assert store.count("/token") == 0
        assert all("authorization" not in seen for seen in store.server.seen_headers)
        # Nor does its refusal say that the registry has no such layer.
        del private.registry.acts[LAYER]
        assert private.get(LAYER).body == FREE.blobs[FREE.layer]


def test_the_signed_address_of_a_layer_is_told_to_nobody(
    here: ImageWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever has it can fetch the layer from its store, whatever he may do here."""
    with running_registry() as store:
        store.acts["/x"] = lambda handler: handler.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1")
        elsewhere = f"{store.url}/x?X-Signature=secret-signature"
        here.registry.acts[LAYER] = lambda handler: handler.reply(307, b"", Location=elsewhere)
        here.get("/v2/team/free/manifests/1")
        answer = here.get(LAYER, Range="bytes=0-3")
    assert (answer.status, error(answer)["detail"]["reason"]) == (502, "upstream-truncated-response")
    assert store.url in answer.text
    assert "secret-signature" not in answer.text + caplog.text


def test_a_redirect_into_a_private_network_is_refused(here: ImageWorld) -> None:
    here.registry.acts[LAYER] = lambda handler: handler.reply(307, b"", Location="http://127.0.0.2:9/x")
    here.get("/v2/team/free/manifests/1")
    answer = here.get(LAYER)
    assert (answer.status, error(answer)["detail"]["reason"]) == (502, "upstream-address-refused")


@pytest.mark.parametrize("what", ["manifests", "tags"])
def test_an_upstream_of_nonsense_is_a_502(here: ImageWorld, what: str) -> None:
    body = b'{"schemaVersion": 2, "tags": [NaN]}'
    path = (
        f"/v2/team/odd/manifests/sha256:{sha256(body)}" if what == "manifests" else "/v2/team/odd/tags/list"
    )
    here.registry.acts[path] = lambda handler: handler.reply(200, body, Content_Type=OCI_MANIFEST)
    answer = here.get(path)
    assert (answer.status, error(answer)["detail"]["reason"]) == (502, "upstream-nonsense")


def test_a_listing_that_goes_on_elsewhere_is_not_followed(here: ImageWorld) -> None:
    link = '<http://127.0.0.2:9/v2/x/tags/list>; rel="next"'
    path = "/v2/team/free/tags/list"
    here.registry.acts[path] = lambda handler: handler.reply(200, b'{"tags":["a"]}', Link=link)
    assert here.get(path).status == 502


def test_two_upstreams_of_one_identity_share_what_the_log_says(here: ImageWorld) -> None:
    here.built("team/app", GOOD)
    for name in ("hub", "pinned"):
        assert here.get(f"/v2/{name}/team/app/manifests/1").status == 200


def test_a_name_of_one_segment_gets_its_namespace(tmp_path: Path) -> None:
    with image_world(tmp_path, lines=('namespace = "library"',)) as here:
        here.registry.push("library/app", "1", GOOD)
        here.built("library/app", GOOD)
        for name in ("app", "hub/app", "hub/library/app", "library/app"):
            assert here.get(f"/v2/{name}/manifests/1").body == GOOD.manifest


def test_without_a_default_upstream_a_name_must_begin_with_one(tmp_path: Path) -> None:
    with running_registry() as registry:
        registry.push("team/free", "1", FREE)
        path = write_image_node(tmp_path, upstream_text("hub", registry.url))
        with image_node(tmp_path, registry, path) as here:
            assert here.get("/v2/hub/team/free/manifests/1").status == 200
            answer = here.get("/v2/team/free/manifests/1")
            assert (answer.status, error(answer)["code"]) == (404, "NAME_UNKNOWN")
            assert "hub" in error(answer)["message"]


def test_nothing_is_recorded_for_an_upstream_that_does_not_say_so(tmp_path: Path) -> None:
    rules = "[[gate.rule]]\nneed = []\n"
    with image_world(tmp_path, rules=rules, record=False) as here:
        here.registry.push("team/app", "1", GOOD)
        assert here.get("/v2/team/app/manifests/1").status == 200
        assert here.size() == 0


def test_a_registry_that_knows_no_head_is_asked_by_get(here: ImageWorld) -> None:
    def get_only(handler: Handler) -> None:
        if handler.command == "HEAD":
            handler.reply(405, b"")
        else:
            handler.reply(200, FREE.manifest, Content_Type=OCI_MANIFEST)

    here.registry.acts["/v2/team/free/manifests/1"] = get_only
    assert here.get("/v2/team/free/manifests/1").body == FREE.manifest


def test_a_registry_that_knows_no_head_gives_a_layer_of_two_repositories_twice(here: ImageWorld) -> None:
    def get_only(handler: Handler) -> None:
        handler.reply(405 if handler.command == "HEAD" else 200, FREE.blobs[FREE.layer])

    rest = f"blobs/sha256:{FREE.layer}"
    for name in ("team/free", "other/team/free"):
        here.registry.push(name, "1", FREE)
        here.registry.acts[f"/v2/{name}/{rest}"] = get_only
    here.built("other/team/free", FREE)
    for name in ("team/free", "other/team/free"):
        assert here.get(f"/v2/{name}/manifests/1").status == 200
        assert here.get(f"/v2/{name}/{rest}").body == FREE.blobs[FREE.layer]


@pytest.mark.parametrize("algorithm", ["sha512", "blake3"])
def test_a_registry_that_names_manifests_by_another_digest_is_understood(
    here: ImageWorld, algorithm: str
) -> None:
    value = hashlib.sha512(FREE.manifest).hexdigest() if algorithm == "sha512" else "0" * 64
    headers = {"Content_Type": OCI_MANIFEST, "Docker_Content_Digest": f"{algorithm}:{value}"}
    here.registry.acts["/v2/team/free/manifests/1"] = lambda handler: handler.reply(
        200, FREE.manifest, **headers
    )
    answer = here.get("/v2/team/free/manifests/1")
    assert (answer.status, answer.headers["docker-content-digest"]) == (200, FREE.digest)


def test_a_wrong_digest_in_another_algorithm_is_a_lie_too(here: ImageWorld) -> None:
    headers = {"Content_Type": OCI_MANIFEST, "Docker_Content_Digest": f"sha512:{'0' * 128}"}
    here.registry.acts["/v2/team/free/manifests/1"] = lambda handler: handler.reply(
        200, FREE.manifest, **headers
    )
    answer = here.get("/v2/team/free/manifests/1")
    assert (answer.status, error(answer)["detail"]["reason"]) == (403, "upstream-wrong-digest")


@pytest.mark.parametrize("media_type", ["application/json", "text/plain"])
def test_a_registry_that_forgot_the_type_is_understood(here: ImageWorld, media_type: str) -> None:
    path = f"/v2/team/free/manifests/{FREE.digest}"
    here.registry.acts[path] = lambda handler: handler.reply(200, FREE.manifest, Content_Type=media_type)
    assert here.get(path).headers["content-type"] == OCI_MANIFEST


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"{}",
        b'{"token": 7}',
        b'{"token": "a\\nb"}',
        b'{"token":"x","expires_in":"a"}',
        b"x" * 70_000,
    ],
)
def test_a_token_service_of_nonsense_is_a_502(private: ImageWorld, answer: bytes) -> None:
    private.registry.acts["/token"] = lambda handler: handler.reply(200, answer)
    told = private.get("/v2/team/free/manifests/1")
    assert told.status == 502
    assert "secret" not in told.text


@pytest.mark.parametrize(
    "challenge", ["", "Bearer", 'Bearer realm="http://[::"', "Negotiate", 'Bearer realm="x"']
)
def test_a_challenge_of_nonsense_gives_nothing_away(private: ImageWorld, challenge: str) -> None:
    private.registry.acts["/v2/team/free/manifests/1"] = lambda handler: handler.reply(
        401, b"", WWW_Authenticate=challenge
    )
    assert private.get("/v2/team/free/manifests/1").status in (404, 502)


def test_a_registry_with_passwords_only_gets_it(private: ImageWorld) -> None:
    registry = private.registry

    def basic(handler: Handler) -> None:
        if handler.headers.get("Authorization") == registry.credentials:
            handler.reply(200, FREE.manifest, Content_Type=OCI_MANIFEST, Docker_Content_Digest=FREE.digest)
        else:
            handler.reply(401, b"", WWW_Authenticate='Basic realm="x"')

    for reference in ("1", FREE.digest):
        registry.acts[f"/v2/team/free/manifests/{reference}"] = basic
    assert private.get("/v2/team/free/manifests/1").body == FREE.manifest


def test_credentials_are_for_https_or_the_registry_itself() -> None:
    """The realm is the registry's word, and anybody's who sits between."""
    with running_registry() as registry, running_registry() as thief, client() as http:
        for one in (registry, thief):
            one.token = "a-token"
        registry.credentials = "Basic bWU6c2VjcmV0"
        tokens = Tokens("hub", registry.url, http, "me:secret")
        realm = thief.url.replace("127.0.0.1", "localhost")
        answered = tokens.answer("team/app", f'Bearer realm="{realm}/token",service="x"')
        assert answered == {"Authorization": "Bearer a-token"}
        assert "authorization" not in thief.server.seen_headers[0]
        tokens.answer("team/app", f'Bearer realm="{registry.url}/token",service="x"')
        assert registry.server.seen_headers[0]["authorization"] == registry.credentials


def test_a_private_store_of_layers_is_asked_when_the_owner_names_it(tmp_path: Path) -> None:
    with running_registry() as registry, running_registry() as store:
        registry.push("team/free", "1", FREE)
        store.blobs["x"] = {f"sha256:{FREE.layer}": FREE.blobs[FREE.layer]}
        elsewhere = f"{store.url}/v2/x/blobs/sha256:{FREE.layer}".replace("127.0.0.1", "localhost")
        registry.acts[LAYER] = lambda handler: handler.reply(307, b"", Location=elsewhere)
        for lines, status in (
            ("default = true", 502),
            ('default = true\nprivate_hosts = ["localhost"]', 200),
        ):
            path = write_image_node(tmp_path, upstream_text("hub", registry.url, lines))
            with image_node(tmp_path, registry, path) as here:
                assert here.get("/v2/team/free/manifests/1").status == 200
                assert here.get(LAYER).status == status
