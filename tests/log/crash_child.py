"""The process that is killed by test_crash: appends entries as fast as it can and says what was acknowledged.

Run as `python -m tests.log.crash_child`. Each line on stdin, `FOLDER SEED`, starts one worker by fork (so
that imports and signatures are paid once); it opens the log in FOLDER and writes `ack NUMBER INDEX` for every
answer that it got. The lines `pid N` and `end` frame each round.
"""

import os
import random
import sys
from pathlib import Path
from threading import Thread

from tests.log.support import open_sqlite, sign, signed_entries

from touchplate.log.ports import PackedEntry
from touchplate.log.sequencer import SoloDecider, TreeSequencer

SIGNED = 1500
"""Different entries of one run: rounds draw from them, so that most are new and some are repeats."""

SUBMITTERS = 4
SUBMISSIONS = 60
"""Per submitter and round; the parent kills long before they are used up."""

SECONDS = 30


def say(text: str) -> None:
    os.write(1, text.encode() + b"\n")  # one write of a short line reaches a pipe whole, or not at all


def submit(sequencer: TreeSequencer, entries: list[PackedEntry], chooser: random.Random) -> None:
    for _ in range(SUBMISSIONS):
        numbers = [chooser.randrange(len(entries)) for _ in range(chooser.choice((1, 1, 2, 9)))]
        futures = sequencer.submit([entries[number] for number in numbers])
        for number, future in zip(numbers, futures, strict=True):
            say(f"ack {number} {future.result(SECONDS).index}")


def work(folder: Path, seed: int, entries: list[PackedEntry]) -> None:
    sequencer = TreeSequencer(open_sqlite(folder), SoloDecider(), sign=sign)
    sequencer.start()
    threads = [
        Thread(target=submit, args=(sequencer, entries, random.Random(f"{seed} {number}")))
        for number in range(SUBMITTERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sequencer.stop()


def main() -> None:
    entries = signed_entries(SIGNED)
    for entry in entries:
        say(f"leaf {entry.leaf_hash.hex()}")
    say("ready")
    for line in sys.stdin:
        folder, seed = line.rsplit(" ", 1)
        pid = os.fork()
        if pid == 0:
            work(Path(folder), int(seed), entries)
            os._exit(0)
        say(f"pid {pid}")
        os.waitpid(pid, 0)
        say("end")


if __name__ == "__main__":
    main()
