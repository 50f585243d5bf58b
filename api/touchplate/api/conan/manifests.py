"""Which manifests were compared with which files: reading an archive takes long, and never changes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping

from touchplate.api.blobs import BlobStore
from touchplate.api.conan.manifest import MAX_MANIFEST_BYTES, check_manifest, expected_sums
from touchplate.api.errors import RefusedError
from touchplate.api.links import Link
from touchplate.api.pull import SingleFlight

MAX_COMPARED = 20_000
"""Comparisons that are remembered, under 1 KiB each."""

_Key = tuple[tuple[str, str], ...]


class Manifests:
    """Compares manifests with files, each pair once. Safe to use from several threads."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._lock = threading.Lock()
        self._compared: OrderedDict[_Key, RefusedError | None] = OrderedDict()  # under self._lock
        self._flights: SingleFlight[RefusedError | None] = SingleFlight()

    def mistake(self, manifest: Link, files: Mapping[str, Link]) -> RefusedError | None:
        """What is wrong with the manifest of these files, given by name; None when it lists just them."""
        named = {**files, "": manifest}
        key = tuple(sorted((name, link.sha256) for name, link in named.items()))
        with self._lock:
            if key in self._compared:
                self._compared.move_to_end(key)
                return self._compared[key]
        found = self._flights.run(key, lambda: self._compare(manifest, files))
        with self._lock:
            self._compared[key] = found
            while len(self._compared) > MAX_COMPARED:
                self._compared.popitem(last=False)
        return found

    def _compare(self, manifest: Link, files: Mapping[str, Link]) -> RefusedError | None:
        try:
            if manifest.size > MAX_MANIFEST_BYTES:
                raise RefusedError(
                    f"its conanmanifest.txt has {manifest.size} bytes", reason="wrong-manifest"
                )
            body = self._blobs.path(manifest.sha256).read_bytes()
            check_manifest(body, expected_sums(files, self._blobs.path))
        except RefusedError as error:
            return error
        return None
