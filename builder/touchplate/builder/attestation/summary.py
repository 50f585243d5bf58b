"""Verification summaries (SLSA VSA v1): a verifier's signed word about the end-to-end check of one file.

The check is `verify`'s, steps 1 to 7, by one trust file; nothing is looked at in another way. A summary says
how it ended, under which policy, and which entries counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from touchplate.builder.attestation.foreign import MAX_PAYLOAD_BYTES, check_foreign
from touchplate.builder.errors import AttestError
from touchplate.verify.check import (
    FileDigests,
    LevelsMissingError,
    Proved,
    Report,
    judge_proved,
)
from touchplate.verify.dsse import sign_envelope
from touchplate.verify.entry import Entry
from touchplate.verify.errors import RefusedError, VerifyError
from touchplate.verify.keys import ED25519_PREFIX, StatementSigner
from touchplate.verify.levels import SLSA_REPRODUCED, Levels
from touchplate.verify.predicates.summary import (
    FAILED_LEVEL,
    SUMMARY_TYPE,
    Described,
    Policy,
    Summary,
    format_summary,
    parse_summary,
)
from touchplate.verify.purl import PackageURL
from touchplate.verify.statements import make_statement, make_subject, parse_statement
from touchplate.verify.summary import OWN_LEVELS
from touchplate.verify.trust import TrustFile, load_trust

SLSA_VERSIONS = ("1.2", "1.0")
"""Versions of SLSA in whose words levels can be said, the usual one first. Properties came with 1.2."""

BUILD_LEVEL_1 = "SLSA_BUILD_LEVEL_1"
BUILD_UNEVALUATED = "SLSA_BUILD_LEVEL_UNEVALUATED"

_SUBJECT_DIGESTS = ("sha256", "sha512")


@dataclass(frozen=True)
class Outcome:
    """How the check of one file ended. `refused`: why a needed level is missing, None when none is.

    `counted`: the entries that passed steps 3 to 5, with their indexes: all that the verdict follows from.
    """

    report: Report
    refused: RefusedError | None
    counted: tuple[tuple[int, Entry], ...]


@dataclass(frozen=True)
class Verifier:
    """Who signs a summary: its id (`https://…`, as operators are named), key, and versions by component."""

    id: str
    signer: StatementSigner
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wording:
    """How a summary is put. `policy`: of `load_policy`; `now`: unix seconds; `log`: URL of the log, or ""."""

    policy: Policy
    now: int
    log: str = ""
    slsa_version: str = SLSA_VERSIONS[0]


def load_policy(path: Path, uri: str) -> tuple[TrustFile, Policy]:
    """A trust file, and what a summary says of it under the name `uri`. Raises OSError, TrustError.

    The digest is that of the file's bytes; files that it names have theirs beside it, else it would leave
    open whose keys they are.
    """
    seen: dict[str, str] = {}
    trust = load_trust(path, lambda name, data: seen.__setitem__(name, sha256(data).hexdigest()))
    return trust, Policy(uri, seen.pop(""), seen)


def judge_file(
    proved: Proved, file: FileDigests, package: PackageURL, trust: TrustFile, need: tuple[str, ...]
) -> Outcome:
    """Steps 4 to 7 over what the first steps left; step 7's refusal is an outcome like another."""
    refused: LevelsMissingError | None = None
    try:
        report = judge_proved(proved, file, package, trust, need)
    except LevelsMissingError as error:
        report, refused = error.report, error
    lost = {warning.index for warning in report.warnings}
    counted = tuple((index, entry) for index, entry in proved.entries if index not in lost)
    return Outcome(report, refused, counted)


def summary_levels(levels: Levels, slsa_version: str) -> tuple[str, ...]:
    """What may be said of a file that passed: at most one level of the build track, then properties.

    Build level 1 (there is provenance of these very bytes, and it was checked) when a rebuild counts. Never
    more: whether an operator's platform is hosted, and who can reach its keys, stands in no entry and in no
    trust file. `SLSA_BUILD_REPRODUCED` by `Levels.slsa_reproduced`: two operators, these very bytes.
    """
    exact = any(one.how == "identical" for one in levels.operators)
    said = [BUILD_LEVEL_1 if exact else BUILD_UNEVALUATED]
    if levels.slsa_reproduced and slsa_version != "1.0":
        said.append(SLSA_REPRODUCED)
    return (*said, *(OWN_LEVELS[level] for level in levels.reached))


def make_summary(outcome: Outcome, verifier: Verifier, wording: Wording) -> Summary:
    """The summary of an outcome, unsigned."""
    report = outcome.report
    origin = report.checkpoint.origin
    passed = outcome.refused is None
    return Summary(
        verifier=verifier.id,
        resource=str(report.package),
        policy=wording.policy,
        result="PASSED" if passed else "FAILED",
        levels=summary_levels(report.levels, wording.slsa_version) if passed else (FAILED_LEVEL,),
        time=wording.now,
        inputs=tuple(
            Described(
                sha256(entry.envelope).hexdigest(),
                f"{wording.log}/entry/{index}" if wording.log else None,
                f"{origin}/entry/{index}",
            )
            for index, entry in outcome.counted
        ),
        versions=verifier.versions,
        slsa_version=wording.slsa_version,
    )


def sign_summary(summary: Summary, file: FileDigests, package: PackageURL, signer: StatementSigner) -> bytes:
    """The envelope over `summary`, after our own reader and in-toto's bindings have read it.

    Raises AttestError.
    """
    digests = {name: file.digests[name] for name in _SUBJECT_DIGESTS if name in file.digests}
    try:
        payload = make_statement([make_subject(package, digests)], SUMMARY_TYPE, format_summary(summary))
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise AttestError(
                f"summary of {len(payload)} bytes is longer than {MAX_PAYLOAD_BYTES}: it names "
                f"{len(summary.policy.files)} files of the trust file and {len(summary.inputs)} entries; "
                "write keys into the trust file itself, in place of their files' names"
            )
        if parse_summary(parse_statement(payload).predicate) != summary:
            raise AttestError("the summary does not read back as it was written")
        check_foreign(payload)
        return sign_envelope(payload, signer)
    except VerifyError as error:
        raise AttestError(f"the summary cannot be signed: {error}") from error


def check_verifier(verifier: Verifier, trust: TrustFile, ecosystem: str) -> None:
    """That the key has no other role in the trust file, nor another verifier's name or other ecosystems.

    A key that is not listed may sign: readers list it. Raises AttestError.
    """
    for block in trust.find(verifier.signer.key.spki):
        if block.kind != "verifier":
            raise AttestError(f"the key is a {block.kind}'s in the trust file; make one for each role")
        if block.operator != verifier.id:
            raise AttestError(f"the trust file lists the key for the verifier {block.operator}")
        if ecosystem not in block.ecosystems:
            listed = ", ".join(block.ecosystems)
            raise AttestError(
                f"the trust file lists the key for {listed}, and this package is of {ecosystem}"
            )
    if verifier.signer.key.spki in {ED25519_PREFIX + key.public for key in trust.policy.keys}:
        raise AttestError("the key is one of the log's policy, too; make one for each role")
