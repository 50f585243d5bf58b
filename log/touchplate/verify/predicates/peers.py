"""Peers v1: administrators change which peers hold a log together (statement format 4).

The schema; what it does to a log's rules, and when, is in log/peers/changes.
"""

import re
from collections.abc import Mapping

from touchplate.verify.encoding import decode_base64
from touchplate.verify.errors import MalformedError, shown
from touchplate.verify.fields import take_count, take_list, take_object, take_text
from touchplate.verify.jcs import JSON, JSONValue
from touchplate.verify.notes import Role, parse_verifier_key
from touchplate.verify.values import value

PEERS_TYPE = "https://touchplate.dev/predicates/peers/v1"

VALIDATOR_BYTES = 32
"""Bytes of a validator's Ed25519 public key."""

MAX_URL = 512
"""Characters of a peer's URL, and of its engine's address: they stand in the state of every block."""

MAX_PORT = 65_535

_ADDRESS = r"(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]):[1-9][0-9]{0,4}"
_NAME = r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?"
_TAKEN_NAMES = ("none", "peers")  # in the policy that names the peers: C2SP's own word, and their group
_NODE_ID = r"[0-9a-f]{40}"
# Not by a library: what is a URL must not depend on its version, or peers could split over a statement.
_URL = (
    r"https?://(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(?::[1-9][0-9]{0,4})?"
    r"(?:/[A-Za-z0-9._~-]+)*"
)

FIELDS = ("cosigner_key", "log_key", "name", "node", "url", "validator")


@value
class Peer:
    """One peer: public keys, and where it is reached. All texts, in the forms of a peer's card.

    `validator`: base64 of the Ed25519 key that votes; `node`: its engine, id@host:port; `url`: its log.
    """

    name: str
    validator: str
    node: str
    url: str
    log_key: str
    cosigner_key: str

    @property
    def public(self) -> bytes:
        """The validator's key."""
        return decode_base64(self.validator, "validator")

    @property
    def node_id(self) -> str:
        """The id of its engine."""
        return self.node.partition("@")[0]


@value
class PeerChange:
    """A change of the peers: `add` join, those named in `remove` leave."""

    add: tuple[Peer, ...]
    remove: tuple[str, ...]
    from_index: int


def is_address(text: str) -> bool:
    """Whether this is host:port."""
    if len(text) > MAX_URL or not re.fullmatch(_ADDRESS, text):
        return False
    # An engine that is given an impossible port does not start.
    return int(text.rpartition(":")[2]) <= MAX_PORT


def is_peer_name(text: str) -> bool:
    """Whether a peer can be called this: lower-case letters, digits, hyphens; not `none` or `peers`."""
    return re.fullmatch(_NAME, text) is not None and text not in _TAKEN_NAMES


def peer_mistakes(peer: Peer) -> list[str]:
    """What is wrong with the form of a peer's fields, each with its name; empty when nothing is."""
    found = []
    if not is_peer_name(peer.name):
        found.append(
            f"name: {shown(peer.name)}: write lower-case letters, digits and hyphens, not none or peers"
        )
    try:
        if len(peer.public) != VALIDATOR_BYTES:
            found.append(f"validator: an Ed25519 key has {VALIDATOR_BYTES} bytes")
    except MalformedError as error:
        found.append(str(error))
    return found + place_mistakes(peer.node, peer.url, peer.log_key, peer.cosigner_key)


def place_mistakes(node: str, url: str, log_key: str, cosigner_key: str) -> list[str]:
    """What is wrong with where a peer is reached and how it signs, as `peer_mistakes`."""
    found = []
    node_id, _, address = node.partition("@")
    if not re.fullmatch(_NODE_ID, node_id) or not is_address(address):
        found.append(f"node: {shown(node)} is not id@host:port with 40 hex digits as id")
    if len(url) > MAX_URL or not re.fullmatch(_URL, url):
        found.append(f"url: {shown(url)} is no URL without a slash at its end")
    return (
        found
        + _key_mistakes("log_key", log_key, "log")
        + _key_mistakes("cosigner_key", cosigner_key, "cosigner")
    )


def parse_peer(value: JSON, what: str) -> Peer:
    """A peer in a statement or a genesis. Raises MalformedError."""
    members = take_object(value, what, FIELDS)
    peer = Peer(**{name: take_text(members[name], f"{what} {name}") for name in FIELDS})
    mistakes = peer_mistakes(peer)
    if mistakes:
        raise MalformedError(f"{what}: {'; '.join(mistakes)}")
    return peer


def format_peer(peer: Peer) -> dict[str, JSONValue]:
    """The JSON of a peer."""
    return {name: getattr(peer, name) for name in FIELDS}


def parse_peer_change(predicate: Mapping[str, JSON]) -> PeerChange:
    """The change in a predicate (statement format 4). Raises MalformedError."""
    members = take_object(dict(predicate), "peers", ("add", "remove", "from_index"))
    add = take_list(members["add"], "add")
    change = PeerChange(
        tuple(parse_peer(each, f"add {number}") for number, each in enumerate(add)),
        tuple(take_text(each, "remove") for each in take_list(members["remove"], "remove")),
        take_count(members["from_index"], "from_index"),
    )
    if not change.add and not change.remove:
        raise MalformedError("peers neither adds nor removes one")
    if len(set(change.remove)) != len(change.remove):
        raise MalformedError("remove names a peer twice")
    return change


def format_peer_change(change: PeerChange) -> dict[str, JSONValue]:
    """The predicate (statement format 4)."""
    return {
        "add": [format_peer(peer) for peer in change.add],
        "remove": list(change.remove),
        "from_index": change.from_index,
    }


def _key_mistakes(what: str, text: str, role: Role) -> list[str]:
    try:
        key = parse_verifier_key(text)
    except MalformedError as error:
        return [f"{what}: {error}"]
    return [] if key.role == role else [f"{what}: this is a {key.role} key, not a {role} key"]
