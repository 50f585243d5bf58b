"""A witness that is killed remembers at least what it has said."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.log.witness.support import SomeLog, make_witness
from tests.log.witness.test_service import status_of

LOG = SomeLog()
FORK = SomeLog(branch="other ")


@pytest.mark.parametrize(("step", "size"), [("before-persist", 5), ("after-persist", 9), ("never", 9)])
def test_a_kill_between_check_and_answer_leaves_the_old_head_or_the_new(
    step: str, size: int, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.log.witness.crash_child", str(tmp_path), step]
    paths = [str(path) for path in sys.path if path]
    done = subprocess.run(
        command, env={"PYTHONPATH": ":".join(paths)}, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == (0 if step == "never" else -signal.SIGKILL), done.stderr
    assert bool(done.stdout) == (step == "never")
    witness = make_witness(tmp_path, [LOG.listed])
    # Another history may not come in by the gap, and the log itself goes on.
    assert status_of(witness, FORK.request(size, 12)) == 422
    assert status_of(witness, LOG.request(14 - size, 14)) == 409
    assert status_of(witness, LOG.request(size, 12)) == 200
    witness.close()
