"""Attacks on the kernel: system calls that no compiler needs, capabilities, namespaces, mounts.

Numbers are those of x86_64. What is called is harmless when it works: the point is that it cannot be called.
"""

from __future__ import annotations

import os
from functools import partial

from tests.hostile.attack import Attack
from tests.hostile.world import World

_CHILD = """
child = os.fork()
if child == 0:
    time.sleep(1000)
"""

CALLS: dict[str, str] = {
    "trace another process (ptrace)": _CHILD + "worked = call(101, 16, child, 0, 0) == 0",
    "read the memory of another process (process_vm_readv)": (
        "mine = ctypes.create_string_buffer(8)\n"
        "part = (ctypes.c_size_t * 2)(ctypes.addressof(mine), 8)\n"
        "worked = call(310, os.getpid(), ctypes.byref(part), 1, ctypes.byref(part), 1, 0) == 8"
    ),
    "take a descriptor of another process (pidfd_getfd)": (
        _CHILD + "worked = call(438, os.pidfd_open(child), 0, 0) >= 0"
    ),
    "compare processes (kcmp)": "worked = call(312, os.getpid(), os.getpid(), 1, 0, 0) == 0",
    "keep a key in the kernel (add_key)": "worked = call(248, b'user', b'touchplate', b'x', 1, -3) > 0",
    "ask for a keyring (keyctl)": "worked = call(250, 0, -3, 1) > 0",
    "handle page faults (userfaultfd)": "worked = call(323, 1) >= 0",
    "queue system calls (io_uring_setup)": ("worked = call(425, 1, ctypes.create_string_buffer(120)) >= 0"),
    "measure the kernel (perf_event_open)": (
        "what = ctypes.create_string_buffer(128)\n"
        "ctypes.memmove(what, (1).to_bytes(4, 'little') + (128).to_bytes(4, 'little'), 8)\n"
        "what[40:41] = bytes([1 | 32 | 64])\n"  # disabled, without kernel and hypervisor
        "worked = call(298, what, 0, -1, -1, 0) >= 0"
    ),
    "start a process past the filter's eyes (clone3)": (
        "what = (ctypes.c_uint64 * 11)()\nwhat[4] = 17\n"
        "pid = call(435, what, 88)\n"
        "if pid == 0:\n    os._exit(0)\n"
        "worked = pid > 0"
    ),
    "name files by handle (name_to_handle_at)": (
        "what = ctypes.create_string_buffer((128).to_bytes(4, 'little'), 136)\nnumber = ctypes.c_int()\n"
        "worked = call(303, -100, b'/build', what, ctypes.byref(number), 0) == 0"
    ),
    "watch whole file systems (fanotify_init)": "worked = call(300, 0x200, 0) >= 0",
    "reach the clock (adjtimex)": "worked = call(159, ctypes.create_string_buffer(208)) >= 0",
    "type into a terminal (TIOCSTI)": (
        "import fcntl, pty\n"
        "child, master = pty.fork()\n"
        "if child == 0:\n"
        "    try:\n        fcntl.ioctl(0, 0x5412, b'x')\n    except OSError:\n        os._exit(1)\n"
        "    os._exit(0)\n"
        "worked = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0"
    ),
    "configure the network (AF_NETLINK)": "worked = call(41, 16, 3, 0) >= 0",
    "talk IPv6 (AF_INET6)": "worked = call(41, 10, 2, 0) >= 0",
}
"""Name → Python that sets `worked`. The filter alone stops these."""

OWN_KERNEL = (
    "keep a key in the kernel (add_key)",
    "handle page faults (userfaultfd)",
    "measure the kernel (perf_event_open)",
    "name files by handle (name_to_handle_at)",
    "watch whole file systems (fanotify_init)",
    "compare processes (kcmp)",
)
"""Those that gVisor's kernel does not have, so that there each of two walls stops them."""


def _call(world: World, script: str) -> bool:
    return world.works(f"{script}\nprint('ESCAPED' if worked else ctypes.get_errno())")


def _raises(world: World, script: str) -> bool:
    """Works unless it raises or says `0 != `."""
    return world.works(f"{script}\nprint('ESCAPED')")


_CHECK = "\nif done != 0: raise OSError(ctypes.get_errno(), 'refused')"


def mount(world: World) -> bool:
    return _raises(world, "done = libc.mount(b'none', b'/tmp', b'tmpfs', 0, None)" + _CHECK)


def remount(world: World) -> bool:
    return _raises(world, "done = libc.mount(b'none', b'/', None, 0x1020, None)" + _CHECK)


def unmount(world: World) -> bool:
    """Take away what hides the host's folder below."""
    return _raises(world, "done = libc.umount2(b'/tmp', 2)" + _CHECK)


def change_root(world: World) -> bool:
    return _raises(world, "os.chroot('/build')")


def user_namespace(world: World) -> bool:
    return _raises(world, "done = libc.unshare(0x10000000)" + _CHECK)


def user_namespace_by_clone3(world: World) -> bool:
    """The same by a call whose flags a filter cannot see."""
    script = """
what = (ctypes.c_uint64 * 11)()
what[0], what[4] = 0x10000000, 17
pid = call(435, what, 88)
if pid == 0:
    os._exit(0)
worked = pid > 0
"""
    return _call(world, script)


def raw_socket(world: World) -> bool:
    return _raises(world, "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)")


def become_root(world: World) -> bool:
    return _raises(world, "os.setgid(0)\nos.setuid(0)")


def hosts_kernel(world: World) -> bool:
    """Talk to the kernel of the host at all."""
    return f"[{os.uname().release}]" in world.says("print(f'[{os.uname().release}]')")


def _walls(name: str) -> dict[str, tuple[str, ...]]:
    walls: dict[str, tuple[str, ...]] = {"bubblewrap": ("filter",), "runc": ("filter",)}
    return {**walls, "gvisor": ("filter", "own kernel")} if name in OWN_KERNEL else walls


# For its other id bubblewrap makes a second user namespace, which owns neither mounts nor network.
_CAPABLE = {"bubblewrap": ("filter", "no capabilities", "second user namespace"), "gvisor": ("own kernel",)}
_NAMESPACE = {"bubblewrap": ("filter", "user namespace limit"), "runc": ("filter", "user namespace limit")}

ATTACKS = (
    *(Attack(name, _walls(name), partial(_call, script=script)) for name, script in CALLS.items()),
    Attack("mount a file system", _CAPABLE, mount),
    Attack("make the root writable", _CAPABLE, remount),
    Attack("unmount what hides the host", _CAPABLE, unmount),
    Attack(
        "change the root (chroot)",
        {"bubblewrap": ("filter", "no capabilities"), "gvisor": ("own kernel",)},
        change_root,
    ),
    Attack("make a user namespace (unshare)", _NAMESPACE, user_namespace),
    Attack("make a user namespace (clone3)", _NAMESPACE, user_namespace_by_clone3),
    Attack("open a raw socket", {"bubblewrap": ("no capabilities", "second user namespace")}, raw_socket),
    Attack("become root", {"bubblewrap": ("second user namespace",), "gvisor": ("own kernel",)}, become_root),
    Attack("talk to the host's kernel", {"gvisor": ("own kernel",)}, hosts_kernel),
)
