"""The tools of a Conan build: made from pinned hashes alone, checked at every use, and what a host lacks."""

import re
import shutil
from pathlib import Path

import pytest

from touchplate.builder.ecosystems.conan import tools
from touchplate.builder.ecosystems.conan.definition import ConanTool
from touchplate.builder.ecosystems.conan.tools import (
    CONAN_VERSION,
    default_conan,
    default_gcc,
    need_conan,
    need_gcc,
    need_program,
)
from touchplate.builder.errors import DefinitionError, HostLack
from touchplate.builder.trees import tree_digest

LOCK = Path(tools.__file__).with_name("conan.lock")


def test_the_list_names_versions_and_hashes_and_no_address() -> None:
    text = LOCK.read_text()
    assert f"conan=={CONAN_VERSION} " in text
    assert "://" not in text
    named = re.findall(r"^[a-z][^ ]*==[^ ]+(.*?)(?=^[a-z]|\Z)", text, re.MULTILINE | re.DOTALL)
    assert len(named) > 10
    assert all("--hash=sha256:" in rest for rest in named)


def test_the_list_is_that_of_the_client_that_is_tested() -> None:
    tested = Path(__file__).resolve().parents[1] / "e2e" / "conan.lock"
    assert set(re.findall(r"sha256:[0-9a-f]{64}", LOCK.read_text())) <= set(
        re.findall(r"sha256:[0-9a-f]{64}", tested.read_text())
    )


def test_conan_is_what_is_run_and_no_more(conan_tools: Path) -> None:
    made = need_conan(default_conan(), conan_tools)
    assert made.digest == tree_digest(made.home)
    assert (made.home / "conan/cli/cli.py").is_file()
    names = {path.name for path in made.home.iterdir()}
    assert {"bin", "setuptools", "wheel", "pip"}.isdisjoint(names)
    assert not list(made.home.rglob("__pycache__"))
    # Neither this host's folders nor anybody's Python stand in it.
    assert not list(made.home.glob("*.dist-info/RECORD"))


def test_a_tool_that_was_changed_afterwards_is_not_used(conan_tools: Path, tmp_path: Path) -> None:
    made = need_conan(default_conan(), conan_tools)
    digest = made.home.with_name(made.home.name + ".sha256")
    shutil.copytree(made.home, tmp_path / made.home.name)
    shutil.copy(digest, tmp_path)
    assert need_conan(default_conan(), tmp_path).digest == made.digest
    with (tmp_path / made.home.name / "conan/cli/cli.py").open("a") as file:
        file.write("# more\n")
    with pytest.raises(HostLack, match="remove it"):
        need_conan(default_conan(), tmp_path)
    (tmp_path / digest.name).unlink()
    with pytest.raises(HostLack, match="remove it"):
        need_conan(default_conan(), tmp_path)


def test_another_hash_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "conan.lock"
    lock.write_text(re.sub(r"sha256:[0-9a-f]{8}", "sha256:00000000", LOCK.read_text()))
    monkeypatch.setattr(tools, "_LOCK", lock)
    folder = tmp_path / "tools"
    with pytest.raises(HostLack, match="Conan could not be made") as caught:
        need_conan(default_conan(), folder)
    assert caught.value.reason == "no-conan"
    assert list(folder.iterdir()) == []


def test_a_definition_with_another_conan_is_refused_with_both(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"wants Conan 2\.9\.0 .* makes 2\.34\.0"):
        need_conan(ConanTool("2.9.0", default_conan().lock), tmp_path)
    with pytest.raises(DefinitionError, match="aaaaaaaaaaaaaaaa…"):
        need_conan(ConanTool(CONAN_VERSION, "a" * 64), tmp_path)


def test_what_a_host_lacks_is_named_with_the_package_to_install(conan_tools: Path) -> None:
    with pytest.raises(HostLack, match=r"needs gcc 99; this host has .*; install gcc-99"):
        need_gcc(99)
    with pytest.raises(HostLack, match="install the package no-such-program"):
        need_program("no-such-program")
    found = need_gcc(default_gcc())
    assert found.version.partition(".")[0] == str(default_gcc())
    assert found.is_default
