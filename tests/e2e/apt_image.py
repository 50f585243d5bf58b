"""A Debian image with a package from this machine's own archive, rebuilt: part of `make e2e-docker`.

The base is made by mmdebstrap, the image published by a stock buildah whose network is open. It is rebuilt
with what apt fetched recorded, and once more from that record alone. The control leaves in the image what is
not the same twice, and has to be named for it.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.builder.aptparts import AptScene
from tests.builder.imageparts import Published, open_image_scene
from tests.e2e.worlds import MissingToolError, StepFailedError, expect, tool

from touchplate.base.errors import TouchplateError
from touchplate.base.upstreams import Upstream

INSTALL = "apt-get update && apt-get install -y --no-install-recommends hello && hello"
CLEAN = "rm -rf /var/lib/apt/lists/* /var/log/* /var/cache/*"
EPOCH = "1700000000"
SECONDS = 900


@dataclass(frozen=True)
class Debian:
    """Where this machine installs from: address of the archive, and its release."""

    site: str
    release: str


def find_debian() -> Debian:
    """The machine's own archive by apt's configuration. Raises MissingToolError without one by http."""
    format_ = "$(SITE) $(CODENAME) $(COMPONENT) $(CREATED_BY)"
    done = _run([tool("apt-get"), "indextargets", "--format", format_, "Created-By: Packages"])
    codename = _run(["sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME"]).strip()
    for line in done.splitlines():
        site, _, rest = line.partition(" ")
        if site.startswith("http://") and rest.split()[:2] == [codename, "main"]:
            return Debian(site.rstrip("/"), codename)
    raise MissingToolError(f"an archive of {codename} by http in this machine's apt configuration")


def make_root(debian: Debian) -> bytes:
    """A tar of a small root, kept below the user's cache folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "touchplate/debian"
    name = hashlib.sha256(f"{debian} {EPOCH}".encode()).hexdigest()[:16]
    kept = cache / f"root-{name}.tar"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        aside = kept.with_name(f"{kept.name}.{os.getpid()}.tar")
        _run(
            [
                *(tool("mmdebstrap"), "--quiet", "--variant=apt", "--mode=root", debian.release),
                *(str(aside), f"deb {debian.site} {debian.release} main"),
            ],
            SOURCE_DATE_EPOCH=EPOCH,
        )
        aside.rename(kept)
    return kept.read_bytes()


def rebuild_twice(scene: AptScene, base: Published) -> str:
    """The image comes out again, from Fetch and from the lock alone."""
    published = scene.publish("team/hello", f"{INSTALL} && {CLEAN}", base)
    definition = scene.define(published, base)
    done = scene.images.rebuild(definition)
    expect(done.built is not None, f"not built: {done.failure}\n{done.log[-3000:].decode(errors='replace')}")
    assert done.built is not None
    (verdict,) = done.built.verdicts
    expect(done.result == "identical", f"{done.result}: {verdict.comparison.summary}")
    again = scene.rebuild_from(definition, done.built.lock)
    expect(again.result == "identical", f"from the lock alone: {again.result}, {again.failure}")
    files = [one.path for one in done.built.lock.inputs if one.upstream == "archive"]
    packages = sum(path.endswith(".deb") for path in files)
    expect(packages > 0 and any(path.endswith("Release") for path in files), f"the lock has {files}")
    seconds = ", ".join(f"{name} {spent:.0f} s" for name, spent in done.seconds.items())
    return f"identical twice, {len(files)} files of the archive locked, {packages} packages ({seconds})"


def name_causes(scene: AptScene, base: Published) -> str:
    """Without the cleaning the image differs, and by what."""
    published = scene.publish("team/unclean", INSTALL, base)
    done = scene.images.rebuild(scene.define(published, base))
    expect(done.built is not None, f"not built: {done.failure}")
    assert done.built is not None
    found = done.built.verdicts[0].comparison
    expect({"logs", "caches"} <= set(found.causes), f"causes {found.causes}: {found.summary}")
    expect("content" not in found.causes, f"unexplained: {found.summary}")
    return f"without cleaning: {', '.join(found.causes)}"


def run() -> None:
    """All steps. Raises StepFailedError, MissingToolError."""
    debian = find_debian()
    upstream = Upstream("archive", "apt", "archive", debian.site)
    with open_image_scene(upstream) as images:
        scene = AptScene(images, debian.site)
        images.publisher.seconds = SECONDS
        context = {"Containerfile": b"FROM scratch\nADD root.tar /\n", "root.tar": make_root(debian)}
        base = images.publisher.publish("team/debian", context)
        for step in (rebuild_twice, name_causes):
            print(f"apt in an image: {step(scene, base)}", flush=True)


def _run(command: list[str], **variables: str) -> str:
    done = subprocess.run(
        command,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    expect(done.returncode == 0, f"{command[0]}: {done.stderr[-1000:]}")
    return done.stdout


def main() -> int:
    """The exit code."""
    try:
        run()
    except MissingToolError as lack:
        print(f"APT IN IMAGES NOT RUN: this needs {lack}", file=sys.stderr)
        return 1 if os.environ.get("CI") == "true" else 0
    except (StepFailedError, TouchplateError) as failed:
        print(f"apt in an image: FAILED: {failed}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
