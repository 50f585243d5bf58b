"""The engine's files: made once, never overwritten, the same genesis at every peer; and cards of peers."""

import json
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tests.log.peers.support import member
from tests.log.support import OPERATOR, RECORDER, admission_list, listed
from tests.simkeys import ORIGIN

from touchplate.base.config import load_file
from touchplate.base.errors import ConfigError, StorageError
from touchplate.log.peers import home as homes
from touchplate.log.peers.joining import (
    CARD_NAME,
    CONFIG_NAME,
    POLICY_NAME,
    Card,
    Local,
    format_card,
    init_peer,
    join_network,
    load_card,
)
from touchplate.node.peer import PeerNodeConfig
from touchplate.verify.keys import format_public_pem
from touchplate.verify.policy import parse_policy
from touchplate.verify.values import replace as replace_value

SETTINGS = homes.EngineSettings("a", "0.0.0.0:1", "127.0.0.1:2", ("ab" * 20 + "@127.0.0.1:3",))


def test_keys_are_made_once_and_are_their_owners(tmp_path: Path) -> None:
    homes.make_home(tmp_path)
    first = (homes.validator_key(tmp_path), homes.node_id(tmp_path), homes.validator_address(tmp_path))
    homes.make_home(tmp_path)
    assert (
        homes.validator_key(tmp_path),
        homes.node_id(tmp_path),
        homes.validator_address(tmp_path),
    ) == first
    assert re.fullmatch(r"[0-9a-f]{40}", first[1])
    for name in ("config/priv_validator_key.json", "config/node_key.json", "data/priv_validator_state.json"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_a_validator_key_without_its_memory_is_not_used(tmp_path: Path) -> None:
    homes.make_home(tmp_path)
    (tmp_path / "data/priv_validator_state.json").unlink()
    with pytest.raises(StorageError, match="vote twice"):
        homes.make_home(tmp_path)


def test_a_memory_without_its_key_gets_no_new_key(tmp_path: Path) -> None:
    homes.make_home(tmp_path)
    (tmp_path / "config/priv_validator_key.json").unlink()
    with pytest.raises(StorageError, match="put the key back"):
        homes.make_home(tmp_path)


def test_a_peer_does_not_start_without_the_memory_of_its_votes_and_says_what_to_do(tmp_path: Path) -> None:
    homes.make_home(tmp_path)
    homes.check_votes(tmp_path)
    (tmp_path / "data/priv_validator_state.json").unlink()
    with pytest.raises(StorageError, match=r"vote twice; make a new peer"):
        homes.check_votes(tmp_path)


def test_a_log_whose_blocks_are_gone_says_what_to_do(tmp_path: Path) -> None:
    homes.make_home(tmp_path)
    homes.check_blocks(tmp_path, 0)
    with pytest.raises(StorageError, match=r"executed 7 blocks.*remove the log's database too"):
        homes.check_blocks(tmp_path, 7)
    (tmp_path / "data/blockstore.db").mkdir()
    homes.check_blocks(tmp_path, 7)


@pytest.mark.parametrize("version", ["2", "99", ""])
def test_a_network_under_the_rules_of_another_release_is_not_served(tmp_path: Path, version: str) -> None:
    (first,) = cards(tmp_path, "a")
    join_network(tmp_path / "a", [first], admission(tmp_path), Local("127.0.0.1:1", "127.0.0.1:2"))
    path = tmp_path / "a/engine/config/genesis.json"
    homes.read_founding(tmp_path / "a/engine")
    document = json.loads(path.read_bytes())
    document["consensus_params"]["version"]["app"] = version
    path.write_text(json.dumps(document))
    for read in (lambda: homes.load_genesis(path), lambda: homes.read_founding(tmp_path / "a/engine")):
        with pytest.raises(ConfigError, match="run the release that the other peers run"):
            read()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"priv_key":{"value":"AA=="}}', '{"priv_key":3}'])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, text: str) -> None:
    homes.make_home(tmp_path)
    (tmp_path / "config/node_key.json").write_text(text)
    with pytest.raises(StorageError, match="not a key file"):
        homes.node_id(tmp_path)


def test_the_configuration_lets_nobody_in_who_is_not_listed() -> None:
    text = homes.format_config(SETTINGS)
    config = tomllib.loads(text)
    assert config["filter_peers"] is True
    assert config["rpc"]["laddr"] == "tcp://127.0.0.1:2"
    assert (config["p2p"]["pex"], config["rpc"]["unsafe"]) == (False, False)
    assert config["p2p"]["persistent_peers"] == SETTINGS.peers[0]
    assert config["consensus"]["create_empty_blocks"] is False
    assert config["instrumentation"]["prometheus"] is False


def test_two_networks_have_two_chain_ids() -> None:
    members = [member("a")]
    ids = {
        json.loads(homes.format_genesis(origin, members, keys, 0))["chain_id"]
        for origin in (ORIGIN, "other.example.org")
        for keys in (admission_list(), admission_list(listed(RECORDER)))
    }
    assert len(ids) == 4
    assert all(len(each) < 50 for each in ids)  # the engine's limit


# --- cards and networks -------------------------------------------------------------------------------------


def cards(folder: Path, *names: str) -> list[Card]:
    made = []
    for number, name in enumerate(names):
        made.append(
            init_peer(
                folder / name, name, ORIGIN, p2p=f"127.0.0.1:{2000 + number}", url=f"http://{name}.test/log"
            )
        )
    return made


def admission(folder: Path) -> Path:
    path = folder / "admission.toml"
    pem = format_public_pem(RECORDER.key)
    path.write_text(f'[[recorder]]\noperator = "{OPERATOR}"\necosystems = ["maven"]\nkey = """\n{pem}"""\n')
    return path


def test_every_peer_writes_the_same_genesis_and_a_configuration_that_is_read(tmp_path: Path) -> None:
    all_cards = cards(tmp_path, "a", "b", "c", "d")
    found = set()
    for number, name in enumerate("abcd"):
        order = all_cards[number:] + all_cards[:number]
        path = join_network(
            tmp_path / name, order, admission(tmp_path), Local("127.0.0.1:1", f"127.0.0.1:{number + 5}")
        )
        found.add((tmp_path / name / "engine/config/genesis.json").read_bytes())
        config = load_file(PeerNodeConfig, path)
        assert config.log.peers is not None
        assert [peer.name for peer in config.log.peers.peer] == [each for each in "abcd" if each != name]
    assert len(found) == 1
    genesis = json.loads(found.pop())
    assert [each["name"] for each in genesis["validators"]] == ["a", "b", "c", "d"]
    policy = parse_policy((tmp_path / "a" / POLICY_NAME).read_text())
    assert policy.is_satisfied(["a", "c", "d"])
    assert not policy.is_satisfied(["a", "c"])


def test_a_card_is_read_back_and_keys_stay(tmp_path: Path) -> None:
    (card,) = cards(tmp_path, "a")
    assert load_card(tmp_path / "a" / CARD_NAME) == card
    assert cards(tmp_path, "a") == [card]
    assert "PRIVATE" not in (tmp_path / "a" / CARD_NAME).read_text()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("node", "xyz@127.0.0.1:1"),
        ("url", "ftp://a"),
        ("name", "Not A Name"),
        ("log_key", "junk"),
        ("validator", "AAAA"),
        ("origin", "log.example.org/path"),
        ("origin", "other.example.org"),
    ],
)
def test_a_card_that_cannot_be_used_is_refused(tmp_path: Path, field: str, value: str) -> None:
    (card,) = cards(tmp_path, "a")
    path = tmp_path / "bad.json"
    document = json.loads(format_card(card))
    path.write_text(json.dumps({**document, field: value}))
    with pytest.raises(ConfigError):
        load_card(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "touchplate.peer/v1"}', '{"format": "x"}'])
def test_a_file_that_is_no_card_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(ConfigError):
        load_card(tmp_path / "bad.json")


def test_cards_of_one_network_are_all_different(tmp_path: Path) -> None:
    first, second = cards(tmp_path, "a", "b")
    from dataclasses import replace

    local = Local("127.0.0.1:1", "127.0.0.1:2")
    for wrong in (
        [second],
        [first, second, replace(second, name="c")],
        [first, replace(second, validator=first.validator)],
        [replace(first, url="http://elsewhere.test/log"), second],
    ):
        with pytest.raises(ConfigError):
            join_network(tmp_path / "a", wrong, admission(tmp_path), local)


def test_a_peer_belongs_to_one_network(tmp_path: Path) -> None:
    first, second, third = cards(tmp_path, "a", "b", "c")
    local = Local("127.0.0.1:1", "127.0.0.1:2")
    join_network(tmp_path / "a", [first, second], admission(tmp_path), local)
    join_network(tmp_path / "a", [second, first], admission(tmp_path), local)
    with pytest.raises(StorageError, match="another network"):
        join_network(tmp_path / "a", [first, second, third], admission(tmp_path), local)


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ('rpc = "127.0.0.1:2"', 'rpc = "0.0.0.0:2"', "not on this host"),
        ('mode = "peers"', 'mode = "solo"', "write both or neither"),
        ('name = "b"', 'name = "a"', "same name"),
        ("node = ", 'node = "x" #', "id@host:port"),
        ("cosigner_key = ", 'cosigner_key = "x" #', "cosigner_key"),
    ],
)
def test_mistakes_in_a_configuration_are_told(tmp_path: Path, old: str, new: str, mistake: str) -> None:
    both = cards(tmp_path, "a", "b")
    path = join_network(tmp_path / "a", both, admission(tmp_path), Local("127.0.0.1:1", "127.0.0.1:2"))
    text = path.read_text()
    assert old in text
    (tmp_path / "a" / CONFIG_NAME).write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=mistake):
        load_file(PeerNodeConfig, path)


def test_lists_that_differ_in_one_range_make_two_genesis_files(tmp_path: Path) -> None:
    members = [member("a")]
    block: Any = listed(RECORDER)
    one = homes.format_genesis(ORIGIN, members, admission_list(block), 0)
    other = admission_list(replace_value(block, until_index=9))
    assert one != homes.format_genesis(ORIGIN, members, other, 0)
