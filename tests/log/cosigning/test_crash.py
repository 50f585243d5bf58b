"""A log with witnesses that is killed while it publishes goes on where it was, and never says two things."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.log.cosigning.crash_child import ENTRIES, STEPS
from tests.log.cosigning.support import (
    cosigned_log,
    eventually,
    policy_text,
    published,
    read_policy,
    witnesses,
)
from tests.log.support import open_sqlite, record_envelope

from touchplate.verify.checkpoints import open_checkpoint


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_each_step_of_publishing(step: str, tmp_path: Path) -> None:
    with witnesses(tmp_path, 2) as servers:
        text = policy_text(servers, 2)
        policy = tmp_path / "policy.txt"
        policy.write_text(text)
        command = [sys.executable, "-m", "tests.log.cosigning.crash_child", str(tmp_path), str(policy), step]
        env = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
        done = subprocess.run(command, env=env, capture_output=True, timeout=120, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        # What is on disk is an older checkpoint or this one, and a reader opens either by the policy.
        tree = open_sqlite(tmp_path / "data")
        head = tree.head()
        tree.close()
        assert head.size == ENTRIES
        assert head.checkpoint is not None or step != "after-storing"
        if head.checkpoint is not None:
            size = open_checkpoint(head.checkpoint, read_policy(text)).size
            assert size == ENTRIES if step == "after-storing" else size < ENTRIES
        with cosigned_log(tmp_path, text) as service:
            service.append([record_envelope(ENTRIES)])
            eventually(
                lambda: (
                    (found := published(service, read_policy(text))) is not None and found.size == ENTRIES + 1
                )
            )
        # No witness was ever shown two heads of one size.
        shown = [tuple(note.split(b"\n")[1:3]) for each in servers for note in each.notes]
        assert len({size for size, _ in shown}) == len(set(shown))
