"""The queue's clock does not jump when the wall's does, and comes back to it."""

import random

import pytest

from touchplate.builder.queue.clock import SLEW, STEP_SECONDS, SteadyClock

NOW = 1_700_000_000.0


class Clocks:
    """A wall that is set, and time itself."""

    def __init__(self) -> None:
        self.wall, self.steady = NOW, 100.0
        self.shown = SteadyClock(wall=lambda: self.wall, steady=lambda: self.steady)

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


def test_it_shows_the_walls_time() -> None:
    clocks = Clocks()
    for seconds in (0, 0.5, 60, 86_400):
        clocks.pass_by(seconds)
        assert clocks.shown() == pytest.approx(clocks.wall)


@pytest.mark.parametrize("jump", [-STEP_SECONDS, -3600, -61, 61, 3600, STEP_SECONDS])
def test_a_jump_is_taken_in_slowly_and_whole(jump: float) -> None:
    clocks = Clocks()
    before = clocks.shown()
    clocks.wall += jump
    assert clocks.shown() == pytest.approx(before)
    # A lease that is renewed every 15 seconds is of 60: none ends early, none lasts twice as long.
    for _ in range(4):
        clocks.pass_by(15)
        passed, before = clocks.shown() - before, clocks.shown()
        assert 15 * (1 - SLEW) - 1e-6 <= passed <= 15 * (1 + SLEW) + 1e-6
    for _ in range(int(abs(jump) / SLEW / 60) + 1):
        clocks.pass_by(60)
        clocks.shown()
    assert clocks.shown() == pytest.approx(clocks.wall)


@pytest.mark.parametrize("jump", [-365 * 86_400.0, STEP_SECONDS + 60.0])
def test_a_clock_that_was_plainly_wrong_is_followed_at_once(jump: float) -> None:
    clocks = Clocks()
    clocks.wall += jump
    assert clocks.shown() == pytest.approx(clocks.wall)


def test_it_never_goes_back_for_small_jumps() -> None:
    clocks, chooser = Clocks(), random.Random(7)
    before = clocks.shown()
    for _ in range(500):
        clocks.pass_by(chooser.uniform(0, 20))
        clocks.wall += chooser.uniform(-30, 30)
        if abs(clocks.wall - before) > STEP_SECONDS - 60:
            clocks.wall = before
        shown = clocks.shown()
        assert shown >= before
        before = shown
