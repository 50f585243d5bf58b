"""Which inputs to keep: the shortest ones that together take every step between lines that was ever taken."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.target import Target

import touchplate

OUR_CODE = tuple(str(Path(folder)) for folder in touchplate.__path__)
"""The folders of the code that is looked at; targets and libraries are not."""

Step = tuple[str, int, int]


def smallest(target: Target, inputs: Iterable[bytes]) -> list[bytes]:
    """A part of `inputs` that takes the same steps as all of them, the shortest first."""
    taken: set[Step] = set()
    chosen = []
    for data in sorted(set(inputs), key=lambda one: (len(one), one)):
        steps = steps_of(lambda data=data: target.check(data))  # type: ignore[misc]
        if not steps <= taken:
            taken |= steps
            chosen.append(data)
    return chosen


def steps_of(run: Callable[[], object]) -> set[Step]:
    """(file, line, next line) of everything that `run` executes in our code."""
    steps: set[Step] = set()

    def enter(frame: FrameType, event: str, argument: object) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(OUR_CODE):
            return None
        last = 0

        def line(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal last
            if event == "line":
                steps.add((name, last, frame.f_lineno))
                last = frame.f_lineno
            return line

        return line

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        run()
    finally:
        sys.settrace(before)
    return steps
