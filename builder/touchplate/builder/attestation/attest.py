"""What a rebuilder signs: the provenance of a build and the comparison of each output (statement format 4).

Statements are plain JSON in canonical form, signed as those bytes. Before signing they are read back twice:
by our own reader and by in-toto's official bindings, so that nobody signs what others cannot read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from touchplate.builder.attestation.foreign import MAX_PAYLOAD_BYTES, check_foreign
from touchplate.builder.comparison.compare import Comparison
from touchplate.builder.definitions.definition import Definition
from touchplate.builder.errors import AttestError, HostLack
from touchplate.builder.inputs.repository import RemoteFile
from touchplate.builder.plan import CollectedFile
from touchplate.verify.dsse import sign_envelope
from touchplate.verify.entry import make_entry
from touchplate.verify.keys import StatementSigner
from touchplate.verify.names import format_builder
from touchplate.verify.predicates.comparison import Comparison as ComparisonPredicate
from touchplate.verify.predicates.comparison import Differences, Failure, File, format_comparison
from touchplate.verify.predicates.provenance import (
    PROVENANCE_TYPE,
    Dependency,
    Provenance,
    format_provenance,
)
from touchplate.verify.statements import COMPARISON_TYPE, make_statement, make_subject


@dataclass(frozen=True)
class Operator:
    """Who signs: the operator's name (`https://…`) and the rebuilder key."""

    name: str
    signer: StatementSigner

    def sign(self, payload: bytes) -> "Signed":
        """The envelope over `payload`, after in-toto's own bindings have read it. Raises AttestError."""
        check_foreign(payload)
        envelope = sign_envelope(payload, self.signer)
        return Signed(envelope, make_entry(envelope, self.signer.key.spki).identity.hex())


@dataclass(frozen=True)
class Signed:
    """One signed envelope and the identity of the entry that it becomes."""

    envelope: bytes
    identity: str


@dataclass(frozen=True)
class BuildFacts:
    """Everything about one build that its provenance says. Digests are sha256 in lower-case hex."""

    build_type: str
    definition: Definition
    sources: tuple[RemoteFile, ...]
    lock: str
    tools: tuple[Dependency, ...]
    outputs: Mapping[str, CollectedFile]
    log: str
    report: str
    metadata: Mapping[str, str]
    """startedOn, finishedOn, invocationId."""


def need_backend(backend: str | None, missing: Sequence[str]) -> str:
    """The backend to sign under. Raises HostLack when the probe saw less than a signature claims."""
    if backend is None:
        raise HostLack(
            f"results of this host are not signed: the sandbox lacks {', '.join(missing)}",
            reason="not-isolated",
        )
    return backend


def provenance_payload(facts: BuildFacts, operator: str, backend: str, version: str) -> bytes:
    """The payload of SLSA provenance v1 over all outputs. Raises AttestError."""
    definition = facts.definition
    subjects = [
        make_subject(output.package, _digests(facts.outputs[output.path])) for output in definition.outputs
    ]
    kind = definition.source.kind
    provenance = Provenance(
        build_type=facts.build_type,
        package=definition.package,
        definition=definition.name,
        dependencies=(
            *(Dependency(kind, file.digests, file.uri) for file in facts.sources),
            Dependency("definition", {"sha256": definition.sha256}, name="definition"),
            Dependency("input-lock", {"sha256": facts.lock}, name="input-lock"),
            *facts.tools,
        ),
        builder=format_builder(operator, backend),
        byproducts={"build-log": facts.log, "sandbox-report": facts.report},
        metadata=facts.metadata,
        builder_version={"touchplate": version},
    )
    return _payload(make_statement(subjects, PROVENANCE_TYPE, format_provenance(provenance)))


def comparison_payload(
    definition: Definition, number: int, published: RemoteFile, outcome: "Compared | Failure"
) -> bytes:
    """The payload of comparison v1 over output `number` of the definition. Raises AttestError."""
    package = definition.outputs[number].package
    file = File(published.digests, len(published.data), published.uri)
    if isinstance(outcome, Failure):
        predicate = ComparisonPredicate("not-built", package, file, definition.sha256, failure=outcome)
    else:
        predicate = ComparisonPredicate(
            result=outcome.comparison.result,
            package=package,
            published=file,
            definition=definition.sha256,
            rebuilt=File(_digests(outcome.rebuilt), outcome.rebuilt.size),
            provenance=outcome.provenance,
            stabilizers=outcome.comparison.stabilizers,
            stabilized=outcome.comparison.stabilized or None,
            differences=outcome.differences,
        )
    return _payload(
        make_statement(
            [make_subject(package, published.digests)], COMPARISON_TYPE, format_comparison(predicate)
        )
    )


@dataclass(frozen=True)
class Compared:
    """One rebuilt file, what comparing it found, and the provenance entry that is about it."""

    comparison: Comparison
    rebuilt: CollectedFile
    provenance: str
    report: str
    """sha256 of the difference report; empty unless different."""

    @property
    def differences(self) -> Differences | None:
        """As the statement has them: only when different."""
        found = self.comparison
        if found.result != "different":
            return None
        report = File({"sha256": self.report}, len(found.report))
        return Differences(found.count, found.causes, found.summary, report)


def _payload(payload: bytes) -> bytes:
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise AttestError(f"statement of {len(payload)} bytes is longer than {MAX_PAYLOAD_BYTES}")
    return payload


def _digests(file: CollectedFile) -> dict[str, str]:
    return {"sha256": file.sha256, "sha512": file.sha512}
