"""Checks a verification summary (VSA v1), offline: the seven steps of its specification, numbered as there.

    0  the trust file parses, and holds no mistake                          trust.parse_trust
    1  the envelope's signature is by a key listed as a verifier's          check_summary
    2  a subject is this file                                               check_summary
    3  the predicate type is a verification summary's                       check_summary
    4  the verifier is the one that the key is listed for                   check_summary
    5  the resource is the package asked for                                check_summary
    6  the result is PASSED                                                 check_summary
    7  the levels hold what is needed; and, when asked, its policy is the one that is known to the reader, and
       it is young enough                                                   check_summary

It comes down to the verifier's word: no entry, no proof and no quorum is looked at. `check` does that.
"""

from collections.abc import Mapping
from types import MappingProxyType

from touchplate.verify.dsse import PAYLOAD_TYPE, Envelope, pae, parse_envelope
from touchplate.verify.encoding import format_time
from touchplate.verify.errors import RefusedError, SignatureError, shown
from touchplate.verify.files import FileDigests
from touchplate.verify.predicates.summary import SUMMARY_TYPE, Summary, parse_summary
from touchplate.verify.purl import PackageURL
from touchplate.verify.statements import Statement, parse_statement
from touchplate.verify.steps import at_step
from touchplate.verify.trust import TrustedKey, TrustFile
from touchplate.verify.values import value

REPRODUCED_LEVEL = "TOUCHPLATE_REPRODUCED"
RECORDED_LEVEL = "TOUCHPLATE_RECORDED"
OWN_LEVELS: Mapping[str, str] = MappingProxyType({"recorded": RECORDED_LEVEL, "reproduced": REPRODUCED_LEVEL})
"""The levels of `levels.LEVELS` as a summary says them: `SLSA_` names are SLSA's to give."""

DEFAULT_LEVELS = (REPRODUCED_LEVEL,)
"""What a summary must say when nobody asks for other levels: as `check.DEFAULT_NEED`."""

MAX_AHEAD_SECONDS = 300
"""Seconds by which a verifier's clock may be ahead: as for cosignatures (trust file format 7)."""


@value
class SummaryQuestion:
    """What a summary is held against. `levels`: all of them are needed; `max_age`: seconds, None for any;
    `policy`: the uri of the policy by which it was made, None for any."""

    file: FileDigests
    package: PackageURL
    levels: tuple[str, ...]
    now: int
    max_age: int | None = None
    policy: str | None = None


@value
class CheckedSummary:
    """A summary that passed, and the block whose key signed it."""

    summary: Summary
    signer: TrustedKey


def check_summary(envelope: bytes, question: SummaryQuestion, trust: TrustFile) -> CheckedSummary:
    """Steps 1 to 7; step 0 made `trust`. Raises RefusedError with the first step that says no."""
    with at_step(1):
        parsed = parse_envelope(envelope)
        signer = _find_signer(parsed, trust)
        statement = parse_statement(parsed.payload)
    _check_subject(statement, question)
    if statement.predicate_type != SUMMARY_TYPE:
        raise RefusedError(
            3, "wrong-predicate", f"it is {shown(statement.predicate_type)}, no verification summary"
        )
    with at_step(4):
        summary = parse_summary(statement.predicate)
    _check_said(summary, signer, question)
    return CheckedSummary(summary, signer)


def _find_signer(envelope: Envelope, trust: TrustFile) -> TrustedKey:
    """The block whose key made the signature, by trying: an envelope names no key."""
    message = pae(PAYLOAD_TYPE, envelope.payload)
    verifiers = [block for block in trust.keys if block.kind == "verifier"]
    if not verifiers:
        raise RefusedError(1, "no-verifier", "the trust file lists no [[verifier]]")
    errors = []
    for block in verifiers:
        try:
            block.key.verify(envelope.signature, message)
        except SignatureError as error:
            errors.append(error)
            continue
        return block
    if all(error.reason != SignatureError.default_reason for error in errors):
        raise errors[0]  # it has the form of no key: another remedy than another key
    raise RefusedError(
        1, "unknown-key", f"none of the {len(verifiers)} verifiers' keys of the trust file made its signature"
    )


def _check_subject(statement: Statement, question: SummaryQuestion) -> None:
    """Step 2, and the purl that our subjects carry beside the digest."""
    same = [one for one in statement.subjects if one.sha256 == question.file.sha256]
    if not same:
        raise RefusedError(2, "wrong-artifact", f"it speaks of other bytes, not of {question.file.sha256}")
    for subject in same:
        if differing := question.file.differing(subject.digests):
            raise RefusedError(2, "wrong-digest", f"its sha256 is right, its {', '.join(differing)} is not")
    if all(one.uri != question.package for one in same):
        raise RefusedError(
            2, "wrong-package", f"it speaks of these bytes as {same[0].uri}, not as {question.package}"
        )


def _check_said(summary: Summary, signer: TrustedKey, question: SummaryQuestion) -> None:
    """Steps 4 to 7."""
    if summary.verifier != signer.operator:
        raise RefusedError(
            4, "wrong-verifier", f"its verifier {shown(summary.verifier)} is not the one listed for its key"
        )
    if question.package.ecosystem not in signer.ecosystems:
        raise RefusedError(4, "wrong-ecosystem", f"its key is not listed for {question.package.ecosystem}")
    if summary.resource != str(question.package):
        raise RefusedError(
            5, "wrong-resource", f"it is about {shown(summary.resource)}, not {question.package}"
        )
    if summary.result != "PASSED":
        raise RefusedError(6, "failed", f"{summary.verifier} found that the policy is not met")
    if question.policy is not None and summary.policy.uri != question.policy:
        raise RefusedError(
            7, "wrong-policy", f"it was made by {shown(summary.policy.uri)}, not by {shown(question.policy)}"
        )
    missing = [level for level in question.levels if not summary.has(level)]
    if missing:
        said = ", ".join(summary.levels)
        raise RefusedError(7, "level-missing", f"it does not say {' and '.join(missing)}, but {said}")
    _check_time(summary, question)


def _check_time(summary: Summary, question: SummaryQuestion) -> None:
    """Part of step 7: a summary is for ever, keys and evidence are not."""
    if question.max_age is None:
        return
    if summary.time is None:
        raise RefusedError(7, "no-time", "it does not say when it was made, and an age is asked for")
    age = question.now - summary.time
    if age < -MAX_AHEAD_SECONDS:
        raise RefusedError(
            7, "from-future", f"it was made at {format_time(summary.time)}, {-age} seconds from now"
        )
    if age > question.max_age:
        raise RefusedError(7, "stale", f"it is {age} seconds old, and {question.max_age} are allowed")
