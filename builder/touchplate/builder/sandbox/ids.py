"""The ids of jobs: which of the host's are nobody's, whose they are now, and what runs under them.

A job's id is taken by locking a file, which the kernel lets go when the supervisor dies, however it dies. An
id whose lock can be had may still have processes: those of a sandbox that outlived its supervisor.
"""

import contextlib
import fcntl
import os
import pwd
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

from touchplate.builder.errors import HostLack

FIRST_UID = 30_000
"""Start of the default range of job uids: above the users that Debian makes by hand, below its reserved
ones (Debian policy 9.2)."""

UIDS = 64
"""Number of job uids: more jobs than that at one time are not on one machine."""

_SANDBOX = "bwrap"  # the name of bubblewrap's processes, as the kernel has it

_SUBORDINATE = (Path("/etc/subuid"), Path("/etc/subgid"))


@contextlib.contextmanager
def job_id(locks: Path, uids: range) -> Iterator[tuple[int, bool]]:
    """The first id of a job, and whether it is one of its own: without root it is the supervisor's.

    `uids`: what to choose from; one with a step gives all ids up to the next. Raises HostLack when none is
    free.
    """
    if os.getuid() != 0:
        yield os.getuid(), False
        return
    locks.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_own(locks)
    busy: list[int] = []  # ids with processes, as seen when the first one turned out to be used
    for uid in uids:
        if any(uid <= one < uid + uids.step for one in busy):
            continue
        descriptor = os.open(
            locks / f"uid-{uid}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        try:
            if not _is_used(uid, uids.step):
                yield uid, True
                return
            # Zombies that a host is slow to reap make many ids used at a time. One look finds them all,
            # and the one that is taken in the end was looked at under its lock, as always.
            busy = busy or _ids_with_processes()
        finally:
            os.close(descriptor)
    raise HostLack(f"no free uid between {uids.start} and {uids.stop - 1} for a sandbox", reason="no-uid")


def end_abandoned(locks: Path, uids: range) -> None:
    """Kill what is left of sandboxes whose supervisor was killed while they started.

    Bubblewrap's process 1 asks to die with the outer one only after a word from it: killed in between, it
    would wait for ever, and killed just after that, it would run the command with nobody watching; either
    keeps the job's id from everybody. An id whose lock can be had is no living supervisor's. Only root has
    ids to give. `uids`: as `job_id`; of a range, process 1 has the first id.
    """
    if os.getuid() != 0 or not locks.is_dir():
        return
    _check_own(locks)
    owners = {owner for pid, owner in _processes() if owner in uids and _name_of(pid) == _SANDBOX}
    for uid in owners:
        # Looking for a free id makes locks of those, too, that are a user's: his sandboxes are none of ours.
        if _is_somebodys(range(uid, uid + uids.step)):
            continue
        with contextlib.suppress(OSError):  # no lock: nobody was ever given it by us; or somebody has it
            descriptor = os.open(locks / f"uid-{uid}", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for pid in processes_of(uid):  # again, under the lock
                    _kill_sandbox(pid, uid)
            finally:
                os.close(descriptor)


def _kill_sandbox(pid: int, uid: int) -> None:
    """Kill this process, if it is a sandbox's under this id: by a descriptor, since a number may be given to
    another process between the look and the signal."""
    with contextlib.suppress(OSError):  # it has just ended
        process = os.pidfd_open(pid)
        try:
            if Path("/proc", str(pid)).stat().st_uid == uid and _name_of(pid) == _SANDBOX:
                signal.pidfd_send_signal(process, signal.SIGKILL)
        finally:
            os.close(process)


def processes_of(uid: int, ids: int = 1) -> list[int]:
    """Process ids of `ids` uids from `uid` on, zombies included."""
    return [pid for pid, owner in _processes() if uid <= owner < uid + ids]


def _check_own(locks: Path) -> None:
    # Its parent is often open to everybody: somebody else's folder could lead our files elsewhere.
    found = locks.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise HostLack(f"{locks} is not a folder that only root can write; remove it", reason="unsafe-locks")


def _is_used(uid: int, ids: int) -> bool:
    """Whether an id is somebody's, or has processes: then it is not one that nobody else answers to."""
    return _is_somebodys(range(uid, uid + ids)) or bool(processes_of(uid, ids))


def _is_somebodys(ids: range) -> bool:
    """Whether the first of some ids is a user's, or one of them was given to a user for his containers."""
    with contextlib.suppress(KeyError):
        pwd.getpwuid(ids.start)
        return True
    return any(_overlap(ids, other) for other in _subordinate_ids())


def _overlap(one: range, other: range) -> bool:
    return one.start < other.stop and other.start < one.stop


def _subordinate_ids() -> Iterator[range]:
    """Ranges that were given to users of this host (subuid(5), subgid(5))."""
    for path in _SUBORDINATE:
        with contextlib.suppress(OSError):
            for line in path.read_text(errors="replace").splitlines():
                first, _, count = line.partition(":")[2].partition(":")
                if first.isdigit() and count.isdigit():
                    yield range(int(first), int(first) + int(count))


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return ""


def _ids_with_processes() -> list[int]:
    return sorted({owner for _, owner in _processes()})


def _processes() -> Iterator[tuple[int, int]]:
    """(process id, uid) of all processes, zombies included."""
    # At every start and at every look at a job's disk: not by Path, which takes three times as long.
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit():
                try:
                    owner = entry.stat().st_uid
                except OSError:  # it has just ended
                    continue
                yield int(entry.name), owner
