"""Repeating a logged rebuild: its definition and lock from the evidence, only Build, the same digest or not.

Nothing about the logged entry is believed beyond what it is used for: definition and lock are checked by the
digests in it, the inputs by the digests in the lock, and the result says whether the same build gives the
same bytes here.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from touchplate.builder.attestation.evidence import EvidenceServer
from touchplate.builder.definitions.definition import Definition, parse_definition
from touchplate.builder.errors import DefinitionError, RepeatError
from touchplate.builder.inputs.lock import InputLock, parse_lock
from touchplate.builder.inputs.repository import RemoteFile
from touchplate.builder.rebuild import Rebuild, rebuild
from touchplate.builder.roots.lock import RootLock, parse_root_lock
from touchplate.builder.workshop import Workshop
from touchplate.verify.client import LogClient
from touchplate.verify.entry import Entry, verify_entry
from touchplate.verify.predicates.comparison import Failure
from touchplate.verify.purl import PackageURL
from touchplate.verify.statements import Comparison, Provenance, parse_predicate, parse_statement

_NEAR = 512  # entries on each side of a comparison among which its provenance is looked for first


@dataclass(frozen=True)
class Logged:
    """A rebuild as the log has it."""

    index: int
    definition: Definition
    lock: InputLock | None
    rebuilt: dict[str, str]
    """sha256 by package URL of each output; empty when it was not built."""
    published: dict[str, str]
    """sha256 of the published file by package URL, where a comparison is known."""
    result: str
    root: RootLock | None = None
    """Of the definition's build root; None for the host's tools."""
    failure: Failure | None = None
    """Of one that was not built."""


@dataclass(frozen=True)
class Repeat:
    """A logged rebuild and its repetition here."""

    logged: Logged
    here: Rebuild

    @property
    def is_same(self) -> bool:
        """Whether the repetition gave what the log says: the same bytes, or the same phase and reason."""
        if self.here.built is None:
            was, found = self.logged.failure, self.here.failure
            # The detail is words for people, with times and places in them.
            return (
                was is not None
                and found is not None
                and (was.phase, was.reason) == (found.phase, found.reason)
            )
        outputs = self.logged.definition.outputs
        made = {
            str(output.package): verdict.rebuilt.sha256
            for output, verdict in zip(outputs, self.here.built.verdicts, strict=True)
        }
        return bool(self.logged.rebuilt) and self.logged.rebuilt.items() <= made.items()


def read_logged(client: LogClient, index: int, server: EvidenceServer) -> Logged:
    """The rebuild that the entry at `index` (a provenance or a comparison) speaks of.

    Raises RepeatError, EvidenceError, DefinitionError, and what reading the log raises.
    """
    entry = client.entry(index)
    predicate = _predicate(entry)
    if isinstance(predicate, Provenance):
        statement = parse_statement(entry.payload)
        rebuilt = {str(subject.uri): subject.sha256 for subject in statement.subjects}
        definition = parse_definition(server.fetch(predicate.one("definition").digests["sha256"]))
        locked, root = _lock(predicate, server), fetch_root_lock(definition, server)
        return _checked(Logged(index, definition, locked, rebuilt, {}, "built", root))
    if not isinstance(predicate, Comparison):
        raise RepeatError(f"the entry at index {index} is neither a provenance nor a comparison")
    package = str(predicate.package)
    definition = parse_definition(server.fetch(predicate.definition))
    lock = None
    if predicate.provenance is not None:
        lock = _lock(_find_provenance(client, index, predicate), server)
    rebuilt = {package: predicate.rebuilt.sha256} if predicate.rebuilt else {}
    published = {package: predicate.published.sha256}
    root = fetch_root_lock(definition, server)
    failure = predicate.failure
    return _checked(Logged(index, definition, lock, rebuilt, published, predicate.result, root, failure))


def repeat(workshop: Workshop, logged: Logged) -> Repeat:
    """Run the logged rebuild again: Build only, from its lock; both phases when it has none (not built).

    Raises RepeatError when the published file is no longer the one that the log compared with.
    """
    if logged.root is not None:
        workshop.roots.learn(logged.root)
    published = tuple(_published(workshop, logged, output.package) for output in logged.definition.outputs)
    lock = logged.lock
    get_lock = None if lock is None else lambda plan, backend, display: lock
    return Repeat(logged, rebuild(workshop, logged.definition, published, get_lock=get_lock))


def _published(workshop: Workshop, logged: Logged, package: PackageURL) -> RemoteFile:
    expected = logged.published.get(str(package))
    try:
        return logged.definition.ecosystem.fetch_published(workshop, package, expected)
    except DefinitionError as error:
        raise RepeatError(f"{package} cannot be compared again: {error}") from error


def _predicate(entry: Entry) -> object:
    verify_entry(entry)
    return parse_predicate(parse_statement(entry.payload))


def fetch_root_lock(definition: Definition, server: EvidenceServer) -> RootLock | None:
    """The lock of the root that a definition names, from the evidence. Raises EvidenceError."""
    return parse_root_lock(server.fetch(definition.root)) if definition.root else None


def _lock(provenance: Provenance, server: EvidenceServer) -> InputLock:
    return parse_lock(server.fetch(provenance.one("input-lock").digests["sha256"]))


def _find_provenance(client: LogClient, index: int, comparison: Comparison) -> Provenance:
    """The provenance that a comparison names, which has to be about the same file and definition."""
    for entry in _search(client, index):
        if entry.identity.hex() == comparison.provenance:
            predicate = _predicate(entry)
            if isinstance(predicate, Provenance) and _is_about(entry, predicate, comparison):
                return predicate
            raise RepeatError(
                f"the entry at index {index} names a provenance of another file or definition than its own"
            )
    raise RepeatError(f"the provenance that the entry at index {index} names is not in the log")


def _is_about(entry: Entry, provenance: Provenance, comparison: Comparison) -> bool:
    made = {(subject.uri, subject.sha256) for subject in parse_statement(entry.payload).subjects}
    assert comparison.rebuilt is not None  # it stands where a provenance is named
    is_its_file = (comparison.package, comparison.rebuilt.sha256) in made
    return is_its_file and provenance.one("definition").digests["sha256"] == comparison.definition


def _search(client: LogClient, index: int) -> Iterator[Entry]:
    """Entries near `index` first, then all others: a rebuilder sends both statements together."""
    size = client.head.size
    low, high = max(0, index - _NEAR), min(size, index + _NEAR)
    for start, end in ((low, high), (0, low), (high, size)):
        for _, entry in client.entries(start, end):
            yield entry


def _checked(logged: Logged) -> Logged:
    """The definition speaks of the package that the entry is about."""
    outputs = {str(output.package) for output in logged.definition.outputs}
    named = logged.rebuilt.keys() | logged.published.keys()
    if not named <= outputs:
        raise RepeatError(f"the definition does not make {min(named - outputs)}, which the entry is about")
    return logged
