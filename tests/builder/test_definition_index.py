"""The operator's folder of definitions: found by what they build, and looked at again."""

import json
import logging
import os
from pathlib import Path

import pytest
from tests.builder.rebuildparts import PACKAGE, scene, scripted

from touchplate.builder.definitions.index import FRESH_SECONDS, DefinitionIndex
from touchplate.builder.definitions.path import definition_path
from touchplate.builder.errors import DefinitionError
from touchplate.verify.purl import parse_purl


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def definition(name: str, package: str = PACKAGE) -> bytes:
    with scene() as one:
        value = json.loads(scripted(one, "").data)
    value |= {"name": name, "package": package, "outputs": [{"path": "a.jar", "package": package}]}
    return json.dumps(value).encode()


OTHER = PACKAGE.replace("demo@", "other@")


def put(folder: Path, name: str, package: str = PACKAGE, suffix: str = ".yaml") -> Path:
    """A definition at its place."""
    path = folder / definition_path(parse_purl(package)).with_suffix(suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(definition(name, package))
    return path


def test_a_definition_is_found_by_what_it_builds_and_the_first_by_name_counts(tmp_path: Path) -> None:
    put(tmp_path, "second", suffix=".yaml")
    put(tmp_path, "first", suffix=".json")
    put(tmp_path, "none", OTHER).rename(tmp_path / "notes.txt")
    folder = DefinitionIndex(tmp_path)
    found = folder.find(PACKAGE)
    assert found is not None
    assert found.name == "first"
    assert folder.find(OTHER) is None


def test_changes_are_seen_after_a_while(tmp_path: Path) -> None:
    clock = Clock()
    folder = DefinitionIndex(tmp_path, clock=clock)
    assert folder.find(PACKAGE) is None
    path = put(tmp_path, "first")
    assert folder.find(PACKAGE) is None
    clock.now += FRESH_SECONDS
    found = folder.find(PACKAGE)
    assert found is not None
    path.write_bytes(definition("changed"))
    os.utime(path, ns=(1, 1))
    other = put(tmp_path, "another", OTHER)
    clock.now += FRESH_SECONDS
    found = folder.find(PACKAGE)
    assert found is not None
    assert found.name == "changed"
    assert folder.find(OTHER) is not None
    other.unlink()
    clock.now += FRESH_SECONDS
    assert folder.find(OTHER) is None
    assert folder.find(PACKAGE) is not None


def test_what_is_no_definition_is_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.json").write_bytes(b"{")
    (tmp_path / "b.yaml").write_bytes(definition("misplaced"))
    (tmp_path / "c.yaml").symlink_to("nowhere")
    os.mkfifo(tmp_path / "d.yaml")
    put(tmp_path, "good")
    with caplog.at_level(logging.WARNING):
        assert DefinitionIndex(tmp_path).find(PACKAGE) is not None
    said = [record.getMessage().split()[0] for record in caplog.records]
    assert said == ["a.json", "b.yaml", "c.yaml", "d.yaml"]


def test_a_folder_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="cannot read the definitions"):
        DefinitionIndex(tmp_path / "gone").find(PACKAGE)
