"""The table `[log.peers]` of a configuration: who the other peers are, and where this one's engine stands."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from touchplate.base.config import Secret
from touchplate.log.peers.heads import PeerKeys
from touchplate.log.peers.rules import MAX_PEERS
from touchplate.verify.notes import parse_verifier_key
from touchplate.verify.predicates.peers import is_address, is_peer_name, place_mistakes


@dataclass(frozen=True)
class PeerSection:
    """Another peer."""

    name: str
    node: str
    """Its engine: node id @ host:port."""
    url: str
    """Its log, where its signed heads are read: "https://peer-b.example.org/log"."""
    log_key: str
    """Its log key under the common origin (text form of the public key)."""
    cosigner_key: str

    def check(self) -> list[str]:
        """The form of every field."""
        found = []
        if not is_peer_name(self.name):
            found.append(
                f"name: {self.name!r}: write lower-case letters, digits and hyphens, not none or peers"
            )
        return found + place_mistakes(self.node, self.url, self.log_key, self.cosigner_key)

    @property
    def node_id(self) -> str:
        """The id of its engine."""
        return self.node.partition("@")[0]

    @property
    def keys(self) -> PeerKeys:
        """Its name and keys, parsed."""
        return PeerKeys(self.name, parse_verifier_key(self.log_key), parse_verifier_key(self.cosigner_key))


@dataclass(frozen=True)
class PeersConfig:
    """This peer's place among the peers."""

    name: str
    cosigner: Secret
    """The private key under which it cosigns, in its own name."""
    home: Path
    """Folder of the engine: keys, genesis, blocks (touchplate peer init)."""
    p2p: str
    """Where the engine listens for those of the other peers: host:port."""
    rpc: str
    """The engine's RPC, on loopback: host:port."""
    peer: tuple[PeerSection, ...] = ()
    engine: Path | None = None
    """The CometBFT program; absent: where `touchplate peer init` has built it."""
    propose_timeout: str = "500ms"
    vote_timeout: str = "500ms"
    """Between continents write "3s" and "1s"."""

    def check(self) -> list[str]:
        """What concerns several fields."""
        found = []
        if not is_peer_name(self.name):
            found.append(
                f"name: {self.name!r}: write lower-case letters, digits and hyphens, not none or peers"
            )
        for what, address in (("p2p", self.p2p), ("rpc", self.rpc)):
            if not is_address(address):
                found.append(f"{what}: {address!r} is not host:port")
        host = self.rpc.rpartition(":")[0].strip("[]")
        if not (host == "::1" or host.startswith("127.")):
            found.append(
                f"rpc: {self.rpc!r} is not on this host; it asks nobody who he is: use 127.0.0.1:PORT"
            )
        for what, text in (("propose_timeout", self.propose_timeout), ("vote_timeout", self.vote_timeout)):
            if not re.fullmatch(r"[1-9][0-9]{0,5}(?:ms|s)", text):
                found.append(f'{what}: {text!r} is not a time such as "500ms" or "3s"')
        if len(self.peer) >= MAX_PEERS:
            found.append(f"peer: {len(self.peer)} others, at most {MAX_PEERS - 1} are possible")
        for what in ("name", "node_id", "url", "log_key", "cosigner_key"):
            values = [getattr(each, what) for each in self.peer]
            if len(set(values)) != len(values) or (what == "name" and self.name in values):
                found.append(f"peer: two peers have the same {what}")
        return found
