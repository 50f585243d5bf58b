"""The world of `make e2e-docker`: an upstream registry, a node, keys of two operators, and images.

Everything lies in a temporary folder and listens on loopback; each process that is started here is ended
here, by its own id.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.worlds import (
    Reply,
    Upstream,
    World,
    expect,
    free_port,
    new_folder,
    request,
    tool,
    write_config,
    write_keys,
)
from tests.images import Image
from tests.verify.cases import rebuilder_block, recorder_block
from tests.verify.support import (
    OPERATOR_A,
    OPERATOR_B,
    RECORDER,
    make_provenance,
    sign,
    statement_signer,
)

from touchplate.api.docker.layout import image_purl

IDENTITY = "registry.example.org"


@dataclass
class Registry(Upstream):
    """A registry on loopback that is pushed to."""

    def push(self, name: str, tag: str, image: Image) -> None:
        """Blobs, children, then the manifest under its tag."""
        for child in image.children:
            self.push(name, child.digest, child)
        for hexdigest, data in image.blobs.items():
            self.blob(name, hexdigest, data)
        reply = request(
            self.port,
            "PUT",
            f"/v2/{name}/manifests/{tag}",
            image.manifest,
            {"Content-Type": image.media_type},
        )
        expect(reply.status == 201, f"the registry took no manifest: {reply.status} {reply.body[:300]!r}")

    def blob(self, name: str, hexdigest: str, data: bytes) -> None:
        """One blob: a session, then all at once."""
        begun = request(self.port, "POST", f"/v2/{name}/blobs/uploads/")
        expect(begun.status == 202, f"the registry begins no upload: {begun.status}")
        location = begun.headers["location"]
        path = location[location.index("/v2/") :]
        mark = "&" if "?" in path else "?"
        reply = request(self.port, "PUT", f"{path}{mark}digest=sha256:{hexdigest}", data)
        expect(reply.status == 201, f"the registry took no blob: {reply.status} {reply.body[:300]!r}")


@dataclass
class DockerWorld(World):
    """A running registry and a running node."""

    upstream: Registry

    @property
    def host(self) -> str:
        """What stands before an image's name."""
        return f"127.0.0.1:{self.node}"

    def rebuild(self, name: str, image: Image) -> None:
        """Both operators say in the log that they built this very manifest."""
        uri = image_purl(IDENTITY, name, image.hex)
        for operator, key in ((OPERATOR_A, "rebuilder-a"), (OPERATOR_B, "rebuilder-b")):
            payload = make_provenance(image.manifest, uri, operator=operator)
            entry = sign(payload, statement_signer(key))
            self.append(entry.envelope)


def write_node(folder: Path, node: int, upstream: int) -> Path:
    """Keys, lists and the node's configuration: images must be reproduced, tags of `pinned` stay."""
    both = ("oci",)
    blocks = [
        rebuilder_block(OPERATOR_A, "rebuilder-a", ecosystems=both),
        rebuilder_block(OPERATOR_B, "rebuilder-b", ecosystems=both),
        # Those who really rebuild, in another sandbox, under keys of their own.
        rebuilder_block(OPERATOR_A, "image-rebuilder-a", ecosystems=both).replace("bubblewrap", "runc"),
        rebuilder_block(OPERATOR_B, "image-rebuilder-b", ecosystems=both).replace("bubblewrap", "runc"),
        recorder_block(RECORDER, "recorder", ecosystems=both),
    ]
    write_keys(folder, "a worker's token for this run only\n", blocks)
    upstreams = "\n".join(
        f"""
[[upstream]]
name = "{name}"
ecosystem = "oci"
identity = "{IDENTITY}"
url = "http://127.0.0.1:{upstream}"
record = true
allow_private = true
tags = "{tags}"
default = {default}
"""
        for name, tags, default in (("hub", "follow", "true"), ("pinned", "pin", "false"))
    )
    rules = f"""[[gate.rule]]
ecosystem = "oci"
package = "pkg:oci/*?repository_url={IDENTITY}/team/free"
need = ["recorded"]
[[gate.rule]]
ecosystem = "oci"
need = ["reproduced"]
[[gate.rule]]
need = ["recorded"]
{upstreams}"""
    return write_config(folder, node, rules)


@contextlib.contextmanager
def new_world() -> Iterator[DockerWorld]:
    """A running upstream and a running node; both end at the end, and the folder goes."""
    with new_registry() as world:
        config = write_node(world.folder, world.node, world.upstream.port)
        world.start_node(config, "/v2/")
        yield world


@contextlib.contextmanager
def new_registry() -> Iterator[DockerWorld]:
    """A running upstream alone; it ends at the end, and the folder goes."""
    program = tool("docker-registry")
    folder = new_folder("oci")
    world = DockerWorld(folder, Registry(free_port()), free_port())
    with world.running():
        (folder / "registry.yml").write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            f"storage: {{filesystem: {{rootdirectory: {folder}/registry}}, delete: {{enabled: true}}}}\n"
            f'http: {{addr: "127.0.0.1:{world.upstream.port}"}}\n'
        )
        world.start(
            "registry",
            [program, "serve", folder / "registry.yml"],
            lambda: request(world.upstream.port, "GET", "/v2/").status == 200,
        )
        yield world


def errors_of(reply: Reply) -> dict[str, object]:
    """The first error of a registry's answer."""
    value = json.loads(reply.body)
    expect(isinstance(value, dict) and len(value.get("errors", [])) == 1, f"no error: {reply.body[:300]!r}")
    first: dict[str, object] = value["errors"][0]
    return first
