"""States, blocks and peers' keys for the tests; the entries are those of tests.log.support."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.log.support import RECORDER, admission_list, signed_entry
from tests.simkeys import ORIGIN, log_signer, witness_signer

from touchplate.log.growth import Edge
from touchplate.log.peers.checks import check_packed
from touchplate.log.peers.heads import PeerKeys, Signers
from touchplate.log.peers.machine import Block, Executed, execute
from touchplate.log.peers.state import State, Validator
from touchplate.log.peers.transactions import format_tx
from touchplate.log.ports import PackedEntry
from touchplate.verify.keys import StatementSigner

VALIDATORS = tuple(Validator(bytes([number]) * 32, 1) for number in range(1, 5))


def state(**changes: Any) -> State:
    """The state before the first block of a network of four."""
    values: dict[str, Any] = {
        "origin": ORIGIN,
        "height": 0,
        "edge": Edge(),
        "admission": admission_list(),
        "validators": VALIDATORS,
        "founders": 4,
    }
    return State(**(values | changes))


def tx(*numbers: int, nonce: int = 0, signer: StatementSigner = RECORDER) -> bytes:
    """A transaction of the entries with these numbers."""
    return tx_of(*(signed_entry(number, signer) for number in numbers), nonce=nonce)


def tx_of(*entries: PackedEntry, nonce: int = 0) -> bytes:
    return format_tx([entry.packed for entry in entries], nonce.to_bytes(8, "big"))


class Chain:
    """The machine with a tree that remembers identities and leaves: a peer without disk and engine."""

    def __init__(self, first: State | None = None) -> None:
        self.state = first or state()
        self.entries: list[PackedEntry] = []
        self.hashes: list[bytes] = []

    def known(self, identities: Sequence[bytes]) -> Mapping[bytes, int]:
        places = {entry.identity: index for index, entry in enumerate(self.entries)}
        return {identity: places[identity] for identity in identities if identity in places}

    def run(self, *txs: bytes, misbehaviour: tuple[tuple[int, bytes], ...] = ()) -> Executed:
        """Execute the next block."""
        block = Block(self.state.height + 1, txs, misbehaviour)
        done = execute(self.state, block, self.known, check_packed)
        self.entries += done.entries
        self.state = done.state
        self.hashes.append(done.state.app_hash())
        return done


def signers(name: str) -> Signers:
    """The two keys of the peer called `name`."""
    return Signers(log_signer(name), witness_signer(f"{name}.{ORIGIN}"))


def keys(name: str) -> PeerKeys:
    """The same peer, as the others know it."""
    both = signers(name)
    return PeerKeys(name, both.log.key, both.cosigner.key)
