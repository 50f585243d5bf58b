"""The node's configuration: the example that ships, and mistakes that are all listed at once."""

import re
from pathlib import Path

import pytest
from tests.api.support import write_node

from touchplate.base.errors import ConfigError
from touchplate.node.config import NodeConfig, load_config
from touchplate.node.log_node import load_log_config
from touchplate.node.peer import load_peer_config

ROOT = Path(__file__).resolve().parents[2]
SOLO = ROOT / "deploy" / "examples" / "solo.toml"


def edited(folder: Path, old: str, new: str) -> Path:
    """The example with one passage replaced."""
    text = SOLO.read_text()
    assert old in text
    path = folder / "node.toml"
    path.write_text(text.replace(old, new, 1))
    return path


def mistakes(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    return " | ".join(caught.value.mistakes)


def test_reads_the_example() -> None:
    config = load_config(SOLO)
    assert config.data == SOLO.parent / "data"
    assert config.http.address == ("127.0.0.1", 8350)
    assert config.recorder is not None
    (central,) = config.upstream
    assert (central.identity, central.url, central.record) == ("central", "auto", True)
    assert [rule.need for rule in config.gate.rule] == [("reproduced",), ("recorded",)]
    assert config.gate.rule[-1].is_default


def test_the_example_shows_every_key() -> None:
    """A setting that the example does not name is one that nobody finds."""
    text = SOLO.read_text()
    pending: list[object] = [NodeConfig]
    while pending:
        hints = getattr(pending.pop(), "__annotations__", {})
        for name in hints:
            if name not in {"limits"}:
                assert re.search(rf"\b{name}\b", text), name
    for word in ("operators", "minimum_age", "rebuild", "public_url", "threads", "password", "allow_private"):
        assert word in text


def test_reads_the_example_of_a_frontend() -> None:
    config = load_log_config(SOLO.with_name("frontend.toml"))
    assert config.log.storage.startswith("postgresql+psycopg://touchplate@db.example.org/touchplate")
    assert str(config.log.storage_password) == "file:keys/database.password"


ADDRESS = "postgresql+psycopg://touchplate@db.example.org/log"


@pytest.mark.parametrize(
    ("storage", "complaint"),
    [
        ('"oracle://db/log"', 'log: storage: must begin with postgresql+psycopg://, or "sqlite"'),
        ('"postgresql://db/log"', "must begin with postgresql+psycopg://"),
        ('"log.sqlite"', "is no address"),
        ('"postgresql+psycopg://db.example.org"', "names no database"),
        ('"postgresql+psycopg://a:hush@db/log"', "must not hold a password; give it by reference"),
        ('"postgresql+psycopg://db/log?password=hush"', "has the parameter 'password'; known: host,"),
        ('"postgresql+psycopg://db/log?options=-cfsync"', "has the parameter 'options'"),
        (f'"{ADDRESS}"\nstorage_password = "hush"', 'write "file:PATH" or "env:VARIABLE"'),
        ('"sqlite"\nstorage_password = "env:HUSH"', "belongs to the address of a database"),
        ("3", "must be a string, not 3"),
    ],
)
def test_refuses_storages_that_cannot_be(tmp_path: Path, storage: str, complaint: str) -> None:
    found = mistakes(edited(tmp_path, 'storage = "sqlite"', f"storage = {storage}"))
    assert complaint in found
    assert "hush" not in found


def test_a_peer_keeps_its_part_of_the_log_on_sqlite(tmp_path: Path) -> None:
    text = SOLO.with_name("peer.toml").read_text().replace("[log]\n", f'[log]\nstorage = "{ADDRESS}"\n', 1)
    (tmp_path / "peer.toml").write_text(text)
    with pytest.raises(ConfigError, match="a peer keeps its part of the log on SQLite"):
        load_peer_config(tmp_path / "peer.toml")
    with pytest.raises(ConfigError, match="run `touchplate peer start` instead"):
        load_log_config(SOLO.with_name("peer.toml"))


def test_reads_the_smallest_configuration(tmp_path: Path) -> None:
    config = load_config(write_node(tmp_path, "http://127.0.0.1:1/repository"))
    assert config.http.public_url is None
    assert config.records_per_minute == 6000


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('enforce = "warn"', 'enforce = "maybe"', "one of 'enforce', 'warn', 'observe'"),
        ('enforce = "warn"\nrebuild = "never"', 'rebuild = "any"', "needs a [queue]"),
        ('rebuild = "never"', 'rebuild = "any"', "only refusals ask for one"),
        ('rebuild = "never"', 'rebuild = "all"', "'any'"),
        ('need = ["recorded"]', 'need = ["recorded"]\nrebuild = "any"', '"reproduced" is in need'),
        ('need = ["reproduced"]', 'need = ["signed"]', "does not exist yet"),
        ('need = ["reproduced"]', 'need = ["blessed"]', "'blessed' is no level"),
        ('identity = "central"', 'identity = "a/b"', "identity 'a/b'"),
        ('url = "auto"', 'url = "ftp://example.org"', "upstream[0]"),
        ('name = "central"', 'name = "other"', 'url "auto" is known for the Maven upstream named central'),
        ('name = "central"', 'name = "Central"', "lower-case"),
        ('ecosystem = "maven"', 'ecosystem = "npm"', "ecosystem"),
        ('listen = "127.0.0.1:8350"', 'listen = "8350"', "host:port"),
        ('listen = "127.0.0.1:8350"', 'listen = "127.0.0.1:99999"', "host:port"),
        ("threads = 48", "threads = 0", "1 to 1024"),
        ("threads = 48", "thread = 48", "did you mean 'threads'"),
        ("records_per_minute = 6000", "records_per_minute = 0", "at least 1"),
        ('origin = "log.example.org"', 'origin = "log.example.org/one"', "origin"),
        ('key = "file:keys/log.key"', 'key = "PRIVATE+KEY+secret"', "file:PATH"),
        ('operator = "https://packages.example.org"', 'operator = "https://Packages.org/"', "operator"),
        ('[recorder]\noperator = "https://packages.example.org"', "[recorder]", "recorder.operator"),
        ('need = ["recorded"]', 'need = ["recorded"]\nrepository = "central"', "without ecosystem"),
        ('enforce = "warn"', 'enforce = "warn"\nrepository = "centrall"', "no upstream is named 'centrall'"),
        ('enforce = "warn"', 'enforce = "warn"\nminimum_age = "soon"', "duration"),
        ("org.apache.commons/commons-lang3@*", "org.apache.commons:commons-lang3:*", "matches no package"),
        ("commons-lang3@*", "commons-lang3@3.17.0?type=jar", "matches no package"),
        ('need = ["recorded"]', 'need = ["recorded"]\noperators = 3', "counts who reproduced"),
    ],
)
def test_refuses_a_mistake(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert said in mistakes(edited(tmp_path, old, new))


def test_a_rule_before_the_last_may_not_match_everything(tmp_path: Path) -> None:
    path = edited(tmp_path, 'package = "pkg:maven/org.apache.commons/commons-lang3@*"\n', "")
    assert "number 1 matches everything" in mistakes(path)


def test_recording_needs_a_recorder(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(re.sub(r"\[recorder\]\n.*?\n\n", "\n", SOLO.read_text(), count=1, flags=re.DOTALL))
    assert "says record = true" in mistakes(path)


def test_lists_every_mistake_at_once(tmp_path: Path) -> None:
    path = edited(tmp_path, 'rebuild = "never"', 'rebuild = "any"')
    path.write_text(path.read_text().replace("threads = 48", "threads = 0\nport = 1"))
    text = mistakes(path)
    assert "rebuild" in text
    assert "port" in text


def test_a_secret_written_into_the_file_is_not_repeated(tmp_path: Path) -> None:
    text = mistakes(edited(tmp_path, 'key = "file:keys/log.key"', 'key = "PRIVATE+KEY+hunter2"'))
    assert "hunter2" not in text
