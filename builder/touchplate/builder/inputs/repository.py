"""Files of an upstream repository, fetched by the supervisor itself: published files, sources, tools.

What the build asks for goes through the recording mirror instead (`mirror`). Here the digest is known
beforehand, or becomes part of what is attested.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from touchplate.base.durable import DigestFolder, make_folder
from touchplate.base.errors import FetchError, StorageError
from touchplate.base.http import HTTPClient
from touchplate.base.upstreams import Upstream
from touchplate.builder.errors import UPSTREAM_FAILED, DefinitionError, HostLack, storage_lack
from touchplate.builder.inputs.upstream_client import UpstreamClient, check_answer
from touchplate.builder.plan import MIB
from touchplate.verify.names import encode_name, format_upstream_uri, parse_upstream_uri

MAX_FILE_BYTES = 512 * MIB
"""Of a published file, source archive or tool: held in memory while it is hashed and compared."""

REFUSED = "upstream-refused"
"""Reason of a HostLack: the upstream answers, and refuses, as servers of files do that do not tell what
they have not."""

_REFUSALS = (400, 401, 403, 405)


@dataclass(frozen=True)
class RemoteFile:
    """One file of an upstream with its bytes."""

    uri: str
    """`upstream:<identity>/<path>`."""
    path: str
    data: bytes

    @property
    def sha256(self) -> str:
        """Lower-case hex."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def sha512(self) -> str:
        """Lower-case hex."""
        return hashlib.sha512(self.data).hexdigest()

    @property
    def digests(self) -> dict[str, str]:
        """As statements have them."""
        return {"sha256": self.sha256, "sha512": self.sha512}


class Repository:
    """One upstream, read through the bounded client, with a digest-keyed folder in front of it."""

    def __init__(self, upstream: Upstream, client: HTTPClient, store: DigestFolder) -> None:
        """Raises HostLack when the upstream has credentials that cannot be used."""
        self.upstream = upstream
        self.asking = UpstreamClient(upstream, client)
        self._store = store

    def get(self, path: str, query: str = "", max_bytes: int = MAX_FILE_BYTES) -> RemoteFile | None:
        """The file at `path` (no leading slash, not percent-encoded); None when there is none. `query`: of
        the address, encoded, where a repository answers questions; `max_bytes`: of the answer.

        Raises HostLack when the upstream cannot be read: that says nothing about the package.
        """
        url = f"{self.upstream.url.rstrip('/')}/{encode_name(path, slash=True)}"
        url += f"?{query}" if query else ""
        try:
            response = self.asking.get(url, max_bytes=max_bytes)
            if response.status == 200:
                body = response.body
                check_answer(response, path, lambda: hashlib.sha1(body, usedforsecurity=False).hexdigest())
        except FetchError as error:
            detail = f"upstream {self.upstream.name!r} cannot be read: {error}"
            raise HostLack(detail, reason=UPSTREAM_FAILED) from error
        if response.status in (404, 410):
            return None
        if response.status != 200:
            asks = response.status == 401 and self.upstream.credentials is None
            hint = f"; give --upstream {self.upstream.name}=…,credentials=file:PATH" if asks else ""
            raise HostLack(
                f"upstream {self.upstream.name!r} answers {response.status} for {path!r}{hint}",
                reason=REFUSED if response.status in _REFUSALS else UPSTREAM_FAILED,
            )
        return RemoteFile(format_upstream_uri(self.upstream.identity, path), path, response.body)

    def need(self, path: str) -> RemoteFile:
        """As `get`. Raises DefinitionError when there is no such file."""
        found = self.get(path)
        if found is None:
            raise DefinitionError(f"upstream {self.upstream.name!r} has no file {path!r}")
        return found

    def need_exact(self, path: str, sha256: str) -> RemoteFile:
        """The file at `path` with this digest, from the store when it is there.

        Raises DefinitionError when the upstream has other bytes.
        """
        uri = format_upstream_uri(self.upstream.identity, path)
        try:
            if self._was_served(uri, sha256) and self._store.has(sha256):
                with self._store.open(sha256) as stream:
                    kept = RemoteFile(uri, path, stream.read(MAX_FILE_BYTES))
                if kept.sha256 == sha256:  # else the disk changed it: fetched again
                    return kept
            found = self.need(path)
            if found.sha256 != sha256:
                raise DefinitionError(f"{uri} has sha256 {found.sha256}, and {sha256} is asked for")
            self._store.put(found.data, expected=sha256)
            make_folder(self._mark(uri, sha256).parent)
            self._mark(uri, sha256).touch()
        except (StorageError, OSError) as error:
            raise storage_lack(f"cannot store {path!r}", self._store.folder, error) from error
        return found

    def _was_served(self, uri: str, sha256: str) -> bool:
        """Whether these bytes came from there: the store knows digests alone, and would give the file of one
        address for that of another, which is then attested."""
        return self._mark(uri, sha256).exists()

    def _mark(self, uri: str, sha256: str) -> Path:
        name = hashlib.sha256(f"{uri}\n{sha256}".encode()).hexdigest()
        return self._store.folder / "served" / name


class Repositories:
    """The configured upstreams by name and by identity."""

    def __init__(self, repositories: Iterable[Repository]) -> None:
        self._by_name = {repository.upstream.name: repository for repository in repositories}

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        """All upstreams."""
        return tuple(repository.upstream for repository in self._by_name.values())

    def named(self, name: str) -> Repository:
        """The upstream called `name`. Raises HostLack when this host has none."""
        if name not in self._by_name:
            raise HostLack(
                f"no upstream {name!r} is configured here; known: {', '.join(self._by_name)}",
                reason="no-upstream",
            )
        return self._by_name[name]

    def of_identity(self, identity: str, ecosystem: str) -> Repository:
        """The ecosystem's upstream with this identity. Raises HostLack when this host has none."""
        for repository in self._by_name.values():
            upstream = repository.upstream
            if (upstream.identity, upstream.ecosystem) == (identity, ecosystem):
                return repository
        raise HostLack(
            f"no {ecosystem} upstream of identity {identity!r} is configured here; give "
            f"--upstream NAME=URL,identity={identity},ecosystem={ecosystem}",
            reason="no-upstream",
        )

    def exact(self, uri: str, sha256: str, ecosystem: str) -> RemoteFile:
        """The file that `uri` names, with this digest. Raises DefinitionError or HostLack."""
        identity, path = parse_upstream_uri(uri)
        return self.of_identity(identity, ecosystem).need_exact(path, sha256)
