"""What the log's README says about witnesses works as it stands there, with the examples that are shipped."""

import re
import shlex
from pathlib import Path

import pytest
from tests.node.test_witness_cli import WitnessProcess
from tests.simkeys import note_signer

from touchplate.log.cosigning.config import WitnessesConfig
from touchplate.log.service import LogConfig
from touchplate.node.config import NodeConfig, load_config
from touchplate.node.witness_alone import load_witness_config
from touchplate.verify.cli import main
from touchplate.verify.notes import parse_verifier_key

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "log" / "README.md"
EXAMPLES = ROOT / "deploy" / "examples"


def commands() -> list[list[str]]:
    """The commands of "Be a witness"."""
    section = README.read_text(encoding="utf-8").partition("**Be a witness**")[2]
    (block,) = re.findall(r"\A.*?```sh\n(.*?)```", section, re.DOTALL)
    return [shlex.split(line) for line in block.splitlines()]


def test_the_commands_make_a_witness_from_the_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys").mkdir()
    text = (EXAMPLES / "witness.toml").read_text()
    (tmp_path / "witness.toml").write_text(text.replace("127.0.0.1:8351", "127.0.0.1:0"))
    *before, last = commands()
    assert len(before) == 3
    for command in before:
        assert command[0] == "touchplate"
        capsys.readouterr()
        assert main(command[1:]) == 0, capsys.readouterr().err
    keys = [parse_verifier_key(line) for line in capsys.readouterr().out.splitlines()]
    assert [(key.name, key.type) for key in keys] == [
        ("witness.example.org/w1", 4),
        ("witness.example.org/w1", 6),
    ]
    assert last == ["touchplate", "log", "witness", "--config", "witness.toml"]
    process = WitnessProcess(tmp_path / "witness.toml")
    try:
        assert process.request(process.url(), "/nothing")[0] == 404
        assert process.stop() == 0, process.lines
    finally:
        process.close()


def test_the_example_names_logs_as_they_come() -> None:
    config = load_witness_config(EXAMPLES / "witness.toml")
    origins = [log.named for log in config.witness.log]
    assert origins == ["other.example.org", "logs.example.net/of/others"]
    assert config.witness.log[0].parsed == (note_signer("other.example.org", "log").key,)
    assert len(config.witness.log[1].parsed) == 2
    assert config.http.address == ("127.0.0.1", 8351)


def test_the_example_of_a_node_shows_both_tables(tmp_path: Path) -> None:
    """Uncommented, what solo.toml shows is a configuration."""
    text = (EXAMPLES / "solo.toml").read_text()
    lines = r"^# (\[+(?:log\.)?witness.*|(?:policy|timeout|refresh|keys) = .*)$"
    shown = re.sub(lines, r"\1", text, flags=re.MULTILINE)
    path = tmp_path / "node.toml"
    path.write_text(shown)
    config: NodeConfig = load_config(path)
    log: LogConfig = config.log
    assert log.witness == WitnessesConfig(tmp_path / "witnesses.txt")
    assert config.witness is not None
    assert [each.named for each in config.witness.log] == ["other.example.org"]


def test_the_table_of_log_witness_in_the_readme_is_the_whole_of_it() -> None:
    section = README.read_text(encoding="utf-8").partition("**Ask witnesses.**")[2]
    (block,) = re.findall(r"\A.*?```toml\n(.*?)```", section, re.DOTALL)
    assert set(re.findall(r"^(\w+) =", block, re.MULTILINE)) == set(WitnessesConfig.__annotations__)
