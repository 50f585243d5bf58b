"""A BuildPlan for a Conan definition: what is shown inside, what is run, and what may not be an input."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from touchplate.builder.definitions.definition import Definition
from touchplate.builder.ecosystems.conan.archive import digest_members
from touchplate.builder.ecosystems.conan.conaninfo import package_id_of
from touchplate.builder.ecosystems.conan.definition import EPOCH, OUTPUT, OUTPUTS, details_of
from touchplate.builder.ecosystems.conan.objects import digest_objects
from touchplate.builder.ecosystems.conan.profile import format_global_conf, format_profile
from touchplate.builder.ecosystems.conan.reference import (
    CONANINFO,
    PACKAGE,
    Revision,
    package_revision_of,
)
from touchplate.builder.ecosystems.conan.requirements import FetchedRequirement, required_lines
from touchplate.builder.ecosystems.conan.revisions import package_revision
from touchplate.builder.ecosystems.conan.tools import CONAN_INSIDE, Conan, Gcc, Program
from touchplate.builder.errors import ArchiveError, DefinitionError, PhaseFailed
from touchplate.builder.inputs.repository import MAX_FILE_BYTES, RemoteFile, Repositories
from touchplate.builder.plan import (
    BUILD_FOLDER,
    HOME_FOLDER,
    MIRROR_URL,
    REPOSITORY_FOLDER,
    Bind,
    BuildPlan,
    CollectedFile,
    Forbidden,
    Phase,
)
from touchplate.builder.roots.store import Root
from touchplate.builder.roots.use import describe_root, shown
from touchplate.builder.sandbox.probe import PYTHON
from touchplate.verify.jcs import JSONValue, format_json
from touchplate.verify.predicates.provenance import Dependency

INSIDE = "/touchplate"
"""Where our own files are shown: program, job, and the home of Conan as it starts."""

HOME_INSIDE = f"{INSIDE}/home"
CONAN_HOME = f"{HOME_FOLDER}/conan"
SOURCES = f"{HOME_FOLDER}/sources"
"""Where Conan keeps what a recipe downloads, `s/<sha256>` below it."""

HOOK = "extensions/hooks/hook_touchplate.py"

MACHINE_CODE = (
    *(b"\x7fELF", b"!<arch>\n", b"!<thin>\n", b"MZ", b"\xca\xfe\xba\xbe", b"\xca\xfe\xba\xbf"),
    *(b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xfe\xed\xfa\xcf", b"\xfe\xed\xfa\xce"),
    *(b"BC\xc0\xde", b"\xde\xc0\x17\x0b", b"\0asm"),
)
"""How files of machine code begin: ELF, `ar` archives, PE, Mach-O, LLVM bitcode, WebAssembly."""

EMPTY_LIBRARY = b"!<arch>\n"
"""A static library without members: the same one wherever a platform needs no such library."""

HOST_FACTS = (Path("/etc/alternatives"), Path("/etc/debian_version"))
"""Shown as they are on this host, where there are such, unless a build root has its own: Debian's links of
the usual names of compilers and tools (`cc`, `awk`) lead through the first; where the second is, CMake gives
libraries other modes."""

_HOST = {"root": "host"}


@dataclass(frozen=True)
class ConanTools:
    """The tools as found on this host."""

    conan: Conan
    python: Program
    gcc: Gcc
    programs: tuple[Program, ...]
    root: Root | None = None
    """The build root that is shown; None: the host's /usr."""


def describe_tools(tools: ConanTools) -> tuple[Dependency, ...]:
    """One dependency of kind `tool` for each; all but Conan come from the host, and are not pinned, or from
    the build root."""
    origin = _HOST if tools.root is None else {}
    conan = Dependency(
        "tool", {"sha256": tools.conan.digest}, None, "conan", {"version": tools.conan.version}
    )
    gcc = Dependency(
        "tool", {"sha256": tools.gcc.digest}, None, "gcc", {"version": tools.gcc.version, **origin}
    )
    others = (
        Dependency("tool", {"sha256": one.digest}, None, one.name, {"version": one.version, **origin})
        for one in (tools.python, *tools.programs)
    )
    return (conan, gcc, *others, *describe_root(tools.root))


def make_plan(
    definition: Definition,
    tree: Path,
    tools: ConanTools,
    repositories: Repositories,
    published: Sequence[RemoteFile],
    *,
    requirements: Sequence[FetchedRequirement] = (),
) -> BuildPlan:
    """The plan of both phases. `published`: the files that the outputs are compared with, in their order;
    `requirements`: those that the definition pins.

    Raises DefinitionError for a published archive that cannot be read, HostLack for an unknown upstream.
    """
    revision = package_revision_of(definition.package)
    details = details_of(definition)
    remote = repositories.of_identity(revision.identity, "conan").upstream
    compilers = {} if tools.gcc.is_default else {"c": tools.gcc.c, "cpp": tools.gcc.cpp}
    required = required_lines(revision, requirements, details.settings) if requirements else None
    profile = format_profile(revision.name, details.settings, details.options, compilers, required)

    def files(phase: Phase) -> Mapping[str, bytes]:
        return {
            **program_files("build_package.py"),
            f"{INSIDE}/job.json": format_json(_job(definition, revision, phase, requirements)),
            **home_files({"default": profile}),
            f"{HOME_INSIDE}/{HOOK}": _inside("hook_touchplate.py"),
        }

    return BuildPlan(
        source=tree,
        command=(PYTHON, "-S", "-P", f"{INSIDE}/build_package.py", f"{INSIDE}/job.json"),
        binds=shown_tools(tools.conan, tools.root),
        root=shown(tools.root),
        environment={**definition.environment, "CONAN_HOME": CONAN_HOME},
        umask=definition.umask,
        upstreams=tuple(repositories.named(name).upstream for name in definition.upstreams),
        files=files,
        outputs=tuple(output.path for output in definition.outputs),
        examine=partial(examine_outputs, revision),
        forbidden=_forbidden(definition, remote.name, published, requirements),
        # No larger than a published file may be: both are in memory when they are compared.
        limits=replace(definition.limits, output_bytes=MAX_FILE_BYTES),
        named_by_digest=True,
        pinned=tuple(file for one in requirements for file in one.inputs),
    )


def place_files(files: Sequence[RemoteFile], folder: Path) -> None:
    """Lay the files of a recipe revision into a folder as they are served."""
    for file in files:
        path = folder / file.path
        path.write_bytes(file.data)
        path.chmod(0o644)


def shown_tools(conan: Conan, root: Root | None) -> tuple[Bind, ...]:
    """What of the host is shown inside beside its tools, or in a root beside that."""
    facts = (Bind(path, str(path)) for path in HOST_FACTS if root is None and path.exists())
    return (Bind(conan.home, CONAN_INSIDE), *facts)


def program_files(name: str) -> dict[str, bytes]:
    """A program of ours as it is shown inside, with what it imports."""
    return {f"{INSIDE}/{one}": _inside(one) for one in (name, "place_in_cache.py")}


def home_files(profiles: Mapping[str, bytes]) -> dict[str, bytes]:
    """The home of Conan as it starts, with these profiles by name."""
    return {
        f"{HOME_INSIDE}/global.conf": format_global_conf(SOURCES),
        **{f"{HOME_INSIDE}/profiles/{name}": text for name, text in profiles.items()},
        f"{HOME_INSIDE}/remotes.json": b'{"remotes": []}\n',
    }


def examine_outputs(revision: Revision, outputs: Mapping[str, CollectedFile]) -> dict[str, str]:
    """The package revision that Conan would give to what was built.

    Raises PhaseFailed for a conaninfo.txt of another package id than the one that is asked for.
    """
    files = {name: outputs[path].path.read_bytes() for name, path in OUTPUTS.items()}
    if (made := package_id_of(files[CONANINFO])) != revision.package_id:
        detail = f"{CONANINFO} has the package id {made}, and {revision.package_id} is asked for"
        raise PhaseFailed("collect", "refused-output", detail)
    try:
        prev = package_revision(files)
    except ArchiveError as error:
        return {"revision": f"none: {error}"}
    return {"revision": f"{prev}, " + ("as published" if prev == revision.prev else f"not {revision.prev}")}


def conan_command(revision: Revision) -> tuple[str, ...]:
    """What is run: a client that has downloaded the recipe builds it, and asks no remote for anything."""
    return (
        "conan", "install", f"--requires={revision.reference}#{revision.rrev}",
        f"--build={revision.reference}", "--no-remote", "--profile:all=default",
    )  # fmt: skip


def _job(
    definition: Definition, revision: Revision, phase: Phase, requirements: Sequence[FetchedRequirement]
) -> dict[str, JSONValue]:
    return {
        "command": list(conan_command(revision)),
        "conan": CONAN_INSIDE,
        "epoch": int(definition.environment[EPOCH]),
        "home": HOME_INSIDE,
        "mirror": MIRROR_URL,
        "mirrors": list(definition.upstreams),
        "output": f"{BUILD_FOLDER}/{OUTPUT}",
        "package_id": revision.package_id,
        "phase": phase,
        "reference": revision.reference,
        "repository": REPOSITORY_FOLDER,
        "requirements": [one.job() for one in requirements],
        "rrev": revision.rrev,
        "sources": SOURCES,
    }


def _forbidden(
    definition: Definition,
    remote: str,
    published: Sequence[RemoteFile],
    requirements: Sequence[FetchedRequirement],
) -> Forbidden:
    """The published files; and since an archive is packed anew in any case, the machine code in it, too:
    whole files, and of source also the objects in its static libraries, which two libraries may have in
    common."""
    digests, paths = set(), set()
    objects: set[str] = set()
    for output, file in zip(definition.outputs, published, strict=True):
        name = output.package.file_name
        paths.add((remote, package_revision_of(output.package).path(name)))
        if file.data:  # a package for every machine has an empty conaninfo.txt, and sources hold empty files
            digests.add(file.sha256)
        if name == PACKAGE:
            try:
                members = digest_members(file.data).values()
                objects.update(digest_objects(file.data))
            except ArchiveError as error:
                raise DefinitionError(f"the published {name}: {error}") from error
            digests.update(member.sha256 for member in members if member.start.startswith(MACHINE_CODE))
            digests.discard(hashlib.sha256(EMPTY_LIBRARY).hexdigest())
    # A requirement that was built for the same settings may say so in the same words; nobody made those.
    digests -= {one.conaninfo for one in requirements}
    return Forbidden(frozenset(digests), frozenset(paths), frozenset(objects))


def _inside(name: str) -> bytes:
    return Path(__file__).with_name("inside").joinpath(name).read_bytes()
