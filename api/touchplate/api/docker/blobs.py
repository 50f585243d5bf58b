"""Blobs of images: from the store, or from the upstream into it. Who may read them is decided before."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from touchplate.api.blobs import CHUNK_BYTES
from touchplate.api.docker.evidence import MAX_EVIDENCE_BYTES, check_evidence
from touchplate.api.docker.judge import BlobAccess
from touchplate.api.docker.links import ImageLinks
from touchplate.api.docker.repository import Place
from touchplate.api.errors import ChangedError, NotFoundError, RefusedError, UpstreamError
from touchplate.api.http.streams import Download
from touchplate.api.stores import Stores

MAX_CHECKED = 10_000
"""Evidence that was looked at and is not looked at again, about 1 MB: the same digest is the same bytes."""


class ImageBlobs:
    """Reads and fetches the blobs that `ImageJudge.blob` let pass. All methods block."""

    def __init__(self, stores: Stores, links: ImageLinks) -> None:
        self._stores = stores
        self._blobs = stores.blobs
        self._alarms = stores.alarms
        self._looking = threading.Lock()  # one document at a time: a large one takes much memory
        self._lock = threading.Lock()
        self._checked: OrderedDict[str, None] = OrderedDict()  # under self._lock
        self._links = links

    def stored(self, access: BlobAccess) -> tuple[Path, int] | None:
        """File and size of a blob that can be sent as it is; None when it has to be fetched or asked for.

        Raises RefusedError for what calls itself evidence and is none.
        """
        if not access.is_here:
            return None
        path = self._blobs.path(access.sha256)
        size = path.stat().st_size
        if access.is_evidence and not self._is_checked(access.sha256):
            _check_size(size)
            with path.open("rb") as file:
                self._look_at(file)
            self._keep_checked(access.sha256)
        return path, size

    def _is_checked(self, sha256: str) -> bool:
        with self._lock:
            return sha256 in self._checked

    def _keep_checked(self, sha256: str) -> None:
        with self._lock:
            self._checked[sha256] = None
            while len(self._checked) > MAX_CHECKED:
                self._checked.popitem(last=False)

    def confirm(self, access: BlobAccess) -> bool:
        """Take a blob that another repository of the same upstream gave, once the registry says that this one
        has it as well: else a manifest that names somebody else's digest would be a way to read it.

        What another upstream gave, or another adapter, has to be fetched: a registry's word is nothing
        against that of the one whose bytes they are.
        """
        place = access.place
        known = self._links.is_held_from(place.registry.name, access.sha256)
        if not known or not self._blobs.is_sound(access.sha256):
            return False
        try:
            is_there = place.registry.client.has_blob(place.path, access.sha256)
        except UpstreamError:
            if not self._asks_peers(place):
                raise
            is_there = None
        if is_there is None or (not is_there and self._asks_peers(place)):
            return False  # whatever became of it there, a peer may know
        if not is_there:
            raise NotFoundError(
                f"{place.asked} has no blob sha256:{access.sha256} at its registry", reason="blob-unknown"
            )
        self._links.add_held(place.repository, access.sha256)
        return True

    def fetch_evidence(self, access: BlobAccess) -> None:
        """Fetch a blob that is never judged, whole, and look at it before it is stored.

        Raises RefusedError (ChangedError for other bytes than those that were named), NotFoundError,
        UpstreamError.
        """
        _check_size(access.size)
        place, digest = access.place, hashlib.sha256()
        with self._blobs.expecting(access.sha256, access.size) as writer:

            def take(piece: bytes) -> None:
                digest.update(piece)
                writer.write(piece)

            self._fetch(access, take)
            if digest.hexdigest() != access.sha256:
                message = f"the upstream sent other bytes than sha256:{access.sha256}"
                self._alarms.raise_alarm(f"{place.repository}: {message}")
                raise ChangedError(message, reason="upstream-wrong-digest")
            writer.flush()
            with writer.open() as file:
                self._look_at(file)
            writer.commit()
        self._links.add_held(place.repository, access.sha256)

    def _look_at(self, file: BinaryIO) -> None:
        with self._looking:
            check_evidence(file.read())

    def download(self, access: BlobAccess) -> Download:
        """The fetch of a blob that an allowed manifest names, not started yet."""
        place, sha256 = access.place, access.sha256
        return Download(
            self._blobs,
            sha256,
            access.size,
            lambda sink: self._fetch(access, sink),
            stored=lambda: self._links.add_held(place.repository, sha256),
            wrong=lambda message: self._alarms.raise_alarm(f"{place.repository}: {message}"),
        )

    def _fetch(self, access: BlobAccess, sink: Callable[[bytes], object]) -> None:
        """The bytes from the registry; from another peer those that it does not give. The caller hashes all
        of them: if what the registry gave before it broke off was wrong, the whole is."""
        place, taken = access.place, 0

        def take(piece: bytes) -> None:
            nonlocal taken
            taken += len(piece)
            sink(piece)

        try:
            place.registry.client.blob(place.path, access.sha256, take, max_bytes=access.size)
        except (NotFoundError, UpstreamError):
            if not self._asks_peers(place):
                raise
            # Only what a recording upstream gave to a peer comes from there, so it is nobody's secret.
            if self._stores.of_peers(access.sha256, access.size) is None:
                raise
            with self._blobs.path(access.sha256).open("rb") as file:
                file.seek(taken)
                while piece := file.read(CHUNK_BYTES):
                    sink(piece)

    def _asks_peers(self, place: Place) -> bool:
        return place.registry.record and self._stores.peers is not None


def _check_size(size: int) -> None:
    if size > MAX_EVIDENCE_BYTES:
        raise RefusedError(
            f"an attestation of {size} bytes is not served: at most {MAX_EVIDENCE_BYTES}",
            reason="not-evidence",
        )
