"""From a rebuild to the log: statements signed, stored, evidence sent ahead, envelopes sent.

Evidence goes first: an entry whose digests nobody can fetch helps nobody. Envelopes are on disk before the
first byte is sent (see `outbox`).
"""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata

from touchplate.base.environment import read_environment
from touchplate.base.http import make_tls_context
from touchplate.builder.attestation.attest import (
    BuildFacts,
    Compared,
    Operator,
    Signed,
    comparison_payload,
    need_backend,
    provenance_payload,
)
from touchplate.builder.attestation.evidence import EvidenceServer
from touchplate.builder.attestation.outbox import Parcel
from touchplate.builder.errors import KEY_REFUSED, HostLack
from touchplate.builder.inputs.lock import format_lock
from touchplate.builder.rebuild import Built, Rebuild
from touchplate.builder.workshop import Workshop
from touchplate.verify.dsse import sign_envelope
from touchplate.verify.encoding import format_time
from touchplate.verify.errors import VerifyError
from touchplate.verify.jcs import format_json
from touchplate.verify.keys import StatementSigner
from touchplate.verify.sources import AnswerError, LogSource, add_envelope, open_source

BUILD_TYPE = "https://touchplate.dev/buildtypes/{ecosystem}/v1"

NO_STATEMENT = b"{}"
"""A payload that says nothing."""

_REFUSED_KEYS = ("unknown-key", "wrong-index")
"""What logs say of a key that they do not know, or that does not count (any more) for what comes next
(`log/admission`): keys are retired by the end of their range."""

_PASSING = (408, 429)  # of the 400s: a slow way, too many at once

_FROZEN = "frozen"  # until its operator lets it take entries again, or somebody gives its successor's address


@dataclass(frozen=True)
class Submission:
    """Signed statements of one rebuild, and where they went."""

    parcel: Parcel
    identities: tuple[str, ...]
    indexes: tuple[int, ...] = ()


def sign_rebuild(workshop: Workshop, rebuild: Rebuild, operator: Operator, log: str = "") -> Submission:
    """Sign what a rebuild found, and store it in the outbox for `log`.

    Raises HostLack when the sandbox gave less isolation than a signature claims, AttestError.
    """
    signed, evidence = make_statements(workshop, rebuild, operator)
    envelopes = [each.envelope for each in signed]
    parcel = workshop.outbox.put(str(rebuild.definition.package), envelopes, evidence, log)
    return Submission(parcel, tuple(each.identity for each in signed))


def make_statements(
    workshop: Workshop, rebuild: Rebuild, operator: Operator
) -> tuple[list[Signed], list[str]]:
    """Sign what a rebuild found: the statements, and sha256 of the evidence that they name (kept).

    Raises HostLack when the sandbox gave less isolation than a signature claims, AttestError.
    """
    backend = need_backend(rebuild.backend, rebuild.missing)
    definition = rebuild.definition
    evidence = {definition.sha256: definition.data}
    if definition.root:
        evidence |= workshop.roots.evidence_of(definition.root)
    if rebuild.built is None:
        signed = _sign_failure(rebuild, operator)
    else:
        evidence |= _evidence_of(rebuild.built)
        if rebuild.repeatability is not None:  # named by no statement, which has no place for it
            report = rebuild.repeatability.format()
            evidence[_sha256(report)] = report
        signed = _sign_built(rebuild, rebuild.built, operator, backend)
    for data in evidence.values():
        workshop.keep_evidence(data)
    return signed, sorted(evidence)


def send_waiting(workshop: Workshop, log: str, server: EvidenceServer | None) -> dict[str, tuple[int, ...]]:
    """Send every parcel that waits for `log`, oldest first; parcel name → indexes.

    Raises EvidenceError or TransportError; what was not sent stays and is sent next time, byte for byte. What
    the log refuses for good is set aside, so that it does not hold up the rest, and raised at the end.
    """
    sent = {}
    refused: AnswerError | None = None
    for parcel in workshop.outbox.waiting():
        if parcel.log not in ("", log):
            continue
        try:
            sent[parcel.name] = _send(workshop, parcel, log, server)
        except AnswerError as error:
            if not is_refused_for_good(error):
                raise
            workshop.outbox.mark_refused(parcel, f"{error.reason}: {error}")
            refused = error
    if refused is not None:
        raise refused
    return sent


def _send(workshop: Workshop, parcel: Parcel, log: str, server: EvidenceServer | None) -> tuple[int, ...]:
    if server is not None:
        for sha256 in parcel.evidence:
            server.upload(workshop.evidence, sha256)
    indexes = add_envelopes(log, parcel.envelopes)
    workshop.outbox.mark_done(parcel, indexes)
    return indexes


def add_envelopes(log: str, envelopes: Sequence[bytes]) -> tuple[int, ...]:
    """Put envelopes into the log, in order; their indexes. Raises TransportError, AnswerError."""
    source = _open(log)
    return tuple(add_envelope(source, envelope) for envelope in envelopes)


def _open(log: str) -> LogSource:
    """The log; over https by the same authorities as queue, evidence and upstreams. Raises ConfigError."""
    tls = make_tls_context(read_environment()) if log.startswith("https:") else None
    return open_source(log, tls)


def check_admitted(log: str, signer: StatementSigner) -> None:
    """Ask the log whether it takes what the key signs, before anything is built that it would not take.

    It is sent a signed payload that is no statement: no log takes that, and one that does not take the key
    says so first. Raises HostLack then, and then only: a log that is away, or something else in its place,
    may be right again when there is something to send.
    """
    try:
        add_envelope(_open(log), sign_envelope(NO_STATEMENT, signer), signer.key.spki_sha256)
    except VerifyError as error:
        if is_refused_key(error):
            raise HostLack(
                f"the log {log} does not take this key: {error}; "
                "have it put on the admission list, or use another",
                reason=KEY_REFUSED,
            ) from error


def is_refused_key(error: VerifyError) -> bool:
    """Whether the log said that it does not take what this key signs, whatever that is."""
    return isinstance(error, AnswerError) and error.reason in _REFUSED_KEYS and is_refused_for_good(error)


def is_refused_for_good(error: AnswerError) -> bool:
    """Whether the log will never take what it answered so.

    Only the log itself can say that, and gives its reason: a 401, 403, 405 or 413 without one is of a proxy
    on the way, or of an address where no log is, and what is signed waits until somebody has set that right.
    So it does for a log that is frozen: for its end, or for the address of its successor.
    """
    said = error.reason not in (AnswerError.default_reason, _FROZEN)
    return said and 400 <= error.status < 500 and error.status not in _PASSING


def _evidence_of(built: Built) -> dict[str, bytes]:
    files = [format_lock(built.lock), built.result.log, format_json(built.result.report)]
    for verdict in built.verdicts:
        files += filter(None, (verdict.comparison.report, verdict.comparison.detailed))
    return {_sha256(data): data for data in files}


def _sign_built(rebuild: Rebuild, built: Built, operator: Operator, backend: str) -> list[Signed]:
    definition = rebuild.definition
    facts = BuildFacts(
        build_type=BUILD_TYPE.format(ecosystem=definition.package.ecosystem),
        definition=definition,
        sources=rebuild.sources,
        lock=built.lock.sha256,
        tools=rebuild.tools,
        outputs=built.result.outputs,
        log=_sha256(built.result.log),
        report=_sha256(format_json(built.result.report)),
        metadata={
            "invocationId": f"urn:uuid:{uuid.uuid4()}",
            "startedOn": format_time(rebuild.started),
            "finishedOn": format_time(rebuild.finished),
        },
    )
    provenance = operator.sign(provenance_payload(facts, operator.name, backend, touchplate_version()))
    signed = [provenance]
    for number, verdict in enumerate(built.verdicts):
        report = _sha256(verdict.comparison.report) if verdict.comparison.report else ""
        compared = Compared(verdict.comparison, verdict.rebuilt, provenance.identity, report)
        signed.append(operator.sign(comparison_payload(definition, number, verdict.published, compared)))
    return signed


def _sign_failure(rebuild: Rebuild, operator: Operator) -> list[Signed]:
    assert rebuild.failure is not None
    return [
        operator.sign(comparison_payload(rebuild.definition, number, published, rebuild.failure))
        for number, published in enumerate(rebuild.published)
    ]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def touchplate_version() -> str:
    """The installed version; `0` from a source tree that is not installed."""
    try:
        return metadata.version("touchplate")
    except metadata.PackageNotFoundError:
        return "0"
