"""`[queue]`: what is refused, and that the example in deploy/ gives a node with a queue."""

from pathlib import Path

import pytest
from tests.api.support import write_node

from touchplate.base.errors import ConfigError
from touchplate.node.config import load_config
from touchplate.node.wiring import Node

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "examples" / "queue.toml"


def config_of(folder: Path, text: str) -> Path:
    path = write_node(folder, "http://127.0.0.1:1/repository")
    path.write_text(path.read_text() + text)
    return path


def write_tokens(folder: Path, **tokens: str) -> None:
    (folder / "keys").mkdir()
    for name, token in tokens.items():
        path = folder / "keys" / f"{name}.token"
        path.write_text(token + "\n")
        path.chmod(0o600)


def test_the_example_gives_a_node_with_a_queue(tmp_path: Path) -> None:
    path = config_of(tmp_path, EXAMPLE.read_text())
    write_tokens(tmp_path, shed="a-token-of-the-shed", boss="a-token-of-the-boss")
    node = Node(load_config(path))
    try:
        assert node.jobs is not None
        assert (tmp_path / "data" / "queue.sqlite").exists()
    finally:
        node.stop()


def test_a_node_without_one_has_no_queue(tmp_path: Path) -> None:
    node = Node(load_config(config_of(tmp_path, "")))
    try:
        assert node.jobs is None
        assert not (tmp_path / "data" / "queue.sqlite").exists()
    finally:
        node.stop()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "boss"', 'name = "shed"', "two are named 'shed'"),
        ('name = "boss"', 'name = "the boss"', "write 1 to 40 letters"),
        ('scopes = ["work"]', "scopes = []", "scopes: write"),
        ('scopes = ["work"]', 'scopes = ["root"]', "root"),
        ('lease = "60s"', 'lease = "1s"', "lease: write a time"),
        ("max_lost = 5", "max_lost = -1", "max_lost: write 0"),
        ('max_lease = "3h"', 'max_lease = "30s"', "max_lease: write a time that is not less than lease"),
        ('max_lease = "3h"', 'max_lease = "8d"', 'at most "7d"'),
        ('retry = "5m"', 'retry = "2h"', "retry: write a time"),
        ('keep = "365d"', 'keep = "23h"', 'keep: write a time from "1d"'),
        ('keep_failed = "730d"', 'keep_failed = "0s"', 'keep_failed: write a time from "1d"'),
        ('keep_failed = "730d"', 'keep_failed = "36501d"', 'to "36500d"'),
        ('storage = "sqlite"', 'storage = "mysql://x/y"', "storage: must begin with"),
        ('storage = "sqlite"', 'storage = "sqlite"\nstorage_password = "env:X"', "storage_password: belongs"),
        ('storage = "sqlite"', 'storage = "sqlite"\nworkers = 3', "workers"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = EXAMPLE.read_text()
    # Of lines that stand in a comment, too, the last one counts.
    head, tail = text.rsplit(old, 1)
    with pytest.raises(ConfigError, match=said):
        load_config(config_of(tmp_path, head + new + tail))


def test_tokens_that_are_short_or_the_same_are_refused(tmp_path: Path) -> None:
    path = config_of(tmp_path, EXAMPLE.read_text())
    write_tokens(tmp_path, shed="short", boss="short")
    with pytest.raises(ConfigError, match=r"shed: shorter than 16.*boss: another one has the same"):
        Node(load_config(path))


def test_a_queue_without_tokens_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nobody could use the queue"):
        load_config(config_of(tmp_path, "[queue]\ntoken = []\n"))


RULE = '[[gate.rule]]\nneed = ["reproduced"]\nrebuild = "authenticated"\n'


def test_rebuilds_for_tokens_need_a_token_that_may_ask(tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    path = write_node(tmp_path, "http://127.0.0.1:1/repository", rules=RULE + text)
    assert load_config(path).gate.rule[-1].rebuild == "authenticated"
    path.write_text(
        path.read_text().replace('scopes = ["admin"]', 'scopes = ["work"]').replace('["ask"]', '["work"]')
    )
    with pytest.raises(ConfigError, match='has the scope "ask" or "admin"'):
        load_config(path)


def test_a_folder_of_definitions_has_to_be_there(tmp_path: Path) -> None:
    text = EXAMPLE.read_text().replace("[queue]\n", '[queue]\ndefinitions = "nowhere"\n')
    with pytest.raises(ConfigError, match="definitions: there is no folder"):
        load_config(config_of(tmp_path, text))
