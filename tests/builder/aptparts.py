"""Images whose RUNs use an archive for apt, on loopback, and base images in which apt really runs."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.builder.aptarchive import Archive, apt_root, require_apt_tools
from tests.builder.imageparts import ImageScene, Published, open_image_scene, tar_bytes
from tests.builder.sandboxes import Site

from touchplate.base.upstreams import Upstream
from touchplate.builder.definitions.definition import Definition
from touchplate.builder.inputs.lock import InputLock
from touchplate.builder.rebuild import Rebuild, fetch_published, rebuild
from touchplate.verify.jcs import JSONValue

ARCHIVE = "archive"
"""Name of the upstream."""


@dataclass
class AptScene:
    """An archive, and the registry, publisher and rebuilder of a scene of images.

    `address`: what stands in an image's sources; the publisher's network leads there.
    """

    images: ImageScene
    address: str

    @property
    def places(self) -> dict[str, JSONValue]:
        """`image.apt` of the definitions."""
        return {self.address.removeprefix("http://"): ARCHIVE}

    def publish(self, name: str, script: str, base: Published | None = None, *options: str) -> Published:
        """An image with one RUN, by a publisher whose network is open."""
        context = self._context(script, base)
        return self.images.publisher.publish(name, context, "--network", "host", *options)

    def define(
        self,
        published: Published,
        base: Published | None = None,
        apt: JSONValue = None,
        **image: JSONValue,
    ) -> Definition:
        """The definition that rebuilds it."""
        base = base or self.images.base
        bases = [(self._name(base), base)]
        return self.images.define(
            published, archive=None, bases=bases, limits=None, apt=apt or self.places, **image
        )

    def definition_of(
        self,
        script: str,
        *,
        base: Published | None = None,
        limits: Mapping[str, int] | None = None,
        apt: JSONValue = None,
        **image: JSONValue,
    ) -> Definition:
        """A definition with this RUN, of another image, from which it differs."""
        base = base or self.images.base
        return self.images.define(
            self.images.other,
            archive=tar_bytes(self._context(script, base)),
            bases=[(self._name(base), base)],
            limits=limits,
            apt=apt or self.places,
            **image,
        )

    def runs(self, script: str, *, limits: Mapping[str, int] | None = None) -> Rebuild:
        """What becomes of a rebuild with this RUN."""
        return self.images.rebuild(self.definition_of(script, limits=limits))

    def rebuild_from(self, definition: Definition, lock: InputLock) -> Rebuild:
        """Build alone, from this lock."""
        workshop = self.images.workshop
        published = fetch_published(workshop, definition)
        done = rebuild(workshop, definition, published, get_lock=lambda plan, backend, display: lock)
        self.images.assert_clean()
        return done

    def _context(self, script: str, base: Published | None) -> dict[str, bytes]:
        name = self._name(base or self.images.base)
        return {"Containerfile": f"FROM {name}\nRUN {script}\n".encode()}

    def _name(self, base: Published) -> str:
        return f"{self.images.registry.host}/{base.name}:1"


@dataclass
class SiteScene(AptScene):
    """A scene whose archive is a site on loopback."""

    site: Site


@contextlib.contextmanager
def open_plain_scene() -> Iterator[SiteScene]:
    """A scene with everything of its own; needs the tools. Its base has no apt, and its archive nothing."""
    site = Site()
    try:
        with open_image_scene(Upstream(ARCHIVE, "apt", ARCHIVE, site.url)) as images:
            yield SiteScene(images, site.url, site)
    finally:
        site.close()


@dataclass
class DebianScene(SiteScene):
    """A scene whose archive is real. `debian`: a base image in which apt runs, with it as its source."""

    archive: Archive
    debian: Published


@contextlib.contextmanager
def open_apt_scene() -> Iterator[DebianScene]:
    """As `open_plain_scene`, with apt."""
    require_apt_tools()
    with (
        open_plain_scene() as plain,
        tempfile.TemporaryDirectory(prefix="touchplate-apt-") as folder,
        contextlib.closing(Archive(plain.site, Path(folder) / "archive")) as archive,
    ):
        archive.add(
            "greeting", "1.0", {"usr/bin/greeting": "#!/bin/sh\necho hello\n"}, "date > /var/log/made"
        )
        archive.release()
        context = {"Containerfile": b"FROM scratch\nADD root.tar.gz /\n", "root.tar.gz": apt_root(archive)}
        debian = plain.images.publisher.publish("team/debian", context)
        yield DebianScene(plain.images, plain.address, plain.site, archive, debian)
