"""The builder's errors.

    BuilderError
    ├── DefinitionError     a definition, input lock or plan that does not parse or contradicts itself
    ├── ArchiveError        an archive that does not parse, breaks a limit or holds what is refused
    ├── ContainerfileError  a Containerfile that is not built here
    ├── ImageError          a manifest, config or layer that does not parse or is not what it claims
    ├── StabilizeError      bytes that a stabilizer does not apply to, or cannot follow exactly
    ├── RefusedInputError   a file may not be an input: it is or holds the answer
    │   └── TooMuchError    … or cannot be looked through for it
    ├── PhaseFailed         the package could not be built: becomes a `not-built` comparison
    ├── HostLack            this host lacks something: nothing may be logged, exit code 2
    ├── AttestError         a statement that may not be signed
    ├── OutboxError         a stored parcel that cannot be read
    ├── EvidenceError       evidence could not be sent, found, or is not what its digest says
    └── RepeatError         a log entry is not of a rebuild that can be repeated

The difference between PhaseFailed and HostLack decides what the log says about a package for ever: a build
that fails here because *this machine* has no JDK 21, no disk left or no upstream says nothing about the
package.
"""

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from touchplate.base.errors import (
    NotStoredError,
    StorageError,
    TooLargeError,
    TouchplateError,
    WrongDigestError,
)

FailedPhase = Literal["definition", "fetch", "build", "collect"]
FailureReason = Literal[
    "timeout", "exit-status", "missing-output", "refused-input", "refused-output", "too-large"
]

DISK_FULL = "disk-full"
"""Reason of a HostLack when a disk has no room, no inodes, or the quota is used up."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_OF_HOST = (
    *_FULL,
    errno.EIO,
    errno.EROFS,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.EACCES,
    errno.EPERM,
)
_ABOUT_BYTES = (WrongDigestError, TooLargeError, NotStoredError)  # the disk has done what it was asked for

DETAIL_CHARS = 2000
"""Longest `detail` of a failure, in characters: it is signed into a statement, not a place for a log."""


UNKNOWN_FIELD = "unknown-field"
"""Reason of a DefinitionError: all its mistakes are fields that a later version may know."""


class BuilderError(TouchplateError):
    """Base of all builder errors. `reason` is a stable kebab-case word; `str()` is the message."""

    default_reason = "builder-error"


@dataclass(frozen=True, order=True)
class Mistake:
    """One mistake in a definition's text. `line` and `column` count from 1, `column` in characters.

    `path`: where in the document, as `source.files.0.uri`; empty when the text is no document yet.
    """

    line: int
    column: int
    path: str
    text: str

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"line {self.line}: {where}{self.text}"


class DefinitionError(BuilderError):
    """A definition, input lock or build plan is malformed or contradicts itself.

    `mistakes`: those of a definition's text, by place; empty when the error is about something else.
    """

    default_reason = "bad-definition"

    def __init__(self, message: str, *, reason: str | None = None, mistakes: Iterable[Mistake] = ()) -> None:
        super().__init__(message, reason=reason)
        self.mistakes = tuple(mistakes)

    @classmethod
    def listing(cls, mistakes: Iterable[Mistake], *, reason: str | None = None) -> "DefinitionError":
        """All of `mistakes` as one error. One broken part is often seen twice; each text is said once."""
        found = sorted(set(mistakes))
        return cls("; ".join(dict.fromkeys(map(str, found))), reason=reason, mistakes=found)


class PhaseFailed(BuilderError):  # noqa: N818  the word of the comparison format, and not every one is an error
    """The package was not built: `phase`, `reason` and `detail` as in comparison v1 (`failure`).

    `log` holds the command's output up to the failure (evidence; empty before a command ran).
    """

    def __init__(self, phase: FailedPhase, reason: FailureReason, detail: str, *, log: bytes = b"") -> None:
        assert phase in get_args(FailedPhase), phase
        assert reason in get_args(FailureReason), reason
        detail = detail if len(detail) <= DETAIL_CHARS else detail[: DETAIL_CHARS - 1] + "…"
        super().__init__(f"{phase} failed ({reason}): {detail}", reason=reason)
        self.phase: FailedPhase = phase
        self.failure: FailureReason = reason
        self.detail = detail
        self.log = log


NOT_PINNED = "not-pinned"
"""Reason of a HostLack: the build needs what its definition does not pin, so no host has it."""

UPSTREAM_FAILED = "upstream-failed"
"""Reason of a HostLack: an upstream did not give, or no longer gives, what it should have."""


KEY_UNUSABLE = "key-unusable"
"""Reason of a HostLack: the key that is to sign cannot be read any more."""

KEY_REFUSED = "key-refused"
"""Reason of a HostLack: the log that results are for does not know the key that signs them."""


class HostLack(BuilderError):  # noqa: N818  see PhaseFailed
    """This host cannot do the build (no JDK, no sandbox, no disk, upstream down): nothing is logged.

    `log` holds the command's output when there was a command.
    """

    default_reason = "host-lack"

    def __init__(self, message: str, *, reason: str | None = None, log: bytes = b"") -> None:
        super().__init__(message, reason=reason)
        self.log = log


def storage_lack(what: str, folder: Path, error: OSError | StorageError) -> HostLack:
    """What it means that the disk of `folder` refused something: a lack of this host, with the remedy.

    `what` goes before it in the sentence, as `cannot keep an output`.
    """
    cause = error if isinstance(error, OSError) else error.__cause__
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if isinstance(cause, OSError) and cause.errno in _FULL:
        remedy = f"make room below {folder}, or use another folder"
        return HostLack(f"{what}: {said}; {remedy}", reason=DISK_FULL)
    place = cause.filename if isinstance(cause, OSError) and cause.filename else folder
    return HostLack(f"{what}: {said} ({place})", reason=StorageError.default_reason)


def is_of_host(error: OSError) -> bool:
    """Whether an error met while a stranger's archive is unpacked is this host's; if not, a name is bad."""
    return error.errno in _OF_HOST


@contextmanager
def needing_disk(what: str, folder: Path) -> Iterator[None]:
    """Make a HostLack (`storage_lack`) of what the disk refuses in this block. What is wrong with the bytes
    themselves, as another digest, comes through."""
    try:
        yield
    except _ABOUT_BYTES:
        raise
    except (OSError, StorageError) as error:
        raise storage_lack(what, folder, error) from error


class ArchiveError(BuilderError):
    """An archive that does not parse, breaks a limit, or holds a name or a link that is refused."""

    default_reason = "bad-archive"


class ContainerfileError(BuilderError):
    """A Containerfile that does not parse, or asks for what is not supported or not pinned."""

    default_reason = "bad-containerfile"


class ImageError(BuilderError):
    """An image's manifest, config or layer does not parse, breaks a limit or is not what it claims to be."""

    default_reason = "bad-image"


class StabilizeError(BuilderError):
    """Bytes that a stabilizer does not apply to, cannot follow exactly, or that are too many."""

    default_reason = "not-stabilized"


class RefusedInputError(BuilderError):
    """A file may not be an input; the text continues a sentence that starts with the file's name."""

    default_reason = "refused-input"


class TooMuchError(RefusedInputError):
    """A file cannot be looked through for the answer within the limits."""


class AttestError(BuilderError):
    """A statement that may not be signed: it does not parse, or claims more than was seen."""

    default_reason = "not-attested"


class OutboxError(BuilderError):
    """A stored parcel that cannot be read."""

    default_reason = "outbox"


class EvidenceError(BuilderError):
    """Evidence could not be sent, found, or is not what its digest says."""

    default_reason = "evidence"


class RepeatError(BuilderError):
    """The entry is not of a rebuild that can be repeated."""

    default_reason = "not-repeatable"
