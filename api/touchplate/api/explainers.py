"""Who explains which path: one explainer for each adapter, found by the first segment of the path."""

from __future__ import annotations

from dataclasses import dataclass

from touchplate.api.conan.explain import ConanExplainer
from touchplate.api.docker.explain import ImageExplainer
from touchplate.api.errors import NotFoundError
from touchplate.api.explain import Explainer, Explanation

IMAGES = "v2"
"""How paths name the adapter for images: as the registry API does."""


@dataclass(frozen=True)
class Explainers:
    """The explainers of one node."""

    maven: Explainer
    images: ImageExplainer
    conan: ConanExplainer

    def explain(self, ecosystem: str, upstream: str, path: str) -> Explanation:
        """The decision about a path below `/<ecosystem>/<upstream>/`. Raises NotFoundError for an ecosystem
        that has no adapter here."""
        match ecosystem:
            case "maven":
                return self.maven.explain(upstream, path)
            case "conan":
                return self.conan.explain(upstream, path)
            case "v2":
                return self.images.explain(f"{upstream}/{path}")
        raise NotFoundError(f"no adapter is named {ecosystem[:40]!r}; there are: conan, maven, {IMAGES}")
