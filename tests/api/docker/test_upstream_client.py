"""One upstream registry, asked directly: listings, and who gets its token and its password."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.api.docker.support import FakeRegistry, image_world, running_registry
from tests.base.support import Handler, client, make_certificate, running
from tests.images import OCI_MANIFEST

from touchplate.api.docker import upstream as upstream_module
from touchplate.api.docker.manifests import MAX_VALUES
from touchplate.api.docker.upstream import RegistryClient
from touchplate.api.errors import UpstreamError
from touchplate.base.http import HTTPLimits
from touchplate.base.registry_tokens import Tokens
from touchplate.node.wiring import ANSWER_SECONDS, BLOB_SECONDS

TAGS = "/v2/team/app/tags/list"
REFERRERS = f"/v2/team/app/referrers/sha256:{'1' * 64}"


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with running_registry() as made:
        yield made


@pytest.fixture
def asking(registry: FakeRegistry) -> Iterator[RegistryClient]:
    with client() as http:
        yield RegistryClient("hub", registry.url, http, Tokens("hub", registry.url, http))


def test_tags_that_nobody_could_ask_for_are_left_out(registry: FakeRegistry, asking: RegistryClient) -> None:
    listed = ["1", "../x", "a\nb", "\x1b[2J", "", "x" * 129, 7, None, "x" * 128, "-a", "_a"]
    registry.acts[TAGS] = lambda handler: handler.reply(200, json.dumps({"tags": listed}).encode())
    assert asking.tags("team/app") == ["1", "x" * 128, "_a"]


@pytest.mark.parametrize("target", ["http://[::1", "ftp://x/", "http://127.0.0.1:x/", "http://a@b/"])
def test_a_listing_that_goes_on_at_no_address_is_nonsense(
    registry: FakeRegistry, asking: RegistryClient, target: str
) -> None:
    link = f'<{target}>; rel="next"'
    registry.acts[TAGS] = lambda handler: handler.reply(200, b'{"tags":["a"]}', Link=link)
    with pytest.raises(UpstreamError, match="continues a listing"):
        asking.tags("team/app")


def test_no_more_pages_are_asked_for_than_are_taken(
    registry: FakeRegistry, asking: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And an endless listing ends, however small its pages are."""
    body, link = b'{"tags":["a","b"],"manifests":[{},{}]}', f'<{TAGS}>; rel="next"'
    for path in (TAGS, REFERRERS):
        registry.acts[path] = lambda handler: handler.reply(200, body, Link=link)
    monkeypatch.setattr(upstream_module, "MAX_LISTED", 5)
    assert asking.tags("team/app") == ["a", "b", "a", "b", "a"]
    assert registry.count(TAGS) == 3
    monkeypatch.setattr(upstream_module, "MAX_LISTED", 1_000)
    assert len(asking.tags("team/app")) == 2 * upstream_module.MAX_PAGES


def test_the_pages_of_a_listing_are_bounded_together(
    registry: FakeRegistry, asking: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json.dumps({"manifests": [], "padding": "x" * 900}).encode()
    link = f'<{REFERRERS}>; rel="next"'
    registry.acts[REFERRERS] = lambda handler: handler.reply(200, body, Link=link)
    monkeypatch.setattr(upstream_module, "MAX_LISTING_BYTES", 10_000)
    with pytest.raises(UpstreamError) as refused:
        asking.referrers("team/app", "1" * 64)
    assert refused.value.reason == "upstream-response-too-large"
    assert registry.count(REFERRERS) == 11


def test_a_page_of_very_many_values_is_not_even_parsed(
    registry: FakeRegistry, asking: RegistryClient
) -> None:
    body = b'{"manifests":[' + b",".join([b"{}"] * MAX_VALUES) + b"]}"
    registry.acts[REFERRERS] = lambda handler: handler.reply(200, body)
    with pytest.raises(UpstreamError, match="more than 100000 values"):
        asking.referrers("team/app", "1" * 64)


def test_a_listing_that_goes_on_without_tls_does_not_take_the_token_along(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "server.pem")
    with running(certificate) as server, client(variables={"SSL_CERT_FILE": str(certificate)}) as http:
        tokens = Tokens("hub", server.url(""), http, "me:secret")
        asking = RegistryClient("hub", server.url(""), http, tokens)

        def first(handler: Handler) -> None:
            if "Authorization" not in handler.headers:
                handler.reply(401, b"", WWW_Authenticate='Basic realm="x"')
            else:
                link = f'<{server.url(TAGS).replace("https", "http")}>; rel="next"'
                handler.reply(200, b'{"tags":["a"]}', Link=link)

        server.actions[f"{TAGS}?n=1000"] = first
        with pytest.raises(UpstreamError, match="on another host"):
            asking.tags("team/app")


def test_the_password_of_a_registry_with_tls_goes_nowhere_without(tmp_path: Path) -> None:
    """Not even to a token service on the same host."""
    certificate = make_certificate(tmp_path / "server.pem")
    with running(certificate) as server, running_registry() as plain, client() as http:
        plain.token = "a-token"
        tokens = Tokens("hub", server.url(""), http, "me:secret")
        tokens.answer("team/app", f'Bearer realm="{plain.url}/token",service="x"')
        assert [seen.get("authorization") for seen in plain.server.seen_headers] == [None]


@pytest.mark.parametrize("header", ["WWW_Authenticate", "Link"])
def test_a_header_of_nonsense_costs_no_more_time_than_its_length(
    registry: FakeRegistry, asking: RegistryClient, header: str
) -> None:
    """The patterns are looked for from each character on; time is compared with that of half the length."""

    def seconds(length: int) -> float:
        value = "Bearer " + "a" * length if header == "WWW_Authenticate" else "<" * length
        status = 401 if header == "WWW_Authenticate" else 200
        name = f"team/x{length}"
        registry.acts[f"/v2/{name}/tags/list"] = lambda handler: handler.reply(
            status, b'{"tags":[]}', **{header: value}, Content_Type=OCI_MANIFEST
        )
        start = time.process_time()
        with contextlib.suppress(UpstreamError):
            asking.tags(name)
        return time.process_time() - start

    seconds(1_000)
    assert seconds(60_000) < 0.5 + 4 * seconds(6_000)


def test_only_blobs_may_take_the_time_of_blobs(registry: FakeRegistry) -> None:
    """An upstream that trickles would hold a thread for as long, and there are a few dozen of them."""

    def trickle(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "12")
        handler.end_headers()
        for _ in range(12):
            handler.wfile.write(b"x")
            registry.server.released.wait(0.1)

    blob = f"sha256:{'1' * 64}"
    for path in (f"blobs/{blob}", f"manifests/{blob}", "tags/list"):
        registry.acts[f"/v2/team/app/{path}"] = trickle
    short = HTTPLimits(connect=5, read=5, total=0.5)
    with client(limits=short) as http, client() as slow:
        asking = RegistryClient("hub", registry.url, http, Tokens("hub", registry.url, http), slow=slow)
        pieces: list[bytes] = []
        asking.blob("team/app", "1" * 64, pieces.append, max_bytes=100)
        assert b"".join(pieces) == b"x" * 12
        for ask in (lambda: asking.manifest("team/app", blob), lambda: asking.tags("team/app")):
            with pytest.raises(UpstreamError) as refused:
                ask()
            assert refused.value.reason == "upstream-timeout"


def test_a_node_gives_short_answers_less_time_than_blobs(tmp_path: Path) -> None:
    with image_world(tmp_path) as here:
        asking = here.node.images.registries.by_name["hub"].client
        assert (asking._client.limits.total, asking._slow.limits.total) == (ANSWER_SECONDS, BLOB_SECONDS)
        assert {asking._client, asking._slow} <= set(here.node.clients)
