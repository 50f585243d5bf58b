"""A witness at work: for each log one head, which only moves forward along a proof, and is then cosigned.

The order of steps is what the cosignature means. Within the lock of its log: compare with the head on disk,
check the proof, sign, put the new head on disk, and only then let the signature out. A crash anywhere leaves
a witness that remembers at least what it has said. Two heads of one size never both pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from logging import getLogger
from threading import Lock

from touchplate.log.errors import (
    BusyError,
    InconsistentError,
    NotFoundError,
    OtherSizeError,
    RequestError,
    UntrustedError,
)
from touchplate.log.witness.config import WitnessedLog
from touchplate.log.witness.memory import Cosigned, Memory
from touchplate.log.witness.requests import AddCheckpoint, WitnessedHead, parse_add_checkpoint
from touchplate.verify.errors import MalformedError, SignatureError, VerifyError, shown
from touchplate.verify.notes import NoteKey, NoteSigner, VerifiedSignature, keep_lines, open_note, sign_note
from touchplate.verify.proofs import is_prefix
from touchplate.verify.rfc6962 import EMPTY_ROOT

logger = getLogger(__name__)


class _Log:
    """One log: its keys, and the lock under which its head moves."""

    def __init__(self, keys: Sequence[NoteKey]) -> None:
        self.keys = tuple(keys)
        self.lock = Lock()
        self.time: int | None = None  # of the last cosignature, once it is known; under lock


class Witness:
    """Cosigns the heads of the logs that it knows. Safe from any thread."""

    def __init__(
        self,
        signers: Sequence[NoteSigner],
        logs: Sequence[WitnessedLog],
        memory: Memory,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`now` gives unix seconds."""
        self._signers = tuple(signers)
        self._memory = memory
        self._now = now
        self._logs = {log.named: _Log(log.parsed) for log in logs}
        self._by_digest = {sha256(origin.encode()).hexdigest(): origin for origin in self._logs}

    @property
    def keys(self) -> tuple[NoteKey, ...]:
        """The public keys whose cosignatures it gives."""
        return tuple(signer.key for signer in self._signers)

    def add_checkpoint(self, body: bytes) -> bytes:
        """The answer to a request: the cosignature lines, whose head is then on disk (tlog-witness).

        Raises RequestError `malformed` (400), NotFoundError `unknown-origin` (404), UntrustedError (403),
        OtherSizeError (409), InconsistentError (422), StorageFailedError and BusyError `clock` (503).
        """
        request = parse_add_checkpoint(body)
        log = self._logs.get(request.head.origin)
        if log is None:
            raise NotFoundError(
                f"this witness does not follow a log of the origin {shown(request.head.origin)}",
                reason="unknown-origin",
            )
        text, log_lines = _open(request.note, log.keys)
        if request.old_size > request.head.size:
            raise RequestError(
                f"the old size {request.old_size} is larger than the checkpoint's, {request.head.size}",
                reason="malformed",
            )
        with log.lock:
            return self._advance(log, request, text, log_lines)

    def checkpoint(self, digest: str) -> bytes:
        """The newest cosigned note of the log whose origin has this SHA-256 (hex). Raises NotFoundError."""
        origin = self._by_digest.get(digest)
        found = None if origin is None else self._memory.read(origin)
        if found is None:
            raise NotFoundError("this witness has cosigned nothing of such a log")
        return found.note

    def close(self) -> None:
        """Let go of the storage."""
        self._memory.close()

    def _advance(self, log: _Log, request: AddCheckpoint, text: str, log_lines: bytes) -> bytes:
        """Compare, prove, sign, store; under the log's lock, so that times are in the order of sizes."""
        head = request.head
        old = self._memory.read(head.origin)
        size = 0 if old is None else old.size
        if request.old_size != size:
            raise OtherSizeError(f"the newest head that was cosigned has size {size}", size)
        _check_growth(old, head, request.proof)
        time = self._next_time(log, old)
        body = sign_note(text, self._signers, time)
        lines = body[len(text.encode()) + 1 :]
        # The same head again needs no new row: it is known to be on disk.
        if old is None or head.size > old.size:
            new = Cosigned(head.size, head.root, log_lines + lines)
            if not self._memory.advance(head.origin, old, new):
                # Another process on the same database, which `FileLock` should have kept out.
                raise OtherSizeError("another head was cosigned meanwhile", self._size(head.origin))
        log.time = time
        return lines

    def _next_time(self, log: _Log, old: Cosigned | None) -> int:
        """The time of a cosignature: unix seconds, never before that of the last one for this log.

        A time says when a head was the newest. After a clock that went back, an older head would bear a later
        time than a newer one. Raises BusyError (`clock`): the clock will catch up, or be set right.
        """
        if log.time is None and old is not None:
            known = [signer.key for signer in self._signers]
            times = [each.timestamp or 0 for each in _signatures(old.note, known)]
            log.time = max(times, default=0)
        now = int(self._now())
        if log.time is not None and now < log.time:
            raise BusyError(
                f"the clock of this witness says {now}, and it has cosigned this log at {log.time}: it signs"
                " nothing with an earlier time; set the clock right",
                reason="clock",
            )
        return now

    def _size(self, origin: str) -> int:
        found = self._memory.read(origin)
        return 0 if found is None else found.size


def _open(note: bytes, keys: Sequence[NoteKey]) -> tuple[str, bytes]:
    """The text of a note that a log of ours signed, and the note without strangers' lines."""
    try:
        opened = open_note(note, keys)
    except MalformedError as error:
        raise RequestError(str(error), reason="malformed") from error
    except SignatureError as error:
        raise UntrustedError(str(error)) from error
    known = {(each.key.name, each.key.key_id) for each in opened.signatures}
    return opened.text, keep_lines(note, known)


def _signatures(note: bytes, keys: Sequence[NoteKey]) -> Sequence[VerifiedSignature]:
    """Of these keys in a stored note; none when its keys have been changed since."""
    try:
        return open_note(note, keys).signatures
    except VerifyError:
        return ()


def _check_growth(old: Cosigned | None, head: WitnessedHead, proof: Sequence[bytes]) -> None:
    """That `head` goes on from `old`. Raises InconsistentError (tlog-witness: 422)."""
    size, root = (0, EMPTY_ROOT) if old is None else (old.size, old.root)
    if size == 0:
        # Nothing proves the empty tree's place in another one, and nothing but its own root is its root.
        good = not proof and (head.size > 0 or head.root == EMPTY_ROOT)
    else:
        good = is_prefix(head, size, root, proof)
    if good:
        return
    if head.size == size and head.root != root:
        logger.warning(
            "FORK: the log %s signed two heads of size %d, roots %s and %s",
            shown(head.origin),
            size,
            root.hex(),
            head.root.hex(),
        )
    raise InconsistentError(
        f"the proof does not lead from the head of size {size}, root {root.hex()}, to the one of size"
        f" {head.size}, root {head.root.hex()}"
    )
