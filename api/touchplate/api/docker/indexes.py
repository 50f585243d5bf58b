"""The decision about an index: it is as good as the best of its images, and says nothing by itself.

Attestations in it are passed over. An image that was not fetched yet is judged by what the log says about its
digest, and by whether its own first sight would be enough. All walks are bounded: an index is whatever its
publisher made of it, and may name thousands of manifests and further indexes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from touchplate.api.docker.manifests import Descriptor, Manifest
from touchplate.api.docker.repository import Place
from touchplate.api.errors import APIError
from touchplate.api.gate import Decision, Reason
from touchplate.api.links import Link

MAX_IMAGES = 256
"""Images of one index, nested ones included, that are looked at: more than there are platforms."""

MAX_OBTAINED = 64
"""Manifests that one request for an index may fetch."""

MAX_NESTED = 3
"""Indexes within indexes that are looked into."""

LISTED_IMAGES = 8
"""Images that a refusal names one by one."""

_ORDER = {"allow": 0, "warn": 1, "refuse": 2}


@dataclass(frozen=True)
class Image:
    """An image of an index. `label`: its platform, or the beginning of its digest."""

    sha256: str
    label: str
    decision: Decision


class Images(Protocol):
    """What a walk needs of the judge."""

    def held(self, place: Place, sha256: str) -> tuple[Link, Manifest] | None:
        """A manifest that is here."""

    def fetch(self, place: Place, sha256: str) -> tuple[Link, Manifest]:
        """A manifest, fetched and recorded if need be."""

    def decide(self, place: Place, link: Link) -> Decision:
        """The decision about an image that is here."""

    def expect(self, place: Place, sha256: str) -> Decision:
        """The decision about an image that is not here, as it would be."""

    def can_help(self, place: Place, sha256: str) -> bool:
        """Whether the first sight of an image may be what is missing."""


class IndexWalk:
    """One look at one index. `every`: go on after the first image that passes; `obtain`: fetch images whose
    first sight may be what is missing."""

    def __init__(self, source: Images, place: Place, *, every: bool = False, obtain: bool = False) -> None:
        self._source = source
        self._place = place
        self._every = every
        self._obtain = obtain
        self._images_left = MAX_IMAGES
        self._fetches_left = MAX_OBTAINED
        self._found: dict[str, Image] = {}
        self._is_done = False

    def images(self, index: Manifest) -> tuple[Image, ...]:
        """The images of `index` with their decisions, each once, as far as the walk went."""
        self._walk(index, 0)
        return tuple(self._found.values())

    def _walk(self, index: Manifest, depth: int) -> None:
        for child in index.images:
            if self._is_done or not self._images_left:
                return
            self._images_left -= 1
            if child.sha256:
                self._visit(child, depth)

    def _visit(self, child: Descriptor, depth: int) -> None:
        held = self._get(child)
        if held is not None and held[1].kind == "index":
            if depth < MAX_NESTED:
                self._walk(held[1], depth + 1)
            return
        if held is not None and held[1].kind == "image":
            decision = self._source.decide(self._place, held[0])
        elif held is None and not child.is_index:
            decision = self._source.expect(self._place, child.sha256)
        else:
            return
        label = child.platform or f"sha256:{child.sha256[:12]}"
        self._found[child.sha256] = Image(child.sha256, label, decision)
        self._is_done = decision.passes and not self._every

    def _get(self, child: Descriptor) -> tuple[Link, Manifest] | None:
        helps = child.is_index or (self._obtain and self._source.can_help(self._place, child.sha256))
        if self._obtain and helps and self._fetches_left:
            self._fetches_left -= 1
            try:
                return self._source.fetch(self._place, child.sha256)
            except APIError:
                pass  # that one is not to be had; the others may be
        return self._source.held(self._place, child.sha256)


def decide_index(images: Sequence[Image], empty: Decision) -> Decision:
    """The decision that its images give an index. `empty`: what the gate says about it when nothing is known,
    used when it holds no image."""
    if not images:
        if not empty.reasons:
            return empty
        return replace(empty, reasons=(Reason("no-image", "holds no image that could be judged"),))
    best = min(images, key=lambda image: (_ORDER[image.decision.verdict], not image.decision.passes))
    decision = best.decision
    if not decision.reasons or len(images) == 1:
        return decision
    lines = "; ".join(f"{image.label}: {image.decision.line}" for image in images[:LISTED_IMAGES])
    line = f"none of its {len(images)} images passes: {lines}"
    return replace(decision, reasons=(Reason(decision.reasons[0].word, line),))
