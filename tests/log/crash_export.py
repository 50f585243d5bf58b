"""The process that is killed by test_folder_crash: exports a log and dies at a chosen durable step.

`python -m tests.log.crash_export FOLDER` makes a log in a database and an export of its beginning, and then,
for each step of the next update: a forked child updates a copy of that export and kills itself just before,
or after, that step. What is left is looked at as readers would, and gone on with as the next start would. The
output is that of `crash_follow`.
"""

import os
import sys
from pathlib import Path

from tests.log.crash_follow import NEW, OLD, Steps, begin_again
from tests.log.exports import export, look, sqlite_log
from tests.log.mirrors import files_in

from touchplate.base.sql import sqlite_engine


def update(database: Path, folder: Path, kill_at: int) -> None:
    engine = sqlite_engine(database)  # its own durable steps are none of the folder's
    steps = Steps(kill_at)
    for name in ("open", "fsync", "mkdir", "unlink", "rmdir"):
        steps.watch(os, name)
    for name in ("replace", "unlink", "mkdir"):
        steps.watch(Path, name)
    export(engine, folder)


def main() -> None:
    base = Path(sys.argv[1])
    begin, undisturbed = base / "begin", base / "undisturbed"
    export(sqlite_engine(sqlite_log(base, OLD)), begin)
    database = sqlite_log(base, NEW, OLD)
    export(sqlite_engine(database), begin_again(begin, undisturbed))
    assert look(undisturbed) == (NEW, [])
    number = 0
    while True:
        number += 1
        folder = begin_again(begin, base / "export")
        os.write(1, f"{number} ".encode())
        pid = os.fork()
        if pid == 0:
            update(database, folder, number)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            print("end" if os.WEXITSTATUS(status) == 0 else "failed", flush=True)
            return
        size, wrong = look(folder)
        healed = export(sqlite_engine(database), folder).healed
        same = files_in(folder) == files_in(undisturbed) and not healed
        print(f"{size} {len(wrong)}", "same" if same else "other", flush=True)


if __name__ == "__main__":
    main()
