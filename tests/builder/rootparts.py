"""A small build root, of a shell and a Python copied from this host: enough to build in, made in a second."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from touchplate.base.environment import read_environment
from touchplate.builder.roots.lock import RootLock, RootPackage, make_root_lock
from touchplate.builder.roots.make import tidy_root
from touchplate.builder.trees import tree_lines
from touchplate.builder.workshop import Workshop

EPOCH = 1_700_000_000
MARK = "usr/share/root-mark"
"""A file that the root has and no host."""

PROGRAMS = ("dash", "python3.11", "env", "cat", "ls")

PACKAGE = RootPackage(
    name="python3-minimal",
    version="3.11.2-1+b1",
    arch="all",
    upstream="debian",
    path="pool/main/p/python3-defaults/python3-minimal_3.11.2-1+b1_all.deb",
    sha256="ab" * 32,
    size=26_000,
)


def require_root_makers() -> None:
    """Skip where what makes roots is not installed; under CI that is a failure."""
    environment = read_environment()
    for name in ("mmdebstrap", "runc"):
        if environment.find_program(name) is None:
            (pytest.fail if environment.is_ci else pytest.skip)(f"BUILD ROOTS NOT TESTED: this needs {name}")


def small_files(folder: Path, text: str) -> Path:
    """A root of two files, the new folder `folder`: enough to be listed and removed."""
    (folder / "usr/bin/deep").mkdir(parents=True)
    (folder / "usr/bin/sh").write_text(text)
    (folder / "usr/bin/deep/file").write_text(text)
    return folder


def small_root(folder: Path) -> Path:
    """The root as the new folder `folder`."""
    for name in ("usr/bin", "usr/lib", "usr/lib64", "usr/share", "etc", "var/cache"):
        (folder / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        (folder / name).symlink_to(f"usr/{name}")
    for name in PROGRAMS:
        shutil.copyfile(Path("/usr/bin", name), folder / "usr/bin" / name)
        (folder / "usr/bin" / name).chmod(0o755)
        _copy_libraries(Path("/usr/bin", name), folder)
    (folder / "usr/bin/sh").symlink_to("dash")
    (folder / "usr/bin/python3").symlink_to("python3.11")
    ignored = shutil.ignore_patterns("__pycache__", "test", "idlelib", "lib2to3", "config-*", "dist-packages")
    shutil.copytree("/usr/lib/python3.11", folder / "usr/lib/python3.11", symlinks=True, ignore=ignored)
    (folder / MARK).write_text("only here\n")
    (folder / "etc/mark").write_text("only here\n")
    tidy_root(folder, EPOCH)
    return folder


def _copy_libraries(program: Path, folder: Path) -> None:
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for path in re.findall(r"(/\S+)", listed):
        inside = path if path.startswith("/usr/") else f"/usr{path}"
        target = folder / inside.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        target.chmod(0o755)


def lock_of(root: Path) -> RootLock:
    """A lock whose tree is this folder's."""
    tree = hashlib.sha256(b"".join(tree_lines(root))).hexdigest()
    return make_root_lock("bookworm", "amd64", EPOCH, [PACKAGE], tree)


def adopt(workshop: Workshop, root: Path) -> RootLock:
    """Have the root in the workshop, as if it had been made there."""
    lock = lay_out(workshop.data, root)
    workshop.roots.learn(lock)
    return lock


def lay_out(data: Path, root: Path) -> RootLock:
    """The same below a data folder, where the lock stays unknown."""
    lock = lock_of(root)
    home = data / "roots" / lock.tree
    home.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(root, home, symlinks=True)
    for path in (home, *home.rglob("*")):
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)
    return lock


def home_of(workshop: Workshop, lock: RootLock) -> Path:
    """Where the root of `lock` is."""
    return workshop.data / "roots" / lock.tree
