"""TOML to dataclasses, and all mistakes at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from touchplate.base.config import KEY, MAX_CONFIG_BYTES, ByteSize, Duration, Secret, load, load_file
from touchplate.base.errors import ConfigError

DEFAULT_BODY = ByteSize(4 << 20)
WHERE = Path("/etc/touchplate/node.toml")


@dataclass(frozen=True)
class Rule:
    need: tuple[Literal["recorded", "reproduced"], ...]
    enforce: Literal["enforce", "warn"] = "enforce"
    minimum_age: Duration | None = None
    source: str | None = field(default=None, metadata={KEY: "from"})


@dataclass(frozen=True)
class Gate:
    trust: Path
    rule: tuple[Rule, ...] = ()

    def check(self) -> list[str]:
        if self.rule and self.rule[-1].need:
            return ["the last rule is the default and needs nothing"]
        return []


@dataclass(frozen=True)
class HTTP:
    listen: str = "127.0.0.1:8080"
    workers: int = 1
    verbose: bool = False
    max_body: ByteSize = DEFAULT_BODY


@dataclass(frozen=True)
class Node:
    gate: Gate
    http: HTTP
    key: Secret
    data: Path = Path("data")
    cache: Path = Path("/var/cache/touchplate")


GOOD = """
key = "file:keys/log.key"
[gate]
trust = "trust.toml"
[[gate.rule]]
need = ["recorded", "reproduced"]
minimum_age = "24h"
from = "central"
[[gate.rule]]
need = []
enforce = "warn"
[http]
max_body = "1MiB"
"""


def mistakes(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(Node, text, where=WHERE)
    assert caught.value.reason == "bad-configuration"
    return caught.value.mistakes


def test_reads_the_whole_tree_with_defaults_and_paths_beside_the_file() -> None:
    node = load(Node, GOOD, where=WHERE)
    folder = WHERE.parent
    assert node == Node(
        Gate(
            folder / "trust.toml",
            (
                Rule(("recorded", "reproduced"), minimum_age=Duration(86400), source="central"),
                Rule((), enforce="warn"),
            ),
        ),
        HTTP(max_body=ByteSize(1 << 20)),
        Secret("file:keys/log.key", folder),
        folder / "data",
        Path("/var/cache/touchplate"),
    )


def test_shows_odd_keys_in_quotes_and_cut() -> None:
    odd = '"\\u001b[31m" = 1\n"' + "k" * 5000 + '" = 2\n'
    found = mistakes(odd + GOOD)
    assert [len(each) < 300 and each.isprintable() for each in found] == [True, True]
    assert found[0].startswith("'\\x1b[31m': unknown key")


def test_lists_every_mistake_with_its_dotted_path() -> None:
    found = mistakes(
        """
        key = "hunter2"
        colour = "red"
        data = 5
        [gate]
        rule = [{need = ["recorded", "sighned"], enforc = "warn"}, 7]
        [http]
        listen = 80
        workers = "2"
        verbose = 1
        max_body = "4MB"
        """
    )
    assert found == (
        "colour: unknown key; known here: cache, data, gate, http, key",
        "gate.trust: is missing; it is a path (a string)",
        "gate.rule[0].enforc: unknown key; did you mean 'enforce'?",
        "gate.rule[0].need[1]: must be one of 'recorded', 'reproduced', not 'sighned'",
        "gate.rule[1]: must be a table, not 7",
        "http.listen: must be a string, not 80",
        "http.workers: must be an integer, not '2'",
        "http.verbose: must be true or false, not 1",
        "http.max_body: '4MB' is not a size; write an integer with B, KiB, MiB, GiB or TiB, such as \"4MiB\"",
        'key: a secret is given by reference; write "file:PATH" or "env:VARIABLE"',
        "data: must be a path (a string), not 5",
    )


def test_names_each_missing_key_of_a_missing_table() -> None:
    assert mistakes("") == (
        "gate.trust: is missing; it is a path (a string)",
        'key: is missing; it is a reference to a secret, "file:PATH" or "env:VARIABLE"',
    )


def test_a_number_is_not_a_truth_value_and_a_truth_value_no_number() -> None:
    start = 'key = "env:K"\ngate = {trust = "t"}\n[http]\n'
    assert mistakes(start + "workers = true") == ("http.workers: must be an integer, not True",)
    assert mistakes(start + "workers = 1.0") == ("http.workers: must be an integer, not 1.0",)


def test_mistakes_between_fields_come_from_the_class_itself() -> None:
    found = mistakes('key = "env:K"\n[gate]\ntrust = "t"\nrule = [{need = ["recorded"]}]')
    assert found == ("gate: the last rule is the default and needs nothing",)


def test_never_repeats_a_secret_that_stands_in_the_wrong_place() -> None:
    for value in ('"hunter2"', '["hunter2"]', '{a = "hunter2"}'):
        assert not any("hunter2" in each for each in mistakes(f"key = {value}"))


@pytest.mark.parametrize(
    "text", ["key", "a = 1\na = 2", "[" * 5000, "a = " + "[" * 5000, "a.b = 1\na = 2", "\x00"]
)
def test_text_that_is_not_toml_is_a_configuration_error(text: str) -> None:
    assert mistakes(text)[0].startswith("not TOML: ")


@pytest.mark.parametrize("text", ['data = ""', 'data = "a\\u0000b"'])
def test_refuses_impossible_paths(text: str) -> None:
    assert any("is not a path" in each for each in mistakes(text))


def test_every_cut_of_a_good_file_is_read_or_refused_cleanly() -> None:
    refused = 0
    for end in range(len(GOOD)):
        try:
            load(Node, GOOD[:end], where=WHERE)
        except ConfigError:
            refused += 1
    assert refused > len(GOOD) // 2


def test_reads_a_file_and_says_what_is_wrong_with_one(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(GOOD)
    assert load_file(Node, path).gate.trust == tmp_path / "trust.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_file(Node, path)
    path.write_bytes(b"#" * (MAX_CONFIG_BYTES + 1))
    with pytest.raises(ConfigError, match="wrong file"):
        load_file(Node, path)
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load_file(Node, tmp_path / "none.toml")


def test_a_relative_configuration_path_counts_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(Node, GOOD, where=Path("node.toml")).data == tmp_path / "data"


def test_a_schema_with_a_type_that_toml_cannot_fill_is_a_programming_error() -> None:
    @dataclass(frozen=True)
    class Odd:
        number: complex

    with pytest.raises(TypeError, match="complex"):
        load(Odd, "number = 1", where=WHERE)
