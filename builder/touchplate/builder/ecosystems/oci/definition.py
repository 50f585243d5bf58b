"""What an image's definition says beside the common fields: Containerfile, base images, and how buildah is
asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from touchplate.builder.definitions.definition import VCS, Definition
from touchplate.builder.definitions.schema import Reader, TextMap
from touchplate.builder.ecosystem import DefinitionForm
from touchplate.builder.ecosystems.oci.names import RepositoryPath, image_path, parse_place
from touchplate.builder.errors import DefinitionError
from touchplate.verify.jcs import JSONValue
from touchplate.verify.names import format_upstream_uri

FORM = DefinitionForm(
    required=("image", "tools"),
    optional=(),
    source_kinds=("source-release", VCS),
    upstreams=(),
    unused=("environment", "upstreams", "allow_metadata", "root"),
)

OUTPUT = "manifest.json"
"""The one output: the image's manifest, by whose digest the image is known."""

_CHOICES = {
    "network": ("default", "none"),
    "base_layers": ("kept", "repacked"),
    "names": ("systemd", "none"),
    "storage": ("overlay", "overlay-rootless", "vfs"),
}
"""Values of each, the default first."""

_FLAGS = ("layers", "squash", "omit_history", "no_identity_label")

MAX_ID = 65535
"""Largest id inside (`sandbox/ranged.py`)."""

_HOST = r"(?:[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)+|localhost|[a-zA-Z0-9.-]+:[0-9]+)(?::[0-9]+)?"
_NAME = rf"{_HOST}/[a-z0-9][a-z0-9._/-]*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?"

_ARCHIVES = TextMap(
    r"[a-z0-9.-]{1,253}(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~+-]{1,128}){0,8}",
    r"[a-z0-9][a-z0-9-]{0,62}",
    "HOST/FOLDER, as in apt's sources behind http://, without a slash at the end, to names of upstreams",
)

_LABELS = TextMap(r"[^=\0]{1,128}", r"[^\0]*", "names (without =) to text; quote numbers")


@dataclass(frozen=True)
class BaseImage:
    """An image that the Containerfile begins with. `name`: as it stands there; `place`: where its manifest
    is."""

    name: str
    place: RepositoryPath
    size: int

    @property
    def sha256(self) -> str:
        """Of its manifest."""
        return self.place.sha256


@dataclass(frozen=True)
class ImageDetails:
    """How buildah is asked. See `builder/docs/definitions.md` for each."""

    buildah: str
    containerfile: str
    context: str
    timestamp: int
    platform: str
    bases: tuple[BaseImage, ...] = ()
    target: str = ""
    network: str = "default"
    base_layers: str = "kept"
    names: str = "systemd"
    storage: str = "overlay"
    owner: tuple[int, int] = (0, 0)
    """uid and gid of every file of the context; seen in the digests that the history gives of a COPY."""
    flags: frozenset[str] = frozenset()
    args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    apt: Mapping[str, str] = field(default_factory=dict)
    """Archives that apt may ask in a RUN, by host and folder: the upstream that has each."""


def details_of(definition: Definition) -> ImageDetails:
    """The details of an image's definition."""
    assert isinstance(definition.details, ImageDetails)  # its reader made them
    return definition.details


def read_details(reader: Reader) -> ImageDetails:
    """Read `image` and `tools`; mistakes go to the reader."""
    reader.known("tools", required=("buildah",))
    reader.known(
        "image",
        required=("containerfile", "timestamp", "platform"),
        optional=(
            *("context", "bases", "target", "owner", *_CHOICES, *_FLAGS),
            *("args", "labels", "annotations", "apt"),
        ),
    )
    containerfile = reader.relative("image.containerfile")
    if containerfile.endswith(".in"):
        reader.mistake("image.containerfile", "would be run through the C preprocessor; give it another name")
    return ImageDetails(
        buildah=reader.text(
            "tools.buildah", r"[0-9]+\.[0-9]+\.[0-9A-Za-z.+~-]{1,32}", "a release, as 1.28.2"
        ),
        containerfile=containerfile,
        context=reader.relative("image.context") if reader.has("image.context") else "",
        timestamp=reader.number("image.timestamp", low=0, high=1 << 40) or 0,
        platform=reader.text("image.platform", r"linux/[a-z0-9]{1,16}", "linux/ARCHITECTURE, as linux/amd64"),
        bases=_read_bases(reader),
        target=reader.text("image.target", r"[A-Za-z0-9_.-]{1,64}", "a stage")
        if reader.has("image.target")
        else "",
        owner=_read_owner(reader),
        **{name: _read_choice(reader, name) for name in _CHOICES},
        flags=frozenset(flag for flag in _FLAGS if reader.flag(f"image.{flag}")),
        args=reader.text_map("image.args"),
        labels=reader.text_map("image.labels", _LABELS),
        annotations=reader.text_map("image.annotations", _LABELS),
        apt=_read_archives(reader),
    )


def format_details(details: ImageDetails) -> dict[str, JSONValue]:
    """The fields that `read_details` reads."""
    bases: list[JSONValue] = [
        {
            "name": base.name,
            "uri": format_upstream_uri(base.place.identity, base.place.path),
            "size": base.size,
        }
        for base in details.bases
    ]
    given: dict[str, JSONValue] = {
        "containerfile": details.containerfile,
        "context": details.context,
        "timestamp": details.timestamp,
        "platform": details.platform,
        "bases": bases,
        "target": details.target,
        **{name: getattr(details, name) for name in _CHOICES},
        "owner": f"{details.owner[0]}:{details.owner[1]}",
        **{flag: flag in details.flags for flag in _FLAGS},
        "args": dict(details.args),
        "labels": dict(details.labels),
        "annotations": dict(details.annotations),
        "apt": dict(details.apt),
    }
    # Empty is the default of these, and written by leaving them out.
    free = ("context", "bases", "target", "args", "labels", "annotations", "apt")
    image = {name: value for name, value in given.items() if value or name not in free}
    return {"image": image, "tools": {"buildah": details.buildah}}


def check_definition(reader: Reader, definition: Definition) -> None:
    """One image, one output, one archive; and no setting that builds of images have no use for."""
    if [(one.path, one.package) for one in definition.outputs] != [(OUTPUT, definition.package)]:
        reader.mistake(
            "outputs", f"an image has one output: path {OUTPUT}, and the package of the definition"
        )
    if len(definition.source.files) != 1:
        reader.mistake(
            "source.files", "an image's source is one archive, with the context and the Containerfile"
        )
    details = details_of(definition)
    if taken := set(details.apt.values()) & {base.place.identity for base in details.bases}:
        reader.mistake(
            "image.apt",
            f"the upstream {min(taken)!r} has the name of a base image's registry, and a lock would not tell "
            "them apart; give it another name",
        )
    for file in definition.source.files:
        if definition.source.kind != VCS and not file.uri.endswith(f"/blobs/sha256:{file.sha256}"):
            reader.mistake("source.files", "the uri names another digest than sha256; a blob has one")
    try:
        image_path(definition.package)
    except DefinitionError as error:
        reader.mistake("package", str(error))


def read_source_uri(reader: Reader, path: str) -> str:
    """A blob of a repository, as `upstream:<identity>/<repository>/blobs/sha256:<digest>`."""
    uri = reader.upstream_uri(path)
    _read_place(reader, path, uri, "blobs")
    return uri


def _read_bases(reader: Reader) -> tuple[BaseImage, ...]:
    bases = []
    for path in reader.items("image.bases", low=1, high=16) if reader.has("image.bases") else ():
        reader.known(path, required=("name", "uri", "size"))
        form = "an image's full name, host/path[:tag][@digest]; short names mean something else on each host"
        name = reader.text(f"{path}.name", _NAME, form)
        uri = reader.upstream_uri(f"{path}.uri")
        place = _read_place(reader, f"{path}.uri", uri, "manifests")
        size = reader.number(f"{path}.size", low=1, high=1 << 40) or 0
        if place is not None:
            named = name.partition("@sha256:")[2]
            if named and named != place.sha256:
                reader.mistake(f"{path}.uri", "has another digest than the name")
            bases.append(BaseImage(name, place, size))
    names = [base.name for base in bases]
    if len(set(names)) != len(names):
        reader.mistake("image.bases", "a name stands twice; keep one")
    return tuple(bases)


def _read_archives(reader: Reader) -> dict[str, str]:
    archives = reader.text_map("image.apt", _ARCHIVES)
    for place in archives:
        host, _, folder = place.partition("/")
        if {".", ".."} & set(folder.split("/")) or host.endswith(":80"):
            reader.mistake(f"image.apt.{place}", "is not in its one spelling (no '.', no '..', no port 80)")
    return archives


def _read_owner(reader: Reader) -> tuple[int, int]:
    if not reader.has("image.owner"):
        return 0, 0
    text = reader.text("image.owner", r"[0-9]{1,5}:[0-9]{1,5}", "UID:GID in quotes")
    uid, gid = (int(part or 0) for part in (text or "0:0").split(":"))
    if max(uid, gid) > MAX_ID:
        reader.mistake("image.owner", f"has an id above {MAX_ID}")
    return uid, gid


def _read_choice(reader: Reader, name: str) -> str:
    path = f"image.{name}"
    return reader.choice(path, _CHOICES[name]) if reader.has(path) else _CHOICES[name][0]


def _read_place(reader: Reader, path: str, uri: str, kind: str) -> RepositoryPath | None:
    try:
        return parse_place(uri, kind) if uri else None
    except DefinitionError as error:
        reader.mistake(path, str(error))
        return None
