"""A registry on loopback that behaves well or badly, and a node in this process in front of it."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.api.support import World, running_node
from tests.api.upstreams import FakeUpstream, upstream_block, write_pulling_node
from tests.base.support import Handler, running
from tests.images import Image
from tests.verify.support import OPERATOR_A, OPERATOR_B, make_provenance, sign, statement_signer

from touchplate.api.docker.layout import image_purl
from touchplate.node.config import load_config
from touchplate.verify.entry import Entry

IDENTITY = "registry.example.org"
RULES = """
[[gate.rule]]
ecosystem = "oci"
package = "pkg:oci/*?repository_url=registry.example.org/team/free"
need = ["recorded"]
[[gate.rule]]
ecosystem = "oci"
need = ["reproduced"]
[[gate.rule]]
need = ["recorded"]
"""


@dataclass
class FakeRegistry(FakeUpstream):
    """A registry with images in memory. `token`: what it asks for, `None` for nothing; `asked`: how often
    each (method, path) was."""

    manifests: dict[str, dict[str, Image]] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    blobs: dict[str, dict[str, bytes]] = field(default_factory=dict)
    referrers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    token: str | None = None
    credentials: str | None = None

    def push(self, name: str, tag: str, image: Image) -> None:
        """Serve an image under a tag from now on."""
        for child in image.children:
            self.push(name, "", child)
        self.manifests.setdefault(name, {})[image.digest] = image
        for hexdigest, data in image.blobs.items():
            self.blobs.setdefault(name, {})[f"sha256:{hexdigest}"] = data
        if tag:
            self.tags.setdefault(name, {})[tag] = image.digest

    def count(self, path: str, method: str = "GET") -> int:
        """How often a path was asked for."""
        return self.asked[(method, path)]

    def note(self, handler: Handler, path: str) -> None:
        """Count it."""
        self.asked[(handler.command, path)] += 1

    def serve(self, handler: Handler, path: str) -> None:
        """One request."""
        if path == "/token":
            self._give_token(handler, parse_qs(urlsplit(handler.path).query))
        elif self.token and handler.headers.get("Authorization") != f"Bearer {self.token}":
            challenge = f'Bearer realm="{self.url}/token",service="tests",scope="repository:x:pull,push"'
            handler.reply(401, b"{}", WWW_Authenticate=challenge)
        else:
            self._registry(handler, path)

    def _give_token(self, handler: Handler, query: dict[str, list[str]]) -> None:
        is_pull = all(scope.endswith(":pull") for scope in query.get("scope", []))
        if not is_pull or handler.headers.get("Authorization") != self.credentials:
            handler.reply(401, b"{}")
        else:
            handler.reply(200, json.dumps({"token": self.token, "expires_in": 300}).encode())

    def _registry(self, handler: Handler, path: str) -> None:
        head, _, last = path.removeprefix("/v2/").rpartition("/")
        name, _, kind = head.rpartition("/")
        digest = self.tags.get(name, {}).get(last, last)
        if kind == "manifests" and digest in self.manifests.get(name, {}):
            image = self.manifests[name][digest]
            handler.reply(200, image.manifest, Docker_Content_Digest=digest, Content_Type=image.media_type)
        elif kind == "blobs" and last in self.blobs.get(name, {}):
            handler.reply(200, self.blobs[name][last])
        elif kind == "tags" and name in self.tags:
            handler.reply(200, json.dumps({"name": name, "tags": [*self.tags[name]]}).encode())
        elif kind == "referrers" and last in self.referrers:
            handler.reply(200, json.dumps({"schemaVersion": 2, "manifests": self.referrers[last]}).encode())
        else:
            handler.reply(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')


@dataclass
class ImageWorld(World):
    """A node over one registry, served twice: `hub` follows its tags and is the default, `pinned` pins
    them."""

    registry: FakeRegistry = field(init=False)

    def built(self, name: str, image: Image) -> None:
        """Both operators built this very manifest."""
        self.append(*built(name, image))


def built(name: str, image: Image) -> list[Entry]:
    """The statements of two operators that they built it."""
    uri = image_purl(IDENTITY, name, image.hex)
    pairs = ((OPERATOR_A, "rebuilder-a"), (OPERATOR_B, "rebuilder-b"))
    return [
        sign(make_provenance(image.manifest, uri, operator=operator), statement_signer(key))
        for operator, key in pairs
    ]


def upstream_text(name: str, url: str, *lines: str, record: bool = True, identity: str = IDENTITY) -> str:
    """An `[[upstream]]` block."""
    return upstream_block("oci", name, identity, url, *lines, record=record)


def write_image_node(folder: Path, upstreams: str, rules: str = RULES) -> Path:
    """The configuration of a node with these upstreams."""
    return write_pulling_node(folder, "oci", upstreams, rules)


@contextlib.contextmanager
def running_registry() -> Iterator[FakeRegistry]:
    """A registry without images."""
    with running() as server:
        yield FakeRegistry(server)


@contextlib.contextmanager
def image_node(folder: Path, registry: FakeRegistry, path: Path) -> Iterator[ImageWorld]:
    """A running node with the configuration at `path`."""
    with running_node(load_config(path)) as (node, app):
        world = ImageWorld(folder, None, node, app)  # type: ignore[arg-type]  # no Maven upstream here
        world.registry = registry
        yield world


@contextlib.contextmanager
def image_world(
    folder: Path, *, rules: str = RULES, record: bool = True, lines: tuple[str, ...] = ()
) -> Iterator[ImageWorld]:
    """A node over an empty registry; `lines`: more settings of both upstreams."""
    with running_registry() as registry:
        upstreams = upstream_text("hub", registry.url, "default = true", *lines, record=record)
        upstreams += upstream_text("pinned", registry.url, 'tags = "pin"', *lines, record=record)
        path = write_image_node(folder, upstreams, rules)
        with image_node(folder, registry, path) as world:
            yield world
