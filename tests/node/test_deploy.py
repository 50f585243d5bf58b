"""What deploy/ ships works with the program that ships beside it."""

import configparser
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from touchplate.node import cli
from touchplate.verify.commands import COMMANDS
from touchplate.verify.usage import Parser

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "deploy" / "systemd" / "touchplate.service"


def read_unit() -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(UNIT.read_text())
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


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        assert os.environ.get("CI") != "true", "systemd-analyze is missing, and this is CI"
        pytest.skip("systemd-analyze is not installed, so nobody else read the unit")
    # The program need not be installed here: only its name is exchanged.
    copy = tmp_path / UNIT.name
    copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE))
    done = subprocess.run(
        [program, "verify", str(copy)], capture_output=True, text=True, timeout=60, check=False
    )
    said = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert not said
