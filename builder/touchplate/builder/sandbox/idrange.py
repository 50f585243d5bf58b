"""Run by the supervisor as a program of its own, before the sandbox: become the root of a range of user ids.

    idrange.py SUPERVISOR FIRST COUNT [--readonly FOLDER]… COMMAND…

An image's files belong to many users, so its build needs many ids, and none of them may be one of the
host's. This process makes a user namespace; a child that was forked before, still real root, writes its
maps from outside (inside 0…COUNT-1 to outside FIRST…FIRST+COUNT-1) and ends; then this process gives up
everything else, becomes 0 of the namespace, and the command. Each FOLDER is made read-only for it
before, by real root: what root of the namespace mounts read-only, it can mount writable again. No setuid
program and no /etc/subuid take part. Only the standard library: it is run as `python3 -I -S`.
"""

import ctypes
import os
import signal
import sys

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1

_RDONLY, _REMOUNT, _BIND, _REC, _SLAVE = 0x1, 0x20, 0x1000, 0x4000, 0x80000  # MS_…, mount(2)
_KEPT_FLAGS = 0x2 | 0x4 | 0x8  # nosuid, nodev, noexec: the same numbers in mount(2) and statvfs(3)

LEAST_ID, MOST_ID = 1 << 16, (1 << 31) - 1
"""What a range may be of: no id of a user or a service, and none that a kernel reads as another number."""

LOST = 125
"""Exit code when the namespace cannot be had; the reason is on stderr."""


def main(arguments: list[str]) -> int:
    """Become the command. Returns LOST when that cannot be."""
    supervisor, first, count, *command = arguments
    if not LEAST_ID <= int(first) <= int(first) + int(count) <= MOST_ID:
        print(f"{first} and {count} more are no range for a job", file=sys.stderr)
        return LOST
    folders = []
    while command[0] == "--readonly":
        folders.append(command[1])
        del command[:2]
    libc = ctypes.CDLL(None, use_errno=True)
    made_read, made_write = os.pipe()
    itself = os.getpid()
    mapper = os.fork()
    if mapper == 0:
        os.close(made_write)
        # End of file without a byte: the namespace could not be made, or the other one is dead.
        os._exit(_write_maps(itself, first, count) if os.read(made_read, 1) else LOST)
    os.close(made_read)
    try:
        if folders:
            _make_readonly(libc, folders)
        if libc.unshare(CLONE_NEWUSER) != 0:
            raise OSError(ctypes.get_errno(), "making a user namespace")
        os.write(made_write, b"u")
        os.close(made_write)
        _, status = os.waitpid(mapper, 0)
        if status == 0:
            _become_root(libc)
            # Killed with the supervisor from here on; it may have died before.
            if os.getppid() == int(supervisor):
                os.execv(command[0], command)
    except OSError as error:
        print(f"no range of user ids can be had here: {error}", file=sys.stderr)
    return LOST


def _write_maps(process: int, first: str, count: str) -> int:
    try:
        for kind in ("uid", "gid"):
            with open(f"/proc/{process}/{kind}_map", "w", encoding="ascii") as file:  # noqa: PTH123
                file.write(f"0 {first} {count}\n")
    except OSError as error:
        print(f"the ids cannot be mapped: {error}", file=sys.stderr, flush=True)
        return LOST
    return 0


def _make_readonly(libc: ctypes.CDLL, folders: list[str]) -> None:
    """In a mount namespace of our own. The next one, of the user namespace, cannot undo it
    (mount_namespaces(7)), nor can copies of these mounts be made writable there."""
    if libc.unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "making a mount namespace")
    _mount(libc, "/", _REC | _SLAVE)
    for folder in folders:
        _mount(libc, folder, _BIND | _REC)
        _mount(libc, folder, _REMOUNT | _BIND | _RDONLY | os.statvfs(folder).f_flag & _KEPT_FLAGS)


def _mount(libc: ctypes.CDLL, folder: str, flags: int) -> None:
    if libc.mount(folder.encode(), folder.encode(), None, flags, None) != 0:
        raise OSError(ctypes.get_errno(), f"making {folder!r} read-only")


def _become_root(libc: ctypes.CDLL) -> None:
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    # After the ids: changing them takes it away (prctl(2)).
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
