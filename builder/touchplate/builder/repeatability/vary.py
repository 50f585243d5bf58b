"""What a build may be found to depend on: a plan, and the same plan with something around it changed.

No variation changes an input: sources, locked files, tools and command stay. Some change what a definition
fixes (umask, TZ, LANG): that a package needs them as they are is a fact about the package, and worth
knowing. Each is a function from plan to plan, so that they can be put together.
"""

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

from touchplate.builder.errors import HostLack
from touchplate.builder.plan import RESERVED_FOLDER, BuildPlan, Phase
from touchplate.builder.sandbox.bubblewrap import BASE_ENVIRONMENT
from touchplate.builder.sandbox.layout import find_listing
from touchplate.builder.sandbox.workspace import ELSEWHERE, MEMORY_FILES, is_free, locked_folder

FACTORS = (
    *("timezone", "locale", "umask", "clock", "source-times", "file-order", "cpus"),
    *("build-path", "home", "user", "hostname"),
)
"""Everything that is varied, most often guilty first (reproducible-builds.org's list of variations)."""

EVERYWHERE = frozenset(FACTORS)
"""What a sandbox varies whose command runs in it directly."""

UMASKS = (0o007, 0o022)
"""The first that the plan does not have. 007 against the usual 022 changes rights to write and to read."""

TIMEZONES = ("Pacific/Kiritimati", "America/St_Johns")
"""14 hours ahead of UTC all year, so that the date differs most of the day; and 3 1/2 or 2 1/2 behind."""

LOCALES = ("tr_TR.UTF-8", "et_EE.UTF-8")
"""Other languages, with rules of their own for upper case and for sorting. Where the host does not have one,
programs fall back on C, which at least is not UTF-8."""

YEAR_AND_MORE = 34_561_831
"""Seconds, 400 days and 31 minutes: another year, month, day, hour, minute and second."""

BUILD_PATH = f"{RESERVED_FOLDER}/elsewhere/another-build"
HOME_PATH = f"{RESERVED_FOLDER}/elsewhere/another-home"
"""Of other lengths than the usual ones. In the sandbox's own folder nothing else can be."""

HOST_NAME = "elsewhere"
USER_ID, USER_NAME = 4321, "somebody"

SOURCES_ROOM = 8
"""Free room there, in multiples of the source tree's size: what a build makes of it has to go in, too."""

_FAKETIME = ("lib*/faketime/libfaketimeMT.so.1", "lib/*/faketime/libfaketimeMT.so.1")

Change = Callable[[BuildPlan], BuildPlan]


@dataclass(frozen=True)
class Variation:
    """One factor, for people as it was and as it is made, and what makes it so."""

    factor: str
    before: str
    after: str
    change: Change


@dataclass(frozen=True)
class Variations:
    """What can be varied of one build on this host, in the order of `FACTORS`, and what cannot, and why."""

    possible: tuple[Variation, ...]
    impossible: Mapping[str, str]


def apply(plan: BuildPlan, variations: Collection[Variation]) -> BuildPlan:
    """`plan` with all of these at once."""
    return reduce(lambda done, one: one.change(done), variations, plan)


def find_variations(plan: BuildPlan, work: Path, known: Collection[str] = EVERYWHERE) -> Variations:
    """What this host can vary around `plan`. `known`: the factors that its backend can vary; `work`: where
    builds run."""
    found: list[Variation] = []
    impossible: dict[str, str] = {}
    for factor in FACTORS:
        made = _MAKERS[factor](plan, work) if factor in known else "not for packages of this kind"
        if isinstance(made, str):
            impossible[factor] = made
        else:
            found.append(made)
    return Variations(tuple(found), impossible)


def _set(plan: BuildPlan, **variables: str) -> BuildPlan:
    return replace(plan, environment={**plan.environment, **variables})


def _around(plan: BuildPlan, **changes: object) -> BuildPlan:
    return replace(plan, surroundings=replace(plan.surroundings, **changes))  # type: ignore[arg-type]


def _variable(plan: BuildPlan, name: str) -> str:
    return {**BASE_ENVIRONMENT, **plan.environment}[name]


def _top(plan: BuildPlan) -> Path:
    """Where `/usr` of the build is on the host."""
    return Path("/") if plan.root is None else plan.root.path


def _other(choices: tuple[str, ...], usual: str) -> str:
    return next(one for one in choices if one != usual)


def _timezone(plan: BuildPlan, work: Path) -> "Variation | str":
    usual = _variable(plan, "TZ")
    other = _other(TIMEZONES, usual)
    if not (_top(plan) / "usr/share/zoneinfo" / other).exists():
        return "this host has no time zones; install the package tzdata"
    return Variation("timezone", usual, other, lambda plan: _set(plan, TZ=other))


def _locale(plan: BuildPlan, work: Path) -> "Variation | str":
    usual = _variable(plan, "LC_ALL")
    other = _other(LOCALES, usual)
    return Variation("locale", usual, other, lambda plan: _set(plan, LANG=other, LC_ALL=other))


def _umask(plan: BuildPlan, work: Path) -> "Variation | str":
    other = next(one for one in UMASKS if one != plan.umask)
    return Variation("umask", f"{plan.umask:03o}", f"{other:03o}", lambda plan: replace(plan, umask=other))


def _clock(plan: BuildPlan, work: Path) -> "Variation | str":
    """By a library that is loaded into each program before its own: only namespaces would reach all, and
    there is none of this clock (time_namespaces(7))."""
    library = next((one for pattern in _FAKETIME for one in sorted((_top(plan) / "usr").glob(pattern))), None)
    if library is None:
        return "libfaketime is not installed; install the package libfaketime"

    def change(plan: BuildPlan) -> BuildPlan:
        preload = f"/{library.relative_to(_top(plan))} {plan.environment.get('LD_PRELOAD', '')}".strip()
        return _set(
            plan,
            LD_PRELOAD=preload,
            FAKETIME=f"+{YEAR_AND_MORE}",
            # Waiting goes on as before, and so do the times of files: tools set those and read them again.
            DONT_FAKE_MONOTONIC="1",
            FAKETIME_DONT_FAKE_MONOTONIC="1",
            NO_FAKE_STAT="1",
        )

    return Variation("clock", "now", f"{YEAR_AND_MORE} seconds later, in programs that load libc", change)


def _source_times(plan: BuildPlan, work: Path) -> "Variation | str":
    after = f"{YEAR_AND_MORE} seconds earlier"
    return Variation("source-times", "as prepared", after, lambda plan: _around(plan, older=YEAR_AND_MORE))


def _file_order(plan: BuildPlan, work: Path) -> "Variation | str":
    room = SOURCES_ROOM * _size(plan.source)
    folder = next((one for one in (work, MEMORY_FILES) if _lists_as_made(one, room)), None)
    if folder is None:
        return f"work folder and {MEMORY_FILES} list files by their names, or lack room for a build"
    after = "backwards" if folder == work else f"backwards, in {folder}"
    return Variation("file-order", "as listed", after, lambda plan: _around(plan, order_in=folder))


def _size(tree: Path) -> int:
    return sum(Path(parent, name).lstat().st_size for parent, _, files in os.walk(tree) for name in files)


def _lists_as_made(folder: Path, room: int) -> bool:
    try:
        disk = os.statvfs(folder)
        if disk.f_flag & os.ST_NOEXEC or not is_free(folder) or disk.f_bavail * disk.f_frsize < room:
            return False
        with locked_folder(folder, ELSEWHERE) as own:
            return find_listing(own) != "fixed"
    except (OSError, HostLack):
        return False


def _cpus(plan: BuildPlan, work: Path) -> "Variation | str":
    usual = sorted(os.sched_getaffinity(0))
    if len(usual) < 2:
        return "this host has one processor"
    fewer = frozenset(usual[: len(usual) // 2])
    return Variation("cpus", str(len(usual)), str(len(fewer)), lambda plan: _around(plan, cpus=fewer))


def _build_path(plan: BuildPlan, work: Path) -> "Variation | str":
    def change(plan: BuildPlan) -> BuildPlan:
        return _around(_move(plan, plan.surroundings.build, BUILD_PATH), build=BUILD_PATH)

    return Variation("build-path", plan.surroundings.build, BUILD_PATH, change)


def _home(plan: BuildPlan, work: Path) -> "Variation | str":
    def change(plan: BuildPlan) -> BuildPlan:
        return _around(_move(plan, plan.surroundings.home, HOME_PATH), home=HOME_PATH)

    return Variation("home", plan.surroundings.home, HOME_PATH, change)


def _user(plan: BuildPlan, work: Path) -> "Variation | str":
    def change(plan: BuildPlan) -> BuildPlan:
        return _set(_around(plan, uid=USER_ID), USER=USER_NAME, LOGNAME=USER_NAME)

    return Variation("user", str(plan.surroundings.uid), f"{USER_ID}, {USER_NAME}", change)


def _host_name(plan: BuildPlan, work: Path) -> "Variation | str":
    usual = plan.surroundings.host_name
    return Variation("hostname", usual, HOST_NAME, lambda plan: _around(plan, host_name=HOST_NAME))


def _move(plan: BuildPlan, old: str, new: str) -> BuildPlan:
    """`plan` with the inside folder `old` named `new` in its command, environment and files: they name it
    where an ecosystem, or the definition, counts on it."""
    text = re.compile(rf"(?<![\w./-]){re.escape(old)}(?![\w.-])")
    data = re.compile(text.pattern.encode())
    files = plan.files

    def moved(phase: Phase) -> Mapping[str, bytes]:
        return {inside: data.sub(new.encode(), content) for inside, content in files(phase).items()}

    return replace(
        plan,
        command=tuple(text.sub(new, word) for word in plan.command),
        environment={name: text.sub(new, value) for name, value in plan.environment.items()},
        files=moved,
    )


_MAKERS: Mapping[str, Callable[[BuildPlan, Path], "Variation | str"]] = {
    "timezone": _timezone,
    "locale": _locale,
    "umask": _umask,
    "clock": _clock,
    "source-times": _source_times,
    "file-order": _file_order,
    "cpus": _cpus,
    "build-path": _build_path,
    "home": _home,
    "user": _user,
    "hostname": _host_name,
}
