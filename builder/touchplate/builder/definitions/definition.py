"""A definition: everything that decides how one package version is built, as one small file.

Written by hand as YAML 1.2 core, or inferred and then written as RFC 8785 JSON (which is YAML) and one LF.
Its digest is over the saved bytes; it is attested and stored as evidence, so that anyone can run the same
build again. Digests of two operators' definitions are never compared with each other.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from touchplate.builder.definitions.demands import Demands, read_demands
from touchplate.builder.definitions.path import SUFFIXES, definition_path
from touchplate.builder.definitions.schema import Reader, is_stand_in
from touchplate.builder.definitions.yamlcore import MAX_BYTES, read_yaml
from touchplate.builder.ecosystem import DefinitionForm, Ecosystem
from touchplate.builder.ecosystems.registry import find_ecosystem
from touchplate.builder.errors import DefinitionError
from touchplate.builder.git.protocol import COMMIT
from touchplate.builder.plan import GIB, Limits
from touchplate.verify.jcs import JSONValue, format_json
from touchplate.verify.purl import ECOSYSTEMS, PackageURL
from touchplate.verify.reading import read_at_most

VERSION = 1
"""Of this file format."""

MOST = {
    "wall_seconds": 24 * 3600,
    "memory_bytes": 64 * GIB,
    "workspace_bytes": 200 * GIB,
    "fetch_bytes": 20 * GIB,
    "fetch_files": 50_000,
}
"""How far a definition may raise each limit, about twenty times the defaults: it may be a stranger's."""

MAX_SOURCE_FILES = 16
"""Files of one source: an archive, or a few that belong together, as a sources jar and its POM."""

MAX_SOURCE_BYTES = 1 << 40
"""Largest size of a source file that a definition may name: more is a slip. What is read has other bounds."""

MAX_OUTPUTS = 64
"""Outputs of one definition: a jar, its classifiers and POM are a handful; each has its own statement."""

OPTIONAL = ("environment", "umask", "upstreams", "allow_metadata", "limits", "sandbox", "root")
"""Fields that every definition may have, unless its ecosystem has no use for them."""

VCS = "vcs"
"""Kind of source: the tree of one commit of a git repository."""

DEFAULT_UMASK = 0o022
DEFAULT_ENVIRONMENT: Mapping[str, str] = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


@dataclass(frozen=True)
class SourceFile:
    """One published file that the source tree is made of, or one commit, whose tree it is.

    `uri`: `upstream:<identity>/<path>`, or a package URL where an ecosystem has such for source files; of a
    commit: of its repository.
    """

    uri: str
    sha256: str
    """Of the file; of a commit the tree digest (`trees.py`)."""
    size: int
    """Bytes of the file; 0 of a commit."""
    commit: str = ""
    """Id of the commit, lower-case hex; empty for a file."""


@dataclass(frozen=True)
class Source:
    """Where the source comes from; `kind` is what is claimed about it."""

    kind: str
    files: tuple[SourceFile, ...]


@dataclass(frozen=True)
class Output:
    """One output, relative to the build folder, and the published file that it is compared with."""

    path: str
    package: PackageURL


@dataclass(frozen=True)
class Definition:
    """One parsed definition. `data`: the saved bytes, over which `sha256` is taken."""

    name: str
    package: PackageURL
    source: Source
    ecosystem: Ecosystem = field(compare=False, repr=False)
    details: object
    """What the ecosystem reads beside the common fields (tools, above all), as a frozen value of its own."""
    command: tuple[str, ...]
    """Empty where the ecosystem itself makes the command."""
    outputs: tuple[Output, ...]
    upstreams: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(DEFAULT_ENVIRONMENT))
    umask: int = DEFAULT_UMASK
    allow_metadata: bool = False
    limits: Limits = field(default_factory=Limits)
    sandbox: Demands = field(default_factory=Demands)
    """The least that it takes of what builds it."""
    root: str = ""
    """SHA-256 of the root lock whose root is shown as /usr and /etc; empty: the tools of the host."""
    data: bytes = field(default=b"", repr=False)

    @property
    def sha256(self) -> str:
        """Digest of the saved bytes, lower-case hex."""
        return hashlib.sha256(self.data).hexdigest()


def load_definition(path: Path) -> Definition:
    """The definition in a file. Raises DefinitionError, also when the file cannot be read."""
    try:
        data = read_at_most(path, MAX_BYTES)
    except OSError as error:
        raise DefinitionError(f"cannot read the definition {str(path)!r}: {error.strerror}") from error
    return parse_definition(data)


def parse_definition(
    data: bytes,
    find: Callable[[str], Ecosystem] = find_ecosystem,
    *,
    place: PurePosixPath | None = None,
) -> Definition:
    """The definition in `data`. Raises DefinitionError naming line and remedy, for all mistakes at once.

    `find` gives the ecosystem of a type of package URL, or raises DefinitionError. `place`: of the file in a
    folder of definitions, where it has to be that of its package.
    """
    document = read_yaml(data)
    reader = Reader(document)
    if not isinstance(document.value, dict):
        reader.mistake("", "is not a mapping; it starts with 'version: 1'")
        reader.finish()
    definition = read_definition(reader, data, find)
    definition.ecosystem.check_definition(reader, definition)
    if place is not None:
        _check_place(reader, definition.package, place)
    reader.finish()
    return definition


def read_definition(
    reader: Reader, data: bytes, find: Callable[[str], Ecosystem] = find_ecosystem
) -> Definition:
    """The fields of a definition, one by one; mistakes go to the reader, and stand-ins into their places.

    What the fields have to say together is not looked at (`Ecosystem.check_definition`). The published JSON
    Schema is drawn by running this with another reader (`json_schema.py`).
    """
    package = reader.purl("package")
    ecosystem = _find(reader, package, find)
    form = ecosystem.form
    reader.known(
        "",
        required=("version", "name", "package", "source", *form.required, "outputs"),
        optional=(*form.optional, *(name for name in OPTIONAL if name not in form.unused)),
    )
    if reader.number("version", low=1, high=VERSION) not in (None, VERSION):
        reader.mistake("version", f"only version {VERSION} is known")
    outputs = _read_outputs(reader, package)
    return Definition(
        name=reader.text("name", r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}", "letters, digits, . _ + -"),
        package=package,
        source=_read_source(reader, ecosystem),
        ecosystem=ecosystem,
        details=ecosystem.read_details(reader),
        command=_read_command(reader, form),
        outputs=outputs,
        upstreams=_read_upstreams(reader, form),
        environment={**DEFAULT_ENVIRONMENT, **_read_environment(reader, form)},
        umask=reader.umask("umask", DEFAULT_UMASK),
        allow_metadata="allow_metadata" not in form.unused and reader.flag("allow_metadata"),
        limits=_read_limits(reader),
        sandbox=read_demands(reader),
        root=_read_root(reader, form),
        data=data,
    )


def make_definition(value: Mapping[str, JSONValue]) -> Definition:
    """An inferred definition: written in its one form (RFC 8785 JSON + LF), then parsed like any other."""
    return parse_definition(format_json(value) + b"\n")


def _check_place(reader: Reader, package: PackageURL, place: PurePosixPath) -> None:
    if is_stand_in(package):
        return
    wanted = definition_path(package)
    if place not in [wanted.with_name(f"{wanted.name.removesuffix('.yaml')}{one}") for one in SUFFIXES]:
        reader.mistake("package", f"belongs to {wanted}, and the file is {place}; move it, or correct this")


def _find(reader: Reader, package: PackageURL, find: Callable[[str], Ecosystem]) -> Ecosystem:
    try:
        return find(_ecosystem_name(reader, package))
    except DefinitionError as error:  # the rest cannot be read without it
        reader.mistake("package", str(error))
        reader.finish()
        raise


def _ecosystem_name(reader: Reader, package: PackageURL) -> str:
    """Of the package, also when it has another mistake: the rest is then read as what it was meant for."""
    given = reader.get("package")
    typed = given.removeprefix("pkg:").partition("/")[0] if isinstance(given, str) else ""
    return typed if typed in ECOSYSTEMS else package.ecosystem


def _read_command(reader: Reader, form: DefinitionForm) -> tuple[str, ...]:
    if "command" not in (*form.required, *form.optional):
        return ()
    return tuple(reader.texts("command", default=None if "command" in form.required else ()))


def _read_upstreams(reader: Reader, form: DefinitionForm) -> tuple[str, ...]:
    if "upstreams" in form.unused:
        return form.upstreams
    return tuple(reader.texts("upstreams", default=form.upstreams))


def _read_environment(reader: Reader, form: DefinitionForm) -> dict[str, str]:
    return {} if "environment" in form.unused else reader.text_map("environment")


def _read_root(reader: Reader, form: DefinitionForm) -> str:
    if "root" in form.unused or not reader.has("root"):
        return ""
    reader.known("root", required=("lock",))
    return reader.sha256("root.lock")


def _read_source(reader: Reader, ecosystem: Ecosystem) -> Source:
    reader.known("source", required=("kind", "files"))
    kind = reader.choice("source.kind", ecosystem.form.source_kinds)
    files: list[SourceFile] = []
    for one in reader.cases(kind, ecosystem.form.source_kinds):
        files = _read_commits(reader) if one == VCS else _read_files(reader, ecosystem)
    return Source(kind, tuple(files))


def _read_commits(reader: Reader) -> list[SourceFile]:
    paths = reader.items("source.files", low=1, high=MAX_SOURCE_FILES)
    if len(paths) > 1:
        reader.mistake("source.files", "more than one commit; the source is the tree of one")
    for path in paths:
        reader.known(path, required=("uri", "sha256", "commit"))
    return [
        SourceFile(
            uri=reader.upstream_uri(f"{path}.uri"),
            sha256=reader.sha256(f"{path}.sha256"),
            size=0,
            commit=reader.text(f"{path}.commit", COMMIT, "the full id of a commit, in lower-case hex"),
        )
        for path in paths
    ]


def _read_files(reader: Reader, ecosystem: Ecosystem) -> list[SourceFile]:
    files = []
    for path in reader.items("source.files", low=1, high=MAX_SOURCE_FILES):
        reader.known(path, required=("uri", "sha256", "size"))
        files.append(
            SourceFile(
                uri=ecosystem.read_source_uri(reader, f"{path}.uri"),
                sha256=reader.sha256(f"{path}.sha256"),
                size=reader.number(f"{path}.size", low=1, high=MAX_SOURCE_BYTES) or 0,
            )
        )
    return files


def _read_outputs(reader: Reader, package: PackageURL) -> tuple[Output, ...]:
    outputs = []
    for path in reader.items("outputs", low=1, high=MAX_OUTPUTS):
        reader.known(path, required=("path", "package"))
        output = Output(path=reader.relative(f"{path}.path"), package=reader.purl(f"{path}.package"))
        read = not is_stand_in(package) and not is_stand_in(output.package)
        if read and output.package.package != package.package:
            reader.mistake(
                f"{path}.package", f"is not a file of {package.package}; one definition, one package"
            )
        outputs.append(output)
    for what in ("path", "package"):
        values = [getattr(output, what) for output in outputs]
        if len(set(values)) != len(values):
            reader.mistake("outputs", f"two outputs have one {what}; keep one")
    return tuple(outputs)


def _read_limits(reader: Reader) -> Limits:
    if not reader.has("limits"):
        return Limits()
    reader.known("limits", optional=tuple(MOST))
    given = {
        name: value
        for name, most in MOST.items()
        if reader.has(f"limits.{name}")
        and (value := reader.number(f"limits.{name}", low=1, high=most)) is not None
    }
    return Limits(**given)
