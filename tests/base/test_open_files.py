"""A server's room for connections is that of its descriptors."""

import resource
from collections.abc import Callable
from multiprocessing import get_context

import pytest

from touchplate.base.open_files import SPARE, room_for


def limited(soft: int, hard: int, connections: int, tell: Callable[[tuple[int, int]], None]) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    tell((room_for(connections), resource.getrlimit(resource.RLIMIT_NOFILE)[0]))


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "room", "then"),
    [
        (700, 2000, 1000, 1000, 1000 + SPARE),  # raised as far as needed
        (700, 1200, 1000, 1200 - SPARE, 1200),  # as far as allowed
        (1800, 2000, 1000, 1000, 1800),  # never lowered
        (100, 100, 1000, 1, 100),
    ],
)
def test_the_limit_is_raised_as_far_as_it_may(
    soft: int, hard: int, connections: int, room: int, then: int
) -> None:
    context = get_context("spawn")  # the hard limit cannot be raised again
    ours, theirs = context.Pipe()
    child = context.Process(target=limited, args=(soft, hard, connections, theirs.send))
    child.start()
    assert ours.recv() == (room, then)
    child.join()
    ours.close()
    theirs.close()
