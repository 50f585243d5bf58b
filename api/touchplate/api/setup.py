"""Settings for clients, such that they get packages through a node or not at all. Pure.

A mirror alone enforces nothing: after a refusal most clients go on to the registry itself. What is printed
here says for each client which of its settings does enforce.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

CLIENTS = ("docker", "containerd", "podman", "maven", "conan")


@dataclass(frozen=True)
class Server:
    """The node as clients see it. `url`: without a slash at its end; `maven`: names of Maven upstreams;
    `registries`: (name, identity) of the upstreams of images; `remotes`: names of Conan upstreams."""

    url: str
    maven: Sequence[str] = ()
    registries: Sequence[tuple[str, str]] = ()
    remotes: Sequence[str] = ()

    @property
    def host(self) -> str:
        """Host and port, as they stand in image names."""
        return urlsplit(self.url).netloc

    @property
    def is_plain(self) -> bool:
        """Whether it speaks http without TLS."""
        return urlsplit(self.url).scheme == "http"


@dataclass(frozen=True)
class SettingsFile:
    """A file for the client's machine."""

    path: str
    text: str


@dataclass(frozen=True)
class ClientSettings:
    """`enforces`: the setting that keeps the client from going elsewhere; `notes`: what else to know."""

    client: str
    enforces: str
    files: tuple[SettingsFile, ...]
    notes: tuple[str, ...] = ()


def client_settings(client: str, server: Server) -> ClientSettings:
    """The settings of one of CLIENTS. Raises KeyError for others."""
    return _MAKERS[client](server)


def _docker(server: Server) -> ClientSettings:
    files = []
    if server.is_plain:
        files.append(SettingsFile("/etc/docker/daemon.json", _json({"insecure-registries": [server.host]})))
    files += [
        SettingsFile(f"/etc/docker/certs.d/{identity}/hosts.toml", _hosts(server))
        for _, identity in server.registries
    ]
    examples = tuple(f"docker pull {server.host}/{name}/IMAGE:TAG" for name, _ in server.registries[:1])
    return ClientSettings(
        "docker",
        f"the node's own name before each image, {server.host}/UPSTREAM/IMAGE:TAG: then nobody else is asked",
        tuple(files),
        (
            *examples,
            "registry-mirrors enforces nothing: after any refusal Docker goes on to the registry itself.",
            "The hosts.toml files are read by Docker 28 and later with the containerd image store, and only "
            "there; with them, names without the node's are enforced as well.",
            "Whoever may change image names can still name another registry: block the way out for the rest.",
        ),
    )


def _containerd(server: Server) -> ClientSettings:
    folder = "/etc/containerd/certs.d"
    files = [
        SettingsFile(f"{folder}/{identity}/hosts.toml", _hosts(server)) for _, identity in server.registries
    ]
    return ClientSettings(
        "containerd",
        "`server` in hosts.toml is the node itself, so that there is nobody to go on to after a refusal",
        (*files, SettingsFile(f"{folder}/_default/hosts.toml", _hosts(server))),
        (
            f'Kubernetes: set config_path = "{folder}" in the registry section of the CRI plugin; ctr: '
            f"--hosts-dir {folder}.",
            "The file in _default sends all other registries to the node, which refuses them.",
            "Both `server` and [host] are needed: containerd 1.7 cannot read a file with `server` alone, and "
            "asks the registry itself then.",
            "Of a refused tag, versions before July 2026 show the status only; the node's /why/ page has the "
            "reason.",
        ),
    )


def _podman(server: Server) -> ClientSettings:
    blocks = [
        f'[[registry]]\nprefix = "{identity}"\nlocation = "{server.host}/{name}"\n'
        f"insecure = {str(server.is_plain).lower()}\n"
        for name, identity in server.registries
    ]
    if server.is_plain:
        blocks.append(f'[[registry]]\nlocation = "{server.host}"\ninsecure = true\n')
    accepted = {name: [{"type": "insecureAcceptAnything"}]
                for name in (server.host, *(identity for _, identity in server.registries))}  # fmt: skip
    policy = {"default": [{"type": "reject"}], "transports": {"docker": accepted}}
    return ClientSettings(
        "podman",
        "`location` rewrites the name before anybody is asked ([[registry.mirror]] would fall through), and "
        "policy.json rejects every other registry",
        (
            SettingsFile("/etc/containers/registries.conf.d/touchplate.conf", "\n".join(blocks)),
            SettingsFile("/etc/containers/policy.json", _json(policy)),
        ),
        (
            "The same files serve skopeo, buildah and CRI-O.",
            "policy.json also rejects images from folders and archives; add their transports if you use "
            "them.",
        ),
    )


def _maven(server: Server) -> ClientSettings:
    name = server.maven[0] if server.maven else "central"
    text = (
        "<settings>\n  <mirrors>\n    <mirror>\n      <id>touchplate</id>\n      <mirrorOf>*</mirrorOf>\n"
        f"      <url>{server.url}/maven/{name}</url>\n    </mirror>\n  </mirrors>\n</settings>\n"
    )
    return ClientSettings(
        "maven",
        "`mirrorOf *`: Maven asks no other repository, also none that a POM names",
        (SettingsFile("~/.m2/settings.xml", text),),
        ("Maven 3.8.1 and later refuse plain http from other machines: put a TLS proxy before the node.",),
    )


def _conan(server: Server) -> ClientSettings:
    names = server.remotes or ("conancenter",)
    remotes = [
        {"name": f"touchplate-{name}", "url": f"{server.url}/conan/{name}", "verify_ssl": True}
        for name in names
    ]
    return ClientSettings(
        "conan",
        "remotes.json names this node and nothing else, so that there is no remote to go on to",
        (SettingsFile("~/.conan2/remotes.json", _json({"remotes": remotes})),),
        (
            "With any other remote beside it nothing is enforced: Conan asks its remotes in their order, and "
            "goes on for what one of them does not have.",
            "Put the file into the folder or repository that your team installs with `conan config install`; "
            "it takes the place of the remotes that were there.",
            "What was installed before stays in the cache: begin with an empty one (`conan remove '*' -c`).",
            "`--build` runs recipes that fetch sources from elsewhere, which the node does not see: leave it "
            "out, or block the way out for the rest.",
        ),
    )


def _hosts(server: Server) -> str:
    return f'server = "{server.url}"\n\n[host."{server.url}"]\n  capabilities = ["pull", "resolve"]\n'


def _json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"


_MAKERS: Mapping[str, Callable[[Server], ClientSettings]] = {
    "docker": _docker,
    "containerd": _containerd,
    "podman": _podman,
    "maven": _maven,
    "conan": _conan,
}
