"""Who asks: a request of one peer to another, signed with the node key that names it to the others.

    Authorization: Touchplate-Peer <node's public key, hex>.<unix time>.<signature, hex>

Ed25519 over four lines (peers format 10). The node id that everybody has listed is a digest of the public
key, so no further secret has to be exchanged. (Engines sign 32 bytes with the same key when they connect, so
neither signature can stand for the other.) The id of the peer that is asked is signed, too: what one peer
was shown is of no use at another. Pure but for the clock.
"""

import hashlib
import re
import time
from collections.abc import Callable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from touchplate.log.errors import LogError

SCHEME = "Touchplate-Peer"

MAX_SKEW_SECONDS = 300
"""How far the clocks of two peers may be apart, and how long a request that somebody recorded can be
repeated: it then gives the same bytes that were sent over that connection before."""

_CONTEXT = "touchplate.peer-request/v1"
_CREDENTIALS = re.compile(r"([0-9a-f]{64})\.([1-9][0-9]{0,17})\.([0-9a-f]{128})", re.ASCII)


FindPeer = Callable[[str], str | None]
"""The name of the peer with this node id; None when there is none now."""


class StrangerError(LogError):
    """Whoever asks has not shown that it is a listed peer, and asks about this, here, now."""

    default_reason = "not-a-peer"


def node_id_of(public: bytes) -> str:
    """The id by which engines know the node with this public key (CometBFT: 20 bytes of SHA-256, hex)."""
    return hashlib.sha256(public).hexdigest()[:40]


class PeerRequests:
    """One peer's side of both: it signs what it asks, and checks who asks it. Safe from any thread."""

    def __init__(
        self, key: Ed25519PrivateKey, find: FindPeer, *, now: Callable[[], float] = time.time
    ) -> None:
        """`key`: of this node. `find`: who the others are, each time that one asks."""
        self._key = key
        self._public = key.public_key().public_bytes_raw()
        self._id = node_id_of(self._public)
        self._find = find
        self._now = now

    def sign(self, asked: str, path: str) -> str:
        """The `Authorization` of a GET of `path` (below the log's prefix) at the peer with the node id
        `asked`."""
        at = int(self._now())
        signature = self._key.sign(_signed_bytes(asked, path, at))
        return f"{SCHEME} {self._public.hex()}.{at}.{signature.hex()}"

    def check(self, authorization: str, path: str) -> str:
        """The name of the peer that asks for `path` here. Raises StrangerError."""
        scheme, _, credentials = authorization.partition(" ")
        match = _CREDENTIALS.fullmatch(credentials.strip()) if scheme.lower() == SCHEME.lower() else None
        if match is None:
            raise StrangerError("this is for the other peers only, which sign their requests")
        public, at, signature = bytes.fromhex(match[1]), int(match[2]), bytes.fromhex(match[3])
        # Strangers cost one hash: the signature is looked at for listed keys only.
        name = self._find(node_id_of(public))
        if name is None:
            raise StrangerError(f"the node {node_id_of(public)} is not listed here as a peer")
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, _signed_bytes(self._id, path, at))
        except (InvalidSignature, ValueError):
            raise StrangerError(f"the request is not signed by {name} for this peer and this path") from None
        if abs(self._now() - at) > MAX_SKEW_SECONDS:
            raise StrangerError(
                f"the request of {name} was signed at {at}, more than {MAX_SKEW_SECONDS} s from now: an old"
                " one, or one of the two clocks is wrong"
            )
        return name


def _signed_bytes(asked: str, path: str, at: int) -> bytes:
    return f"{_CONTEXT}\n{asked}\nGET {path}\n{at}\n".encode()
