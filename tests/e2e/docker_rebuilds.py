"""Images that are really rebuilt, for `make e2e-docker`: published by the stock buildah, refused everywhere,
rebuilt by two operators with `touchplate rebuild`, and served from then on.

The publisher works under another path, home, umask and clock zone than the operators, and pushes with skopeo.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.builder.imageparts import (
    BUSYBOX,
    buildah_version,
    has_named_owners,
    is_static,
    network_option,
    platform,
    sha256,
    write_context,
)
from tests.e2e.docker_world import IDENTITY, DockerWorld
from tests.e2e.offline import check_offline
from tests.e2e.worlds import (
    TOUCHPLATE,
    MissingToolError,
    Output,
    StepFailedError,
    expect,
    request,
    tool,
)
from tests.images import OCI_MANIFEST
from tests.verify.support import OPERATOR_A, OPERATOR_B, statement_signer

from touchplate.api.docker.layout import image_purl
from touchplate.builder.definitions.path import definition_path
from touchplate.verify.keys import format_private_pem

TIMESTAMP = 1700000000
OPERATORS = ((OPERATOR_A, "image-rebuilder-a"), (OPERATOR_B, "image-rebuilder-b"))


@dataclass(frozen=True)
class Published:
    """An image at the upstream. `definition`: how it is rebuilt."""

    name: str
    manifest: bytes
    definition: Path

    @property
    def hex(self) -> str:
        """sha256 of the manifest."""
        return sha256(self.manifest)

    @property
    def purl(self) -> str:
        """The package URL."""
        return str(image_purl(IDENTITY, self.name, self.hex))


@dataclass(frozen=True)
class Rebuildable:
    """What the publisher made: on scratch, on a base with a RUN, and one whose source is another."""

    plain: Published
    app: Published
    forged: Published

    @property
    def honest(self) -> tuple[Published, ...]:
        """Those that come out again."""
        return self.plain, self.app


def publish_all(world: DockerWorld) -> Rebuildable:
    """Build, push, and write the definitions. Raises MissingToolError."""
    for name in ("buildah", "skopeo", "runc", "bwrap"):
        tool(name)
    if not is_static(BUSYBOX):
        raise MissingToolError("a static busybox (busybox-static)")
    base = {
        "Containerfile": b"FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\nENV PATH=/bin\n",
        "busybox": BUSYBOX.read_bytes(),
    }
    base_name = f"127.0.0.1:{world.upstream.port}/team/base:1"
    app = {
        "Containerfile": (
            f"FROM {base_name}\nCOPY greeting /srv/\n"
            "RUN busybox sort /srv/greeting > /srv/sorted && busybox chown 5:6 /srv/sorted\n"
            'CMD ["/bin/sh"]\n'
        ).encode(),
        "greeting": b"world\nhello\n",
    }
    plain = {"Containerfile": b"FROM scratch\nCOPY greeting /\n", "greeting": b"hello\n"}
    base_manifest = push(world, "team/base", base)
    pinned = [base_of(base_name, "team/base", base_manifest)]
    return Rebuildable(
        plain=publish(world, "team/plain", plain, plain, []),
        app=publish(world, "team/built", app, app, pinned),
        # What stands in the registry was not made from the source that is given for it.
        forged=publish(world, "team/forged", {**app, "greeting": b"evil\n"}, app, pinned),
    )


def rebuild(world: DockerWorld, image: Published, number: int) -> tuple[int, dict[str, object]]:
    """One operator's `touchplate rebuild`, signed and logged: exit code and what it printed."""
    operator, key = OPERATORS[number]
    path = world.folder / f"{key}.pem"
    if not path.exists():
        path.touch(0o600)
        path.write_bytes(format_private_pem(statement_signer(key)))
    output = world.run(
        TOUCHPLATE, "rebuild", image.purl, "--folder", _definitions(world), "--json", "--quiet",
        "--data", world.folder / f"operator-{number}",
        "--upstream", upstream_option(world),
        "--key", path, "--operator", operator,
        "--log", f"http://{world.host}/log", "--evidence", f"http://{world.host}/builder/evidence",
        "--token", f"file:{world.folder / 'worker.token'}",
    )  # fmt: skip
    return output.code, _json(output)


def rebuild_all(world: DockerWorld, images: Rebuildable) -> dict[str, list[str]]:
    """Two operators rebuild what comes out again; one is not enough, and a forgery comes out different.

    Returns where the log has what they said of each honest image, by its name.
    """
    indexes: dict[str, list[str]] = {image.name: [] for image in images.honest}
    for number, (operator, _) in enumerate(OPERATORS):
        for image in images.honest:
            code, found = rebuild(world, image, number)
            expect(
                (code, found["result"], found["backend"]) == (0, "identical", "runc"),
                f"{operator}: {image.name}: exit {code}, {json.dumps(found)[:1500]}",
            )
            signed = found["signed"]
            assert isinstance(signed, dict)
            indexes[image.name] += signed["indexes"]
        reply = world.get(f"/v2/{images.app.name}/manifests/1")
        expect(reply.status == (403, 200)[number], f"after {number + 1} operators: {reply.status}")
    for number, _ in enumerate(OPERATORS):
        code, found = rebuild(world, images.forged, number)
        listed = found["outputs"]
        assert isinstance(listed, list)
        expect((code, found["result"]) == (1, "different"), f"a forged image: exit {code}, {found}")
        expect(listed[0]["causes"] == ["content", "history"], f"causes of a forged image: {listed}")
    return indexes


def verify_offline(world: DockerWorld, images: Rebuildable, indexes: Mapping[str, Sequence[str]]) -> None:
    """The log and a trust file are enough to see that both operators rebuilt each honest image."""
    for image in images.honest:
        report = check_offline(
            image.manifest,
            image.purl,
            indexes[image.name],
            world.folder / "auditor" / image.hex,
            log=f"http://{world.host}/log",
            trust=world.folder / "trust.toml",
        )
        found = [(one["operator"], one["how"]) for one in report["operators"]]
        expect(found == [(operator, "identical") for operator, _ in OPERATORS], f"of {image.name}: {found}")


def repeat(world: DockerWorld, image: Published) -> None:
    """A third party repeats a logged rebuild from its evidence, with its own upstream."""
    bundle = world.get(f"/api/v1/artifacts/{image.hex}/bundle?package={_quoted(image)}")
    expect(bundle.status == 200, f"no proof bundle: {bundle.status} {bundle.body[:300]!r}")
    index = json.loads(bundle.body)["entries"][-1]["index"]
    output = world.run(
        TOUCHPLATE, "rebuild", "--from", index, "--json", "--quiet",
        "--data", world.folder / "third", "--state", world.folder / "third-state",
        "--upstream", upstream_option(world), "--trust", world.folder / "trust.toml",
        "--log", f"http://{world.host}/log", "--evidence", f"http://{world.host}/builder/evidence",
    )  # fmt: skip
    found = _json(output)
    expect((output.code, found.get("same")) == (0, True), f"repeating {index}: {output.code} {found}")


def _quoted(image: Published) -> str:
    from urllib.parse import quote

    return quote(image.purl, safe="")


def upstream_option(world: DockerWorld) -> str:
    """Where rebuilds read the images: what `--upstream` is given."""
    return f"hub=http://127.0.0.1:{world.upstream.port},identity={IDENTITY},ecosystem=oci"


def _json(output: Output) -> dict[str, object]:
    start = output.text.find("{")
    try:
        value = json.loads(output.text[start:] if start >= 0 else "")
    except ValueError:
        raise StepFailedError(f"no JSON, exit {output.code}: {output.text[-1500:]}") from None
    assert isinstance(value, dict)
    return value


def publish(
    world: DockerWorld,
    name: str,
    context: Mapping[str, bytes],
    source: Mapping[str, bytes],
    bases: list[dict[str, object]],
) -> Published:
    """Push an image built from `context`, and write a definition which says it was built from `source`, on
    `bases`."""
    manifest = push(world, name, context)
    archive = archive_of(source)
    world.upstream.blob(name, sha256(archive), archive)
    place = definition_path(image_purl(IDENTITY, name, sha256(manifest)))
    path = _definitions(world) / place  # JSON is YAML
    path.parent.mkdir(parents=True, exist_ok=True)
    published = Published(name, manifest, path)
    definition = {
        "version": 1,
        "name": name.rpartition("/")[2],
        "package": published.purl,
        "source": {
            "kind": "source-release",
            "files": [
                {
                    "uri": f"upstream:{IDENTITY}/{name}/blobs/sha256:{sha256(archive)}",
                    "sha256": sha256(archive),
                    "size": len(archive),
                }
            ],
        },
        "image": {
            "containerfile": "Containerfile",
            "timestamp": TIMESTAMP,
            "platform": platform(),
            "base_layers": "repacked",
            "names": "systemd" if has_named_owners() else "none",
            **({"bases": bases} if bases else {}),
        },
        "tools": {"buildah": buildah_version()},
        "outputs": [{"path": "manifest.json", "package": published.purl}],
    }
    path.write_text(json.dumps(definition))
    return published


def _definitions(world: DockerWorld) -> Path:
    """The operators' folder of definitions, in which each stands at the place of its package."""
    return world.folder / "definitions"


def base_of(name: str, repository: str, manifest: bytes) -> dict[str, object]:
    """A base image as definitions have it; `name`: as Containerfiles name it."""
    uri = f"upstream:{IDENTITY}/{repository}/manifests/sha256:{sha256(manifest)}"
    return {"name": name, "uri": uri, "size": len(manifest)}


def push(world: DockerWorld, name: str, context: Mapping[str, bytes]) -> bytes:
    """Build as a publisher does, and push; the manifest as the registry has it."""
    here = world.folder / "publisher" / name
    write_context(here / "context", context)
    home = here / "home"
    home.mkdir()
    environment = {
        "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "HOME": str(home), "TZ": "Asia/Tokyo", "LC_ALL": "C",
    }  # fmt: skip
    storage = ["--root", str(here / "storage"), "--runroot", str(here / "run")]
    for command in (
        ["buildah", *storage, "build", "-q", "--timestamp", str(TIMESTAMP), *network_option(),
         "--tls-verify=false", "--isolation", "oci", "--runtime", "runc", "-t", "localhost/p:1",
         str(here / "context")],
        ["buildah", *storage, "push", "-q", "localhost/p:1", f"dir:{here / 'image'}"],
        ["buildah", *storage, "rmi", "-a", "-f"],
        ["skopeo", "--insecure-policy", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false",
         f"dir:{here / 'image'}", f"docker://127.0.0.1:{world.upstream.port}/{name}:1"],
    ):  # fmt: skip
        done = subprocess.run(
            command, env=environment, umask=0o077, cwd=here, capture_output=True, text=True, timeout=600,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        expect(done.returncode == 0, f"the publisher's {command[0]}: {done.stderr[-1500:]}")
    reply = request(world.upstream.port, "GET", f"/v2/{name}/manifests/1", None, {"Accept": OCI_MANIFEST})
    expect(reply.status == 200, f"the registry has no {name}: {reply.status}")
    return reply.body


def archive_of(context: Mapping[str, bytes]) -> bytes:
    """A context as the archive that is its source."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, data in context.items():
            member = tarfile.TarInfo(f"source-1/{path}")
            # As the publisher's files have them.
            mode = 0o755 if data[:4] == b"\x7fELF" else 0o644
            member.size, member.mode, member.mtime = len(data), mode, TIMESTAMP
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
