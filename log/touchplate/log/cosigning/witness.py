"""One witness, asked over HTTP (C2SP tlog-witness): the size it knows, the proof from there, its lines.

What it answers is believed only as far as a signature of its keys goes. It is asked by one thread at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from touchplate.base.addresses import AddressRules
from touchplate.base.errors import FetchError
from touchplate.base.http import HTTPClient, HTTPLimits, Response
from touchplate.log.cosigning.config import Asked
from touchplate.log.errors import LogError
from touchplate.log.witness.requests import format_add_checkpoint
from touchplate.verify.checkpoints import MAX_CLOCK_SKEW
from touchplate.verify.encoding import format_moment, parse_decimal
from touchplate.verify.errors import MalformedError, VerifyError, shown
from touchplate.verify.notes import OpenNote, keep_lines, open_note, unverified_text

MAX_ANSWER_BYTES = 256 * 1024
"""Bytes of an answer: 64 lines of post-quantum signatures."""

MAX_TURNS = 3
"""Questions about one head: from the size that we remember, from the one it names, and once more."""

SIZE_TYPE = "text/x.tlog.size"

Prove = Callable[[int, int], Sequence[bytes]]
"""The consistency proof between two sizes of our tree."""


@dataclass(frozen=True)
class SignedHead:
    """A head of ours that witnesses are asked about. `note` has the log's line and no other."""

    size: int
    root: bytes
    note: bytes


class NotCosignedError(LogError):
    """A witness did not cosign a head; later it may."""

    default_reason = "not-cosigned"


class ContradictedError(NotCosignedError):
    """A witness has seen more of our log, or another one: somebody signs with our key, or our data is old."""

    default_reason = "contradicted"

    def __init__(self, message: str, *, size: int | None = None) -> None:
        """`size`: of ours that it has cosigned, if that is what contradicts."""
        super().__init__(message)
        self.size = size


class Transport(Protocol):
    """How a request reaches a witness."""

    def post(self, body: bytes) -> Response:
        """The answer to POST add-checkpoint, of any status. Raises FetchError."""

    def close(self) -> None:
        """Let go of connections."""


class HTTPTransport:
    """Over HTTP. The witness's address stands in our own policy, so any address goes; redirects do not."""

    def __init__(self, url: str, seconds: float) -> None:
        self._url = f"{url}/add-checkpoint"
        self._client = HTTPClient(
            AddressRules.naming(url),
            HTTPLimits(connect=seconds, read=seconds, total=seconds, redirects=0),
        )

    def post(self, body: bytes) -> Response:
        """See `Transport.post`."""
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        return self._client.post(self._url, body, headers=headers, max_bytes=MAX_ANSWER_BYTES)

    def close(self) -> None:
        """See `Transport.close`."""
        self._client.close()


class AskedWitness:
    """A witness, and what we know of its memory of us."""

    def __init__(self, asked: Asked, transport: Transport, *, now: Callable[[], float] = time.time) -> None:
        """`now` gives unix seconds."""
        self.asked = asked
        self.size = 0
        """Of the newest head of ours that it is known to have cosigned."""
        self._transport = transport
        self._now = now
        self._names = {witness.key: witness.name for witness in asked.witnesses}

    @property
    def names(self) -> tuple[str, ...]:
        """Its names in the policy, one per key."""
        return tuple(self._names.values())

    def ask(self, head: SignedHead, prove: Prove) -> Mapping[str, str]:
        """Its lines under `head`, verified, by its names in the policy.

        Raises NotCosignedError, ContradictedError, and what `prove` raises.
        """
        for _ in range(MAX_TURNS):
            # Ours may be smaller than what it named once: it then has to say so again.
            old = min(self.size, head.size)
            body = format_add_checkpoint(old, prove(old, head.size), head.note)
            try:
                answer = self._transport.post(body)
            except FetchError as error:
                raise NotCosignedError(str(error)) from error
            if answer.status == 200:
                lines = self._verified(head, answer.body)
                self.size = head.size
                return lines
            self._take_size(head, old, answer)
        raise NotCosignedError(f"it named {MAX_TURNS} sizes, one after the other")

    def close(self) -> None:
        """Let go of connections."""
        self._transport.close()

    def _take_size(self, head: SignedHead, old: int, answer: Response) -> None:
        """Learn from an answer that is no cosignature from where to prove, or raise."""
        if answer.status == 422:
            raise ContradictedError(
                f"it refuses the proof from size {old} to {head.size} (422): it has cosigned another head of"
                f" {old} entries, or reads proofs otherwise"
            )
        kind = answer.headers.get("content-type", "").partition(";")[0].strip()
        if answer.status != 409 or kind != SIZE_TYPE:
            raise NotCosignedError(f"it answers with status {answer.status}: {shown(answer.body[:200])}")
        try:
            size = parse_decimal(answer.body.decode("ascii").removesuffix("\n"), "the size it names")
        except (UnicodeDecodeError, MalformedError):
            raise NotCosignedError(f"the size it names is none: {shown(answer.body[:200])}") from None
        if size == old:
            raise NotCosignedError(f"it knows size {size}, and refuses a proof from there as if it did not")
        if size > head.size:
            raise ContradictedError(
                f"it has cosigned a head of {size} entries, and this log has {head.size}: somebody else signs"
                " with this log's key, or this log's data is an older copy",
                size=size,
            )
        self.size = size

    def _verified(self, head: SignedHead, answer: bytes) -> dict[str, str]:
        # tlog-witness: lines of unknown keys are ignored. One bad line of a known key spoils the answer.
        wanted = {(key.name, key.key_id) for key in self._names}
        try:
            own = open_note(keep_lines(head.note + answer, wanted), list(self._names))
            # An answer with an empty line in it would make another text of the note, and sign that one.
            if own.text != unverified_text(head.note):
                raise MalformedError("it is of another text")
            self._check_times(own)
            found = [each.key for each in own.signatures]
            notes = [keep_lines(head.note + answer, {(key.name, key.key_id)}) for key in found]
        except VerifyError as error:
            raise NotCosignedError(f"its cosignature is no good: {error}") from error
        lines = [note.decode().rpartition("\n\n")[2] for note in notes]
        return {self._names[key]: line for key, line in zip(found, lines, strict=True)}

    def _check_times(self, opened: OpenNote) -> None:
        """Readers who demand an age would not count a line from another day, nor one without a time (0x06
        only): that is a subtree's, and claims nothing about our newest head (tlog-cosignature)."""
        now = self._now()
        for each in opened.signatures:
            if each.timestamp is None or abs(each.timestamp - now) > MAX_CLOCK_SKEW:
                raise MalformedError(
                    f"it is of {format_moment(each.timestamp or 0)}, and here it is"
                    f" {format_moment(int(now))}: one of the two clocks is wrong"
                )
