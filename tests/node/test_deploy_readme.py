"""deploy/README.md: the keys and lists that it describes make a node that starts."""

import re
from pathlib import Path

from touchplate.node.config import load_config
from touchplate.node.wiring import Node
from touchplate.verify.cli import main

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "deploy" / "README.md").read_text()
SOLO = (ROOT / "deploy" / "examples" / "solo.toml").read_text()


def commands() -> list[list[str]]:
    """The `touchplate` commands of the set-up, as argument lists."""
    joined = README.replace("\\\n", " ")
    found = re.findall(r"^ +touchplate ((?:keygen|trust init) .*)$", joined, flags=re.MULTILINE)
    return [line.split() for line in found]


def test_the_described_set_up_makes_a_node_that_starts(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    assert main(["keygen", "--for", "rebuilder", "--out", str(keys / "rebuild.key")]) == 0
    for command in commands():
        placed = [re.sub(r"((?:^|=))((?:keys|trust)[/.])", rf"\1{tmp_path}/\2", word) for word in command]
        assert main(placed) == 0
    blocks = re.findall(r"^ {6}(\[\[.*?)\n\n", README + "\n\n", flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "admission.toml").write_text(
        "\n".join(re.sub(r"^ +", "", block, flags=re.M) for block in blocks)
    )
    token = keys / "worker.token"
    token.write_text("secret\n")
    token.chmod(0o600)
    config = tmp_path / "node.toml"
    # No Maven on this machine is needed: the address is written instead of "auto".
    config.write_text(SOLO.replace('url = "auto"', 'url = "http://repository.example.org/maven2"'))
    node = Node(load_config(config))
    node.start()
    node.stop()
    assert len(commands()) == 3
