"""The two sides: four peers of ours, and four engines with their own example application.

Both have the same engine with the same configuration and the same genesis, so what differs is the
application: ours checks signatures and statements, keeps a Merkle tree on disk, and has a quorum cosign each
head; theirs (`kvstore`) puts a key and a value into a map in memory, within the engine's own process.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tests.bench.harness import check
from tests.bench.peers.clients import AnswerError, Connection
from tests.verify.cases import default_blocks

from touchplate.log.peers import home as homes
from touchplate.log.peers.engine import installed_path
from touchplate.log.peers.joining import CONFIG_NAME, HOME_NAME, POLICY_NAME
from touchplate.node.localnet import free_ports, make_network
from touchplate.verify.encoding import encode_base64

PEERS = 4
READY_SECONDS = 120
STOP_SECONDS = 30


class Side(Protocol):
    """What is measured on either side."""

    addresses: list[str]
    """host:port that clients talk to, one per peer."""
    processes: list["Processes"]

    async def submit(self, client: Connection, body: bytes) -> None:
        """Hand in one envelope, and wait for the answer that this side gives."""

    async def size(self, client: Connection) -> int:
        """How many envelopes a client of this peer can see."""

    def start_one(self, number: int) -> None:
        """Start a peer."""


class Processes:
    """The processes of one peer."""

    def __init__(self, main: "subprocess.Popen[bytes]") -> None:
        self.main = main

    def find(self) -> dict[str, int]:
        """Program -> process id, the engine's included."""
        found = {_program(self.main.pid): self.main.pid}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == self.main.pid:
                    found[_program(int(folder.name))] = int(folder.name)
        return found

    def kill(self) -> None:
        """SIGKILL to all of it at once."""
        for pid in self.find().values():
            os.kill(pid, signal.SIGKILL)
        self.main.wait(STOP_SECONDS)

    def stop(self) -> None:
        """End it in order, or not."""
        if self.main.poll() is None:
            self.main.terminate()
        try:
            self.main.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.main.kill()
            self.main.wait()


def _program(pid: int) -> str:
    name = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")[0]
    return "engine" if name == "cometbft" else "application"


def _start(command: Sequence[str], folder: Path) -> Processes:
    with (folder / "output").open("ab") as output:
        return Processes(subprocess.Popen(command, cwd=folder, stdout=output, stderr=output))


class Ours:
    """Four peers (`touchplate peer start`)."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        admission = folder / "admission.toml"
        admission.write_text("\n".join(default_blocks()))
        self._peers = make_network(folder, PEERS, admission)
        self.addresses = [peer.url.removeprefix("http://").removesuffix("/log") for peer in self._peers]
        self.processes: list[Processes] = []
        for number in range(PEERS):
            self.start_one(number)

    def start_one(self, number: int) -> None:
        """See Side."""
        command = [sys.executable, "-m", "touchplate.verify", "peer", "start", "--config", CONFIG_NAME]
        self.processes[number : number + 1] = [_start(command, self._peers[number].folder)]

    async def submit(self, client: Connection, body: bytes) -> None:
        """Answered when it is decided and durable."""
        int(await client.ask("POST", "/log/add", body))

    async def submit_batch(self, client: Connection, body: bytes) -> None:
        """The same for a framed batch."""
        results = json.loads(await client.ask("POST", "/log/add-batch", body))["results"]
        refused = [result for result in results if "index" not in result]
        check(not refused, f"{len(refused)} entries were refused, the first so: {refused[:1]}")

    async def size(self, client: Connection) -> int:
        """Entries under the published checkpoint."""
        return int((await client.ask("GET", "/log/checkpoint")).split(b"\n")[1])

    @property
    def policy(self) -> Path:
        """The policy for readers: a quorum of the peers."""
        return self._peers[0].folder / POLICY_NAME

    @property
    def folders(self) -> list[Path]:
        """The peers' folders."""
        return [peer.folder for peer in self._peers]


class Kvstore:
    """Four engines with the application that they bring along."""

    def __init__(self, folder: Path, ours: Ours) -> None:
        ports = free_ports(2 * PEERS)
        self._homes = [folder / f"node{number}" for number in range(PEERS)]
        for home in self._homes:
            homes.make_home(home)
        genesis = json.loads((ours.folders[0] / HOME_NAME / "config/genesis.json").read_bytes())
        genesis["validators"] = [
            {
                "address": homes.validator_address(home),
                "name": home.name,
                "power": "1",
                "pub_key": {"type": "tendermint/PubKeyEd25519", "value": homes.validator_key(home)},
            }
            for home in self._homes
        ]
        genesis |= {"chain_id": "kvstore", "app_state": {}}
        p2p = [f"127.0.0.1:{port}" for port in ports[:PEERS]]
        self.addresses = [f"127.0.0.1:{port}" for port in ports[PEERS:]]
        nodes = [f"{homes.node_id(home)}@{address}" for home, address in zip(self._homes, p2p, strict=True)]
        for number, home in enumerate(self._homes):
            (home / "config/genesis.json").write_text(json.dumps(genesis))
            others = tuple(node for node in nodes if node != nodes[number])
            text = homes.format_config(
                homes.EngineSettings(home.name, p2p[number], self.addresses[number], others)
            )
            for old, new in (
                ('proxy_app = "unix://app.sock"', 'proxy_app = "kvstore"'),
                ("filter_peers = true", "filter_peers = false"),
            ):
                check(text.count(old) == 1, f"the engine's configuration has no line {old}")
                text = text.replace(old, new)
            (home / "config/config.toml").write_text(text)
        self.processes: list[Processes] = []
        for number in range(PEERS):
            self.start_one(number)

    def start_one(self, number: int) -> None:
        """See Side."""
        home = self._homes[number]
        command = [str(installed_path()), "start", "--home", str(home)]
        self.processes[number : number + 1] = [_start(command, home)]

    async def submit(self, client: Connection, body: bytes) -> None:
        """Answered when it waits in the engine."""
        result = await self._call(client, "broadcast_tx_sync", tx=encode_base64(body))
        check(result["code"] == 0, f"the engine refused a transaction: {result}")

    async def commit(self, client: Connection, body: bytes) -> None:
        """Answered when it stands in a block that this node has executed."""
        result = await self._call(client, "broadcast_tx_commit", tx=encode_base64(body))
        check(result["tx_result"]["code"] == 0, f"the engine refused a transaction: {result}")

    async def size(self, client: Connection) -> int:
        """Keys in the map."""
        result = await self._call(client, "abci_info")
        return int(json.loads(result["response"]["data"])["size"])

    async def _call(self, client: Connection, method: str, **parameters: str):  # type: ignore[no-untyped-def]
        question = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        answer = json.loads(await client.ask("POST", "/", json.dumps(question).encode()))
        if "error" in answer:
            raise AnswerError(f"{method}: {str(answer['error'])[:300]}")
        return answer["result"]


def stop(side: Side) -> None:
    """End all processes of a side."""
    for each in side.processes:
        with contextlib.suppress(ProcessLookupError):
            each.main.terminate()
    for each in side.processes:
        each.stop()
