"""What the crash series share: scenarios that are run, and folders that no two runs have."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.torture.process import Launcher
from tests.torture.results import SIDES, Results


@dataclass(kw_only=True)
class Undisturbed:
    """What a run of a scenario is like that nobody disturbs."""

    passed: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often each point was passed: (point, side)."""
    seconds: float = 0.0


class Series:
    """Runs scenarios, one kill at a time, each in a folder of its own. Several threads may."""

    def __init__(self, folder: Path, launcher: Launcher, results: Results) -> None:
        self._folder = folder
        self._launcher = launcher
        self._results = results
        self._numbers = itertools.count(1)

    def _next_folder(self, kind: str = "") -> Path:
        """Where another run goes; not made."""
        return self._folder / f"{kind}{next(self._numbers):04d}"


def passed_by(hits: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(point, side) of each line of a process's hits."""
    for line in hits:
        side, _, name = line.partition(" ")
        if side in SIDES:
            yield name, side
