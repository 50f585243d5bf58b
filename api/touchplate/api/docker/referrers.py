"""What refers to an image: our entries about it, each as an artifact with a Sigstore bundle, and what the
upstream lists.

Source: OCI distribution specification 1.1, "Listing Referrers"; Sigstore bundle v0.3 as an OCI artifact
(cosign, BUNDLE_SPEC): the bundle is the only layer, the config is the empty one.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from touchplate.api.blobs import Blob
from touchplate.api.docker.judge import ImageJudge
from touchplate.api.docker.layout import is_digest
from touchplate.api.docker.links import ImageLinks, KnownManifest, Named, OwnReferrer
from touchplate.api.docker.manifests import MANIFEST_TYPES
from touchplate.api.docker.repository import Place
from touchplate.api.errors import APIError, NotFoundError, NotReadyError
from touchplate.api.links import Link
from touchplate.api.proofs import Prover
from touchplate.api.pull import SingleFlight
from touchplate.api.stores import Stores
from touchplate.verify.encoding import decode_base64
from touchplate.verify.jcs import JSONValue, format_json
from touchplate.verify.sigstore import MEDIA_TYPE as BUNDLE_TYPE

MAX_FOREIGN_BYTES = 3 * 1024**2
"""Bytes of an upstream's referrers in one answer: clients read no more than 4 MiB, with ours before them."""

EMPTY = b"{}"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"

_PASSED_ON = ("mediaType", "digest", "size", "artifactType", "annotations")
_log = logging.getLogger("touchplate.api.docker")


class Referrers:
    """Lists referrers, and makes the artifacts for our own entries once each. All methods block."""

    def __init__(
        self, judge: ImageJudge, stores: Stores, prover: Prover, now: Callable[[], float] = time.time
    ) -> None:
        self._judge = judge
        self._links: ImageLinks = judge.links
        self._stores = stores
        self._prover = prover
        self._now = now
        self._flights: SingleFlight[OwnReferrer] = SingleFlight()

    def listing(
        self, place: Place, sha256: str, artifact_types: Sequence[str] = ()
    ) -> list[dict[str, JSONValue]]:
        """Descriptors of everything that refers to a manifest, ours first. Empty when nothing does."""
        found = self._own(place, sha256)
        known = {one["digest"] for one in found}
        for foreign in self._foreign(place, sha256):
            if foreign["digest"] not in known:
                found.append(foreign)
        if artifact_types:
            found = [one for one in found if one.get("artifactType") in artifact_types]
        return found

    def _foreign(self, place: Place, sha256: str) -> list[dict[str, JSONValue]]:
        try:
            listed = place.registry.client.referrers(place.path, sha256)
        except APIError as error:
            _log.warning("%s: no referrers from the upstream: %s", place.repository, error)
            return []
        passed: list[dict[str, JSONValue]] = [
            {key: one[key] for key in _PASSED_ON if key in one} for one in listed if _is_sound(one)
        ]
        return list(_first(passed, MAX_FOREIGN_BYTES))

    def _own(self, place: Place, sha256: str) -> list[dict[str, JSONValue]]:
        try:
            if not self._entries(place, sha256):
                return []
            subject = self._subject(place, sha256)
        except (NotReadyError, NotFoundError):
            return []
        entries = self._entries(place, sha256)  # the first sight of the subject may be one more
        made = self._whole(place, sha256)
        return [
            _descriptor(made.get(entry) or self._shared(place, sha256, entry, subject)) for entry in entries
        ]

    def _entries(self, place: Place, sha256: str) -> list[int]:
        size = self._prover.checkpoint().size
        self._stores.index.catch_up()
        return self._prover.entries_about(sha256, place.package(sha256), size)

    def _whole(self, place: Place, sha256: str) -> dict[int, OwnReferrer]:
        """The artifacts that were made before and are still in the store, by entry."""
        blobs = self._stores.blobs
        return {
            one.entry: one
            for one in self._links.referrers(place.repository, sha256)
            if blobs.is_sound(one.manifest) and blobs.is_sound(one.bundle)
        }

    def _shared(self, place: Place, sha256: str, entry: int, subject: dict[str, JSONValue]) -> OwnReferrer:
        key = (place.repository, sha256, entry)
        return self._flights.run(key, lambda: self._made(place, sha256, entry, subject))

    def _subject(self, place: Place, sha256: str) -> dict[str, JSONValue]:
        link, manifest = self._judge.fetch(place, sha256)
        return {"mediaType": manifest.media_type, "digest": f"sha256:{sha256}", "size": link.size}

    def _made(self, place: Place, sha256: str, entry: int, subject: dict[str, JSONValue]) -> OwnReferrer:
        """The artifact of an entry: the one that a request before this one made, or a new one."""
        known = self._whole(place, sha256).get(entry)
        return known or self._make(place, sha256, entry, subject)

    def _make(self, place: Place, sha256: str, entry: int, subject: dict[str, JSONValue]) -> OwnReferrer:
        """The artifact of one entry, stored and linked. Its bundle proves inclusion in the checkpoint of this
        moment, and stays as it is: others may have seen its digest."""
        bundle = self._prover.sigstore(entry, sha256)
        predicate_type = _predicate_type(bundle)
        layer = self._store(bundle)
        config = self._store(EMPTY)
        body = format_json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPES[0],
                "artifactType": BUNDLE_TYPE,
                "config": {"mediaType": EMPTY_TYPE, "digest": f"sha256:{config.sha256}", "size": config.size},
                "layers": [
                    {"mediaType": BUNDLE_TYPE, "digest": f"sha256:{layer.sha256}", "size": layer.size}
                ],
                "subject": subject,
                "annotations": _annotations(entry, predicate_type),
            }
        )
        manifest = self._store(body)
        referrer = OwnReferrer(sha256, entry, manifest.sha256, layer.sha256, manifest.size, predicate_type)
        self._link(place, manifest, [layer, config])
        self._links.add_referrer(place.repository, referrer)
        return referrer

    def _link(self, place: Place, manifest: Blob, parts: list[Blob]) -> None:
        seen = int(self._now())
        for part in parts:
            self._links.add_held(place.repository, part.sha256)
        named = [Named(part.sha256, manifest.sha256, part.size) for part in parts]
        known = KnownManifest(manifest.sha256, MANIFEST_TYPES[0], "own")
        self._links.add_manifest(place.repository, known, named, seen)
        values = vars(manifest) | {"by": "touchplate", "seen": seen}
        self._stores.links.add(Link(place.link_repository, place.link_path(manifest.sha256), **values))

    def _store(self, data: bytes) -> Blob:
        with self._stores.blobs.writer() as sink:
            sink.write(data)
            return sink.commit()


def _is_sound(descriptor: Mapping[str, JSONValue]) -> bool:
    """Whether a client can read it: at one that it cannot, it would drop the whole list, with ours."""
    digest, size = descriptor.get("digest"), descriptor.get("size")
    annotations = descriptor.get("annotations", {})
    return (
        isinstance(digest, str)
        and is_digest(digest)
        and isinstance(size, int)
        and not isinstance(size, bool)
        and size >= 0
        and isinstance(descriptor.get("mediaType"), str)
        and isinstance(descriptor.get("artifactType", ""), str)
        and isinstance(annotations, dict)
        and all(isinstance(value, str) for value in annotations.values())
    )


def _first(descriptors: Iterable[dict[str, JSONValue]], size: int) -> Iterator[dict[str, JSONValue]]:
    """The first of them, as many as `size` bytes hold."""
    for one in descriptors:
        size -= len(json.dumps(one, ensure_ascii=False).encode()) + len(", ")
        if size < 0:
            return
        yield one


def format_referrers(descriptors: list[dict[str, JSONValue]]) -> bytes:
    """The image index that the referrers API answers."""
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": descriptors,
    }
    return json.dumps(index, ensure_ascii=False).encode()


def _descriptor(referrer: OwnReferrer) -> dict[str, JSONValue]:
    return {
        "mediaType": MANIFEST_TYPES[0],
        "digest": f"sha256:{referrer.manifest}",
        "size": referrer.size,
        "artifactType": BUNDLE_TYPE,
        "annotations": _annotations(referrer.entry, referrer.predicate_type),
    }


def _annotations(entry: int, predicate_type: str) -> dict[str, JSONValue]:
    return {
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": predicate_type,
        "dev.touchplate.entry": str(entry),
    }


def _predicate_type(bundle: bytes) -> str:
    payload = decode_base64(json.loads(bundle)["dsseEnvelope"]["payload"], "payload")
    return str(json.loads(payload).get("predicateType", ""))
