"""A definition for a published package, from what the remote has of it: nobody writes one by hand.

Read are the published `conaninfo.txt` (settings and options), the time in its manifest, and the recipe
revision (which build tools it speaks of). What was inferred is saved, shown and attested.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from touchplate.builder.definitions.definition import make_definition
from touchplate.builder.ecosystem import Inference
from touchplate.builder.ecosystems.conan.archive import digest_members
from touchplate.builder.ecosystems.conan.choice import Target
from touchplate.builder.ecosystems.conan.conaninfo import PackageInfo, parse_conaninfo
from touchplate.builder.ecosystems.conan.definition import EPOCH, OUTPUTS, format_pin
from touchplate.builder.ecosystems.conan.profile import complete_settings
from touchplate.builder.ecosystems.conan.reference import (
    CONANFILE,
    CONANINFO,
    EXPORTED,
    MANIFEST,
    PACKAGE,
    Revision,
    package_revision_of,
)
from touchplate.builder.ecosystems.conan.remote import read_package, read_recipe
from touchplate.builder.ecosystems.conan.requirements import Requirement, pin_files
from touchplate.builder.ecosystems.conan.tools import default_conan, default_gcc
from touchplate.builder.errors import DefinitionError
from touchplate.builder.inputs.repository import RemoteFile, Repositories
from touchplate.verify.jcs import JSONValue
from touchplate.verify.purl import PackageURL

TOOLS = (
    (rb"\bCMake\b|cmake", ("cmake", "make")),
    (rb"\bAutotools\b|\bconfigure\b", ("make",)),
    (rb"\bautoreconf\b", ("autoconf", "automake", "libtoolize")),
    (rb"\bMeson\b", ("meson", "ninja")),
    (rb"\bPkgConfig\b|pkg-config", ("pkg-config",)),
)
"""What a recipe says → the programs of this host that it then runs, beside gcc."""

_REQUIRES = re.compile(rb"requires|requirements")
"""What every recipe says that requires another: `requires`, `tool_requires`, `def build_requirements`, …"""

_OF_CPP = ("compiler.cppstd", "compiler.libcxx")

MAX_EPOCH = 1 << 33
"""Latest time of a manifest that is believed, in seconds: the year 2242. tar has no room for more."""


FindRequirements = Callable[[Target, Sequence[RemoteFile], Mapping[str, str]], Sequence[Requirement]]
"""Finds out what a package requires, from the files of its recipe and the settings of its profile."""


def infer(package: PackageURL, repositories: Repositories, find_requirements: FindRequirements) -> Inference:
    """Infer how `package` (a package revision's archive) was built. `find_requirements` is called for one
    that may require others.

    Raises DefinitionError when that cannot be told or is not supported, HostLack when the upstream cannot be
    read or the package is for another machine.
    """
    revision = package_revision_of(package)
    if package.qualifier("file") != PACKAGE:
        raise DefinitionError(f"a package is rebuilt whole: write {revision.purl(PACKAGE)}")
    repository = repositories.of_identity(revision.identity, "conan")
    published = read_package(repository, revision)
    info = parse_conaninfo(published[CONANINFO].data)
    _check_supported(info)
    recipe = read_recipe(repository, revision.recipe)
    settings = complete_settings(info, default_gcc)
    major = int(settings["compiler.version"].partition(".")[0])
    programs = _programs(info, recipe)
    conan = default_conan()
    epoch = _time_of(published[MANIFEST].data)
    target = Target(revision, info, published[CONANINFO].data, epoch)
    requirements: Sequence[Requirement] = ()
    # Asking takes a while, and a sandbox.
    if info.requires or _may_require(recipe):
        requirements = find_requirements(target, recipe, settings)
    upstream = repository.upstream.name
    sources = [
        one.name for one in repositories.upstreams if one.ecosystem == "conan" and one.name != upstream
    ]
    definition = make_definition(
        {
            "version": 1,
            "name": _name(revision),
            "package": str(package),
            "source": {
                "kind": "source-release",
                "files": [format_pin(file) for file in pin_files(recipe)],
            },
            "tools": {
                "conan": {"version": conan.version, "lock": conan.lock},
                "gcc": major,
                **({"programs": list(programs)} if programs else {}),
            },
            "profile": {"settings": settings, "options": dict(info.options)},
            "environment": {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC", EPOCH: str(epoch)},
            "umask": "022",
            **({"upstreams": sources} if sources else {}),
            **({"requirements": pins} if (pins := _format_pins(requirements)) else {}),
            "outputs": [
                {"path": path, "package": str(revision.purl(name))} for name, path in OUTPUTS.items()
            ],
        }
    )
    notes = (
        f"recipe: {len(recipe)} files of revision {revision.rrev}",
        f"gcc {major} ({'conaninfo.txt' if 'compiler.version' in info.settings else 'of this host'})"
        + (f", {', '.join(programs)} (by settings and {CONANFILE})" if programs else ""),
        f"what it downloads: from {', '.join(sources) or 'nowhere; give a source upstream with --upstream'}",
        *(f"requires {one}" + ("" if one.package else " (only its recipe)") for one in requirements),
    )
    reasons = {
        "source.files": notes[0],
        "tools.conan": "pinned by touchplate",
        "tools.gcc": notes[1],
        "tools.programs": f"what {CONANFILE} and the settings speak of",
        "profile.settings": f"{CONANINFO} as published; the usual value for what the recipe takes away",
        "profile.options": f"{CONANINFO} as published",
        "environment": f"{EPOCH}: the first line of {MANIFEST} as published",
        "umask": "touchplate's own; nothing published says it",
        "upstreams": notes[2],
        "outputs": "always these two",
    }
    if requirements:
        reasons["requirements"] = f"what Conan says that the recipe requires, as of {EPOCH}; as published"
    return Inference(definition, tuple(published[name] for name in OUTPUTS), notes, reasons)


def _check_supported(info: PackageInfo) -> None:
    if info.others:
        raise DefinitionError(f"its conaninfo.txt has [{info.others[0]}], which cannot be rebuilt yet")


def _may_require(recipe: Sequence[RemoteFile]) -> bool:
    """Whether the recipe speaks of requirements, or has code in other files, which may."""
    if _REQUIRES.search(_conanfile(recipe)):
        return True
    exported = (name for file in recipe if file.path == EXPORTED for name in digest_members(file.data))
    return any(name.endswith(".py") for name in exported)


def _format_pins(requirements: Sequence[Requirement]) -> list[JSONValue]:
    pins = (file for one in requirements for file in one.files)
    return [format_pin(file) for file in sorted(pins, key=lambda file: file.uri)]


def _conanfile(recipe: Sequence[RemoteFile]) -> bytes:
    return next(file.data for file in recipe if file.path == CONANFILE)


def _programs(info: PackageInfo, recipe: Sequence[RemoteFile]) -> tuple[str, ...]:
    conanfile = _conanfile(recipe)
    # Recipes of C packages take these settings away.
    found = ["g++"] if any(name in info.settings for name in _OF_CPP) else []
    found += [program for pattern, programs in TOOLS if re.search(pattern, conanfile) for program in programs]
    return tuple(dict.fromkeys(found))


def _time_of(manifest: bytes) -> int:
    """When the package was built, as its manifest says; it is believed for nothing but this."""
    line = manifest.partition(b"\n")[0]
    if not line.isdigit() or len(line) > 10 or int(line) > MAX_EPOCH:
        raise DefinitionError(f"{MANIFEST} does not begin with the time of the build")
    return int(line)


def _name(revision: Revision) -> str:
    """Name of the definition."""
    owner = (
        f"-{revision.user}" + (f"-{revision.channel}" if revision.channel else "") if revision.user else ""
    )
    # Conan's names may begin with an underscore, definitions' may not.
    return f"{revision.name}-{revision.version}{owner}".lstrip("_+.-")[:128] or "package"
