"""The world of `make e2e-conan`: a conan_server, a node, keys of two operators, people with a client each.

Everything lies in a temporary folder and listens on loopback; each process that is started here is ended
here, by its own id.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.conan_packages import IDENTITY, OPERATORS, Published, built
from tests.e2e.worlds import (
    ROOT,
    TOUCHPLATE,
    MissingToolError,
    Output,
    Upstream,
    World,
    expect,
    free_port,
    new_folder,
    request,
    write_config,
    write_keys,
)
from tests.verify.cases import rebuilder_block, recorder_block
from tests.verify.support import OPERATOR_A, OPERATOR_B, RECORDER

from touchplate.api.conan.layout import Reference, Revision

LOCK = ROOT / "tests/e2e/conan.lock"
STABILIZERS = ("gzip-header@1", "tar-owners@1", "tar-times@1")
"""That the node's trust file accepts: by whom and when a published archive was packed."""
SERVER = ROOT / "tests/e2e/conan_loopback.py"
CLIENT_SECONDS = 900  # one command, which may build a library on a busy machine
SERVER_CONF = """[server]
jwt_secret: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
jwt_expire_minutes: 120
ssl_enabled: False
port: {port}
host_name: 127.0.0.1
authorize_timeout: 1800
disk_storage_path: {folder}/data
updown_secret: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb
[write_permissions]
*/*@*/*: demo
[read_permissions]
*/*@*/*: *
[users]
demo: demo
"""

# With all kinds of members that an archive of Conan can have.
RECIPE = """
import os

from conan import ConanFile
from conan.tools.files import copy


class Library(ConanFile):
    name = "{name}"
    version = "{version}"
    settings = "os", "arch", "compiler", "build_type"
    exports_sources = "src/*"
    exports = "NOTICE"

    def build(self):
        source = self.source_folder + "/src/{name}.c"
        self.run(f"gcc -O2 -ffile-prefix-map={{self.source_folder}}=/s -c {{source}} -o {name}.o")
        self.run("ar rcsD lib{name}.a {name}.o")

    def package(self):
        copy(self, "*.h", self.source_folder + "/src", self.package_folder + "/include")
        lib = self.package_folder + "/lib"
        copy(self, "*.a", self.build_folder, lib)
        os.symlink("lib{name}.a", lib + "/lib{name}-1.a")
        os.symlink("lib", self.package_folder + "/lib64")
        os.link(self.package_folder + "/include/{name}.h", self.package_folder + "/include/same.h")
        os.makedirs(self.package_folder + "/share/empty")
        with open(self.package_folder + "/share/na\u00efve notes: 1.txt", "w") as notes:
            notes.write("for everybody")

    def package_info(self):
        self.cpp_info.libs = ["{name}"]
"""


@dataclass
class Person:
    """Somebody with a conan client of his own."""

    world: ConanWorld
    home: Path
    variables: dict[str, str] = field(default_factory=dict)
    """Further environment variables of the client."""

    def command(self, *arguments: str | Path) -> Sequence[str | Path]:
        """How the client is started."""
        return [self.world.tools / "conan", *arguments]

    def conan(self, *arguments: str | Path) -> Output:
        """Run the client. It never asks anything: there is nobody to answer."""
        env = {"CONAN_HOME": str(self.home), "CONAN_NON_INTERACTIVE": "1", **self.variables}
        return self.world.run(*self.command(*arguments), env=env, seconds=CLIENT_SECONDS)

    def must(self, *arguments: str | Path) -> Output:
        """The same, and it has to succeed."""
        done = self.conan(*arguments)
        expect(done.code == 0, f"conan {' '.join(map(str, arguments))}: {done.text[-1500:]}")
        return done

    def install(self, reference: str, *more: str) -> Output:
        """`conan install --requires=…`."""
        return self.conan("install", f"--requires={reference}", *more)


@dataclass
class ConanWorld(World):
    """A running conan_server (`upstream` knows its port) and a running node. `tools`: where conan is."""

    tools: Path = field(default_factory=Path)
    token: str = "operators-of-the-test"
    """With which operators store their evidence at the node."""

    def person(self, name: str, files: dict[str, str] | None = None) -> Person:
        """A new person with an empty cache. `files`: settings by name; else no remote is known."""
        return self.settle(Person(self, self.folder / f"home-{name}"), files)

    def settle(self, person: Person, files: dict[str, str] | None = None) -> Person:
        """Make the home of a person; see `person`."""
        home = person.home
        home.mkdir(parents=True)
        for file, text in (files or {"remotes.json": '{"remotes": []}\n'}).items():
            (home / file).write_text(text)
        # Set, or the client asks on the terminal; the profile decides about nothing but the compiler.
        (home / "global.conf").write_text("core:non_interactive = True\n")
        person.must("profile", "detect")
        return person

    def publisher(self, person: Person) -> Person:
        """A person who uploads to the upstream."""
        self.settle(person)
        person.must("remote", "add", "upstream", f"http://127.0.0.1:{self.upstream.port}")
        person.must("remote", "login", "upstream", "demo", "-p", "demo")
        return person

    def user(self, name: str) -> Person:
        """A person with the settings that `touchplate setup conan` prints."""
        printed = self.run(TOUCHPLATE, "setup", "conan", "--config", self.folder / "node.toml", "--json")
        expect(printed.code == 0, f"touchplate setup conan: {printed.text}")
        files = {Path(one["path"]).name: one["text"] for one in json.loads(printed.text)["files"]}
        return self.person(name, files)

    def publish(self, person: Person, name: str, version: str, number: int) -> tuple[Published, Published]:
        """Build a small C library that returns `number`, upload it, and give back what lies at the upstream:
        recipe and package revision."""
        folder = self.folder / f"{name}-{version}-{number}"
        (folder / "src").mkdir(parents=True)
        (folder / "conanfile.py").write_text(RECIPE.format(name=name, version=version))
        (folder / "NOTICE").write_text("for everybody\n")
        (folder / "src" / f"{name}.h").write_text(f"int {name}(void);\n")
        (folder / "src" / "also.h").symlink_to(f"{name}.h")
        (folder / "src" / f"{name}.c").write_text(f"int {name}(void) {{ return {number}; }}\n")
        person.must("create", folder, "--build-test=never")
        person.must("upload", f"{name}/{version}", "-r", "upstream", "-c")
        return self.newest(name, version)

    def newest(self, name: str, version: str) -> tuple[Published, Published]:
        """The newest recipe revision and its newest package, as the upstream gives them out."""
        reference = Reference(name, version)
        recipe = Revision(reference, str(self._json(f"{reference.path}/latest")["revision"]))
        (package_id,) = self._json(f"{recipe.path}/search")
        latest = self._json(f"{recipe.path}/packages/{package_id}/latest")
        package = Revision(reference, recipe.rrev, package_id, str(latest["revision"]))
        return self._published(recipe), self._published(package)

    def _published(self, revision: Revision) -> Published:
        names = self._json(f"{revision.path}/files")["files"]
        expect(isinstance(names, dict), f"the upstream lists no files of {revision}")
        return Published(revision, {name: self._raw(revision.file_path(name)) for name in dict(names)})  # type: ignore[call-overload]

    def _json(self, path: str) -> dict[str, object]:
        value: dict[str, object] = json.loads(self._raw(path))
        return value

    def _raw(self, path: str) -> bytes:
        reply = request(self.upstream.port, "GET", f"/{path}")
        expect(reply.status == 200, f"the upstream answers {reply.status} for {path}")
        return reply.body

    def rebuild_package(
        self, recipe: Published, package: Published, operators: Sequence[tuple[str, str]] = OPERATORS
    ) -> None:
        """Operators, both if not said otherwise, say in the log that they built this package from this
        recipe."""
        for entry in built(package, recipe, operators=operators):
            self.append(entry.envelope)

    def stored(self, published: Published, name: str) -> Path:
        """Where the upstream keeps a file."""
        found = [
            path for path in (self.folder / "server/data").rglob(name)
            if path.read_bytes() == published.files[name]
        ]  # fmt: skip
        expect(len(found) == 1, f"{name} of {published.revision} lies at {len(found)} places")
        return found[0]


def conan_tools() -> Path:
    """The folder with conan and conan_server. Raises MissingToolError."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "touchplate/conan" / hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]
    if not (folder / ".stamp").exists():
        raise MissingToolError("conan")
    if shutil.which("gcc") is None or shutil.which("ar") is None:
        raise MissingToolError("gcc")
    return folder / "venv/bin"


def write_node(folder: Path, node: int, upstream: int, token: str) -> Path:
    """Keys, lists and the node's configuration: packages must be reproduced, but for one name."""
    both = ("conan",)
    blocks = [
        rebuilder_block(OPERATOR_A, "rebuilder-a", ecosystems=both),
        rebuilder_block(OPERATOR_B, "rebuilder-b", ecosystems=both),
        recorder_block(RECORDER, "recorder", ecosystems=both),
    ]
    listed = ", ".join(f'"{name}"' for name in STABILIZERS)
    write_keys(folder, token, blocks, f"stabilizers = [{listed}]\n")
    rules = f"""[[gate.rule]]
ecosystem = "conan"
package = "pkg:conan/free@*?repository_url={IDENTITY}"
need = ["recorded"]
[[gate.rule]]
need = ["reproduced"]
[[upstream]]
name = "team"
ecosystem = "conan"
identity = "{IDENTITY}"
url = "http://127.0.0.1:{upstream}"
record = true
allow_private = true"""
    return write_config(folder, node, rules)


@contextlib.contextmanager
def new_world() -> Iterator[ConanWorld]:
    """A running upstream and a running node; both end at the end, and the folder goes."""
    with new_upstream() as world:
        config = write_node(world.folder, world.node, world.upstream.port, world.token)
        world.start_node(config, "/api/v1/checkpoint")
        yield world


@contextlib.contextmanager
def new_upstream() -> Iterator[ConanWorld]:
    """A running upstream alone; it ends at the end, and the folder goes."""
    tools = conan_tools()
    world = ConanWorld(new_folder("conan"), Upstream(free_port()), free_port(), tools=tools)
    with world.running():
        start_server(world)
        yield world


def start_server(world: ConanWorld) -> None:
    """The upstream."""
    folder, port = world.folder / "server", world.upstream.port
    folder.mkdir()
    (folder / "server.conf").write_text(SERVER_CONF.format(port=port, folder=folder))
    # -P: else conan.py beside it would be taken for the package.
    command: list[str | Path] = [world.tools / "python", "-P", SERVER, folder, str(port)]
    world.start("server", command, lambda: request(port, "GET", "/v1/ping").status == 200)


def new_publisher(world: ConanWorld) -> Person:
    """Who uploads to the upstream."""
    return world.publisher(Person(world, world.folder / "home-publisher"))
