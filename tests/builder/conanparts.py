"""Conan recipes, a real stock client that publishes them, and a remote on loopback that gives them out."""

import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.builder.sandboxes import Site

from touchplate.base.environment import read_environment
from touchplate.base.progress import QuietProgress
from touchplate.base.upstreams import Upstream
from touchplate.builder.ecosystem import Inference
from touchplate.builder.ecosystems.conan.ecosystem import make_ecosystem
from touchplate.builder.ecosystems.conan.profile import host_arch
from touchplate.builder.ecosystems.conan.reference import PACKAGE, Revision
from touchplate.builder.ecosystems.conan.revisions import recipe_revision
from touchplate.builder.ecosystems.conan.tools import default_conan, default_gcc, need_conan
from touchplate.builder.errors import HostLack
from touchplate.builder.rebuild import Rebuild
from touchplate.builder.sandbox.probe import PYTHON
from touchplate.builder.workshop import Workshop, open_workshop
from touchplate.verify.purl import PackageURL

CLIENT = """
import os, shutil, sys
tree, folder, *arguments = sys.argv[1:]
sys.path.insert(0, tree)
from conan.api.conan_api import ConanAPI
from conan.api.model import ListPattern
from conan.cli.cli import main
try:
    main(arguments)
except SystemExit as done:
    if done.code:
        raise
api = ConanAPI(os.environ["CONAN_HOME"])
found = api.list.select(ListPattern("*#latest:*#latest"))
for recipe, packages in found.items():
    found.recipe_dict(recipe)["upload"] = True
    for package in packages:
        found.package_dict(package)["upload"] = True
api.upload.prepare(found, [])
for unit, name in ((found.recipe_dict(recipe), "recipe"), (found.package_dict(package), "package")):
    os.makedirs(os.path.join(folder, name))
    for file, path in unit["files"].items():
        if "/" not in file:
            shutil.copy(path, os.path.join(folder, name, file))
print("made", recipe.revision, package.package_id, package.revision, file=sys.stderr)
"""
"""Conan's own command line, and what its `upload` would then send, laid into a folder."""

LIBRARY = """
import os

from conan import ConanFile
from conan.tools.files import copy


class Library(ConanFile):
    name = "lib"
    version = "1.0"
    settings = "os", "arch", "compiler", "build_type"
    languages = "C"
    exports_sources = "*.c", "*.h"

    def build(self):
        flags = " ".join(self.conf.get("tools.build:cflags", default=[]))
        self.run(f"gcc -O2 -g {flags} -c {self.source_folder}/lib.c -o lib.o" if self.settings.build_type ==
                 "Debug" else f"gcc -O2 -c {self.source_folder}/lib.c -o lib.o")
        self.run("ar rcsD liblib.a lib.o")

    def package(self):
        copy(self, "*.h", self.source_folder, self.package_folder + "/include")
        copy(self, "*.a", self.build_folder, self.package_folder + "/lib")
        os.symlink("liblib.a", self.package_folder + "/lib/libother.a")
"""

SOURCES = {"lib.c": "int lib(void) { return 1; }\n", "lib.h": "int lib(void);\n"}


@dataclass(frozen=True)
class Published:
    """A recipe and a package revision with their files, as a remote holds them."""

    revision: Revision
    recipe: Mapping[str, bytes]
    package: Mapping[str, bytes]

    @property
    def purl(self) -> PackageURL:
        """What `touchplate rebuild` is asked for."""
        return self.revision.purl(PACKAGE)

    def edited(
        self, *, conanfile: str | None = None, sources: Mapping[str, bytes | str] | None = None
    ) -> "Published":
        """As if somebody had published the same package with another recipe. Text as source is a link."""
        recipe = dict(self.recipe)
        if conanfile is not None:
            recipe["conanfile.py"] = conanfile.encode()
        if sources is not None:
            recipe["conan_sources.tgz"] = tgz(sources)
        return Published(replace(self.revision, rrev=recipe_revision(recipe)), recipe, self.package)

    def put(self, pages: dict[str, object], recipe: Mapping[str, bytes] | None = None) -> None:
        """Lay it into a remote; with other files of the recipe when they are given."""
        for revision, files in ((self.revision.recipe, recipe or self.recipe), (self.revision, self.package)):
            pages[revision.files_path] = json.dumps({"files": {name: {} for name in files}}).encode()
            for name, data in files.items():
                pages[revision.path(name)] = data


@dataclass
class Client:
    """A stock client: how and where somebody else builds."""

    conan: Path
    folder: Path
    umask: int = 0o022
    uid: int = 0
    variables: Mapping[str, str] = field(default_factory=dict)
    hook: Path | None = None

    def publish(self, *more: str) -> Published:
        """Build the library, and give back what `conan upload` would send."""
        folder = Path(tempfile.mkdtemp(prefix="publisher-", dir=self.folder))
        work = folder / "recipe"
        work.mkdir()
        (work / "conanfile.py").write_text(LIBRARY)
        for name, text in SOURCES.items():
            (work / name).write_text(text)
        home = folder / "home"
        (home / "profiles").mkdir(parents=True)
        (home / "profiles/default").write_text(default_profile())
        if self.hook is not None:
            (home / "extensions/hooks").mkdir(parents=True)
            shutil.copy(self.hook, home / "extensions/hooks")
        folder.chmod(0o755)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, self.uid, self.uid)
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "CONAN_HOME": str(home), **self.variables}
        base = [PYTHON, "-B", "-S", "-P", "-c", CLIENT, str(self.conan)]
        done = subprocess.run(
            [*base, str(folder / "made"), "create", str(work), "--no-remote", "--build-test=never", *more],
            cwd=folder,
            env=environment,
            umask=self.umask,
            user=self.uid,
            group=self.uid,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        _, rrev, package_id, prev = done.stderr.strip().splitlines()[-1].split()
        files = [
            {path.name: path.read_bytes() for path in (folder / "made" / kind).iterdir()}
            for kind in ("recipe", "package")
        ]
        return Published(Revision("lib", "1.0", rrev, package_id, prev), *files)


def default_profile() -> str:
    """What `conan profile detect` finds here."""
    settings = {
        "arch": host_arch(), "build_type": "Release", "compiler": "gcc", "compiler.cppstd": "gnu17",
        "compiler.libcxx": "libstdc++11", "compiler.version": str(default_gcc()), "os": "Linux",
    }  # fmt: skip
    return "\n".join(["[settings]", *(f"{key}={value}" for key, value in settings.items()), ""])


def need_tools(folder: Path) -> Path:
    """Conan as the builder makes it; a loud skip (under CI a failure) where it, or a compiler, cannot be."""
    try:
        default_gcc()
        return need_conan(default_conan(), folder).home
    except HostLack as error:
        if read_environment().is_ci:
            pytest.fail(f"Conan tests: {error}")
        pytest.skip(f"CONAN NOT TESTED: {error}")


@dataclass(frozen=True)
class Scene:
    """A remote and a source upstream on loopback, a stock client, and a workshop that reads them."""

    site: Site
    client: Client
    workshop: Workshop

    def serve(self, published: Published, recipe: Mapping[str, bytes] | None = None) -> Published:
        """Lay it into the remote."""
        published.put(self.site.pages, recipe)
        return published

    def other_client(self, **changes: object) -> Client:
        """Another one."""
        return replace(self.client, **changes)  # type: ignore[arg-type]


def upstreams(site: Site) -> tuple[Upstream, ...]:
    """A Conan remote and a source upstream, both at the site."""
    return (
        Upstream("conancenter", "conan", "conancenter", site.url),
        Upstream("sources", "conan", "sources", f"{site.url}/sources"),
    )


@contextmanager
def scene(tools: Path) -> Iterator[Scene]:
    """A scene in a folder of its own that other uids may enter. `tools`: folder in which Conan was made."""
    with tempfile.TemporaryDirectory(prefix="touchplate-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "data").mkdir()
        (folder / "data" / "tools").symlink_to(tools)
        site = Site()
        try:
            with open_workshop(folder / "data", QuietProgress(), upstreams=upstreams(site)) as workshop:
                client = Client(need_tools(tools), folder)
                yield Scene(site, client, workshop)
        finally:
            site.close()


def tgz(members: Mapping[str, bytes | str]) -> bytes:
    """A tar of files, and of links where the value is text, packed with gzip."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, value in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(value, str):
                info.type, info.linkname = tarfile.SYMTYPE, value
            else:
                info.size = len(value)
            tar.addfile(info, None if isinstance(value, str) else io.BytesIO(value))
    return packed.getvalue()


def infer(one: Scene, published: Published) -> Inference:
    """The definition of a package that a remote serves."""
    return make_ecosystem().infer(one.workshop, published.purl, {})


def outputs(done: Rebuild) -> dict[str, bytes]:
    """What was built, by name."""
    assert done.built is not None, done.failure
    return {path.rpartition("/")[2]: one.path.read_bytes() for path, one in done.built.result.outputs.items()}


def contents(data: bytes) -> dict[str, bytes]:
    """Files of an archive by name."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = ((member.name, archive.extractfile(member)) for member in archive if member.isreg())
        return {name: file.read() for name, file in files if file is not None}
