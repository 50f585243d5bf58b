"""Attacks on what the host has: its network, sockets, files, environment, processes, memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from tests.hostile.attack import Attack, everywhere
from tests.hostile.world import SECRET, World

from touchplate.builder import process
from touchplate.builder.errors import HostLack
from touchplate.builder.plan import Bind

DYING_SECONDS = 1.0
"""How long a process that was killed may take to end."""

_VARIABLE = "TOUCHPLATE_HOSTILE_SECRET"
_IPC_CREAT, _IPC_RMID = 0o1000, 0


@contextlib.contextmanager
def _listening(listener: socket.socket) -> Iterator[None]:
    """Tell everybody who comes the secret."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client, contextlib.suppress(OSError):
                    client.sendall(SECRET.encode())

    thread = threading.Thread(target=serve, daemon=True)
    listener.listen()
    thread.start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def loopback(world: World) -> bool:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        with _listening(listener):
            return world.steals(f"print(socket.create_connection(('127.0.0.1', {port}), 5).recv(99))")


def abstract_socket(world: World) -> bool:
    with socket.socket(socket.AF_UNIX) as listener:
        name = f"touchplate-hostile-{os.getpid()}"
        listener.bind(f"\0{name}")
        with _listening(listener):
            return world.steals(
                f"s = socket.socket(socket.AF_UNIX); s.connect('\\0{name}'); print(s.recv(99))"
            )


def unix_socket(world: World) -> bool:
    path = world.host / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o777)
        with _listening(listener):
            return world.steals(
                f"s = socket.socket(socket.AF_UNIX); s.connect({str(path)!r}); print(s.recv(99))"
            )


def readable_file(world: World) -> bool:
    return world.steals(f"print(open({str(world.put('readable'))!r}).read())")


def written_file(world: World) -> bool:
    path = world.put("writable", "untouched", 0o666)
    world.run(f"open({str(path)!r}, 'w').write('owned')")
    return path.read_text() == "owned"


def key_shown_by_mistake(world: World) -> bool:
    key = world.put("key.pem", mode=0o600)
    return world.steals("print(open('/key.pem').read())", binds=(Bind(key, "/key.pem"),))


def other_job(world: World) -> bool:
    """Read the build folder of a job that runs at the same time, which is shown by mistake."""
    with world.sandbox.workspace(world.source) as victim, world.sandbox.workspace(world.source) as own:
        path = victim.build / "theirs"
        path.write_text(SECRET)
        os.chown(path, victim.owner, victim.owner)
        path.chmod(0o600)
        if not world.has("closed workspace"):
            victim.root.chmod(0o755)
        if not world.has("uid of its own for each job"):
            os.chown(path, own.owner, own.owner)
        shown = {} if world.has("private root") else {"/theirs": victim.build}
        try:
            outcome = world.run("print(open('/theirs/theirs').read())", workspace=own, shown=shown)
        except HostLack as refused:
            if "Permission denied" not in str(refused):
                raise
            return False  # bubblewrap itself could not show it
        return SECRET.encode() in outcome.log


def environment(world: World) -> bool:
    leak = {} if world.has("clean environment") else {_VARIABLE: SECRET}
    script = """
for pid in ["self", *filter(str.isdigit, os.listdir("/proc"))]:
    try:
        print(open(f"/proc/{pid}/environ").read())
    except OSError:
        pass
"""
    with patch.dict(os.environ, {_VARIABLE: SECRET}), patch.dict(process._ENVIRONMENT, leak):
        return world.steals(script)


def descriptors(world: World) -> bool:
    """Read what the supervisor has open."""
    descriptor = os.open(world.put("open", mode=0o600), os.O_RDONLY)
    script = """
for number in range(3, 64):
    try:
        print(os.pread(number, 99, 0))
    except OSError:
        pass
"""
    start = subprocess.Popen

    def leaking(*arguments: object, **options: object) -> object:
        if not world.has("descriptors closed"):
            options["pass_fds"] = (*options["pass_fds"], descriptor)  # type: ignore[misc]
        return start(*arguments, **options)  # type: ignore[call-overload]

    try:
        os.set_inheritable(descriptor, True)
        with patch.object(subprocess, "Popen", leaking):
            return world.steals(script)
    finally:
        os.close(descriptor)


def other_processes(world: World) -> bool:
    """Look for the supervisor among the processes."""
    mark = f"touchplate-hostile-mark-{os.getpid()}"
    victim = subprocess.Popen(["/bin/sh", "-c", "read x; : " + mark], stdin=subprocess.PIPE)
    try:
        script = f"""
for pid in filter(str.isdigit, os.listdir("/proc")):
    words = open(f"/proc/{{pid}}/cmdline").read()
    if int(pid) != os.getpid() and {mark[:20]!r} + {mark[20:]!r} in words:
        print("ESCAPED")
"""
        return world.works(script)
    finally:
        victim.kill()
        victim.communicate()


def kill_others(world: World) -> bool:
    """Kill whatever may be killed: a process of the same ids that is not of the job."""
    with world.sandbox.workspace(world.source) as workspace:
        victim = subprocess.Popen(
            ["/bin/sleep", "1000"], user=workspace.owner, group=workspace.owner, extra_groups=[]
        )
        try:
            with contextlib.suppress(HostLack):  # it may have killed its own sandbox as well
                world.run("os.kill(-1, 9)", workspace=workspace)
            with contextlib.suppress(subprocess.TimeoutExpired):
                victim.wait(DYING_SECONDS)
            return victim.returncode is not None
        finally:
            victim.kill()
            victim.wait()


def shared_memory(world: World) -> bool:
    """Attach a System V segment of the host that everybody may read."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    key = 0x7450_0000 + os.getpid() % 65_536
    segment = libc.shmget(key, 4096, _IPC_CREAT | 0o666)
    assert segment >= 0, os.strerror(ctypes.get_errno())
    try:
        address = libc.shmat(segment, None, 0)
        ctypes.memmove(address, SECRET.encode(), len(SECRET))
        libc.shmdt(ctypes.c_void_p(address))
        return world.steals(
            f"libc.shmat.restype = ctypes.c_void_p\nfound = libc.shmget({key}, 0, 0)\n"
            "print(found >= 0 and ctypes.string_at(libc.shmat(found, None, 0x1000), 99))"
        )
    finally:
        libc.shmctl(segment, _IPC_RMID, None)


def _host_file(world: World, folder: str) -> bool:
    descriptor, name = tempfile.mkstemp(prefix="touchplate-hostile-", dir=folder)
    try:
        os.write(descriptor, SECRET.encode())
        os.fchmod(descriptor, 0o644)
        return world.steals(f"print(open({name!r}).read())")
    finally:
        os.close(descriptor)
        Path(name).unlink()


def temporary_file(world: World) -> bool:
    return _host_file(world, "/tmp")


def shared_memory_file(world: World) -> bool:
    return _host_file(world, "/dev/shm")


def kernel_settings(world: World) -> bool:
    """Open a setting of the kernel for writing; nothing is written."""
    return world.works("os.close(os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY))\nprint('ESCAPED')")


def device_settings(world: World) -> bool:
    return world.works("os.close(os.open('/sys/kernel/mm/ksm/run', os.O_WRONLY))\nprint('ESCAPED')")


def inputs_and_cache(world: World) -> bool:
    """Write into a locked input, which is a hard link into the cache of all builds."""
    cached = world.put("cached", "untouched")
    with world.sandbox.workspace(world.source) as workspace:
        os.link(cached, workspace.repo / "input.jar")
        script = """
libc.mount(b"none", b"/repo", None, 0x1020, None)  # remount, bind: writable
for flags in (os.O_WRONLY, os.O_WRONLY | os.O_TRUNC):
    try:
        os.write(os.open("/repo/input.jar", flags), b"owned")
    except OSError as error:
        print(error)
"""
        world.run(script, workspace=workspace, shown={"/repo": workspace.repo})
    return cached.read_text().startswith("owned")


def setuid_for_an_accomplice(world: World) -> bool:
    """Leave a program with the set-user-id bit, for another user of the host to start meanwhile."""
    stolen: list[str] = []
    with world.sandbox.workspace(world.source) as workspace:
        if not world.has("closed workspace"):
            workspace.root.chmod(0o755)

        def start(_line: str) -> None:
            program = str(workspace.build / "mine")
            try:
                done = subprocess.run(
                    [program, "-u"], user=4242, group=4242, extra_groups=[], capture_output=True, check=False
                )
                stolen.append(done.stdout.decode().strip())
            except OSError as error:
                stolen.append(str(error))
            world.said.append(stolen[-1])

        script = """
import shutil
shutil.copy("/usr/bin/id", "mine"); os.chmod("mine", 0o6755)
print("now", flush=True)
time.sleep(1000)
"""
        world.run(script, workspace=workspace, on_line=start, watch=lambda: "enough" if stolen else "")
        return stolen == [str(workspace.owner)]


def signal_supervisor(world: World) -> bool:
    """Signal the supervisor by its process id: the job has another uid, and does not see it."""
    asked: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _frame: asked.append(number))
    try:
        world.run(f"os.kill({os.getpid()}, {int(signal.SIGUSR1)})")
    finally:
        signal.signal(signal.SIGUSR1, before)
    return asked != []


ATTACKS = (
    Attack(
        "talk to a loopback service of the host",
        everywhere("network namespace", gvisor=("network namespace", "gVisor's network")),
        loopback,
    ),
    Attack(
        "talk to an abstract unix socket of the host",
        {"bubblewrap": ("network namespace",), "runc": ("network namespace",)},
        abstract_socket,
    ),
    Attack(
        "talk to a unix socket of the host",
        everywhere("private root", gvisor=("private root", "gVisor's sockets")),
        unix_socket,
    ),
    Attack("read a file of the host", everywhere("private root"), readable_file),
    Attack("write a file of the host", everywhere("private root"), written_file),
    Attack(
        "read the supervisor's key, shown by mistake",
        {"bubblewrap": ("own uid",), "runc": ("own uid",)},
        key_shown_by_mistake,
    ),
    Attack(
        "read the folder of another job",
        everywhere("private root", "closed workspace", "uid of its own for each job"),
        other_job,
    ),
    Attack("read the supervisor's environment", everywhere("clean environment"), environment),
    Attack(
        "read the supervisor's open files",
        {"bubblewrap": ("descriptors closed",), "runc": ("descriptors closed",)},
        descriptors,
    ),
    Attack(
        "see the host's processes",
        {"bubblewrap": ("process namespace",), "runc": ("process namespace",)},
        other_processes,
    ),
    Attack(
        "kill processes of the same uid outside",
        {"bubblewrap": ("process namespace",), "runc": ("process namespace",)},
        kill_others,
    ),
    Attack("signal the supervisor", {"bubblewrap": ("process namespace", "own uid")}, signal_supervisor),
    Attack(
        "attach shared memory of the host",
        {"bubblewrap": ("ipc namespace",), "runc": ("ipc namespace",)},
        shared_memory,
    ),
    Attack(
        "read the host's /tmp", {"bubblewrap": ("private /tmp",), "runc": ("private /tmp",)}, temporary_file
    ),
    Attack(
        "read the host's /dev/shm",
        {"bubblewrap": ("private /dev/shm",), "runc": ("private /dev/shm",)},
        shared_memory_file,
    ),
    Attack(
        "open core_pattern for writing", {"bubblewrap": ("own uid",), "runc": ("own uid",)}, kernel_settings
    ),
    Attack(
        "open a file of /sys for writing",
        {"bubblewrap": ("own uid", "private /sys"), "runc": ("own uid", "private /sys")},
        device_settings,
    ),
    Attack(
        "write into an input and so into the cache",
        {"bubblewrap": ("own uid", "read-only")},
        inputs_and_cache,
    ),
    Attack(
        "leave a setuid program for another user",
        {"bubblewrap": ("closed workspace",), "runc": ("closed workspace",)},
        setuid_for_an_accomplice,
    ),
)
