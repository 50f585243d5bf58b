"""RUNs that use apt: what they fetch is recorded once, and replayed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.builder.aptarchive import SETTINGS, architecture
from tests.builder.aptparts import ARCHIVE, DebianScene, open_apt_scene
from tests.builder.sandboxes import open_folder

from touchplate.builder.definitions.definition import parse_definition
from touchplate.builder.errors import DefinitionError, HostLack
from touchplate.builder.inputs.lock import InputLock
from touchplate.builder.rebuild import Rebuild, fetch_published, rebuild
from touchplate.verify.cli import main

INSTALL = (
    "apt-get update && apt-get install -y --no-install-recommends greeting && greeting && "
    "rm -rf /var/lib/apt/lists/* /var/log/* /var/cache/*"
)


@pytest.fixture(scope="module")
def scene() -> Iterator[DebianScene]:
    with open_apt_scene() as opened:
        yield opened


@pytest.fixture(autouse=True)
def _same_archive(scene: DebianScene) -> Iterator[None]:
    pages = dict(scene.site.pages)
    yield
    scene.site.pages.clear()
    scene.site.pages.update(pages)


def lock_of(done: Rebuild) -> InputLock:
    assert done.built is not None, (done.failure, done.log[-3000:])
    return done.built.lock


def locked(done: Rebuild) -> set[str]:
    return {one.path for one in lock_of(done).inputs if one.upstream == ARCHIVE}


def without(lock: InputLock, end: str) -> InputLock:
    left = tuple(one for one in lock.inputs if not one.path.endswith(end))
    assert len(left) == len(lock.inputs) - 1
    return replace(lock, inputs=left)


def test_run_is_given_in_both_phases_what_the_publisher_fetched_directly(scene: DebianScene) -> None:
    scene.site.pages["pool/a.deb"] = b"a package\n"
    published = scene.publish("team/fetched", f"busybox wget -q -O /fetched {scene.address}/pool/a.deb")
    done = scene.images.rebuild(scene.define(published))
    assert done.result == "identical", (done.failure, done.log[-3000:])
    assert locked(done) == {"pool/a.deb"}


def test_package_of_a_signed_archive_is_installed_again_and_then_from_the_lock_alone(
    scene: DebianScene,
) -> None:
    published = scene.publish("team/greeting", INSTALL, scene.debian)
    definition = scene.define(published, scene.debian)
    done = scene.images.rebuild(definition)
    assert done.result == "identical", (done.failure, done.log[-3000:])
    assert locked(done) == {
        "debian/dists/stable/InRelease",
        f"debian/dists/stable/main/binary-{architecture()}/Packages.xz",
        "debian/pool/main/greeting_1.0_all.deb",
    }
    scene.site.pages.clear()
    scene.site.asked.clear()
    again = scene.rebuild_from(definition, lock_of(done))
    assert again.result == "identical"
    assert scene.site.asked == []
    lacking = scene.rebuild_from(definition, without(lock_of(done), ".deb"))
    assert lacking.failure is not None
    assert (lacking.failure.phase, lacking.failure.reason) == ("build", "exit-status")
    assert "Not given: archive/debian/pool/main/greeting_1.0_all.deb (not in" in lacking.failure.detail
    unsigned = scene.rebuild_from(definition, without(lock_of(done), "InRelease"))
    assert unsigned.failure is not None
    assert unsigned.failure.phase == "build"


def test_archive_whose_release_has_expired_since_gives_the_same_image(
    scene: DebianScene, tmp_path: Path
) -> None:
    """The publisher's apt is told so by a file over one that its base has, which leaves no trace."""
    scene.archive.release(valid_for=timedelta(hours=-1), by_hash=True)
    settings = tmp_path / "settings"
    settings.write_text('Acquire::Check-Valid-Until "false";\n')
    with pytest.raises(AssertionError, match="status 100"):  # the control: nobody else gets it any more
        scene.publish("team/expired", INSTALL, scene.debian)
    published = scene.publish("team/expired", INSTALL, scene.debian, "--volume", f"{settings}:/{SETTINGS}:ro")
    done = scene.images.rebuild(scene.define(published, scene.debian))
    assert done.result == "identical", (done.failure, done.log[-3000:])
    assert any("/by-hash/SHA256/" in path for path in locked(done))


def test_what_apt_only_tries_may_be_absent_in_both_phases(scene: DebianScene) -> None:
    script = f"busybox wget -q {scene.address}/debian/dists/stable/Release.gpg || echo absent"
    done = scene.runs(script)
    assert locked(done) == set()
    assert done.built is not None
    assert b"\nabsent" in done.built.result.log


def test_file_outside_the_lock_ends_a_build_that_goes_on_without_it(scene: DebianScene) -> None:
    scene.site.pages["pool/b.deb"] = b"another package\n"
    script = f"busybox wget -q -O /b {scene.address}/pool/b.deb || echo none"
    definition = scene.definition_of(script)
    lock = lock_of(scene.images.rebuild(definition))
    done = scene.rebuild_from(definition, without(lock, "b.deb"))
    assert done.failure is not None
    assert done.failure.detail == "exit code 123; Not given: archive/pool/b.deb (not in the input lock)"
    assert scene.rebuild_from(definition, lock).built is not None  # the control


def test_lock_of_another_host_is_fetched_by_its_digests(scene: DebianScene) -> None:
    scene.site.pages["pool/c.deb"] = b"a third package\n"
    definition = scene.definition_of(f"busybox wget -q -O /c {scene.address}/pool/c.deb")
    lock = lock_of(scene.images.rebuild(definition))
    (entry,) = (one for one in lock.inputs if one.upstream == ARCHIVE)
    scene.images.workshop.cache.inputs.remove(entry.sha256)
    assert scene.rebuild_from(definition, lock).built is not None
    scene.images.workshop.cache.inputs.remove(entry.sha256)
    scene.site.pages["pool/c.deb"] = b"another version\n"
    with pytest.raises(HostLack, match=r"cannot fetch archive/pool/c\.deb with sha256") as caught:
        scene.rebuild_from(definition, lock)
    assert caught.value.reason == "upstream-failed"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "busybox wget -q http://pypi.example.org/simple/x",
            r"'http://pypi\.example\.org/simple/x' is in no archive that the definition names\. When apt "
            r"asks for it, add 'pypi\.example\.org' and its folder to image\.apt, and put any other file",
        ),
        (
            r"printf 'CONNECT crates.example.org:443 HTTP/1.1\r\n\r\n' | busybox nc 127.0.0.1 3128; false",
            r"https to 'crates\.example\.org:443' is encrypted, and cannot be recorded: for apt write http://",
        ),
    ],
)
def test_any_other_fetch_is_refused_with_host_and_remedy(scene: DebianScene, script: str, said: str) -> None:
    done = scene.runs(script)
    assert done.failure is not None
    assert (done.failure.phase, done.failure.reason) == ("fetch", "exit-status")
    assert re.search(said, done.failure.detail), done.failure.detail


def test_variables_of_a_run_leave_those_of_the_image(scene: DebianScene) -> None:
    script = "http_proxy=mine; busybox env | busybox grep -E 'proxy|APT' | busybox sort; busybox ls /dev"
    done = scene.runs(script)
    assert done.built is not None
    lines = done.built.result.log.decode().splitlines()
    for each in (
        "APT_CONFIG=/dev/touchplate-apt.conf",
        "http_proxy=mine",
        "https_proxy=http://127.0.0.1:3128",
        "touchplate-apt.conf",
    ):
        assert each in lines


def test_archive_without_an_upstream_is_a_lack_of_this_host(scene: DebianScene) -> None:
    definition = scene.definition_of("true", apt={"archive.example.org/debian": "other"})
    with pytest.raises(HostLack, match=r"no apt upstream 'other' .* --upstream other=URL,ecosystem=apt"):
        rebuild(scene.images.workshop, definition, fetch_published(scene.images.workshop, definition))


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ({"http://a.example/debian": "a"}, "HOST/FOLDER"),
        ({"a.example/debian/": "a"}, "HOST/FOLDER"),
        ({"a.example/../b": "a"}, "one spelling"),
        ({"a.example:80/b": "a"}, "one spelling"),
        ({"a.example/b": "A b"}, "to names of upstreams"),
    ],
)
def test_places_of_archives_have_one_spelling(scene: DebianScene, places: dict[str, str], said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        scene.definition_of("true", apt=dict(places))


def test_name_of_an_archive_may_not_be_that_of_a_registry(scene: DebianScene) -> None:
    data = scene.definition_of("true", apt={"a.example/debian": "hub"}).data
    with pytest.raises(DefinitionError, match="'hub' has the name of a base image's registry"):
        parse_definition(
            data.replace(b"upstream:registry.example.org/team/base/", b"upstream:hub/team/base/")
        )


def test_mirror_that_changes_between_index_and_package_says_nothing_about_the_image(
    scene: DebianScene,
) -> None:
    path = "debian/pool/main/greeting_1.0_all.deb"
    scene.site.pages[path] = scene.site.pages[path][:-1] + b"?"
    with pytest.raises(HostLack, match="changed while it was read, or is damaged: debian/pool/main/greeting"):
        scene.images.rebuild(scene.definition_of(INSTALL, base=scene.debian))


def test_installed_package_is_the_same_when_the_build_is_repeated_and_varied(
    scene: DebianScene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published = scene.publish("team/again", INSTALL, scene.debian)
    definition = tmp_path / "app.json"
    definition.write_bytes(scene.define(published, scene.debian).data)
    registry = f"hub={scene.images.registry.url},identity=registry.example.org,ecosystem=oci"
    upstreams = ["--upstream", registry, "--upstream", f"{ARCHIVE}={scene.address},ecosystem=apt"]
    command = ["rebuild", "--definition", str(definition), *upstreams, "--twice", "--json"]
    with open_folder() as folder:
        assert main([*command, "--data", str(folder / "data")]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["result"] == "identical"
    assert (value["repeatability"]["builds"], value["repeatability"]["same"]) == (3, True)


def test_what_apt_leaves_behind_is_named_as_the_cause(scene: DebianScene) -> None:
    script = INSTALL.partition(" && rm ")[0]
    published = scene.publish("team/unclean", script, scene.debian)
    done = scene.images.rebuild(scene.define(published, scene.debian))
    assert done.built is not None, (done.failure, done.log[-3000:])
    found = done.built.verdicts[0].comparison
    assert set(found.causes) == {"logs", "caches", "content"}
    # What a package calls a log of its own is one that nobody knows: a file in that folder proves nothing.
    assert any("var/log/made: " in one and "a log" not in one for one in found.summary)
    assert any(
        "apt/history.log: a log, with the times of the build; remove it" in one for one in found.summary
    )


def test_command_line_names_the_archive(
    scene: DebianScene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.site.pages["pool/d.deb"] = b"a fourth package\n"
    published = scene.publish("team/by-hand", f"busybox wget -q -O /d {scene.address}/pool/d.deb")
    definition = tmp_path / "app.json"
    definition.write_bytes(scene.define(published).data)
    registry = f"hub={scene.images.registry.url},identity=registry.example.org,ecosystem=oci"
    command = ["rebuild", "--definition", str(definition), "--upstream", registry, "--json"]
    with open_folder() as folder:
        command += ["--data", str(folder / "data")]
        assert main([*command, "--upstream", f"{ARCHIVE}={scene.address},ecosystem=apt"]) == 0
        assert json.loads(capsys.readouterr().out)["result"] == "identical"
        assert main(command) == 2
        assert "no apt upstream 'archive' is configured here" in capsys.readouterr().err
