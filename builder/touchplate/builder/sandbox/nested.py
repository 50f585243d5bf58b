"""Run inside the sandbox of images, before the command: what only root of the namespace can prepare.

    nested.py COMMAND…

Gives runc the control groups that it insists on (those of this job only, since the namespace of groups begins
there), forbids user namespaces inside this one, and drops for good the capabilities that no image build
needs: they mean little in a namespace, but each opens a piece of the kernel. Only the standard library: it is
run as `python3 -I -S`.
"""

import ctypes
import errno
import os
import sys

KEPT = frozenset({0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 13, 18, 21, 27, 29, 31})
"""CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE,
NET_RAW, SYS_CHROOT, SYS_ADMIN, MKNOD, AUDIT_WRITE, SETFCAP (capabilities(7)): what buildah and runc use, or
hand to the container of a RUN. SYS_ADMIN is for mounts."""

GROUPS = "/sys/fs/cgroup"
CONTROLLERS = ("devices", "freezer", "memory", "pids")
"""Version 1 controllers that are mounted: runc refuses to start without `devices`; the rest are this job's
limits."""

LACKING = 124
"""Exit code when this cannot be prepared; the reason is on stderr."""

_PR_CAPBSET_DROP = 24
_LAST_CAPABILITY = 63
_FLAGS = 0x2 | 0x4 | 0x8  # MS_NOSUID, MS_NODEV, MS_NOEXEC


def main(arguments: list[str]) -> int:
    """Become the command. Returns LACKING when something cannot be had."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        _mount_groups(libc)
        with open("/proc/sys/user/max_user_namespaces", "w", encoding="ascii") as file:  # noqa: PTH123
            file.write("0")
        for capability in range(_LAST_CAPABILITY + 1):
            if capability not in KEPT:
                _drop(libc, capability)
        os.execv(arguments[0], arguments)
    except OSError as error:
        print(f"cannot prepare the sandbox: {error}", file=sys.stderr)
    return LACKING


def _mount_groups(libc: ctypes.CDLL) -> None:
    with open("/proc/self/cgroup", encoding="ascii") as file:  # noqa: PTH123
        lines = [line.split(":", 2) for line in file]
    os.makedirs(GROUPS)  # noqa: PTH103
    named = [controllers for _, controllers, _ in lines if controllers]
    if not named:
        _mount(libc, "cgroup2", GROUPS, "")
    for controllers in named:
        if not set(controllers.split(",")).isdisjoint(CONTROLLERS):
            folder = f"{GROUPS}/{controllers}"
            os.mkdir(folder)  # noqa: PTH102
            _mount(libc, "cgroup", folder, controllers)


def _mount(libc: ctypes.CDLL, kind: str, folder: str, options: str) -> None:
    if libc.mount(b"none", folder.encode(), kind.encode(), _FLAGS, options.encode()) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"mounting {kind} {options}: {os.strerror(code)}")


def _drop(libc: ctypes.CDLL, capability: int) -> None:
    if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 and ctypes.get_errno() != errno.EINVAL:
        code = ctypes.get_errno()
        raise OSError(code, f"dropping capability {capability}: {os.strerror(code)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
