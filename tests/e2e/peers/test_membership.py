"""Administrators of a network that runs: a key comes and goes, a peer joins, another leaves. Real engines."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.peers.network import Node, wait_until
from tests.log.support import BUILDER, OPERATOR, RECORDER, record_envelope

from touchplate.base.environment import read_environment
from touchplate.log.peers.engine import EngineMissingError, install_engine
from touchplate.log.peers.home import validator_address
from touchplate.log.peers.joining import CARD_NAME, CONFIG_NAME, format_quorum_policy, load_card
from touchplate.node.localnet import ORIGIN, LocalNetwork, LocalPeer, free_ports, make_network
from touchplate.node.peer import load_peer_config
from touchplate.verify.cli import main
from touchplate.verify.keys import StatementSigner, format_private_pem, format_public_pem, generate_signer

pytestmark = pytest.mark.slow

ADMINISTRATORS = tuple(generate_signer() for _ in range(3))
NEW = generate_signer()
NUMBERS = iter(range(10**6))


def block(kind: str, signer: StatementSigner, *lines: str) -> str:
    """A block of an admission list."""
    pem = format_public_pem(signer.key)
    return "\n".join([f"[[{kind}]]", f'operator = "{OPERATOR}"', *lines, f'key = """\n{pem}"""\n'])


class World:
    """Four peers that run, the administrators' keys, and a fifth peer that does not run yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        text = block("recorder", RECORDER, 'ecosystems = ["maven"]')
        text += "".join(block("administrator", each) for each in ADMINISTRATORS)
        self.admission = folder / "admission.toml"
        self.admission.write_text(text)
        self.keys = [folder / f"administrator-{number}.pem" for number in range(3)]
        for path, signer in zip(self.keys, ADMINISTRATORS, strict=True):
            path.write_bytes(format_private_pem(signer))
            path.chmod(0o600)
        self.peers = make_network(folder / "net", 4, self.admission)
        self.networks = [LocalNetwork(self.peers)]
        self.nodes = [self.node(peer) for peer in self.peers]

    def node(self, peer: LocalPeer) -> Node:
        config = load_peer_config(peer.folder / CONFIG_NAME)
        assert config.log.peers is not None
        http, rpc = (int(each.rpartition(":")[2]) for each in (config.http.listen, config.log.peers.rpc))
        return Node(peer.folder.name, peer.folder, http, rpc)

    def stop(self) -> None:
        for network in self.networks:
            network.stop()

    def rules(self, node: Node) -> dict[str, object]:
        status, body = node.get("/log/peers/rules")
        assert status == 200, body
        document: dict[str, object] = json.loads(body)
        return document

    def check_agreement(self) -> None:
        """The same rules, app hashes and published entries at all peers, and clean trees."""
        size = max(node.size() for node in self.nodes)
        for node in self.nodes:
            wait_until(lambda node=node: node.size() >= size, f"{node.name} does not publish {size}")  # type: ignore[misc]
        assert len({str(self.rules(node)["rules_sha256"]) for node in self.nodes}) == 1
        height = min(node.height() for node in self.nodes)
        seen = [node.app_hashes(1, height) for node in self.nodes]
        assert len(seen[0]) == height > 0
        assert all(each == seen[0] for each in seen)
        policy = self.policy()
        for node in self.nodes:
            assert main(["log", "fsck", "--url", f"{node.url}/log", "--policy", str(policy), "--json"]) == 0

    def policy(self) -> Path:
        """The policy for readers of the peers that run now."""
        path = self.folder / "policy.txt"
        path.write_text(format_quorum_policy([load_card(node.folder / CARD_NAME) for node in self.nodes]))
        return path

    def cosigners(self, node: Node, capsys: pytest.CaptureFixture[str]) -> set[str]:
        """Who cosigned what this peer publishes, under the policy of now."""
        capsys.readouterr()
        state = self.folder / "state"
        command = ["log", "checkpoint", "--url", f"{node.url}/log", "--policy", str(self.policy()), "--json"]
        if main([*command, "--state", str(state)]) != 0:
            return set()
        return set(json.loads(capsys.readouterr().out)["cosigners"])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    try:
        install_engine()
    except EngineMissingError as error:
        if read_environment().is_ci:
            raise
        pytest.skip(f"no engine: {error}")
    made = World(tmp_path_factory.mktemp("membership"))
    try:
        made.networks[0].start(print)
        yield made
    finally:
        made.stop()


def decide(
    world: World, capsys: pytest.CaptureFixture[str], first: list[str], *, by: tuple[int, int] = (0, 1)
) -> int:
    """One administrator makes a statement at one peer, another approves it at another; the revision then."""
    capsys.readouterr()
    one, other = (world.nodes[number].url + "/log" for number in (0, 1))
    command = ["peer", *first, "--url", one, "--json", "--key", str(world.keys[by[0]])]
    assert main(command) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["approvals"], made["threshold"]) == (1, 2)
    index = int(made["index"])
    wait_until(lambda: world.nodes[1].entry(index) != b"", "the approval is not at the other peer")
    approve = ["peer", "approve", "--url", other, "--index", str(index), "--json"]
    assert main(approve) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["statement"] == made["statement"]
    assert main([*approve, "--key", str(world.keys[by[1]])]) == 64  # not without having looked
    capsys.readouterr()
    command = [*approve, "--key", str(world.keys[by[1]]), "--statement", shown["statement"]]
    assert main(command) == 0
    return int(json.loads(capsys.readouterr().out)["revision"])


def refused(node: Node) -> bool:
    """Whether a peer refuses an entry of the new key."""
    return node.add(record_envelope(next(NUMBERS), NEW)) is None


def test_a_rebuilders_key_is_admitted_and_removed_while_the_network_runs(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert all(refused(node) for node in world.nodes)
    blocks = world.folder / "new.toml"
    text = block("recorder", NEW, 'ecosystems = ["maven"]')
    rebuilder = generate_signer("ed25519")
    blocks.write_text(
        text + block("rebuilder", rebuilder, 'ecosystems = ["maven"]', f'builder = "{BUILDER}"')
    )
    assert decide(world, capsys, ["admit", "--add", str(blocks)]) == 1
    for node in world.nodes:
        wait_until(lambda node=node: not refused(node), f"{node.name} does not admit the new key")  # type: ignore[misc]
    world.check_agreement()
    gone = ["--remove", NEW.key.spki_sha256.hex(), "--remove", rebuilder.key.spki_sha256.hex()]
    assert decide(world, capsys, ["admit", *gone], by=(1, 2)) == 2
    for node in world.nodes:
        wait_until(lambda node=node: refused(node), f"{node.name} still admits the key")  # type: ignore[misc]
    assert world.nodes[3].add(record_envelope(next(NUMBERS))) is not None
    world.check_agreement()


def test_a_fifth_peer_joins_by_replay_and_signs(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    p2p, rpc, http = (f"127.0.0.1:{port}" for port in free_ports(3))
    folder = world.folder / "net" / "peer4"
    names = ["--name", "peer4", "--origin", ORIGIN, "--p2p", p2p, "--url", f"http://{http}/log"]
    assert main(["peer", "init", "--folder", str(folder), *names, "--json"]) == 0
    genesis = world.peers[0].folder / "engine/config/genesis.json"
    join = [
        "peer",
        "join",
        "--folder",
        str(folder),
        "--genesis",
        str(genesis),
        "--listen",
        http,
        "--rpc",
        rpc,
    ]
    assert main([*join, "--admission", str(world.admission), "--json"]) == 0
    # Nobody lets it in before the administrators did; a vote, too, is theirs to give.
    assert decide(world, capsys, ["members", "--add", str(folder / CARD_NAME)]) == 3
    fifth = LocalPeer(folder, f"http://{http}/log")
    late = LocalNetwork([fifth])
    world.networks.append(late)
    late.start(print)
    world.nodes.append(world.node(fifth))
    new = world.nodes[4]
    address = validator_address(folder / "engine")
    wait_until(lambda: all(len(node.validators()) == 5 for node in world.nodes), "it is no validator")
    assert new.add(record_envelope(next(NUMBERS))) is not None
    wait_until(lambda: _has_signed(world.nodes[0], address), "the fifth peer does not vote")
    for node in world.nodes:
        wait_until(
            lambda node=node: "peer4" in world.cosigners(node, capsys),  # type: ignore[misc]
            f"{node.name} publishes nothing that the fifth peer cosigned",
        )
    world.check_agreement()


def _has_signed(node: Node, address: str) -> bool:
    """Whether this validator's vote stands in the newest commit."""
    header = node.call("commit")["signed_header"]
    assert isinstance(header, dict)
    if address in {each["validator_address"] for each in header["commit"]["signatures"]}:
        return True
    node.add(record_envelope(next(NUMBERS)))
    return False


def test_a_peer_that_was_removed_decides_nothing_and_is_not_let_in_again(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = world.nodes[1]
    card = load_card(gone.folder / CARD_NAME)
    address = validator_address(gone.folder / "engine")
    assert decide(world, capsys, ["members", "--remove", card.name]) == 4
    world.nodes.remove(gone)
    wait_until(lambda: address not in world.nodes[0].validators(), "it keeps its vote")
    assert world.nodes[0].add(record_envelope(next(NUMBERS))) is not None
    for node in world.nodes:
        found = node.call("abci_query", path=f'"/p2p/filter/id/{card.peer.node_id}"')["response"]
        assert isinstance(found, dict)
        assert found["code"] == 1
    world.check_agreement()
    assert card.name not in world.cosigners(world.nodes[0], capsys)


def test_a_peer_starts_again_with_the_rules_that_were_changed(world: World) -> None:
    before = world.rules(world.nodes[0])
    late = world.networks[1]
    late.stop()
    again = LocalNetwork(late.peers)
    world.networks[1] = again
    again.start(print)
    assert world.nodes[-1].add(record_envelope(next(NUMBERS))) is not None
    assert world.rules(world.nodes[-1])["rules_sha256"] == before["rules_sha256"]
    world.check_agreement()
