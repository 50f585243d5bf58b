"""One upstream registry over HTTP: manifests, blobs, tags and referrers, each bounded."""

from __future__ import annotations

import hashlib
import itertools
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urljoin

from touchplate.api.docker.layout import is_tag
from touchplate.api.docker.manifests import INDEX_TYPES, MANIFEST_TYPES, MAX_MANIFEST_BYTES, MAX_VALUES
from touchplate.api.errors import ChangedError, NotFoundError, UpstreamError
from touchplate.api.pull import NegativeCache
from touchplate.api.values import most_values
from touchplate.base.connections import parse_origin
from touchplate.base.errors import FetchError
from touchplate.base.http import HTTPClient, Response
from touchplate.base.registry_tokens import Tokens
from touchplate.verify.errors import VerifyError
from touchplate.verify.jcs import JSON, parse_json

ABSENT_SECONDS = 30.0
"""How long a 404 is believed: clients ask for the same thing several times in one pull, and people push and
then pull."""

MAX_PAGES = 100
"""Pages of one listing that are followed: with the usual 100 to 1,000 tags each, more than anybody has."""

MAX_LISTED = 20_000
"""Tags or referrers taken from one listing."""

MAX_LISTING_BYTES = 16 * 1024**2
"""Bytes of all pages of one listing: 20,000 tags of full length have 3 MB, referrers with notes more."""

NO_METHOD = "upstream-method"
ACCEPT = ", ".join((*INDEX_TYPES, *MANIFEST_TYPES))
# Registries name a manifest by the digest under which it was pushed (image specification, "Digests").
_ALGORITHMS = ("sha256", "sha512")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})\Z")
# No `<` within: else a header of nothing else is searched once more for each of them.
_NEXT = re.compile(r"<([^<>]*)>\s*;\s*rel=\"?next\"?")
_HIDDEN = (401, 403)  # what many registries answer for what does not exist; a store of blobs is just broken
_GONE = (*_HIDDEN, 404, 410)


@dataclass(frozen=True)
class FetchedManifest:
    """A manifest as the registry sent it, hashed."""

    body: bytes
    media_type: str
    sha256: str


class RegistryClient:
    """Asks the registry at `url`. Blocking; any thread may call it."""

    def __init__(
        self,
        name: str,
        url: str,
        client: HTTPClient,
        tokens: Tokens,
        *,
        slow: HTTPClient | None = None,
        negative: NegativeCache | None = None,
    ) -> None:
        """`client` must follow redirects to other hosts: registries keep blobs elsewhere. `slow`: the same
        for blobs, with the time that large ones take."""
        self._name = name
        self._url = url.rstrip("/")
        self._client = client
        self._slow = slow or client
        self._tokens = tokens
        self._negative = negative or NegativeCache(ABSENT_SECONDS)
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Break off what is being fetched at its next piece."""
        self._stopping.set()

    def resolve(self, path: str, tag: str) -> str | None:
        """The digest (hex) that a tag points to, by HEAD; None when the registry does not say.

        Raises NotFoundError and UpstreamError, as all that follow.
        """
        try:
            response = self._ask("HEAD", path, f"manifests/{tag}", {"Accept": ACCEPT})
        except UpstreamError as error:
            if error.reason != NO_METHOD:
                raise
            return None
        match = _DIGEST.match(response.headers.get("docker-content-digest", ""))
        return match[1] if match else None

    def manifest(self, path: str, reference: str) -> FetchedManifest:
        """The manifest of a tag or `sha256:…`; its bytes are those that the reference names.

        Raises ChangedError for others.
        """
        response = self._ask(
            "GET", path, f"manifests/{reference}", {"Accept": ACCEPT}, max_bytes=MAX_MANIFEST_BYTES
        )
        sha256 = hashlib.sha256(response.body).hexdigest()
        said = response.headers.get("docker-content-digest", "")
        wanted = [reference if ":" in reference else "", said]
        wrong = [one for one in wanted if not _is_digest_of(one, response.body)]
        if wrong:
            raise ChangedError(
                f"upstream {self._name!r} sent other bytes for {path}: sha256:{sha256}, not {wrong[0][:90]}",
                reason="upstream-wrong-digest",
            )
        media_type = response.headers.get("content-type", "").partition(";")[0].strip()
        return FetchedManifest(response.body, media_type, sha256)

    def has_blob(self, path: str, sha256: str) -> bool | None:
        """Whether the registry gives this blob out in this repository; None when it does not say."""
        try:
            self._ask("HEAD", path, f"blobs/sha256:{sha256}", {})
        except NotFoundError:
            return False
        except UpstreamError as error:
            if error.reason != NO_METHOD:
                raise
            return None
        return True

    def blob(self, path: str, sha256: str, sink: Callable[[bytes], object], *, max_bytes: int) -> None:
        """Pass the bytes of a blob to `sink` as they come. The caller hashes them."""

        def take(piece: bytes) -> None:
            if self._stopping.is_set():
                raise UpstreamError("broke off fetching: this node is stopping", reason="stopping")
            sink(piece)

        self._ask("GET", path, f"blobs/sha256:{sha256}", {}, max_bytes=max_bytes, sink=take)

    def tags(self, path: str) -> list[str]:
        """All tags of a repository that can be asked for, in the registry's order, at most MAX_LISTED."""
        listed = self._listed(path, "tags/list?n=1000", "tags")
        tags = (tag for tag in listed if isinstance(tag, str) and is_tag(tag))
        return list(itertools.islice(tags, MAX_LISTED))

    def referrers(self, path: str, sha256: str) -> list[dict[str, JSON]]:
        """Descriptors of what refers to a manifest: from the referrers API, or from the tag that stands in
        for it (distribution specification 1.1, "Referrers Tag Schema"). Empty when there is neither."""
        for target in (f"referrers/sha256:{sha256}", f"manifests/sha256-{sha256}"):
            try:
                listed = self._listed(path, target, "manifests")
                return list(itertools.islice((one for one in listed if isinstance(one, dict)), MAX_LISTED))
            except NotFoundError:
                continue
        return []

    def _listed(self, path: str, target: str, member: str) -> Iterator[JSON]:
        """What the pages of a listing hold under `member`; no more pages than somebody takes from it."""
        for page in self._pages(path, target):
            listed = page.get(member)
            yield from listed if isinstance(listed, list) else []

    def _pages(self, path: str, target: str) -> Iterator[dict[str, JSON]]:
        url = f"{self._url}/v2/{path}/{target}"
        left = MAX_LISTING_BYTES
        for _ in range(MAX_PAGES):
            headers = {"Accept": f"{INDEX_TYPES[0]}, application/json"}
            most = min(left, MAX_MANIFEST_BYTES)
            response = self._ask("GET", path, target, headers, max_bytes=most, url=url)
            left -= len(response.body)
            if most_values(response.body) > MAX_VALUES:
                raise self._useless(path, f"sends a page of more than {MAX_VALUES} values")
            try:
                page = parse_json(response.body, max_bytes=MAX_MANIFEST_BYTES)
            except VerifyError as error:
                raise self._useless(path, f"sends a listing that is no JSON: {error}") from error
            if not isinstance(page, dict):
                raise self._useless(path, "sends a listing that is no JSON object")
            yield page
            following = _NEXT.search(response.headers.get("link", ""))
            if following is None:
                return
            try:
                url = urljoin(url, following[1])
                is_own = self._is_own(url)
            except (ValueError, FetchError) as error:
                raise self._useless(path, f"continues a listing at no address: {error}") from error
            if not is_own:
                # Also the same host without TLS: the token would go along for everybody to read.
                raise self._useless(path, "continues a listing on another host")

    def _ask(
        self,
        method: str,
        path: str,
        target: str,
        headers: dict[str, str],
        *,
        max_bytes: int = 0,
        sink: Callable[[bytes], object] | None = None,
        url: str | None = None,
    ) -> Response:
        """One request with the token that it needs. Only a 200 comes back."""
        key = f"{path}/{target}"
        if key in self._negative:
            raise NotFoundError(f"upstream {self._name!r} has no {key[:200]!r} (asked a moment ago)")
        url = url or f"{self._url}/v2/{key}"
        try:
            response = self._send(method, url, {**headers, **self._tokens.header(path)}, max_bytes, sink)
            # Whoever the registry sends us to may ask for a password too, and is not to get this one's.
            if response.status == 401 and self._is_own(response.url):
                self._tokens.forget(path)
                answered = self._tokens.answer(path, response.headers.get("www-authenticate", ""))
                if answered:
                    response = self._send(method, url, {**headers, **answered}, max_bytes, sink)
        except FetchError as error:
            raise UpstreamError(
                f"upstream {self._name!r} gave no usable answer for {key[:200]!r}: {error}",
                reason=f"upstream-{error.reason}",
            ) from error
        if response.status in _GONE and (response.status not in _HIDDEN or self._is_own(response.url)):
            self._negative.add(key)
            told = (
                "" if response.status in (404, 410) else f" (or does not show it: status {response.status})"
            )
            raise NotFoundError(f"upstream {self._name!r} has no {key[:200]!r}{told}")
        if response.status == 405:
            raise UpstreamError(f"upstream {self._name!r} knows no {method}", reason=NO_METHOD)
        if response.status != 200:
            raise UpstreamError(
                f"upstream {self._name!r} answered {response.status} for {key[:200]!r}; try again later",
                reason="upstream-status",
            )
        return response

    def _send(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        max_bytes: int,
        sink: Callable[[bytes], object] | None,
    ) -> Response:
        if sink is not None:
            return self._slow.stream(url, sink, max_bytes=max_bytes, headers=headers)
        if method == "HEAD":
            return self._client.head(url, headers=headers)
        return self._client.request(method, url, headers=headers, max_bytes=max_bytes)

    def _is_own(self, url: str) -> bool:
        """Whether the registry itself is at `url`: the same host and port, and TLS where it has TLS."""
        return parse_origin(url)[0] == parse_origin(self._url)[0]

    def _useless(self, path: str, what: str) -> UpstreamError:
        return UpstreamError(f"upstream {self._name!r} {what} ({path[:200]!r})", reason="upstream-nonsense")


def _is_digest_of(digest: str, body: bytes) -> bool:
    """Whether a digest is that of these bytes. One in an algorithm that is not known here, or none, says
    nothing against them."""
    algorithm, _, value = digest.partition(":")
    return algorithm not in _ALGORITHMS or hashlib.new(algorithm, body).hexdigest() == value
