"""A workshop over a loopback repository, and definitions whose command is a Python script: no Maven."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.builder.mavenparts import manifest, pom, publish, served, zip_bytes

from touchplate.base.progress import QuietProgress
from touchplate.builder.definitions.definition import Definition, make_definition
from touchplate.builder.inputs.repository import Repository
from touchplate.builder.inputs.upstream_option import parse_upstream
from touchplate.builder.workshop import Workshop, open_workshop
from touchplate.verify.jcs import JSONValue

PACKAGE = "pkg:maven/org.example/demo@1.0?type=jar"
FOLDER = "org/example/demo/1.0"
JAR = f"{FOLDER}/demo-1.0.jar"
SOURCES = f"{FOLDER}/demo-1.0-source-release.zip"

CONTENT = b"made from source\n"
PUBLISHED = zip_bytes({"META-INF/MANIFEST.MF": manifest("Build-Jdk-Spec: 17"), "content.txt": CONTENT})

COMMON = """
import io, pathlib, sys, urllib.request, zipfile
phase = "build" if pathlib.Path("/repo").exists() else "fetch"
WHEN = (2024, 1, 2, 3, 4, 6)
def jar(content, manifest=b"Manifest-Version: 1.0\\r\\nBuild-Jdk-Spec: 17\\r\\n\\r\\n", time=WHEN):
    pathlib.Path("target").mkdir()
    with zipfile.ZipFile("target/demo-1.0.jar", "w") as archive:
        for name, data in (("META-INF/MANIFEST.MF", manifest), ("content.txt", content)):
            info = zipfile.ZipInfo(name, time)
            info.external_attr = 0o100644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
def get(path):
    if phase == "fetch":
        return urllib.request.urlopen("http://127.0.0.1:3128/central/" + path).read()
    return pathlib.Path("/repo/central", path).read_bytes()
"""
"""What each script starts with: the jar as published, and one way to an input in both phases."""


@dataclass(frozen=True)
class Scene:
    """A repository folder, served, and a workshop that reads it."""

    repository: Path
    url: str
    workshop: Workshop

    @property
    def central(self) -> Repository:
        return self.workshop.repositories.named("central")


@contextmanager
def scene() -> Iterator[Scene]:
    """A scene in a folder of its own that other uids may enter; pytest closes its own folders to them."""
    with tempfile.TemporaryDirectory(prefix="touchplate-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        repository = folder / "repository"
        repository.mkdir()
        with (
            served(repository) as url,
            open_workshop(folder / "data", QuietProgress(), upstreams=[parse_upstream(url)]) as workshop,
        ):
            yield Scene(repository, url, workshop)


def scripted(
    one: Scene,
    script: str,
    *,
    limits: dict[str, JSONValue] | None = None,
    allow_metadata: bool = False,
    sandbox: dict[str, JSONValue] | None = None,
    stabilizers: list[str] | None = None,
) -> Definition:
    """A definition that runs `script` over a source release, with the published jar in place."""
    sources = zip_bytes({"demo-1.0/build.py": (COMMON + script).encode(), "demo-1.0/pom.xml": pom("demo")})
    publish(one.repository, JAR, PUBLISHED)
    publish(one.repository, SOURCES, sources)
    found = one.central.need(SOURCES)
    value: dict[str, JSONValue] = {
        "version": 1,
        "name": "demo",
        "package": PACKAGE,
        "source": {
            "kind": "source-release",
            "files": [{"uri": found.uri, "sha256": found.sha256, "size": len(found.data)}],
        },
        "command": ["/usr/bin/python3", "build.py"],
        "outputs": [{"path": "target/demo-1.0.jar", "package": PACKAGE}],
    }
    if limits is not None:
        value["limits"] = limits
    if sandbox is not None:
        value["sandbox"] = sandbox
    if stabilizers is not None:
        value["stabilizers"] = list[JSONValue](stabilizers)
    if allow_metadata:
        value["allow_metadata"] = True
    return make_definition(value)
