"""Images published by the stock buildah to a registry on loopback, and definitions that rebuild them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.builder.sandboxes import open_folder

from touchplate.base.environment import read_environment
from touchplate.base.progress import QuietProgress
from touchplate.base.upstreams import Upstream
from touchplate.builder.definitions.definition import Definition, parse_definition
from touchplate.builder.rebuild import Rebuild, fetch_published, rebuild
from touchplate.builder.sandbox.ids import processes_of
from touchplate.builder.sandbox.ranged import FIRST_ID, IDS, RANGES
from touchplate.builder.workshop import Workshop, open_workshop
from touchplate.verify.jcs import JSONValue

IDENTITY = "registry.example.org"
TIMESTAMP = 1700000000
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
BUSYBOX = Path("/bin/busybox")
TOOLS = ("bwrap", "buildah", "skopeo", "runc")


def require_image_tools() -> None:
    """Skip loudly (fail under CI) where no image can be built."""
    environment = read_environment()
    lacking = [] if os.getuid() == 0 else ["root"]
    lacking += [name for name in TOOLS if environment.find_program(name) is None]
    if not is_static(BUSYBOX):
        lacking.append("a static busybox")
    if lacking and environment.is_ci:
        pytest.fail(f"tests of image rebuilds need {lacking}")
    if lacking:
        pytest.skip(f"IMAGE REBUILDS NOT TESTED: this needs {lacking}")


def is_static(program: Path) -> bool:
    """Whether an ELF program (64 bits) needs no interpreter, and so runs in an image of its own."""
    data = program.read_bytes() if program.exists() else b""
    if data[:5] != b"\x7fELF\x02":
        return False
    offset, size, count = int.from_bytes(data[32:40], "little"), data[54], data[56]
    interpreter = (3).to_bytes(4, "little")  # PT_INTERP
    return all(data[at : at + 4] != interpreter for at in range(offset, offset + size * count, size))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class ImageRegistry:
    """A registry that is only read: manifests and blobs by digest, manifests by tag. `asked`: every path."""

    def __init__(self) -> None:
        self.manifests: dict[tuple[str, str], bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self.asked: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def push(self, name: str, tag: str, manifest: bytes, blobs: Mapping[str, bytes] | None = None) -> str:
        """Put an image in; its digest in hex."""
        self.blobs.update(blobs or {})
        for reference in (tag, f"sha256:{sha256(manifest)}"):
            self.manifests[name, reference] = manifest
        return sha256(manifest)

    def blob(self, data: bytes) -> str:
        """Put a blob in; its sha256."""
        self.blobs[sha256(data)] = data
        return sha256(data)


def _handler(registry: ImageRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60  # a client on a busy machine is slow to take a large layer

        def do_GET(self) -> None:
            registry.asked.append(self.path)
            found = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/(.+)", self.path)
            body: bytes | None = b"{}" if self.path == "/v2/" else None
            kind = "application/octet-stream"
            if found and found[2] == "blobs":
                body = registry.blobs.get(found[3].removeprefix("sha256:"))
            elif found:
                body = registry.manifests.get((found[1], found[3]))
                kind = json.loads(body).get("mediaType", MANIFEST) if body else kind
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body or b"")

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


@dataclass(frozen=True)
class Published:
    """An image as it stands in the registry: repository, manifest, and what it was made from."""

    name: str
    manifest: bytes
    context: Mapping[str, bytes]

    @property
    def hex(self) -> str:
        return sha256(self.manifest)

    @property
    def purl(self) -> str:
        last = self.name.rpartition("/")[2]
        return f"pkg:oci/{last}@sha256:{self.hex}?repository_url={IDENTITY}/{self.name}"

    @property
    def uri(self) -> str:
        return f"upstream:{IDENTITY}/{self.name}/manifests/sha256:{self.hex}"


@dataclass
class Publisher:
    """A stock buildah with storage of its own, as somebody who publishes images runs it."""

    registry: ImageRegistry
    folder: Path
    built: int = 0
    seconds: float = 120.0
    """Until a command is given up."""

    def publish(
        self,
        name: str,
        context: Mapping[str, bytes],
        *options: str,
        umask: int = 0o022,
        env: Mapping[str, str] | None = None,
        timestamp: int | None = TIMESTAMP,
        owner: tuple[int, int] = (0, 0),
        under: Sequence[str] = (),
        storage: str = "overlay",
    ) -> Published:
        """Build `context` (files by path, with a Containerfile) and push the image.

        `under`: words before buildah's own.
        """
        self.built += 1
        here = self.folder / f"{self.built}"
        write_context(here / "context", context)
        for path in (here, *here.rglob("*")):
            os.lchown(path, *owner)
        buildah = [*under, "buildah", "--root", str(here / "storage"), "--runroot", str(here / "run")]
        buildah += ["--storage-driver", storage]
        stamp = [] if timestamp is None else ["--timestamp", str(timestamp)]
        common = ["--tls-verify=false", "--runtime", "runc", "--isolation", "oci", "-t", "localhost/p:1"]
        network = [] if "--network" in options else network_option()
        self._run(
            [*buildah, "build", "-q", *stamp, *network, *common, *options, str(here / "context")], umask, env
        )
        self._run([*buildah, "push", "-q", "localhost/p:1", f"dir:{here / 'out'}"], umask, env)
        self._run([*buildah, "rmi", "-a", "-f"], umask, env)
        files = {path.name: path.read_bytes() for path in (here / "out").iterdir()}
        shutil.rmtree(here)
        manifest = files["manifest.json"]
        self.registry.push(name, "1", manifest, {key: data for key, data in files.items() if len(key) == 64})
        return Published(name, manifest, context)

    def _run(self, command: list[str], umask: int, env: Mapping[str, str] | None) -> None:
        done = subprocess.run(
            command,
            umask=umask,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", **(env or {})},
            capture_output=True,
            text=True,
            timeout=self.seconds,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"


def write_context(folder: Path, context: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, data in context.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755 if data[:4] == b"\x7fELF" else 0o644)
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)


def tar_bytes(context: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> bytes:
    """The context as an archive, the same bytes each time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name, data in context.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755 if data[:4] == b"\x7fELF" else 0o644
            archive.addfile(member, io.BytesIO(data))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.mode = tarfile.SYMTYPE, target, 0o777
            archive.addfile(member)
    return buffer.getvalue()


def has_named_owners() -> bool:
    """Whether this host's own buildah sees the name of uid 0 in a chroot (`image.names`)."""
    switch = Path("/etc/nsswitch.conf")
    lines = switch.read_text().splitlines() if switch.exists() else []
    is_used = any(line.startswith("passwd:") and "systemd" in line.split() for line in lines)
    return is_used and any(Path("/usr/lib").glob("*/libnss_systemd.so.2"))


def network_option() -> list[str]:
    """What a publisher's buildah needs where the plugins of its default network are not installed.

    The image is the same with either.
    """
    return [] if Path("/usr/lib/cni/bridge").exists() else ["--network", "host"]


def buildah_version() -> str:
    done = subprocess.run(["buildah", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.split()[2]


@dataclass
class ImageScene:
    """A registry with a base image in it, and a workshop that reads it."""

    registry: ImageRegistry
    publisher: Publisher
    workshop: Workshop
    base: Published
    extra: dict[str, JSONValue] = field(default_factory=dict)

    @property
    def base_name(self) -> str:
        """As a FROM names it."""
        return f"{self.registry.host}/{self.base.name}:1"

    def define(
        self,
        published: Published,
        *,
        archive: bytes | None = None,
        bases: Sequence[tuple[str, Published]] | None = None,
        limits: Mapping[str, int] | None = None,
        **image: JSONValue,
    ) -> Definition:
        """The definition of an image; the context is the publisher's own unless given."""
        data = tar_bytes(published.context) if archive is None else archive
        digest = self.registry.blob(data)
        if bases is None:
            bases = [(self.base_name, self.base)] if self.base_name.encode() in data_of(published) else []
        listed: list[JSONValue] = [
            {"name": name, "uri": one.uri, "size": len(one.manifest)} for name, one in bases
        ]
        value: dict[str, JSONValue] = {
            "version": 1,
            "name": "demo",
            "package": published.purl,
            "source": {
                "kind": "source-release",
                "files": [
                    {
                        "uri": f"upstream:{IDENTITY}/{published.name}/blobs/sha256:{digest}",
                        "sha256": digest,
                        "size": len(data),
                    }
                ],
            },
            "image": {
                "containerfile": "Containerfile",
                "timestamp": TIMESTAMP,
                "platform": platform(),
                "base_layers": "repacked",
                "names": "systemd" if has_named_owners() else "none",
                **({"bases": listed} if listed else {}),
                **image,
            },
            "tools": {"buildah": buildah_version()},
            "outputs": [{"path": "manifest.json", "package": published.purl}],
        }
        if limits:
            value["limits"] = dict(limits)
        return parse_definition(json.dumps(value).encode())

    def rebuild(self, definition: Definition, *, twice: bool = False) -> Rebuild:
        """Rebuild; nothing of the job may be left."""
        published = fetch_published(self.workshop, definition)
        done = rebuild(self.workshop, definition, published, to_sign=True, twice=twice)
        self.assert_clean()
        return done

    def assert_clean(self) -> None:
        assert list(self.workshop.work.iterdir()) == []
        # Of this process, which reaps what its jobs leave: others on the machine may build images, too.
        assert [pid for pid in processes_of(FIRST_ID, RANGES * IDS) if is_below(pid, os.getpid())] == []

    def refuses(self, containerfile: str, **files: bytes) -> str:
        """Detail of the failure when the base image's definition is given this Containerfile."""
        archive = tar_bytes({"Containerfile": containerfile.encode(), **files})
        done = self.rebuild(self.define(self.base, archive=archive, bases=[(self.base_name, self.base)]))
        assert done.failure is not None
        assert (done.failure.phase, done.failure.reason) == ("definition", "refused-input"), done.failure
        return done.failure.detail

    def runs(self, script: str, *, limits: Mapping[str, int] | None = None, **image: JSONValue) -> Rebuild:
        """What becomes of a build with this RUN, on the base image. It is set beside the base image, from
        which it differs."""
        containerfile = f"FROM {self.base_name}\nCOPY . /context/\nRUN {script}\n"
        return self.rebuild(
            self.define(
                self.other,
                archive=tar_bytes({"Containerfile": containerfile.encode()}),
                bases=[(self.base_name, self.base)],
                limits=limits,
                **image,
            )
        )

    @property
    def other(self) -> Published:
        """Some image that a hostile build is compared with; what it is does not matter."""
        if ("team/other", "1") not in self.registry.manifests:
            self.publisher.publish(
                "team/other", {"Containerfile": b"FROM scratch\nCOPY a /\n", "a": b"other\n"}
            )
        return Published("team/other", self.registry.manifests["team/other", "1"], {})


def is_below(pid: int, ancestor: int) -> bool:
    """Whether a process was started by `ancestor`, however far down."""
    while pid not in (0, ancestor):
        try:
            status = Path("/proc", str(pid), "status").read_text()
        except OSError:  # it has ended
            return False
        pid = int(next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:")))
    return pid == ancestor


def data_of(published: Published) -> bytes:
    return b"\n".join(data for name, data in published.context.items() if name == "Containerfile")


def platform() -> str:
    machine = os.uname().machine
    return f"linux/{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(machine, machine) }"


BASE = b"FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\nENV PATH=/bin\n"


@contextlib.contextmanager
def open_image_scene(*others: Upstream) -> Iterator[ImageScene]:
    """A scene with everything of its own; needs the tools. `others`: upstreams beside the registry."""
    require_image_tools()
    registry = ImageRegistry()
    try:
        with open_folder() as folder, tempfile.TemporaryDirectory(prefix="touchplate-pub-") as pub:
            publisher = Publisher(registry, Path(pub))
            base = publisher.publish("team/base", {"Containerfile": BASE, "busybox": BUSYBOX.read_bytes()})
            upstream = Upstream("hub", "oci", IDENTITY, registry.url)
            with open_workshop(folder / "data", QuietProgress(), upstreams=(upstream, *others)) as workshop:
                yield ImageScene(registry, publisher, workshop, base)
    finally:
        registry.close()
