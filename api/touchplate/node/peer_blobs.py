"""Blobs between peers, plugged in: who is asked comes from the log's configuration, who asks is shown by node
keys and is a peer by the log's rules, and what is given is a matter of this node's links."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from touchplate.api.errors import PeersOnlyError, UpstreamError
from touchplate.api.http.peers import BLOBS_PATH, Authenticate
from touchplate.base.addresses import AddressRules
from touchplate.base.errors import FetchError
from touchplate.base.http import HTTPClient, HTTPLimits
from touchplate.log.peers import home as homes
from touchplate.log.peers.config import PeersConfig
from touchplate.log.peers.requests import FindPeer, PeerRequests, StrangerError

LIMITS = HTTPLimits(connect=3.0, read=10.0, head=20.0, total=3600.0, redirects=0)
"""A peer is a server that is meant to be up: a short wait, then the next one. Silence ends an answer, and
`touchplate.api.peers` its going too slowly once there are bytes of the blob; the total is that of the largest
files. `head`: a peer that sends a letter of a header now and then, or of a 404, would hold up everybody who
waits for the file for as long."""


@dataclass(frozen=True)
class PeerHolder:
    """`api.ports.BlobHolder` over HTTP: one other peer. `node`: its node id; `url`: of its log."""

    name: str
    node: str
    url: str
    requests: PeerRequests
    client: HTTPClient

    def fetch(self, sha256: str, sink: Callable[[bytes], object], max_bytes: int) -> bool:
        """See `BlobHolder.fetch`."""
        path = f"{BLOBS_PATH}/{sha256}"
        headers = {"Authorization": self.requests.sign(self.node, path)}
        try:
            response = self.client.stream(f"{self.url}{path}", sink, max_bytes=max_bytes, headers=headers)
        except FetchError as error:
            raise UpstreamError(f"{self.url}: {error}", reason=f"peer-{error.reason}") from error
        if response.status == 404:
            return False
        if response.status != 200:
            raise UpstreamError(f"{self.url} answered {response.status}", reason="peer-status")
        return True


def open_requests(peers: PeersConfig, find: FindPeer) -> PeerRequests:
    """This peer's node key, and who the others are. Raises StorageError."""
    return PeerRequests(homes.node_key(peers.home), find)


def open_holders(peers: PeersConfig, requests: PeerRequests) -> Sequence[PeerHolder]:
    """The other peers. Their operators were named in our configuration, so any address goes."""
    return [
        PeerHolder(
            peer.name,
            peer.node_id,
            peer.url,
            requests,
            HTTPClient(AddressRules.naming(peer.url), LIMITS),
        )
        for peer in peers.peer
    ]


def authenticate(requests: PeerRequests) -> Authenticate:
    """What the routes ask about who asks."""

    def who(authorization: str, path: str) -> str:
        try:
            return requests.check(authorization, path)
        except StrangerError as error:
            raise PeersOnlyError(str(error)) from error

    return who
