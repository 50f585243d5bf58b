"""The ecosystem port: everything that a rebuild asks of Maven, Conan or images, and nothing more.

`rebuild` and the command line know this port only; `ecosystems/registry.py` finds the ecosystem of a package
by the type of its URL. An ecosystem knows the others' sandboxes and signatures as little as they know its
tools: what passes between them is a BuildPlan in, files by digest out (`plan.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from touchplate.builder.errors import DefinitionError

if TYPE_CHECKING:
    from pathlib import Path

    from touchplate.builder.backend import Backend
    from touchplate.builder.comparison.compare import Comparison
    from touchplate.builder.definitions.definition import Definition, SourceFile
    from touchplate.builder.definitions.schema import Reader
    from touchplate.builder.inputs.repository import RemoteFile
    from touchplate.builder.plan import BuildPlan, CollectedFile
    from touchplate.builder.workshop import Workshop
    from touchplate.verify.jcs import JSONValue
    from touchplate.verify.predicates.provenance import Dependency
    from touchplate.verify.purl import PackageURL


@dataclass(frozen=True)
class DefinitionForm:
    """How definitions of one ecosystem differ from the common form (`definitions/definition.py`)."""

    required: tuple[str, ...]
    """Top-level fields that it must have beside the common ones; `command` where people write it."""
    optional: tuple[str, ...]
    """Top-level fields that it may have beside the common ones."""
    source_kinds: tuple[str, ...]
    """Kinds of source that it may name."""
    upstreams: tuple[str, ...]
    """Names of the upstreams that Fetch can reach when it names none; empty for a build without Fetch."""
    unused: tuple[str, ...] = ()
    """Common fields that have no meaning for it, and are refused."""


@dataclass(frozen=True)
class Inference:
    """A definition that was found, the published file of each of its outputs, and what a person may ask."""

    definition: Definition
    published: tuple[RemoteFile, ...]
    notes: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why a value of the definition is what it is, by its path in the document (`source.kind`)."""


class Toolchain(Protocol):
    """The tools of one definition, as found on this host or fetched."""

    @property
    def described(self) -> tuple[Dependency, ...]:
        """One dependency of kind `tool` for each, as the provenance names them."""
        ...

    def make_plan(self, tree: Path, published: Sequence[RemoteFile]) -> BuildPlan:
        """The plan of both phases over the prepared source tree.

        `published`: the files that the outputs are compared with, in their order. Raises DefinitionError when
        definition and tools do not fit, HostLack for an unknown upstream.
        """
        ...


class Ecosystem(Protocol):
    """One ecosystem. Without state: whatever a rebuild needs of this host is in the Workshop."""

    @property
    def name(self) -> str:
        """Type of its package URLs, and part of its build type."""
        ...

    @property
    def form(self) -> DefinitionForm:
        """What a definition says beside the common fields."""
        ...

    @property
    def stabilizers(self) -> tuple[str, ...]:
        """What comparing may apply at most to find files `equivalent`, by name (`stabilize/registry.py`)."""
        ...

    def read_source_uri(self, reader: Reader, path: str) -> str:
        """The URI of a source file at `path`: `upstream:…`, or a package URL where files have such.

        Mistakes go to the reader.
        """
        ...

    def read_details(self, reader: Reader) -> object:
        """What the fields of `form` say, as a frozen value of the ecosystem's own: `Definition.details`.

        Mistakes go to the reader.
        """
        ...

    def check_definition(self, reader: Reader, definition: Definition) -> None:
        """Note whatever a definition of this ecosystem may not say, or must say in addition."""
        ...

    def can_infer(self, package: PackageURL) -> bool:
        """Whether `infer` may succeed for a package of this name. False: it needs a definition by hand."""
        ...

    def format_details(self, definition: Definition) -> dict[str, JSONValue]:
        """The fields that `read_details` read, with every default: reading them again gives the same."""
        ...

    def make_template(self, package: PackageURL) -> str:
        """A commented definition of `package` for a person to complete: what cannot be known says `FILL-IN`,
        which no field takes. Raises DefinitionError for what nobody builds."""
        ...

    def infer(self, workshop: Workshop, package: PackageURL, hints: Mapping[str, str]) -> Inference:
        """Find out how `package` was built. `hints`: what a person says about it, by name (`jdk`).

        Raises DefinitionError when that cannot be told (or never can be, here), HostLack.
        """
        ...

    def fetch_published(self, workshop: Workshop, package: PackageURL, sha256: str | None) -> RemoteFile:
        """The published file that `package` names, with this digest when one is given.

        Raises DefinitionError when the upstream has none, or another; HostLack when it cannot be read.
        """
        ...

    def fetch_source(self, workshop: Workshop, file: SourceFile) -> RemoteFile:
        """One source file of a definition, by its digest. Raises DefinitionError, HostLack."""
        ...

    def find_tools(self, workshop: Workshop, definition: Definition) -> Toolchain:
        """The tools that `definition` names. Raises DefinitionError, HostLack."""
        ...

    def prepare_tree(self, definition: Definition, sources: Sequence[RemoteFile], folder: Path) -> None:
        """Make the source tree in the empty `folder`.

        Raises ArchiveError for an archive that may not be unpacked, DefinitionError for files that do not fit
        the kind of source.
        """
        ...

    def open_backend(self, workshop: Workshop, demanded: str) -> Backend:
        """What holds both phases: `backend.open_sandboxed`, unless builds need another isolation.

        `demanded`: the backend that the definition names, or empty. Raises HostLack when this host cannot
        give it, or when builds of this ecosystem cannot run under it.
        """
        ...

    def compare(
        self,
        workshop: Workshop,
        definition: Definition,
        package: PackageURL,
        published: RemoteFile,
        rebuilt: CollectedFile,
    ) -> Comparison:
        """Set the output of `definition` that is to be `package` beside its published file.

        `compare.compare` with those of `stabilizers` that the definition lets it try, unless an output is
        more than one file. Raises HostLack when something that is needed cannot be read.
        """
        ...

    def compare_builds(
        self, workshop: Workshop, package: PackageURL, first: CollectedFile, other: CollectedFile
    ) -> Comparison:
        """Set what two builds gave for one output beside each other, to say where they differ."""
        ...

    def explain_failure(self, definition: Definition, log: bytes) -> str | None:
        """What the output of a failed command says, on one line; None when it says nothing that is known.

        Raises HostLack where it says that `definition` is wrong about its inputs, and nothing of the package.
        """
        ...


def refuse_hints(hints: Mapping[str, str], known: Sequence[str] = ()) -> None:
    """Raise DefinitionError for a hint that the ecosystem has no use for."""
    unknown = sorted(set(hints) - set(known))
    if unknown:
        raise DefinitionError(f"nothing is inferred from {unknown[0]} here; leave it out")
