"""Four peers, one log: what they promise, with real engines, under kills, lies and partitions."""

import itertools
import json
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.api.support import JAR, running_upstream
from tests.conformance.go_programs import program
from tests.conformance.readers import ask_fsck
from tests.e2e.peers.network import (
    NAMES,
    Network,
    is_running,
    running_network,
    wait_until,
    with_cosigners,
)
from tests.verify.cases import provenance, record, second
from tests.verify.support import LIB, PUBLISHED

from touchplate.base.environment import read_environment
from touchplate.log.peers.engine import EngineMissingError, install_engine, installed_path
from touchplate.log.peers.home import EngineSettings, format_config, make_home, node_id, write_genesis
from touchplate.node.localnet import free_ports
from touchplate.verify.cli import main
from touchplate.verify.encoding import encode_base64
from touchplate.verify.purl import format_purl
from touchplate.verify.trust import load_admission

pytestmark = pytest.mark.slow

NUMBERS = itertools.count()


def envelope() -> bytes:
    """A new, admitted entry."""
    number = next(NUMBERS)
    return record(b"bytes number %d" % number, LIB).envelope


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    try:
        install_engine()
    except EngineMissingError as error:
        if read_environment().is_ci:
            raise
        pytest.skip(f"no engine: {error}")
    with running_upstream() as upstream:
        upstream.put(JAR, PUBLISHED)
        with running_network(tmp_path_factory.mktemp("peers"), upstream.url) as made:
            yield made


def test_a_bundle_from_a_third_peer_carries_a_quorum_that_a_reader_accepts(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = network.add("a", provenance().envelope)
    other = network.add("b", second().envelope)
    assert {first, other} == {0, 1}
    third = network.nodes["c"]
    network.await_size(third, 2)
    # The gate of c sees what was submitted to a and b; its own record of first sight goes through all four.
    wait_until(lambda: third.get(f"/maven/central/{JAR}") == (200, PUBLISHED), third.output()[-2000:])
    wait_until(lambda: third.size() >= 3, "the record of first sight is not covered")
    status, bundle = third.get(f"/maven/central/{JAR}.touchplate.json")
    assert status == 200, bundle
    (tmp_path / "lib-1.0.jar").write_bytes(PUBLISHED)
    (tmp_path / "lib-1.0.jar.touchplate.json").write_bytes(bundle)
    trust = network.write_trust(tmp_path / "reader.toml", 3)
    command = ["verify", str(tmp_path / "lib-1.0.jar"), "--trust", str(trust), "--json"]
    command += ["--package", format_purl(LIB)]
    assert main(command) == 0
    assert len(json.loads(capsys.readouterr().out)["checkpoint"]["cosigners"]) >= 3
    (tmp_path / "lib-1.0.jar.touchplate.json").write_bytes(with_cosigners(bundle, 2))
    assert main(command) == 1
    assert json.loads(capsys.readouterr().out)["reason"] == "quorum"
    network.check_agreement()


def test_one_entry_submitted_to_all_peers_at_once_gets_one_index(network: Network) -> None:
    one = envelope()
    found: list[int | None] = []
    threads = [
        threading.Thread(target=lambda name=name: found.append(network.add(name, one))) for name in NAMES
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert None not in found


def test_a_killed_peer_is_missed_by_nobody_and_catches_up(network: Network) -> None:
    lost = network.nodes["d"]
    lost.kill()
    for _ in range(4):
        assert network.add("a", envelope()) is not None
        assert network.add("b", envelope()) is not None
    network.await_size(network.nodes["c"], max(network.acknowledged) + 1)
    lost.start()
    network.check_agreement()
    assert network.add("d", envelope()) is not None
    network.check_agreement()


def test_a_peer_killed_under_load_loses_nothing_that_it_acknowledged(network: Network) -> None:
    stop = threading.Event()

    def submit(name: str) -> None:
        while not stop.is_set():
            network.add(name, envelope(), timeout=20)

    threads = [threading.Thread(target=submit, args=(name,)) for name in NAMES for _ in range(2)]
    for thread in threads:
        thread.start()
    before = len(network.acknowledged)
    try:
        wait_until(lambda: len(network.acknowledged) > before + 20, "no progress")
        network.nodes["b"].kill()
        wait_until(lambda: len(network.acknowledged) > before + 60, "no progress without b")
        network.nodes["b"].start()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    network.check_agreement()


def test_a_killed_engine_is_started_again_by_its_peer(network: Network) -> None:
    node = network.nodes["a"]
    killed = node.kill_engine()
    wait_until(lambda: node.engine_pid() not in (None, killed), "no new engine")
    assert network.add("a", envelope()) is not None
    network.check_agreement()


def test_a_peer_that_lost_its_data_catches_up_and_signs_nothing_twice(network: Network) -> None:
    node = network.nodes["c"]
    assert node.stop() == 0
    node.forget()
    network.add("a", envelope())
    node.start()
    network.check_agreement()
    network.add("c", envelope())
    network.check_agreement()
    assert not list(network.folder.glob("*/data/log/fork-*"))


def test_a_lying_proposer_is_voted_down_and_the_log_goes_on(network: Network) -> None:
    liar = network.nodes["d"]
    assert liar.stop() == 0
    liar.start("liar")
    network.await_size(liar, 0)
    wait_until(lambda: liar.height() >= network.nodes["a"].height() - 1, "the liar does not catch up")
    honest = [network.nodes[name] for name in "abc"]
    before = sum(node.output().count("is refused: transaction 0: unknown-key") for node in honest)

    def lied() -> bool:
        network.add("a", envelope())
        found = sum(node.output().count("is refused: transaction 0: unknown-key") for node in honest)
        return found >= before + 3

    wait_until(lied, "the liar was never refused by all three")
    assert "liar: proposes" in liar.output()
    assert liar.stop() == 0
    liar.start()
    network.check_agreement()
    listed = load_admission(network.folder / "a" / "admission.toml")
    writers = {node.writer(index) for node in honest for index in range(node.size())}
    assert writers <= {encode_base64(block.key.spki) for block in listed.keys}


def test_two_against_two_stand_still_and_go_on_when_they_meet_again(network: Network) -> None:
    network.links.split({"a", "b"})
    wait_until(lambda: network.add("a", envelope(), timeout=2) is None, "it goes on without a quorum")
    heights = {name: node.height() for name, node in network.nodes.items()}
    waiting = [threading.Thread(target=network.add, args=(name, envelope())) for name in NAMES]
    for thread in waiting:
        thread.start()
    for (
        name,
        node,
    ) in network.nodes.items():  # a proposal for the next height is all that either side can make
        assert node.height() <= heights[name] + 1
    before = len(network.acknowledged)
    for thread in waiting:
        thread.join(3)
    assert len(network.acknowledged) == before
    network.links.heal()
    for thread in waiting:
        thread.join()
    assert network.add("d", envelope()) is not None
    network.check_agreement()
    assert not list(network.folder.glob("*/data/log/fork-*"))


def test_an_engine_that_nobody_listed_is_not_let_in(network: Network, tmp_path: Path) -> None:
    node = network.nodes["a"]
    home = tmp_path / "stranger"
    make_home(home)
    write_genesis(home, (node.folder / "engine/config/genesis.json").read_bytes())  # it knows the network
    p2p, rpc = free_ports(2)
    address = next(card.node for card in network.cards if card.name == "a")
    settings = EngineSettings("stranger", f"127.0.0.1:{p2p}", f"127.0.0.1:{rpc}", (address,))
    text = format_config(settings).replace('"unix://app.sock"', '"noop"').replace("filter_peers = true", "")
    (home / "config/config.toml").write_text(text)
    with (tmp_path / "output").open("wb") as output:
        stranger = subprocess.Popen(
            [str(installed_path()), "start", "--home", str(home)], stdout=output, stderr=output
        )
    try:
        wait_until(lambda: node_id(home) in node.output(), "the stranger was never turned away")
        wait_until(lambda: len(node.peer_ids()) == 3, "the listed ones are not all back yet")
        assert node_id(home) not in node.peer_ids()
    finally:
        stranger.kill()
        stranger.wait()


def test_random_kills_of_peers_and_engines_lose_nothing(network: Network) -> None:
    print("seed 4")
    chooser, before = random.Random(4), len(network.acknowledged)
    for _ in range(4):
        victim = network.nodes[chooser.choice(NAMES)]
        others = [name for name in NAMES if name != victim.name]
        if chooser.random() < 0.5:
            victim.kill_engine()
        else:
            victim.kill()
        submitted = [
            threading.Thread(target=network.add, args=(chooser.choice(others), envelope())) for _ in range(6)
        ]
        for thread in submitted:
            thread.start()
        if victim.process is not None and victim.process.poll() is not None:
            victim.start()
        for thread in submitted:
            thread.join()
    assert len(network.acknowledged) > before
    network.check_agreement()


def test_a_twin_with_a_stolen_key_votes_twice_and_the_validator_loses_its_vote(network: Network) -> None:
    """The twin is with a and b, the validator itself with c: each side hears another vote of the same key."""
    node, guilty = network.nodes["a"], network.nodes["d"]
    assert len(node.validators()) == 4
    key_file = guilty.folder / "engine/config/priv_validator_key.json"
    address = json.loads(key_file.read_text())["address"]
    network.links.split_pairs(("a", "d"), ("b", "d"))
    start, twin = node.height(), network.make_twin("d", "ab")
    twin.start("twin")
    try:
        wait_until(lambda: twin.height() >= start, f"the twin does not catch up:\n{twin.output()[-3000:]}")

        def removed() -> bool:
            for name in "abc":
                network.add(name, envelope(), timeout=20)
            return address not in node.validators()

        wait_until(removed, "the validator keeps its vote")
    finally:
        assert twin.stop() == 0
    network.links.heal()
    found = node.double_votes(start)
    assert found
    for each in found:
        first, other = each["vote_a"], each["vote_b"]
        assert first["validator_address"] == other["validator_address"] == address
        places = [(vote["height"], vote["round"], vote["type"]) for vote in (first, other)]
        assert places[0] == places[1]
        assert first["block_id"]["hash"] != other["block_id"]["hash"]
    assert len(node.validators()) == 3
    assert network.add("c", envelope()) is not None
    network.check_agreement()
    assert f"validator {address.lower()} voted twice" in node.output()
    # What is connected stays so; who comes again is not let in. The others go on without it.
    shown = node_id(guilty.folder / "engine")
    assert guilty.stop() == 0
    said = len(guilty.output())
    guilty.start()
    wait_until(lambda: "ready at" in guilty.output()[said:], "the guilty one does not start")
    # Told once only, so it may have been when the links healed.
    refusal = f"/p2p/filter/id/{shown}"
    wait_until(lambda: refusal in node.output(), "the guilty one was never turned away")
    for _ in range(15):
        assert shown not in node.peer_ids()
        time.sleep(0.2)
    assert guilty.stop() == 0
    del network.nodes["d"]
    assert network.add("b", envelope()) is not None
    network.check_agreement()


def test_tesseras_fsck_finds_the_tiles_of_every_peer_whole(network: Network, tmp_path: Path) -> None:
    fsck = program("fsck")
    for card in network.cards:
        if card.name not in network.nodes:
            continue
        words = ask_fsck(fsck, f"{network.nodes[card.name].url}/log", card.log_key, tmp_path)
        assert words.good, words.text


def test_after_all_of_this_and_a_start_of_all_peers_nothing_is_lost(network: Network) -> None:
    before = network.nodes["a"].roots()
    for node in network.nodes.values():
        assert node.stop() == 0, node.output()[-2000:]
    network.start()
    network.check_agreement()
    assert network.nodes["a"].roots()[: len(before)] == before
    assert network.add("b", envelope()) is not None
    network.check_agreement()


def test_every_peer_ends_in_order(network: Network) -> None:
    for node in network.nodes.values():
        engine = node.engine_pid()
        assert node.stop() == 0, node.output()[-2000:]
        assert engine is None or not is_running(engine)
        assert "Traceback" not in node.output()
