"""The Conan packages of `make rebuild-sample`: libraries that a stock client built and uploaded, rebuilt.

A conan_server on loopback is the upstream. Publishers build as other users, below other folders, from
Debian's upstream archives; nobody writes a definition. A published archive holds by whom and when it was
packed, so a Release build is to come out `equivalent` by those stabilizers only, with the package revision
as published. One publisher has our hook (builder/docs/buildtype-conan.md) and builds with debug information;
one like him has compiled another source than the recipe names.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.builder.loghost import STABILIZERS, LogHost
from tests.conan_packages import IDENTITY, Published
from tests.e2e.conan_rebuilds import OtherUser, serving
from tests.e2e.conan_world import ConanWorld, new_upstream
from tests.e2e.controls import Edit, published
from tests.e2e.debian_source import fetch_source
from tests.e2e.offline import offline_mistakes
from tests.e2e.rebuilds import cause_of
from tests.e2e.sample import Run, Runner, SampleRow, controlled, make_row, not_tested
from tests.e2e.sample_recipes import LIBRARIES, WITH_DEBUG, Library
from tests.e2e.worlds import MissingToolError, StepFailedError, tool

from touchplate.builder.ecosystems.conan import plan

HOOK = Path(plan.__file__).with_name("inside") / "hook_touchplate.py"
EPOCH = 1_700_000_000  # what the publisher with the hook sets SOURCE_DATE_EPOCH to

INSIDE_UID = "1000"
NAMES = ("/etc/passwd", "/etc/group")
"""What the publisher with the hook does not see: as in many containers, and in the sandbox, his uid has no
name. Then nothing of his packages differs but the time."""

FLIP = """

def post_source(conanfile):
    path = Path(conanfile.source_folder, "utf8proc.c")
    path.write_bytes(path.read_bytes().replace(b'"Memory for', b'"memory for', 1))
"""
"""A hook of a publisher who changes one byte of what Conan has just checked by its sha256."""

PROGRAMS = ("bwrap", "gcc", "g++", "cmake", "make")


@dataclass(frozen=True)
class Scene:
    """An upstream, and who rebuilds what stands there."""

    world: ConanWorld
    sources: Path
    """Folder of source archives, each named by its sha256."""
    usual: OtherUser
    """The publisher of all Release builds: a stock client."""
    runner: Runner
    host: LogHost
    at_upstream: set[str] = field(default_factory=set)
    """Names of the libraries that the usual publisher has uploaded."""

    def publish(self, person: OtherUser, library: Library, *options: str) -> Published:
        """Build and upload; what then is the newest package at the upstream."""
        shutil.copy(self.sources / library.sha256, person.home / "downloads/s")
        folder = person.home / "recipes" / library.name
        folder.mkdir(parents=True)
        (folder / "conanfile.py").write_text(library.recipe)
        (folder / "conandata.yml").write_text(library.conandata)
        person.must("create", folder, "--build-test=never", "-nr", *options)
        person.must("upload", library.reference, "-r", "upstream", "-c")
        _, package = self.world.newest(library.name, library.version)
        return package


def new_publisher(world: ConanWorld, name: str, hook: str = "") -> OtherUser:
    """Somebody with a client, and Conan's hook `hook` if it is given."""
    person = OtherUser(world, world.folder / name / "some/where/else")
    world.publisher(person)
    (person.home / "downloads/s").mkdir(parents=True)
    with (person.home / "global.conf").open("a") as settings:
        settings.write(f"core.sources:download_cache = {person.home}/downloads\n")
    if hook:
        folder = person.home / "extensions/hooks"
        folder.mkdir(parents=True)
        (folder / "hook_publisher.py").write_text(hook)
    return person


def conan_rows(host: LogHost, data: Path, words: Sequence[str]) -> Iterator[SampleRow]:
    """All rows, or those of libraries whose name holds one of `words`; of `data` the tools are shared."""
    libraries = [one for one in (*LIBRARIES, WITH_DEBUG) if _wanted(one.name, words)]
    if not libraries:
        return
    required = [one for one in LIBRARIES if one.name in {library.requires for library in libraries}]
    try:
        with _scene(host, data, [*libraries, *required]) as scene:
            for library in libraries:
                try:
                    yield from _with_debug(scene) if library == WITH_DEBUG else _release(scene, library)
                except StepFailedError as error:
                    yield SampleRow(_name(library), "not published", 0.0, "", (str(error),))
    except MissingToolError as error:
        yield not_tested("Conan packages", f"{error} is not installed (deploy/dev/setup conan)")


def _wanted(name: str, words: Sequence[str]) -> bool:
    return not words or any(word in name for word in words)


@contextlib.contextmanager
def _scene(host: LogHost, data: Path, libraries: list[Library]) -> Iterator[Scene]:
    if os.getuid() != 0:
        raise MissingToolError("root, without which rebuilds are not signed,")
    for name in PROGRAMS:
        tool(name)
    with new_upstream() as world:
        sources = world.folder / "sources"
        sources.mkdir()
        for library in libraries:
            shutil.copy(
                fetch_source(library.source, library.tarball, library.sha256), sources / library.sha256
            )
        own = world.folder / "data"
        for folder in (data, data / "tools", own):
            if not folder.exists():
                folder.mkdir(parents=True)
                folder.chmod(0o755)  # whatever the umask is: builds run as other users
        (own / "tools").symlink_to(data / "tools")
        with serving(sources) as port:
            options = (
                "--upstream", f"team=http://127.0.0.1:{world.upstream.port},identity={IDENTITY},ecosystem=conan",
                "--upstream", f"sources=http://127.0.0.1:{port},ecosystem=conan",
            )  # fmt: skip
            runner = Runner(host, own, world.folder, options)
            yield Scene(world, sources, new_publisher(world, "publisher"), runner, host)


def _release(scene: Scene, library: Library) -> Iterator[SampleRow]:
    """A Release build of a stock client, who has built and uploaded before what it requires."""
    for other in LIBRARIES:
        if other.name == library.requires and other.name not in scene.at_upstream:
            scene.publish(scene.usual, other)
    package = scene.publish(scene.usual, library)
    scene.at_upstream.add(library.name)
    run = scene.runner.infer(purl_of(package))
    mistakes = offline_of(scene, package, run)
    yield release_row(library, package, run, mistakes)


def _with_debug(scene: Scene) -> Iterator[SampleRow]:
    """A Debug build by a publisher who has our hook: only the time is not known from what is published. Then
    what a forger made of it, who compiled another source."""
    hook, debug, edit = HOOK.read_text(), ("-s", "build_type=Debug"), with_epoch(EPOCH)
    package = scene.publish(_in_container(scene.world, "with-hook", hook), WITH_DEBUG, *debug)
    run = scene.runner.infer(purl_of(package))
    control = scene.runner.edited(run, edit)
    # Another tar is packed to other bytes, so the gzip around it goes with the times.
    found = {"not by the times alone": stabilizers_of(run.answer) != {"gzip-header@1", "tar-times@1"}}
    yield make_row(
        _name(WITH_DEBUG), run, {**_package_mistakes(package, run, "equivalent"), **found}, edit.says, control
    )
    yield controlled(edit, control)
    forged = scene.publish(_in_container(scene.world, "forger", hook + FLIP), WITH_DEBUG, *debug)
    inferred = scene.runner.infer(purl_of(forged))
    yield forged_row(forged, scene.runner.edited(inferred, edit), package, control)


def _in_container(world: ConanWorld, name: str, hook: str) -> OtherUser:
    person = new_publisher(world, name, hook)
    person.uid, person.hides = INSIDE_UID, NAMES
    person.variables["SOURCE_DATE_EPOCH"] = str(EPOCH)
    return person


def release_row(library: Library, package: Published, run: Run, offline: list[str]) -> SampleRow:
    """The row of a Release build. `offline`: what is wrong with its entries."""
    used = stabilizers_of(run.answer)
    found = {
        **_package_mistakes(package, run, "equivalent"),
        f"stabilizers {sorted(used)}": not used <= set(STABILIZERS),
        **dict.fromkeys(offline, True),
    }
    return make_row(_name(library), run, found, "", None)


def forged_row(forged: Published, run: Run, package: Published, control: Run) -> SampleRow:
    """The row of what was compiled from another source than the recipe names.

    Its control is what an honest publisher made of the same recipe revision: there the very same bytes were
    rebuilt, and they are the published ones.
    """
    says = "lib/libutf8proc.a"
    named = (
        run.result == "different"
        and control.result == "identical"
        and forged.revision.rrev == package.revision.rrev
        and _rebuilt(run.answer) == _rebuilt(control.answer)
    )
    found = {
        **_package_mistakes(forged, run, "different"),
        f"does not say {says!r}": says not in cause_of(run.answer),
        "no control": not named,
    }
    row = make_row("  with one byte of its source flipped", run, found, "", None)
    if not named:
        return row
    cause = f"control: identical (honest, of the same recipe); {cause_of(run.answer)}"
    return SampleRow(row.name, row.result, row.seconds, cause, row.mistakes)


def _rebuilt(answer: dict[str, Any]) -> list[str]:
    return [one["rebuilt"]["sha256"] for one in answer["outputs"]]


def _package_mistakes(package: Published, run: Run, result: str) -> dict[str, bool]:
    revision, as_published = revision_of(run.answer)
    digest = hashlib.sha256(package.files["conan_package.tgz"]).hexdigest()
    return {
        f"result {run.result}, not {result}": run.result != result,
        f"revision {revision}, {package.revision.prev} published": as_published != (result != "different"),
        "another published file": published(run.answer).get(purl_of(package)) != digest,
    }


def offline_of(scene: Scene, package: Published, run: Run) -> list[str]:
    """What is wrong with the entries of `run` for somebody without a network."""
    if run.result != "equivalent":
        return []
    data, folder = package.files["conan_package.tgz"], scene.world.folder / "auditors"
    return offline_mistakes(run.answer, data, folder, log=f"{scene.host.url}/log", trust=scene.host.reader)


def purl_of(package: Published) -> str:
    """What `touchplate rebuild` is asked for."""
    return str(package.revision.package_url("conan_package.tgz", IDENTITY))


def stabilizers_of(answer: dict[str, Any]) -> set[str]:
    """By which stabilizers the outputs of a rebuild are equivalent."""
    return {name for one in answer.get("outputs", ()) for name in one["stabilizers"]}


def revision_of(answer: dict[str, Any]) -> tuple[str, bool]:
    """The package revision that was rebuilt, and whether it is the published one."""
    revision, _, word = answer.get("labels", {}).get("revision", "none").partition(", ")
    return revision, word == "as published"


def with_epoch(seconds: int) -> Edit:
    """The time that the publisher had set."""

    def change(value: dict[str, Any]) -> None:
        value["environment"]["SOURCE_DATE_EPOCH"] = str(seconds)

    return Edit(f"SOURCE_DATE_EPOCH {seconds}", change)


def _name(library: Library) -> str:
    return f"{library.reference} ({library.built})"
