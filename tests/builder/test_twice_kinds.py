"""`--twice` for the other kinds of packages and the other backend: Conan packages, images, gVisor."""

from dataclasses import replace

import pytest
from tests.builder.conanparts import LIBRARY, Published, Scene, infer
from tests.builder.imageparts import ImageScene
from tests.builder.rebuildparts import CONTENT, scene, scripted
from tests.builder.sandboxes import require_gvisor

from touchplate.builder.rebuild import fetch_published, rebuild
from touchplate.builder.repeatability.twice import Repeatability


def run_conan(one: Scene, published: Published) -> Repeatability:
    found = infer(one, one.serve(published))
    done = rebuild(one.workshop, found.definition, found.published, twice=True)
    assert done.built is not None, done.failure
    assert done.repeatability is not None
    assert done.repeatability.unfinished == ""
    return done.repeatability


PACKED = ("umask", "user")
"""What every package of Conan's depends on: its archive has modes and owners."""


def test_a_conan_package_depends_on_umask_and_user_by_modes_and_owners_alone(
    here: Scene, published: Published
) -> None:
    found = run_conan(here, published)
    assert found.same
    assert found.changed_by == PACKED
    assert {"build-path", "home"} <= {one.factor for one in found.varied}
    by_umask, by_user = (
        {cause for output in effect.outputs for cause in output.causes} for effect in found.effects
    )
    assert by_umask == {"umask"}
    assert by_user == {"owners"}


def test_a_recipe_that_packages_the_name_of_the_host_is_told_so(here: Scene, published: Published) -> None:
    names = LIBRARY.replace(
        "    def package(self):\n",
        "    def package(self):\n"
        "        import socket\n"
        "        os.makedirs(self.package_folder, exist_ok=True)\n"
        "        with open(os.path.join(self.package_folder, 'where'), 'w') as file:\n"
        "            file.write(socket.gethostname())\n",
    )
    found = run_conan(here, published.edited(conanfile=names))
    assert found.same
    assert found.changed_by == (*PACKED, "hostname")
    (output,) = found.effects[-1].outputs
    assert output.path.endswith("conan_package.tgz")
    assert any("where" in line for line in output.summary)


def with_run(images: ImageScene, command: str) -> dict[str, bytes]:
    text = f"FROM {images.base_name}\nCOPY docs /docs\nRUN {command}\n"
    return {"Containerfile": text.encode(), "docs/a": b"a\n", "docs/b": b"b\n"}


def run_image(images: ImageScene, name: str, command: str) -> Repeatability:
    published = images.publisher.publish(name, with_run(images, command))
    done = images.rebuild(images.define(published), twice=True)
    assert done.built is not None, done.failure
    assert done.repeatability is not None
    assert done.repeatability.unfinished == ""
    return done.repeatability


def test_an_image_is_the_same_however_its_build_is_varied(images: ImageScene) -> None:
    found = run_image(images, "team/steady", "cp /docs/a /docs/c")
    assert found.same
    assert found.changed_by == ()
    assert found.together is None
    assert {"umask", "hostname", "build-path"} <= {one.factor for one in found.varied}
    assert set(found.impossible) >= {"clock", "home", "user", "source-times"}


def test_an_image_that_counts_processors_is_told_so(images: ImageScene) -> None:
    found = run_image(images, "team/counting", "grep Cpus_allowed_list /proc/self/status > /docs/cpus")
    if "cpus" in found.impossible:
        pytest.skip(f"CPUS NOT VARIED: {found.impossible['cpus']}")
    assert found.same
    assert found.changed_by == ("cpus",)
    (output,) = found.effects[0].outputs
    assert any("cpus" in line for line in output.summary), output


def test_under_gvisor_the_guilty_factor_is_named_too() -> None:
    require_gvisor()
    with scene() as one:
        workshop = replace(one.workshop, backend="gvisor")
        names = f"import os\njar({CONTENT!r} if os.umask(0) == 0o022 else b'other')"
        definition = scripted(one, names)
        done = rebuild(workshop, definition, fetch_published(workshop, definition), twice=True)
        assert done.backend == "gvisor"
        assert done.repeatability is not None
        assert done.repeatability.same
        assert done.repeatability.changed_by == ("umask",)
