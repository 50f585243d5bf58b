"""The sandbox: bubblewrap, started as an unprivileged uid per job, the same for Fetch and Build.

Root's part is small: choose a uid, own the folders that are shown read-only, set limits; `setpriv` then gives
up everything before bubblewrap starts, because a bubblewrap run by root leaves the build the kernel's uid 0.
Without root, bubblewrap runs under the supervisor's own uid, and the probe says so.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from touchplate.base.environment import read_environment
from touchplate.builder.delegation import DELEGATE
from touchplate.builder.errors import DISK_FULL, HostLack
from touchplate.builder.limits import ControlGroups, make_groups
from touchplate.builder.plan import HOME_FOLDER, MIB, USUAL, Bind, Limits, Surroundings
from touchplate.builder.process import Contained, OnLine, Outcome, Watch, run, run_tool
from touchplate.builder.sandbox.ids import FIRST_UID, UIDS, end_abandoned
from touchplate.builder.sandbox.probe import Probe
from touchplate.builder.sandbox.probe_bubblewrap import probe_sandbox
from touchplate.builder.sandbox.seccomp import make_filter
from touchplate.builder.sandbox.workspace import (
    TOO_LARGE,
    Workspace,
    check_searchable,
    is_free,
    open_workspace,
    tidy,
)

TMP_BYTES = 1024 * MIB
"""Size of /tmp inside, in bytes; it lies in memory and counts as such."""

SHM_BYTES = 256 * MIB
"""Size of /dev/shm inside, in bytes; in memory too."""

WATCH_SHARE = 20
"""The disk watcher may take 1/20 of the time: it waits 20 times as long as its last look took."""

WATCH_SECONDS = 0.5
"""Least time between two looks at the disk; whether it is full is asked that often in any case."""

WATCH_LONGEST = 10.0
"""Most time between two looks, in seconds: with a tree that takes long, a job must not get hours to write."""

KILLED = 137
"""Exit code of a command that was killed, as shells write it (128 + SIGKILL)."""

BASE_ENVIRONMENT = {
    "HOME": HOME_FOLDER,
    "PATH": "/usr/bin:/bin",
    "TZ": "UTC",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
}
"""Variables of every command; a job's own win."""

_TMP, _SHM = "/tmp", "/dev/shm"  # noqa: S108  inside paths
SHOWN = frozenset({Path("/usr"), *(Path("/", name) for name in ("bin", "sbin", "lib", "lib64"))})
"""Folders of the host that every build sees: nothing of ours may lie in them."""

HOST_FOLDERS = ("usr",)
ROOT_FOLDERS = ("usr", "etc", "var")
"""What a build sees of the host, or of a build root, beside the links that lead into /usr."""

_ROOT_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


@dataclass(frozen=True)
class SandboxConfig:
    """Where jobs live on this host. `work` must be on a disk with room and searchable by every user (o+x)."""

    work: Path
    locks: Path = Path("/run/lock/touchplate")
    """Lock files of job uids; shared by every supervisor on the host. Unused without root."""
    uids: range = range(FIRST_UID, FIRST_UID + UIDS)


@dataclass(frozen=True)
class Job:
    """One command in the sandbox; see BuildPlan for the meaning of the parts."""

    command: tuple[str, ...]
    binds: tuple[Bind, ...] = ()
    shown: Mapping[str, Path] = field(default_factory=dict)
    """Inside path → host path below the workspace, read-only."""
    environment: Mapping[str, str] = field(default_factory=dict)
    umask: int = 0o022
    surroundings: Surroundings = USUAL
    """The same as those of its workspace."""
    limits: Limits = field(default_factory=Limits)
    root: Path | None = None
    """What is shown as /usr, /etc and /var; None: the host's /usr."""
    calls_out: bool = False
    """Whether the command talks to a socket that it is shown (the mirror's, in Fetch)."""


def _silent(line: str) -> None:
    """No progress wanted."""


def _never() -> str:
    return ""


class Sandbox:
    """Starts jobs. Safe to share between threads. Use `open_sandbox`, which also probes."""

    def __init__(self, config: SandboxConfig) -> None:
        self.config = config
        self._bwrap = program("bwrap", "bubblewrap")
        self._setpriv = program("setpriv", "util-linux") if os.getuid() == 0 else None
        self.version = run_tool([str(self._bwrap), "--version"]).removeprefix("bubblewrap ")
        self._filter = self._make_filter()
        self.filter_sha256 = hashlib.sha256(self._filter).hexdigest()
        self.probe = Probe(bubblewrap=self.version)

    def _make_filter(self) -> bytes:
        return make_filter()

    @contextlib.contextmanager
    def workspace(self, source: Path, around: Surroundings = USUAL) -> Iterator[Workspace]:
        """A workspace with a copy of `source`; nothing of it is left afterwards."""
        config, inner = self.config, self._inner_id(around)
        with open_workspace(
            config.work, config.locks, source, config.uids, inner, around=around
        ) as workspace:
            yield workspace

    def _inner_id(self, around: Surroundings) -> int:
        """Which of a job's ids its command runs under; there is one only, unless the sandbox is ranged."""
        return 0

    def limits_by(self, limits: Limits) -> dict[str, str]:
        """What would hold memory and processes of a job on this host."""
        groups = make_groups(limits)
        try:
            return groups.describe()
        finally:
            groups.close()

    def run(
        self, workspace: Workspace, job: Job, *, watch: Watch = _never, on_line: OnLine = _silent
    ) -> Outcome:
        """Run a job to its end, by itself or stopped by a limit (`timeout`, `TOO_LARGE`, `TOO_MANY` or
        `TOO_DEEP`), by a full disk (`disk-full`) or by `watch`.

        Raises HostLack when sandbox or command could not be started.
        """
        disk = _DiskWatch(workspace, job.limits)
        outside = self._limits_outside(job.limits)
        groups = make_groups(outside)
        try:
            with (
                _memory_file("arguments", _join(self._arguments(workspace, job))) as arguments,
                _memory_file("seccomp", self._filter) as seccomp,
            ):
                contained = Contained(
                    argv=lambda status: self._argv(workspace, job, (status, seccomp, arguments)),
                    limits=outside,
                    groups=groups,
                    umask=job.umask,
                    own_uid=workspace.own_uid and workspace.ids == 1,
                    pass_fds=(seccomp, arguments),
                    cpus=job.surroundings.cpus,
                )
                outcome = run(contained, lambda: watch() or disk.look(), on_line)
            _check_held(groups)
        finally:
            groups.close()
        if not outcome.stopped and "exit-code" not in outcome.status:
            outcome = _without_exit_code(outcome)
        return disk.judge(outcome)

    def _limits_outside(self, limits: Limits) -> Limits:
        """The limits of a job's processes on the host, which also hold what the sandbox runs for it."""
        return limits

    def _argv(self, workspace: Workspace, job: Job, descriptors: tuple[int, int, int]) -> tuple[str, ...]:
        status, seccomp, arguments = (str(descriptor) for descriptor in descriptors)
        drop: tuple[str, ...] = ()
        if self._setpriv is not None:
            uid = str(workspace.uid)
            drop = (
                str(self._setpriv),
                f"--reuid={uid}",
                f"--regid={uid}",
                "--clear-groups",
                "--no-new-privs",
            )
            drop += ("--bounding-set=-all", "--inh-caps=-all")
        # Paths go by descriptor: the command line of process 1 can be read inside.
        options = ("--json-status-fd", status, "--seccomp", seccomp, "--args", arguments)
        return (*drop, str(self._bwrap), *options, "--", *job.command)

    def _arguments(self, workspace: Workspace, job: Job) -> list[str]:
        around = job.surroundings
        return [
            *("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"),
            *root_options(job.root),
            *("--proc", "/proc", "--dev", "/dev"),
            *("--perms", "1777", "--size", str(SHM_BYTES), "--tmpfs", _SHM, "--remount-ro", "/dev"),
            *("--perms", "1777", "--size", str(TMP_BYTES), "--tmpfs", _TMP),
            *("--bind", str(workspace.build), around.build, "--bind", str(workspace.home), around.home),
            *show_options(job),
            *("--remount-ro", "/", "--clearenv", *environment_options(job)),
            *("--hostname", around.host_name, "--uid", str(around.uid), "--gid", str(around.uid)),
            *("--cap-drop", "ALL", "--chdir", around.build),
        ]


def open_sandbox(config: SandboxConfig) -> Sandbox:
    """A sandbox that was probed (`.probe`, `.probe.backend`) and works; leftovers of killed ones are removed.

    Raises HostLack when bubblewrap is missing or does not start here.
    """
    prepare_work(config)
    sandbox = Sandbox(config)
    sandbox.probe = probe_sandbox(sandbox)
    return sandbox


def prepare_work(config: SandboxConfig) -> None:
    """Make the work folder; end and remove what killed supervisors left of their jobs. Raises HostLack."""
    config.work.mkdir(mode=0o711, parents=True, exist_ok=True)
    check_searchable(config.work)
    end_abandoned(config.locks, config.uids)
    tidy(config.work)


def _check_held(groups: ControlGroups) -> None:
    """Raise HostLack when a job has had less limits than were set."""
    if lost := groups.lost():
        raise HostLack(
            f"a job's control group no longer limited {', '.join(lost)} at its end: another program manages "
            f"these groups; {DELEGATE}",
            reason="no-limits",
        )


def _without_exit_code(outcome: Outcome) -> Outcome:
    """What it means that bubblewrap ended by itself and never told how the command ended."""
    if outcome.out_of_memory:
        # Memory that lies in /tmp is not freed with its writer, so the kernel went on to bubblewrap itself.
        return replace(outcome, exit_code=outcome.exit_code or KILLED)
    # Only bubblewrap itself has spoken so far.
    said = outcome.tail.decode(errors="replace").strip()
    reason = "no-command" if said.startswith("bwrap: execvp") else "no-sandbox"
    raise HostLack(f"the sandbox could not be started: {said[-500:]!r}", reason=reason)


class _DiskWatch:
    """Looks at what a job has written, often enough, without taking the machine for it."""

    def __init__(self, workspace: Workspace, limits: Limits) -> None:
        self._workspace = workspace
        self._limit = limits.workspace_bytes
        self._next = self._next_walk = 0.0
        self._full_place: Path | None = None

    def look(self) -> str:
        if (now := time.monotonic()) < self._next:
            return ""
        self._next = now + WATCH_SECONDS
        if now < self._next_walk:
            return self._full()
        found = self._found()
        took = time.monotonic() - now
        self._next_walk = now + min(max(WATCH_SECONDS, took * WATCH_SHARE), WATCH_LONGEST)
        return found

    def judge(self, outcome: Outcome) -> Outcome:
        """Look once more at the end: between two looks a job can write a lot."""
        if not outcome.stopped and (found := self._found()):
            outcome = outcome.but_stopped(found)
        return replace(outcome, full=self._full_place if outcome.stopped == DISK_FULL else None)

    def _found(self) -> str:
        usage = self._workspace.usage()
        if usage.size > self._limit:
            return TOO_LARGE
        return usage.absurd or self._full()

    def _full(self) -> str:
        # Half of what was free at the start at least: the rest of the host has to live, too. It also ends
        # what no walk finds, such as files that only a socket's queue still holds.
        for place in (self._workspace.root.parent, self._workspace.build.parent.parent):
            if not is_free(place, share=2):
                self._full_place = place
                return DISK_FULL
        return ""


def show_options(job: Job) -> Iterator[str]:
    """Bubblewrap's options for what a job is shown. Raises HostLack for what does not exist or is closed."""
    shown = dict(job.shown)
    if job.root is not None:
        check_searchable(job.root)
    for bind in job.binds:
        if not bind.host.exists():
            raise HostLack(f"{bind.host}, shown as {bind.inside}, does not exist here", reason="no-tool")
        check_searchable(bind.host.resolve().parent)
        shown[bind.inside] = bind.host
    for inside, host in sorted(shown.items()):  # a folder before what stands in it
        yield from ("--ro-bind", str(host), inside)


def environment_options(job: Job) -> Iterator[str]:
    """Bubblewrap's options for a job's variables."""
    for name, value in sorted(environment_of(job).items()):
        yield from ("--setenv", name, value)


def environment_of(job: Job) -> dict[str, str]:
    """All variables of a job's command."""
    return {**BASE_ENVIRONMENT, "HOME": job.surroundings.home, **job.environment}


def root_options(root: Path | None) -> list[str]:
    """Bubblewrap's options for `/usr` and its like: those of the host, or all that a build root has."""
    folders = HOST_FOLDERS if root is None else ROOT_FOLDERS
    root = root or Path("/")
    arguments = []
    for name in (*folders, *_ROOT_LINKS):
        path, inside = root / name, f"/{name}"
        if path.is_symlink():
            arguments += ["--symlink", str(path.readlink()), inside]
        elif path.is_dir():
            arguments += ["--ro-bind", str(path), inside]
    return arguments


def program(name: str, package: str) -> Path:
    """The path of a program of the host. Raises HostLack with the package that has it."""
    found = read_environment().find_program(name)
    if found is None:
        raise HostLack(f"{name} is not installed; install the package {package}", reason="no-sandbox")
    return found


def _join(arguments: list[str]) -> bytes:
    for argument in arguments:
        assert "\0" not in argument, argument
    return b"".join(argument.encode() + b"\0" for argument in arguments)


@contextlib.contextmanager
def _memory_file(name: str, content: bytes) -> Iterator[int]:
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)
