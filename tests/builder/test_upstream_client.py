"""Credentials at upstreams, over real connections: who is sent them, who is not, and what is said then."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from tests.base.support import LIMITS, Handler, Server, client, running

from touchplate.base.durable import DigestFolder
from touchplate.base.errors import FetchError, RedirectRefusedError, TokenError
from touchplate.base.http import HTTPLimits
from touchplate.base.upstreams import Upstream
from touchplate.base.values import Secret
from touchplate.builder.ecosystems.oci.registry import RegistryReader
from touchplate.builder.errors import HostLack
from touchplate.builder.inputs.repository import Repository
from touchplate.builder.inputs.upstream_client import AUTHENTICATE, CredentialsError, UpstreamClient

PASSWORD = "hunter2-the-password"
BASIC = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
TOKEN = "a-token-of-tests"
FILE = "/up/a.jar"
MANIFEST = "/up/v2/team/app/manifests/sha256:1"
PATIENT = replace(LIMITS, idle_connections=0)
SHORT = HTTPLimits(connect=5, read=0.3, total=1, redirects=0, idle_connections=0)


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as made:
        yield made


@pytest.fixture
def secret(tmp_path: Path) -> Secret:
    return write_secret(tmp_path, f"me:{PASSWORD}\n")


def write_secret(folder: Path, text: str, mode: int = 0o600) -> Secret:
    path = folder / "credentials"
    path.write_text(text)
    path.chmod(mode)
    return Secret.parse(f"file:{path}", folder)


def upstream(server: Server, secret: Secret | None, ecosystem: str = "maven") -> Upstream:
    made = Upstream("corp", "maven", "corp", server.url("/up"), credentials=secret)
    return replace(made, ecosystem=ecosystem)  # type: ignore[arg-type]


def demanding(expected: str, body: bytes = b"body", challenge: str = "Basic") -> Callable[[Handler], None]:
    def act(handler: Handler) -> None:
        if handler.headers.get("Authorization") == expected:
            handler.reply(200, body)
        else:
            handler.reply(401, b"no", WWW_Authenticate=challenge)

    return act


def sent(server: Server) -> list[str | None]:
    return [headers.get("authorization") for headers in server.seen_headers]


def fetch(one: Upstream, url: str, **options: HTTPLimits) -> bytes:
    with client() as http:
        response = UpstreamClient(one, http, **options).get(url, max_bytes=1000)
        assert response.status == 200
        return response.body


@pytest.mark.parametrize("ecosystem", ["maven", "conan"])
def test_a_password_goes_along_with_the_first_request(server: Server, secret: Secret, ecosystem: str) -> None:
    server.actions[FILE] = demanding(BASIC)
    assert fetch(upstream(server, secret, ecosystem), server.url(FILE)) == b"body"
    assert sent(server) == [BASIC]


@pytest.mark.parametrize(("ecosystem", "path"), [("maven", FILE), ("conan", FILE), ("oci", MANIFEST)])
def test_a_bearer_token_is_sent_as_it_is(server: Server, tmp_path: Path, ecosystem: str, path: str) -> None:
    server.actions[path] = demanding(f"Bearer {TOKEN}")
    assert fetch(upstream(server, write_secret(tmp_path, TOKEN), ecosystem), server.url(path)) == b"body"
    assert sent(server) == [f"Bearer {TOKEN}"]


def test_another_upstream_and_another_path_of_the_server_are_sent_nothing(
    server: Server, secret: Secret
) -> None:
    server.actions["/other/a.jar"] = server.actions[FILE] = lambda handler: handler.reply(200, b"body")
    with client() as http:
        mine = UpstreamClient(upstream(server, secret), http)
        other = UpstreamClient(replace(upstream(server, None), name="other", url=server.url("/other")), http)
        mine.get(server.url(FILE), max_bytes=9)
        other.get(server.url("/other/a.jar"), max_bytes=9)
        for url in (server.url("/other/a.jar"), server.url(FILE, "localhost"), server.url("/upper/a.jar")):
            with pytest.raises(FetchError, match="not below its address"):
                mine.get(url, max_bytes=9)
    assert sent(server) == [BASIC, None]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_to_another_host_takes_nothing_along(server: Server, secret: Secret, status: int) -> None:
    with running() as thief:
        thief.actions["/a.jar"] = lambda handler: handler.reply(200, b"body")
        server.actions[FILE] = lambda handler: handler.reply(status, b"", Location=thief.url("/a.jar"))
        with pytest.raises(RedirectRefusedError):
            fetch(upstream(server, secret), server.url(FILE))
        assert thief.requests == []


def test_a_wrong_password_is_told_with_the_remedy_and_sent_once(server: Server, secret: Secret) -> None:
    """More tries of it could lock the account."""
    server.actions[FILE] = demanding("Basic other")
    with client() as http:
        asking = UpstreamClient(upstream(server, secret), http)
        for _ in range(3):
            with pytest.raises(CredentialsError, match="upstream 'corp' refuses the credentials") as caught:
                asking.get(server.url(FILE), max_bytes=9)
    assert "correct the file or variable" in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert sent(server) == [BASIC]


def all_at_once(one: Upstream, urls: list[str]) -> None:
    """Ask for all of them at the same time; each has to be told that the credentials are not taken."""
    with client() as http, ThreadPoolExecutor(len(urls)) as pool:
        asking = UpstreamClient(one, http, token_limits=PATIENT)
        start = threading.Barrier(len(urls))

        def ask(url: str) -> None:
            start.wait()
            with pytest.raises(CredentialsError, match="refuses the credentials"):
                asking.get(url, max_bytes=1000)

        list(pool.map(ask, urls))


@pytest.mark.parametrize(
    ("ecosystem", "asked"), [("maven", ["/up/0"]), ("conan", ["/up/0", f"/up/{AUTHENTICATE}"])]
)
def test_a_wrong_password_is_tried_by_one_of_many_connections(
    server: Server, tmp_path: Path, ecosystem: str, asked: list[str]
) -> None:
    for path in ("/up/0", f"/up/{AUTHENTICATE}"):
        server.actions[path] = demanding(BASIC)
    wrong = upstream(server, write_secret(tmp_path, "me:wrong"), ecosystem)
    all_at_once(wrong, [server.url("/up/0")] * 20)
    assert [path for _, path in server.requests] == asked


def test_connections_that_wait_for_the_first_one_go_on_when_it_breaks(server: Server, secret: Secret) -> None:
    def act(handler: Handler) -> None:
        if len(server.requests) > 1:
            handler.reply(200, b"body")
        else:
            handler.close_connection = True

    server.actions[FILE] = act
    with client() as http, ThreadPoolExecutor(9) as pool:
        asking = UpstreamClient(upstream(server, secret), http)

        def ask(_: int) -> bool:
            try:
                return asking.get(server.url(FILE), max_bytes=100).status == 200
            except FetchError:
                return False

        assert sorted(pool.map(ask, range(9))) == [False] + [True] * 8


def test_a_file_that_others_can_read_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(HostLack, match=r"upstream 'corp'.*chmod 600"):
        fetch(upstream(server, write_secret(tmp_path, f"me:{PASSWORD}", 0o640)), server.url(FILE))
    assert server.requests == []


@pytest.mark.parametrize(
    "text", [f"{PASSWORD} x", f":{PASSWORD}", f"me:{PASSWORD}\x1b[2J", "", "x" * 100_000]
)
def test_a_file_of_something_else_is_refused_and_not_repeated(
    server: Server, tmp_path: Path, text: str
) -> None:
    with pytest.raises(HostLack, match="upstream 'corp'") as caught:
        fetch(upstream(server, write_secret(tmp_path, text)), server.url(FILE))
    assert PASSWORD not in str(caught.value)


def test_a_file_where_every_build_can_look_is_refused(server: Server) -> None:
    with pytest.raises(HostLack, match="outside /usr"):
        fetch(upstream(server, Secret.parse("file:/usr/local/etc/corp", Path())), server.url(FILE))


def test_a_file_that_is_a_link_to_itself_is_refused(server: Server, tmp_path: Path) -> None:
    loop = tmp_path / "corp.secret"
    loop.symlink_to(loop)
    with pytest.raises(HostLack, match="upstream 'corp'"):
        fetch(upstream(server, Secret.parse(f"file:{loop}", Path())), server.url(FILE))


def test_a_repository_tells_of_refused_credentials_as_a_lack_of_the_host(
    server: Server, secret: Secret, tmp_path: Path
) -> None:
    server.actions[FILE] = demanding("Basic other")
    with client() as http:
        with pytest.raises(HostLack, match="refuses the credentials"):
            Repository(upstream(server, secret), http, DigestFolder(tmp_path / "s")).get("a.jar")
        with pytest.raises(HostLack, match=r"answers 401 .*credentials=file:PATH"):
            Repository(upstream(server, None), http, DigestFolder(tmp_path / "s")).get("a.jar")


def test_a_conan_remote_gives_a_token_for_the_password(server: Server, secret: Secret) -> None:
    server.actions[FILE] = demanding(f"Bearer {TOKEN}")
    server.actions[f"/up/{AUTHENTICATE}"] = demanding(BASIC, TOKEN.encode())
    with client() as http:
        asking = UpstreamClient(upstream(server, secret, "conan"), http)
        for _ in range(2):
            assert asking.get(server.url(FILE), max_bytes=9).body == b"body"
    assert sent(server) == [BASIC, BASIC, f"Bearer {TOKEN}", f"Bearer {TOKEN}"]


@pytest.mark.parametrize("answer", [b"", b"a b", b"a\x1b[2Jb", b"me:x", b"\xff", b"a\r\nX-Evil: 1"])
def test_a_conan_remote_that_answers_no_token_is_told_so(
    server: Server, secret: Secret, answer: bytes
) -> None:
    server.actions[FILE] = demanding("nobody")
    server.actions[f"/up/{AUTHENTICATE}"] = lambda handler: handler.reply(200, answer)
    with pytest.raises(TokenError, match="answers no token"):
        fetch(upstream(server, secret, "conan"), server.url(FILE))


@pytest.mark.parametrize(
    "path",
    [
        *(AUTHENTICATE, "v1/users/authenticate", "V2/Users/check", "x/v2/users/y"),
        *("v2;a=b/users;c/authenticate", "v2/users;/authenticate", "v2/%75sers/authenticate"),
        *(
            "v2%2Fusers/authenticate",
            "v2%252Fusers/authenticate",
            "v2%5Cusers%5Cauthenticate",
            "v2/users%3Bx",
        ),
    ],
)
@pytest.mark.parametrize("ecosystem", ["maven", "conan"])
def test_what_a_remote_says_of_accounts_is_no_file(
    server: Server, secret: Secret, path: str, ecosystem: str
) -> None:
    """Its answer is a token, and who asks may be a build."""
    with pytest.raises(FetchError, match="about accounts"):
        fetch(upstream(server, secret, ecosystem), server.url(f"/up/{path}"))
    assert server.requests == []


class Registry:
    """A registry that sends to `realm` for tokens, and what its token service answers."""

    def __init__(self, server: Server, service: Server) -> None:
        self.server, self.service = server, service
        self.realm = service.url("/token")
        self.wants = BASIC
        self.answer: Callable[[Handler], None] = lambda handler: handler.reply(
            200, json.dumps({"token": TOKEN, "expires_in": 300}).encode()
        )
        server.actions[MANIFEST] = self._manifest
        asked = "/token?scope=repository%3Ateam%2Fapp%3Apull&service=tests"
        service.actions[asked] = self._token

    def _manifest(self, handler: Handler) -> None:
        challenge = f'Bearer realm="{self.realm}",service="tests",scope="repository:team/app:pull,push"'
        demanding(f"Bearer {TOKEN}", b"body", challenge)(handler)

    def _token(self, handler: Handler) -> None:
        if self.wants and handler.headers.get("Authorization") != self.wants:
            handler.reply(401, b"no")
        else:
            self.answer(handler)


@pytest.fixture
def registry(server: Server) -> Iterator[Registry]:
    with running() as service:
        yield Registry(server, service)


def pull(registry: Registry, secret: Secret | None, realm: str = "", limits: HTTPLimits = PATIENT) -> bytes:
    one = replace(
        upstream(registry.server, secret, "oci"), realms=frozenset({realm}) if realm else frozenset()
    )
    return fetch(one, registry.server.url(MANIFEST), token_limits=limits)


def test_the_password_goes_to_the_token_service_and_the_token_to_the_registry(
    registry: Registry, secret: Secret
) -> None:
    assert pull(registry, secret) == b"body"
    assert sent(registry.server) == [None, f"Bearer {TOKEN}"]
    assert sent(registry.service) == [BASIC]


def test_who_has_no_credentials_asks_for_a_token_without(registry: Registry) -> None:
    registry.wants = ""
    assert pull(registry, None) == b"body"
    assert sent(registry.service) == [None]


def test_a_token_is_kept_and_asked_for_anew_once_when_it_is_refused(
    registry: Registry, secret: Secret
) -> None:
    url = registry.server.url(MANIFEST)
    with client() as http:
        asking = UpstreamClient(upstream(registry.server, secret, "oci"), http)
        for _ in range(3):
            asking.get(url, max_bytes=9)
        assert len(registry.service.requests) == 1
        registry.server.actions[MANIFEST] = lambda handler: handler.reply(
            401, b"", WWW_Authenticate=f'Bearer realm="{registry.realm}",service="tests"'
        )
        with pytest.raises(CredentialsError):
            asking.get(url, max_bytes=9)
    assert len(registry.service.requests) == 2
    assert len(registry.server.requests) == 6


def test_a_realm_at_another_host_is_asked_only_when_it_is_allowed(registry: Registry, secret: Secret) -> None:
    registry.realm = registry.realm.replace("127.0.0.1", "localhost")
    for credentials in (secret, None):
        with pytest.raises(TokenError, match=r"another host, 'localhost'.*write --upstream corp=…,realm="):
            pull(registry, credentials)
    assert registry.service.requests == []
    assert pull(registry, secret, "localhost") == b"body"


def test_a_realm_without_tls_is_asked_on_this_machine_only(registry: Registry, secret: Secret) -> None:
    registry.realm = "http://tokens.example.org/token"
    with pytest.raises(TokenError, match="without https"):
        pull(registry, secret, "tokens.example.org")


@pytest.mark.parametrize("realm", ["", "x", "http://[::", "ftp://127.0.0.1/", "http://me:x@127.0.0.1/", "//"])
def test_a_realm_of_nonsense_is_told(registry: Registry, secret: Secret, realm: str) -> None:
    registry.realm = realm
    with pytest.raises(TokenError):
        pull(registry, secret)
    assert registry.service.requests == []


def test_a_token_service_that_sends_elsewhere_is_not_followed(registry: Registry, secret: Secret) -> None:
    with running() as thief:
        registry.answer = lambda handler: handler.reply(302, b"", Location=thief.url("/token"))
        with pytest.raises(TokenError):
            pull(registry, secret)
        assert thief.requests == []


def test_a_token_service_that_stalls_is_given_up(registry: Registry, secret: Secret) -> None:
    registry.answer = Handler.wait_for_release
    with pytest.raises(TokenError) as caught:
        pull(registry, secret, limits=SHORT)
    assert caught.value.reason == "timeout"


def test_a_token_service_that_sends_a_gigabyte_is_cut_off(registry: Registry, secret: Secret) -> None:
    sent_bytes = 0

    def flood(handler: Handler) -> None:
        nonlocal sent_bytes
        handler.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(1024):
            handler.wfile.write(b"100000\r\n" + b" " * 1024**2 + b"\r\n")
            sent_bytes += 1024**2

    registry.answer = flood
    with pytest.raises(TokenError) as caught:
        pull(registry, secret)
    assert caught.value.reason == "response-too-large"
    assert sent_bytes < 64 * 1024**2


@pytest.mark.parametrize("token", ["a\r\nX-Evil: 1", "a\x1b[2Jb", "\x00", "é", "", 7, None, ["a"], {"a": 1}])
def test_a_token_of_something_else_is_refused(registry: Registry, secret: Secret, token: object) -> None:
    registry.answer = lambda handler: handler.reply(200, json.dumps({"token": token}).encode())
    with pytest.raises(TokenError, match="answers no token") as caught:
        pull(registry, secret)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("seconds", ["1" + "0" * 400, '"x"', "[7]"])
def test_a_life_that_is_no_number_is_no_token(registry: Registry, secret: Secret, seconds: str) -> None:
    body = f'{{"token": "{TOKEN}", "expires_in": {seconds}}}'.encode()
    registry.answer = lambda handler: handler.reply(200, body)
    with pytest.raises(TokenError, match="answers no token"):
        pull(registry, secret)


@pytest.mark.parametrize("seconds", ["1e999", "NaN", "-1", "null", "0"])
def test_a_life_of_nonsense_harms_nothing(registry: Registry, secret: Secret, seconds: str) -> None:
    body = f'{{"token": "{TOKEN}", "expires_in": {seconds}}}'.encode()
    registry.answer = lambda handler: handler.reply(200, body)
    assert pull(registry, secret) == b"body"


def test_a_wrong_password_of_a_registry_is_a_lack_of_the_host_with_the_remedy(
    registry: Registry, secret: Secret, tmp_path: Path
) -> None:
    registry.wants = "Basic other"
    with client() as http:
        for one, message in (
            (upstream(registry.server, secret, "oci"), "refuses the credentials"),
            (upstream(registry.server, None, "oci"), "gives no token"),
        ):
            reader = RegistryReader(UpstreamClient(one, http), DigestFolder(tmp_path / "store"))
            with pytest.raises(HostLack, match=f"'corp' .*{message}") as caught:
                reader.read("team/app/manifests/sha256:1", "1" * 64)
            assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("challenge", ["token", "Basic"])
def test_a_wrong_password_of_a_registry_is_tried_once_for_all_repositories(
    registry: Registry, secret: Secret, challenge: str
) -> None:
    registry.wants = "Basic another"
    paths = [f"/up/v2/team/app{number}/manifests/sha256:1" for number in range(9)]
    tried: list[str | None] = []

    def refuse(handler: Handler) -> None:
        tried.append(handler.headers.get("Authorization"))
        handler.reply(401, b"no")

    for number, path in enumerate(paths):
        said = challenge if challenge == "Basic" else f'Bearer realm="{registry.realm}"'
        registry.server.actions[path] = demanding("nothing", b"", said)
        registry_path = f"/token?scope=repository%3Ateam%2Fapp{number}%3Apull"
        registry.service.actions[registry_path] = refuse
    one = replace(upstream(registry.server, secret, "oci"), realms=frozenset({"127.0.0.1"}))
    all_at_once(one, [registry.server.url(path) for path in paths])
    passwords = [value for value in (*tried, *sent(registry.server)) if value is not None]
    assert passwords == [BASIC]


def test_a_registry_that_asks_for_the_password_itself_gets_it(server: Server, secret: Secret) -> None:
    server.actions[MANIFEST] = demanding(BASIC, b"body", 'Basic realm="x"')
    assert fetch(upstream(server, secret, "oci"), server.url(MANIFEST)) == b"body"
    assert sent(server) == [None, BASIC]
