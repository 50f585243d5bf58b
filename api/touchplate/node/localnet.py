"""A whole network of peers on this machine's loopback, to try it out. One operator holds all keys."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from touchplate.base.addresses import AddressRules
from touchplate.base.durable import write_atomic
from touchplate.base.environment import Environment
from touchplate.base.errors import ConfigError, FetchError
from touchplate.base.http import HTTPClient, HTTPLimits
from touchplate.log.errors import BusyError
from touchplate.log.peers.engine import Supervised
from touchplate.log.peers.joining import (
    CARD_NAME,
    CONFIG_NAME,
    POLICY_NAME,
    Local,
    init_peer,
    join_network,
    load_card,
)
from touchplate.verify.keys import format_private_pem, format_public_pem, generate_signer
from touchplate.verify.notes import MAX_NOTE_BYTES

ORIGIN = "log.localhost"
OPERATOR = "https://localhost"
MAX_LOCAL = 7
READY_SECONDS = 120.0
"""From the start to a checkpoint that a quorum has cosigned; seconds, on a machine that is not busy."""


@dataclass(frozen=True)
class LocalPeer:
    """One peer of the network: its folder and the URL of its log."""

    folder: Path
    url: str


def make_network(folder: Path, count: int, admission: Path | None) -> list[LocalPeer]:
    """Keys, cards, genesis and configurations of `count` peers below `folder`; what is there is kept.

    Without an admission list one is made, with the keys of a recorder and an administrator. Raises
    ConfigError (also when another number of peers is there already), StorageError.
    """
    folders = [folder / f"peer{number}" for number in range(count)]
    there = sorted(path.parent for path in folder.glob(f"peer*/{CONFIG_NAME}"))
    if there == sorted(folders):
        return [LocalPeer(each, load_card(each / CARD_NAME).url) for each in folders]
    if there:
        # New cards would not be those of its genesis, and fewer peers than a quorum decide nothing.
        what = f"it holds a network of {len(there)} peers, not {count}"
        raise ConfigError(str(folder), (f"{what}: write -n {len(there)}, or name another folder",))
    folder.mkdir(parents=True, exist_ok=True)
    ports = free_ports(3 * count)
    admission = admission or _make_admission(folder)
    cards, locals_ = [], []
    for number, each in enumerate(folders):
        p2p, rpc, http = (f"127.0.0.1:{ports[3 * number + offset]}" for offset in range(3))
        cards.append(init_peer(each, f"peer{number}", ORIGIN, p2p=p2p, url=f"http://{http}/log"))
        locals_.append(Local(http, rpc))
    for each, local in zip(folders, locals_, strict=True):
        join_network(each, cards, admission, local)
    return [LocalPeer(each, card.url) for each, card in zip(folders, cards, strict=True)]


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _make_admission(folder: Path) -> Path:
    path = folder / "admission.toml"
    if not path.exists():
        blocks = [
            f'[[recorder]]\necosystems = ["maven", "conan", "oci"]\n{_make_key(folder / "recorder.pem")}'
        ]
        blocks.append(f"[[administrator]]\n{_make_key(folder / 'administrator.pem')}")
        write_atomic(path, "\n".join(blocks).encode())
    return path


def _make_key(path: Path) -> str:
    """Write a private key; the operator and the public key as lines of a block."""
    signer = generate_signer()
    write_atomic(path, format_private_pem(signer), 0o600)
    return f'operator = "{OPERATOR}"\nkey = """\n{format_public_pem(signer.key)}"""\n'


class LocalNetwork:
    """The processes of a local network."""

    def __init__(self, peers: list[LocalPeer]) -> None:
        self.peers = peers
        self._stopping = Event()
        command = [sys.executable, "-m", "touchplate.verify", "peer", "start", "--config", CONFIG_NAME]
        self._running = [Supervised(command, each.folder, each.folder / "peer.log") for each in peers]
        self._client = HTTPClient(
            AddressRules.parse(hosts=["127.0.0.1"]), HTTPLimits(read=5.0), environment=Environment({})
        )

    def start(self, progress: Callable[[str], None]) -> None:
        """Start all, and wait until each serves a checkpoint. Raises BusyError after `READY_SECONDS`."""
        for each in self._running:
            each.start()
        deadline = time.monotonic() + READY_SECONDS
        for peer in self.peers:
            while not self._serves(peer.url):
                if self._stopping.is_set():
                    return
                if time.monotonic() > deadline:
                    raise BusyError(
                        f"{peer.url} serves no checkpoint after {READY_SECONDS:g} s; see"
                        f" {peer.folder / 'peer.log'} and {peer.folder / 'engine/engine.log'}"
                    )
                self._stopping.wait(0.2)
            progress(f"{peer.url} is up")

    def stop(self) -> None:
        """Stop all. Safe to call twice."""
        self._stopping.set()
        for each in self._running:
            each.stop()
        self._client.close()

    def policy(self) -> Path:
        """The policy for readers of this network."""
        return self.peers[0].folder / POLICY_NAME

    def _serves(self, url: str) -> bool:
        try:
            return self._client.get(f"{url}/checkpoint", max_bytes=MAX_NOTE_BYTES).status == 200
        except FetchError:
            return False
