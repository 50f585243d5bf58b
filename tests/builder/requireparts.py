"""Conan packages that require others: recipes, and a stock client that builds them one after the other and
uploads each to a remote on loopback."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

from tests.builder.conanparts import Client, Published, default_profile

from touchplate.builder.definitions.definition import Definition
from touchplate.builder.ecosystems.conan.definition import details_of
from touchplate.builder.ecosystems.conan.reference import MANIFEST, Revision
from touchplate.builder.ecosystems.conan.requirements import Requirement, group_requirements
from touchplate.builder.ecosystems.conan.revisions import recipe_revision
from touchplate.builder.sandbox.probe import PYTHON

CLIENT = """
import os, shutil, sys
tree, folder, reference, *arguments = sys.argv[1:]
sys.path.insert(0, tree)
from conan.api.conan_api import ConanAPI
from conan.api.model import ListPattern
from conan.cli.cli import main
try:
    main(arguments)
except SystemExit as done:
    if done.code:
        raise
if not reference:
    sys.exit(0)
api = ConanAPI(os.environ["CONAN_HOME"])
found = api.list.select(ListPattern(reference + "#latest:*#latest"))
((recipe, packages),) = found.items()
package = max(packages, key=lambda one: one.timestamp)
found.recipe_dict(recipe)["upload"] = True
for one in packages:
    found.package_dict(one)["upload"] = one == package
api.upload.prepare(found, [])
for unit, name in ((found.recipe_dict(recipe), "recipe"), (found.package_dict(package), "package")):
    os.makedirs(os.path.join(folder, name))
    for file, path in unit["files"].items():
        if "/" not in file:
            shutil.copy(path, os.path.join(folder, name, file))
print("made", recipe.revision, package.package_id, package.revision, file=sys.stderr)
"""
"""Conan's own command line, and what its `upload` would send of the package that it made last."""

BASE = (PYTHON, "-B", "-S", "-P", "-c", CLIENT)

HEAD = """
from conan import ConanFile
from conan.tools.files import copy


class Recipe(ConanFile):
    name = "NAME"
    version = "1.0"
    settings = "os", "arch", "compiler", "build_type"
    languages = "C"
    exports_sources = "*.c", "*.h"
"""

LIBRARY = (
    HEAD
    + """
    options = {"shared": [True, False], "fPIC": [True, False]}
    default_options = {"shared": False, "fPIC": True}
    implements = ["auto_shared_fpic"]
    package_type = "library"
REQUIRES
    def build(self):
        flags = " ".join(self.conf.get("tools.build:cflags", default=[]))
        debug = "-g" if self.settings.build_type == "Debug" else ""
        folders, libraries = "", ""
        for other in (*self.dependencies.host.values(), *self.dependencies.test.values()):
            folders += f" -I{other.package_folder}/include"
            libraries += f" -L{other.package_folder}/lib -l{other.ref.name}"
        flags += f" -O2 -fPIC {debug} {folders}"
        self.run(f"gcc {flags} -c {self.source_folder}/{self.name}.c -o {self.name}.o")
        if self.options.shared:
            self.run(f"gcc -shared -o lib{self.name}.so {self.name}.o {libraries}")
        else:
            self.run(f"ar rcsD lib{self.name}.a {self.name}.o")

    def package(self):
        copy(self, "*.h", self.source_folder, self.package_folder + "/include")
        for pattern in ("*.a", "*.so"):
            copy(self, pattern, self.build_folder, self.package_folder + "/lib")

    def package_info(self):
        self.cpp_info.libs = [self.name]
"""
)
"""A library that calls those that it requires."""

HEADERS = (
    HEAD
    + """
    package_type = "header-library"
    implements = ["auto_header_only"]

    def package(self):
        copy(self, "*.h", self.source_folder, self.package_folder + "/include")
"""
)
"""A library for every machine."""

TOOL = """
import os

from conan import ConanFile


class Recipe(ConanFile):
    name = "NAME"
    version = "1.0"
    settings = "os", "arch"
    package_type = "application"
REQUIRES
    def package(self):
        os.makedirs(self.package_folder + "/bin")
        path = self.package_folder + "/bin/NAME"
        with open(path, "w") as file:
            file.write("#!/bin/sh\\necho 'int made(void) { return 7; }'\\n")
        os.chmod(path, 0o755)
"""
"""A program that writes C."""


def library(name: str, *requires: str, head: str = LIBRARY) -> str:
    """The recipe of a library. `requires`: lines of the class, indented by us."""
    lines = "".join(f"    {line}\n" for line in requires)
    return head.replace("NAME", name).replace("REQUIRES", lines)


def sources(name: str, *calls: str) -> dict[str, str]:
    """Source of a library whose only function calls those of others."""
    includes = "".join(f'#include "{one}.h"\n' for one in calls)
    value = " + ".join(["1", *(f"{one}()" for one in calls)])
    return {
        f"{name}.c": f"{includes}int {name}(void) {{ return {value}; }}\n",
        f"{name}.h": f"int {name}(void);\n",
    }


@dataclass
class Shelf:
    """A client with one cache for all that it builds, and the pages of a remote with what it uploaded."""

    client: Client
    folder: Path = field(init=False)
    pages: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="shelf-", dir=self.client.folder))
        home = self.folder / "home"
        (home / "profiles").mkdir(parents=True)
        (home / "profiles/default").write_text(default_profile())
        if self.client.hook is not None:
            (home / "extensions/hooks").mkdir(parents=True)
            shutil.copy(self.client.hook, home / "extensions/hooks")

    def publish(self, name: str, recipe: str, files: Mapping[str, str], *more: str) -> Published:
        """Build a recipe, and upload what came out. `more`: options of `conan create`."""
        work = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))
        for path, text in {"conanfile.py": recipe, **files}.items():
            (work / path).write_text(text)
        version = recipe.partition('version = "')[2].partition('"')[0]
        create = ("create", str(work), "--no-remote", "--build-test=never", *more)
        said = self.run(*create, made=(work / "made", f"{name}/{version}"))
        _, rrev, package_id, prev = said.strip().splitlines()[-1].split()
        made = [
            {path.name: path.read_bytes() for path in (work / "made" / kind).iterdir()}
            for kind in ("recipe", "package")
        ]
        return self.upload(Published(Revision(name, version, rrev, package_id, prev), *made))

    def run(self, *arguments: str, made: tuple[Path, str] | None = None) -> str:
        """Run the client; what it says at the end. `made`: what to take of it, and where to."""
        home = str(self.folder / "home")
        folder, reference = made or (self.folder, "")
        done = subprocess.run(
            [
                PYTHON,
                "-B",
                "-S",
                "-P",
                "-c",
                CLIENT,
                str(self.client.conan),
                str(folder),
                reference,
                *arguments,
            ],
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin", "HOME": home, "CONAN_HOME": home, **self.client.variables},
            umask=self.client.umask,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stderr

    def publish_recipe(self, name: str, recipe: str) -> Revision:
        """Upload a recipe that has no package."""
        work = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))
        (work / "conanfile.py").write_text(recipe)
        files = {"conanfile.py": recipe.encode()}
        revision = Revision(name, "1.0", recipe_revision(files))
        self.run("export", str(work))
        self.pages[revision.files_path] = json.dumps({"files": {one: {} for one in files}}).encode()
        self.pages[revision.path("conanfile.py")] = recipe.encode()
        listed = [{"revision": revision.rrev, "time": "2020-01-01T00:00:00Z"}]
        self.pages[f"{revision.recipe_path}/revisions"] = json.dumps({"revisions": listed}).encode()
        return revision

    def upload(self, published: Published) -> Published:
        """Lay it into the remote, the newest of its revisions, as of when it was built."""
        upload(self.pages, published)
        return published


def requirements_of(definition: Definition) -> tuple[Requirement, ...]:
    """What a definition pins."""
    return group_requirements(None, details_of(definition).requirements)


def upload(pages: dict[str, object], published: Published, *, time: int | None = None) -> None:
    """Lay a package into a remote, with what a remote says about its revisions."""
    revision = published.revision
    published.put(pages)
    when = int(published.package[MANIFEST].split(b"\n")[0]) if time is None else time
    said = f"{datetime.fromtimestamp(when, UTC):%Y-%m-%dT%H:%M:%S}.000000+0000"
    of_package = f"{revision.recipe_path}/revisions/{revision.rrev}/packages/{revision.package_id}"
    for path, one in ((revision.recipe_path, revision.rrev), (of_package, str(revision.prev))):
        known = json.loads(bytes(pages.get(f"{path}/revisions", b'{"revisions": []}')))["revisions"]  # type: ignore[call-overload]
        # A remote that has a revision keeps it as it is.
        if one not in [each["revision"] for each in known]:
            pages[f"{path}/revisions"] = json.dumps(
                {"revisions": [{"revision": one, "time": said}, *known]}
            ).encode()
    search = f"v2/conans/search?{urlencode({'q': f'{revision.name}/*'})}"
    results = json.loads(bytes(pages.get(search, b'{"results": []}')))["results"]  # type: ignore[call-overload]
    pages[search] = json.dumps({"results": sorted({*results, revision.reference})}).encode()


@dataclass(frozen=True)
class Family:
    """Packages that one publisher has built of each other, and the remote's pages with all of them."""

    base: Published
    static: Published
    shared: Published
    top: Published
    tool: Published
    made: Published
    shelf: Shelf


def make_family(client: Client) -> Family:
    """Have the client publish all of them."""
    shelf = Shelf(client)
    base = shelf.publish("base", library("base"), sources("base"))
    needs = library("middle", 'requires = "base/[>=1.0 <2]"')
    static = shelf.publish("middle", needs, sources("middle", "base"))
    shared = shelf.publish("middle", needs, sources("middle", "base"), "-o", "middle/*:shared=True")
    on_top = library("top", 'requires = "middle/1.0"')
    top = shelf.publish("top", on_top, sources("top", "middle"), "-o", "top/*:shared=True")
    tool = shelf.publish("writer", library("writer", head=TOOL), {})
    uses = LIBRARY.replace("flags = ", 'self.run("writer > made.c")\n        flags = ', 1).replace(
        "{self.source_folder}/{self.name}.c", "made.c"
    )
    made = shelf.publish("made", library("made", 'tool_requires = "writer/1.0"', head=uses), sources("made"))
    return Family(base, static, shared, top, tool, made, shelf)
