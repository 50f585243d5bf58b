"""A peers' transaction: a batch of packed entries (peers format 10).

    0x01 || nonce (8 bytes) || packed entry || packed entry …

The nonce says nothing; it lets the same entries be handed in again after an engine forgot them, since an
engine takes no transaction twice while it remembers its hash. Pure.
"""

from collections.abc import Iterable, Sequence

from touchplate.log.errors import AdmissionError
from touchplate.verify.entry import MAX_PACKED_BYTES

MAX_TX_BYTES = 512 * 1024
"""Bytes of a transaction. Part of the format: four of them fill a block, and base64 of one fits the engine's
RPC."""

VERSION = 1
NONCE_BYTES = 8
HEAD_BYTES = 1 + NONCE_BYTES


def format_tx(packed: Sequence[bytes], nonce: bytes) -> bytes:
    """The transaction of these packed entries. ValueError when it would have no form: empty or too long."""
    tx = bytes([VERSION]) + nonce + b"".join(packed)
    if len(nonce) != NONCE_BYTES or not packed or len(tx) > MAX_TX_BYTES:
        raise ValueError(f"{len(packed)} entries with {len(tx)} bytes make no transaction")
    return tx


def parse_tx(tx: bytes) -> list[bytes]:
    """The packed entries of a transaction, at least one; their own form is not looked at.

    Raises AdmissionError `malformed` or `too-large`.
    """
    if len(tx) > MAX_TX_BYTES:
        raise AdmissionError(
            f"the transaction has {len(tx)} bytes, more than {MAX_TX_BYTES}", reason="too-large"
        )
    if len(tx) <= HEAD_BYTES or tx[0] != VERSION:
        raise AdmissionError(
            f"the transaction is no batch of entries in version {VERSION}", reason="malformed"
        )
    found: list[bytes] = []
    offset = HEAD_BYTES
    while offset < len(tx):
        end = _after_field(tx, _after_field(tx, offset, 4), 2)
        if end > len(tx):
            raise AdmissionError(f"entry {len(found)} of the transaction is cut off", reason="malformed")
        found.append(tx[offset:end])
        offset = end
    return found


def _after_field(tx: bytes, offset: int, length_bytes: int) -> int:
    """Where a field that starts with its length ends; beyond the transaction when it is cut off."""
    if offset + length_bytes > len(tx):
        return len(tx) + 1
    return offset + length_bytes + int.from_bytes(tx[offset : offset + length_bytes], "big")


def count_fitting(packed: Iterable[bytes], tx_bytes: int = MAX_TX_BYTES) -> int:
    """How many of these packed entries, from the first on, fit into one transaction of `tx_bytes`; the first
    one does in any case."""
    count, room = 0, tx_bytes - HEAD_BYTES
    for one in packed:
        room -= len(one)
        if room < 0 and count:
            break
        count += 1
    return count


assert HEAD_BYTES + MAX_PACKED_BYTES <= MAX_TX_BYTES  # every entry fits into some transaction
