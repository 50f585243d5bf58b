"""Evidence by digest: definition, input lock, build log, sandbox report, difference report.

Whoever doubts a statement fetches what its digests name, and can run the same build again. Everything here
is public.
"""

import hashlib
from dataclasses import dataclass
from typing import BinaryIO

from touchplate.base.durable import DigestFolder
from touchplate.base.errors import FetchError, StorageError
from touchplate.base.http import HTTPClient, Response
from touchplate.builder.errors import EvidenceError
from touchplate.builder.plan import MIB

MAX_EVIDENCE_BYTES = 17 * MIB
"""Of one file: a build log (16 MiB, cut) with the note that it was cut; all other kinds are smaller."""


@dataclass(frozen=True)
class EvidenceServer:
    """Where evidence is stored: `<url>/<sha256>`. `token` is needed to store, not to read."""

    url: str
    client: HTTPClient
    token: str | None = None

    def upload(self, folder: DigestFolder, sha256: str) -> None:
        """Store a file of `folder` there; done already when the server has it. Raises EvidenceError."""
        try:
            with folder.open(sha256) as stream:
                self.store(sha256, stream)
        except StorageError as error:
            raise EvidenceError(f"evidence {sha256} was not stored at {self.url}: {error}") from error

    def store(self, sha256: str, body: bytes | BinaryIO) -> None:
        """As `upload`, from memory or an open file."""
        url = f"{self.url.rstrip('/')}/{sha256}"
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            if self.client.head(url).status == 200:
                return
            response = self.client.put(url, body, headers=headers)
        except FetchError as error:
            raise EvidenceError(f"evidence {sha256} was not stored at {self.url}: {error}") from error
        if response.status not in (200, 201, 204):
            raise EvidenceError(
                f"evidence {sha256} was refused at {self.url}: {response.status} {_said(response)}".rstrip()
            )

    def fetch(self, sha256: str) -> bytes:
        """The file with this digest, checked and stored nowhere. Raises EvidenceError."""
        try:
            response = self.client.get(f"{self.url.rstrip('/')}/{sha256}", max_bytes=MAX_EVIDENCE_BYTES)
        except FetchError as error:
            raise EvidenceError(f"evidence {sha256} cannot be read from {self.url}: {error}") from error
        if response.status != 200:
            raise EvidenceError(f"evidence {sha256} is not at {self.url} ({response.status})")
        return check_evidence(response.body, sha256)


def check_evidence(data: bytes, sha256: str) -> bytes:
    """`data` when it has this digest. Raises EvidenceError."""
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise EvidenceError(f"evidence has sha256 {found}, asked for was {sha256}", reason="wrong-digest")
    return data


def _said(response: Response) -> str:
    text = response.body[:300].decode("utf-8", "replace")
    return "".join(character if character.isprintable() else " " for character in text).strip()
