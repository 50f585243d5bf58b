"""Two nodes in this process as peers of each other's blobs: everything but the engine that decides the log.

Their logs are apart; `share` does what agreement does, and puts the entries of one into the other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.api.support import Answer, call
from tests.base.support import Handler, Server, client, running

from touchplate.api.peers import PeerBlobs
from touchplate.api.ports import BlobHolder
from touchplate.log.peers.requests import PeerRequests, node_id_of
from touchplate.node.app import ASGI, make_app
from touchplate.node.config import NodeConfig, load_config
from touchplate.node.peer_blobs import LIMITS, PeerHolder
from touchplate.node.wiring import Node

KEYS = {name: Ed25519PrivateKey.from_private_bytes(name.encode() * 32) for name in "abcx"}
IDS = {name: node_id_of(key.public_key().public_bytes_raw()) for name, key in KEYS.items()}
SHORT = replace(LIMITS, read=2, head=3)
"""The node's own limits, but for the silence that these tests wait for."""

LISTED = "abc"
"""The peers; `x` is listed by nobody."""


def requests_of(name: str) -> PeerRequests:
    """How the peer of this name shows who it is, and checks who asks it."""
    return PeerRequests(KEYS[name], {IDS[other]: other for other in LISTED if other != name}.get)


class Everywhere(dict[str, Any]):
    """Actions of a server: the same one for every path."""

    def __init__(self, action: Any) -> None:
        self._action = action

    def get(self, _key: str, _default: object = None) -> Any:
        return self._action


class PeeredNode(Node):
    """A node with the given peers, over a log that it decides alone."""

    def __init__(self, config: NodeConfig, requests: PeerRequests, holders: Sequence[BlobHolder]) -> None:
        self._given = (requests, holders)
        super().__init__(config)

    def _open_peers(self) -> PeerBlobs | None:
        self.peer_requests, holders = self._given
        return PeerBlobs(holders, self.blobs, self.alarms)


@dataclass
class Peer:
    """A peer: its node, and the server at which the others reach it (a relay to the node's application)."""

    name: str
    server: Server
    node: PeeredNode | None = None
    app: ASGI | None = None
    told: list[Answer] = field(default_factory=list)
    """What it answered to the other peers."""

    def __post_init__(self) -> None:
        self.server.actions = Everywhere(self.relay)

    def relay(self, handler: Handler) -> None:
        """Pass a request of another peer to the node."""
        assert self.app is not None
        answer = call(self.app, handler.path, headers=dict(handler.headers.items()))
        self.told.append(answer)
        handler.reply(answer.status, answer.body)

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """A client's request."""
        assert self.app is not None
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return call(self.app, path, method=method, headers=named)

    def asked(self) -> int:
        """How often another peer asked it for a blob."""
        return len(self.server.requests)


@dataclass
class Pair:
    """`a` holds, `b` wants; `c` is between them in the list of `b` and answers as a test says."""

    a: Peer
    b: Peer
    liar: Server

    def share(self) -> None:
        """The entries of a's log that b's has not."""
        assert self.a.node is not None
        assert self.b.node is not None
        entries = self.a.node.log.reader
        envelopes = [entries.entry(index).envelope for index in range(entries.size())]
        self.b.node.log.append(envelopes)
        self.b.node.index.catch_up()


@contextlib.contextmanager
def running_peer(peer: Peer, config: Path, holders: Sequence[BlobHolder]) -> Iterator[Peer]:
    """The peer with a started node."""
    node = PeeredNode(load_config(config), requests_of(peer.name), holders)
    node.start()
    peer.node, peer.app = node, make_app(node)
    try:
        yield peer
    finally:
        node.stop()


@contextlib.contextmanager
def pair(config_a: Path, config_b: Path, *, with_liar: bool = False, alone: bool = False) -> Iterator[Pair]:
    """Two peers. `with_liar`: b asks c first; `alone`: b knows no other peer."""
    with running() as server_a, running() as server_b, running() as liar, client(limits=SHORT) as http:
        a, b = Peer("a", server_a), Peer("b", server_b)
        holders = [
            PeerHolder(name, IDS[name], server.url("/log"), requests_of("b"), http)
            for name, server in (("c", liar), ("a", server_a))
            if (with_liar or name == "a") and not alone
        ]
        with running_peer(a, config_a, ()), running_peer(b, config_b, holders):
            yield Pair(a, b, liar)
