"""`make e2e-docker`: images pulled through touchplate by the clients that people use, and refused by it.

A registry of Debian on loopback is the upstream. Images that the stock buildah published are refused by every
client; then two operators rebuild them, and every client gets them (`docker_rebuilds`). Of other images two
operators' test keys only sign that they built them: a client gets those, and is refused an image that nobody
built, one that was changed, and a pinned tag that moved, with the reason in its own output. Ends with
"e2e-docker: ok".
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from tests.e2e import docker_rebuilds
from tests.e2e.docker_clients import CLIENTS, Client
from tests.e2e.docker_world import IDENTITY, DockerWorld, errors_of, new_world
from tests.e2e.worlds import TOUCHPLATE, MissingToolError, Output, StepFailedError, expect
from tests.images import Image, make_attestation, make_image, make_index

from touchplate.api.docker.layout import image_purl

NOT_BUILT = "0 of 2 operators"
MOVE_SECONDS = 60  # a tag's place is believed for 15 s


@dataclass
class Images:
    """What stands at the upstream."""

    good: Image = field(default_factory=lambda: make_image("good", layers=[{"a": b"a"}, {"b": _random(1)}]))
    bad: Image = field(default_factory=lambda: make_image("bad"))
    arm: Image = field(default_factory=lambda: make_image("arm", architecture="arm64"))
    changed: Image = field(default_factory=lambda: make_image("changed", layers=[{"a": b"A"}]))
    free: Image = field(default_factory=lambda: make_image("free", docker=True))
    damaged: Image = field(default_factory=lambda: make_image("damaged", layers=[{"c": _random(2)}]))

    @property
    def index(self) -> Image:
        """The verified image for amd64 beside one that nobody built for arm64."""
        attestation = make_attestation(self.good, b'{"_type":"https://in-toto.io/Statement/v1"}')
        return make_index({"amd64": self.good, "arm64": self.arm}, [attestation])

    @property
    def other_half(self) -> Image:
        """Nobody built the one for amd64, and the one for arm64 is verified."""
        return make_index({"amd64": self.bad, "arm64": self.arm})


def _random(seed: int) -> bytes:
    return random.Random(seed).randbytes(3_000_000)


def say(text: str) -> None:
    """A line at once."""
    print(text, flush=True)


def prepare(world: DockerWorld, images: Images) -> None:
    """Push, and let two operators sign what they built."""
    for name, tag, image in (
        ("team/app", "1", images.good),
        ("team/multi", "1", images.index),
        ("team/half", "1", images.other_half),
        ("team/bad", "1", images.bad),
        ("team/free", "1", images.free),
        ("team/changed", "1", images.changed),
        ("team/damaged", "1", images.damaged),
        ("team/pin", "1", images.good),
    ):
        world.upstream.push(name, tag, image)
    for name, image in (
        ("team/app", images.good),
        ("team/multi", images.good),
        ("team/half", images.arm),
        ("team/pin", images.good),
        ("team/pin", images.bad),
        ("team/damaged", images.damaged),
        ("team/changed", images.good),  # what they built is not what stands there now
    ):
        world.rebuild(name, image)
    _damage(world, images.damaged)
    expect(world.get("/v2/pinned/team/pin/manifests/1").status == 200, "the pinned tag cannot be pulled")
    world.upstream.push("team/pin", "1", images.bad)
    for _ in range(MOVE_SECONDS):
        if world.get("/v2/pinned/team/pin/manifests/1").status == 403:
            return
        time.sleep(1)
    raise StepFailedError(f"the pinned tag moved {MOVE_SECONDS} s ago, and is still served")


def _damage(world: DockerWorld, image: Image) -> None:
    """One flipped bit in the upstream's own store."""
    base = world.folder / "registry/docker/registry/v2/blobs/sha256"
    path = base / image.layer[:2] / image.layer / "data"
    data = path.read_bytes()
    path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])


def served(world: DockerWorld, client: Client, images: Images) -> str | None:
    """What is verified arrives with the digest under which it was published."""
    names = [f"{world.host}/team/app:1", f"{world.host}/hub/team/app@{images.good.digest}"]
    if client.name != "docker":
        names.append(f"{IDENTITY}/team/app:1")
    for name in names:
        output = client.pull(name)
        expect(output.code == 0, f"{client.name} did not get {name}: {output.text[-600:]}")
        expect(client.digest(name) == images.good.digest, f"{client.name} got another image as {name}")
    for name in (f"{world.host}/team/free:1",):
        output = client.pull(name)
        expect(output.code == 0, f"{client.name} did not get {name}: {output.text[-600:]}")
    return None


def served_index(world: DockerWorld, client: Client, images: Images) -> str | None:
    """Of an index, the platform that is verified arrives."""
    name = f"{world.host}/team/multi:1"
    if client.name == "skopeo":  # it takes all platforms, or the index is another one
        output = client.pull(name)
        expect(output.code != 0, "skopeo --all got a platform that nobody built")
        _shows(client, output, NOT_BUILT)
        return "all platforms were asked for, so one that nobody built refuses the pull"
    output = client.pull(name)
    expect(output.code == 0, f"{client.name} did not get {name}: {output.text[-600:]}")
    expect(world.get("/v2/team/multi/manifests/1").body == images.index.manifest, "the index was changed")
    return None


def refused(world: DockerWorld, client: Client, images: Images) -> str | None:
    """What nobody built, what was changed, and what moved is refused, and the client says why."""
    for name, why in (
        (f"{world.host}/team/bad:1", NOT_BUILT),
        (f"{world.host}/team/bad@{images.bad.digest}", NOT_BUILT),
        (f"{world.host}/team/changed:1", NOT_BUILT),
        (f"{world.host}/pinned/team/pin:1", "is pinned to"),
    ):
        output = client.pull(name)
        expect(output.code != 0, f"{client.name} got {name}, which is refused")
        _shows(client, output, why if client.shows_reason else "403 Forbidden")
    return None if client.shows_reason else "refused; of a tag this version shows the status only"


def refused_child(world: DockerWorld, client: Client, images: Images) -> str | None:
    """The index passes, its image for this platform is refused, and every client says why."""
    output = client.pull(f"{world.host}/team/half:1")
    expect(output.code != 0, f"{client.name} got an image that nobody built")
    _shows(client, output, NOT_BUILT)
    return None


def refused_damage(world: DockerWorld, client: Client, images: Images) -> str | None:
    """A layer with one wrong bit never arrives, though its manifest is verified."""
    name = f"{world.host}/team/damaged:1"
    output = client.pull(name)
    expect(output.code != 0, f"{client.name} took a damaged layer: {output.text[-300:]}")
    # The first one was cut off on the way, or an earlier client was. Whoever comes again is told.
    output = client.pull(name)
    expect(output.code != 0, f"{client.name} took a damaged layer: {output.text[-300:]}")
    _shows(client, output, client.blob_reason)
    return None if "other bytes" in client.blob_reason else "refused; of a layer it shows the status only"


def refused_elsewhere(world: DockerWorld, client: Client, images: Images) -> str | None:
    """With the settings printed by `touchplate setup`, nobody else is asked: neither after a refusal nor for
    another registry."""
    if client.name == "docker":
        return "not shown: this version has no such setting, its users name the node"
    output = client.pull(f"{IDENTITY}/team/bad:1")
    expect(output.code != 0, f"{client.name} went round the node")
    _shows(client, output, NOT_BUILT if client.shows_reason else "403 Forbidden")
    # The registry is there, speaks plain http as these clients expect of loopback, and would give it out.
    output = client.pull(f"127.0.0.1:{world.upstream.port}/team/bad:1")
    expect(output.code != 0, f"{client.name} pulled from a registry that the node does not know")
    _shows(client, output, "rejected by policy" if client.shows_reason else "403 Forbidden")
    return None


def _shows(client: Client, output: Output, why: str) -> None:
    expect(why in output.text, f"{client.name} does not show {why!r}: {output.text[-600:]}")


def refused_unbuilt(world: DockerWorld, client: Client, images: docker_rebuilds.Rebuildable) -> None:
    """What can be rebuilt is refused with the reason while nobody has rebuilt it."""
    for image in (*images.honest, images.forged):
        name = f"{world.host}/{image.name}:1"
        output = client.pull(name)
        expect(output.code != 0, f"{client.name} got {name}, which nobody has rebuilt")
        _shows(client, output, NOT_BUILT if client.shows_reason else "403 Forbidden")


def served_rebuilt(world: DockerWorld, client: Client, images: docker_rebuilds.Rebuildable) -> None:
    """What two operators rebuilt arrives, and what came out different is refused."""
    for image in images.honest:
        name = f"{world.host}/{image.name}:1"
        output = client.pull(name)
        expect(output.code == 0, f"{client.name} did not get {name}: {output.text[-600:]}")
        expect(client.digest(name) == f"sha256:{image.hex}", f"{client.name} got another image as {name}")
    name = f"{world.host}/{images.forged.name}:1"
    output = client.pull(name)
    expect(output.code != 0, f"{client.name} got {name}, which came out different")
    _shows(client, output, NOT_BUILT if client.shows_reason else "403 Forbidden")


def rebuilds(world: DockerWorld, clients: list[Client]) -> None:
    """From refusal to success by two real rebuilds."""
    images = docker_rebuilds.publish_all(world)
    for client in clients:
        refused_unbuilt(world, client, images)
        say(f"ok  {client.name}: {_first_words(refused_unbuilt)}")
    indexes = docker_rebuilds.rebuild_all(world, images)
    say("ok  two operators rebuilt the images bit for bit, and found the forged one different")
    for client in clients:
        served_rebuilt(world, client, images)
        say(f"ok  {client.name}: {_first_words(served_rebuilt)}")
    docker_rebuilds.repeat(world, images.app)
    say("ok  a third party repeated a logged rebuild from its evidence")
    docker_rebuilds.verify_offline(world, images, indexes)
    say("ok  both rebuilds are in the log, verify without a network, and a flipped byte is refused")


def _first_words(step: Callable[..., object]) -> str:
    return " ".join((step.__doc__ or "").partition(".")[0].split())


def no_way_round(world: DockerWorld, images: Images) -> None:
    """No blob of a refused image can be had: by digest, HEAD, Range or through another repository."""
    bad = images.bad
    expect(world.get("/v2/team/bad/manifests/1").status == 403, "the bad image is served")
    for hexdigest, data in bad.blobs.items():
        for name in ("team/bad", "hub/team/bad", "team/app", "team/free", "pinned/team/bad"):
            for method, headers in (("GET", {}), ("HEAD", {}), ("GET", {"Range": "bytes=0-9"})):
                reply = world.get(f"/v2/{name}/blobs/sha256:{hexdigest}", method, **headers)
                expect(reply.status in (403, 404), f"{method} of a blob through {name}: {reply.status}")
                expect(data not in reply.body and data[:10] not in reply.body, "bytes of a refused image")
    reply = world.get(f"/v2/team/free/blobs/uploads/?mount=sha256:{bad.layer}&from=team/bad", "POST")
    expect(reply.status == 405, f"a mount was answered with {reply.status}")
    expect(errors_of(reply)["code"] == "UNSUPPORTED", "a mount got another error")
    # A blob of an allowed image is not readable through a repository that does not name it.
    reply = world.get(f"/v2/team/free/blobs/sha256:{images.good.layer}")
    expect(reply.status == 404, f"a blob of another repository: {reply.status}")


def checked_offline(world: DockerWorld, images: Images) -> None:
    """An auditor checks the image with nothing but the manifest, the bundle and keys; another manifest
    fails."""
    good = images.good
    bundle = world.get(f"/api/v1/artifacts/{good.hex}/bundle?package={_quoted('team/app', good)}")
    expect(bundle.status == 200, f"no proof bundle: {bundle.status} {bundle.body[:300]!r}")
    (world.folder / "bundle.json").write_bytes(bundle.body)
    for image, code in ((good, 0), (images.bad, 1)):
        manifest = world.folder / "manifest.json"
        manifest.write_bytes(image.manifest)
        package = str(image_purl(IDENTITY, "team/app", good.hex))
        output = world.run(
            "unshare", "-n", "-r", "--",
            TOUCHPLATE, "verify", manifest, "--bundle", world.folder / "bundle.json",
            "--trust", world.folder / "trust.toml", "--package", package, "--require", "reproduced",
        )  # fmt: skip
        expect(output.code == code, f"touchplate verify ended with {output.code}: {output.text[-600:]}")


def _quoted(name: str, image: Image) -> str:
    return quote(str(image_purl(IDENTITY, name, image.hex)), safe="")


STEPS: tuple[Callable[[DockerWorld, Client, Images], str | None], ...] = (
    served,
    served_index,
    refused,
    refused_child,
    refused_damage,
    refused_elsewhere,
)


def clients_of(world: DockerWorld) -> list[Client]:
    """The clients that are installed. A missing one is a loud skip, and a failure under CI."""
    found = []
    for name, make in CLIENTS.items():
        try:
            found.append(make(world))
        except MissingToolError as error:
            if os.environ.get("CI") == "true":
                raise StepFailedError(f"{error} is missing, and this is CI") from None
            say(f"SKIPPED  {name}: {error} is not installed (deploy/dev/setup images)")
    return found


def run() -> None:
    """All steps. Raises StepFailedError."""
    images = Images()
    with new_world() as world:
        prepare(world, images)
        no_way_round(world, images)
        say("ok  no blob of a refused image can be had")
        clients = clients_of(world)
        expect(bool(clients), "there is no client at all")
        rebuilds(world, clients)
        for client in clients:
            say(f"--  {client.name}: {client.version}")
            for step in STEPS:
                note = step(world, client, images)
                say(f"ok  {client.name}: {note or _first_words(step)}")
        no_way_round(world, images)
        checked_offline(world, images)
        say("ok  an auditor checks an image offline, and another manifest fails")


def main() -> int:
    """Exit code."""
    if os.geteuid() != 0:
        say("e2e-docker needs root: it starts a Docker engine and containerd of its own")
        return 1 if os.environ.get("CI") == "true" else 0
    try:
        run()
    except MissingToolError as error:
        say(f"e2e-docker: SKIPPED, {error} is not installed (deploy/dev/setup images)")
        return 1 if os.environ.get("CI") == "true" else 0
    except StepFailedError as error:
        say(f"e2e-docker: FAILED: {error}")
        return 1
    say("e2e-docker: ok")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    sys.exit(main())
