"""Conan packages rebuilt for real: a stock client publishes, the sandbox builds, the same bytes come out."""

import io
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.builder.conanparts import Published, Scene, need_tools, scene
from tests.builder.sandboxes import require_sandbox

from touchplate.builder.ecosystem import Inference
from touchplate.builder.ecosystems.conan.definition import EPOCH
from touchplate.builder.ecosystems.conan.ecosystem import make_ecosystem
from touchplate.builder.rebuild import Rebuild, rebuild


@pytest.fixture(scope="module")
def tools() -> Iterator[Path]:
    require_sandbox()
    with tempfile.TemporaryDirectory(prefix="touchplate-tools-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        need_tools(folder)
        yield folder


@pytest.fixture
def here(tools: Path) -> Iterator[Scene]:
    with scene(tools) as one:
        yield one


def infer(one: Scene, published: Published) -> Inference:
    return make_ecosystem().infer(one.workshop, published.purl, {})


def run(one: Scene, published: Published) -> Rebuild:
    found = infer(one, one.serve(published))
    return rebuild(one.workshop, found.definition, found.published)


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive}


def outputs(done: Rebuild) -> dict[str, bytes]:
    assert done.built is not None, done.failure
    return {path.rpartition("/")[2]: one.path.read_bytes() for path, one in done.built.result.outputs.items()}


def test_a_package_of_a_stock_client_comes_out_again(here: Scene) -> None:
    published = here.client.publish()
    done = run(here, published)
    made = outputs(done)
    assert made["conaninfo.txt"] == published.package["conaninfo.txt"]
    ours, theirs = (members(data["conan_package.tgz"]) for data in (made, published.package))
    assert list(ours) == list(theirs)
    assert {name: one.mode for name, one in ours.items()} == {name: one.mode for name, one in theirs.items()}
    times = {one.mtime for one in ours.values()}
    assert times == {int(done.definition.environment[EPOCH])}
