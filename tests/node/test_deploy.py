"""What deploy/ ships works with the program that ships beside it."""

import configparser
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from touchplate.builder.cli import work
from touchplate.node import cli
from touchplate.verify.cli import COMMANDS
from touchplate.verify.usage import Parser

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "deploy" / "systemd" / "touchplate.service"
BUILDER = UNIT.with_name("touchplate-builder.service")


def read_unit(path: Path = UNIT) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(path.read_text())
    return unit


def test_the_unit_starts_the_node_with_options_that_exist() -> None:
    program, command, *options = shlex.split(read_unit()["Service"]["ExecStart"])
    assert Path(program).name == "touchplate"
    assert COMMANDS[command].module == cli.__name__
    parser = Parser()
    cli.register(parser)
    assert parser.parse_args(options).config.is_absolute()


def test_the_unit_is_hardened() -> None:
    service = read_unit()["Service"]
    wanted = {
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "PrivateTmp": "yes",
        "PrivateDevices": "yes",
        "CapabilityBoundingSet": "",
        "RestrictNamespaces": "yes",
        "User": "touchplate",
    }
    assert {name: service[name] for name in wanted} == wanted


def test_the_builders_unit_starts_a_worker_with_options_that_exist() -> None:
    program, *words = shlex.split(read_unit(BUILDER)["Service"]["ExecStart"])
    assert Path(program).name == "touchplate"
    assert COMMANDS[" ".join(words[:2])].module == work.__name__
    parser = Parser()
    work.register(parser)
    args = parser.parse_args(words[2:])
    service = read_unit(BUILDER)["Service"]
    assert args.data == Path("/var/lib", service["StateDirectory"])


def test_the_builders_unit_gives_it_a_part_of_the_control_groups() -> None:
    service = read_unit(BUILDER)["Service"]
    wanted = {"Delegate": "yes", "OOMPolicy": "continue", "TasksMax": "infinity", "KillMode": "mixed"}
    assert {name: service[name] for name in wanted} == wanted
    # What hides parts of /proc, or makes control groups read-only, leaves no sandbox that can be signed.
    assert not [name for name in service if name.startswith(("Protect", "Private", "Restrict"))]


@pytest.mark.parametrize("unit", [UNIT, BUILDER])
def test_systemd_takes_the_unit(tmp_path: Path, unit: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        assert os.environ.get("CI") != "true", "systemd-analyze is missing, and this is CI"
        pytest.skip("systemd-analyze is not installed, so nobody else read the unit")
    # The program need not be installed here: only its name is exchanged.
    copy = tmp_path / unit.name
    copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE))
    done = subprocess.run(
        [program, "verify", str(copy)], capture_output=True, text=True, timeout=60, check=False
    )
    said = [line for line in done.stderr.splitlines() if unit.name in line]
    assert not said
