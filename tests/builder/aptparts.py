"""Images whose RUNs use an archive for apt, on loopback, and base images in which apt really runs."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.builder.aptarchive import Archive, apt_root, require_apt_tools
from tests.builder.imageparts import ImageScene, Published, open_image_scene, tar_bytes
from tests.builder.sandboxes import Site

from touchplate.base.upstreams import Upstream
from touchplate.builder.definitions import Definition
from touchplate.builder.rebuild import Rebuild
from touchplate.verify.jcs import JSONValue

ARCHIVE = "archive"
"""Name of the upstream."""


@dataclass
class AptScene:
    """An archive, and the registry, publisher and rebuilder of a scene of images."""

    site: Site
    images: ImageScene

    archive: Archive
    debian: Published
    """A base image in which apt runs, with `archive` as its source."""

    @property
    def address(self) -> str:
        """What stands in an image's sources: the publisher's network leads there."""
        return self.site.url

    @property
    def places(self) -> dict[str, JSONValue]:
        """`image.apt` of the definitions."""
        return {self.address.removeprefix("http://"): ARCHIVE}

    def publish(self, name: str, script: str, base: Published | None = None) -> Published:
        """An image with one RUN, by a publisher whose network is open."""
        return self.images.publisher.publish(name, self._context(script, base), "--network", "host")

    def define(self, published: Published, base: Published | None = None, **image: JSONValue) -> Definition:
        """The definition that rebuilds it."""
        base = base or self.images.base
        bases = [(self._name(base), base)]
        return self.images.define(published, bases=bases, **{"apt": self.places, **image})

    def runs(self, script: str, **image: JSONValue) -> Rebuild:
        """What becomes of a rebuild with this RUN; it is set beside another image, from which it differs."""
        definition = self.images.define(
            self.images.other,
            archive=tar_bytes(self._context(script, None)),
            bases=[(self._name(self.images.base), self.images.base)],
            **{"apt": self.places, **image},
        )
        return self.images.rebuild(definition)

    def _context(self, script: str, base: Published | None) -> dict[str, bytes]:
        name = self._name(base or self.images.base)
        return {"Containerfile": f"FROM {name}\nRUN {script}\n".encode()}

    def _name(self, base: Published) -> str:
        return f"{self.images.registry.host}/{base.name}:1"


@contextlib.contextmanager
def open_apt_scene() -> Iterator[AptScene]:
    """A scene with everything of its own; needs the tools."""
    require_apt_tools()
    site = Site()
    try:
        with (
            open_image_scene(Upstream(ARCHIVE, "apt", ARCHIVE, site.url)) as images,
            tempfile.TemporaryDirectory(prefix="touchplate-apt-") as folder,
            contextlib.closing(Archive(site, Path(folder) / "archive")) as archive,
        ):
            archive.add(
                "greeting", "1.0", {"usr/bin/greeting": "#!/bin/sh\necho hello\n"}, "date > /var/log/made"
            )
            archive.release()
            context = {
                "Containerfile": b"FROM scratch\nADD root.tar.gz /\n",
                "root.tar.gz": apt_root(archive),
            }
            yield AptScene(site, images, archive, images.publisher.publish("team/debian", context))
    finally:
        site.close()
