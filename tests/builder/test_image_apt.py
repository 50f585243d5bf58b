"""RUNs that use apt: what they fetch is recorded once, and replayed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.builder.aptarchive import architecture
from tests.builder.aptparts import AptScene, open_apt_scene


@pytest.fixture(scope="module")
def scene() -> Iterator[AptScene]:
    with open_apt_scene() as opened:
        yield opened


def test_run_is_given_in_both_phases_what_the_publisher_fetched_directly(scene: AptScene) -> None:
    scene.site.pages["pool/a.deb"] = b"a package\n"
    script = f"busybox wget -q -O /fetched {scene.address}/pool/a.deb && rm -rf /tmp/none"
    published = scene.publish("team/fetched", script.replace("rm", "busybox rm"))
    done = scene.images.rebuild(scene.define(published))
    assert done.result == "identical", (done.failure, done.log[-3000:])
    assert done.built is not None
    assert [(one.upstream, one.path) for one in done.built.lock.inputs if one.upstream == "archive"] == [
        ("archive", "pool/a.deb")
    ]


INSTALL = (
    "apt-get update && apt-get install -y --no-install-recommends greeting && greeting && "
    "rm -rf /var/lib/apt/lists/* /var/log/* /var/cache/*"
)


def test_package_of_a_signed_archive_is_installed_again(scene: AptScene) -> None:
    published = scene.publish("team/greeting", INSTALL, scene.debian)
    done = scene.images.rebuild(scene.define(published, scene.debian))
    assert done.result == "identical", (done.failure, done.log[-3000:])
    assert done.built is not None
    locked = {one.path for one in done.built.lock.inputs if one.upstream == "archive"}
    assert locked == {
        "debian/dists/stable/InRelease",
        f"debian/dists/stable/main/binary-{architecture()}/Packages.xz",
        "debian/pool/main/greeting_1.0_all.deb",
    }
