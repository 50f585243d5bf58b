"""Images and Conan files of a dead upstream, from another peer."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.api.conan.support import running_remote, write_conan_node
from tests.api.conan.support import upstream_text as conan_upstream
from tests.api.docker.support import running_registry, upstream_text, write_image_node
from tests.conan_packages import make_package, make_recipe
from tests.images import Image, make_attestation, make_image, make_index
from tests.node.peered import Pair, pair

RULES = '[[gate.rule]]\nneed = ["recorded"]\n'
APP = make_image("app", layers=[{"big": random.Random(1).randbytes(300_000)}, {"small": b"text"}])
OTHER = make_image("other")
INDEX = make_index({"amd64": APP, "arm64": make_image("arm", architecture="arm64")})
RECIPE = make_recipe("free")
PACKAGE = make_package(RECIPE)


def pull(peers: Pair, of: str, name: str, image: Image) -> None:
    """What a client does: the manifest by its digest, then everything that it names."""
    peer = getattr(peers, of)
    answer = peer.get(f"/v2/{name}/manifests/{image.digest}")
    assert (answer.status, answer.body) == (200, image.manifest), answer.text
    assert answer.headers["content-type"] == image.media_type
    for sha256, data in image.blobs.items():
        blob = peer.get(f"/v2/{name}/blobs/sha256:{sha256}")
        assert (blob.status, blob.body) == (200, data), blob.text


def image_pair(folder: Path, url: str, *, record: bool = True) -> tuple[Path, Path]:
    text = upstream_text("hub", url, "default = true", record=record)
    rules = RULES if record else "[[gate.rule]]\nneed = []\n"
    first, second = (write_image_node(folder / name, text, rules) for name in "ab")
    return first, second


def test_an_image_with_its_layers_comes_from_a_peer(tmp_path: Path) -> None:
    with running_registry() as registry, pair(*image_pair(tmp_path, registry.url)) as peers:
        registry.push("team/app", "1", APP)
        pull(peers, "a", "team/app", APP)
        peers.share()
        registry.is_down = True
        pull(peers, "b", "team/app", APP)
        asked = peers.a.asked()
        pull(peers, "b", "team/app", APP)
        assert peers.a.asked() == asked
        assert peers.b.node is not None
        assert peers.b.node.log.reader.size() == 1  # nothing was recorded that nobody saw


def test_an_index_comes_from_a_peer_and_its_images_are_judged(tmp_path: Path) -> None:
    with running_registry() as registry, pair(*image_pair(tmp_path, registry.url)) as peers:
        registry.push("team/app", "1", INDEX)
        peers.a.get(f"/v2/team/app/manifests/{INDEX.digest}")
        pull(peers, "a", "team/app", APP)
        peers.share()
        registry.is_down = True
        answer = peers.b.get(f"/v2/team/app/manifests/{INDEX.digest}")
        assert (answer.status, answer.body) == (200, INDEX.manifest)
        assert answer.headers["content-type"] == INDEX.media_type
        pull(peers, "b", "team/app", APP)


def test_an_image_is_not_served_under_a_name_that_the_log_does_not_know(tmp_path: Path) -> None:
    with running_registry() as registry, pair(*image_pair(tmp_path, registry.url)) as peers:
        registry.push("team/app", "1", APP)
        pull(peers, "a", "team/app", APP)
        peers.share()
        registry.is_down = True
        assert peers.b.get(f"/v2/team/other/manifests/{APP.digest}").status == 502
        assert peers.b.node is not None
        assert peers.b.node.log.reader.size() == 1


def test_a_layer_that_its_registry_lost_comes_from_a_peer(tmp_path: Path) -> None:
    with running_registry() as registry, pair(*image_pair(tmp_path, registry.url)) as peers:
        registry.push("team/app", "1", APP)
        pull(peers, "a", "team/app", APP)
        peers.share()
        del registry.blobs["team/app"]
        pull(peers, "b", "team/app", APP)


@pytest.mark.parametrize("is_wrong", [False, True])
def test_a_layer_that_breaks_off_in_the_middle_is_ended_by_a_peer(is_wrong: bool, tmp_path: Path) -> None:
    with running_registry() as registry, pair(*image_pair(tmp_path, registry.url)) as peers:
        registry.push("team/app", "1", APP)
        pull(peers, "a", "team/app", APP)
        peers.share()
        assert peers.b.get(f"/v2/team/app/manifests/{APP.digest}").status == 200
        sha256, data = max(APP.blobs.items(), key=lambda item: len(item[1]))
        begun = bytes(150_000) if is_wrong else data[:150_000]
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data)
        registry.acts[f"/v2/team/app/blobs/sha256:{sha256}"] = lambda handler: handler.raw(head + begun)
        path = f"/v2/team/app/blobs/sha256:{sha256}"
        if is_wrong:
            # The connection is cut, after all but the last 64 KiB.
            with pytest.raises(RuntimeError, match="already started"):
                peers.b.get(path)
            assert peers.b.get(path).status == 403  # the next time it is told why
        else:
            assert peers.b.get(path).body == data


def test_images_of_a_registry_that_is_not_recorded_stay_where_they_are(tmp_path: Path) -> None:
    with (
        running_registry() as registry,
        pair(*image_pair(tmp_path, registry.url, record=False)) as peers,
    ):
        registry.push("team/app", "1", APP)
        registry.push("team/app", "2", OTHER)
        pull(peers, "a", "team/app", APP)
        pull(peers, "a", "team/app", OTHER)
        assert peers.b.get(f"/v2/team/app/manifests/{APP.digest}").status == 200
        registry.is_down = True
        assert peers.b.get(f"/v2/team/app/manifests/{OTHER.digest}").status == 502
        assert peers.b.get(f"/v2/team/app/blobs/sha256:{APP.layer}").status == 502
        assert peers.a.asked() == 0


@pytest.mark.parametrize("is_down", [False, True], ids=["lost", "down"])
def test_a_layer_that_is_here_through_another_repository_needs_a_peers_word(
    is_down: bool, tmp_path: Path
) -> None:
    with running_registry() as registry, pair(*image_pair(tmp_path, registry.url)) as peers:
        for name in ("team/app", "team/copy"):
            registry.push(name, "1", APP)
            pull(peers, "a", name, APP)
        pull(peers, "b", "team/app", APP)
        assert peers.b.get(f"/v2/team/copy/manifests/{APP.digest}").status == 200
        del registry.blobs["team/copy"]
        registry.is_down = is_down
        pull(peers, "b", "team/copy", APP)
        assert peers.a.asked() == len(APP.blobs)


def test_an_attestation_comes_from_a_peer(tmp_path: Path) -> None:
    seen = make_attestation(APP, b"{}")
    with running_registry() as registry, pair(*image_pair(tmp_path, registry.url)) as peers:
        registry.push("team/app", "1", APP)
        registry.push("team/app", "", seen)
        pull(peers, "a", "team/app", seen)
        registry.is_down = True
        pull(peers, "b", "team/app", seen)


def conan_pair(folder: Path, url: str) -> tuple[Path, Path]:
    first, second = (write_conan_node(folder / name, conan_upstream(url), RULES) for name in "ab")
    return first, second


@pytest.mark.parametrize("published", [RECIPE, PACKAGE], ids=["recipe", "package"])
def test_conan_files_that_were_lost_come_from_a_peer(published: object, tmp_path: Path) -> None:
    assert isinstance(published, type(RECIPE))
    with running_remote() as remote, pair(*conan_pair(tmp_path, remote.url)) as peers:
        remote.upload(RECIPE, PACKAGE)
        paths = {name: f"/conan/team/{published.revision.file_path(name)}" for name in published.files}
        for peer in (peers.a, peers.b):
            assert [peer.get(path).status for path in paths.values()] == [200] * len(paths)
            peers.share()
        remote.is_down = True
        assert peers.b.node is not None
        for sha256 in list(peers.b.node.blobs._folder.digests()):
            peers.b.node.blobs._folder.remove(sha256)
        for name, path in paths.items():
            answer = peers.b.get(path)
            assert (answer.status, answer.body) == (200, published.files[name]), answer.text


def test_conan_files_never_seen_come_from_a_peer_as_far_as_the_log_knows_them(tmp_path: Path) -> None:
    with running_remote() as remote, pair(*conan_pair(tmp_path, remote.url)) as peers:
        remote.upload(RECIPE)
        paths = {name: RECIPE.revision.file_path(name) for name in RECIPE.files}
        assert [peers.a.get(f"/conan/team/{path}").status for path in paths.values()] == [200] * len(paths)
        peers.share()
        # It still has the list and the manifest, which has no record; the recipe itself is gone.
        remote.acts = {
            path: lambda handler: handler.reply(404, b"")
            for name, path in paths.items()
            if name != "conanmanifest.txt"
        }
        for name, path in paths.items():
            assert peers.b.get(f"/conan/team/{path}").body == RECIPE.files[name]
