"""The tools of an image build: buildah of exactly one version, skopeo and runc, all of this host."""

import re
from dataclasses import dataclass
from pathlib import Path

from touchplate.builder.ecosystems.oci.plan import NAMES_MODULE, Programs
from touchplate.builder.errors import HostLack
from touchplate.builder.process import run_tool
from touchplate.builder.sandbox.bubblewrap import program
from touchplate.builder.toolset import HOST, describe_program
from touchplate.verify.predicates.provenance import Dependency

_VERSION = re.compile(r"version ([0-9][^\s,]*)")


@dataclass(frozen=True)
class Found:
    """The programs, and each as a dependency of kind `tool`."""

    programs: Programs
    described: tuple[Dependency, ...]


def find_tools(buildah: str, names: str) -> Found:
    """This host's tools. Raises HostLack for one that is missing, or a buildah of another version.

    The version is written into images, and every release lays them out in its own way.
    """
    paths = {name: str(program(name, name)) for name in ("buildah", "skopeo", "runc")}
    for name, path in paths.items():
        if not path.startswith("/usr/"):
            raise HostLack(f"{name} is {path!r}; a build sees programs below /usr only", reason="no-tool")
    if names == "systemd" and not any(Path("/usr/lib").glob(f"*/{NAMES_MODULE}")):
        raise HostLack(
            "the definition has image.names: systemd, and this host has no "
            f"{NAMES_MODULE}; install libnss-systemd",
            reason="no-tool",
        )
    versions = {name: _version(path) for name, path in paths.items()}
    if versions["buildah"] != buildah:
        raise HostLack(
            f"the definition names buildah {buildah}, and this host has {versions['buildah'] or 'another'}",
            reason="no-tool",
        )
    described = tuple(
        Dependency("tool", one.digests, name=name, annotations={**HOST, "version": versions[name]})
        for name, path in sorted(paths.items())
        for one in describe_program(path)
    )
    return Found(Programs(**paths), described)


def _version(path: str) -> str:
    match = _VERSION.search(run_tool([path, "--version"]))
    return match[1] if match else ""
