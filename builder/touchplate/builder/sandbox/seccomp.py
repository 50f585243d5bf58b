"""The system calls that a build does not get: one filter for both phases.

Everything is allowed except what widens the kernel's attack surface without being needed by compilers:
mounting, namespaces, tracing, kernel keys, BPF, io_uring, terminal injection. Sockets are AF_UNIX and
AF_INET only: the empty network namespace is the wall, the filter keeps exotic families away from it.
"""

import errno
import os
import resource
from typing import Any

import pyseccomp

# Refused with EPERM. Names that this libseccomp does not know are left out of the program.
_REFUSED = (
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "open_tree",
    "move_mount",
    "mount_setattr",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "kcmp",
    "pidfd_getfd",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "open_by_handle_at",
    "name_to_handle_at",
    "quotactl",
    "quotactl_fd",
    "swapon",
    "swapoff",
    "reboot",
    "kexec_load",
    "kexec_file_load",
    "init_module",
    "finit_module",
    "delete_module",
    "acct",
    "syslog",
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "adjtimex",
    "lookup_dcookie",
    "vhangup",
    "fanotify_init",
)

_KEYS = ("keyctl", "add_key", "request_key")

# Refused too, except where containers are made inside: runc and buildah are made of them.
_REFUSED_TO_BUILDS = ("mount", "umount", "umount2", "pivot_root", "unshare", "setns", "chroot")

# Not CLONE_NEWTIME: its bit is part of the exit signal of clone(2); only clone3 and unshare know it.
_CLONE_NEW = {
    "CLONE_NEWNS": 0x00020000,
    "CLONE_NEWCGROUP": 0x02000000,
    "CLONE_NEWUTS": 0x04000000,
    "CLONE_NEWIPC": 0x08000000,
    "CLONE_NEWUSER": 0x10000000,
    "CLONE_NEWPID": 0x20000000,
    "CLONE_NEWNET": 0x40000000,
}
_INT = 0xFFFFFFFF  # the kernel reads these arguments as 32 bits, a caller may set the rest
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C  # put characters into a terminal's input
_AF_INET = 2
_UNKNOWN = -1  # what libseccomp answers for a name that it does not know


def make_filter(*, containers: bool = False, tracing: bool = False) -> bytes:
    """The filter as a BPF program, in the form that `bwrap --seccomp FD` reads.

    `containers`: leave what it takes to make containers inside (mounts, all namespaces but the user's).
    `tracing`: leave ptrace and user namespaces as well, of which gVisor's kernel is made; builds never reach
    this filter there, only that kernel does.
    """
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    refuse = pyseccomp.ERRNO(errno.EPERM)
    for name in _REFUSED if containers else (*_REFUSED, *_REFUSED_TO_BUILDS):
        if not (tracing and name == "ptrace"):
            _add(rules, refuse, name)
    for name in _KEYS:
        # runc wants a keyring of its own, and takes only "no such system call" for an excuse.
        _add(rules, pyseccomp.ERRNO(errno.ENOSYS) if containers else refuse, name)
    flags = {"CLONE_NEWUSER": _CLONE_NEW["CLONE_NEWUSER"]} if containers else _CLONE_NEW
    for flag in () if tracing else flags.values():
        for name in ("clone", "unshare"):
            _add(rules, refuse, name, pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag))
    # Its flags are in memory, where a filter cannot look; ENOSYS makes every libc fall back to clone(2).
    _add(rules, pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    for request in (_TIOCSTI, _TIOCLINUX):
        _add(rules, refuse, "ioctl", pyseccomp.Arg(1, pyseccomp.MASKED_EQ, _INT, request))
    _keep_core_limit(rules)
    # AF_UNSPEC 0, AF_UNIX 1, AF_INET 2 stay. Above: AF_INET6, AF_NETLINK, AF_PACKET, AF_VSOCK, AF_ALG …
    no_family = pyseccomp.ERRNO(errno.EAFNOSUPPORT)
    _add(rules, no_family, "socket", pyseccomp.Arg(0, pyseccomp.GT, _AF_INET))
    return _export(rules)


def _keep_core_limit(rules: Any) -> None:
    """Answer as if done: scripts say `ulimit -c 0`, which is what they have in effect (`limits`)."""
    done = pyseccomp.ERRNO(0)
    core = pyseccomp.Arg(0, pyseccomp.MASKED_EQ, _INT, resource.RLIMIT_CORE)
    _add(rules, done, "setrlimit", core)
    core = pyseccomp.Arg(1, pyseccomp.MASKED_EQ, _INT, resource.RLIMIT_CORE)
    _add(rules, done, "prlimit64", core, pyseccomp.Arg(2, pyseccomp.NE, 0))


def _add(rules: Any, action: int, name: str, *arguments: Any) -> None:
    if pyseccomp.resolve_syscall(pyseccomp.system_arch(), name) != _UNKNOWN:
        rules.add_rule(action, name, *arguments)


def _export(rules: Any) -> bytes:
    descriptor = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "w+b") as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()
