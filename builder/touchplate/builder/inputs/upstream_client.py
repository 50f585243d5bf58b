"""Asking one upstream, with the credentials that this host has for it.

They go to the upstream's own scheme, host and port, and to no other: the client below follows no redirect to
another host. Registries and Conan remotes exchange them for a token. The supervisor alone asks: a build sees
files and statuses, never a header, and no text here holds a credential.
"""

import os
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from urllib.parse import unquote

from touchplate.base.connections import parse_origin
from touchplate.base.credentials import Credentials
from touchplate.base.errors import BadResponseError, ConfigError, FetchError, TokenError, quote_url
from touchplate.base.http import AddressRules, HTTPClient, HTTPLimits, Response
from touchplate.base.registry_tokens import MAX_TOKEN_BYTES, Tokens
from touchplate.base.upstreams import Upstream
from touchplate.builder.errors import HostLack
from touchplate.builder.sandbox.bubblewrap import SHOWN

TOKEN_LIMITS = HTTPLimits(read=10.0, total=30.0, redirects=0, idle_connections=0)
"""For one answer of a token service: a few KiB, which real ones send within a second."""

AUTHENTICATE = "v2/users/authenticate"
"""Where a Conan remote gives a token for a password."""

# What a Conan remote answers below this is a token for whoever asks, and a build must not be the one.
_ACCOUNTS = re.compile(r"(.*/)?v[0-9]+/users(/.*)?", re.IGNORECASE | re.DOTALL)
# Servers in Java leave them out of a path before they look who answers it (RFC 3986 section 3.3).
_PARAMETERS = re.compile(r";[^/]*")

_NOTHING: Mapping[str, str] = MappingProxyType({})
_SHA1 = re.compile(r"[0-9a-f]{40}", re.ASCII)
_PAGES = frozenset({"text/html", "application/xhtml+xml"})
_PAGE_NAMES = (".html", ".htm", ".xhtml")
# What Maven Central, Artifactory and repositories in Google's storage send; Maven itself believes them, too.
_SHA1_HEADERS = ("x-checksum-sha1", "x-goog-meta-checksum-sha1")


class CredentialsError(FetchError):
    """The upstream does not take what this host has for it. To try again would only lock the account."""

    default_reason = "credentials-refused"


class AccountsError(FetchError):
    """A path at which servers answer tokens, and not files, to whoever has a password."""

    default_reason = "no-file"


def check_answer(response: Response, path: str, sha1: Callable[[], str]) -> None:
    """Raise BadResponseError for a body that cannot be the file `path`, by what its own headers say.

    A login page of a network on the way comes with status 200, and a file that was cut by a server or cache
    comes with the length of what is left. `sha1`: of the body, in hex; asked only when it is needed.
    """
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in _PAGES and not path.lower().endswith(_PAGE_NAMES):
        raise BadResponseError(
            f"{quote_url(response.url)}: a web page ({kind}) instead of the file; does this machine, or a "
            "proxy on the way, want a login?"
        )
    for name in _SHA1_HEADERS:
        said = response.headers.get(name, "").strip().lower()
        if _SHA1.fullmatch(said) and said != (found := sha1()):
            raise BadResponseError(
                f"{quote_url(response.url)}: the bytes have sha1 {found}, and its header {name} says {said}"
            )


def read_credentials(upstream: Upstream) -> Credentials | None:
    """Those of `upstream`; None when it has none. Raises HostLack with the remedy."""
    if upstream.credentials is None:
        return None
    path = upstream.credentials.path
    # Not Path.resolve: it raises RuntimeError for a link that leads to itself.
    if path is not None and not SHOWN.isdisjoint(Path(os.path.realpath(path)).parents):
        raise HostLack(
            f"upstream {upstream.name!r}: every build can look into the folder of {str(path)!r}; keep "
            "credentials outside /usr",
            reason="bad-credentials",
        )
    try:
        return Credentials.parse(upstream.credentials.resolve())
    except (ConfigError, ValueError) as error:
        what = str(error) if isinstance(error, ConfigError) else f"{upstream.credentials}: {error}"
        raise HostLack(f"upstream {upstream.name!r}: {what}", reason="bad-credentials") from None


def _is_about_accounts(path: str) -> bool:
    """Whether a server could take `path` for one of accounts, in whatever way it is spelt."""
    while (plain := unquote(path)) != path:  # some servers and what stands before them do it twice
        path = plain
    # A backslash is a slash to some, too.
    return _ACCOUNTS.fullmatch(_PARAMETERS.sub("", path.replace("\\", "/")).strip("/")) is not None


class _FirstAlone:
    """Lets one caller through, and the others when it is back, however it came back."""

    def __init__(self) -> None:
        self._taken = threading.Lock()  # by the first, and never given back
        self._is_back = threading.Event()

    def __enter__(self) -> None:
        if not self._taken.acquire(blocking=False):
            self._is_back.wait()

    def __exit__(self, *_: object) -> None:
        self._is_back.set()


class UpstreamClient:
    """One upstream; any number of threads may share it."""

    def __init__(
        self, upstream: Upstream, client: HTTPClient, *, token_limits: HTTPLimits = TOKEN_LIMITS
    ) -> None:
        """Reads the credentials. Raises HostLack when they cannot be used."""
        self.upstream = upstream
        self._client = client
        self._credentials = read_credentials(upstream)
        self._base = upstream.url.rstrip("/")
        self._refused = False
        self._trial = _FirstAlone()
        """Of the credentials: sixty connections that all try a wrong password lock an account."""
        self._conan_token = ""
        # Its own limits, and no kept connection that somebody would have to close.
        asking = HTTPClient(AddressRules.naming(upstream.url, hosts=upstream.realms), token_limits)
        self._asking = asking
        pair = self._credentials.pair if self._credentials is not None else None
        # A bearer token is one already: nothing to exchange.
        exchanges = upstream.ecosystem == "oci" and (self._credentials is None or pair is not None)
        self._tokens = (
            Tokens(upstream.name, upstream.url, asking, pair, realms=upstream.realms) if exchanges else None
        )

    @property
    def rules(self) -> AddressRules:
        """Addresses that the upstream's files are fetched from."""
        return self._client.rules

    def get(self, url: str, *, max_bytes: int, headers: Mapping[str, str] = _NOTHING) -> Response:
        """As `HTTPClient.get`. Raises CredentialsError too."""
        return self._ask(
            url, lambda more: self._client.get(url, max_bytes=max_bytes, headers={**headers, **more})
        )

    def stream(
        self,
        url: str,
        sink: Callable[[bytes], object],
        *,
        max_bytes: int,
        headers: Mapping[str, str] = _NOTHING,
    ) -> Response:
        """As `HTTPClient.stream`, which gives a refusal's body to nobody. Raises CredentialsError too."""
        return self._ask(
            url, lambda more: self._client.stream(url, sink, max_bytes=max_bytes, headers={**headers, **more})
        )

    def _ask(self, url: str, send: Callable[[Mapping[str, str]], Response]) -> Response:
        if not url.startswith(f"{self._base}/") or not self._is_own(url):
            raise FetchError(f"upstream {self.upstream.name!r} is asked for what is not below its address")
        if self._credentials is not None and _is_about_accounts(url.removeprefix(f"{self._base}/")):
            raise AccountsError(f"upstream {self.upstream.name!r}: what is about accounts is no file")
        if self._credentials is None:
            return self._exchange(url, send)
        # A registry's password is sent only when it is asked for; the others' goes along at once.
        with self._trial if self._tokens is None else nullcontext():
            return self._exchange(url, send)

    def _exchange(self, url: str, send: Callable[[Mapping[str, str]], Response]) -> Response:
        if self._refused:
            raise self._not_taken(401)
        response = send(self._known(url))
        if response.status in (401, 403) and self._is_own(response.url):
            with self._trial if self._credentials and self._tokens is not None else nullcontext():
                return self._answered(url, response, send)
        return self._judged(response, is_token=self._tokens is not None)

    def _answered(
        self, url: str, response: Response, send: Callable[[Mapping[str, str]], Response]
    ) -> Response:
        """The answer to a second request, with what the first one was told to bring."""
        if self._refused:
            raise self._not_taken(401)
        given = self._answer(url, response)
        # A token is for one repository; a password, sent to a registry as it is, for all.
        is_token = self._tokens is not None and not given.get("Authorization", "").startswith("Basic ")
        return self._judged(send(given) if given else response, is_token=is_token)

    def _judged(self, response: Response, *, is_token: bool) -> Response:
        """Raises CredentialsError when this host's are not taken."""
        if response.status == 401 and self._credentials is not None:
            self._refused |= not is_token
            raise self._not_taken(401)
        return response

    def _is_own(self, url: str) -> bool:
        return parse_origin(url)[0] == parse_origin(self._base)[0]

    @property
    def _logs_in(self) -> bool:
        """Whether a Conan remote is to exchange the password; one that takes it as it is never has to."""
        return (
            self.upstream.ecosystem == "conan"
            and self._credentials is not None
            and self._credentials.pair is not None
        )

    def _known(self, url: str) -> Mapping[str, str]:
        """What is sent without being asked for it."""
        if self._tokens is not None:
            return self._tokens.header(self._repository(url))
        if self._conan_token:
            return {"Authorization": f"Bearer {self._conan_token}"}
        return {} if self._credentials is None else {"Authorization": self._credentials.authorization}

    def _answer(self, url: str, response: Response) -> Mapping[str, str]:
        """Headers with which it is worth asking once more; empty when there are none."""
        if self._logs_in:
            return self._log_in()
        if self._tokens is None or response.status != 401:
            return {}
        repository = self._repository(url)
        self._tokens.forget(repository)
        try:
            return self._tokens.answer(repository, response.headers.get("www-authenticate", ""))
        except TokenError as error:
            if error.status in (401, 403) and self._credentials is not None:
                self._refused |= error.status == 401  # a service may forbid one repository alone
                raise self._not_taken(error.status) from error
            if error.reason == "token-realm":
                raise TokenError(
                    f"{error}; if it may be asked, write --upstream {self.upstream.name}=…,realm=HOST",
                    reason=error.reason,
                ) from error
            raise

    def _repository(self, url: str) -> str:
        """The registry's repository that `url` is of: all before `/manifests/…` or `/blobs/…`."""
        return url.removeprefix(f"{self._base}/v2/").rsplit("/", 2)[0]

    def _log_in(self) -> Mapping[str, str]:
        """Exchange the password at a Conan remote, once for each refusal."""
        assert self._credentials is not None
        url = f"{self._base}/{AUTHENTICATE}"
        given = {"Authorization": self._credentials.authorization}
        response = self._asking.get(url, max_bytes=MAX_TOKEN_BYTES, headers=given)
        if response.status in (401, 403):
            self._refused = True
            raise self._not_taken(response.status)
        if response.status != 200:  # not a remote that gives tokens
            return {}
        try:
            self._conan_token = response.body.decode("ascii").strip()
            token: Credentials | None = Credentials.parse(self._conan_token)
        except ValueError:
            token = None
        if token is None or token.pair is not None:
            self._conan_token = ""
            raise TokenError(f"upstream {self.upstream.name!r} answers no token at {AUTHENTICATE}")
        return {"Authorization": token.authorization}

    def _not_taken(self, status: int) -> CredentialsError:
        name = self.upstream.name
        return CredentialsError(
            f"upstream {name!r} refuses the credentials that --upstream {name}=…,credentials=… names (status "
            f"{status}): correct the file or variable, or have reading allowed there"
        )
