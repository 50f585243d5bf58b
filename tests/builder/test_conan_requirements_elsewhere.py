"""Conan packages with requirements where something is otherwise: another backend, other surroundings, another
host with the lock of the first, a disk that is full. Those that take minutes are run by `make e2e-conan`."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.builder.conanparts import Scene, infer, outputs, upstreams
from tests.builder.requireparts import Family, Shelf, library, sources
from tests.builder.sandboxes import open_folder, require_gvisor
from tests.builder.test_full_disk import NAMESPACE, ROOT, need_namespace

from touchplate.base.progress import QuietProgress
from touchplate.base.upstreams import Upstream
from touchplate.builder.errors import HostLack
from touchplate.builder.inputs.lock import InputLock
from touchplate.builder.rebuild import Rebuild, rebuild
from touchplate.builder.workshop import open_workshop

OF_PACKING = {"umask", "user"}
"""What every package of Conan's depends on: its archive has modes and owners."""

OF_DATA = (1, 12, 18, 22, 26, 30, 34, 38, 42, 46, 50, 55, 60)
OF_WORK = (2, 5, 11, 15)
"""Inodes of a disk that is full in one phase after the other."""


def under(stage: Scene, backend: str) -> Scene:
    if backend == "gvisor":
        require_gvisor()
    return replace(stage, workshop=replace(stage.workshop, backend=backend))


def test_a_package_that_requires_another_comes_out_again_under_gvisor(stage: Scene, family: Family) -> None:
    one = under(stage, "gvisor")
    found = infer(one, family.top)
    assert found.definition.details == infer(stage, family.top).definition.details
    done = rebuild(one.workshop, found.definition, found.published)
    assert (done.result, done.backend) == ("equivalent", "gvisor")
    assert done.built is not None
    assert done.built.result.labels == {"revision": f"{family.top.revision.prev}, as published"}


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["", "gvisor"])
def test_it_depends_on_nothing_around_the_build_but_how_it_is_packed(here: Scene, backend: str) -> None:
    one = under(here, backend)
    shelf = Shelf(here.client)
    # Debug information names folders, also those of requirements.
    debug = ("-s", "build_type=Debug", "-o", "middle/*:shared=True")
    shelf.publish("base", library("base"), sources("base"), *debug)
    needs = library("middle", 'requires = "base/1.0"')
    published = shelf.publish("middle", needs, sources("middle", "base"), *debug)
    here.site.pages.update(shelf.pages)
    found = infer(one, published)
    done = rebuild(one.workshop, found.definition, found.published, twice=True)
    assert done.repeatability is not None, done.failure
    assert done.repeatability.unfinished == ""
    assert done.repeatability.same
    assert set(done.repeatability.changed_by) == OF_PACKING
    assert {"build-path", "home"} <= {each.factor for each in done.repeatability.varied}


def from_lock(stage: Scene, first: Rebuild, name: str, known: Sequence[Upstream]) -> Rebuild:
    """The rebuild on another host, with a data folder of its own, from the lock of the first."""
    assert first.built is not None, first.failure
    lock: InputLock = first.built.lock
    with open_workshop(stage.workshop.data.parent / name, QuietProgress(), upstreams=known) as workshop:
        workshop.tools.symlink_to(stage.workshop.tools)
        return rebuild(workshop, first.definition, first.published, get_lock=lambda *_: lock)


def test_another_host_repeats_it_from_the_lock_and_is_told_how_upstreams_are_called_there(
    stage: Scene, family: Family
) -> None:
    found = infer(stage, family.shared)
    first = rebuild(stage.workshop, found.definition, found.published)
    remote, sources_of = upstreams(stage.site)
    again = from_lock(stage, first, "again", (remote, sources_of))
    assert outputs(again) == outputs(first)
    with pytest.raises(HostLack, match=r"the lock lacks mine/.* it is called 'conancenter' there: --upst"):
        from_lock(stage, first, "renamed", (replace(remote, name="mine"), sources_of))


@pytest.mark.parametrize(
    ("which", "small"),
    [
        # The recipe that Conan is asked about; the requirement laid out for the next question.
        ("data", ("nr_inodes=15",)),
        ("work", ("size=1500k",)),
        # The data folder, a graph, files of the requirement twice, its package, the definition, recipe and
        # and the source to build from, what was looked through; and the workspace of a question.
        pytest.param("data", [f"nr_inodes={one}" for one in OF_DATA], marks=pytest.mark.slow),
        pytest.param("work", [f"nr_inodes={one}" for one in OF_WORK], marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_is_a_lack_of_the_host_in_each_phase(
    conan_tools: Path, which: str, small: Sequence[str]
) -> None:
    need_namespace()
    with open_folder() as folder:
        program = [sys.executable, "-m", "tests.builder.conan_full_disk", which]
        command = [*NAMESPACE, *program, str(conan_tools), str(folder), *small]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        for one in told:
            assert ": HostLack disk-full: " in one["full"], one
            assert f"{folder}/small" in one["full"], one
        assert [one["left"] for one in told] == [[]] * len(small)
        assert {one["room"] for one in told} == {"equivalent"}
