"""`touchplate peer` and `touchplate net` as an operator meets them; with engines in tests/e2e/peers."""

import json
from pathlib import Path

import pytest
from tests.log.peers.test_home import admission
from tests.log.support import OPERATOR

from touchplate.base.errors import ConfigError
from touchplate.log.peers.rpc import EngineError
from touchplate.log.peers.status import read_status
from touchplate.node.localnet import make_network
from touchplate.node.peer import load_peer_config
from touchplate.verify.cli import main
from touchplate.verify.keys import format_public_pem, generate_signer

ORIGIN = "log.example.org"


def init(folder: Path, name: str, number: int) -> int:
    command = [
        "peer",
        "init",
        "--folder",
        str(folder / name),
        "--name",
        name,
        "--origin",
        ORIGIN,
        "--no-engine",
    ]
    return main(
        [*command, "--p2p", f"127.0.0.1:{3000 + number}", "--url", f"https://{name}.test/log", "--json"]
    )


def genesis(folder: Path, name: str, *others: str) -> int:
    command = [
        "peer",
        "genesis",
        "--folder",
        str(folder / name),
        "--admission",
        str(admission(folder)),
        "--json",
    ]
    for other in others:
        command += ["--card", str(folder / other / "card.json")]
    return main(command)


def test_operators_exchange_cards_and_write_the_same_genesis(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, name in enumerate("abcd"):
        assert init(tmp_path, name, number) == 0
    cards = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [card["name"] for card in cards] == ["a", "b", "c", "d"]
    assert genesis(tmp_path, "a", "b", "c", "d") == 0
    assert genesis(tmp_path, "b", "d", "c", "b", "a") == 0  # his own among them, in another order
    made = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len({Path(each["genesis"]).read_bytes() for each in made}) == 1
    assert Path(made[0]["policy"]).read_text() == Path(made[1]["policy"]).read_text()


def administered(folder: Path, count: int = 3) -> Path:
    """An admission list with administrators."""
    path = admission(folder)
    for _ in range(count):
        pem = format_public_pem(generate_signer("ed25519").key)
        path.write_text(
            f'{path.read_text()}\n[[administrator]]\noperator = "{OPERATOR}"\nkey = """\n{pem}"""\n'
        )
    return path


@pytest.mark.parametrize(
    ("given", "threshold"), [([], 2), (["--threshold", "3"], 3), (["--threshold", "1"], 1)]
)
def test_a_genesis_says_how_many_administrators_a_change_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], threshold: int
) -> None:
    assert init(tmp_path, "a", 0) == 0
    found = ["peer", "genesis", "--folder", str(tmp_path / "a"), "--admission", str(administered(tmp_path))]
    assert main([*found, "--card", str(tmp_path / "a/card.json"), *given]) == 0
    assert "no administrator" not in capsys.readouterr().err
    genesis = json.loads((tmp_path / "a/engine/config/genesis.json").read_bytes())
    assert genesis["app_state"]["threshold"] == threshold
    assert [each["name"] for each in genesis["app_state"]["peers"]] == ["a"]


@pytest.mark.parametrize("threshold", ["0", "4", "-1"])
def test_a_genesis_that_nobody_could_change_by_mistake_is_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], threshold: str
) -> None:
    assert init(tmp_path, "a", 0) == 0
    found = ["peer", "genesis", "--folder", str(tmp_path / "a"), "--admission", str(administered(tmp_path))]
    assert main([*found, "--card", str(tmp_path / "a/card.json"), "--threshold", threshold]) == 2
    assert "with 3 administrators" in capsys.readouterr().err
    assert not (tmp_path / "a/engine/config/genesis.json").exists()


def test_who_founds_a_log_without_administrators_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert init(tmp_path, "a", 0) == 0
    found = ["peer", "genesis", "--folder", str(tmp_path / "a"), "--admission", str(admission(tmp_path))]
    assert main([*found, "--card", str(tmp_path / "a/card.json")]) == 0
    assert "no administrator" in capsys.readouterr().err


def test_a_configuration_that_its_operator_edited_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, name in enumerate("aef"):
        assert init(tmp_path, name, number) == 0
    assert genesis(tmp_path, "a", "a") == 0
    assert join(tmp_path, "e") == 0
    config = tmp_path / "e/peer.toml"
    edited = config.read_text() + "\n# ours\n"
    config.write_text(edited)
    capsys.readouterr()
    assert join(tmp_path, "e", "--card", str(tmp_path / "f/card.json")) == 0
    told = capsys.readouterr()
    assert config.read_text() == edited
    assert json.loads(told.out)["config"] == str(tmp_path / "e/peer.toml.new")
    assert "kept as it is" in told.err
    peers = load_peer_config(tmp_path / "e/peer.toml.new").log.peers
    assert peers is not None
    assert [each.name for each in peers.peer] == ["a", "f"]


def join(folder: Path, name: str, *more: str) -> int:
    command = ["peer", "join", "--folder", str(folder / name), "--admission", str(folder / "admission.toml")]
    command += ["--genesis", str(folder / "a/engine/config/genesis.json"), "--json"]
    return main([*command, *more])


def test_a_later_peer_takes_the_genesis_as_it_is_and_knows_the_founders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, name in enumerate("abef"):
        assert init(tmp_path, name, number) == 0
    assert genesis(tmp_path, "a", "b") == 0
    assert join(tmp_path, "e") == 0
    assert (
        join(tmp_path, "f", "--card", str(tmp_path / "e/card.json"), "--card", str(tmp_path / "a/card.json"))
        == 0
    )
    founding = (tmp_path / "a/engine/config/genesis.json").read_bytes()
    for name, others in (("e", ["a", "b"]), ("f", ["a", "b", "e"])):
        assert (tmp_path / name / "engine/config/genesis.json").read_bytes() == founding
        peers = load_peer_config(tmp_path / name / "peer.toml").log.peers
        assert peers is not None
        assert [each.name for each in peers.peer] == others
    assert "group peers 3 a b e f" in (tmp_path / "f/policy.txt").read_text()
    capsys.readouterr()


def test_a_later_peer_is_not_set_up_with_another_list_or_no_genesis(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, name in enumerate("ae"):
        assert init(tmp_path, name, number) == 0
    assert genesis(tmp_path, "a") == 64
    assert genesis(tmp_path, "a", "a") == 0
    capsys.readouterr()
    administered(tmp_path, 1)
    assert join(tmp_path, "e") == 2
    assert "put back the file" in json.loads(capsys.readouterr().out)["error"]
    admission(tmp_path)
    path = tmp_path / "a/engine/config/genesis.json"
    for broken in (b"", b"{}", b'{"app_state":{}}', path.read_bytes().replace(b"peers/v2", b"peers/v1")):
        good = path.read_bytes()
        path.write_bytes(broken)
        assert join(tmp_path, "e") == 2
        assert not (tmp_path / "e/engine/config/genesis.json").exists()
        path.write_bytes(good)
    assert join(tmp_path, "e") == 0


def test_a_peer_can_be_made_again_without_losing_its_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert init(tmp_path, "a", 0) == 0
    assert init(tmp_path, "a", 0) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first == second


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["peer"], 64, "COMMAND"),
        (["peer", "init", "--folder", "F"], 64, "--name"),
        (["peer", "status", "--config", "missing.toml"], 2, "cannot read the configuration"),
        (["peer", "start", "--config", "missing.toml"], 2, "cannot read the configuration"),
        (["net", "local", "-n", "99"], 64, "from 1 to 7"),
        (["net", "local", "-n", "0"], 64, "from 1 to 7"),
    ],
)
def test_mistakes_are_told_in_one_line(
    arguments: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    error = capsys.readouterr().err
    assert text in error
    assert "Traceback" not in error


def test_a_bad_name_is_refused_with_what_to_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "peer",
        "init",
        "--folder",
        str(tmp_path),
        "--name",
        "Not Good",
        "--origin",
        ORIGIN,
        "--no-engine",
    ]
    assert main([*command, "--p2p", "nowhere", "--url", "https://a.test/log"]) == 2
    error = capsys.readouterr().err
    assert "lower-case letters" in error
    assert "host:port" in error


def test_status_of_a_peer_that_does_not_run_cannot_be_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peers = make_network(tmp_path / "net", 1, None)
    assert main(["peer", "status", "--config", str(peers[0].folder / "peer.toml"), "--json"]) == 2
    assert "the engine does not answer" in capsys.readouterr().out


def test_a_local_network_is_made_once(tmp_path: Path) -> None:
    first = make_network(tmp_path / "net", 2, None)
    assert make_network(tmp_path / "net", 2, None) == first


@pytest.mark.parametrize("count", [1, 3])
def test_a_local_network_does_not_become_one_of_another_size(count: int, tmp_path: Path) -> None:
    first = make_network(tmp_path / "net", 2, None)
    files = {path: path.read_bytes() for path in (tmp_path / "net").rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=r"a network of 2 peers.* -n 2"):
        make_network(tmp_path / "net", count, None)
    assert {path: path.read_bytes() for path in (tmp_path / "net").rglob("*") if path.is_file()} == files
    assert make_network(tmp_path / "net", 2, None) == first


def test_the_shipped_example_is_a_peer_of_four() -> None:
    example = Path(__file__).resolve().parents[2] / "deploy" / "examples" / "peer.toml"
    peers = load_peer_config(example).log.peers
    assert peers is not None
    assert [peers.name, *(peer.name for peer in peers.peer)] == ["a", "b", "c", "d"]


def test_a_status_is_read_or_refused() -> None:
    answer = {
        "sync_info": {"latest_block_height": "7", "latest_app_hash": "AB" * 64, "catching_up": False},
        "validator_info": {"voting_power": "1"},
    }
    status = read_status(answer)
    assert (status.height, status.root, status.catching_up, status.voting_power) == (7, "ab" * 32, False, 1)
    for wrong in ({}, {"sync_info": 3, "validator_info": {}}, {**answer, "sync_info": {}}):
        with pytest.raises(EngineError):
            read_status(wrong)
