"""`make hostile-cgroup2`: the shipped units, and the sandboxes' limits under control groups of version 2.

Boots a small virtual machine twice, with systemd and without, and has `guest.py` try each place in which a
builder may run there. Exit 1 when something is not as it should be; its last line says which it was. A
missing tool is a loud skip, and under CI=true a failure.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.cgroup2.guest import DONE, INSTALLED, PLACES
from tests.cgroup2.machine import PLAIN, TREE_BYTES, Machine, NotMadeError, make_disk, open_machine, running

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("qemu-system-x86_64", "mmdebstrap", "mke2fs")

_START = """#!/bin/sh
mkdir -p '{root}' {installed}
mount --bind /mnt/installed {installed} && mount --bind /mnt/tree '{root}' && cd '{root}' || exit 1
export HOME=/root PYTHONDONTWRITEBYTECODE=1 LC_ALL=C.UTF-8
exec .venv/bin/python -m tests.cgroup2.guest {places}
"""


def main() -> int:
    """Try. 0 when all is as it should be."""
    parser = argparse.ArgumentParser(prog="tests.cgroup2", description=__doc__)
    parser.add_argument("place", nargs="*", help=f"only these: {', '.join(PLACES)}")
    args = parser.parse_args()
    if unknown := set(args.place) - set(PLACES):
        parser.error(f"no such place: {', '.join(sorted(unknown))}")
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    lacking += ["root"] if os.getuid() != 0 else []
    if lacking:
        _tell(f"SKIPPED, NOTHING TRIED: this needs {', '.join(lacking)}")
        return 1 if os.environ.get("CI") == "true" else 0
    places = args.place or list(PLACES)
    start = time.monotonic()
    try:
        counts = _try(places)
    except NotMadeError as error:
        _tell(f"FAILED: {error}")
        return 1
    boots = f"{len(places)} places in {time.monotonic() - start:.0f} s"
    failed, finished = counts["FAILED"], counts["places"] == len(places)
    if failed or not finished or not counts["ok"]:
        _tell(f"FAILED: {failed} of {failed + counts['ok']}; {counts['places']} of {boots} came to their end")
        return 1
    _tell(f"ok: {counts['ok']} checks and attacks, {boots}")
    return 0


def _try(places: list[str]) -> dict[str, int]:
    """Boot for those places, and count what is said of them."""
    machine = open_machine(_tell)
    counts = {"ok": 0, "FAILED": 0, "places": 0}
    with_systemd = [place for place in places if place != "plain"]
    with tempfile.TemporaryDirectory(prefix="touchplate-tree-", dir="/var/tmp") as folder:
        for names, kernel in ((with_systemd, ""), ([one for one in places if one == "plain"], PLAIN)):
            if names:
                _tell(f"booting for {', '.join(names)}; the first word comes after a minute")
                _boot(machine, _tree(Path(folder), names), kernel, counts)
    return counts


def _boot(machine: Machine, tree: Path, kernel: str, counts: dict[str, int]) -> None:
    with running(machine, tree, kernel) as lines:
        for line in lines:
            print(line, flush=True)
            words = line.split()
            if words[:1] == [DONE]:
                counts["ok"] += int(words[2])
                counts["FAILED"] += int(words[3])
                counts["places"] += 1


def _tree(folder: Path, names: list[str]) -> Path:
    """The second disk: this tree with its .venv, at the same path as here, and what is to be started."""
    stage, disk = folder / "stage", folder / "tree.img"
    if not stage.exists():
        (stage / "tree").mkdir(parents=True)
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        files = subprocess.run(listed, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout.split(b"\0")
        there = b"\0".join(
            name for name in files if name and os.path.lexists(os.fsencode(ROOT) + b"/" + name)
        )
        copy = ["cp", "-a", "--parents", "-t", str(stage / "tree")]
        subprocess.run(["xargs", "-0", *copy], cwd=ROOT, input=there, check=True)
        subprocess.run([*copy, ".venv"], cwd=ROOT, check=True)
        _install(stage / "tree/.venv", stage / "installed")
    (stage / "start").write_text(_START.format(root=ROOT, installed=INSTALLED, places=" ".join(names)))
    make_disk(stage, disk, TREE_BYTES)
    return disk


def _install(environment: Path, target: Path) -> None:
    """What `pip install` of this tree makes: its wheel, beside the libraries of a .venv."""
    wheels = target.parent.parent / "wheels"
    subprocess.run(["cp", "-a", str(environment), str(target)], check=True)
    pip = [str(target / "bin/python"), "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(ROOT)], check=True
    )
    (wheel,) = wheels.iterdir()
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--force-reinstall", str(wheel)], check=True)
    program = target / "bin/touchplate"
    first, _, rest = program.read_text().partition("\n")
    program.write_text(f"#!{INSTALLED}/bin/{Path(first).name}\n{rest}")


def _tell(text: str) -> None:
    print(f"hostile-cgroup2: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
