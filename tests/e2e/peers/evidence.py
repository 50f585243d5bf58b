"""Proof that a validator voted twice, made with its real key: what a twin of it would have left behind.

Votes are signed over the engine's canonical form (CometBFT 0.38): protobuf with the length in front.
"""

import hashlib
import json
from base64 import b64decode, b64encode
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PRECOMMIT = 2


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _bytes(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value) if value else b""


def _fixed(field: int, value: int) -> bytes:
    return _varint(field << 3 | 1) + value.to_bytes(8, "little") if value else b""


def _seconds(time: str) -> tuple[int, int]:
    """(seconds, nanoseconds) of an RFC 3339 time with up to nine digits."""
    whole, _, fraction = time.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(f"{whole}+00:00").timestamp()), int((fraction + "0" * 9)[:9])


def _vote(key: Ed25519PrivateKey, chain_id: str, height: int, time: str, block: bytes) -> dict[str, object]:
    seconds, nanos = _seconds(time)
    parts = _number(1, 1) + _bytes(2, block)
    block_id = _bytes(1, block) + _bytes(2, parts)
    stamp = _number(1, seconds) + _number(2, nanos)
    canonical = _number(1, PRECOMMIT) + _fixed(2, height) + _bytes(4, block_id) + _bytes(5, stamp)
    canonical += _bytes(6, chain_id.encode())
    signature = key.sign(_varint(len(canonical)) + canonical)
    hexed = block.hex().upper()
    return {
        "type": PRECOMMIT,
        "height": str(height),
        "round": 0,
        "block_id": {"hash": hexed, "parts": {"total": 1, "hash": hexed}},
        "timestamp": time,
        "validator_address": hashlib.sha256(key.public_key().public_bytes_raw()).hexdigest()[:40].upper(),
        "validator_index": 0,
        "signature": b64encode(signature).decode(),
        "extension": None,
        "extension_signature": None,
    }


def double_vote(key_file: Path, chain_id: str, height: int, time: str, index: int) -> str:
    """The evidence as JSON for the engine's `broadcast_evidence`. `time`: of the block of that height."""
    secret = b64decode(json.loads(key_file.read_text())["priv_key"]["value"])
    key = Ed25519PrivateKey.from_private_bytes(secret[:32])
    votes = [_vote(key, chain_id, height, time, hashlib.sha256(word).digest()) for word in (b"this", b"that")]
    votes.sort(key=lambda vote: str(vote["block_id"]))
    for vote in votes:
        vote["validator_index"] = index
    value = {
        "vote_a": votes[0],
        "vote_b": votes[1],
        "TotalVotingPower": "4",
        "ValidatorPower": "1",
        "Timestamp": time,
    }
    return json.dumps({"type": "tendermint/DuplicateVoteEvidence", "value": value})
