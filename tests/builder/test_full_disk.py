"""Disks that are full, in each phase: a lack of the host with folder and remedy, and nothing is left."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.builder.sandboxes import open_folder, require_sandbox

from touchplate.base.environment import read_environment
from touchplate.base.errors import StorageError, WrongDigestError
from touchplate.builder.errors import HostLack, needing_disk, storage_lack
from touchplate.builder.workshop import make_enterable

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = ("unshare", "--mount")


def need_namespace() -> None:
    """Skip where no file system can be mounted; fail under CI."""
    require_sandbox()
    is_root = os.getuid() == 0 and shutil.which("unshare") is not None
    if is_root and subprocess.run([*NAMESPACE, "true"], check=False).returncode == 0:
        return
    if read_environment().is_ci:
        pytest.fail("no mount namespace can be made here")
    pytest.skip("DISKS THAT ARE FULL NOT TESTED: only root can mount one")


@pytest.mark.parametrize(
    ("which", "inodes"),
    [
        # The data folder: its folders, the definition, the source and its tree, inputs, outputs, the lock,
        # evidence. The work folder: the probe's workspace, Fetch's, its socket, the laid out inputs, Build's.
        ("data", ("1", "11", "13", "18", "24", "28", "32")),
        ("work", ("2", "9", "12", "13")),
    ],
)
def test_a_full_disk_is_a_lack_of_the_host_in_each_phase(which: str, inodes: tuple[str, ...]) -> None:
    need_namespace()
    with open_folder() as folder:
        command = [*NAMESPACE, sys.executable, "-m", "tests.builder.full_disk", which, str(folder), *inodes]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        for one in told:
            assert one["full"].startswith("HostLack disk-full: "), one
            assert f"make room below {folder}/small" in one["full"], one
        assert [one["left"] for one in told] == [[]] * len(inodes)
        assert {one["room"] for one in told} == {"identical"}


def test_a_data_folder_that_is_a_link_to_itself_is_told(tmp_path: Path) -> None:
    loop = tmp_path / "data"
    loop.symlink_to(loop)
    with pytest.raises(HostLack, match=rf"cannot make the folder '{loop}'"):
        make_enterable(loop)


def test_what_is_wrong_with_the_bytes_is_not_the_disk_s(tmp_path: Path) -> None:
    with pytest.raises(WrongDigestError), needing_disk("cannot keep it", tmp_path):
        raise WrongDigestError("other bytes")


def test_a_disk_that_is_not_full_has_no_remedy_that_would_not_help(tmp_path: Path) -> None:
    lack = storage_lack("cannot keep it", tmp_path, OSError(5, "Input/output error", "/data/a"))
    assert (lack.reason, str(lack)) == ("storage-failed", "cannot keep it: Input/output error (/data/a)")
    lack = storage_lack("cannot keep it", tmp_path, StorageError("writing a: refused"))
    assert str(lack) == f"cannot keep it: writing a: refused ({tmp_path})"
