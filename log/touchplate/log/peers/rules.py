"""The rules of a log that several peers hold: who may write, who decides, and who may change either. Pure.

All peers hold the same rules; their digest is in the app hash, and what administrators sign names it. A
change makes new rules with the next revision, so no two rules that a log ever had have one digest.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from touchplate.verify.blocks import KINDS, Mistakes, Table, TrustedKey, read_blocks
from touchplate.verify.encoding import decode_hex
from touchplate.verify.errors import MalformedError
from touchplate.verify.fields import take_count, take_list, take_object, take_text
from touchplate.verify.jcs import JSON, JSONValue, format_json
from touchplate.verify.keys import ED25519_PREFIX, StatementKey, format_public_pem
from touchplate.verify.notes import parse_verifier_key
from touchplate.verify.predicates.peers import Peer, format_peer, parse_peer
from touchplate.verify.trust import AdmissionList

FORMAT = "touchplate.peers/v2"

RULES_VERSION = 3
"""Version of the state machine's rules. Peers with other rules would split, so a change is a change of this
number, which stands in the genesis and in every block's header."""

MAX_PEERS = 21
"""Peers of one network: a note has 64 lines, three of each peer at most."""

MAX_ADMINISTRATORS = 32
"""Administrators of one log: each statement names them all, and their approvals stand in the state of every
block."""

MAX_REMOVED = 1_000
"""Peers that a log has ever removed; their node ids stand in the state of every block."""

MAX_RULES_BYTES = 2 * 1024 * 1024
"""Bytes of the rules as JSON: four times what a thousand keys need. They are stored with each block, and what
could not be read back would stop every peer at its next start."""

NODE_ID_BYTES = 20

_FIELDS = ("admission", "origin", "peers", "removed", "revision", "seats", "threshold")


@dataclass(frozen=True)
class Rules:
    """The rules of one log at one time. Immutable; a change makes new ones.

    `peers` by name; `threshold`: administrators that a change takes, 0 when there are none and nothing can
    change; `removed`: node ids of peers that were removed, which never come back under the same keys;
    `seats`: peers that were agreed on last, which the number of tolerated faults is counted from (a peer
    that voted twice leaves its seat empty); `revision`: changes made so far.
    """

    origin: str
    admission: AdmissionList
    threshold: int
    peers: tuple[Peer, ...]
    removed: tuple[str, ...]
    seats: int
    revision: int

    @cached_property
    def document(self) -> Mapping[str, JSONValue]:
        """The rules as JSON (peers format 10)."""
        return {
            "admission": format_admission(self.admission),
            "origin": self.origin,
            "peers": [format_peer(peer) for peer in self.peers],
            "removed": list(self.removed),
            "revision": self.revision,
            "seats": self.seats,
            "threshold": self.threshold,
        }

    @cached_property
    def canonical(self) -> bytes:
        """`document` in its one form (RFC 8785). Made once for these rules: it is stored with each block, and
        writing out a list of a thousand keys takes longer than everything else that a block does."""
        return format_json(self.document)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of `document`: what a change has to name."""
        return hashlib.sha256(self.canonical).hexdigest()

    @cached_property
    def administrators(self) -> tuple[StatementKey, ...]:
        """Who may change these rules, in the order of their keys."""
        keys = {key.key for key in self.admission.keys if key.kind == "administrator"}
        return tuple(sorted(keys, key=lambda key: key.spki))


def quorum_of(members: int) -> int:
    """The fewest of `members` equals of whom any two groups share an honest one: more than two thirds.

    2f+1 of 3f+1 members.
    """
    return members * 2 // 3 + 1


def tolerated(members: int) -> int:
    """How many of `members` peers may be away, and the others still are a quorum."""
    return members - quorum_of(members)


def parse_rules(value: JSON) -> Rules:
    """The rules in their JSON form, checked. Raises MalformedError, TrustError."""
    members = take_object(value, "rules", _FIELDS)
    removed = [take_text(each, "removed") for each in take_list(members["removed"], "removed")]
    rules = Rules(
        origin=take_text(members["origin"], "origin"),
        admission=parse_admission_json(members["admission"]),
        threshold=take_count(members["threshold"], "threshold"),
        peers=parse_peers(members["peers"]),
        removed=tuple(removed),
        seats=take_count(members["seats"], "seats", least=1),
        revision=take_count(members["revision"], "revision"),
    )
    for node in removed:
        decode_hex(node, NODE_ID_BYTES, "removed")
    check_rules(rules)
    return rules


def parse_peers(value: JSON) -> tuple[Peer, ...]:
    """The peers in a list, by name. Raises MalformedError."""
    peers = take_list(value, "peers", least=1, most=MAX_PEERS)
    found = [parse_peer(each, f"peer {number}") for number, each in enumerate(peers)]
    return tuple(sorted(found, key=lambda peer: peer.name))


def check_rules(rules: Rules) -> None:
    """What single fields do not show. Raises MalformedError for rules that no log may come to have."""
    _check_administrators(rules)
    if not 1 <= len(rules.peers) <= MAX_PEERS:
        raise MalformedError(f"{len(rules.peers)} peers would be left, and a log has 1 to {MAX_PEERS}")
    for what in ("name", "node_id", "url", "validator", "log_key", "cosigner_key"):
        values = [getattr(peer, what) for peer in rules.peers]
        if len(set(values)) != len(values):
            raise MalformedError(f"two peers have the same {what}")
    names = [parse_verifier_key(peer.cosigner_key).name for peer in rules.peers]
    if len(set(names)) != len(names):
        # To readers they are one voice: no policy could name both peers.
        raise MalformedError("two peers have cosigner keys of the same name")
    for peer in rules.peers:
        if peer.node_id in rules.removed:
            raise MalformedError(f"the peer {peer.name} was removed with these keys: it has to make new ones")
        if parse_verifier_key(peer.log_key).name != rules.origin:
            raise MalformedError(f"the log key of {peer.name} is not one of {rules.origin}")
    _check_roles(rules)
    length = len(format_json(rules.document))
    if length > MAX_RULES_BYTES:
        raise MalformedError(
            f"the rules would have {length} bytes, and a log's have at most {MAX_RULES_BYTES}"
        )


def _check_administrators(rules: Rules) -> None:
    count = len(rules.administrators)
    if count > MAX_ADMINISTRATORS:
        raise MalformedError(f"{count} administrators, and a log has at most {MAX_ADMINISTRATORS}")
    least = 1 if count else 0
    if not least <= rules.threshold <= count:
        raise MalformedError(
            f"a threshold of {rules.threshold} with {count} administrators: write {least} to {count}"
        )
    for block in rules.admission.keys:
        if block.kind == "administrator" and (block.from_index or block.until_index is not None):
            raise MalformedError(
                "an administrator's block has a range of indexes: a log could end up with none of them;"
                " administrators come and go by statements"
            )


def _check_roles(rules: Rules) -> None:
    """No key serves two roles: peers' keys are none of those that sign statements, nor each other."""
    seen = {key.key.spki: f"a {key.kind}'s" for key in rules.admission.keys}
    for peer in rules.peers:
        keys = [peer.public, *(parse_verifier_key(text).public for text in (peer.log_key, peer.cosigner_key))]
        for public in keys:
            spki = ED25519_PREFIX + public
            if spki in seen:
                raise MalformedError(
                    f"a key of the peer {peer.name} is {seen[spki]} too: make one for each role"
                )
            seen[spki] = f"another one of {peer.name}"


# --- admission list ---------------------------------------------------------------------------------------


def format_admission(listed: AdmissionList) -> dict[str, JSONValue]:
    """The list as JSON in one order, each key as PEM text: peers format 10."""
    blocks: dict[str, JSONValue] = {}
    for kind in KINDS:
        keys = sorted(
            (key for key in listed.keys if key.kind == kind),
            key=lambda key: (key.operator, key.key.spki, key.builder or "", key.from_index),
        )
        blocks[kind] = [_format_block(key) for key in keys]
    return blocks


def parse_admission_json(value: JSON) -> AdmissionList:
    """The list in JSON, under the same rules as a file of it. Raises MalformedError, TrustError."""
    values: Mapping[str, object] = take_object(value, "admission", KINDS)
    mistakes = Mistakes("admission list")
    keys = read_blocks(Table("top level", values, mistakes, _refuse_files))
    mistakes.check()
    return AdmissionList(keys)


def join_lists(keys: Iterable[TrustedKey]) -> AdmissionList:
    """These blocks as one list, under the rules of every list. Raises TrustError."""
    # By way of JSON: one reader says what a list may be, whoever made it.
    document = format_admission(AdmissionList(tuple(keys)))
    mistakes = Mistakes("admission list")
    found = read_blocks(Table("top level", document, mistakes, _refuse_files))
    mistakes.check()
    return AdmissionList(found)


def admission_digest(listed: AdmissionList) -> str:
    """SHA-256 (hex) of the list in its one JSON form: equal for lists that say the same."""
    return hashlib.sha256(format_json(format_admission(listed))).hexdigest()


def fingerprints(keys: Sequence[StatementKey]) -> tuple[str, ...]:
    """SHA-256 (hex) of each key's SPKI."""
    return tuple(key.spki_sha256.hex() for key in keys)


def _format_block(key: TrustedKey) -> dict[str, JSONValue]:
    block: dict[str, JSONValue] = {"key": format_public_pem(key.key), "operator": key.operator}
    if key.builder is not None:
        block["builder"] = key.builder
    if key.kind != "administrator":
        block["ecosystems"] = sorted(key.ecosystems)
    if key.from_index:
        block["from_index"] = key.from_index
    if key.until_index is not None:
        block["until_index"] = key.until_index
    return block


def _refuse_files(name: str) -> str:
    raise MalformedError(f"it names the file {name!r}, and a genesis holds the keys themselves")
