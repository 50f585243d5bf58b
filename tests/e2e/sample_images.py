"""The images of `make rebuild-sample`: what a publisher built with buildah and pushed, rebuilt.

A registry on loopback is the upstream. The publisher works under another path, home, umask and clock zone
than whoever rebuilds; definitions name the context by its digest, since nothing published does. Of one image
two definitions more are built, one change apart: they must differ, and the first is their control.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.builder.imageparts import BUSYBOX, is_static, sha256
from tests.builder.loghost import LogHost
from tests.e2e.controls import Edit, published
from tests.e2e.debian_base import debian_base
from tests.e2e.docker_rebuilds import (
    TIMESTAMP,
    Published,
    archive_of,
    base_of,
    publish,
    push,
    upstream_option,
)
from tests.e2e.docker_world import DockerWorld, new_registry
from tests.e2e.offline import offline_mistakes
from tests.e2e.sample import Run, Runner, SampleRow, different, make_row, not_tested
from tests.e2e.sample_cases import Variation
from tests.e2e.worlds import MissingToolError, StepFailedError, tool

PROGRAMS = ("buildah", "skopeo", "runc", "bwrap", "mmdebstrap")

TEXT = b"pewter\nbrass\ntin\n"
SCRIPT = b"#!/bin/sh\nexec cat /srv/sorted\n"
PROGRAM = b"""
#include <stdio.h>
int main(void) { return puts("struck on the plate") < 0; }
"""

SCRATCH = "tool"
ON_DEBIAN = "app"
IN_STAGES = "compiled"
NAMES = {
    SCRATCH: "image on scratch, static program",
    ON_DEBIAN: "image on Debian, COPY and RUN",
    IN_STAGES: "image in two stages, compiled",
}
"""Image → its row."""


@dataclass(frozen=True)
class Scene:
    """A registry, and who rebuilds what stands there."""

    world: DockerWorld
    runner: Runner
    host: LogHost


def image_rows(host: LogHost, words: Sequence[str]) -> Iterator[SampleRow]:
    """All rows, or those whose name holds one of `words`."""
    wanted = [name for name, row in NAMES.items() if not words or any(word in row for word in words)]
    if not wanted:
        return
    try:
        with _scene(host) as scene:
            base = None if wanted == [SCRATCH] else _debian(scene.world)
            for name in wanted:
                try:
                    yield from _image(scene, name, base)
                except StepFailedError as error:
                    yield SampleRow(NAMES[name], "not published", 0.0, "", (str(error),))
    except MissingToolError as error:
        yield not_tested("images", f"{error} is not installed (deploy/dev/setup images)")


@contextlib.contextmanager
def _scene(host: LogHost) -> Iterator[Scene]:
    if os.getuid() != 0:
        raise MissingToolError("root, without which images are not rebuilt,")
    for name in PROGRAMS:
        tool(name)
    if not is_static(BUSYBOX):
        raise MissingToolError("a static busybox (busybox-static)")
    with new_registry() as world:
        runner = Runner(host, world.folder / "data", world.folder, ("--upstream", upstream_option(world)))
        yield Scene(world, runner, host)


def _debian(world: DockerWorld) -> dict[str, object]:
    """The base image of the others, as definitions have it."""
    context = {"Containerfile": b"FROM scratch\nADD root.tar /\n", "root.tar": debian_base()}
    return base_of(_base_name(world), "debian/base", push(world, "debian/base", context))


def _base_name(world: DockerWorld) -> str:
    return f"127.0.0.1:{world.upstream.port}/debian/base:1"


def _context(name: str, base: str) -> dict[str, bytes]:
    if name == SCRATCH:
        lines = ["FROM scratch", "COPY busybox /bin/busybox", 'ENTRYPOINT ["/bin/busybox"]']
        files = {"busybox": BUSYBOX.read_bytes()}
    elif name == ON_DEBIAN:
        lines = [
            f"FROM {base}",
            "COPY metals /srv/",
            "COPY show /usr/local/bin/",
            "RUN sort /srv/metals > /srv/sorted && chmod 755 /usr/local/bin/show && ls /srv > /srv/list",
            "USER 1000",
            'CMD ["/usr/local/bin/show"]',
        ]
        files = {"metals": TEXT, "show": SCRIPT}
    else:
        lines = [
            f"FROM {base} AS build",
            "COPY strike.c /src/",
            "RUN tcc -o /src/strike /src/strike.c && /src/strike",
            f"FROM {base}",
            "COPY --from=build /src/strike /usr/local/bin/strike",
            'ENTRYPOINT ["/usr/local/bin/strike"]',
        ]
        files = {"strike.c": PROGRAM}
    return {"Containerfile": "\n".join([*lines, ""]).encode(), **files}


def _image(scene: Scene, name: str, base: dict[str, object] | None) -> Iterator[SampleRow]:
    context = _context(name, _base_name(scene.world))
    bases = [base] if base and name != SCRATCH else []
    image = publish(scene.world, f"sample/{name}", context, context, bases)
    run = scene.runner.defined(image.definition)
    yield _row(scene, NAMES[name], image, run)
    if name == ON_DEBIAN and run.result == "identical":
        for variation in (_with_timestamp(TIMESTAMP + 1), _with_flipped_byte(scene.world, image, context)):
            varied = scene.runner.edited_file(image.definition, variation.edit)
            yield different(f"  with {variation.edit.says}", varied, variation, run)


def _row(scene: Scene, name: str, image: Published, run: Run) -> SampleRow:
    found = {
        f"result {run.result}, not identical": run.result != "identical",
        "another published image": published(run.answer) != {image.purl: image.hex},
    }
    if run.result == "identical":
        log, trust, folder = f"{scene.host.url}/log", scene.host.reader, scene.world.folder / "auditors"
        wrong = offline_mistakes(run.answer, image.manifest, folder, log=log, trust=trust)
        found |= dict.fromkeys(wrong, True)
    return make_row(name, run, found, "", None)


def _with_timestamp(seconds: int) -> Variation:
    """Another time for all that the build writes."""

    def change(value: dict[str, Any]) -> None:
        value["image"]["timestamp"] = seconds

    return Variation(Edit("another timestamp", change), "timestamps")


def _with_flipped_byte(world: DockerWorld, image: Published, context: Mapping[str, bytes]) -> Variation:
    """A context in which one byte is another: the first letter of a line."""
    archive = archive_of({**context, "metals": bytes([TEXT[0] ^ 1]) + TEXT[1:]})
    world.upstream.blob(image.name, sha256(archive), archive)

    def change(value: dict[str, Any]) -> None:
        (file,) = value["source"]["files"]
        file["uri"] = file["uri"].replace(file["sha256"], sha256(archive))
        file["sha256"], file["size"] = sha256(archive), len(archive)

    return Variation(Edit("one byte of its source flipped", change), "srv/metals")
