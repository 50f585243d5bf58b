"""A Conan remote on loopback that behaves well or badly, and a node in this process in front of it."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.api.support import Answer, World, running_node
from tests.api.upstreams import FakeUpstream, upstream_block, write_pulling_node
from tests.base.support import Handler, running
from tests.conan_packages import IDENTITY, Published, built

from touchplate.node.config import load_config

RULES = """
[[gate.rule]]
ecosystem = "conan"
package = "pkg:conan/free@*"
need = ["recorded"]
[[gate.rule]]
ecosystem = "conan"
need = ["reproduced"]
[[gate.rule]]
need = ["recorded"]
"""
TIME = "2026-11-28T08:00:00.000000+00:00"


@dataclass
class FakeRemote(FakeUpstream):
    """A remote with revisions in memory, the newest last. `asked`: how often each path was, without its
    leading slash as in `acts`; `login`: `Basic …` that it asks for, None for nothing."""

    published: list[Published] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    queries: list[str] = field(default_factory=list)
    login: str | None = None

    def upload(self, *published: Published) -> None:
        """Serve revisions from now on; those of the same name are replaced."""
        for one in published:
            self.published = [other for other in self.published if other.revision != one.revision]
            self.published.append(one)

    def count(self, path: str) -> int:
        """How often a path was asked for."""
        return self.asked[path]

    def path(self, handler: Handler) -> str:
        """Decoded."""
        return unquote(super().path(handler)).removeprefix("/")

    def note(self, handler: Handler, path: str) -> None:
        """Count it, and keep its query."""
        self.asked[path] += 1
        self.queries.append(urlsplit(handler.path).query)

    def serve(self, handler: Handler, path: str) -> None:
        """One request."""
        if path == "v2/users/authenticate":
            good = self.login is not None and handler.headers.get("Authorization") == self.login
            handler.reply(200 if good else 401, b"the-token" if good else b"no")
        elif self.login and handler.headers.get("Authorization") != "Bearer the-token":
            handler.reply(401, b"log in")
        else:
            self._serve(handler, path)

    def _serve(self, handler: Handler, path: str) -> None:
        found = self._files() | self._lists()
        if path == "v2/conans/search":
            names = sorted({str(one.revision.reference) for one in self.published})
            handler.reply(200, json.dumps({"results": names}).encode())
        elif path in found:
            body = found[path]
            handler.reply(200, body if isinstance(body, bytes) else json.dumps(body).encode())
        else:
            handler.reply(404, b"not here")

    def _files(self) -> dict[str, Any]:
        return {
            one.revision.file_path(name): data for one in self.published for name, data in one.files.items()
        }

    def _lists(self) -> dict[str, Any]:
        lists: dict[str, Any] = {}
        for one in self.published:
            revision = one.revision
            base = revision.reference.path
            if revision.is_package:
                lists.setdefault(f"{base}/revisions/{revision.rrev}/search", {})[revision.package_id] = {
                    "content": one.files["conaninfo.txt"].decode()
                }
                base = f"{base}/revisions/{revision.rrev}/packages/{revision.package_id}"
            entry = {"revision": revision.prev or revision.rrev, "time": TIME}
            lists[f"{base}/latest"] = entry
            known = lists.get(f"{base}/revisions", {"revisions": []})
            lists[f"{base}/revisions"] = {"revisions": [entry, *known["revisions"]]}
            lists[f"{revision.path}/files"] = {
                "files": {name: {} for name in (*one.files, "metadata/sign/x.sig")}
            }
        return lists


@dataclass
class ConanWorld(World):
    """A node over one remote."""

    remote: FakeRemote = field(init=False)

    def files(self, published: Published, **headers: str) -> Answer:
        """Ask for the list of files of a revision."""
        return self.get(f"/conan/team/{published.revision.path}/files", **headers)

    def file(self, published: Published, name: str, **headers: str) -> Answer:
        """Ask for one file."""
        return self.get(f"/conan/team/{published.revision.file_path(name)}", **headers)

    def built(self, package: Published, recipe: Published, **options: Any) -> None:
        """Operators built this package from this recipe; `options` as for `conan_packages.built`."""
        self.append(*built(package, recipe, **options))


def upstream_text(url: str, *lines: str, record: bool = True, identity: str = IDENTITY) -> str:
    """An `[[upstream]]` block."""
    return upstream_block("conan", "team", identity, url, *lines, record=record)


def write_conan_node(folder: Path, upstreams: str, rules: str = RULES, levels: str = "") -> Path:
    """The configuration of a node with these upstreams."""
    return write_pulling_node(folder, "conan", upstreams, rules, levels)


@contextlib.contextmanager
def running_remote() -> Iterator[FakeRemote]:
    """A remote without packages."""
    with running() as server:
        yield FakeRemote(server)


@contextlib.contextmanager
def conan_node(folder: Path, remote: FakeRemote, path: Path) -> Iterator[ConanWorld]:
    """A running node with the configuration at `path`."""
    with running_node(load_config(path)) as (node, app):
        world = ConanWorld(folder, None, node, app)  # type: ignore[arg-type]  # no Maven upstream here
        world.remote = remote
        yield world


@contextlib.contextmanager
def conan_world(
    folder: Path,
    *,
    rules: str = RULES,
    record: bool = True,
    lines: tuple[str, ...] = (),
    identity: str = IDENTITY,
    levels: str = "",
) -> Iterator[ConanWorld]:
    """A node over an empty remote; `lines`: more settings of the upstream."""
    with running_remote() as remote:
        upstream = upstream_text(remote.url, *lines, record=record, identity=identity)
        path = write_conan_node(folder, upstream, rules, levels)
        with conan_node(folder, remote, path) as world:
            yield world
