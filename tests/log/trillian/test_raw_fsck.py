"""fsck on databases with raw trees: of the log beside them, and of the raw trees themselves."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.log.support import record_envelope, write_settings
from tests.log.trillian.support import Client, connected, running
from tests.simkeys import ORIGIN

from touchplate.base.sql import begin_write, sqlite_engine
from touchplate.log.errors import CheckpointError, FrozenError, RequestError
from touchplate.log.fsck import Result, check_log
from touchplate.log.storage.registry import raw_name
from touchplate.log.storage.rows import TreeRows
from touchplate.log.storage.states import freeze, open_import
from touchplate.verify.cli import main

LEAVES = 300


def write(client: Client) -> int:
    tree = client.make()
    for number in range(LEAVES // 50):
        for at in range(50):
            name = {"leaf_identity_hash": b"id %d.%d" % (number, at)} if at % 2 else {}
            client.queue(tree, b"value %d" % (number * 50 + at), extra_data=b"x", **name)
    return tree


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A database with a log and a raw tree, and the latter's id."""
    folder = tmp_path_factory.mktemp("log")
    with running(folder) as service, connected(service) as client:
        service.append([record_envelope(number) for number in range(3)])
        tree = write(client)
    return folder / "data" / "log.sqlite", tree


def check(database: Path, name: str) -> Result:
    engine = sqlite_engine(database)
    rows = TreeRows(engine, name)
    try:
        return check_log(rows)
    finally:
        rows.close()
        engine.dispose()


def test_a_raw_tree_and_the_log_beside_it_are_clean(
    made: tuple[Path, int], capsys: pytest.CaptureFixture[str]
) -> None:
    database, tree = made
    result = check(database, raw_name(tree))
    assert (result.findings, result.size) == ([], LEAVES)
    # Without a name the log is meant.
    assert main(["log", "fsck", "--db", str(database)]) == 0
    assert "3 entries" in capsys.readouterr().out
    assert main(["log", "fsck", "--db", str(database), "--origin", raw_name(tree)]) == 0
    assert f"{LEAVES} entries" in capsys.readouterr().out


DAMAGE: dict[str, tuple[str, str]] = {
    "leaf": ("UPDATE leaves SET leaf_data = x'00' WHERE tree_id = 2 AND leaf_index = 7", "leaf 7"),
    "lost leaf": ("DELETE FROM leaves WHERE tree_id = 2 AND leaf_index = 299", "leaf 299 is missing"),
    "identity": (
        "UPDATE raw_leaves SET identity = x'00' WHERE tree_id = 2 AND leaf_index = 8",
        "identity of 8",
    ),
    "lost identity": (
        "DELETE FROM identities WHERE tree_id = 2 AND leaf_index = 8",
        "identity of 8 is missing",
    ),
    "lost row": ("DELETE FROM raw_leaves WHERE tree_id = 2 AND leaf_index = 9", "raw leaf 9 is missing"),
    "lost hash": ("DELETE FROM raw_hashes WHERE tree_id = 2 AND leaf_index = 9", "raw hashes"),
    "root": ("UPDATE trillian_trees SET root_size = 5 WHERE tree_id = 2", "root of size 5"),
    "kind": ("UPDATE trees SET kind = 'other' WHERE tree_id = 2", "kind 'other'"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_named(made: tuple[Path, int], tmp_path: Path, what: str) -> None:
    database, tree = made
    (tmp_path / "log.sqlite").write_bytes(database.read_bytes())
    statement, words = DAMAGE[what]
    engine = sqlite_engine(tmp_path / "log.sqlite")
    with begin_write(engine) as connection:
        assert connection.execute(text(statement)).rowcount == 1
    engine.dispose()
    found = [str(one) for one in check(tmp_path / "log.sqlite", raw_name(tree)).findings]
    assert any(words in one for one in found), found


def test_a_frozen_log_leaves_the_trees_beside_it_open_and_raw_trees_are_not_frozen_so(tmp_path: Path) -> None:
    with running(tmp_path) as service, connected(service) as client:
        service.append([record_envelope(0)])
        tree = client.make()
        engine = sqlite_engine(tmp_path / "data" / "log.sqlite")
        assert freeze(engine, ORIGIN) == 1
        with pytest.raises(FrozenError):
            service.append([record_envelope(1)])
        client.queue(tree, b"value")
        assert client.root(tree).size == 1
        with pytest.raises(RequestError, match="holds no log"):
            freeze(engine, raw_name(tree))
        with pytest.raises(CheckpointError):
            open_import(engine, raw_name(tree))
        engine.dispose()


@pytest.mark.parametrize("command", [["export", "public"], ["import", "public"], ["freeze"], ["stats"]])
def test_a_raw_tree_is_nothing_for_an_operators_commands(
    made: tuple[Path, int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
) -> None:
    database, tree = made
    write_settings(tmp_path)
    shutil.copytree(database.parent, tmp_path / "data" / "log")
    config = tmp_path / "node.toml"
    config.write_text(f'data = "data"\n[log]\norigin = "{raw_name(tree)}"\nkey = "file:log.key"\n')
    monkeypatch.chdir(tmp_path)
    assert main(["log", *command, "--config", str(config)]) != 0
    assert f"origin '{raw_name(tree)}' is not a bare lower-case host name" in capsys.readouterr().err
    assert not (tmp_path / "public").exists()
    assert check(tmp_path / "data" / "log" / "log.sqlite", raw_name(tree)).clean
