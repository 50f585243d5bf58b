"""What a Conan definition says beside the common fields: the exact Conan, host programs, and the profile."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from touchplate.builder.definitions.definition import Definition, SourceFile
from touchplate.builder.definitions.schema import Reader, TextMap, is_stand_in
from touchplate.builder.ecosystem import DefinitionForm
from touchplate.builder.ecosystems.conan.conaninfo import OPTION, SETTING, VALUE
from touchplate.builder.ecosystems.conan.reference import (
    CONANFILE,
    CONANINFO,
    PACKAGE,
    package_revision_of,
    revision_of,
)
from touchplate.builder.ecosystems.conan.requirements import MAX_FILES, group_requirements
from touchplate.builder.errors import DefinitionError
from touchplate.verify.jcs import JSONValue
from touchplate.verify.purl import parse_purl

FORM = DefinitionForm(
    required=("tools", "profile"),
    optional=("requirements",),
    source_kinds=("source-release",),
    upstreams=(),
)

_SETTINGS = TextMap(SETTING.pattern, VALUE.pattern, "settings to plain text; quote numbers")
_OPTIONS = TextMap(OPTION.pattern, VALUE.pattern, "options to plain text; quote numbers")

EPOCH = "SOURCE_DATE_EPOCH"

PROGRAMS: Mapping[str, str] = {
    "autoconf": "autoconf", "automake": "automake", "bison": "bison", "cmake": "cmake", "flex": "flex",
    "g++": "g++", "libtoolize": "libtool", "m4": "m4", "make": "make", "meson": "meson", "nasm": "nasm",
    "ninja": "ninja-build", "perl": "perl", "pkg-config": "pkgconf", "yasm": "yasm",
}  # fmt: skip
"""Programs in /usr/bin that a definition may name, and Debian's package with each. No others: they are asked
for their version outside of the sandbox, and a definition may be a stranger's."""

OUTPUT = "out"
"""Folder below the build folder in which the packed package lies."""

OUTPUTS = {name: f"{OUTPUT}/{name}" for name in (PACKAGE, CONANINFO)}
"""File of the package → path of the output that is compared with it; both have to be there."""


@dataclass(frozen=True)
class ConanTool:
    """The exact Conan. `lock`: sha256 of the list of packages, with their hashes, that it is made of."""

    version: str
    lock: str


@dataclass(frozen=True)
class ConanDetails:
    """`gcc`: major version, `programs`: of `PROGRAMS`; both from this host."""

    conan: ConanTool
    gcc: int
    programs: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    requirements: tuple[SourceFile, ...] = ()
    """Files of the recipes and packages that it requires (`requirements.py`)."""


def details_of(definition: Definition) -> ConanDetails:
    """The details of a Conan definition."""
    assert isinstance(definition.details, ConanDetails)  # its reader made them
    return definition.details


def read_details(reader: Reader) -> ConanDetails:
    """Read `tools` and `profile`; mistakes go to the reader."""
    reader.known("tools", required=("conan", "gcc"), optional=("programs",))
    reader.known("tools.conan", required=("version", "lock"))
    reader.known("profile", required=("settings",), optional=("options",))
    programs = [
        reader.choice(item, tuple(PROGRAMS))
        for item in (reader.items("tools.programs", low=1, high=32) if reader.has("tools.programs") else ())
    ]
    return ConanDetails(
        conan=ConanTool(
            version=reader.text("tools.conan.version", r"2\.[0-9]{1,4}\.[0-9]{1,4}", "a release, as 2.34.0"),
            lock=reader.sha256("tools.conan.lock"),
        ),
        gcc=reader.number("tools.gcc", low=4, high=99) or 0,
        programs=tuple(programs),
        settings=reader.text_map("profile.settings", _SETTINGS),
        options=reader.text_map("profile.options", _OPTIONS),
        requirements=tuple(_read_requirements(reader)),
    )


def _read_requirements(reader: Reader) -> Iterator[SourceFile]:
    if not reader.has("requirements"):
        return
    for path in reader.items("requirements", low=1, high=MAX_FILES):
        reader.known(path, required=("uri", "sha256", "size"))
        uri = reader.purl(f"{path}.uri")
        sha256 = reader.sha256(f"{path}.sha256")
        size = reader.number(f"{path}.size", low=0, high=1 << 40) or 0
        if not is_stand_in(uri):
            yield SourceFile(str(uri), sha256, size)


def format_details(details: ConanDetails) -> dict[str, JSONValue]:
    """The fields that `read_details` reads."""
    conan: JSONValue = {"version": details.conan.version, "lock": details.conan.lock}
    programs: dict[str, JSONValue] = {"programs": list(details.programs)} if details.programs else {}
    profile: JSONValue = {"settings": dict(details.settings), "options": dict(details.options)}
    pins: JSONValue = [format_pin(file) for file in details.requirements]
    requirements: dict[str, JSONValue] = {"requirements": pins} if pins else {}
    return {"tools": {"conan": conan, "gcc": details.gcc, **programs}, "profile": profile, **requirements}


def format_pin(file: SourceFile) -> dict[str, JSONValue]:
    """One file of `source.files` or `requirements`."""
    return {"uri": file.uri, "sha256": file.sha256, "size": file.size}


def read_source_uri(reader: Reader, path: str) -> str:
    """The package URL of a file of a recipe; mistakes go to the reader."""
    package = reader.purl(path)
    try:
        if package.type == "conan" and revision_of(package).package_id is None:
            return str(package)
        reader.mistake(path, f"{package} is no file of a recipe; write pkg:conan/NAME@VERSION?file=…&rrev=…")
    except DefinitionError as error:
        reader.mistake(path, str(error))
    return str(package)


def check_definition(reader: Reader, definition: Definition) -> None:
    """A package revision is built whole, from the recipe revision that it names."""
    try:
        revision = package_revision_of(definition.package)
    except DefinitionError as error:
        reader.mistake("package", str(error))
        return
    for name, path in OUTPUTS.items():
        wanted = (path, revision.purl(name))
        if wanted not in [(output.path, output.package) for output in definition.outputs]:
            reader.mistake("outputs", f"lack {path} with the package {wanted[1]}")
    if len(definition.outputs) > len(OUTPUTS):
        reader.mistake("outputs", f"are {' and '.join(OUTPUTS.values())}, and no others")
    try:
        group_requirements(revision, details_of(definition).requirements)
    except DefinitionError as error:
        reader.mistake("requirements", str(error))
    for number, file in enumerate(definition.source.files):
        if not file.uri.startswith("pkg:conan/") or revision_of(parse_purl(file.uri)) != revision.recipe:
            reader.mistake(f"source.files.{number}.uri", f"is no file of the recipe revision {revision.rrev}")
    uris = [file.uri for file in definition.source.files]
    if str(revision.recipe.purl(CONANFILE)) not in uris:
        reader.mistake("source.files", f"lack {CONANFILE}")
    if len(set(uris)) != len(uris):
        reader.mistake("source.files", "name a file twice; keep one")
    if re.fullmatch(r"[0-9]{1,10}", definition.environment.get(EPOCH, "")) is None:
        reader.mistake("environment", f"lacks {EPOCH}, seconds since 1970 in quotes: the time of all files")
