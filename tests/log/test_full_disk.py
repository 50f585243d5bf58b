"""A disk that gets full under a log: those who write are told, readers are served, room brings it back."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from touchplate.base.environment import read_environment

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")
"""In which a file system can be mounted by anybody, and is gone with the process."""


def need_namespace() -> None:
    """Skip where there is none; fail under CI."""
    if shutil.which("unshare") and subprocess.run([*NAMESPACE, "true"], check=False).returncode == 0:
        return
    if read_environment().is_ci:
        pytest.fail("no user and mount namespace can be made here")
    pytest.skip("no user and mount namespace can be made here")


def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    need_namespace()
    command = [*NAMESPACE, sys.executable, "-m", "tests.log.full_disk", str(tmp_path / "small")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["full"] == [503, "storage-failed"]
    assert told["before"] > 20
    assert told["again"][0] in (200, 503)  # a batch may just fit into what the failed one gave back
    assert told["checkpoint"] == 200
    assert told["room"] == [200, ""]
    assert told["findings"] == []
    # All that were acknowledged, each at the index that was answered; and nothing of what was refused.
    assert told["indexes"]
    assert told["size"] == told["acknowledged"]
