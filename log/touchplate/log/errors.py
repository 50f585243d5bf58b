"""The errors of the log, and how its faces answer them.

    LogError
    ├── RequestError          what was asked makes no sense here, or is too large
    │   └── NotFoundError     an index, tile or size that this tree does not have
    ├── StateError            the tree is not in a state for this
    │   └── ExistsError       what should be made is there
    ├── UnauthenticatedError  the caller did not show a token that is known here
    ├── ClosedError           the tree takes nothing (more): frozen, draining, or not for this interface
    ├── WitnessError          a witness does not cosign this head (tlog-witness)
    │   ├── UntrustedError    no good signature of a log key that it knows
    │   ├── OtherSizeError    it knows another size; `size` says which
    │   └── InconsistentError   the head does not go on from what it cosigned before
    ├── AdmissionError        the entry may not be written: unknown key, wrong kind, bad statement
    ├── FrozenError           the log takes no new entries any more
    ├── BusyError             not now: the same request may succeed later; `retry_after` seconds
    │   ├── OverloadedError   too much outstanding work
    │   ├── StorageFailedError  the database failed; nothing half-written was kept
    │   │   ├── AbortedError      it chose this transaction to end a deadlock
    │   │   └── SupersededError   another process writes this tree now
    │   └── StoppedError      the log is shutting down
    └── FatalError            the log must not run like this
        ├── CorruptTreeError  the storage contradicts itself: run `touchplate log fsck`
        └── CheckpointError   signing would contradict what was signed before

Texts are lower case, quote the value, name the remedy. `reason` is stable; it is what clients get.
"""

from touchplate.base.errors import TouchplateError
from touchplate.base.status import (
    ABORTED,
    ALREADY_EXISTS,
    BAD_REQUEST,
    CONFLICT,
    FORBIDDEN,
    NOT_FOUND,
    OVERLOADED,
    PRECONDITION,
    REQUEST_TIMEOUT,
    TOO_LARGE,
    UNAUTHENTICATED,
    UNAVAILABLE,
    UNPROCESSABLE,
    StatusTable,
)

RETRY_SECONDS = 1
"""What Retry-After tells a client that was turned away: a full queue of 8,192 entries drains in about a
second."""


class LogError(TouchplateError):
    """Root of what the log raises on purpose."""

    default_reason = "log"


class RequestError(LogError):
    """The request cannot be answered as it is; asking again will not help."""

    default_reason = "bad-request"


class NotFoundError(RequestError):
    """This tree has no such index, tile or size (yet)."""

    default_reason = "not-found"


class StateError(LogError):
    """The tree is not in a state for this; another call has to come first."""

    default_reason = "wrong-state"


class ExistsError(StateError):
    """What should be made is there already."""

    default_reason = "exists"


class ClosedError(LogError):
    """The tree takes no entries, or none by this way."""

    default_reason = "closed"


class WitnessError(LogError):
    """A witness does not cosign a head (C2SP tlog-witness)."""

    default_reason = "not-cosigned"


class UntrustedError(WitnessError):
    """No line of the head is a good signature of a key that the witness knows for this origin."""

    default_reason = "untrusted-signature"


class OtherSizeError(WitnessError):
    """The witness's newest head of this log has another size than the request says. `size`: which."""

    default_reason = "other-size"

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.size = size


class InconsistentError(WitnessError):
    """The proof does not lead from the head that the witness cosigned last to the new one."""

    default_reason = "inconsistent"


class UnauthenticatedError(LogError):
    """The caller did not show a token that is known here."""

    default_reason = "unauthenticated"


class AdmissionError(LogError):
    """The entry may not be written to this log. `reason` says which rule refused it."""

    default_reason = "not-admitted"


class FrozenError(LogError):
    """The log takes no new entries, by its operator's decision. What is in it is still answered as a
    duplicate."""

    default_reason = "frozen"


class BusyError(LogError):
    """Not now. Nothing is known to have been kept; submitting the same entry again is always safe."""

    default_reason = "busy"
    retry_after = RETRY_SECONDS


class OverloadedError(BusyError):
    """More entries are waiting than the log promises to hold; none of the submission was taken."""

    default_reason = "overloaded"


class StorageFailedError(BusyError):
    """The storage did not keep a batch, or does not say whether it did."""

    default_reason = "storage-failed"


class AbortedError(StorageFailedError):
    """The database ended a transaction so that others could go on: nothing of it was kept."""


class SupersededError(StorageFailedError):
    """Another process moved the tree's head, or was elected: nothing of the batch was kept."""


class StoppedError(BusyError):
    """The log is shutting down, or was never started."""

    default_reason = "stopped"


class FatalError(LogError):
    """The log must not run, or not go on, like this: an operator has to look."""

    default_reason = "fatal"


class CorruptTreeError(FatalError):
    """What is stored contradicts itself: lost rows, changed bytes, or a second writer."""

    default_reason = "corrupt-tree"


class CheckpointError(FatalError):
    """The checkpoint asked for would go back, fork, or speak for another origin or key."""

    default_reason = "checkpoint"


STATUS = StatusTable().extended(
    {
        RequestError: BAD_REQUEST,
        NotFoundError: NOT_FOUND,
        StateError: PRECONDITION,
        ExistsError: ALREADY_EXISTS,
        ClosedError: FORBIDDEN,
        UnauthenticatedError: UNAUTHENTICATED,
        AdmissionError: BAD_REQUEST,
        FrozenError: FORBIDDEN,
        UntrustedError: FORBIDDEN,
        OtherSizeError: CONFLICT,
        InconsistentError: UNPROCESSABLE,
        "too-large": TOO_LARGE,
        # Of the way here, not of what was sent: the same may be sent again.
        "too-slow": REQUEST_TIMEOUT,
        # The key, not the bytes, is what these refuse.
        "unknown-key": FORBIDDEN,
        "wrong-kind": FORBIDDEN,
        "wrong-ecosystem": FORBIDDEN,
        "wrong-builder": FORBIDDEN,
        "wrong-index": FORBIDDEN,
        OverloadedError: OVERLOADED,
        AbortedError: ABORTED,
        BusyError: UNAVAILABLE,
    }
)
"""One status per error, for HTTP and gRPC; what stands in no row is the log's own fault (500)."""
