"""Four whole nodes that hold one log: real processes, real engines, links that can be cut, on loopback."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.api.support import write_node
from tests.e2e.peers.proxies import Links
from tests.simkeys import ORIGIN

from touchplate.log.growth import Edge, grow
from touchplate.log.peers.home import write_genesis
from touchplate.log.peers.joining import (
    HOME_NAME,
    Card,
    format_log_tables,
    format_quorum_policy,
    init_peer,
    make_genesis,
)
from touchplate.node.localnet import free_ports
from touchplate.verify.bundle import parse_bundle
from touchplate.verify.cli import main
from touchplate.verify.encoding import decode_base64
from touchplate.verify.rfc6962 import leaf_hash
from touchplate.verify.tiles import TILE_WIDTH, entries_path, parse_entry_bundle
from touchplate.verify.trust import load_admission

NAMES = ("a", "b", "c", "d")
SECONDS = 90
ROOT = Path(__file__).resolve().parents[3]


def wait_until(condition: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    """Poll; AssertionError with `what` when it never becomes true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)


def is_running(pid: int) -> bool:
    """Whether this process exists and has not ended (an orphan stays a zombie until somebody reaps it)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Node:
    """One peer: a whole `touchplate serve`."""

    def __init__(self, name: str, folder: Path, http: int, rpc: int) -> None:
        self.name = name
        self.folder = folder
        self.url = f"http://127.0.0.1:{http}"
        self.rpc = f"http://127.0.0.1:{rpc}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, program: str = "") -> None:
        """`program`: a module of this folder that serves otherwise than touchplate does (liar, twin)."""
        module = [f"tests.e2e.peers.{program}"] if program else ["touchplate.verify", "serve", "--config"]
        with (self.folder / "node.out").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *module, str(self.folder / "node.toml")],
                cwd=ROOT,
                stdout=output,
                stderr=output,
            )

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)

    def kill(self) -> None:
        """SIGKILL to the peer alone; its engine has to end by itself."""
        assert self.process is not None
        engine = self.engine_pid()
        self.process.kill()
        self.process.wait(SECONDS)
        if engine is not None:
            wait_until(lambda: not is_running(engine), f"the engine of {self.name} outlives it")

    def engine_pid(self) -> int | None:
        """The process whose parent is this node and whose program is the engine."""
        assert self.process is not None
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                # Not `cometbft version`, which a node asks for before it starts.
                if parent == self.process.pid and b"cometbft\0start" in (folder / "cmdline").read_bytes():
                    return int(folder.name)
        return None

    def kill_engine(self) -> int:
        pid: int | None = None
        while pid is None:  # none while it is being started again
            wait_until(lambda: self.engine_pid() is not None, f"{self.name} runs no engine")
            pid = self.engine_pid()
        os.kill(pid, signal.SIGKILL)
        return pid

    def get(self, path: str) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""

    def add(self, envelope: bytes, timeout: float = 60) -> int | None:
        """Submit; the index when it was acknowledged."""
        request = urllib.request.Request(f"{self.url}/log/add", envelope, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return int(answer.read())
        except OSError:
            return None

    def size(self) -> int:
        """Entries that the published checkpoint covers; -1 when there is none."""
        status, note = self.get("/log/checkpoint")
        return int(note.split(b"\n")[1]) if status == 200 else -1

    def entry(self, index: int) -> bytes:
        """The envelope at `index`; empty when there is none."""
        status, body = self.get(f"/log/entry/{index}")
        return decode_base64(json.loads(body)["envelope"], "envelope") if status == 200 else b""

    def roots(self) -> list[bytes]:
        """The root of every size from 0 on, computed from the entries that this node serves."""
        size, edge = self.size(), Edge()
        roots = [edge.root()]
        for number in range((size + TILE_WIDTH - 1) // TILE_WIDTH):
            width = min(TILE_WIDTH, size - number * TILE_WIDTH)
            status, bundle = self.get(f"/log/{entries_path(number, width)}")
            assert status == 200
            for leaf in parse_entry_bundle(bundle, width):
                edge = grow(edge, [leaf_hash(leaf)]).edge
                roots.append(edge.root())
        return roots

    def writer(self, index: int) -> str:
        """The base64 SPKI of whoever wrote the entry at `index`."""
        status, body = self.get(f"/log/entry/{index}")
        assert status == 200
        return str(json.loads(body)["key"])

    def call(self, method: str, **parameters: int | str) -> dict[str, object]:
        """The engine's RPC."""
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        with urllib.request.urlopen(f"{self.rpc}/{method}?{query}", timeout=10) as answer:
            result: dict[str, object] = json.loads(answer.read())["result"]
        return result

    def post(self, method: str, parameters: dict[str, object]) -> dict[str, object]:
        """The engine's JSON-RPC."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
        request = urllib.request.Request(self.rpc, body, {"Content-Type": "application/json"}, method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            document = json.loads(answer.read())
        assert "error" not in document, document
        result: dict[str, object] = document["result"]
        return result

    def validators(self) -> list[str]:
        """Addresses of those who vote on the newest block, in the engine's order."""
        found = self.call("validators")["validators"]
        assert isinstance(found, list)
        return [str(each["address"]) for each in found]

    def peer_ids(self) -> set[str]:
        """Node ids of the engines that this one is connected to."""
        peers = self.call("net_info")["peers"]
        assert isinstance(peers, list)
        return {str(each["node_info"]["id"]) for each in peers}

    def block_time(self, height: int) -> str:
        """The time in the header of a block."""
        metas = self.call("blockchain", minHeight=height, maxHeight=height)["block_metas"]
        assert isinstance(metas, list)
        return str(metas[0]["header"]["time"])

    def height(self) -> int:
        """Blocks that the engine holds; 0 while it does not answer."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            info = self.call("status")["sync_info"]
            assert isinstance(info, dict)
            return int(info["latest_block_height"])
        return 0

    def app_hashes(self, first: int, last: int) -> dict[int, str]:
        """The app hash in the header of each block."""
        found: dict[int, str] = {}
        for start in range(first, last + 1, 20):
            answer = self.call("blockchain", minHeight=start, maxHeight=min(start + 19, last))
            metas = answer["block_metas"]
            assert isinstance(metas, list)
            found |= {int(meta["header"]["height"]): meta["header"]["app_hash"] for meta in metas}
        return found

    def output(self) -> str:
        return (self.folder / "node.out").read_text(errors="replace")

    def double_votes(self, start: int) -> list[dict[str, Any]]:
        """The evidence of double votes in the blocks from `start` on, as the chain holds it."""
        found: list[dict[str, Any]] = []
        for height in range(start, self.height() + 1):
            block = self.call("block", height=height)["block"]
            assert isinstance(block, dict)
            found += [each["value"] for each in block["evidence"]["evidence"]]
        return found

    def forget(self) -> None:
        """Lose everything but keys, the memory of votes, and the memory of what was signed."""
        keep = (self.folder / "data/log/signed.head").read_bytes()
        votes = (self.folder / HOME_NAME / "data/priv_validator_state.json").read_bytes()
        shutil.rmtree(self.folder / "data")
        shutil.rmtree(self.folder / HOME_NAME / "data")
        (self.folder / "data/log").mkdir(parents=True)
        (self.folder / HOME_NAME / "data").mkdir()
        (self.folder / "data/log/signed.head").write_bytes(keep)
        (self.folder / HOME_NAME / "data/priv_validator_state.json").write_bytes(votes)


class Network:
    """Four nodes. `acknowledged` is what submitters were told: index -> envelope."""

    def __init__(self, folder: Path, upstream_url: str, **options: str) -> None:
        """`options` as for `write_node`."""
        self.folder = folder
        self.links = Links(NAMES)
        self.acknowledged: dict[int, bytes] = {}
        self._lock = threading.Lock()
        ports = iter(free_ports(3 * len(NAMES)))
        self._places = places = {
            name: (next(ports), next(ports), next(ports)) for name in NAMES
        }  # p2p, rpc, http
        for (_, other), link in self.links.by_pair.items():
            link.target = ("127.0.0.1", places[other][0])
        self.nodes = {name: Node(name, folder / name, places[name][2], places[name][1]) for name in NAMES}
        self.cards = [
            init_peer(folder / name, name, ORIGIN, p2p=f"127.0.0.1:{p2p}", url=f"http://127.0.0.1:{http}/log")
            for name, (p2p, _, http) in places.items()
        ]
        for card in self.cards:
            self._configure(card, upstream_url, places[card.name], options)

    def _configure(
        self, own: Card, upstream_url: str, places: tuple[int, int, int], options: dict[str, str]
    ) -> None:
        folder = self.folder / own.name
        path = write_node(folder, upstream_url, listen=f"127.0.0.1:{places[2]}", **options)  # type: ignore[arg-type]
        others = [self._through_link(own, card) for card in self.cards if card != own]
        before, _, rest = path.read_text().partition("[log]")
        tables = format_log_tables(own, others, folder / "admission.toml", f"127.0.0.1:{places[1]}")
        path.write_text(f"{before}{tables}\n[recorder]{rest.partition('[recorder]')[2]}")
        self.write_trust(folder / "trust.toml", 3)
        write_genesis(folder / HOME_NAME, make_genesis(self.cards, load_admission(folder / "admission.toml")))

    def _through_link(self, own: Card, other: Card) -> Card:
        """The card of another peer as `own` reaches it."""
        port = self.links.by_pair[own.name, other.name].port
        return dataclasses.replace(other, node=f"{other.node.partition('@')[0]}@127.0.0.1:{port}")

    def make_twin(self, name: str, beside: str) -> Node:
        """A second process of a peer: its keys, none of its memory. Its engine reaches the peers `beside`,
        which take it for the one whose node key it shows."""
        folder, origin = self.folder / f"{name}-twin", self.nodes[name].folder
        shutil.copytree(origin, folder, ignore=shutil.ignore_patterns("data", "run", "*.lock", "node.out"))
        (folder / HOME_NAME / "data").mkdir()
        state = {"height": "0", "round": 0, "step": 0}
        (folder / HOME_NAME / "data/priv_validator_state.json").write_text(json.dumps(state))
        config, nowhere = folder / "node.toml", free_ports(4)
        text = config.read_text()
        for old, new in zip(self._places[name], nowhere[:3], strict=True):
            text = text.replace(f'"127.0.0.1:{old}"', f'"127.0.0.1:{new}"')
        for (one, other), link in self.links.by_pair.items():
            port = self._places[other][0] if other in beside else nowhere[3]
            text = text.replace(f"@127.0.0.1:{link.port}", f"@127.0.0.1:{port}") if one == name else text
        config.write_text(text)
        return Node(f"{name}-twin", folder, nowhere[2], nowhere[1])

    def write_trust(self, path: Path, quorum: int) -> Path:
        """A trust file whose policy wants `quorum` of the four."""
        text = (
            (self.folder / "a" / "trust.toml").read_text() if path.name != "trust.toml" else path.read_text()
        )
        _, _, blocks = text.partition("[levels.reproduced]")
        policy = format_quorum_policy(self.cards, quorum)
        path.write_text(f"[log]\npolicy = {json.dumps(policy)}\n[levels.reproduced]{blocks}")
        return path

    def start(self) -> None:
        for node in self.nodes.values():
            node.start()
        for node in self.nodes.values():
            self.await_size(node, 0)

    def stop(self) -> None:
        for node in self.nodes.values():
            if node.process is not None and node.process.poll() is None:
                node.process.terminate()
        for node in self.nodes.values():
            if node.process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    node.process.wait(30)
                if node.process.poll() is None:
                    node.process.kill()
                    node.process.wait(10)
        self.links.close()

    def add(self, name: str, envelope: bytes, timeout: float = 60) -> int | None:
        index = self.nodes[name].add(envelope, timeout)
        if index is not None:
            with self._lock:
                assert self.acknowledged.setdefault(index, envelope) == envelope, f"two entries at {index}"
        return index

    def await_size(self, node: Node, size: int) -> None:
        """Wait until the node publishes a checkpoint of at least `size` entries."""
        wait_until(lambda: node.size() >= size, f"{node.name} publishes {size}:\n{node.output()[-3000:]}")

    def await_agreement(self) -> None:
        """Wait until all publish the largest tree that one of them has now."""
        size = max(node.size() for node in self.nodes.values())
        for node in self.nodes.values():
            self.await_size(node, size)

    def _roots_with(self, node: Node, newest: bytes) -> list[bytes]:
        """The node's roots, once it publishes `newest`: its checkpoint comes a moment after the block."""
        wait_until(lambda: newest in node.roots(), f"{node.name} never publishes the root {newest.hex()}")
        return node.roots()

    def check_agreement(self) -> None:
        """All peers hold all that was acknowledged, the same root at every height, and clean trees."""
        size = max(self.acknowledged) + 1 if self.acknowledged else 0
        for node in self.nodes.values():
            self.await_size(node, size)
        nodes = self.nodes.values()
        wait_until(lambda: min(node.height() for node in nodes) > 0, "not every engine answers")
        height = max(node.height() for node in nodes)
        wait_until(lambda: min(node.height() for node in nodes) >= height, f"not all reach {height}")
        seen = [node.app_hashes(1, height) for node in self.nodes.values()]
        assert len(seen[0]) == height
        assert all(each == seen[0] for each in seen)
        # What the engines agreed on, against the trees themselves: each node's own entries, hashed anew.
        agreed = [bytes.fromhex(each)[:32] for _, each in sorted(seen[0].items())]
        for node in self.nodes.values():
            roots, at = self._roots_with(node, agreed[-1]), 0
            for number, root in enumerate(agreed, 1):
                assert root in roots[at:], f"{node.name} never had the root of height {number}"
                at = roots.index(root, at)
        for index, envelope in self.acknowledged.items():
            for node in self.nodes.values():
                assert node.entry(index) == envelope, (node.name, index)
        policy = self.folder / "policy.txt"
        policy.write_text(format_quorum_policy(self.cards, 3))
        for node in self.nodes.values():
            assert main(["log", "fsck", "--url", f"{node.url}/log", "--policy", str(policy), "--json"]) == 0


def with_cosigners(bundle: bytes, count: int) -> bytes:
    """A proof bundle with only `count` of its checkpoint's cosignature lines."""
    text, _, lines = parse_bundle(bundle).checkpoint.decode().rpartition("\n\n")
    kept, cosigned = [], 0
    for line in lines.splitlines():
        is_log = line.startswith(f"— {ORIGIN} ")
        cosigned += not is_log
        if is_log or cosigned <= count:
            kept.append(line)
    document = json.loads(bundle)
    document["checkpoint"] = f"{text}\n\n" + "".join(f"{line}\n" for line in kept)
    return json.dumps(document).encode()


@contextlib.contextmanager
def running_network(folder: Path, upstream_url: str, **options: str) -> Iterator[Network]:
    network = Network(folder, upstream_url, **options)
    try:
        network.start()
        yield network
    finally:
        network.stop()
