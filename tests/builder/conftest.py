"""Fixtures of the builder's tests."""

from collections.abc import Iterator

import pytest
from tests.builder.sandboxes import Rig, open_rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A sandbox with an upstream; fails the test when anything of a job is left at its end."""
    with open_rig() as opened:
        yield opened
