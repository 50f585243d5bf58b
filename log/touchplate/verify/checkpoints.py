"""Checkpoints: what a log says its tree is, and how such a claim becomes something to build on.

    <origin>
    <size, decimal>
    <base64 of the root hash>

as the text of a signed note (C2SP tlog-checkpoint), without extension lines (entry format 3). A `Checkpoint`
exists only when `open_checkpoint` has verified the note against a policy; sizes and roots of every check
come from such an object and from nowhere else. Pure: times come from the caller.
"""

from __future__ import annotations

from collections.abc import Sequence

from touchplate.verify.encoding import decode_base64, encode_base64, parse_decimal
from touchplate.verify.errors import MalformedError, PolicyError, SignatureError, shown
from touchplate.verify.notes import NoteKey, NoteSigner, OpenNote, is_origin, open_note, sign_note
from touchplate.verify.policy import Policy
from touchplate.verify.proofs import MAX_SIZE
from touchplate.verify.rfc6962 import EMPTY_ROOT, HASH_SIZE
from touchplate.verify.values import value

MAX_CLOCK_SKEW = 5 * 60
"""Seconds by which a cosigner's clock may be ahead; cosignatures further ahead do not count for the age."""

_SEAL = object()  # known to this module only: what is not opened here is no Checkpoint


@value
class UnverifiedCheckpoint:
    """The three lines of a checkpoint body, as somebody wrote them."""

    origin: str
    size: int
    root: bytes


@value
class Checkpoint:
    """A head of the log that satisfies a policy. Only `open_checkpoint` makes one.

    `size`: leaves; `root`: 32 bytes; `note`: the whole signed note as text; `log_keys`: the known log keys
    that signed it; `cosigners`: (the witness's name in the policy, unix time of its cosignature), in order
    of lines.
    """

    origin: str
    size: int
    root: bytes
    note: str
    log_keys: tuple[NoteKey, ...]
    cosigners: tuple[tuple[str, int], ...]

    def __init__(
        self,
        body: UnverifiedCheckpoint,
        note: str,
        log_keys: tuple[NoteKey, ...],
        cosigners: tuple[tuple[str, int], ...],
        *,
        seal: object,
    ) -> None:
        if seal is not _SEAL:
            raise TypeError("a Checkpoint is made by open_checkpoint from a signed note, never by hand")
        # Past the refusal to change: this is the one place where the fields are set.
        vars(self).update(
            origin=body.origin,
            size=body.size,
            root=body.root,
            note=note,
            log_keys=log_keys,
            cosigners=cosigners,
        )

    def __repr__(self) -> str:
        cosigners = [name for name, _ in self.cosigners]
        return (
            f"Checkpoint(origin={self.origin!r}, size={self.size}, root={self.root!r}, cosigners={cosigners})"
        )


def format_checkpoint_body(origin: str, size: int, root: bytes) -> str:
    """The text that a log signs (tlog-checkpoint). Raises MalformedError for what no checkpoint can have."""
    if not is_origin(origin):
        raise MalformedError(f"the origin {shown(origin)} is no bare lower-case host name")
    if not 0 <= size < MAX_SIZE:
        raise MalformedError(f"the size {shown(size)} is not between 0 and 2^63")
    _check_root(size, root)
    return f"{origin}\n{size}\n{encode_base64(root)}\n"


def parse_checkpoint_body(text: str) -> UnverifiedCheckpoint:
    """The three lines of a checkpoint body and nothing after them. Raises MalformedError."""
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1]:
        raise MalformedError("a checkpoint has three lines, each with a newline: origin, size, root")
    if len(lines) > 4:
        raise MalformedError(
            f"the checkpoint has {len(lines) - 4} extension lines, which are refused",
            reason="extension-lines",
        )
    origin, size_text, root_text, _ = lines
    if not is_origin(origin):
        raise MalformedError(f"the origin {shown(origin)} is no bare lower-case host name")
    size = parse_decimal(size_text, "the size of the checkpoint", MAX_SIZE)
    root = decode_base64(root_text, "the root of the checkpoint")
    _check_root(size, root)
    return UnverifiedCheckpoint(origin, size, root)


def sign_checkpoint(origin: str, size: int, root: bytes, signer: NoteSigner) -> bytes:
    """The signed note of a checkpoint with the log's line.

    Raises MalformedError when `signer` is no log key of this origin.
    """
    if signer.key.role != "log" or signer.key.name != origin:
        raise MalformedError(f"{shown(str(signer.key))} is not a log key of the origin {shown(origin)}")
    return sign_note(format_checkpoint_body(origin, size, root), [signer])


def open_checkpoint(note: bytes, policy: Policy) -> Checkpoint:
    """Verify a signed checkpoint against a policy.

    Raises MalformedError for bytes that are no checkpoint; SignatureError for a wrong line of a known key, or
    `unknown-log-key` when no log of the policy signed; PolicyError `wrong-origin`, or `quorum` when too few
    witnesses cosigned. (C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-policy.)
    """
    opened = _open(note, policy)
    body = parse_checkpoint_body(opened.text)
    keys = {log.key for log in policy.logs}
    log_keys = tuple(each.key for each in opened.signatures if each.key in keys)
    if not log_keys:
        raise SignatureError(_no_log(policy), reason="unknown-log-key")
    # tlog-checkpoint: the key's name is the origin. All logs of a policy have one.
    if body.origin != policy.origin:
        raise PolicyError(
            f"the checkpoint is of {shown(body.origin)}, the policy is about {shown(policy.origin)}",
            reason="wrong-origin",
        )
    names = {witness.key: witness.name for witness in policy.witnesses}
    cosigners = tuple(
        (names[each.key], each.timestamp)
        for each in opened.signatures
        if each.key in names and each.timestamp is not None
    )
    if not policy.is_satisfied([name for name, _ in cosigners]):
        raise PolicyError(
            f"the quorum {shown(policy.quorum)} is not reached: the head of size {body.size} is cosigned by "
            f"{_listed([name for name, _ in cosigners])}",
            reason="quorum",
        )
    return Checkpoint(body, note.decode(), log_keys, cosigners, seal=_SEAL)


def check_age(checkpoint: Checkpoint, policy: Policy, limit: int, now: int) -> int:
    """The age of a checkpoint (seconds), which must be told and at most `limit`.

    Raises PolicyError `stale-checkpoint` (entry format 7; judged on heads that were just fetched).
    """
    age = checkpoint_age(checkpoint, policy, now)
    if age is None or age > limit:
        told = "cannot be told" if age is None else f"is {age} s"
        raise PolicyError(
            f"the age of the checkpoint {told}, the trust file allows {limit} s", reason="stale-checkpoint"
        )
    return age


def checkpoint_age(checkpoint: Checkpoint, policy: Policy, now: int) -> int | None:
    """Seconds since the policy's quorum last vouched for this head, as of `now` (unix seconds); never
    negative.

    Age = now - T, where T is the latest time such that the cosignatures not older than T still satisfy the
    quorum (entry format 7). None when no age can be told: `quorum none`, or a quorum only by clocks more
    than five minutes ahead of `now`. Whoever demands an age refuses None.
    """
    if not policy.needs_witnesses:
        return None
    credible = [(time, name) for name, time in checkpoint.cosigners if time <= now + MAX_CLOCK_SKEW]
    counted: list[str] = []
    for time, name in sorted(credible, reverse=True):
        counted.append(name)
        if policy.is_satisfied(counted):
            return max(0, now - time)
    return None


def _open(note: bytes, policy: Policy) -> OpenNote:
    try:
        return open_note(note, policy.keys)
    except SignatureError as error:
        if error.reason != "no-known-signature":
            raise
        raise SignatureError(f"{_no_log(policy)}; {error}", reason="unknown-log-key") from error


def _no_log(policy: Policy) -> str:
    names = _listed([str(log.key) for log in policy.logs])
    return f"the checkpoint is not signed by a log of the policy ({names})"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(shown(name) for name in names) or "nobody"


def _check_root(size: int, root: bytes) -> None:
    if len(root) != HASH_SIZE:
        raise MalformedError(f"the root of a checkpoint has {HASH_SIZE} bytes, not {len(root)}")
    if size == 0 and root != EMPTY_ROOT:
        raise MalformedError("the root of an empty tree is the hash of nothing")
