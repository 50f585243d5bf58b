"""Setting up a network: each operator makes a peer, they exchange cards, and each writes the same genesis.

A *card* is what a peer tells the others of itself: names, addresses and public keys, no secret. From all
cards and the admission list everybody makes the same genesis, a configuration of his own, and the policy
for readers. Who comes later takes the genesis as it is.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from touchplate.base.durable import make_folder, write_atomic
from touchplate.base.errors import ConfigError, StorageError
from touchplate.log.peers import home as homes
from touchplate.log.peers.rules import Rules, check_rules, quorum_of
from touchplate.log.peers.state import check_admission
from touchplate.verify.errors import MalformedError
from touchplate.verify.notes import (
    format_signer_key,
    format_verifier_key,
    generate_note_signer,
    is_origin,
    parse_signer_key,
    parse_verifier_key,
)
from touchplate.verify.policy import parse_policy
from touchplate.verify.predicates.peers import FIELDS, Peer, is_address, is_peer_name, peer_mistakes
from touchplate.verify.trust import AdmissionList, load_admission

CARD_FORMAT = "touchplate.peer/v1"
CARD_NAME = "card.json"
CONFIG_NAME = "peer.toml"
NEW_CONFIG_NAME = "peer.toml.new"
"""What `peer.toml` would be now, when there is another one already: operators write in theirs."""
POLICY_NAME = "policy.txt"
HOME_NAME = "engine"
MAX_CARD_BYTES = 16 * 1024


@dataclass(frozen=True)
class Card:
    """What a peer tells the others."""

    name: str
    origin: str
    validator: str
    node: str
    url: str
    log_key: str
    cosigner_key: str

    def check(self) -> None:
        """Raise ConfigError for a card that cannot be used."""
        mistakes = peer_mistakes(self.peer)
        if not is_origin(self.origin):
            mistakes.append(f"origin: {self.origin!r} is not a bare lower-case host name")
        if not mistakes and parse_verifier_key(self.log_key).name != self.origin:
            mistakes.append("log_key: its name is not the origin")
        if mistakes:
            raise ConfigError(f"the card of {self.name!r}", tuple(mistakes))

    @property
    def peer(self) -> Peer:
        """The peer that it describes, as genesis and statements name it."""
        return Peer(self.name, self.validator, self.node, self.url, self.log_key, self.cosigner_key)


def init_peer(folder: Path, name: str, origin: str, *, p2p: str, url: str) -> Card:
    """Make a peer's keys below `folder` where they are missing, and its card. Raises ConfigError,
    StorageError."""
    mistakes = []
    if not is_peer_name(name):
        mistakes.append(f"name: {name!r}: write lower-case letters, digits and hyphens, not none or peers")
    if not is_address(p2p):
        mistakes.append(f"p2p: {p2p!r} is not host:port, as the other peers reach it")
    if mistakes:
        raise ConfigError("this peer", tuple(mistakes))
    try:
        make_folder(folder / "keys", 0o700)
    except OSError as error:
        raise StorageError(f"cannot make {folder}: {error.strerror}") from error
    homes.make_home(folder / HOME_NAME)
    card = Card(
        name,
        origin,
        homes.validator_key(folder / HOME_NAME),
        f"{homes.node_id(folder / HOME_NAME)}@{p2p}",
        url.rstrip("/"),
        _note_key(folder / "keys/log.key", origin, log=True),
        _note_key(folder / "keys/cosigner.key", f"{name}.{origin}", log=False),
    )
    card.check()
    write_atomic(folder / CARD_NAME, format_card(card))
    return card


def format_card(card: Card) -> bytes:
    """The card as a file."""
    return json.dumps({"format": CARD_FORMAT, **asdict(card)}, indent=2).encode() + b"\n"


def load_card(path: Path) -> Card:
    """The card in a file. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(MAX_CARD_BYTES))
        if document.pop("format") != CARD_FORMAT:
            raise ValueError("another format")
        card = Card(**{name: str(text) for name, text in document.items()})
    except OSError as error:
        raise ConfigError(str(path), (f"cannot be read: {error.strerror}",)) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigError(str(path), (f"this is no card of a peer: {error}",)) from error
    card.check()
    return card


@dataclass(frozen=True)
class Local:
    """What only this peer needs to know: where its HTTP face and its engine's RPC listen."""

    listen: str
    rpc: str


def join_network(
    folder: Path, cards: Sequence[Card], admission: Path, local: Local, *, threshold: int | None = None
) -> Path:
    """Write genesis, configuration and policy below `folder`; returns the configuration's path, which is
    another one (`NEW_CONFIG_NAME`) where a different configuration stands already.

    `cards`: of all peers, this one's included. `threshold`: as `make_genesis`. Raises ConfigError,
    TrustError, StorageError.
    """
    own = load_card(folder / CARD_NAME)
    check_together(cards, own)
    genesis = make_genesis(cards, load_admission(admission), threshold)
    homes.write_genesis(folder / HOME_NAME, genesis)
    return _write_settings(folder, own, cards, admission, local)


def join_later(folder: Path, genesis: Path, cards: Sequence[Card], admission: Path, local: Local) -> Path:
    """The same for a peer that joins a network which runs, by its `genesis`.

    `cards`: of peers that joined after the founders, whose own stand in the genesis. Whether this one is let
    in, and may vote, is for the administrators. Raises ConfigError, TrustError, StorageError.
    """
    own = load_card(folder / CARD_NAME)
    data, origin, founding_digest, founders = homes.load_genesis(genesis)
    founding = [Card(origin=origin, **{name: getattr(peer, name) for name in FIELDS}) for peer in founders]
    together = [*founding, *(card for card in cards if card not in founding and card != own), own]
    check_together(together, own)
    check_admission(founding_digest, load_admission(admission))
    homes.write_genesis(folder / HOME_NAME, data)
    return _write_settings(folder, own, together, admission, local)


def _write_settings(folder: Path, own: Card, cards: Sequence[Card], admission: Path, local: Local) -> Path:
    write_atomic(folder / POLICY_NAME, format_quorum_policy(cards).encode())
    others = [card for card in cards if card.name != own.name]
    text = format_config_text(own, others, admission.absolute(), local).encode()
    path = folder / CONFIG_NAME
    if path.exists() and path.read_bytes() != text:
        path = folder / NEW_CONFIG_NAME
    write_atomic(path, text)
    return path


def check_together(cards: Sequence[Card], own: Card) -> None:
    """Raise ConfigError unless these cards can be one network with `own` in it."""
    mistakes = []
    if own not in cards:
        mistakes.append(f"this peer's own card ({own.name}) is not among them, or differs")
    if any(card.origin != own.origin for card in cards):
        mistakes.append("they are of different origins")
    for field in ("name", "validator", "node", "url", "log_key", "cosigner_key"):
        values = [getattr(card, field) for card in cards]
        if len(set(values)) != len(values):
            mistakes.append(f"two of them have the same {field}")
    if mistakes:
        raise ConfigError("the cards", tuple(mistakes))


def make_genesis(cards: Sequence[Card], listed: AdmissionList, threshold: int | None = None) -> bytes:
    """The genesis of these peers. `threshold`: administrators that a change takes; None: more than half.

    Raises ConfigError for a list or peers that no log may have.
    """
    peers = tuple(card.peer for card in cards)
    rules = Rules(cards[0].origin, listed, threshold or 0, peers, (), len(peers), 0)
    if threshold is None and rules.administrators:
        rules = replace(rules, threshold=len(rules.administrators) // 2 + 1)
    try:
        check_rules(rules)
    except MalformedError as error:
        raise ConfigError("the genesis", (str(error),)) from error
    return homes.format_genesis(rules.origin, peers, listed, rules.threshold)


def format_quorum_policy(cards: Sequence[Card], quorum: int | None = None) -> str:
    """The policy (C2SP tlog-policy) of readers: any peer's log key, and more than two thirds as cosigners."""
    ordered = sorted(cards, key=lambda card: card.name)
    lines = [f"log {card.log_key} {card.url}" for card in ordered]
    lines += [f"witness {card.name} {card.cosigner_key}" for card in ordered]
    count = quorum if quorum is not None else quorum_of(len(ordered))
    lines.append(f"group peers {count} " + " ".join(card.name for card in ordered))
    text = "\n".join([*lines, "quorum peers", ""])
    parse_policy(text)
    return text


def format_log_tables(own: Card, others: Sequence[Card], admission: Path, rpc: str) -> str:
    """The tables `[log]` and `[log.peers]` of this peer's configuration."""
    host, _, port = own.node.partition("@")[2].rpartition(":")
    # The card says how others reach it; on this machine that address need not exist.
    p2p = f"{host}:{port}" if host.startswith("127.") else f"0.0.0.0:{port}"
    parts = [
        f"""\
[log]
mode = "peers"
origin = {json.dumps(own.origin)}
key = "file:keys/log.key"
# Who may write at the beginning: the list of the genesis. Changed by statements, never here.
admission = {json.dumps(str(admission))}

[log.peers]
name = {json.dumps(own.name)}
cosigner = "file:keys/cosigner.key"
home = {json.dumps(HOME_NAME)}
# Where this one's engine listens for the other peers' engines.
p2p = {json.dumps(p2p)}
# The engine's RPC: on this host only.
rpc = {json.dumps(rpc)}
"""
    ]
    parts += [
        f"""
[[log.peers.peer]]
name = {json.dumps(card.name)}
node = {json.dumps(card.node)}
url = {json.dumps(card.url)}
log_key = {json.dumps(card.log_key)}
cosigner_key = {json.dumps(card.cosigner_key)}
"""
        for card in sorted(others, key=lambda card: card.name)
    ]
    return "".join(parts)


def format_config_text(own: Card, others: Sequence[Card], admission: Path, local: Local) -> str:
    """The configuration for `touchplate peer start`."""
    return f"""\
# One peer of the log {own.origin}: `touchplate peer start --config {CONFIG_NAME}`.
data = "data"

[http]
listen = {json.dumps(local.listen)}

{format_log_tables(own, others, admission, local.rpc)}"""


def _note_key(path: Path, name: str, *, log: bool) -> str:
    """The public text of the key in `path`, made when it is not there."""
    if not path.exists():
        signer = generate_note_signer(name, "log" if log else "cosigner")
        write_atomic(path, format_signer_key(signer).encode() + b"\n", homes.PRIVATE)
    key = parse_signer_key(path.read_text()).key
    if key.name != name:
        raise ConfigError(str(path), (f"this is a key of {key.name!r}, not of {name!r}",))
    return format_verifier_key(key)
