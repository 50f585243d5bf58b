"""One image build as both phases run it, and the commands that make it inside. Data, and pure functions of
it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from touchplate.base.upstreams import Upstream
from touchplate.builder.ecosystems.oci.apt import RUNTIME
from touchplate.builder.ecosystems.oci.definition import BaseImage, ImageDetails
from touchplate.builder.ecosystems.oci.manifests import Config, Manifest
from touchplate.builder.plan import (
    BUILD_FOLDER,
    HOME_FOLDER,
    REPOSITORY_FOLDER,
    RESERVED_FOLDER,
    BuildPlan,
    Phase,
)
from touchplate.builder.sandbox.probe import PYTHON
from touchplate.builder.sandbox.runc import TEMPORARY

IMAGE = "image"
"""Folder below HOME that the image is written to: `manifest.json`, and each blob under its digest (the `dir:`
transport of containers/image): unlike an OCI layout it keeps every manifest as it is, and names nothing
twice."""

UNMARK = f"{RESERVED_FOLDER}/unmark.py"

_PLAIN = f"{HOME_FOLDER}/plain"
_STORAGE = f"{HOME_FOLDER}/storage"
_RUN = f"{HOME_FOLDER}/run"
_NAME = "localhost/rebuilt:latest"  # in the job's own storage; no part of the image

ETC: Mapping[str, str] = {
    "/etc/passwd": f"root:x:0:0:root:{HOME_FOLDER}:/bin/sh\n",
    "/etc/group": "root:x:0:\n",
    "/etc/hosts": "127.0.0.1 localhost\n",
    "/etc/resolv.conf": "",
    # Nothing is believed here because of where it comes from: bases are pinned, and were checked before.
    "/etc/containers/policy.json": '{"default":[{"type":"insecureAcceptAnything"}]}\n',
    "/etc/containers/registries.conf": "unqualified-search-registries = []\n",
    # The host's own settings must not reach the image.
    "/etc/containers/containers.conf": "[containers]\n",
    "/etc/containers/storage.conf": (
        f'[storage]\ndriver = "overlay"\ngraphroot = "{_STORAGE}"\nrunroot = "{_RUN}"\n'
    ),
}
"""Files of /etc inside, whole: the host's are not shown."""

NAMES: Mapping[str, str] = {
    "systemd": "passwd: files systemd\ngroup: files systemd\nhosts: files\n",
    "none": "passwd: files\ngroup: files\nhosts: files\n",
}
"""/etc/nsswitch.conf by `image.names`. buildah reads the context in a chroot without /etc/passwd. There only
systemd's module still knows that 0 is called root, and the name is part of the digest of a COPY in the
history."""

NAMES_MODULE = "libnss_systemd.so.2"

ENVIRONMENT: Mapping[str, str] = {
    "TMPDIR": TEMPORARY,
    "CONTAINERS_CONF": "/etc/containers/containers.conf",
    "CONTAINERS_STORAGE_CONF": "/etc/containers/storage.conf",
}
"""Variables of the builder; none of them reaches a RUN or the image."""


@dataclass(frozen=True)
class Programs:
    """The host's programs, by absolute path below /usr."""

    buildah: str
    skopeo: str
    runc: str


@dataclass(frozen=True)
class PinnedImage:
    """A base image that was read whole from its upstream and checked."""

    base: BaseImage
    data: bytes
    manifest: Manifest
    config: Config


@dataclass(frozen=True, kw_only=True)
class ImagePlan(BuildPlan):
    """A BuildPlan whose command is made from the definition. `forbidden_layers`: sha256 of what only the
    published image has, packed and unpacked; no base image may have it."""

    details: ImageDetails
    programs: Programs
    forbidden_layers: frozenset[str] = field(default=frozenset())
    archives: tuple[Upstream, ...] = ()
    """The upstreams of `details.apt`: all that a RUN reaches, in Fetch."""


def build_command(details: ImageDetails, programs: Programs) -> tuple[str, ...]:
    """buildah's command line. Everything in it that reaches the image comes from the definition."""
    context = f"{BUILD_FOLDER}/{details.context}".rstrip("/")
    # The namespace has no network in either case, and a further one would take rights that it does not have.
    # What the choice changes is whether a RUN leaves empty /etc/hosts and /etc/resolv.conf where the base has
    # none.
    without = ("--no-hosts", "--dns", "none") if details.network == "none" else ()
    return (
        *(*_buildah(details, programs), "build"),
        *("--pull-never", "--isolation", "oci", "--runtime", RUNTIME if details.apt else programs.runc),
        *("--network", "host", *without),
        *("--timestamp", str(details.timestamp), "--format", "oci", "--tag", _NAME),
        *_options(details),
        *("--file", f"{BUILD_FOLDER}/{details.containerfile}", context),
    )


def _options(details: ImageDetails) -> list[str]:
    options = [
        f"--{flag.replace('_', '-')}"
        for flag in ("layers", "squash", "omit_history")
        if flag in details.flags
    ]
    if "no_identity_label" in details.flags:
        options.append("--identity-label=false")
    if details.target:
        options += ["--target", details.target]
    for option, texts in (
        ("--build-arg", details.args),
        ("--label", details.labels),
        ("--annotation", details.annotations),
    ):
        for name, value in texts.items():
            options += [option, f"{name}={value}"]
    return options


def steps(plan: ImagePlan, bases: tuple[PinnedImage, ...], phase: Phase = "build") -> bytes:
    """What `inside.py` is to do, as its JSON. In Fetch no image is written out."""
    storage = f"[{plan.details.storage.partition('-')[0]}@{_STORAGE}+{_RUN}]"
    buildah = _buildah(plan.details, plan.programs)
    return json.dumps(
        {
            "prepare": [
                # Storage that does not work here is no failure of the package.
                [*buildah, "from", "--quiet", "--name", "probe", "scratch"],
                [*buildah, "rm", "probe"],
                *(
                    [
                        *(plan.programs.skopeo, "--tmpdir", TEMPORARY, "copy", "--quiet"),
                        *("--preserve-digests", f"dir:{base_folder(number)}"),
                        f"containers-storage:{storage}{stored_name(pinned.base.name)}",
                    ]
                    for number, pinned in enumerate(bases)
                ),
            ],
            "build": [list(plan.command)],
            "export": _export(plan, bases) if phase == "build" else [],
            "image": f"{HOME_FOLDER}/{IMAGE}",
            "keep": _kept_layers(bases) if plan.details.base_layers == "kept" else {},
        }
    ).encode()


def _export(plan: ImagePlan, bases: tuple[PinnedImage, ...]) -> list[list[str]]:
    buildah = _buildah(plan.details, plan.programs)
    return [
        [*buildah, "push", "--quiet", "--disable-compression", _NAME, f"dir:{_PLAIN}"],
        *([_unmark(bases)] if plan.details.storage == "overlay" else []),
        [
            *(plan.programs.skopeo, "--tmpdir", TEMPORARY, "copy", "--quiet"),
            *("--dest-compress", "--dest-compress-format", "gzip"),
            *(f"dir:{_PLAIN}", f"dir:{HOME_FOLDER}/{IMAGE}"),
        ],
    ]


def _unmark(bases: tuple[PinnedImage, ...]) -> list[str]:
    kept = sorted({f"sha256:{diff_id}" for pinned in bases for diff_id in pinned.config.diff_ids})
    return [PYTHON, "-I", "-S", UNMARK, _PLAIN, *kept]


def _buildah(details: ImageDetails, programs: Programs) -> tuple[str, ...]:
    return (
        *(programs.buildah, "--root", _STORAGE, "--runroot", _RUN),
        *("--storage-driver", details.storage.partition("-")[0]),
    )


def base_folder(number: int) -> str:
    """Where base image `number` stands inside."""
    return f"{REPOSITORY_FOLDER}/{number}"


def stored_name(name: str) -> str:
    """The name under which a base is stored: with a digest, storage has no place for a tag."""
    bare, at, digest = name.partition("@")
    folder, slash, last = bare.rpartition("/")
    return f"{folder}{slash}{last.partition(':')[0]}@{digest}" if at else name


def _kept_layers(bases: tuple[PinnedImage, ...]) -> dict[str, dict[str, object]]:
    kept: dict[str, dict[str, object]] = {}
    for number, pinned in enumerate(bases):
        for layer, diff_id in zip(pinned.manifest.layers, pinned.config.diff_ids, strict=True):
            path = f"{base_folder(number)}/{layer.sha256}"
            described = {"digest": f"sha256:{layer.sha256}", "size": layer.size, "path": path}
            kept.setdefault(f"sha256:{diff_id}", described)
    return kept
