"""Every way in which a check can fail. One family, so that a caller cannot miss one.

    VerifyError
    ├── MalformedError      bytes or text do not have the one form that is allowed
    ├── SignatureError      a signature is wrong, or in a form that is refused
    ├── ProofError          an inclusion or consistency proof does not hold
    ├── PolicyError         unknown log key, missing quorum, checkpoint too old
    ├── TrustError          a mistake in a trust file or an admission list
    ├── RefusedError        the numbered check said no, with its step
    ├── ReportedError       the log did what it may not; carries the evidence
    │   ├── ForkError       it shows two histories
    │   └── DamageError     it serves what it did not sign (a ProofError as well)
    └── TransportError      the log cannot be read
        └── NotFoundError   it can be read, and this is not in it

Messages are lower case, name the value and the remedy, and never hold a secret. `reason` is a stable
kebab-case word that programs may compare; the message may change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from touchplate.verify.checkpoints import Checkpoint
    from touchplate.verify.jcs import JSONValue

SHOWN_CHARACTERS = 160
"""How much of an untrusted value a message may repeat: enough to find it, too little to flood a log line."""


def shown(value: object) -> str:
    """The repr of `value`, cut to `SHOWN_CHARACTERS`: for messages about untrusted input."""
    if isinstance(value, str | bytes) and len(value) > SHOWN_CHARACTERS:
        # Cut before repr, which would copy a value of any length.
        return repr(value[:SHOWN_CHARACTERS]) + "…"
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer beyond the digits that Python converts; deep nesting
        text = f"{type(value).__name__} too long to show"
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


class VerifyError(Exception):
    """A check failed. `reason`: stable kebab-case word; `str(error)`: one lower-case line for people."""

    default_reason = "refused"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason or self.default_reason


class MalformedError(VerifyError):
    """Bytes or text do not have the one form that is allowed."""

    default_reason = "malformed"


class SignatureError(VerifyError):
    """A signature does not hold, or has a form that is refused."""

    default_reason = "bad-signature"


class ProofError(VerifyError):
    """An inclusion or consistency proof does not lead to the checkpoint's root."""

    default_reason = "bad-proof"


class ReportedError(VerifyError):
    """A log did what it may not, and a report can say so (report format 9).

    `evidence`: the report, ready to publish, or None; `kept`: the file that holds it; `not_kept`: why there
    is none. See `touchplate.verify.forks`.
    """

    evidence: Mapping[str, JSONValue] | None = None
    kept: str | None = None
    not_kept: str | None = None

    def __str__(self) -> str:
        text = super().__str__()
        if self.not_kept is not None:
            return f"{text}; the report could not be kept: {self.not_kept}"
        return text if self.kept is None else f"{text}; the report is in {self.kept}"


class DamageError(ProofError, ReportedError):
    """What a log serves does not belong to the `checkpoint` that it signed: broken on the way, or a lie."""

    default_reason = "damaged-tiles"

    def __init__(
        self, message: str, *, reason: str | None = None, checkpoint: Checkpoint | None = None
    ) -> None:
        super().__init__(message, reason=reason)
        self.checkpoint = checkpoint


class PolicyError(VerifyError):
    """A checkpoint does not satisfy the policy: log key, origin, quorum or age."""

    default_reason = "policy"


class TrustError(VerifyError):
    """A trust file or an admission list holds a mistake; nothing is decided with it."""

    default_reason = "trust-file"


class RefusedError(VerifyError):
    """The numbered check refused. `step`: 0 to 7, as in ARCHITECTURE (the end-to-end check)."""

    def __init__(self, step: int, reason: str, message: str) -> None:
        super().__init__(message, reason=reason)
        self.step = step


class ForkError(ReportedError):
    """The log showed two histories. `evidence`, ready to publish: both checkpoints and the failed proof."""

    default_reason = "fork"

    def __init__(self, message: str, evidence: Mapping[str, JSONValue]) -> None:
        super().__init__(message)
        self.evidence = dict(evidence)


class TransportError(VerifyError):
    """The log could not be read: no connection, an unexpected status, too many bytes."""

    default_reason = "unreachable"


class NotFoundError(TransportError):
    """The log answered, and what was asked for is not in it."""

    default_reason = "not-found"
