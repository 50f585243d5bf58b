"""The process that is killed by test_folder_crash: follows a log and dies at a chosen durable step.

`python -m tests.log.crash_follow FOLDER` makes a log and a mirror of its beginning, and then, for each step
of the update to its end: a forked child updates a copy of that mirror and kills itself just before, or after,
that step. What is left is looked at as readers would, and followed on as the next start would. One line of
output for each kill: `NUMBER STEP SIZE FINDINGS same|other`, the last word about all files in the end.

A step is a call that changes what is on disk: making a file or a folder, its fsync, a rename, a removal.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.log.mirrors import entries_in, files_in, follow, publish, wrong_with
from tests.simlog import SimLog

OLD, NEW = 250, 520
"""From one partial bundle to two full ones and a third that is partial: partials come, grow and go."""


class Steps:
    """Counts durable steps, and kills this process at one of them: 2n-1 before, 2n after the n-th."""

    def __init__(self, kill_at: int) -> None:
        self.kill_at = kill_at
        self.passed = 0
        self.name = ""

    def reach(self, name: str) -> None:
        self.passed += 1
        self.name = name
        if self.passed == self.kill_at:
            os.write(1, f"{name} ".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, owner: Any, name: str) -> None:
        """Put a step before and after each call of `owner.name`; the call really happens."""
        real: Callable[..., Any] = getattr(owner, name)

        def step(*arguments: Any, **options: Any) -> Any:
            changes = name != "open" or arguments[1] & os.O_CREAT
            if changes:
                self.reach(f"before-{name}")
            result = real(*arguments, **options)
            if changes:
                self.reach(f"after-{name}")
            return result

        setattr(owner, name, step)


def update(log: SimLog, folder: Path, kill_at: int) -> None:
    steps = Steps(kill_at)
    for name in ("open", "fsync", "mkdir", "unlink", "rmdir"):
        steps.watch(os, name)
    for name in ("replace", "unlink", "mkdir"):
        steps.watch(Path, name)
    follow(log.folder, folder, log.policy)


def look(folder: Path, log: SimLog) -> str:
    """The mirror's size and what is wrong with it, as a reader finds it."""
    size = int((folder / "checkpoint").read_text().splitlines()[1])
    wrong = wrong_with(folder, log.policy)
    if entries_in(folder, log.policy) != log.entries[:size]:
        wrong.append("other entries")
    return f"{size} {len(wrong)}"


def begin_again(begin: Path, folder: Path) -> Path:
    """A fresh copy of the mirror before the update."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(begin, folder)
    return folder


def main() -> None:
    base = Path(sys.argv[1])
    log = publish(SimLog(base / "log"), OLD)
    begin = base / "begin"
    follow(log.folder, begin, log.policy)
    publish(log, NEW - OLD)
    follow(log.folder, begin_again(begin, base / "undisturbed"), log.policy)
    assert look(base / "undisturbed", log) == f"{NEW} 0"
    number = 0
    while True:
        number += 1
        folder = begin_again(begin, base / "mirror")
        os.write(1, f"{number} ".encode())
        pid = os.fork()
        if pid == 0:
            update(log, folder, number)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            print("end" if os.WEXITSTATUS(status) == 0 else "failed", flush=True)
            return
        after = look(folder, log)
        # What is there suffices to go on: a mirror that has to be checked from its beginning was not whole.
        healed = follow(log.folder, folder, log.policy).healed
        same = files_in(folder) == files_in(base / "undisturbed") and not healed
        print(after, "same" if same else "other", flush=True)


if __name__ == "__main__":
    main()
