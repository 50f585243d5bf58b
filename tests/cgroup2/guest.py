"""Run in the machine, as root: the places in which a builder may find itself, and what is tried in each.

    guest.py PLACE…

A place is a control group of version 2 and what the builder may do with it. Each step is a command of its
own, started there; it is right when its exit code is, and when what it prints has certain words and lacks
others.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DONE = "place:"
"""First word of the line that ends a place; then its name, what was right, what was not."""

INSTALLED = "/opt/touchplate"
"""Where builder/docs/fleet.md installs; the units start the program from there."""

STEP_SECONDS = 1500
"""For a step: four times what the longest one takes."""

_UNIT = Path("deploy/systemd/touchplate-worker.service")
_UNITS = Path("/run/systemd/system")
_DROP_IN = _UNITS / f"{_UNIT.name}.d/step.conf"

# What the unit takes of root's powers and of the file system is given back: an attack's control needs more
# than a worker, and this tree may lie where the unit sees nothing. Its control groups stay as they are.
_GIVEN_BACK = """EnvironmentFile=
CapabilityBoundingSet=~
NoNewPrivileges=no
ProtectSystem=no
ProtectHome=no
PrivateTmp=no
PrivateDevices=no
ProtectKernelModules=no
LockPersonality=no
RestrictAddressFamilies=
RestrictRealtime=no
SystemCallArchitectures=
ReadWritePaths=
"""
_OUT = Path("/run/step")


@dataclass(frozen=True)
class Step:
    """One command; `right` are patterns that its output must have, `wrong` those it must not have."""

    name: str
    command: tuple[str, ...]
    right: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    code: int = 0


def _probe(*backends: str, code: int = 0, right: tuple[str, ...] = (), wrong: tuple[str, ...] = ()) -> Step:
    command = (".venv/bin/python", ".venv/bin/touchplate", "builder", "probe", *backends)
    return Step(f"probe {' '.join(backends) or 'all'}", command, right, wrong, code)


def _checks(*names: str) -> Step:
    chosen = ("-k", " or ".join(names)) if names else ()
    command = (".venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen)
    return Step("checks", (*command, "tests/cgroup2/checks.py"), (r"\d+ passed",), ("failed", "skipped"))


def _hostile(backend: str, *words: str) -> Step:
    command = (".venv/bin/python", "-m", "tests.hostile", "--backend", backend, *words)
    return Step(f"attacks {backend}", command, ("contained", " 0 failed"), ("FAILED", "NOT ATTACKED"))


_HELD = ("limits +cpu by cgroup-v2, memory by cgroup-v2, pids by cgroup-v2",)
_TOLD = ("control groups ",)  # the probe says what is missing

LIMITS = ("fork bomb", "memory bomb", "starve", "never end", "daemon", "outlive")
"""Attacks whose walls are limits and endings."""

_SMALL = _hostile("bubblewrap", "fork bomb", "memory bomb")
PLACES: dict[str, tuple[Step, ...]] = {
    # The unit that deploy/ ships, with another command.
    "unit": (
        _probe(right=(*_HELD, "gvisor\nsigns +yes", "runc\nsigns +yes"), wrong=_TOLD),
        _checks(),
        *(_hostile(backend, *LIMITS) for backend in ("bubblewrap", "runc", "gvisor")),
    ),
    # Both units as they are shipped, with nothing given back, and the guide that installs them.
    "shipped": (
        Step(
            "probe all",
            (f"{INSTALLED}/bin/touchplate", "builder", "probe"),
            (*_HELD, *(f"{name}\nsigns +yes" for name in ("bubblewrap", "gvisor", "runc"))),
            _TOLD,
        ),
        Step(
            "services",
            (".venv/bin/python", "-m", "tests.cgroup2.services"),
            ("the job of before is built",),
        ),
    ),
    # A unit, or a terminal, that was given nothing: systemd's own groups, as they are.
    "undelegated": (
        _probe(
            right=("limits +cpu by rlimit, memory by cgroup-v2, pids by cgroup-v2", *_TOLD, "Delegate=yes")
        ),
        _SMALL,
    ),
    # The scope that the probe recommends.
    "scope": (_probe("bubblewrap", right=_HELD, wrong=_TOLD), _checks("delegated", "memory")),
    # A container with namespaces of its own and its groups writable.
    "container": (_probe(right=_HELD, wrong=_TOLD), _SMALL),
    # One as Docker starts it: its groups cannot be written.
    "container-readonly": (
        _probe(
            right=(
                "limits +cpu by rlimit, memory by rlimit, pids by rlimit",
                *_TOLD,
                "Read-only file system",
            ),
        ),
        _probe("gvisor", code=2, right=("signs +no: lacks control groups", *_TOLD)),
    ),
    # A user's own delegated group: limits hold, and nothing may be signed.
    "user": (_probe("bubblewrap", code=2, right=(*_HELD, "signs +no: lacks a uid of its own"), wrong=_TOLD),),
    # No systemd: the supervisor is in the root of the tree.
    "plain": (_probe(right=_HELD, wrong=_TOLD), _checks("memory", "killed"), _SMALL),
}


def _as_shipped(step: Step) -> tuple[int, str]:
    """A command of the installed program: in the unit. Others: as an operator types them."""
    if not step.command[0].startswith(INSTALLED):
        return _run(step.command)
    started = _in_unit(step, "EnvironmentFile=\nWorkingDirectory=/\n")
    shutil.rmtree(_DROP_IN.parent)
    (_UNITS / _UNIT.name).unlink()
    return started


def _in_unit(step: Step, given_back: str = _GIVEN_BACK) -> tuple[int, str]:
    """Start the unit of deploy/ with the step's command, as a drop-in that an operator may write."""
    (_UNITS / _UNIT.name).write_text(_UNIT.read_text())
    _DROP_IN.parent.mkdir(exist_ok=True)
    _OUT.unlink(missing_ok=True)
    _DROP_IN.write_text(
        f"[Service]\nType=oneshot\nRestart=no\nExecStart=\nExecStart=/usr/bin/env {_quoted(step.command)}\n"
        f"WorkingDirectory={Path.cwd()}\nStandardOutput=append:{_OUT}\nStandardError=append:{_OUT}\n"
        f"TimeoutStartSec={STEP_SECONDS}\n{given_back}"
    )
    _run(("systemctl", "daemon-reload"))
    done = _run(("systemctl", "start", _UNIT.name))
    shown = _run(("systemctl", "show", "-P", "ExecMainStatus", _UNIT.name))[1].strip()
    said = _OUT.read_text(errors="replace") if _OUT.exists() else done[1]
    return (int(shown) if shown.isdigit() else 1) or done[0], said


def _quoted(command: tuple[str, ...]) -> str:
    return " ".join(f'"{word}"' for word in command)


def _by_systemd(*options: str) -> Callable[[Step], tuple[int, str]]:
    """Start by systemd-run; words that are no options of its are put before the command."""

    def start(step: Step) -> tuple[int, str]:
        systemd_run = ("systemd-run", "--quiet", "--collect", f"--working-directory={Path.cwd()}")
        return _run((*systemd_run, *options, *step.command))

    return start


_CONTAINER = "tests/cgroup2/container.sh"
_SERVICE = ("--wait", "--pipe")
_DELEGATED = ("-p", "Delegate=yes")

_STARTERS: dict[str, Callable[[Step], tuple[int, str]]] = {
    "unit": _in_unit,
    "shipped": _as_shipped,
    "undelegated": _by_systemd(*_SERVICE),
    "scope": _by_systemd("--scope", *_DELEGATED),
    "container": _by_systemd(*_SERVICE, *_DELEGATED, _CONTAINER, "rw"),
    "container-readonly": _by_systemd(*_SERVICE, *_DELEGATED, _CONTAINER, "ro"),
    "user": _by_systemd(*_SERVICE, *_DELEGATED, "--uid=www-data"),
    "plain": lambda step: _run(step.command),
}


def _run(command: tuple[str, ...]) -> tuple[int, str]:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=STEP_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout.decode(errors="replace")


def find_mistakes(step: Step, code: int, said: str) -> list[str]:
    """What is not as the step says."""
    mistakes = [] if code == step.code else [f"exit code {code}, not {step.code}"]
    mistakes += [f"does not say {one!r}" for one in step.right if not re.search(one, said)]
    return mistakes + [f"says {one!r}" for one in step.wrong if re.search(one, said)]


def count(step: Step, said: str) -> int:
    """How many checks or attacks a step stands for."""
    if step.name.startswith("attacks"):
        return len(re.findall("  contained  ", said))
    passed = re.search(r"(\d+) passed", said)
    return int(passed[1]) if passed else 1


def try_place(place: str) -> bool:
    """Take all steps; whether all is right."""
    right = wrong = 0
    for step in PLACES[place]:
        start = time.monotonic()
        code, said = _STARTERS[place](step)
        mistakes = find_mistakes(step, code, said)
        verdict = "FAILED" if mistakes else "ok"
        print(f"{place:<18}  {step.name:<18}  {verdict:<6}  {time.monotonic() - start:5.0f} s", flush=True)
        if mistakes or step.name.startswith("attacks"):
            print(said.rstrip(), flush=True)
        for mistake in mistakes:
            print(f"    {mistake}", flush=True)
        right += 0 if mistakes else count(step, said)
        wrong += bool(mistakes)
    left = [str(path) for path in Path("/sys/fs/cgroup").rglob("touchplate-[0-9]*")]
    if left:
        print(f"    groups left behind: {', '.join(left)}", flush=True)
        wrong += 1
    print(f"{DONE} {place} {right} {wrong}", flush=True)
    return not wrong


def main() -> int:
    """Try the places that are named."""
    mounted = Path("/proc/self/mountinfo").read_text()
    assert " - cgroup " not in mounted, "not a machine with version 2 only"
    assert os.getuid() == 0
    right = [try_place(place) for place in sys.argv[1:]]
    return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main())
