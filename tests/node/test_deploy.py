"""What deploy/ ships works with the program that ships beside it."""

import argparse
import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.builder.sandboxes import require_sandbox

from touchplate.builder.cli import work
from touchplate.node import cli
from touchplate.verify.commands import COMMANDS
from touchplate.verify.usage import Parser

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "deploy" / "systemd"
NODE, WORKER = UNITS / "touchplate.service", UNITS / "touchplate-worker.service"
GIVEN = {"${SERVER}": "https://node.example.org", "${OPERATOR}": "https://rebuild.example.org"}
"""What worker.env gives, as the unit's first lines say."""


def read_service(path: Path) -> configparser.SectionProxy:
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(path.read_text())
    return unit["Service"]


def parsed(path: Path, name: str, register: Callable[[argparse.ArgumentParser], None]) -> argparse.Namespace:
    """What the command makes of the options with which the unit starts it."""
    program, *words = shlex.split(read_service(path)["ExecStart"].replace("$OPTIONS", "--slots 2"))
    assert Path(program).name == "touchplate"
    assert " ".join(words[: len(name.split())]) == name
    assert COMMANDS[name].module == register.__module__
    parser = Parser()
    register(parser)
    return parser.parse_args([GIVEN.get(word, word) for word in words[len(name.split()) :]])


def test_the_unit_starts_the_node_with_options_that_exist() -> None:
    assert parsed(NODE, "serve", cli.register).config.is_absolute()


def test_the_unit_starts_a_worker_with_options_that_exist() -> None:
    options = parsed(WORKER, "builder work", work.register)
    assert options.slots == 2
    assert str(options.data) == f"/var/lib/{read_service(WORKER)['StateDirectory']}"


def test_the_unit_is_hardened() -> None:
    service = read_service(NODE)
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


def test_a_worker_leaves_its_builds_room_and_survives_them() -> None:
    service = read_service(WORKER)
    wanted = {"Delegate": "yes", "OOMPolicy": "continue", "NoNewPrivileges": "yes", "ProtectSystem": "strict"}
    assert {name: service[name] for name in wanted} == wanted
    # Mounts over /proc, and walls that builds need themselves.
    hinders = ("ProtectProc", "ProtectKernelTunables", "ProtectKernelLogs", "ProtectHostname",
               "RestrictNamespaces", "MemoryDenyWriteExecute", "ProtectControlGroups", "User")  # fmt: skip
    assert [name for name in hinders if name in service] == []


def walls(capabilities: list[str]) -> list[str]:
    """Start a command as root with these powers alone."""
    kept = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in capabilities)])
    return ["setpriv", "--no-new-privs", "--inh-caps=-all", f"--bounding-set={kept}"]


NOSUID = ("unshare", "--mount", "sh", "-c", 'mount -o remount,bind,nosuid / && exec "$@"', "sh")
"""Start a command where all is mounted nosuid, as NoNewPrivileges= does it (systemd.exec(5))."""


def gives(capabilities: list[str], *around: str) -> set[str]:
    """What a worker with these powers can do: the sandboxes that it signs under, and give all powers up."""
    probe = [sys.executable, "-m", "touchplate.verify", "builder", "probe", "--json"]
    done = subprocess.run(
        [*around, *walls(capabilities), *probe], capture_output=True, text=True, timeout=300, check=False
    )
    found = json.loads(done.stdout).get("backends", [])  # none: it could not even look
    return {one["name"] for one in found if one["signs"]} | gives_up(capabilities)


def gives_up(capabilities: list[str]) -> set[str]:
    """Whether setpriv, as sandboxes call it, leaves a build no bounding set; it ends with 0 in any case."""
    look = ["setpriv", "--bounding-set=-all", "grep", "CapBnd", "/proc/self/status"]
    done = subprocess.run([*walls(capabilities), *look], capture_output=True, text=True, check=False)
    return {"nothing left"} if int(done.stdout.split()[1], 16) == 0 else set()


def require_root() -> None:
    """Skip where powers cannot be given away, and fail in CI."""
    require_sandbox()
    if os.geteuid() != 0:
        assert os.environ.get("CI") != "true", "this is CI, and not root"
        pytest.skip("only root can give powers away")


def test_a_worker_signs_the_same_where_everything_is_mounted_as_its_unit_has_it() -> None:
    require_root()
    kept = read_service(WORKER)["CapabilityBoundingSet"].split()
    assert gives(kept, *NOSUID) == gives(kept)


def test_a_worker_has_the_powers_that_it_needs_and_no_other() -> None:
    require_root()
    kept = read_service(WORKER)["CapabilityBoundingSet"].split()
    everything = [f"CAP_{name.upper()}" for name in known_capabilities()]
    usual = gives(everything)
    assert usual >= {"bubblewrap", "nothing left"}
    assert gives(kept) == usual
    without = {name: gives([one for one in kept if one != name]) for name in kept}
    needless = [name for name, found in without.items() if found == usual]
    # SYS_ADMIN is for the sandboxes with ids of their own, which may not be installed here.
    assert needless == ([] if usual - {"bubblewrap", "nothing left"} else ["CAP_SYS_ADMIN"])


def known_capabilities() -> list[str]:
    """The names of those that this process may have itself."""
    listed = subprocess.run(["setpriv", "--list-caps"], capture_output=True, text=True, check=True).stdout
    (bounds,) = re.findall(r"^CapBnd:\s*(\S+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return [name for number, name in enumerate(listed.split()) if int(bounds, 16) >> number & 1]


@pytest.mark.parametrize("unit", [NODE, WORKER], ids=lambda path: path.stem)
def test_systemd_takes_the_unit(unit: Path, tmp_path: Path) -> None:
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
