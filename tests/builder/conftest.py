"""Fixtures of the builder's tests."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.builder.conanparts import Published, need_tools
from tests.builder.conanparts import Scene as ConanScene
from tests.builder.conanparts import scene as conan_scene
from tests.builder.imageparts import ImageScene, open_image_scene
from tests.builder.requireparts import Family, make_family
from tests.builder.sandboxes import Rig, open_rig, open_test_sandbox, require_sandbox

from touchplate.builder.sandbox.bubblewrap import Sandbox


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
def conan_tools() -> Iterator[Path]:
    """A folder in which Conan has been made; skips loudly where it, a compiler or a sandbox cannot be had."""
    require_sandbox()
    with tempfile.TemporaryDirectory(prefix="touchplate-tools-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        need_tools(folder)
        yield folder


@pytest.fixture(scope="session")
def published(conan_tools: Path) -> Published:
    """A small C library as a stock Conan client with another uid publishes it."""
    with conan_scene(conan_tools) as one:
        return one.other_client(uid=4711).publish()


@pytest.fixture
def here(conan_tools: Path) -> Iterator[ConanScene]:
    """A Conan remote, a stock client, and a workshop that reads the remote."""
    with conan_scene(conan_tools) as one:
        yield one


@pytest.fixture(scope="session")
def family(conan_tools: Path) -> Iterator[Family]:
    """Packages that require each other, and the stock client that has built them."""
    with conan_scene(conan_tools) as one:
        yield make_family(one.client)


@pytest.fixture
def stage(here: ConanScene, family: Family) -> ConanScene:
    """As `here`, with the whole family at the remote."""
    here.site.pages.update(family.shelf.pages)
    return here


@pytest.fixture(scope="session")
def images() -> Iterator[ImageScene]:
    """A registry with a base image, and a workshop: shared, since publishing takes most of the time."""
    with open_image_scene() as scene:
        yield scene
