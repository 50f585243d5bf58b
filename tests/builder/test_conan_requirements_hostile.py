"""Requirements that lie, loop, explode, break out, or are the answer."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.builder.conanparts import Published, Scene, contents, infer, tgz
from tests.builder.requireparts import Family, library, upload
from tests.builder.test_conan_pins import pins as pins_of

from touchplate.builder.definitions.definition import Definition, make_definition
from touchplate.builder.ecosystems.conan import archive, deadline, graph_plan
from touchplate.builder.ecosystems.conan.conaninfo import package_id_of
from touchplate.builder.ecosystems.conan.definition import details_of, format_pin
from touchplate.builder.ecosystems.conan.reference import CONANINFO, MANIFEST, PACKAGE
from touchplate.builder.ecosystems.conan.requirements import group_requirements
from touchplate.builder.ecosystems.conan.revisions import package_revision
from touchplate.builder.errors import DefinitionError, HostLack
from touchplate.builder.inputs.repository import RemoteFile
from touchplate.builder.rebuild import Rebuild, rebuild

HERE_CODE = 1_500_000_000
"""When a recipe was uploaded that everybody who built later has used, in Unix seconds."""


def value_of(definition: Definition) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(definition.data)
    return value


def only_base(one: Scene, base: Published) -> None:
    """Have the remote offer this one in place of any other `base/1.0`."""
    path = base.revision.recipe_path
    for page in [page for page in one.site.pages if page.startswith(path)]:
        del one.site.pages[page]
    upload(one.site.pages, base, time=HERE_CODE)


def with_recipe(family: Family, conanfile: str) -> Published:
    """`base/1.0` as published, under another recipe."""
    return family.base.edited(conanfile=conanfile)


def with_files(family: Family, members: Mapping[str, bytes | str], *, honest: bool = True) -> Published:
    """`base/1.0` with another archive; its revision is that of its files, unless it lies."""
    package = {**family.base.package, PACKAGE: tgz(members)}
    prev = family.base.revision.prev
    if honest:
        prev = package_revision({name: package[name] for name in (PACKAGE, CONANINFO)})
    return replace(family.base, revision=replace(family.base.revision, prev=prev), package=package)


def run(one: Scene, published: Published) -> Rebuild:
    found = infer(one, published)
    return rebuild(one.workshop, found.definition, found.published)


def test_a_loop_of_requirements_is_refused_and_named(stage: Scene, family: Family) -> None:
    only_base(stage, with_recipe(family, library("base", 'requires = "middle/1.0"')))
    with pytest.raises(DefinitionError, match=r"requirements cannot be told: .*(?s:loop|Loop)"):
        infer(stage, family.static)


def pinned_by_hand(one: Scene, family: Family, base: Published) -> tuple[Definition, tuple[RemoteFile, ...]]:
    """The definition of a package whose author pins another `base/1.0`, and what is published."""
    found = infer(one, family.static)
    upload(one.site.pages, base, time=HERE_CODE)
    files = {name: data for name, data in base.recipe.items() if name != MANIFEST}
    pins = pins_of(replace(base, recipe=files)).files
    value = {**value_of(found.definition), "requirements": [format_pin(file) for file in pins]}
    return make_definition(value), found.published


OLD = library("base").replace('version = "1.0"', 'version = "0.9"')
"""A recipe whose files say that it is another version than the one that it is served as."""


@pytest.mark.parametrize(("recipe", "says"), [(library("other"), "other/1.0"), (OLD, "base/0.9")])
def test_a_recipe_of_another_name_or_version_under_this_one_is_refused(
    stage: Scene, family: Family, recipe: str, says: str
) -> None:
    only_base(stage, with_recipe(family, recipe))
    said = f"cannot be told: the recipe of base/1.0 says that it is {says}; its remote serves another"
    with pytest.raises(DefinitionError, match=said):
        infer(stage, family.static)


def test_nothing_is_said_about_a_package_whose_definition_pins_a_recipe_of_another_version(
    stage: Scene, family: Family
) -> None:
    definition, published = pinned_by_hand(stage, family, with_recipe(family, OLD))
    said = "of its requirements, the recipe of base/1.0 says that it is base/0.9; pin the one that is meant"
    with pytest.raises(HostLack, match=said):
        rebuild(stage.workshop, definition, published)


def with_info(family: Family, info: bytes) -> Published:
    """`base/1.0` built for something else."""
    package = {**family.base.package, CONANINFO: info}
    prev = package_revision({name: package[name] for name in (PACKAGE, CONANINFO)})
    revision = family.base.revision.package_of(package_id_of(info), prev)
    return replace(family.base, revision=revision, package=package)


def test_a_pinned_package_to_whose_id_no_profile_leads_is_named_beside_the_one_that_is_wanted(
    stage: Scene, family: Family
) -> None:
    base = family.base
    other = with_info(family, base.package[CONANINFO] + b"[conf]\ntools.build:cflags=['-O3']\n")
    definition, published = pinned_by_hand(stage, family, other)
    wanted, pinned = base.revision.package_id, other.revision.package_id
    said = f"base/1.0 with the package id {wanted}, and its definition pins the package {pinned}, .*instead"
    with pytest.raises(HostLack, match=said):
        rebuild(stage.workshop, definition, published)


def test_a_pinned_package_with_an_option_that_its_recipe_does_not_take_is_named(
    stage: Scene, family: Family
) -> None:
    info = family.base.package[CONANINFO].replace(b"[options]\n", b"[options]\nextra=1\n")
    other = with_info(family, info)
    definition, published = pinned_by_hand(stage, family, other)
    pinned = f"base/1.0:{other.revision.package_id}"
    with pytest.raises(
        HostLack, match=f"option 'extra' doesn't exist: {CONANINFO} of a requirement .* {pinned}"
    ):
        rebuild(stage.workshop, definition, published)


def test_python_requires_that_go_round_in_a_circle_are_refused(stage: Scene, family: Family) -> None:
    code = replace(family.base, revision=replace(family.base.revision, name="code"))
    recipe = library("code", 'python_requires = "base/1.0"')
    upload(stage.site.pages, code.edited(conanfile=recipe), time=HERE_CODE)
    only_base(stage, with_recipe(family, library("base", 'python_requires = "code/1.0"')))
    with pytest.raises(DefinitionError, match=r"base/1\.0.*do python_requires go round in a circle\?"):
        infer(stage, family.static)


def test_files_that_are_not_those_of_the_package_revision_are_refused(stage: Scene, family: Family) -> None:
    lying = with_files(family, {"lib/libbase.a": b"!<arch>\nanother"}, honest=False)
    only_base(stage, lying)
    with pytest.raises(DefinitionError, match=f"{lying.revision.prev} is asked for"):
        infer(stage, family.static)


def test_files_that_are_not_those_of_the_recipe_revision_are_refused(stage: Scene, family: Family) -> None:
    only_base(stage, family.base)
    stage.site.pages[family.base.revision.recipe.path("conanfile.py")] = library("base", "# other").encode()
    with pytest.raises(DefinitionError, match=f"{family.base.revision.rrev} is asked for"):
        infer(stage, family.static)


@pytest.mark.parametrize("name", ["../../../../tmp/out", "/tmp/out", "lib/../../out"])
def test_an_archive_that_leads_out_is_refused(stage: Scene, family: Family, name: str) -> None:
    only_base(stage, with_files(family, {name: b"x"}, honest=False))
    with pytest.raises(DefinitionError, match="no plain path inside the archive"):
        infer(stage, family.static)


def test_an_archive_that_explodes_is_refused(
    stage: Scene, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_base(stage, with_files(family, {"lib/zeros": bytes(4 << 20)}))
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 1 << 20)
    with pytest.raises(DefinitionError, match=r"base/1\.0.* more than"):
        infer(stage, family.static)


def test_other_bytes_than_the_pinned_ones_are_refused(stage: Scene, family: Family) -> None:
    definition = infer(stage, family.static).definition
    for number in range(len(details_of(definition).requirements)):
        value = value_of(definition)
        value["requirements"][number]["sha256"] = "0" * 64
        said = (
            f"has sha256 .* {'0' * 64} is asked for; it is pinned as a requirement: its upstream has to serve"
        )
        with pytest.raises(DefinitionError, match=said):
            rebuild(stage.workshop, make_definition(value), infer(stage, family.static).published)


def test_another_size_than_the_pinned_one_is_refused(stage: Scene, family: Family) -> None:
    found = infer(stage, family.static)
    value = value_of(found.definition)
    value["requirements"][0]["size"] += 1
    with pytest.raises(DefinitionError, match="bytes, and the definition says"):
        rebuild(stage.workshop, make_definition(value), found.published)


def test_a_requirement_that_is_not_pinned_is_named_and_nothing_is_said_about_the_package(
    stage: Scene, family: Family
) -> None:
    found = infer(stage, family.top)
    value = value_of(found.definition)
    value["requirements"] = [one for one in value["requirements"] if "/base@" not in one["uri"]]
    with pytest.raises(HostLack, match=r"requires base/\[>=1.0 <2\], which its definition does not pin"):
        rebuild(stage.workshop, make_definition(value), found.published)


def test_a_package_that_is_not_pinned_beside_its_recipe_is_named(stage: Scene, family: Family) -> None:
    found = infer(stage, family.static)
    value = value_of(found.definition)
    value["requirements"] = [one for one in value["requirements"] if "package_id=" not in one["uri"]]
    base = f"base/1.0:{family.base.revision.package_id}"
    with pytest.raises(HostLack, match=f"requires {base}, which its definition does not pin"):
        rebuild(stage.workshop, make_definition(value), found.published)


def test_code_of_another_recipe_that_is_not_pinned_is_named(stage: Scene, family: Family) -> None:
    edited = family.base.edited(conanfile=library("base", 'python_requires = "code/1.0"'))
    value = value_of(infer(stage, family.base).definition)
    for field, pins in (("source", "files"), ("outputs", "")):
        for one in value[field][pins] if pins else value[field]:
            name = "uri" if pins else "package"
            one[name] = one[name].replace(family.base.revision.rrev, edited.revision.rrev)
    conanfile = next(one for one in value["source"]["files"] if "file=conanfile.py" in one["uri"])
    data = edited.recipe["conanfile.py"]
    conanfile |= {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    value["package"] = str(edited.purl)
    definition = make_definition(value)
    published = infer(stage, family.base).published
    stage.serve(edited)
    with pytest.raises(HostLack, match=r"requires code/1\.0, which its definition does not pin"):
        rebuild(stage.workshop, definition, published)


def test_packages_of_requirements_are_not_unpacked_to_ask_what_is_required(
    stage: Scene, family: Family
) -> None:
    looks = """
    def package_id(self):
        import os, pathlib
        if any(pathlib.Path(os.environ["CONAN_HOME"]).rglob("libbase.a")):
            raise Exception("unpacked")
"""
    only_base(stage, with_recipe(family, library("base") + looks))
    (base,) = group_requirements(None, details_of(infer(stage, family.static).definition).requirements)
    assert base.package is not None


def test_a_requirement_whose_package_is_gone_is_named(stage: Scene, family: Family) -> None:
    only_base(stage, family.base)
    revision = family.base.revision
    path = f"{revision.recipe_path}/revisions/{revision.rrev}/packages/{revision.package_id}"
    del stage.site.pages[f"{path}/revisions"]
    with pytest.raises(DefinitionError, match=f"no package of it with the package id {revision.package_id}"):
        infer(stage, family.static)


def test_a_recipe_that_makes_another_package_id_is_refused_with_what_differs(
    stage: Scene, family: Family
) -> None:
    plain = library("middle", 'requires = "base/[>=1.0 <2]"')
    options = plain.replace('    options = {"shared"', '    options = {"extra": ["1", "2"], "shared"')
    more = options.replace('default_options = {"shared"', 'default_options = {"extra": "2", "shared"')
    edited = stage.serve(family.static.edited(conanfile=more))
    with pytest.raises(DefinitionError, match=f"{edited.revision.package_id} is asked for: here 'extra=2'"):
        infer(stage, edited)


def test_another_version_than_the_published_one_is_named(stage: Scene, family: Family) -> None:
    fixed = library("middle", 'requires = "base/2.0"')
    newer = with_recipe(family, library("base").replace('version = "1.0"', 'version = "2.0"'))
    newer = replace(newer, revision=replace(newer.revision, version="2.0"))
    upload(stage.site.pages, newer, time=HERE_CODE)
    edited = stage.serve(family.static.edited(conanfile=fixed))
    with pytest.raises(DefinitionError, match=r"published 'base/1\.0\.Z'; here 'base/2\.0\.Z'"):
        infer(stage, edited)


def test_recipes_of_requirements_run_inside_only(stage: Scene, family: Family, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    mark = tmp_path / "was-here"
    code = [
        "import socket",
        "said = []",
        f"for what in (lambda: open({str(mark)!r}, 'w'), lambda: open('/etc/shadow'),",
        f"             lambda: socket.create_connection(('127.0.0.1', {_port(stage)}), 5)):",
        "    try:",
        "        what()",
        "        said.append('done')",
        "    except OSError:",
        "        said.append('refused')",
        "raise Exception('tried: ' + ' '.join(said))",
    ]
    only_base(stage, with_recipe(family, "\n".join(code)))
    with pytest.raises(DefinitionError, match="tried: refused refused refused"):
        infer(stage, family.static)
    assert not mark.exists()


def _port(one: Scene) -> int:
    return int(one.site.url.split(":")[2].split("/")[0])


def test_a_recipe_of_a_requirement_without_end_is_stopped(
    stage: Scene, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_plan, "LIMITS", replace(graph_plan.LIMITS, wall_seconds=8.0))
    only_base(stage, with_recipe(family, "import time\nwhile True: time.sleep(1)\n" + library("base")))
    said = "requirements cannot be told: not done after 8 seconds; write the definition by hand"
    with pytest.raises(DefinitionError, match=said):
        infer(stage, family.static)


def test_a_recipe_without_end_does_not_outlast_what_all_questions_may_take(
    stage: Scene, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "MAX_SECONDS", 12.0)
    only_base(stage, with_recipe(family, "import time\nwhile True: time.sleep(1)\n" + library("base")))
    with pytest.raises(DefinitionError, match=f"not all known after 12 seconds.*{family.base.revision.name}"):
        infer(stage, family.static)


def test_what_stands_in_a_requirement_may_not_be_the_answer(stage: Scene, family: Family) -> None:
    answer = contents(family.static.package[PACKAGE])["lib/libmiddle.a"]
    honest = contents(family.base.package[PACKAGE])
    only_base(stage, with_files(family, {**honest, "lib/libmiddle.a": answer}))
    done = run(stage, family.static)
    assert done.failure is not None
    assert (done.failure.phase, done.failure.reason) == ("fetch", "refused-input")
    assert "lib/libmiddle.a" in done.failure.detail
    assert "base/1.0" in done.failure.detail


def test_a_requirement_with_the_same_conaninfo_is_no_answer(stage: Scene, family: Family) -> None:
    plain = library("plain", 'tool_requires = "base/1.0"')
    shelf = family.shelf
    published = shelf.publish("plain", plain, {"plain.c": "int plain;\n", "plain.h": ""})
    stage.site.pages.update(shelf.pages)
    assert published.package[CONANINFO] == family.base.package[CONANINFO]
    assert run(stage, published).result == "equivalent"


def test_a_remote_that_answers_something_else_is_a_lack(stage: Scene, family: Family) -> None:
    path = f"{family.base.revision.recipe_path}/revisions"
    lists = (b'{"revisions": 1}', b'{"revisions": [1]}', b'{"revisions": [{"revision": "a"}]}')
    for answer in (b"no", b"[]", *lists):
        stage.site.pages[path] = answer
        with pytest.raises(HostLack, match="does not answer as a Conan remote"):
            infer(stage, family.static)


def test_nothing_is_left_of_what_was_refused(stage: Scene, family: Family) -> None:
    only_base(stage, with_recipe(family, "raise Exception('no')\n"))
    with pytest.raises(DefinitionError, match="cannot be told"):
        infer(stage, family.static)
    assert list(stage.workshop.data.glob("tree-*")) == []
