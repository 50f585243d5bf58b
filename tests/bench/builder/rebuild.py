"""`touchplate rebuild` with everything cached, beside the same goals run by the same Maven without a sandbox;
and with nothing cached at all.

Both use the same JDK, Maven, source tree and inputs, in turns. The peer is `mvn -o` with a local repository
that is warm; a rebuild fills an empty one from its locked inputs each time, hashes what it uses, looks
through it for the answer, compares, and keeps the evidence.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.builder.measuring import RUN_SECONDS, load_now, open_folder, run_as_job, wall_ratio
from tests.bench.harness import (
    Goal,
    Row,
    SkippedError,
    Spent,
    WrongResultError,
    check,
    in_turns,
    median,
    ratio,
    spent_by_children,
)

from touchplate.base.progress import QuietProgress
from touchplate.builder.cache import Cache
from touchplate.builder.definitions.definition import Definition, parse_definition
from touchplate.builder.ecosystems.maven.definition import details_of
from touchplate.builder.ecosystems.maven.plan import SHORT_RUN
from touchplate.builder.ecosystems.maven.sources import prepare_tree
from touchplate.builder.ecosystems.maven.tools import JDK, Maven, need_jdk, need_maven
from touchplate.builder.errors import HostLack
from touchplate.builder.inputs.lock import InputLock, parse_lock
from touchplate.builder.plan import BuildPlan
from touchplate.builder.workshop import Workshop, default_data, open_workshop

PACKAGE = "pkg:maven/org.apache.commons/commons-lang3@3.17.0"
"""The demo's."""

SMALL_PACKAGE = "pkg:maven/org.apache.commons/commons-csv@1.12.0"
"""Eleven classes: what a rebuild costs beside its compiler shows most."""

ROUNDS = 3
GOAL = Goal("<=", 1.3, "x")

Said = dict[str, Any]
"""The JSON that `touchplate rebuild` prints."""


def rebuild(package: str = PACKAGE, rounds: int = ROUNDS) -> list[Row]:
    """CPU of all processes, the compiler's and the sandbox's included, and wall clock."""
    data = default_data()
    first = run_rebuild(package)  # fills the caches, and says which definition and lock the others use
    try:
        with open_workshop(data, QuietProgress()) as workshop, peer(workshop, first) as maven:
            run_maven(maven)  # fills the local repository
            mine, theirs, alike = in_turns(
                rounds,
                lambda: spent_by_children(lambda: run_rebuild(package, must_be_warm=True)),
                lambda: spent_by_children(lambda: run_maven(maven, offline=True)),
                lambda: spent_by_children(lambda: run_maven(maven, offline=True, options=SHORT_RUN)),
            )
    except HostLack as lack:
        raise SkippedError(str(lack)) from lack
    name = f"rebuild of {package.rpartition('/')[2]}, warm, beside mvn -o"
    return [
        _row(f"{name}: CPU", mine, theirs, GOAL),
        _wall_row(f"{name}: wall", mine, theirs, GOAL),
        _row("the same, beside mvn -o with our JVM options: CPU", mine, alike, None),
        _wall_row("the same: wall", mine, alike, None),
    ]


def small_rebuild() -> list[Row]:
    """The same of a package that is compiled in a second."""
    return rebuild(SMALL_PACKAGE)


def cold() -> list[Row]:
    """The first rebuild of the demo's package on a new host: inputs, Maven and all come from the upstream."""
    with tempfile.TemporaryDirectory(prefix="touchplate-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        said: list[Said] = []
        spent = spent_by_children(lambda: said.append(run_rebuild(PACKAGE, data=folder / "data")))
    laps = {phase: milliseconds / 1000 for phase, milliseconds in said[0]["milliseconds"].items()}
    check("fetch" in laps, "a cold rebuild did not run Fetch")
    note = (
        f"wall, once; {', '.join(f'{phase} {seconds:.1f} s' for phase, seconds in laps.items())}; "
        f"{said[0]['lock']['files']} inputs of {said[0]['lock']['bytes'] / 1e6:.0f} MB over the network; "
        f"CPU {spent.cpu:.1f} s; {load_now()}"
    )
    return [
        Row(
            f"rebuild of {PACKAGE.rpartition('/')[2]}, cold",
            f"{spent.wall:.1f} s",
            "",
            spent.wall,
            None,
            note,
        )
    ]


def _row(name: str, mine: list[Spent], theirs: list[Spent], goal: Goal | None) -> Row:
    cpu = [median(one.cpu for one in side) for side in (mine, theirs)]
    value = ratio(mine, theirs)
    return Row(name, f"{cpu[0]:.2f} s", f"{cpu[1]:.2f} s", value, goal, f"ratio {value:.2f}; {load_now()}")


def _wall_row(name: str, mine: list[Spent], theirs: list[Spent], goal: Goal | None) -> Row:
    wall = [median(one.wall for one in side) for side in (mine, theirs)]
    value = wall_ratio(mine, theirs)
    return Row(name, f"{wall[0]:.1f} s", f"{wall[1]:.1f} s", value, goal, f"ratio {value:.2f}; {load_now()}")


def run_rebuild(package: str, *, must_be_warm: bool = False, data: Path | None = None) -> Said:
    """The command itself, in a process of its own; its JSON, which must say `identical`."""
    command = [sys.executable, "-m", "touchplate.verify", "rebuild", package, "--json", "--quiet"]
    command += [] if data is None else ["--data", str(data)]
    done = subprocess.run(command, capture_output=True, timeout=RUN_SECONDS, check=False)
    if done.returncode == 2:
        raise SkippedError(f"nothing can be rebuilt here: {done.stderr.decode()[-300:]}")
    check(done.returncode == 0, f"the rebuild ended with {done.returncode}: {done.stderr.decode()[-500:]}")
    said: Said = json.loads(done.stdout)
    check(said["result"] == "identical", f"the rebuild is {said['result']}")
    check(not must_be_warm or "fetch" not in said["milliseconds"], "a warm rebuild ran Fetch")
    return said


@contextmanager
def known_build(package: str, said: Said) -> Iterator[tuple[BuildPlan, InputLock, Cache]]:
    """The plan of the build that `said` tells of, its lock, and the cache that has its inputs."""
    try:
        with open_workshop(default_data(), QuietProgress()) as workshop:
            definition, lock = _definition(workshop, said), _lock(workshop, said)
            ecosystem = definition.ecosystem
            published = [ecosystem.fetch_published(workshop, one.package, None) for one in definition.outputs]
            sources = [ecosystem.fetch_source(workshop, one) for one in definition.source.files]
            tools = ecosystem.find_tools(workshop, definition)
            with open_folder() as folder:
                tree = folder / "tree"
                tree.mkdir()
                ecosystem.prepare_tree(definition, sources, tree)
                yield tools.make_plan(tree, published), lock, workshop.cache
    except HostLack as lack:
        raise SkippedError(f"{package}: {lack}") from lack


@dataclass(frozen=True)
class Peer:
    """The same build without us: a tree, its command, and what the jar must be."""

    pristine: Path
    work: Path
    settings: Path
    local: Path
    arguments: tuple[str, ...]
    environment: dict[str, str]
    output: str
    sha256: str


@contextmanager
def peer(workshop: Workshop, said: Said) -> Iterator[Peer]:
    """The parts of the rebuild that `said` tells of, laid out for plain Maven."""
    definition, lock = _definition(workshop, said), _lock(workshop, said)
    jdk, maven = _tools(workshop, definition)
    sources = [workshop.repositories.exact(one.uri, one.sha256, "maven") for one in definition.source.files]
    with tempfile.TemporaryDirectory(prefix="touchplate-bench-") as name:
        folder = Path(name)
        for made in ("pristine", "repo", "home", "local"):
            (folder / made).mkdir()
        prepare_tree(definition.source, sources, folder / "pristine")
        for one in lock.inputs:
            target = folder / "repo" / one.upstream / one.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(workshop.cache.inputs.path(one.sha256), target)
        settings = folder / "settings.xml"
        settings.write_text(
            "<settings><mirrors><mirror><id>central</id><mirrorOf>*</mirrorOf>"
            f"<url>file://{folder}/repo/central/</url></mirror></mirrors></settings>"
        )
        environment = {
            **definition.environment,
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder / "home"),
            "JAVA_HOME": str(jdk.home),
        }
        (output,) = definition.outputs
        arguments = (str(maven.home / "bin" / "mvn"), *definition.command[1:])
        yield Peer(
            folder / "pristine",
            folder / "work",
            settings,
            folder / "local",
            arguments,
            environment,
            output.path,
            _published(said),
        )


def run_maven(peer: Peer, *, offline: bool = False, options: str = "") -> None:
    """The goals over a fresh copy of the tree; the jar must be the published one. `options`: of the JVM."""
    shutil.rmtree(peer.work, ignore_errors=True)
    shutil.copytree(peer.pristine, peer.work)
    program, *goals = peer.arguments
    flags = ["-s", str(peer.settings), f"-Dmaven.repo.local={peer.local}", *(["-o"] if offline else [])]
    done = run_as_job((program, *flags, *goals), peer.work, {**peer.environment, "MAVEN_OPTS": options})
    check(done.returncode == 0, f"mvn ended with {done.returncode}: {done.stdout.decode()[-500:]}")
    found = hashlib.sha256((peer.work / peer.output).read_bytes()).hexdigest()
    check(found == peer.sha256, f"plain Maven made another jar: {found}, not {peer.sha256}")


def _definition(workshop: Workshop, said: Said) -> Definition:
    return parse_definition(_evidence(workshop, said["definition"]["sha256"]))


def _lock(workshop: Workshop, said: Said) -> InputLock:
    return parse_lock(_evidence(workshop, said["lock"]["sha256"]))


def _evidence(workshop: Workshop, sha256: str) -> bytes:
    with workshop.evidence.open(sha256) as stream:
        return stream.read()


def _published(said: Said) -> str:
    (output,) = said["outputs"]
    return str(output["published"]["sha256"])


def _tools(workshop: Workshop, definition: Definition) -> tuple[JDK, Maven]:
    wanted = details_of(definition)
    jdk, maven = wanted.jdk, wanted.maven
    if jdk is None or maven is None:
        raise WrongResultError(f"the definition {definition.name} names no JDK or no Maven")
    central = workshop.repositories.named("central")
    return need_jdk(jdk), need_maven(maven, central, workshop.tools)
