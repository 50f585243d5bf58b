"""The way of one manifest: find or fetch it, record its first sight, judge it. And who may read a blob.

    tag ─► digest ─► held? ─ no ─► fetch, hash ─► record in the log ─► link ─► image? ─► gate
                                                                             index? ─► its images
                                                                             evidence? ─► served, never judged

The platform manifest is the unit of decision. Nothing is linked, so nothing can be served, before the log has
its record. Config and layers pass while a manifest that names them in the same repository passes.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from touchplate.api.blobs import DIGESTS, Blob
from touchplate.api.docker.indexes import Image, IndexWalk, decide_index
from touchplate.api.docker.layout import RegistryRequest
from touchplate.api.docker.links import ImageLinks, KnownManifest, Named
from touchplate.api.docker.manifests import MAX_MANIFEST_BYTES, Manifest, own_media_type, parse_manifest
from touchplate.api.docker.repository import Place, Registries
from touchplate.api.docker.tags import Tags
from touchplate.api.docker.upstream import FetchedManifest
from touchplate.api.errors import ChangedError, NotFoundError, RefusedError, UpstreamError
from touchplate.api.gate import Decision, Facts, Gate, Question
from touchplate.api.links import Link
from touchplate.api.pull import SingleFlight
from touchplate.api.rebuilds import MAX_CANDIDATES, contradiction, wanted_rebuild
from touchplate.api.records import FirstSight
from touchplate.api.stores import FirstSights, Stores

MAX_PASSED = 10_000
"""Decisions to serve that are kept, about 20 MB; the oldest go first."""

MOST_JUDGED = 300
"""Manifests that are asked whether they let a blob pass: each costs a millisecond or two."""


@dataclass(frozen=True)
class Served:
    """A manifest with the decision about it; `decision` is None for evidence, which is never judged.

    `images`: those of an index, as far as they were looked at.
    """

    place: Place
    link: Link
    manifest: Manifest
    decision: Decision | None
    images: tuple[Image, ...] = ()

    @property
    def sha256(self) -> str:
        """Its digest in hex."""
        return self.link.sha256

    @property
    def passes(self) -> bool:
        """Whether nothing is missing; evidence is asked for nothing."""
        return self.decision is None or self.decision.passes


@dataclass(frozen=True)
class BlobAccess:
    """A blob that may be read. `size`: in bytes, as an allowed manifest says; `is_evidence`: only manifests
    that are never judged name it; `is_here`: this repository gave it before, and it is in the store."""

    place: Place
    sha256: str
    size: int
    is_evidence: bool
    is_here: bool


class ImageJudge:
    """Serves the manifests of several upstreams. All methods block; any thread may call them."""

    def __init__(
        self,
        registries: Registries,
        stores: Stores,
        links: ImageLinks,
        gate: Gate,
        sights: FirstSights,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.registries = registries
        self.links = links
        self.tags = Tags(links, stores.alarms, now=now)
        self._stores = stores
        self._gate = gate
        self._sights = sights
        self._now = now
        self._flights: SingleFlight[tuple[Link, Manifest]] = SingleFlight()
        self._lock = threading.Lock()
        self._passed: OrderedDict[tuple[str, str], tuple[int, Decision]] = OrderedDict()  # under self._lock

    def digest(self, place: Place, asked: RegistryRequest) -> str:
        """The digest (hex) that a request for a manifest means. Raises as `Tags.resolve`."""
        return asked.sha256 or self.tags.resolve(place, asked.reference)

    def serve(self, place: Place, sha256: str) -> Served:
        """As `obtain`, and raises RefusedError when the gate says no."""
        served = self.obtain(place, sha256)
        if served.decision is not None and served.decision.verdict == "refuse":
            images = tuple(image.sha256 for image in served.images[:MAX_CANDIDATES])
            raise self._refusal(place, served.link, served.decision, images=images)
        return served

    def obtain(self, place: Place, sha256: str) -> Served:
        """Fetch the manifest if need be, record it, and judge it. The caller looks at the decision.

        Raises NotFoundError, UpstreamError, BusyError, NotReadyError.
        """
        unjudged = Served(place, *self.fetch(place, sha256), None)
        served = self._judge(unjudged)
        if served.passes:
            return served
        # An operator who was just told that his entry is in the log must not be told here that it is not.
        self._stores.index.catch_up()
        served = self._judge(unjudged)
        return served if served.passes else self._judge(unjudged, every=True, obtain=True)

    def fetch(self, place: Place, sha256: str) -> tuple[Link, Manifest]:
        """The manifest itself, from the store or the upstream, unjudged. An image is recorded by then."""
        held = self.held(place, sha256)
        if held is None or self._lacks_record(place, *held):
            held = self._flights.run((place.repository, sha256), lambda: self._admit(place, sha256))
        return held

    def held(self, place: Place, sha256: str) -> tuple[Link, Manifest] | None:
        """The manifest, when this repository gave it before and it is still whole."""
        link = self._stores.links.find(place.link_repository, place.link_path(sha256))
        known = self.links.manifest(place.repository, sha256)
        if link is None or known is None or not self._stores.blobs.has(sha256):
            return None
        if not self._stores.blobs.is_sound(sha256):
            # Fetched again, it must be the same bytes, and takes the damaged file's place.
            self._stores.alarms.raise_alarm(
                f"{place.repository}: the stored manifest {sha256} is damaged; fetching it again"
            )
            return None
        return link, parse_manifest(self._stores.blobs.path(sha256).read_bytes(), known.media_type)

    def ready(self, place: Place, asked: RegistryRequest) -> Served | None:
        """What `serve` would answer, when neither the upstream nor the log need be asked for it."""
        sha256 = asked.sha256 or self.tags.kept(place, asked.reference)
        held = self.held(place, sha256) if sha256 else None
        if held is None or self._lacks_record(place, *held):
            return None
        served = self._judge(Served(place, *held, None))
        return served if served.passes else None

    def known(self, place: Place, sha256: str) -> Served | None:
        """The decision about a manifest that is held already; None otherwise. Fetches and writes nothing."""
        held = self.held(place, sha256)
        self._stores.index.catch_up()
        return None if held is None else self._judge(Served(place, *held, None), every=True)

    def blob(self, place: Place, sha256: str) -> BlobAccess:
        """Whether a blob may be read through a repository.

        Raises NotFoundError when no manifest that was asked for there names it, RefusedError when none that
        does is allowed.
        """
        refused: tuple[Link, Decision] | None = None
        evidence: Named | None = None
        for one in self._naming(place, sha256):
            link = self._stores.links.find(place.link_repository, place.link_path(one.by))
            known = self.links.manifest(place.repository, one.by)
            if link is None or known is None:
                continue
            if known.kind == "evidence":
                evidence = one
                continue
            if known.kind == "own":
                return self._access(place, one, is_evidence=False)
            decision = self.decide(place, link)
            if decision.verdict != "refuse":
                return self._access(place, one, is_evidence=False)
            refused = refused or (link, decision)
        if evidence is not None:
            return self._access(place, evidence, is_evidence=True)
        if refused is not None:
            raise self._refusal(place, *refused, blob=sha256)
        raise NotFoundError(
            f"no manifest that was pulled from {place.asked} here names the blob sha256:{sha256}",
            reason="blob-unknown",
        )

    def _naming(self, place: Place, sha256: str) -> list[Named]:
        """Who names a blob, those first that were served: whoever reads blobs asked for their manifest a
        moment ago, and any number of refused ones must not stand before it."""
        found = self.links.naming(place.repository, sha256)
        with self._lock:
            found.sort(key=lambda one: (place.repository, one.by) not in self._passed)
        return found[:MOST_JUDGED]

    def _access(self, place: Place, named: Named, *, is_evidence: bool) -> BlobAccess:
        sha256 = named.sha256
        gave = self.links.is_held(place.repository, sha256)
        return BlobAccess(
            place, sha256, named.size, is_evidence, gave and self._stores.blobs.is_sound(sha256)
        )

    def _refusal(
        self,
        place: Place,
        link: Link,
        decision: Decision,
        *,
        blob: str | None = None,
        images: tuple[str, ...] = (),
    ) -> RefusedError:
        """The error that tells a client why, in one short line. `images`: those of an index."""
        what = f"{place.asked}@sha256:{link.sha256[:12]}"
        if blob is not None:
            what = f"blob sha256:{blob[:12]} is part of {what}, which is"
        explain = place.why(f"sha256:{link.sha256}")
        return RefusedError(
            f"{what} {decision.line}",
            reason=decision.reasons[0].word,
            explain=explain,
            rebuild=wanted_rebuild(
                decision, lambda: [place.package(sha256) for sha256 in images or (link.sha256,)]
            ),
            note=contradiction(decision),
        )

    def question(self, place: Place, sha256: str) -> Question:
        """What the gate is asked about an image."""
        return Question(place.package(sha256), place.registry.name, sha256)

    def decide(self, place: Place, link: Link) -> Decision:
        """The decision about one image, by the log's facts about these very bytes."""
        key, followed = (place.repository, link.sha256), self._stores.index.followed
        with self._lock:
            known_at, decision = self._passed.get(key, (-1, None))
        # The facts cannot have changed while the log did not grow.
        if decision is not None and known_at == followed:
            return decision
        facts = self._stores.index.facts(link.file, place.package(link.sha256))
        decision = self._gate.decide(self.question(place, link.sha256), facts, int(self._now()))
        if decision.verdict != "refuse":
            stays = decision.passes and not decision.rule.minimum_age
            with self._lock:
                self._passed[key] = (followed if stays else -1, decision)
                self._passed.move_to_end(key)
                while len(self._passed) > MAX_PASSED:
                    self._passed.popitem(last=False)
        return decision

    def expect(self, place: Place, sha256: str) -> Decision:
        """The decision about an image that was not fetched yet, as it would be if it was."""
        question = self.question(place, sha256)
        facts = self._stores.index.facts(self._stores.index.attested(sha256), question.package)
        decision = self._gate.decide(question, facts, int(self._now()))
        if place.registry.record and decision.need == ("recorded",) and not decision.rule.minimum_age:
            # Its own first request puts the record into the log.
            return replace(decision, verdict="allow", reasons=())
        return decision

    def can_help(self, place: Place, sha256: str) -> bool:
        """Whether the first sight of an image may be what is missing."""
        rule = self._gate.rule_for(self.question(place, sha256))
        return place.registry.record and ("recorded" in rule.need or rule.minimum_age > 0)

    def _judge(self, served: Served, *, every: bool = False, obtain: bool = False) -> Served:
        """The same with its decision. `every`, `obtain`: see `IndexWalk`."""
        place, kind = served.place, served.manifest.kind
        if kind == "evidence":
            return served
        if kind == "image":
            return replace(served, decision=self.decide(place, served.link))
        images = IndexWalk(self, place, every=every, obtain=obtain).images(served.manifest)
        empty = self._gate.decide(self.question(place, served.sha256), Facts(), int(self._now()))
        return replace(served, decision=decide_index(images, empty), images=images)

    def _lacks_record(self, place: Place, link: Link, manifest: Manifest) -> bool:
        if manifest.kind != "image" or not place.registry.record:
            return False
        return not self._sights.is_recorded(place.package(link.sha256))

    def _admit(self, place: Place, sha256: str) -> tuple[Link, Manifest]:
        held = self.held(place, sha256)
        if held is not None:
            link, manifest = held
        else:
            fetched = self._fetch(place, sha256)
            manifest = parse_manifest(fetched.body, fetched.media_type)
            with self._stores.blobs.writer() as sink:
                sink.write(fetched.body)
                blob = sink.commit()
            link = self._link(place, blob)
        if self._lacks_record(place, link, manifest):
            blob = Blob(link.size, **link.digests)
            path = place.link_path(sha256)
            self._sights.record(
                place.registry.name,
                FirstSight(place.package(sha256), place.registry.identity, path, blob),
            )
        # The log has the record, durably, from here on.
        named = [Named(one.sha256, sha256, one.size) for one in manifest.blobs if one.sha256]
        known = KnownManifest(sha256, manifest.media_type, manifest.kind)
        self.links.add_manifest(place.repository, known, named, link.seen)
        return self._stores.links.add(link), manifest

    def _fetch(self, place: Place, sha256: str) -> FetchedManifest:
        try:
            return place.registry.client.manifest(place.path, f"sha256:{sha256}")
        except ChangedError as error:
            self._stores.alarms.raise_alarm(f"{place.repository}: {error}")
            raise
        except (NotFoundError, UpstreamError):
            fetched = self._of_peers(place, sha256) if place.registry.record else None
            if fetched is None:
                raise
            return fetched

    def _of_peers(self, place: Place, sha256: str) -> FetchedManifest | None:
        """The manifest from another peer. Of an image only one that the log recorded for this repository:
        nobody here has seen that its registry gives it."""
        if self._stores.of_peers(sha256, MAX_MANIFEST_BYTES) is None:
            return None
        body = self._stores.blobs.path(sha256).read_bytes()
        media_type = own_media_type(body)
        if parse_manifest(body, media_type).kind == "image":
            self._stores.index.catch_up()
            if not self._sights.is_recorded(place.package(sha256)):
                return None
        return FetchedManifest(body, media_type, sha256)

    def _link(self, place: Place, blob: Blob) -> Link:
        digests = {name: getattr(blob, name) for name in DIGESTS}
        return Link(
            place.link_repository,
            place.link_path(blob.sha256),
            size=blob.size,
            by="upstream",
            seen=int(self._now()),
            **digests,
        )
