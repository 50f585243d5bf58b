"""Reading one upstream registry by digest (OCI distribution specification 1.1, "Pulling"): nothing is taken
that does not have the digest that it was asked for by, and tags are never asked for.
"""

import hashlib
from collections.abc import Callable
from typing import BinaryIO

from touchplate.base.durable import DigestFolder
from touchplate.base.errors import FetchError, StorageError, TooLargeError, WrongDigestError
from touchplate.base.http import Response
from touchplate.builder.ecosystems.oci.manifests import INDEX_TYPES, MANIFEST_TYPES, MAX_MANIFEST_BYTES
from touchplate.builder.errors import UPSTREAM_FAILED, DefinitionError, HostLack, storage_lack
from touchplate.builder.inputs.upstream_client import UpstreamClient
from touchplate.verify.names import encode_name, format_upstream_uri

_ACCEPT = {"Accept": ", ".join((*MANIFEST_TYPES, *INDEX_TYPES))}


class RegistryReader:
    """One upstream. What was read once stands in `store`, and is hashed again when it is read from there."""

    def __init__(self, client: UpstreamClient, store: DigestFolder) -> None:
        self.upstream = client.upstream
        self._client = client
        self._store = store

    def read(self, path: str, sha256: str, *, max_bytes: int = MAX_MANIFEST_BYTES) -> bytes:
        """The bytes of `<repository>/manifests/sha256:…` or `<repository>/blobs/sha256:…`.

        Raises DefinitionError when the registry has none, HostLack when it gives no usable answer.
        """
        with self.open(path, sha256, max_bytes=max_bytes) as stream:
            return stream.read(max_bytes + 1)

    def read_anew(self, path: str, sha256: str) -> bytes:
        """As `read`, and the registry is asked even when the store has these bytes: another registry, or
        another repository of this one, may have given them."""
        self._fetch(path, sha256, MAX_MANIFEST_BYTES)
        return self.read(path, sha256)

    def open(self, path: str, sha256: str, *, max_bytes: int) -> BinaryIO:
        """As `read`, as an open file."""
        self.fetch(path, sha256, max_bytes=max_bytes)
        try:
            return self._store.open(sha256)
        except StorageError as error:
            raise HostLack(f"cannot read what was stored of {path!r}: {error}") from error

    def fetch(self, path: str, sha256: str, *, max_bytes: int) -> None:
        """As `read`, into the store only; nothing is fetched that it has."""
        try:
            if self._is_held(sha256):
                return
        except (StorageError, OSError) as error:
            raise HostLack(f"cannot read what was stored of {path!r}: {error}") from error
        self._fetch(path, sha256, max_bytes)

    def _fetch(self, path: str, sha256: str, max_bytes: int) -> None:
        try:
            with self._store.writer(expected=sha256, max_bytes=max_bytes) as sink:
                response = self._get(path, sink.write, max_bytes)
                self._check(response, path)
                sink.commit()
        except (WrongDigestError, TooLargeError) as error:
            # Wrong bytes of a registry say nothing about the package: another answer may be right.
            raise HostLack(f"cannot take {self.uri(path)}: {error}", reason=UPSTREAM_FAILED) from error
        except StorageError as error:
            raise storage_lack(f"cannot keep {self.uri(path)}", self._store.folder, error) from error

    def size(self, sha256: str) -> int:
        """Bytes of what was fetched. Raises HostLack when it is gone."""
        try:
            return self._store.size(sha256)
        except StorageError as error:
            raise HostLack(f"cannot read what was stored: {error}") from error

    def uri(self, path: str) -> str:
        """`upstream:<identity>/<path>`."""
        return format_upstream_uri(self.upstream.identity, path)

    def _is_held(self, sha256: str) -> bool:
        if not self._store.has(sha256):
            return False
        with self._store.path(sha256).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == sha256

    def _get(self, path: str, sink: Callable[[bytes], None], max_bytes: int) -> Response:
        url = f"{self.upstream.url.rstrip('/')}/v2/{encode_name(path, slash=True)}"
        try:
            return self._client.stream(url, sink, max_bytes=max_bytes, headers=_ACCEPT)
        except FetchError as error:
            raise HostLack(
                f"upstream {self.upstream.name!r} cannot be read: {error}", reason=UPSTREAM_FAILED
            ) from error

    def _check(self, response: Response, path: str) -> None:
        if response.status in (404, 410):
            raise DefinitionError(f"upstream {self.upstream.name!r} has no {path!r}")
        if response.status in (401, 403):
            given = self.upstream.credentials is not None
            remedy = (
                "have reading it allowed to whom its credentials are of"
                if given
                else f"give --upstream {self.upstream.name}=…,credentials=file:PATH"
            )
            raise HostLack(
                f"upstream {self.upstream.name!r} does not show {path!r} (status {response.status}): "
                f"{remedy}",
                reason=UPSTREAM_FAILED,
            )
        if response.status != 200:
            raise HostLack(
                f"upstream {self.upstream.name!r} answers {response.status} for {path!r}",
                reason=UPSTREAM_FAILED,
            )
