"""Signed heads: what this peer says of decided trees, what the others say, and when that is a quorum.

A peer signs as the log, with its own log key under the common origin, and cosigns under its own name. Both
lines stand in one note. A checkpoint is published when more than two thirds of all peers have cosigned one
head; it carries everybody's lines that were there by then. Who all peers are is a matter of each head: those
that were agreed on when its block was decided. One that is not among them (not yet, or not any more) signs
nothing, and publishes what the others signed.
"""

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Condition
from typing import NamedTuple

from touchplate.log.errors import CheckpointError
from touchplate.log.guard import RootAt, SigningGuard
from touchplate.log.peers.rules import quorum_of
from touchplate.verify.checkpoints import format_checkpoint_body, open_checkpoint, parse_checkpoint_body
from touchplate.verify.errors import MalformedError
from touchplate.verify.forks import fork_report
from touchplate.verify.jcs import JSONValue
from touchplate.verify.notes import NoteKey, NoteSigner, format_verifier_key, open_note, sign_note
from touchplate.verify.policy import parse_policy

MAX_WAITING = 64
"""Questions about heads that wait for the next one: of twenty other peers, and as many of the curious. More
are answered at once, with what there is."""

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
class Members:
    """All peers of a head: the others, and whether this one is among them."""

    others: tuple[PeerKeys, ...]
    own: bool = True

    @property
    def quorum(self) -> int:
        """How many of them have to cosign."""
        return quorum_of(len(self.others) + self.own)

    def find(self, name: str) -> PeerKeys | None:
        """The other peer of that name."""
        return next((peer for peer in self.others if peer.name == name), None)


@dataclass(frozen=True)
class Signers:
    """This peer's two keys."""

    log: NoteSigner
    cosigner: NoteSigner

    def note(self, origin: str, size: int, root: bytes, now: int) -> bytes:
        """A head with both lines."""
        return sign_note(format_checkpoint_body(origin, size, root), [self.log, self.cosigner], now)


class ForkError(CheckpointError):
    """Another peer signed a head that contradicts our tree: it, or we, hold another history.

    `report`: both heads, for anybody to check offline (report format 9).
    """

    default_reason = "fork"

    def __init__(self, message: str, report: Mapping[str, JSONValue]) -> None:
        super().__init__(message)
        self.report = report


class Published(NamedTuple):
    """A checkpoint, how many cosigned it, and how often this peer had said it anew by then."""

    size: int
    note: bytes
    cosigners: int
    renewals: int

    @property
    def place(self) -> tuple[int, int, int]:
        """Larger for what is to be preferred."""
        return self.size, self.renewals, self.cosigners


class Heads:
    """The heads of one peer. Safe from any thread. Nothing here blocks on storage but `sign`."""

    def __init__(
        self,
        origin: str,
        signers: Signers,
        members: Members,
        guard: SigningGuard,
        root_at: RootAt,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.changed = Condition()
        self._origin = origin
        self._signers = signers
        self._members = members  # of the next head; under changed
        self._guard = guard
        self._root_at = root_at
        self._now = now
        self._heads: OrderedDict[int, _Head] = OrderedDict()  # by size, ascending; under changed
        self._waiting: dict[asyncio.Future[None], int] = {}  # for a head of so many entries; under changed

    def follow(self, members: Members) -> None:
        """These are all peers of the heads that are signed from now on."""
        with self.changed:
            self._members = members
            self.changed.notify_all()

    def sign(self, size: int, root: bytes) -> None:
        """Sign a decided head, after its block is durable. Raises CheckpointError, StorageError.

        A head that is smaller than one that was signed before (this peer catches up after it lost data) is
        passed over: `behind`. While this peer is not one of the members it keeps the head and signs nothing.
        """
        members = self._members
        note = None
        if members.own:
            self._guard.permit(size, root, self._root_at)
            note = self._signers.note(self._origin, size, root, int(self._now()))
        with self.changed:
            before = self._heads.get(size)
            lines = {} if before is None else before.lines_for(members)
            self._heads[size] = _Head(
                root, members, note, lines, 0 if before is None else before.renewals + 1
            )
            self._heads.move_to_end(size)
            while len(self._heads) > KEPT_HEADS:
                self._heads.popitem(last=False)
            self.changed.notify_all()
            if note is not None:
                self._wake(size)

    def renew(self) -> None:
        """Say the newest head again, at this time, and ask the others to: what they said of it before counts
        no more. Raises as `sign`."""
        with self.changed:
            if not self._heads:
                return
            size = next(reversed(self._heads))
            head = self._heads[size]
        note = None
        if head.members.own:
            self._guard.permit(size, head.root, self._root_at)
            note = self._signers.note(self._origin, size, head.root, int(self._now()))
        with self.changed:
            self._heads[size] = _Head(head.root, head.members, note, {}, head.renewals + 1)
            self.changed.notify_all()

    def _wake(self, size: int) -> None:
        for future in [future for future, start in self._waiting.items() if start <= size]:
            del self._waiting[future]
            with contextlib.suppress(RuntimeError):  # that loop is closed: nobody waits any more
                future.get_loop().call_soon_threadsafe(_answer, future)

    async def wait_signed(self, start: int, seconds: float) -> None:
        """Until we have signed a head of at least `start` entries, or the time is up."""
        with self.changed:
            signed = any(size >= start for size, head in self._heads.items() if head.note is not None)
            if signed or len(self._waiting) >= MAX_WAITING:
                return
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting[future] = start
        try:
            async with asyncio.timeout(seconds):
                await future
        except TimeoutError:
            pass
        finally:
            with self.changed:
                self._waiting.pop(future, None)

    def signed(self, start: int = 0) -> list[bytes]:
        """Our notes of heads of at least `start` entries, smallest first: what the other peers ask for."""
        with self.changed:
            return [
                head.note for size, head in self._heads.items() if size >= start and head.note is not None
            ]

    def is_asked(self, peer: PeerKeys) -> bool:
        """Whether this peer is one of those whose lines count now."""
        with self.changed:
            return peer in self._members.others

    def wanted(self, name: str) -> int:
        """The smallest size that the peer called `name` need still be asked about."""
        with self.changed:
            known = [size for size, head in self._heads.items() if name in head.lines]
            return max(known, default=-1) + 1

    def take(self, name: str, note: bytes) -> bool:
        """Take a note of the peer called `name`. True when it says something new about a head of ours.

        Raises VerifyError for what is not a note with exactly that peer's two lines, ForkError when it
        contradicts our tree.
        """
        with self.changed:
            peer = self._members.find(name)
        if peer is None:
            return False
        opened = open_note(note, [peer.log_key, peer.cosigner_key])
        if opened.unknown or len(opened.signatures) != 2:
            raise MalformedError(f"a head of {name} does not have exactly its log and its cosigner line")
        body = parse_checkpoint_body(opened.text)
        if body.origin != self._origin:
            raise MalformedError(f"a head of {name} is of the log {body.origin!r}")
        with self.changed:
            head = self._heads.get(body.size)
            if head is None or peer not in head.members.others:
                return False
            if head.root != body.root:
                raise ForkError(
                    f"{name} has signed a head of {body.size} entries with root {body.root.hex()}, ours has"
                    f" {head.root.hex()}: one of us holds another history",
                    self._report(body.size, head, note, peer.log_key),
                )
            is_new = name not in head.lines
            head.lines[name] = note.decode().rpartition("\n\n")[2]
            if is_new:
                self.changed.notify_all()
            return is_new

    def _report(self, size: int, head: "_Head", theirs: bytes, their_key: NoteKey) -> dict[str, JSONValue]:
        """Both heads, ours as this peer or, while it is none of them, another one signed it."""
        ours, own_key = head.note, self._signers.log.key
        for name in head.lines if ours is None else ():
            signed_by = head.members.find(name)
            if signed_by is not None:
                body = format_checkpoint_body(self._origin, size, head.root)
                ours, own_key = f"{body}\n{head.lines[name]}".encode(), signed_by.log_key
                break
        if ours is None:
            raise MalformedError("a head contradicts ours, and nobody has signed ours yet that we know of")
        return _report(ours, own_key, theirs, their_key)

    def lacks(self, name: str) -> bool:
        """Whether our newest head has no line of the peer called `name` yet."""
        with self.changed:
            return bool(self._heads) and name not in self._heads[next(reversed(self._heads))].lines

    def published(self) -> "Published | None":
        """The largest head that a quorum has cosigned; None without one."""
        with self.changed:
            for size in reversed(self._heads):
                head = self._heads[size]
                lines = [head.lines[name] for name in sorted(head.lines) if head.members.find(name)]
                cosigners = len(lines) + (head.note is not None)
                if cosigners >= head.members.quorum:
                    body = format_checkpoint_body(self._origin, size, head.root)
                    own = head.note or f"{body}\n".encode()
                    return Published(size, own + "".join(lines).encode(), cosigners, head.renewals)
        return None


def _answer(future: "asyncio.Future[None]") -> None:
    if not future.done():  # its time was up meanwhile
        future.set_result(None)


@dataclass(slots=True)
class _Head:
    """A decided head: its members, our note of it, the two lines of each other peer by name, and how often it
    was said anew."""

    root: bytes
    members: Members
    note: bytes | None
    lines: dict[str, str]
    renewals: int = 0

    def lines_for(self, members: Members) -> dict[str, str]:
        """The lines of those who are peers, under the same keys, among `members` too."""
        return {
            name: two for name, two in self.lines.items() if self.members.find(name) == members.find(name)
        }


def _report(ours: bytes, own_key: NoteKey, theirs: bytes, their_key: NoteKey) -> dict[str, JSONValue]:
    """Two heads of one size, each signed by a log key of this origin. Of the two, theirs is the news."""
    keys = "".join(f"log {format_verifier_key(key)}\n" for key in (own_key, their_key))
    policy = parse_policy(f"{keys}quorum none\n")
    return fork_report(open_checkpoint(ours, policy), open_checkpoint(theirs, policy))
