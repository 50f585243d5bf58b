"""Conan packages that require others, rebuilt for real: what they require is pinned and locked."""

import json
from dataclasses import replace
from pathlib import Path

from tests.builder.conanparts import Published, Scene, contents, infer, outputs
from tests.builder.requireparts import HEAD, HEADERS, Family, Shelf, library, requirements_of, sources, upload

from touchplate.builder.definitions.definition import parse_definition
from touchplate.builder.definitions.normalise import normalise_definition
from touchplate.builder.definitions.yaml_writer import format_yaml
from touchplate.builder.ecosystems.conan import plan
from touchplate.builder.ecosystems.conan.definition import details_of
from touchplate.builder.ecosystems.conan.reference import revision_of
from touchplate.builder.rebuild import Rebuild, rebuild
from touchplate.verify.purl import parse_purl

HOOK = Path(plan.__file__).with_name("inside") / "hook_touchplate.py"
LATER = 4_000_000_000
"""After every build of these tests, in Unix seconds."""


def run(one: Scene, published: Published) -> Rebuild:
    found = infer(one, published)
    return rebuild(one.workshop, found.definition, found.published)


def pinned(done: Rebuild) -> list[str]:
    """References of what the definition pins: packages, and recipes without one."""
    return [str(one) for one in requirements_of(done.definition)]


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
    assert pinned(done) == [str(base)]
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


def test_a_package_for_tests_of_the_build_is_pinned_too(stage: Scene, family: Family) -> None:
    recipe = library("tested", 'test_requires = "base/1.0"')
    published = family.shelf.publish("tested", recipe, sources("tested", "base"))
    stage.site.pages.update(family.shelf.pages)
    done = run(stage, published)
    same(done, published)
    assert str(family.base.revision) in pinned(done)


def test_a_requirement_that_is_headers_alone_has_an_empty_conaninfo(stage: Scene, family: Family) -> None:
    headers = HEADERS.replace("NAME", "header")
    header = family.shelf.publish("header", headers, {"header.h": "static int header(void) { return 2; }\n"})
    assert header.package["conaninfo.txt"] == b""
    recipe = library("body", 'requires = "header/1.0"').replace("-l{other.ref.name}", "")
    published = family.shelf.publish("body", recipe, sources("body", "header"))
    stage.site.pages.update(family.shelf.pages)
    done = run(stage, published)
    same(done, published)
    assert pinned(done) == [str(header.revision)]


def test_code_of_another_recipe_is_pinned_without_a_package(stage: Scene, family: Family) -> None:
    shared_code = HEAD.replace("NAME", "code") + '    package_type = "python-require"\n'
    code = family.shelf.publish_recipe("code", shared_code)
    uses = library("coded", 'python_requires = "code/1.0"')
    published = family.shelf.publish("coded", uses, sources("coded"))
    stage.site.pages.update(family.shelf.pages)
    done = run(stage, published)
    same(done, published)
    assert pinned(done) == [str(code)]


def test_the_package_that_machine_code_is_from_is_found_among_others(stage: Scene, family: Family) -> None:
    options = ("-o", "base/*:fPIC=False", "-o", "joined/*:shared=True")
    base = family.shelf.publish("base", library("base"), sources("base"), *options)
    needs = library("joined", 'requires = "base/[>=1.0 <2]"')
    published = family.shelf.publish("joined", needs, sources("joined", "base"), *options)
    stage.site.pages.update(family.shelf.pages)
    done = run(stage, published)
    same(done, published)
    assert str(base.revision) in pinned(done)
    assert str(family.base.revision) not in pinned(done)


def test_what_was_uploaded_after_the_build_is_not_what_it_was_made_with(stage: Scene, family: Family) -> None:
    newer = family.base.edited(conanfile=library("base") + "\n# better\n")
    upload(stage.site.pages, newer, time=LATER)
    next_one = replace(newer, revision=replace(newer.revision, version="1.0.1"))
    upload(stage.site.pages, next_one, time=LATER)
    found = infer(stage, family.static)
    assert {str(one) for one in requirements_of(found.definition)} == {str(family.base.revision)}


def test_debug_information_of_a_publisher_with_our_hook_comes_out_again(here: Scene) -> None:
    epoch = {"SOURCE_DATE_EPOCH": "1600000000"}
    shelf = Shelf(here.other_client(variables=epoch, hook=HOOK))
    debug = ("-s", "build_type=Debug")
    shelf.publish("base", library("base"), sources("base"), *debug)
    needs = library("middle", 'requires = "base/1.0"')
    published = shelf.publish("middle", needs, sources("middle", "base"), *debug)
    here.site.pages.update(shelf.pages)
    same(run(here, published), published)


def test_a_tool_that_was_built_as_release_serves_a_debug_build(here: Scene) -> None:
    epoch = {"SOURCE_DATE_EPOCH": "1600000000"}
    shelf = Shelf(here.other_client(variables=epoch, hook=HOOK))
    tool = shelf.publish("base", library("base"), sources("base"))
    uses = library("user", 'tool_requires = "base/1.0"')
    published = shelf.publish("user", uses, sources("user"), "-s", "build_type=Debug")
    here.site.pages.update(shelf.pages)
    done = run(here, published)
    same(done, published)
    assert pinned(done) == [str(tool.revision)]


def test_a_rebuild_from_the_lock_of_another_has_the_same_lock_and_bytes(stage: Scene, family: Family) -> None:
    found = infer(stage, family.static)
    first = rebuild(stage.workshop, found.definition, found.published)
    assert first.built is not None, first.failure
    lock = first.built.lock
    again = rebuild(stage.workshop, found.definition, found.published, get_lock=lambda *_: lock)
    assert again.built is not None, again.failure
    assert again.built.lock.sha256 == lock.sha256
    assert outputs(again) == outputs(first)


def test_people_are_shown_what_is_required(stage: Scene, family: Family) -> None:
    found = infer(stage, family.static)
    assert f"requires {family.base.revision}" in found.notes
    text = format_yaml(normalise_definition(found.definition), found.reasons).decode()
    assert f"# {found.reasons['requirements']}\n" in text
    assert str(family.base.revision.purl("conan_package.tgz")) in text
    assert parse_definition(text.encode()).details == found.definition.details


def test_a_package_without_requirements_has_the_definition_that_it_always_had(
    stage: Scene, family: Family
) -> None:
    mentions = library("base") + "    def build_requirements(self):\n        pass\n"
    plain, asked = family.base, family.base.edited(conanfile=mentions)
    stage.serve(asked)
    values = [json.loads(infer(stage, one).definition.data) for one in (plain, asked)]
    for value in values:
        assert "requirements" not in value
        for name in ("source", "package", "outputs"):
            del value[name]
    assert values[0] == values[1]
