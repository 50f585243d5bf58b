"""kill -9 before and after every durable step of a mirror's update and of an export.

What is left is a whole log, and goes on.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.log.crash_follow import NEW, OLD

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("program", ["crash_follow", "crash_export"])
def test_a_folder_is_a_whole_log_after_a_kill_at_every_step(tmp_path: Path, program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"tests.log.{program}", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *kills, last = [line.split() for line in done.stdout.splitlines()]
    assert last[1:] == ["end"]
    # Each file of the new tree is made, written, named; the checkpoint comes after all of them, and before
    # those go that only the old one needed.
    assert len(kills) > 100
    assert {step for _, step, *_ in kills} >= {
        *("before-open", "after-fsync", "before-replace", "after-replace", "before-rmdir", "after-mkdir")
    }
    sizes = [int(size) for _, _, size, *_ in kills]
    assert set(sizes) == {OLD, NEW}
    assert sizes == sorted(sizes)
    for number, step, _, wrong, same in kills:
        assert (wrong, same) == ("0", "same"), f"kill {number} {step}"
