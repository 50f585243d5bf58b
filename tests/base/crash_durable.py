"""The process that is killed by test_durable: stores a file and dies at a chosen line of the room's code.

`python -m tests.base.crash_durable FOLDER` tries every line: a forked child stores the bytes and kills itself
when that line comes, then the folder is opened again, as the next start would. One line of output each:
`LINE files`, the files that are there then, `-` for none.
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from touchplate.base import durable
from touchplate.base.durable import DigestFolder, write_atomic

DATA = b"the bytes" * 100_000
OLD = b"old"


def die_at(number: int) -> None:
    """Kill this process at the `number`-th line that runs in durable.py from now on."""
    left = number

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename != durable.__file__:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def store(folder: Path) -> None:
    DigestFolder(folder / "blobs").put([DATA[:500_000], DATA[500_000:]])
    write_atomic(folder / "atomic", DATA)


def main() -> None:
    base = Path(sys.argv[1])
    number = 0
    while True:
        number += 1
        folder = base / str(number)
        folder.mkdir()
        write_atomic(folder / "atomic", OLD)
        pid = os.fork()
        if pid == 0:
            die_at(number)
            store(folder)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        blobs = DigestFolder(folder / "blobs")
        whole = all(blobs.open(name).read() == DATA for name in blobs.digests())
        left = [path for path in (folder / "blobs").rglob("*") if path.is_file()]
        atomic = {OLD: "old", DATA: "new"}.get((folder / "atomic").read_bytes(), "torn")
        print(number, len(left), "whole" if whole else "torn", atomic, flush=True)
        if os.WIFEXITED(status):
            return


if __name__ == "__main__":
    main()
