"""A witness that dies by SIGKILL at one step of a request; it prints what it answers."""

import os
import signal
import sys
from pathlib import Path

from tests.log.witness.support import COSIGNER, NOW, SomeLog, open_memory

from touchplate.log.witness.memory import Cosigned
from touchplate.log.witness.service import Witness

STEPS = ("before-persist", "after-persist", "never")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DyingMemory:
    """The real memory; the process ends before or after its second write."""

    def __init__(self, folder: Path, step: str) -> None:
        self._real = open_memory(folder)
        self._step = step

    def read(self, origin: str) -> Cosigned | None:
        return self._real.read(origin)

    def advance(self, origin: str, old: Cosigned | None, new: Cosigned) -> bool:
        if old is not None and self._step == "before-persist":
            die()
        done = self._real.advance(origin, old, new)
        if old is not None and self._step == "after-persist":
            die()
        return done

    def close(self) -> None:
        self._real.close()


def main(folder: str, step: str) -> None:
    log = SomeLog()
    witness = Witness([COSIGNER], [log.listed], DyingMemory(Path(folder), step), now=lambda: NOW)
    witness.add_checkpoint(log.request(0, 5))
    sys.stdout.buffer.write(witness.add_checkpoint(log.request(5, 9)))


if __name__ == "__main__":
    main(*sys.argv[1:])
