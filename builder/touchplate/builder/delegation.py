"""Where this process may make control groups: for each controller, the group below which one may be tried.

Version 1 has a tree for each controller, and root makes groups in it where it likes. Version 2 has one tree
and two rules (cgroup-v2.rst of Linux, "No Internal Process Constraint" and "Delegation"): a group that hands
controllers down holds no processes itself, and each part of the tree has one writer. So where the
supervisor's own group was given to it (a systemd unit with `Delegate=yes`, the root of a container's
namespace), all processes in it go into a leaf, and jobs stand beside that leaf. Where it was not, the tree is
systemd's, and only what systemd hands down anyway is used: what we enabled there, it would take back at its
next reload.
"""

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

CONTROLLERS = ("memory", "pids", "cpu")

LEAF = "touchplate-supervisor"
"""The leaf that takes the processes of a delegated group in."""

MOVES = 100
"""How often the processes of a group are listed and moved: the next list has those that started meanwhile."""

DELEGATE = "start the builder as a unit with Delegate=yes, or by systemd-run --scope -p Delegate=yes"

_CONTAINER = "a container needs its own part of the tree writable at /sys/fs/cgroup"
_MARKS = ("user.delegate", "trusted.delegate")  # systemd.resource-control(5), set to 1 by systemd
_SYSTEMD = Path("/run/systemd/system")  # sd_booted(3)


@dataclass(frozen=True)
class Place:
    """Below `parent` a group with this controller may be made."""

    controller: str
    version: int
    parent: Path


@dataclass
class Places:
    """What `find_places` found, the best place of each controller first."""

    usable: list[Place] = field(default_factory=list)
    lacks: list[str] = field(default_factory=list)
    """Why controllers cannot be had, with the remedy."""


def find_places(proc: Path, *, systemd: Path = _SYSTEMD) -> Places:
    """All places for the process whose folder in /proc is `proc`.

    In a delegated group of version 2 this moves the group's processes into its leaf.
    """
    places = Places()
    own = _own_paths(proc)
    try:
        lines = (proc / "mountinfo").read_text().splitlines()
    except OSError:
        return places
    for line in lines:
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        root, mountpoint = left.split(" ")[3:5]
        if kind == "cgroup":
            for controller in sorted(set(options.split(",")) & set(CONTROLLERS) & set(own)):
                place = Place(controller, 1, _below(mountpoint, root, own[controller]))
                places.usable.append(place)
        elif kind == "cgroup2" and "" in own and root.startswith("/.."):
            places.lacks.append(
                f"{mountpoint} shows more than this namespace of control groups: {_CONTAINER}"
            )
        elif kind == "cgroup2" and "" in own:
            _add_version_2(_below(mountpoint, root, own[""]), Path(mountpoint), systemd, places)
    return places


def _add_version_2(own: Path, top: Path, systemd: Path, places: Places) -> None:
    if not set(CONTROLLERS) & set(_words(top / "cgroup.controllers")):
        return  # a hybrid host, whose controllers are in version 1
    try:
        parents, may_enable = _parents(own, top, systemd.is_dir())
    except OSError as error:
        places.lacks.append(_refused(own, error))
        return
    for parent in parents:
        if may_enable:
            _enable(parent)
        handed = _words(parent / "cgroup.subtree_control")
        places.usable += [Place(one, 2, parent) for one in CONTROLLERS if one in handed]
        if missing := [one for one in CONTROLLERS if one not in handed]:
            places.lacks.append(f"{parent} hands down no {', '.join(missing)}: {DELEGATE}")


def _parents(own: Path, top: Path, is_systemd: bool) -> tuple[tuple[Path, ...], bool]:
    """Groups below which jobs may stand, and whether we may hand controllers down there. Raises OSError."""
    if own.name == LEAF:
        return (own.parent,), True
    if own == top and not (own / "cgroup.type").exists():
        return (own,), True  # the root of all, which may hold processes beside groups
    if own == top or _is_delegated(own):
        _settle(own)
        return (own,), True
    if _is_delegated(own.parent):
        return (own.parent,), True  # somebody has put us into a leaf already (DelegateSubgroup=)
    return ((own.parent,), False) if is_systemd else ((own.parent, own), True)


def _settle(group: Path) -> None:
    """Move all processes of a group into its leaf. Raises OSError."""
    leaf = group / LEAF
    leaf.mkdir(exist_ok=True)
    for _ in range(MOVES):
        processes = _words(group / "cgroup.procs")
        if not processes:
            return
        for process in processes:
            if process == "0":
                raise OSError(None, "processes that cannot be seen from here are in it")
            with contextlib.suppress(ProcessLookupError):  # it has ended
                (leaf / "cgroup.procs").write_text(process)


def _enable(group: Path) -> None:
    """Hand controllers down, each for itself, as far as the kernel lets us."""
    control = group / "cgroup.subtree_control"
    handed = _words(control)
    for controller in CONTROLLERS:
        if controller not in handed:
            with contextlib.suppress(OSError):
                control.write_text(f"+{controller}")


def _is_delegated(group: Path) -> bool:
    for mark in _MARKS:
        with contextlib.suppress(OSError):
            if os.getxattr(group, mark) == b"1":
                return True
    return False


def _refused(group: Path, error: OSError) -> str:
    return f"no group can be made in {group} ({error.strerror}): {DELEGATE}; {_CONTAINER}"


def _words(file: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return file.read_text().split()
    return []


def _own_paths(proc: Path) -> dict[str, str]:
    paths: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in (proc / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for controller in controllers.split(","):
                paths[controller] = path
    return paths


def _below(mountpoint: str, root: str, path: str) -> Path:
    # In a container the mount shows a part of the tree only (root), while the path starts at its top.
    inner = path[len(root) :] if root != "/" and path.startswith(root) else path
    return Path(mountpoint) / inner.lstrip("/")
