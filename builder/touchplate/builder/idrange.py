"""Run by the supervisor as a program of its own, before the sandbox: become the root of a range of user ids.

    idrange.py FIRST COUNT COMMAND…

An image's files belong to many users, so its build needs many ids, and none of them may be one of the host's.
A child makes a user namespace, this process (real root) writes the maps from outside, inside 0…COUNT-1 to
outside FIRST…FIRST+COUNT-1, and the child gives up everything else, becomes 0 of the namespace and then the
command. No setuid program and no /etc/subuid take part. Only the standard library: it is run as `python3 -I
-S`.
"""

import ctypes
import os
import signal
import sys

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1

LOST = 125
"""Exit code when the namespace cannot be had; the reason is on stderr."""


def main(arguments: list[str]) -> int:
    """The command's exit code."""
    first, count, *command = arguments
    libc = ctypes.CDLL(None, use_errno=True)
    # Killed with the supervisor, as the child is killed with us.
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    made_read, made_write = os.pipe()
    mapped_read, mapped_write = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(made_read)
        os.close(mapped_write)
        try:
            _become(libc, parent, (made_write, mapped_read), command)
        finally:
            os._exit(LOST)
    os.close(made_write)
    os.close(mapped_read)
    if os.read(made_read, 1):
        for kind in ("uid", "gid"):
            with open(f"/proc/{child}/{kind}_map", "w", encoding="ascii") as file:  # noqa: PTH123
                file.write(f"0 {first} {count}\n")
        os.write(mapped_write, b"m")
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _become(libc: ctypes.CDLL, parent: int, pipes: tuple[int, int], command: list[str]) -> None:
    made, mapped = pipes
    if libc.unshare(CLONE_NEWUSER) != 0:
        error = os.strerror(ctypes.get_errno())
        print(f"no user namespace can be made here: {error}", file=sys.stderr)
        return
    os.write(made, b"u")
    if not os.read(mapped, 1):  # the supervisor's side has died, or could not write the maps
        return
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    # After the ids: changing them takes it away (prctl(2)).
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        return
    os.close(made)
    os.close(mapped)
    os.execv(command[0], command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
