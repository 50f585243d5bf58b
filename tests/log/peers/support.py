"""States, blocks and peers' keys for the tests; the entries are those of tests.log.support."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from tests.log.support import RECORDER, admission_list, signed_entry
from tests.simkeys import ORIGIN, log_signer, verifier_key, witness_signer

from touchplate.log.growth import Edge
from touchplate.log.peers.changes import Agreed
from touchplate.log.peers.checks import check_packed
from touchplate.log.peers.heads import PeerKeys, Signers
from touchplate.log.peers.machine import Block, Executed, execute
from touchplate.log.peers.rules import FORMAT, Rules
from touchplate.log.peers.state import State, format_approvals, format_scheduled, validators_of
from touchplate.log.peers.transactions import format_tx
from touchplate.log.ports import PackedEntry
from touchplate.verify.encoding import encode_base64
from touchplate.verify.jcs import format_json
from touchplate.verify.keys import StatementSigner
from touchplate.verify.predicates.peers import Peer

NAMES = ("a", "b", "c", "d")


def member(name: str, **changes: str) -> Peer:
    """The peer called `name`, as genesis and statements have it."""
    both = signers(name)
    values = {
        "name": name,
        "validator": encode_base64(hashlib.sha256(b"validator " + name.encode()).digest()),
        "node": f"{hashlib.sha256(name.encode()).hexdigest()[:40]}@{name}.example.org:26656",
        "url": f"https://{name}.example.org/log",
        "log_key": verifier_key(both.log),
        "cosigner_key": verifier_key(both.cosigner),
    }
    return Peer(**(values | changes))


def rules(**changes: Any) -> Rules:
    """The rules that a network of four begins with; nobody can change them."""
    peers = tuple(changes.pop("peers", map(member, NAMES)))
    values: dict[str, Any] = {
        "origin": ORIGIN,
        "admission": admission_list(),
        "threshold": 0,
        "peers": peers,
        "removed": (),
        "seats": len(peers),
        "revision": 0,
    }
    return Rules(**(values | changes))


def state(**changes: Any) -> State:
    """The state before the first block of a network under `rules`."""
    return State(0, Edge(), Agreed(rules(**changes)))


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


def format_state_literally(state: State) -> bytes:
    """What is stored with a block (peers format 10), every member of it written out anew."""
    return format_json(
        {
            "approvals": format_approvals(state.agreed.approvals),
            "format": FORMAT,
            "height": str(state.height),
            "root": encode_base64(state.edge.root()),
            "rules": {**state.rules.document},
            "scheduled": format_scheduled(state.agreed.scheduled),
            "size": str(state.size),
        }
    )


def signers(name: str) -> Signers:
    """The two keys of the peer called `name`."""
    return Signers(log_signer(name), witness_signer(f"{name}.{ORIGIN}"))


def keys(name: str) -> PeerKeys:
    """The same peer, as the others know it."""
    both = signers(name)
    return PeerKeys(name, both.log.key, both.cosigner.key)


VALIDATORS = validators_of(rules())
