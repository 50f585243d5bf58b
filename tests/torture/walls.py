"""A wall's clock that is wrong, and jumps: what `time.time` answers in a process of the series."""

import time
from pathlib import Path


def set_wall(path: Path, seconds: int) -> None:
    """The clock of whoever reads this file is wrong by so much from now on."""
    aside = path.with_suffix(".new")
    aside.write_text(str(seconds))
    aside.rename(path)


def install(path: Path) -> None:
    """For the rest of this process, which is made for it: `time.time` is as wrong as the file says."""
    real = time.time

    def wall() -> float:
        return real() + int(path.read_text())

    time.time = wall
