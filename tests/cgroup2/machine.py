"""A small virtual machine whose kernel has control groups of version 2 only: Debian's, as most hosts run it.

Its root file system is made by mmdebstrap once and kept below the user's cache folder; what is tried comes on
a second disk. Nothing that runs in it is kept, and it has no network. Emulated (TCG), never by /dev/kvm: that
device exists on machines where it hangs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SUITE = "bookworm"
"""The same as the host's: the guest runs the host's .venv."""

PACKAGES = (
    *("linux-image-cloud-amd64", "initramfs-tools", "systemd-sysv", "dbus", "udev", "procps", "python3"),
    *("bubblewrap", "util-linux", "libseccomp2", "runc", "runsc", "buildah", "skopeo", "busybox-static"),
    *("ca-certificates", "curl", "git"),
)

ROOT_BYTES, TREE_BYTES = 6 << 30, 2 << 30
"""Sizes of the two disks: files full of holes."""

MEMORY_MIB = 4096

CLOCK = ("-icount", "shift=0", "-rtc", "clock=vm")
"""A nanosecond passes in the machine for each instruction of its one processor: a busy host makes it slower,
and no limit of time in it shorter."""

MAKE_SECONDS = 1800
"""To make the root file system: a minute and a half, and slow mirrors."""

RUN_SECONDS = 4 * 3600
"""To run the machine: far more than it takes; a busy host makes it slower."""

# The last unit of the boot: starts what the second disk holds, and ends the machine.
_UNIT = """[Unit]
Description=what the second disk holds
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'mount /dev/vdb /mnt && exec /bin/sh /mnt/start'
ExecStopPost=/sbin/poweroff -f
StandardInput=null
StandardOutput=append:/dev/ttyS1
StandardError=append:/dev/ttyS1
TimeoutStartSec=infinity
"""

PLAIN = "init=/plain"
"""For the kernel: start without systemd."""

_PLAIN = """#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm; mount -t devpts pts /dev/pts; mount -t tmpfs shm /dev/shm; mount -t tmpfs run /run
mount -t cgroup2 none /sys/fs/cgroup
busybox ip link set lo up
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount /dev/vdb /mnt && /bin/sh /mnt/start >/dev/ttyS1 2>&1 </dev/null
sync; echo o >/proc/sysrq-trigger; sleep 60
"""


class NotMadeError(Exception):
    """The machine could not be made or started."""


@dataclass(frozen=True)
class Machine:
    """A machine that can be started."""

    folder: Path
    """Holds root.img, vmlinuz and initrd."""


def open_machine(tell: Callable[[str], None]) -> Machine:
    """The machine, made now if it was not yet. Raises NotMadeError."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "touchplate/cgroup2"
    words = "\n".join((SUITE, *PACKAGES, str(ROOT_BYTES), _UNIT, _PLAIN))
    kept = cache / hashlib.sha256(words.encode()).hexdigest()[:16]
    if not kept.is_dir():
        tell("making the machine's root file system by mmdebstrap; two minutes")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=cache) as folder:
            new = Path(folder) / "new"
            new.mkdir()
            _make(Path(folder) / "root", new)
            new.rename(kept)
    return Machine(kept)


def _make(root: Path, new: Path) -> None:
    include = f"--include={','.join(PACKAGES)}"
    _run(["mmdebstrap", "--mode=root", "--variant=minbase", include, "--format=directory", SUITE, str(root)])
    units = root / "etc/systemd/system"
    (units / "second-disk.service").write_text(_UNIT)
    wants = units / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "second-disk.service").symlink_to("../second-disk.service")
    (units / "default.target").unlink(missing_ok=True)
    (units / "default.target").symlink_to("/lib/systemd/system/multi-user.target")
    (root / "plain").write_text(_PLAIN)
    (root / "plain").chmod(0o755)
    for name, pattern in (("vmlinuz", "vmlinuz-*"), ("initrd", "initrd.img-*")):
        shutil.copy(next((root / "boot").glob(pattern)), new / name)
    make_disk(root, new / "root.img", ROOT_BYTES)


def make_disk(folder: Path, disk: Path, size: int) -> None:
    """An ext4 file system with what is in a folder. Raises NotMadeError."""
    with disk.open("wb") as file:
        file.truncate(size)
    _run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", str(folder), str(disk)])


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=MAKE_SECONDS, check=False
    )
    if done.returncode:
        raise NotMadeError(f"{command[0]} failed: {done.stderr.strip()[-500:]}")


@contextmanager
def running(machine: Machine, tree: Path, kernel: str) -> Iterator[Iterator[str]]:
    """Start the machine with `tree` as its second disk: the lines that it prints, until it ends by itself.

    `kernel`: words for the kernel's command line. The machine is ended in any case.
    """
    with tempfile.TemporaryDirectory(prefix="touchplate-machine-") as folder:
        command = [
            *("timeout", "--signal=KILL", str(RUN_SECONDS), "qemu-system-x86_64"),
            *("-machine", "q35", "-accel", "tcg", "-cpu", "max", *CLOCK),
            *("-m", str(MEMORY_MIB), "-display", "none", "-no-reboot", "-nic", "none"),
            *("-kernel", str(machine.folder / "vmlinuz"), "-initrd", str(machine.folder / "initrd")),
            *(word for disk in (machine.folder / "root.img", tree) for word in _disk(disk)),
            *("-serial", f"file:{folder}/console", "-serial", "stdio"),
            *("-append", f"console=ttyS0 panic=-1 root=/dev/vda rw quiet {kernel}".strip()),
        ]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace"
        ) as process:
            assert process.stdout is not None
            try:
                yield (line.rstrip() for line in process.stdout)
            finally:
                process.terminate()  # `timeout` hands it on


def _disk(path: Path) -> tuple[str, str]:
    return ("-drive", f"file={path},format=raw,if=virtio,snapshot=on")
