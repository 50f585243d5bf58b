"""The body of `add-checkpoint` (C2SP tlog-witness), as witnesses read it and logs write it.

    old <size, decimal>
    <base64 of a hash>        (0 to 63 lines)
    <empty line>
    <checkpoint: a signed note>

Other people's logs may have any origin, and extension lines, so a head is read here as tlog-checkpoint has
it, not as our own logs write theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from touchplate.log.errors import RequestError
from touchplate.verify.encoding import decode_base64, encode_base64, parse_decimal
from touchplate.verify.errors import MalformedError, VerifyError, shown
from touchplate.verify.notes import unverified_text
from touchplate.verify.proofs import MAX_PROOF_HASHES, MAX_SIZE
from touchplate.verify.rfc6962 import HASH_SIZE

MAX_REQUEST_BYTES = 256 * 1024
"""Bytes of a request: 64 lines of post-quantum signatures with the longest names take 232 KiB."""

MAX_ORIGIN_BYTES = 255
"""Bytes of an origin: an ML-DSA-44 cosignature holds no longer one (tlog-cosignature)."""

_OLD = "old "


@dataclass(frozen=True, slots=True)
class WitnessedHead:
    """What a note claims about a tree: `size` (leaves), `root` (32 bytes). Nothing is verified yet."""

    origin: str
    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """One request: the size that the client believes the witness to know, the proof from there, the note."""

    old_size: int
    proof: tuple[bytes, ...]
    head: WitnessedHead
    note: bytes


def format_add_checkpoint(old_size: int, proof: Sequence[bytes], note: bytes) -> bytes:
    """The body of a request."""
    lines = [f"{_OLD}{old_size}\n", *(f"{encode_base64(each)}\n" for each in proof), "\n"]
    return "".join(lines).encode() + note


def parse_add_checkpoint(body: bytes) -> AddCheckpoint:
    """A request out of its body. Raises RequestError (`malformed`)."""
    try:
        return _parse(body)
    except VerifyError as error:
        raise RequestError(str(error), reason="malformed") from error


def _parse(body: bytes) -> AddCheckpoint:
    front, separator, note = body.partition(b"\n\n")
    if not separator:
        raise MalformedError("the request has no empty line between proof and checkpoint")
    # Bounded before it is split: more lines than a proof has hashes are never looked at.
    if front.count(b"\n") > MAX_PROOF_HASHES:
        raise MalformedError(f"the proof has more than {MAX_PROOF_HASHES} hashes")
    try:
        first, *lines = front.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise MalformedError("the lines before the checkpoint are not ASCII") from None
    if not first.startswith(_OLD):
        raise MalformedError(f"the first line is {shown(first)}, not `old` and a size")
    old_size = parse_decimal(first.removeprefix(_OLD), "the old size", MAX_SIZE)
    return AddCheckpoint(old_size, tuple(map(_hash, lines)), parse_head(unverified_text(note)), note)


def _hash(line: str) -> bytes:
    found = decode_base64(line, "a hash of the proof")
    if len(found) != HASH_SIZE:
        raise MalformedError(f"a hash of the proof has {len(found)} bytes, not {HASH_SIZE}")
    return found


def parse_head(text: str) -> WitnessedHead:
    """The head in the text of a checkpoint (tlog-checkpoint). Raises MalformedError."""
    lines = text.split("\n")[:-1]
    if len(lines) < 3 or not all(lines):
        raise MalformedError("a checkpoint has lines for origin, size and root, and none that is empty")
    origin = lines[0]
    if len(origin.encode()) > MAX_ORIGIN_BYTES:
        raise MalformedError(f"the origin {shown(origin)} has more than {MAX_ORIGIN_BYTES} bytes")
    size = parse_decimal(lines[1], "the size of the checkpoint", MAX_SIZE)
    root = decode_base64(lines[2], "the root of the checkpoint")
    if len(root) != HASH_SIZE:
        raise MalformedError(f"the root of a checkpoint has {HASH_SIZE} bytes, not {len(root)}")
    return WitnessedHead(origin, size, root)
