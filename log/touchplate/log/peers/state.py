"""The state that all peers hold alike, the genesis it begins with, and the app hash that binds it. Pure.

    app hash = Merkle root (32 bytes) || SHA-256 of the rest of the state (32 bytes)

The root binds every entry and its order. It does not say how many entries there are, nor who may write, nor
who decides: two peers with one tree and different admission lists would agree for months, and then split
over one entry. So the second half covers the tree size, the rules, and what administrators have approved. The
height is left out on purpose: an empty block must not change the app hash, or the engine would make empty
blocks for ever.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from touchplate.log.errors import CorruptTreeError, LogError
from touchplate.log.growth import Edge
from touchplate.log.peers.changes import Agreed, Approval, Scheduled, parse_change
from touchplate.log.peers.rules import (
    FORMAT,
    Rules,
    admission_digest,
    check_rules,
    format_admission,
    parse_admission_json,
    parse_peers,
    parse_rules,
)
from touchplate.verify.encoding import decode_base64, encode_base64, parse_decimal
from touchplate.verify.errors import MalformedError, VerifyError
from touchplate.verify.fields import take_count, take_list, take_object, take_sha256, take_text
from touchplate.verify.jcs import JSON, JSONValue, format_json, parse_json
from touchplate.verify.predicates.peers import Peer, format_peer
from touchplate.verify.trust import AdmissionList

MAX_STATE_BYTES = 4 * 1024 * 1024
"""Bytes of a state or genesis: a list of a thousand keys has half a megabyte."""


class GenesisError(LogError):
    """The network that the engine speaks of is not the one that this peer was set up for."""

    default_reason = "genesis"


@dataclass(frozen=True, slots=True)
class Validator:
    """Who votes on blocks: an Ed25519 public key and its voting power, 0 when it votes no more."""

    public: bytes
    power: int

    @property
    def address(self) -> bytes:
        """How the engine names it: the first 20 bytes of SHA-256 of the key."""
        return hashlib.sha256(self.public).digest()[:20]


@dataclass(frozen=True, slots=True)
class State:
    """What follows from the genesis and the blocks up to `height`. Immutable; a block makes a new one."""

    height: int
    edge: Edge
    agreed: Agreed

    @property
    def size(self) -> int:
        """Entries of the tree."""
        return self.edge.size

    @property
    def rules(self) -> Rules:
        """Who may write, who decides, and who may change either."""
        return self.agreed.rules

    @property
    def origin(self) -> str:
        """The log's name."""
        return self.rules.origin

    @property
    def admission(self) -> AdmissionList:
        """Who may write at the next index, unless a change is due there."""
        return self.rules.admission

    @property
    def validators(self) -> tuple[Validator, ...]:
        """Who votes, two blocks after this one."""
        return validators_of(self.rules)

    def app_hash(self) -> bytes:
        """Merkle root, then the digest of everything else that verdicts depend on: 64 bytes."""
        rest: dict[str, JSONValue] = {
            "approvals": format_approvals(self.agreed.approvals),
            "rules": self.rules.digest,
            "scheduled": format_scheduled(self.agreed.scheduled),
            "size": str(self.size),
        }
        return self.edge.root() + hashlib.sha256(format_json(rest)).digest()


def validators_of(rules: Rules) -> tuple[Validator, ...]:
    """The peers as validators, all of one power, in the order of their keys."""
    return tuple(Validator(public, 1) for public in sorted(peer.public for peer in rules.peers))


# --- genesis ----------------------------------------------------------------------------------------------


def format_app_state(
    origin: str, listed: AdmissionList, peers: Iterable[Peer], threshold: int
) -> dict[str, JSONValue]:
    """`app_state` of a genesis: whose log it is, who may write, and who decides at its beginning (peers
    format 10)."""
    return {
        "admission": format_admission(listed),
        "admission_sha256": admission_digest(listed),
        "format": FORMAT,
        "origin": origin,
        "peers": [format_peer(peer) for peer in sorted(peers, key=lambda peer: peer.name)],
        "threshold": threshold,
    }


def begin(app_state: bytes, validators: Iterable[Validator], origin: str, listed: AdmissionList) -> State:
    """The state before the first block.

    Raises GenesisError when the genesis is of another log, its validators are not its peers, or its admission
    list is not the one (`listed`) that this peer's operator has agreed to.
    """
    try:
        members = take_object(
            parse_json(app_state, max_bytes=MAX_STATE_BYTES),
            "app_state",
            ("admission", "admission_sha256", "format", "origin", "peers", "threshold"),
        )
        stated = take_sha256(members["admission_sha256"], "admission_sha256")
        if members["format"] != FORMAT:
            raise MalformedError(f"its format is {members['format']!r}, not {FORMAT!r}")
        if members["origin"] != origin:
            raise MalformedError(f"it is of the log {members['origin']!r}, this peer is of {origin!r}")
        found = parse_admission_json(members["admission"])
        if admission_digest(found) != stated:
            raise MalformedError("its admission list has another digest than it says")
        peers = parse_peers(members["peers"])
        threshold = take_count(members["threshold"], "threshold")
        rules = Rules(origin, found, threshold, peers, (), len(peers), 0)
        check_rules(rules)
        if sorted(validators, key=lambda each: each.public) != list(validators_of(rules)):
            raise MalformedError("its validators are not its peers, each with a power of 1")
    except VerifyError as error:
        raise GenesisError(f"the genesis cannot be used: {error}") from error
    check_admission(stated, listed)
    return State(0, Edge(), Agreed(rules))


def check_admission(founding: str, listed: AdmissionList) -> None:
    """Raise GenesisError unless the operator's own list has the digest of the one in the genesis."""
    own = admission_digest(listed)
    if own != founding:
        raise GenesisError(
            f"the peers' log began with an admission list of the digest {founding}, the configured one has"
            f" {own}: put back the file that the genesis was made with; the list is changed by statements of"
            " its administrators (`touchplate peer admit`), never by the file"
        )


# --- at rest ----------------------------------------------------------------------------------------------


def format_state(state: State) -> bytes:
    """What is stored with each block, in RFC 8785 form: everything but the tree itself."""
    # Only the rules are long, and they are written out once, however many blocks they hold for.
    parts = (
        *(b'{"approvals":', format_json(format_approvals(state.agreed.approvals))),
        *(b',"format":', format_json(FORMAT)),
        *(b',"height":', format_json(str(state.height))),
        *(b',"root":', format_json(encode_base64(state.edge.root()))),
        *(b',"rules":', state.rules.canonical),
        *(b',"scheduled":', format_json(format_scheduled(state.agreed.scheduled))),
        *(b',"size":', format_json(str(state.size))),
        b"}",
    )
    return b"".join(parts)


def parse_state(data: bytes, edge: Edge) -> State:
    """The stored state over the tree's `edge`. Raises CorruptTreeError when they are not of one block."""
    try:
        value = parse_json(data, max_bytes=MAX_STATE_BYTES)
        names = ("approvals", "format", "height", "root", "rules", "scheduled", "size")
        members = take_object(value, "state", names)
        if members["format"] != FORMAT:
            raise MalformedError(f"its format is {members['format']!r}, not {FORMAT!r}")
        size = parse_decimal(take_text(members["size"], "size"), "size")
        root = decode_base64(take_text(members["root"], "root"), "root")
        height = parse_decimal(take_text(members["height"], "height"), "height")
        approvals = tuple(parse_approval(each) for each in take_list(members["approvals"], "approvals"))
        rules = parse_rules(members["rules"])
        state = State(height, edge, Agreed(rules, approvals, parse_scheduled(members["scheduled"])))
    except VerifyError as error:
        raise CorruptTreeError(f"the stored state of the peers cannot be read: {error}") from error
    if (size, root) != (edge.size, edge.root()):
        raise CorruptTreeError(
            f"the stored state is of a tree of {size} entries, root {root.hex()}; the tree has {edge.size},"
            f" root {edge.root().hex()}: run log fsck"
        )
    return state


def format_approvals(approvals: Sequence[Approval]) -> list[JSONValue]:
    """The JSON of what is approved (peers format 10)."""
    return [
        {"by": list(each.by), "index": str(each.index), "statement": each.statement} for each in approvals
    ]


def parse_approval(value: JSON) -> Approval:
    """One approval in its JSON. Raises MalformedError."""
    members = take_object(value, "approval", ("by", "index", "statement"))
    return Approval(
        take_sha256(members["statement"], "statement"),
        parse_decimal(take_text(members["index"], "index"), "index"),
        tuple(take_sha256(each, "by") for each in take_list(members["by"], "by", least=1)),
    )


def format_scheduled(scheduled: Scheduled | None) -> JSONValue:
    """The JSON of the scheduled change, null for none (peers format 10)."""
    if scheduled is None:
        return None
    return {"index": str(scheduled.index), "statement": encode_base64(scheduled.change.payload)}


def parse_scheduled(value: JSON) -> Scheduled | None:
    """The scheduled change in its JSON. Raises MalformedError."""
    if value is None:
        return None
    members = take_object(value, "scheduled", ("index", "statement"))
    payload = decode_base64(take_text(members["statement"], "statement"), "statement")
    return Scheduled(parse_decimal(take_text(members["index"], "index"), "index"), parse_change(payload))
