"""Signed heads: what this peer says of decided trees, what the others say, and when that is a quorum.

A peer signs as the log, with its own log key under the common origin, and cosigns under its own name. Both
lines stand in one note. A checkpoint is published when more than two thirds of all peers have cosigned one
head; it carries everybody's lines that were there by then.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Condition

from touchplate.log.errors import CheckpointError
from touchplate.log.guard import RootAt, SigningGuard
from touchplate.log.peers.state import quorum_of
from touchplate.verify.checkpoints import format_checkpoint_body, parse_checkpoint_body
from touchplate.verify.errors import MalformedError
from touchplate.verify.notes import NoteKey, NoteSigner, open_note, sign_note

KEPT_HEADS = 64
"""Heads kept on both sides: peers execute the same blocks at slightly different times, and a quorum needs one
size that all of them signed. Blocks come a few per second, so this is many seconds of delay."""


@dataclass(frozen=True)
class PeerKeys:
    """Another peer, as this one knows it: its name here, its log key and its cosigner key."""

    name: str
    log_key: NoteKey
    cosigner_key: NoteKey


@dataclass(frozen=True)
class Signers:
    """This peer's two keys."""

    log: NoteSigner
    cosigner: NoteSigner

    def note(self, origin: str, size: int, root: bytes, now: int) -> bytes:
        """A head with both lines."""
        return sign_note(format_checkpoint_body(origin, size, root), [self.log, self.cosigner], now)


class ForkError(CheckpointError):
    """Another peer signed a head that contradicts our tree: it, or we, hold another history."""

    default_reason = "fork"


class Heads:
    """The heads of one peer. Safe from any thread. Nothing here blocks on storage but `sign`."""

    def __init__(
        self,
        origin: str,
        signers: Signers,
        others: Sequence[PeerKeys],
        guard: SigningGuard,
        root_at: RootAt,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.changed = Condition()
        self.quorum = quorum_of(len(others) + 1)
        self._origin = origin
        self._signers = signers
        self._others = {peer.name: peer for peer in others}
        self._guard = guard
        self._root_at = root_at
        self._now = now
        self._signed: OrderedDict[int, bytes] = OrderedDict()  # size -> our note, ascending; under changed
        self._roots: dict[int, bytes] = {}  # of the sizes in _signed; under changed
        self._lines: dict[int, dict[str, str]] = {}  # size -> peer -> its two lines; under changed

    def sign(self, size: int, root: bytes) -> None:
        """Sign a decided head, after its block is durable. Raises CheckpointError, StorageError.

        A head that is smaller than one that was signed before (this peer catches up after it lost data) is
        passed over: `behind`.
        """
        self._guard.permit(size, root, self._root_at)
        note = self._signers.note(self._origin, size, root, int(self._now()))
        with self.changed:
            self._signed[size] = note
            self._signed.move_to_end(size)
            self._roots[size] = root
            while len(self._signed) > KEPT_HEADS:
                old, _ = self._signed.popitem(last=False)
                self._roots.pop(old)
                self._lines.pop(old, None)
            self.changed.notify_all()

    def signed(self, start: int = 0) -> list[bytes]:
        """Our notes of heads of at least `start` entries, smallest first: what the other peers ask for."""
        with self.changed:
            return [note for size, note in self._signed.items() if size >= start]

    def wanted(self, name: str) -> int:
        """The smallest size that the peer called `name` need still be asked about."""
        with self.changed:
            known = [size for size, lines in self._lines.items() if name in lines]
            return max(known, default=-1) + 1

    def take(self, name: str, note: bytes) -> bool:
        """Take a note of the peer called `name`. True when it says something new about a head of ours.

        Raises VerifyError for what is not a note with exactly that peer's two lines, ForkError when it
        contradicts our tree.
        """
        peer = self._others[name]
        opened = open_note(note, [peer.log_key, peer.cosigner_key])
        if opened.unknown or len(opened.signatures) != 2:
            raise MalformedError(f"a head of {name} does not have exactly its log and its cosigner line")
        body = parse_checkpoint_body(opened.text)
        if body.origin != self._origin:
            raise MalformedError(f"a head of {name} is of the log {body.origin!r}")
        with self.changed:
            root = self._roots.get(body.size)
            if root is None:
                return False
            if root != body.root:
                raise ForkError(
                    f"{name} has signed a head of {body.size} entries with root {body.root.hex()}, ours has"
                    f" {root.hex()}: one of us holds another history; its note is {note!r}"
                )
            lines = self._lines.setdefault(body.size, {})
            is_new = name not in lines
            lines[name] = note.decode().rpartition("\n\n")[2]
            if is_new:
                self.changed.notify_all()
            return is_new

    def lacks(self, name: str) -> bool:
        """Whether our newest head has no line of the peer called `name` yet."""
        with self.changed:
            return bool(self._signed) and name not in self._lines.get(next(reversed(self._signed)), {})

    def published(self) -> tuple[int, bytes, int] | None:
        """(size, checkpoint, cosigners) of the largest head that a quorum has cosigned; None without one."""
        with self.changed:
            for size in reversed(self._signed):
                lines = self._lines.get(size, {})
                if len(lines) + 1 >= self.quorum:
                    return size, _joined(self._signed[size], lines), len(lines) + 1
        return None


def _joined(own: bytes, lines: Mapping[str, str]) -> bytes:
    """Our note with the other peers' lines below ours."""
    return own + "".join(lines[name] for name in sorted(lines)).encode()
