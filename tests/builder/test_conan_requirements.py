"""Conan packages that require others, rebuilt for real: what they require is pinned and locked."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.builder.conanparts import Published, Scene, contents, infer, outputs, scene
from tests.builder.requireparts import LIBRARY, TOOL, Shelf, library, sources

from touchplate.builder.ecosystems.conan.definition import details_of
from touchplate.builder.ecosystems.conan.reference import revision_of
from touchplate.builder.rebuild import Rebuild, rebuild
from touchplate.verify.purl import parse_purl


@dataclass(frozen=True)
class Family:
    """Packages that one publisher has built of each other, and the remote's pages with all of them."""

    base: Published
    static: Published
    shared: Published
    top: Published
    tool: Published
    made: Published
    pages: dict[str, object]


@pytest.fixture(scope="session")
def family(conan_tools: Path) -> Iterator[Family]:
    with scene(conan_tools) as one:
        shelf = Shelf(one.client)
        base = shelf.publish("base", library("base"), sources("base"))
        needs = library("middle", 'requires = "base/[>=1.0 <2]"')
        static = shelf.publish("middle", needs, sources("middle", "base"))
        shared = shelf.publish("middle", needs, sources("middle", "base"), "-o", "middle/*:shared=True")
        top = shelf.publish(
            "top",
            library("top", 'requires = "middle/1.0"'),
            sources("top", "middle"),
            "-o",
            "top/*:shared=True",
        )
        tool = shelf.publish("writer", library("writer", head=TOOL), {})
        uses = LIBRARY.replace("flags = ", 'self.run(f"writer > made.c")\n        flags = ', 1).replace(
            "{self.source_folder}/{self.name}.c", "made.c"
        )
        made = shelf.publish(
            "made", library("made", 'tool_requires = "writer/1.0"', head=uses), sources("made")
        )
        yield Family(base, static, shared, top, tool, made, shelf.pages)


@pytest.fixture
def stage(here: Scene, family: Family) -> Scene:
    """A remote with the whole family."""
    here.site.pages.update(family.pages)
    return here


def run(one: Scene, published: Published) -> Rebuild:
    found = infer(one, published)
    return rebuild(one.workshop, found.definition, found.published)


def pinned(done: Rebuild) -> list[str]:
    """References of what the definition pins."""
    files = details_of(done.definition).requirements
    return sorted({str(revision_of(parse_purl(file.uri))) for file in files})


def same(done: Rebuild, published: Published) -> None:
    assert done.built is not None, (done.failure, done.log[-3000:].decode())
    assert done.result == "equivalent"
    assert done.built.result.labels == {"revision": f"{published.revision.prev}, as published"}
    ours, theirs = outputs(done)["conan_package.tgz"], published.package["conan_package.tgz"]
    assert contents(ours) == contents(theirs)


def test_a_package_that_requires_another_comes_out_again(stage: Scene, family: Family) -> None:
    done = run(stage, family.static)
    same(done, family.static)
    base = family.base.revision
    assert pinned(done) == sorted([str(base.recipe), str(base)])
    assert done.built is not None
    named = {one.path: one.sha256 for one in done.built.lock.inputs}
    assert named == {
        revision_of(parse_purl(one.uri)).path(parse_purl(one.uri).file_name): one.sha256
        for one in details_of(done.definition).requirements
    }


def test_a_shared_library_with_machine_code_of_another_in_it_comes_out_again(
    stage: Scene, family: Family
) -> None:
    done = run(stage, family.shared)
    same(done, family.shared)
    assert str(family.base.revision) in pinned(done)


def test_requirements_of_requirements_are_pinned_too(stage: Scene, family: Family) -> None:
    done = run(stage, family.top)
    same(done, family.top)
    found = pinned(done)
    assert str(family.base.revision) in found
    assert str(family.static.revision) in found


def test_a_tool_that_is_required_is_run_in_the_build(stage: Scene, family: Family) -> None:
    done = run(stage, family.made)
    same(done, family.made)
    assert str(family.tool.revision) in pinned(done)
