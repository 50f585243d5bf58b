"""RUNs that turn against what apt is given, and archives that turn against the rebuilder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.builder.aptparts import ARCHIVE, SiteScene, open_plain_scene

from touchplate.builder.errors import HostLack
from touchplate.builder.inputs.replay import CLIENTS
from touchplate.builder.plan import MIB
from touchplate.builder.rebuild import Rebuild

WALL = {"wall_seconds": 120}
ASK = (
    r"""ask() { printf "%s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n$2\r\n" "$1" """
    """| busybox nc 127.0.0.1 3128 | busybox head -n 1 | busybox tr -d '\\r' """
    """| busybox sed "s|^|$1 -> |"; }; """
)


@pytest.fixture(scope="module")
def scene() -> Iterator[SiteScene]:
    with open_plain_scene() as opened:
        yield opened


@pytest.fixture(autouse=True)
def _one_package(scene: SiteScene) -> None:
    scene.site.asked.clear()
    scene.site.pages.clear()
    scene.site.pages["pool/a.deb"] = b"a package\n"


def said(done: Rebuild) -> list[str]:
    assert done.built is not None, (done.failure, done.log[-2000:])
    return done.built.result.log.decode(errors="replace").splitlines()


def test_whatever_a_run_asks_the_proxy_for_only_the_archives_answer(scene: SiteScene) -> None:
    place = scene.address.removeprefix("http://")
    registry = scene.images.registry.host
    scene.images.registry.asked.clear()
    asked = {
        f"GET http://{place}/pool/a.deb": 200,  # the control
        f"GET HTTP://{place}/./pool/%61.deb": 200,
        f"POST http://{place}/pool/a.deb": 405,
        f"DELETE http://{place}/pool/a.deb": 405,
        f"CONNECT {place.partition('/')[0]}": 403,
        "GET http://169.254.169.254/latest/meta-data/": 403,
        "GET http://localhost/x": 403,
        f"GET http://{registry}/v2/team/base/manifests/1": 403,
        "GET http://10.0.0.1/root/x": 403,
        f"GET http://{place}/../secret": 400,
        f"GET http://{place}/%2e%2e/secret": 400,
        f"GET http://{place}//pool/a.deb": 400,
        f"GET http://{place}/pool/a.deb%0a": 400,
        f"GET http://{place}y/pool/a.deb": 403,
        f"GET http://user@{place}/pool/a.deb": 403,
        f"GET http://{place}/pool/a.deb?b=c": 400,
        f"GET https://{place}/pool/a.deb": 400,
        f"GET /{ARCHIVE}/pool/a.deb": 400,
        "GET /hub/v2/": 400,
    }
    script = ASK + "; ".join(f"ask '{one}'" for one in asked)
    script += f"; ask 'GET http://{place}/pool/a.deb' 'Content-Length: 3\\r\\n'"
    lines = said(scene.runs(script))
    answered = {
        request: int(rest.split()[1])
        for request, _, rest in (line.partition(" -> ") for line in lines)
        if rest.startswith("HTTP/")
    }
    assert answered == {**asked, f"GET http://{place}/pool/a.deb": 400}  # the last one has a body
    assert f"GET http://{place}/pool/a.deb -> HTTP/1.1 200 OK" in lines
    assert set(scene.site.asked) == {"pool/a.deb"}
    assert not [path for path in scene.images.registry.asked if path.endswith("/manifests/1")]


def test_what_a_run_leaves_running_or_unread_does_not_hold_the_phase(scene: SiteScene) -> None:
    scene.site.pages["pool/large.deb"] = bytes(12 * MIB)
    request = f"GET {scene.address}/pool/large.deb HTTP/1.1\\r\\n\\r\\n"
    script = (
        f"(printf '{request}'; busybox sleep 1000) | busybox nc 127.0.0.1 3128 | busybox sleep 1000 & "
        "busybox setsid busybox sh -c 'while :; do busybox nc 127.0.0.1 3128; busybox sleep 1; done' & "
        "busybox sleep 2; echo x > /dev/touchplate-apt.conf || echo read-only; echo done"
    )
    lines = said(scene.runs(script, limits=WALL))  # which sees that nothing is left
    assert any(line.endswith("done") for line in lines)
    assert any(
        line.endswith("read-only") for line in lines
    )  # maybe behind a piece of the shell's own message


def test_next_run_meets_nothing_of_what_a_run_left_behind(scene: SiteScene) -> None:
    """No server of its own, and all of the proxy's places free again."""
    half = f"(printf 'GET {scene.address}/pool/a.deb HTTP/1.1\\r\\n'; busybox sleep 1000)"
    leave = (
        "busybox setsid busybox sh -c 'while :; do echo evil | busybox nc -l -p 9999; done' & "
        f"i=0; while test $i -lt {CLIENTS + 6}; do i=$((i+1)); {half} | busybox nc 127.0.0.1 3128 & done; "
        "busybox sleep 1; busybox nc 127.0.0.1 9999 < /dev/null"
    )
    meet = (
        "busybox nc 127.0.0.1 9999 < /dev/null || echo nobody; "
        f"busybox wget -q -O - {scene.address}/pool/a.deb; echo end"
    )
    lines = said(scene.runs(f"{leave}\nRUN {meet}", limits=WALL))
    assert lines.count("evil") == 1  # the control
    assert "nobody" in lines
    assert "a package" in lines


def test_settings_of_an_image_that_touch_those_of_its_runs_leave_no_trace(scene: SiteScene) -> None:
    lines = (
        "true",
        "LABEL create=--bundle",
        "ENV create=--bundle http_proxy='' APT_CONFIG='a=b\"c'",
        "RUN busybox env > /a",
        "VOLUME /dev",
        "WORKDIR /dev",
        "USER 65534:65534",
        "RUN test $create = --bundle",
    )
    published = scene.publish("team/odd", "\n".join((*lines[:3], "RUN echo a > /a", *lines[4:])))
    done = scene.images.rebuild(scene.define(published))
    assert done.result == "identical", (done.failure, done.log[-3000:])
    published = scene.publish("team/control", "\n".join(lines))  # its environment, which it has written
    assert scene.images.rebuild(scene.define(published)).result == "different"


def test_checksum_file_of_an_archive_is_refused_in_fetch_already(scene: SiteScene) -> None:
    """No lock may have it, so Build would lack what Fetch was given."""
    scene.site.pages["pool/a.deb.sha256"] = b"0" * 64
    address = f"{scene.address}/pool/a.deb.sha256"
    done = scene.runs(f"busybox wget -q {address}")
    assert done.failure is not None
    assert (done.failure.phase, done.failure.reason) == ("fetch", "exit-status")
    assert "is a checksum file, which no input lock has" in done.failure.detail
    assert "absent" in said(scene.runs(f"busybox wget -q {address} || echo absent"))
    assert scene.site.asked == []


def test_more_bytes_than_allowed_end_fetch(scene: SiteScene) -> None:
    scene.site.pages["pool/large.deb"] = bytes(12 * MIB)
    script = f"busybox wget -q -O /large {scene.address}/pool/large.deb"
    done = scene.runs(script, limits={**WALL, "fetch_bytes": 10 * MIB})
    assert done.failure is not None
    assert (done.failure.phase, done.failure.reason) == ("fetch", "too-large")
    assert scene.runs(script, limits={**WALL, "fetch_bytes": 40 * MIB}).built is not None  # the control


def test_more_requests_than_allowed_end_fetch(scene: SiteScene) -> None:
    script = (
        "i=0; while test $i -lt 30; do i=$((i+1)); "
        f"busybox wget -q {scene.address}/$i/InRelease || true; done"
    )
    done = scene.runs(script, limits={**WALL, "fetch_files": 5})
    assert done.failure is not None
    assert (done.failure.phase, done.failure.reason) == ("fetch", "too-large")
    assert "more than 20 different files" in done.failure.detail
    assert scene.runs(script, limits={**WALL, "fetch_files": 50}).built is not None  # the control


def test_package_that_is_the_answers_layer_is_refused(scene: SiteScene) -> None:
    layer = json.loads(scene.images.other.manifest)["layers"][0]["digest"].removeprefix("sha256:")
    scene.site.pages["pool/a.deb"] = scene.images.registry.blobs[layer]
    done = scene.runs(f"busybox wget -q -O /a {scene.address}/pool/a.deb")
    assert done.failure is not None
    assert (done.failure.phase, done.failure.reason) == ("fetch", "refused-input")


def test_lock_with_files_of_a_stranger_is_refused(scene: SiteScene) -> None:
    definition = scene.definition_of(f"busybox wget -q -O /a {scene.address}/pool/a.deb")
    done = scene.images.rebuild(definition)
    assert done.built is not None
    lock = done.built.lock
    strange = tuple(replace(one, upstream="other") if one.upstream == ARCHIVE else one for one in lock.inputs)
    refused = scene.rebuild_from(definition, replace(lock, inputs=strange))
    assert refused.failure is not None
    assert (refused.failure.phase, refused.failure.reason) == ("fetch", "refused-input")


def cut(handler: Any) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(b"less")
    handler.close_connection = True


def elsewhere(handler: Any) -> None:
    handler.send_response(302)
    handler.send_header("Location", "http://elsewhere.example.org/a.deb")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


@pytest.mark.parametrize("page", [cut, elsewhere, 500])
def test_archive_that_misbehaves_is_a_lack_of_the_upstream(scene: SiteScene, page: object) -> None:
    script = f"busybox wget -q -O /a {scene.address}/pool/a.deb || true"
    assert scene.runs(script).built is not None  # the control
    scene.site.pages["pool/a.deb"] = page
    with pytest.raises(HostLack) as caught:
        scene.runs(script, limits=WALL)  # another definition: what was recorded for the first is not used
    assert caught.value.reason == "upstream-failed"
    assert f"{ARCHIVE}/pool/a.deb" in str(caught.value)
