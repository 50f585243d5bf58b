"""A stock registry that demands a password (htpasswd) or a token, and a small token service of this test."""

import base64
import contextlib
import hashlib
import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from tests.base.support import Handler, Server, client, make_certificate, running
from tests.builder.test_upstream_client import BASIC, PASSWORD, write_secret
from tests.e2e.worlds import free_port

from touchplate.base.durable import DigestFolder
from touchplate.base.environment import read_environment
from touchplate.base.upstreams import Upstream
from touchplate.base.values import Secret
from touchplate.builder.ecosystems.oci.registry import RegistryReader
from touchplate.builder.errors import HostLack
from touchplate.builder.inputs.upstream_client import UpstreamClient

NAME = "team/app"
BLOB = b"a layer"
SHA256 = hashlib.sha256(BLOB).hexdigest()
PATH = f"{NAME}/blobs/sha256:{SHA256}"
HTPASSWD = "me:$2y$05$abcdefghijklmnopqrstuu4SXq6fSyPgtmdXM9ud2UKUcXS4CnaUG\n"
"""bcrypt of PASSWORD, of the lowest cost that registries take."""


@contextlib.contextmanager
def registry(folder: Path, auth: str) -> Iterator[str]:
    """The address of a running registry with this `auth`."""
    environment = read_environment()
    program = environment.find_program("docker-registry")
    if program is None and environment.is_ci:
        pytest.fail("this needs docker-registry")
    if program is None:
        pytest.skip("REGISTRY WITH CREDENTIALS NOT TESTED: this needs docker-registry")
    port = free_port()
    config = folder / "registry.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\n"
        f'http: {{addr: "127.0.0.1:{port}"}}\nauth: {auth}\n'
    )
    url = f"http://127.0.0.1:{port}"
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen([program, "serve", config], stdout=log, stderr=log)
    try:
        for _ in range(300):
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                assert call("GET", f"{url}/v2/", "")[0] == 401
                break
            assert process.poll() is None, (folder / "registry.log").read_text()
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


def call(method: str, url: str, authorization: str, body: bytes | None = None) -> tuple[int, str]:
    """Status and Location."""
    headers = {"Authorization": authorization, "Content-Type": "application/octet-stream"}
    asked = urllib.request.Request(url, body, headers if authorization else {}, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return answer.status, answer.headers.get("Location", "")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""


def push(url: str, authorization: str) -> None:
    status, place = call("POST", f"{url}/v2/{NAME}/blobs/uploads/", authorization, b"")
    assert status == 202
    assert call("PUT", f"{place}&digest=sha256:{SHA256}", authorization, BLOB)[0] == 201


class Tokens:
    """JSON Web Tokens as distribution's registry takes them (ES256, with the certificate in the header)."""

    def __init__(self, folder: Path) -> None:
        self.certificate = make_certificate(folder / "tokens.pem")
        pem = self.certificate.read_bytes()
        self._key = serialization.load_pem_private_key(pem, None)
        der = x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
        self._chain = [base64.b64encode(der).decode()]
        self.bundle = folder / "bundle.pem"
        self.bundle.write_bytes(re.sub(rb"-+BEGIN [A-Z ]*KEY.*?END [A-Z ]*KEY-+\n", b"", pem, flags=re.S))
        self.scopes: list[str] = []

    def make(self, name: str, actions: list[str]) -> str:
        now = int(time.time())
        claims = {
            "iss": "tests", "sub": "me", "aud": "tests", "jti": str(now), "iat": now - 5, "nbf": now - 5,
            "exp": now + 300, "access": [{"type": "repository", "name": name, "actions": actions}],
        }  # fmt: skip
        head = {"typ": "JWT", "alg": "ES256", "x5c": self._chain}
        signed = f"{self._b64(json.dumps(head).encode())}.{self._b64(json.dumps(claims).encode())}"
        assert isinstance(self._key, ec.EllipticCurvePrivateKey)
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{self._b64(r.to_bytes(32) + s.to_bytes(32))}"

    def act(self, handler: Handler) -> None:
        """Answer a request for a token: to who has the password, and for what the scope names only."""
        query = parse_qs(urlsplit(handler.path).query)
        self.scopes += query["scope"]
        kind, name, actions = query["scope"][0].split(":")
        if handler.headers.get("Authorization") != BASIC or (kind, query["service"]) != (
            "repository",
            ["tests"],
        ):
            handler.reply(401, b"")
            return
        token = self.make(name, actions.split(","))
        handler.reply(200, json.dumps({"token": token, "expires_in": 300}).encode())

    @staticmethod
    def _b64(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def read(url: str, secret: Secret | None, store: Path) -> bytes:
    with client() as http:
        upstream = Upstream("corp", "oci", "registry.example.org", url, credentials=secret)
        return RegistryReader(UpstreamClient(upstream, http), DigestFolder(store)).read(PATH, SHA256)


def check(url: str, folder: Path) -> None:
    """Reads with the right password; without one, or with another, says what to do."""
    good = write_secret(folder, f"me:{PASSWORD}")
    assert read(url, good, folder / "store") == BLOB
    with pytest.raises(HostLack, match=r"'corp' .*(credentials=file:PATH|gives no token)"):
        read(url, None, folder / "other")
    with pytest.raises(HostLack, match="'corp' refuses the credentials") as caught:
        read(url, write_secret(folder, f"me:{PASSWORD}x"), folder / "other")
    assert PASSWORD not in str(caught.value)


def test_a_stock_registry_with_passwords_is_read(tmp_path: Path) -> None:
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    with registry(tmp_path, f'{{htpasswd: {{realm: tests, path: "{tmp_path}/htpasswd"}}}}') as url:
        push(url, BASIC)
        check(url, tmp_path)


def test_a_stock_registry_with_tokens_is_read_with_the_scope_pull(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path)
    with running() as service:
        scope = f"scope=repository%3A{NAME.replace('/', '%2F')}%3Apull"
        service.actions[f"/token?{scope}&service=tests"] = tokens.act
        auth = (
            f'{{token: {{realm: "{service.url("/token")}", service: tests, issuer: tests, '
            f'rootcertbundle: "{tokens.bundle}"}}}}'
        )
        with registry(tmp_path, auth) as url:
            push(url, f"Bearer {tokens.make(NAME, ['pull', 'push'])}")
            check(url, tmp_path)
            assert set(tokens.scopes) == {f"repository:{NAME}:pull"}
            # The control: a token of another repository opens nothing.
            authorization = f"Bearer {tokens.make('team/other', ['pull'])}"
            assert call("GET", f"{url}/v2/{PATH}", authorization)[0] == 401


def test_the_service_of_these_tests_gives_no_token_without_the_password(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path)
    server: Server
    with running() as server:
        path = "/token?scope=repository%3Ax%3Apull&service=tests"
        server.actions[path] = tokens.act
        assert call("GET", server.url(path), "")[0] == 401
        assert call("GET", server.url(path), BASIC)[0] == 200
