"""Administrators of a log, and what they sign."""

from collections.abc import Sequence
from typing import Any

from tests.log.peers.support import rules, tx_of
from tests.log.support import REBUILDER, RECORDER, admission_list, listed

from touchplate.log.growth import Edge
from touchplate.log.peers.changes import Agreed
from touchplate.log.peers.rules import Rules
from touchplate.log.peers.state import State
from touchplate.log.ports import PackedEntry, pack
from touchplate.verify.dsse import sign_envelope
from touchplate.verify.entry import make_entry, pack_entry
from touchplate.verify.keys import StatementKey, StatementSigner, generate_signer
from touchplate.verify.predicates.admission import AdmittedKey, format_admission_predicate
from touchplate.verify.predicates.peers import Peer, format_peer_change
from touchplate.verify.statements import (
    ADMISSION_TYPE,
    PEERS_TYPE,
    Admission,
    LogSubject,
    PeerChange,
    make_log_statement,
)
from touchplate.verify.trust import TrustedKey

ADMINISTRATORS = (generate_signer(), generate_signer("ed25519"), generate_signer())
THRESHOLD = 2


def governed(threshold: int = THRESHOLD, **changes: Any) -> State:
    """A state whose rules the administrators can change."""
    blocks = [listed(REBUILDER, "rebuilder"), listed(RECORDER)]
    blocks += [listed(each, "administrator", ecosystems=()) for each in ADMINISTRATORS]
    values = {"admission": admission_list(*blocks), "threshold": threshold} | changes
    return State(0, Edge(), Agreed(rules(**values)))


def block(listed_key: TrustedKey) -> AdmittedKey:
    """A block of an admission list, as a statement adds it."""
    one = listed_key
    return AdmittedKey(
        one.kind,  # type: ignore[arg-type]
        one.operator,
        one.key,
        one.builder,
        one.ecosystems,
        one.from_index,
        one.until_index,
    )


def admission(now: Rules, *add: TrustedKey, remove: Sequence[StatementKey] = (), **changes: Any) -> bytes:
    """A statement over the rules `now` that changes the list."""
    gone = {key.spki for key in remove}
    will = [key for key in now.administrators if key.spki not in gone]
    will += [one.key for one in add if one.kind == "administrator"]
    origin, digest = changes.pop("origin", now.origin), changes.pop("rules", now.digest)
    values = {
        "add": tuple(map(block, add)),
        "remove": changes.pop("fingerprints", tuple(key.spki_sha256.hex() for key in remove)),
        "administrators": tuple(will),
        "threshold": now.threshold,
        "from_index": 0,
    }
    predicate = format_admission_predicate(Admission(**(values | changes)))
    return make_log_statement(LogSubject(origin, digest), ADMISSION_TYPE, predicate)


def membership(now: Rules, *add: Peer, remove: Sequence[str] = (), from_index: int = 0) -> bytes:
    """A statement over the rules `now` that changes the peers."""
    change = PeerChange(add, tuple(remove), from_index)
    return make_log_statement(LogSubject(now.origin, now.digest), PEERS_TYPE, format_peer_change(change))


def approval(payload: bytes, signer: StatementSigner) -> PackedEntry:
    """One administrator's entry."""
    entry = make_entry(sign_envelope(payload, signer), signer.key.spki)
    return pack(entry, pack_entry(entry))


def approved(payload: bytes, *numbers: int, nonce: int = 0) -> list[bytes]:
    """Transactions with the approvals of the administrators of these numbers, one each."""
    return [tx_of(approval(payload, ADMINISTRATORS[number]), nonce=nonce + number) for number in numbers]
