"""A proof that an entry is in a log, as one text file (C2SP tlog-proof, `.tlog-proof`).

    c2sp.org/tlog-proof@v1
    extra <base64>                  (optional: anything, believed by nobody)
    index <decimal>
    <base64 of a hash>              (0 to 63 lines: the inclusion proof, from the leaf's sibling upwards)
    <empty line>
    <the signed checkpoint, verbatim, with its cosignatures>

Whoever holds the entry and a policy checks it offline. The leaf may also be rebuilt from `extra`, where
`touchplate prove` puts the packed entry: a leaf that is in the tree is one, wherever it came from.

Reading is strict: every byte is consumed, each value has one spelling, and a file that is read and written
again has the same bytes. Pure.
"""

from __future__ import annotations

from touchplate.verify.checkpoints import Checkpoint, open_checkpoint
from touchplate.verify.encoding import decode_base64, encode_base64, parse_decimal
from touchplate.verify.entry import MAX_PACKED_BYTES
from touchplate.verify.errors import MalformedError, shown
from touchplate.verify.notes import MAX_NOTE_BYTES
from touchplate.verify.policy import Policy
from touchplate.verify.proofs import MAX_PROOF_HASHES, MAX_SIZE, check_inclusion
from touchplate.verify.rfc6962 import HASH_SIZE, leaf_hash
from touchplate.verify.tiles import MAX_LEAF_DATA
from touchplate.verify.values import value

HEADER = "c2sp.org/tlog-proof@v1"
"""The first line, which names format and version (tlog-proof)."""

MAX_EXTRA_BYTES = max(MAX_PACKED_BYTES, MAX_LEAF_DATA)
"""Bytes of extra data: a packed entry, or the data of any leaf, and nothing longer has a use here."""

_LINE_BYTES = 64  # more than each line but `extra` has: keyword or hash, and its newline
_BASE64_BYTES = 4 * -(-MAX_EXTRA_BYTES // 3)

MAX_TLOG_PROOF_BYTES = (4 + MAX_PROOF_HASHES) * _LINE_BYTES + _BASE64_BYTES + MAX_NOTE_BYTES
"""Bytes of a whole file: the largest checkpoint, the longest proof and the most extra data."""

_EXTRA = "extra "
_INDEX = "index "


@value
class TlogProof:
    """A parsed proof; nothing of it is checked. `hashes`: 32 bytes each; `checkpoint`: the signed note.

    `extra` is authenticated by nothing (tlog-proof); None when the file has none.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None


def parse_tlog_proof(data: bytes) -> TlogProof:
    """The proof in `data`. Raises MalformedError for every other form."""
    if len(data) > MAX_TLOG_PROOF_BYTES:
        raise MalformedError(f"a tlog-proof has at most {MAX_TLOG_PROOF_BYTES} bytes")
    # The first empty line ends the proof; the checkpoint has one of its own.
    head, separator, checkpoint = data.partition(b"\n\n")
    if not separator:
        raise MalformedError("the tlog-proof has no empty line, and so no checkpoint")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise MalformedError(
            f"the tlog-proof has a byte beyond ascii before its checkpoint (at {error.start})"
        ) from error
    if lines.pop(0) != HEADER:
        raise MalformedError(f"this is no tlog-proof of a known version: its first line is not {HEADER!r}")
    extra = _parse_extra(lines.pop(0)) if lines and lines[0].startswith(_EXTRA) else None
    if not lines or not lines[0].startswith(_INDEX):
        raise MalformedError("the tlog-proof has no index line where one must be")
    index = parse_decimal(lines.pop(0).removeprefix(_INDEX), "the index of the tlog-proof", MAX_SIZE)
    return TlogProof(index, _parse_hashes(lines), _check_note(checkpoint), extra)


def format_tlog_proof(proof: TlogProof) -> bytes:
    """The bytes of a proof. Raises MalformedError when they would not parse again."""
    lines = [HEADER]
    if proof.extra is not None:
        lines.append(_EXTRA + encode_base64(proof.extra))
    lines.append(f"{_INDEX}{proof.index}")
    lines += [encode_base64(each) for each in proof.hashes]
    data = "\n".join(lines).encode("ascii") + b"\n\n" + proof.checkpoint
    parse_tlog_proof(data)
    return data


def check_tlog_proof(proof: TlogProof, leaf_data: bytes, policy: Policy) -> Checkpoint:
    """Check that a leaf with this data stands at the proof's index, in a tree that satisfies the policy.

    Returns the opened checkpoint. Raises ProofError, and what `open_checkpoint` raises.
    """
    checkpoint = open_checkpoint(proof.checkpoint, policy)
    check_inclusion(checkpoint, proof.index, leaf_hash(leaf_data), proof.hashes)
    return checkpoint


def _parse_extra(line: str) -> bytes:
    extra = decode_base64(line.removeprefix(_EXTRA), "the extra data of the tlog-proof")
    if not extra:
        raise MalformedError("the tlog-proof has an extra line without data: then it has none (tlog-proof)")
    if len(extra) > MAX_EXTRA_BYTES:
        raise MalformedError(
            f"the tlog-proof has {len(extra)} bytes of extra data, more than {MAX_EXTRA_BYTES}"
        )
    return extra


def _parse_hashes(lines: list[str]) -> tuple[bytes, ...]:
    if len(lines) > MAX_PROOF_HASHES:
        raise MalformedError(f"the tlog-proof has {len(lines)} hashes, more than {MAX_PROOF_HASHES}")
    hashes = tuple(decode_base64(line, "a hash of the tlog-proof") for line in lines)
    for line, one in zip(lines, hashes, strict=True):
        if len(one) != HASH_SIZE:
            raise MalformedError(f"the tlog-proof has the line {shown(line)}: no hash of {HASH_SIZE} bytes")
    return hashes


def _check_note(checkpoint: bytes) -> bytes:
    if not 0 < len(checkpoint) <= MAX_NOTE_BYTES:
        raise MalformedError(
            f"the checkpoint of the tlog-proof has {len(checkpoint)} bytes, not 1 to {MAX_NOTE_BYTES}"
        )
    return checkpoint
