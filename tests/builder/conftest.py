"""Fixtures of the builder's tests."""

from collections.abc import Iterator

import pytest
from tests.builder.imageparts import ImageScene, open_image_scene
from tests.builder.sandboxes import Rig, open_rig, open_test_sandbox

from touchplate.builder.sandbox import Sandbox


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """One probed sandbox for the whole run; each job in it has a workspace of its own."""
    with open_test_sandbox() as opened:
        yield opened


@pytest.fixture
def rig(sandbox: Sandbox) -> Iterator[Rig]:
    """A sandbox with an upstream; fails the test when anything of a job is left at its end."""
    with open_rig(sandbox) as opened:
        yield opened


@pytest.fixture(scope="session")
def images() -> Iterator[ImageScene]:
    """A registry with a base image, and a workshop: shared, since publishing takes most of the time."""
    with open_image_scene() as scene:
        yield scene
