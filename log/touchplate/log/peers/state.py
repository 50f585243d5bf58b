"""The state that all peers hold alike, the genesis it begins with, and the app hash that binds it. Pure.

    app hash = Merkle root (32 bytes) || SHA-256 of the rest of the state (32 bytes)

The root binds every entry and its order. It does not say how many entries there are, nor who may write, nor
who decides: two peers with one tree and different admission lists would agree for months, and then split
over one entry. So the second half covers origin, tree size, admission list and validators. The height is
left out on purpose: an empty block must not change the app hash, or the engine would make empty blocks for
ever.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from touchplate.log.errors import CorruptTreeError, LogError
from touchplate.log.growth import Edge
from touchplate.verify.blocks import KINDS, Mistakes, Table, TrustedKey, read_blocks
from touchplate.verify.encoding import decode_base64, encode_base64, parse_decimal
from touchplate.verify.errors import MalformedError, VerifyError
from touchplate.verify.fields import take_count, take_list, take_map, take_object, take_sha256, take_text
from touchplate.verify.jcs import JSON, JSONValue, format_json, parse_json
from touchplate.verify.keys import format_public_pem
from touchplate.verify.trust import AdmissionList

FORMAT = "touchplate.peers/v1"

MAX_STATE_BYTES = 4 * 1024 * 1024
"""Bytes of a state or genesis: a list of a thousand keys has half a megabyte."""

ED25519_BYTES = 32


class GenesisError(LogError):
    """The network that the engine speaks of is not the one that this peer was set up for."""

    default_reason = "genesis"


@dataclass(frozen=True, slots=True)
class Validator:
    """Who votes on blocks: an Ed25519 public key and its voting power."""

    public: bytes
    power: int

    @property
    def address(self) -> bytes:
        """How the engine names it: the first 20 bytes of SHA-256 of the key."""
        return hashlib.sha256(self.public).digest()[:20]


@dataclass(frozen=True, slots=True)
class State:
    """What follows from the genesis and the blocks up to `height`. Immutable; a block makes a new one.

    `founders`: validators of the genesis, which the number of tolerated faults is counted from.
    """

    origin: str
    height: int
    edge: Edge
    admission: AdmissionList
    validators: tuple[Validator, ...]
    founders: int

    @property
    def size(self) -> int:
        """Entries of the tree."""
        return self.edge.size

    def app_hash(self) -> bytes:
        """Merkle root, then the digest of everything else that verdicts depend on: 64 bytes."""
        rest: dict[str, JSONValue] = {
            "admission": admission_digest(self.admission),
            "founders": self.founders,
            "origin": self.origin,
            "size": str(self.size),
            "validators": _format_validators(self.validators),
        }
        return self.edge.root() + hashlib.sha256(format_json(rest)).digest()


def quorum_of(members: int) -> int:
    """The fewest of `members` equals of whom any two groups share an honest one: more than two thirds.

    2f+1 of 3f+1 members.
    """
    return members * 2 // 3 + 1


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
    mistakes = Mistakes("admission list of the genesis")
    keys = read_blocks(Table("top level", values, mistakes, _refuse_files))
    mistakes.check()
    return AdmissionList(keys)


def admission_digest(listed: AdmissionList) -> str:
    """SHA-256 (hex) of the list in its one JSON form: equal for lists that say the same."""
    return hashlib.sha256(format_json(format_admission(listed))).hexdigest()


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


# --- genesis ----------------------------------------------------------------------------------------------


def format_app_state(origin: str, listed: AdmissionList) -> dict[str, JSONValue]:
    """`app_state` of a genesis: whose log it is, and who may write at its beginning (peers format 10)."""
    return {
        "admission": format_admission(listed),
        "admission_sha256": admission_digest(listed),
        "format": FORMAT,
        "origin": origin,
    }


def begin(app_state: bytes, validators: Iterable[Validator], origin: str, listed: AdmissionList) -> State:
    """The state before the first block.

    Raises GenesisError when the genesis is of another log, or its admission list is not the one (`listed`)
    that this peer's operator has agreed to.
    """
    try:
        members = take_object(
            parse_json(app_state, max_bytes=MAX_STATE_BYTES),
            "app_state",
            ("admission", "admission_sha256", "format", "origin"),
        )
        stated = take_sha256(members["admission_sha256"], "admission_sha256")
        found = parse_admission_json(members["admission"])
        if members["format"] != FORMAT:
            raise MalformedError(f"its format is {members['format']!r}, not {FORMAT!r}")
        if members["origin"] != origin:
            raise MalformedError(f"it is of the log {members['origin']!r}, this peer is of {origin!r}")
        if admission_digest(found) != stated:
            raise MalformedError("its admission list has another digest than it says")
    except VerifyError as error:
        raise GenesisError(f"the genesis cannot be used: {error}") from error
    check_admission(stated, listed)
    members_of = tuple(sorted(validators, key=lambda each: each.public))
    if not members_of:
        raise GenesisError("the genesis names no validator")
    return State(origin, 0, Edge(), found, members_of, len(members_of))


def check_admission(replicated: str, listed: AdmissionList) -> None:
    """Raise GenesisError unless the operator's own list has the digest of the replicated one."""
    own = admission_digest(listed)
    if own != replicated:
        raise GenesisError(
            f"the peers' admission list has the digest {replicated}, the configured one {own}: every peer"
            " needs the same list; take over the peers' one, or set up another network"
        )


# --- at rest ----------------------------------------------------------------------------------------------


def format_state(state: State) -> bytes:
    """What is stored with each block: everything but the tree itself."""
    return format_json(
        {
            "admission": format_admission(state.admission),
            "format": FORMAT,
            "founders": state.founders,
            "height": str(state.height),
            "origin": state.origin,
            "root": encode_base64(state.edge.root()),
            "size": str(state.size),
            "validators": _format_validators(state.validators),
        }
    )


def parse_state(data: bytes, edge: Edge) -> State:
    """The stored state over the tree's `edge`. Raises CorruptTreeError when they are not of one block."""
    try:
        value = parse_json(data, max_bytes=MAX_STATE_BYTES)
        names = ("admission", "format", "founders", "height", "origin", "root", "size", "validators")
        members = take_object(value, "state", names)
        if members["format"] != FORMAT:
            raise MalformedError(f"its format is {members['format']!r}, not {FORMAT!r}")
        size = parse_decimal(take_text(members["size"], "size"), "size")
        root = decode_base64(take_text(members["root"], "root"), "root")
        state = State(
            take_text(members["origin"], "origin"),
            parse_decimal(take_text(members["height"], "height"), "height"),
            edge,
            parse_admission_json(members["admission"]),
            _parse_validators(members["validators"]),
            take_count(members["founders"], "founders", least=1),
        )
    except VerifyError as error:
        raise CorruptTreeError(f"the stored state of the peers cannot be read: {error}") from error
    if (size, root) != (edge.size, edge.root()):
        raise CorruptTreeError(
            f"the stored state is of a tree of {size} entries, root {root.hex()}; the tree has {edge.size},"
            f" root {edge.root().hex()}: run log fsck"
        )
    return state


def _format_validators(validators: Iterable[Validator]) -> list[JSONValue]:
    return [{"key": encode_base64(each.public), "power": each.power} for each in validators]


def _parse_validators(value: JSON) -> tuple[Validator, ...]:
    found = []
    for number, each in enumerate(take_list(value, "validators", least=1)):
        members = take_map(each, f"validator {number}")
        public = decode_base64(take_text(members.get("key"), "key"), "key")
        if len(public) != ED25519_BYTES:
            raise MalformedError(
                f"the key of validator {number} has {len(public)} bytes, not {ED25519_BYTES}"
            )
        found.append(Validator(public, take_count(members.get("power"), "power", least=1)))
    return tuple(found)
