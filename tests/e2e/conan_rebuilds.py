"""The part of `make e2e-conan` in which a package is really rebuilt: lz4, from Debian's upstream tarball.

A stock client with another home and another user publishes it. Two operators, each with a key and a workshop
of his own, rebuild it from its recipe revision and log what came out; only then a client gets it.
"""

from __future__ import annotations

import functools
import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.conan_packages import IDENTITY, Published
from tests.e2e.conan_world import ConanWorld, Person
from tests.e2e.debian_source import fetch_source
from tests.e2e.worlds import TOUCHPLATE, MissingToolError, expect, tool
from tests.verify.support import OPERATOR_A, OPERATOR_B, statement_signer

from touchplate.verify.keys import format_private_pem

VERSION = "1.9.4"
TARBALL = "lz4_1.9.4.orig.tar.gz"
SHA256 = "0b0e3aa07c8c063ddf40b082bdf7e37a1562bda40a0ff5272957f3e987e0e54b"

OTHER_UID = "4711"

REBUILDERS = (("a", OPERATOR_A), ("b", OPERATOR_B))
"""Name of the key, and operator."""

RECIPE = """
from conan import ConanFile
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import copy, get, rmdir


class LZ4(ConanFile):
    name = "lz4"
    version = "1.9.4"
    settings = "os", "arch", "compiler", "build_type"
    options = {"shared": [True, False], "fPIC": [True, False]}
    default_options = {"shared": False, "fPIC": True}
    languages = "C"

    def layout(self):
        cmake_layout(self, src_folder="src")

    def source(self):
        get(self, **self.conan_data["sources"][self.version], strip_root=True)

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables["LZ4_BUILD_CLI"] = False
        toolchain.cache_variables["LZ4_BUILD_LEGACY_LZ4C"] = False
        toolchain.cache_variables["BUILD_STATIC_LIBS"] = not self.options.shared
        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure(build_script_folder="build/cmake")
        cmake.build()

    def package(self):
        copy(self, "LICENSE", self.source_folder + "/lib", self.package_folder + "/licenses")
        CMake(self).install()
        # They name the folder of whoever built them.
        rmdir(self, self.package_folder + "/lib/pkgconfig")
        rmdir(self, self.package_folder + "/share")

    def package_info(self):
        self.cpp_info.libs = ["lz4"]
"""

CONANDATA = f"""sources:
  "{VERSION}":
    url: "https://sources.invalid/{TARBALL}"
    sha256: "{SHA256}"
"""

PROGRAM = """
#include <string.h>
#include <lz4.h>
int main(void) {
    const char *text = "a plate that everybody can read, a plate that everybody can read";
    char packed[256], back[256];
    int size = LZ4_compress_default(text, packed, (int)strlen(text) + 1, sizeof packed);
    if (size <= 0 || size >= (int)strlen(text)) return 1;
    return LZ4_decompress_safe(packed, back, size, sizeof back) > 0 && !strcmp(text, back) ? 0 : 2;
}
"""


@dataclass
class OtherUser(Person):
    """A person whose client runs as another user than everybody else's, with the usual umask."""

    uid: str = OTHER_UID
    hides: Sequence[str] = ()
    """Files that are empty for this client."""

    def command(self, *arguments: str | Path) -> Sequence[str | Path]:
        """In a user namespace, where the caches of the tools stay readable."""
        user: list[str | Path] = ["--unshare-user", "--uid", self.uid, "--gid", self.uid]
        hidden = [part for path in self.hides for part in ("--ro-bind", "/dev/null", path)]
        umask = ["sh", "-c", 'umask 022; exec "$@"', "sh"]
        return [
            tool("bwrap"), "--dev-bind", "/", "/", *hidden, *user, "--", *umask, *super().command(*arguments),
        ]  # fmt: skip


@dataclass(frozen=True)
class LZ4:
    """What stands at the upstream, and where the operators get the source from."""

    recipe: Published
    package: Published
    sources: int
    """Port of a server that gives out source archives by sha256, as Conan's own backups of sources do."""

    @property
    def purl(self) -> str:
        """What `touchplate rebuild` is asked for."""
        return str(self.package.revision.package_url("conan_package.tgz", IDENTITY))


@contextmanager
def published_lz4(world: ConanWorld) -> Iterator[LZ4]:
    """lz4, built and uploaded by a stock client, while its sources can be had."""
    if os.getuid() != 0:
        raise MissingToolError("root, without which rebuilds are not signed,")
    for name in ("bwrap", "cmake", "make"):
        tool(name)
    tarball = fetch_source("lz4", TARBALL, SHA256)
    folder = world.folder / "sources"
    folder.mkdir()
    (folder / SHA256).write_bytes(tarball.read_bytes())
    recipe, package = _publish(world, folder / SHA256)
    with serving(folder) as port:
        yield LZ4(recipe, package, port)


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    """A server on loopback that gives out the files of `folder`; its port."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def _publish(world: ConanWorld, tarball: Path) -> tuple[Published, Published]:
    home = world.folder / "elsewhere/of/somebody/else"
    person = world.publisher(OtherUser(world, home))
    downloads = home / "downloads/s"
    downloads.mkdir(parents=True)
    (downloads / SHA256).write_bytes(tarball.read_bytes())
    with (home / "global.conf").open("a") as settings:
        settings.write(f"core.sources:download_cache = {home}/downloads\n")
    folder = world.folder / "lz4"
    folder.mkdir()
    (folder / "conanfile.py").write_text(RECIPE)
    (folder / "conandata.yml").write_text(CONANDATA)
    person.must("create", folder, "--build-test=never", "-nr")
    person.must("upload", f"lz4/{VERSION}", "-r", "upstream", "-c")
    return world.newest("lz4", VERSION)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


def rebuild(world: ConanWorld, lz4: LZ4, name: str, operator: str) -> dict[str, object]:
    """One operator: a key, a workshop, an umask and a home of his own; what he logged, as JSON."""
    folder = world.folder / f"operator-{name}"
    folder.mkdir(mode=0o755)
    key = folder / "rebuilder.pem"
    key.write_bytes(format_private_pem(statement_signer(f"rebuilder-{name}")))
    key.chmod(0o600)
    token = folder / "token"
    token.write_text(world.token)
    token.chmod(0o600)
    node = f"http://127.0.0.1:{world.node}"
    done = world.run(
        TOUCHPLATE, "rebuild", lz4.purl, "--json", "--quiet",
        "--data", folder / "data" / "deeper" / name, *_upstreams(world, lz4),
        "--key", key, "--operator", operator,
        "--log", f"{node}/log", "--evidence", f"{node}/builder/evidence", "--token", f"file:{token}",
        env={"HOME": str(folder), **_network()}, seconds=300,
    )  # fmt: skip
    # 1: not bit for bit, as it has to be here; what it is instead is in the answer.
    expect(done.code == 1, f"operator {name} cannot rebuild lz4: {done.text[-3000:]}")
    value: dict[str, object] = json.loads(done.text)
    return value


def _upstreams(world: ConanWorld, lz4: LZ4) -> Sequence[str]:
    return (
        "--upstream", f"team=http://127.0.0.1:{world.upstream.port},identity={IDENTITY},ecosystem=conan",
        "--upstream", f"sources=http://127.0.0.1:{lz4.sources},ecosystem=conan",
    )  # fmt: skip


def repeat(world: ConanWorld, lz4: LZ4, index: str) -> None:
    """Somebody without a key repeats what is logged there, from the definition and lock that were signed."""
    node = f"http://127.0.0.1:{world.node}"
    done = world.run(
        TOUCHPLATE, "rebuild", "--from", index, "--quiet",
        "--log", f"{node}/log", "--evidence", f"{node}/builder/evidence",
        "--trust", world.folder / "trust.toml", "--state", world.folder / "state",
        "--data", world.folder / "operator-a/data/deeper/a", *_upstreams(world, lz4),
        env={"HOME": str(world.folder), **_network()}, seconds=300,
    )  # fmt: skip
    expect(done.code == 0, f"the logged rebuild is not repeated: {done.text[-3000:]}")


def _network() -> dict[str, str]:
    """What this machine's programs are told about its network: each operator makes a Conan of his own."""
    names = ("_proxy", "_PROXY", "_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
    return {
        name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.endswith(names)
    }


def check_rebuild(lz4: LZ4, value: dict[str, object]) -> str:
    """The archive is equivalent, the settings are identical, and the labels agree. The archive's sha256."""
    found = value["outputs"]
    assert isinstance(found, list)
    results = {one["package"].partition("file=")[2].partition("&")[0]: one["result"] for one in found}
    expected = {"conan_package.tgz": "equivalent", "conaninfo.txt": "identical"}
    expect(results == expected, f"the rebuild is something else: {json.dumps(value)[:3000]}")
    labels = value["labels"]
    assert isinstance(labels, dict)
    expect(labels["revision"].startswith(str(lz4.package.revision.prev)), f"another revision: {labels}")
    return str(found[0]["rebuilt"]["sha256"])


def use(world: ConanWorld, user: Person) -> None:
    """Install, link a program, and run it."""
    done = user.install(f"lz4/{VERSION}", "--deployer=full_deploy", f"--deployer-folder={user.home}/out")
    expect(done.code == 0, f"lz4 is not served: {done.text[-1500:]}")
    library = next((user.home / "out").rglob("liblz4.a"))
    header = next((user.home / "out").rglob("lz4.h"))
    main = user.home / "main.c"
    main.write_text(PROGRAM)
    program = user.home / "main"
    built = world.run("gcc", f"-I{header.parent}", main, library, "-o", program)
    expect(built.code == 0, f"lz4 cannot be linked: {built.text}")
    expect(world.run(program).code == 0, "lz4 does something else")
