"""The clients of `make e2e-docker`, each as its users run it, with all its data in the world's folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.docker_world import DockerWorld
from tests.e2e.worlds import TOUCHPLATE, Output, StepFailedError, tool

STATUS_ONLY = "invalid status code from registry 403"


@dataclass(frozen=True)
class Client:
    """A client that runs. `pull` takes an image's name; `digest` gives the digest of what was pulled, as the
    client itself knows it. `shows_reason`: whether it prints why a tag was refused; `blob_reason`: what it
    prints when a layer is refused."""

    name: str
    version: str
    pull: Callable[[str], Output]
    digest: Callable[[str], str]
    shows_reason: bool = True
    blob_reason: str = "the upstream sent other bytes than sha256:"


def settings(world: DockerWorld, client: str) -> Mapping[str, str]:
    """The files that `touchplate setup` prints for a client: text by path."""
    printed = world.run(TOUCHPLATE, "setup", client, "--config", world.folder / "node.toml", "--json")
    if printed.code != 0:
        raise StepFailedError(f"touchplate setup {client}: {printed.text}")
    return {file["path"]: file["text"] for file in json.loads(printed.text)["files"]}


def skopeo(world: DockerWorld) -> Client:
    """skopeo with the registries.conf and policy.json of `touchplate setup podman`."""
    program = tool("skopeo")
    conf, policy = _registries(world)
    options: list[str | Path] = ["--registries-conf", conf, "--policy", policy]

    def pull(image: str) -> Output:
        target = f"dir:{world.folder}/skopeo/{_plain(image)}"
        (world.folder / "skopeo").mkdir(exist_ok=True)
        return world.run(program, *options, "copy", "-q", "--all", f"docker://{image}", target)

    def digest(image: str) -> str:
        return _run_digest(world, program, "manifest-digest",
                           world.folder / "skopeo" / _plain(image) / "manifest.json")  # fmt: skip

    version = _version(world, program, "--version")
    return Client("skopeo", version, pull, digest, blob_reason=STATUS_ONLY)


def podman(world: DockerWorld) -> Client:
    """podman with the same files, and a store of its own."""
    program = tool("podman")
    conf, policy = _registries(world)
    base: list[str | Path] = [
        program, "--root", world.folder / "podman", "--runroot", world.folder / "podman-run",
        "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file",
    ]  # fmt: skip
    environment = {"CONTAINERS_REGISTRIES_CONF": str(conf)}

    def pull(image: str) -> Output:
        return world.run(*base, "pull", "--signature-policy", policy, image, env=environment)

    def digest(image: str) -> str:
        template = "{{range .RepoDigests}}{{println .}}{{end}}"
        return _run_digest(world, *base, "image", "inspect", "--format", template, image)

    version = _version(world, program, "--version")
    return Client("podman", version, pull, digest, blob_reason=STATUS_ONLY)


def docker(world: DockerWorld) -> Client:
    """A Docker engine of our own, which nobody else talks to."""
    folder, engine, program = world.folder / "docker", tool("dockerd"), tool("docker")
    folder.mkdir()
    (folder / "daemon.json").write_text('{"max-download-attempts": 1}')
    address = f"unix://{folder}/docker.sock"

    def run(*arguments: str) -> Output:
        return world.run(program, "-H", address, *arguments, env={"DOCKER_CONFIG": str(folder)})

    world.start(
        "dockerd",
        [
            engine, "-H", address, "--data-root", folder / "data", "--exec-root", folder / "exec",
            "--pidfile", folder / "docker.pid", "--config-file", folder / "daemon.json",
            "--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver", "vfs",
        ],
        lambda: run("info").code == 0,
        env={"PATH": "/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"},
    )  # fmt: skip

    def digest(image: str) -> str:
        found = run("image", "inspect", "--format", "{{range .RepoDigests}}{{println .}}{{end}}", image)
        return _digest_in(found)

    version = run("version", "--format", "engine {{.Server.Version}}").text.strip()
    return Client("docker", version, lambda image: run("pull", image), digest)


def containerd(world: DockerWorld) -> Client:
    """containerd of our own with the hosts.toml files of `touchplate setup containerd`."""
    folder, engine, program = world.folder / "containerd", tool("containerd"), tool("ctr")
    folder.mkdir()
    hosts = folder / "certs.d"
    for path, text in settings(world, "containerd").items():
        target = hosts / Path(path).relative_to("/etc/containerd/certs.d")
        target.parent.mkdir(parents=True)
        target.write_text(text)
    (folder / "config.toml").write_text(
        f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\naddress = "{folder}/sock"\n[ttrpc]\naddress = "{folder}/ttrpc.sock"\n'
    )

    def run(*arguments: str | Path) -> Output:
        return world.run(program, "-a", folder / "sock", *arguments)

    world.start(
        "containerd",
        [engine, "--config", folder / "config.toml"],
        lambda: run("version").code == 0,
        env={"PATH": "/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"},
    )

    def pull(image: str) -> Output:
        return run("images", "pull", "--hosts-dir", hosts, "--snapshotter", "native", image)

    def digest(image: str) -> str:
        lines = [line for line in run("images", "ls").text.splitlines() if line.startswith(f"{image} ")]
        return _digest_in(Output(0, "\n".join(lines)))

    version = _version(world, program, "--version")
    return Client("containerd", version, pull, digest, shows_reason=False)


CLIENTS = {"skopeo": skopeo, "podman": podman, "docker": docker, "containerd": containerd}


def _registries(world: DockerWorld) -> tuple[Path, Path]:
    files = settings(world, "podman")
    conf, policy = world.folder / "registries.conf", world.folder / "policy.json"
    # As on a machine where the upstream could be reached: so that only the policy keeps clients from it.
    reachable = f'\n[[registry]]\nlocation = "127.0.0.1:{world.upstream.port}"\ninsecure = true\n'
    conf.write_text(files["/etc/containers/registries.conf.d/touchplate.conf"] + reachable)
    policy.write_text(files["/etc/containers/policy.json"])
    return conf, policy


def _run_digest(world: DockerWorld, *command: str | Path) -> str:
    return _digest_in(world.run(*command))


def _digest_in(output: Output) -> str:
    """The first digest that is printed."""
    found = [word for word in output.text.replace("@", " ").split() if word.startswith("sha256:")]
    if output.code != 0 or not found:
        raise StepFailedError(f"no digest in: {output.text[-500:]}")
    return found[0]


def _version(world: DockerWorld, *command: str) -> str:
    return world.run(*command).text.strip().splitlines()[0]


def _plain(image: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in image)
