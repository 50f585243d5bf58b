"""Upstreams that are down, slow, lying, changing or half done, and what is held meanwhile."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.api.conan.support import (
    RULES,
    TIME,
    ConanWorld,
    conan_node,
    conan_world,
    running_remote,
    upstream_text,
    write_conan_node,
)
from tests.base.support import Handler
from tests.conan_packages import archive, make_package, make_recipe

from touchplate.api.conan import answers as answers_module
from touchplate.api.conan import upstream as upstream_module
from touchplate.api.conan.layout import MANIFEST

RECIPE = make_recipe("free")
PACKAGE = make_package(RECIPE)
TEAM = "/conan/team"
REFERENCE = RECIPE.revision.reference.path
ARCHIVE = PACKAGE.revision.file_path("conan_package.tgz")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[ConanWorld]:
    with conan_world(tmp_path) as made:
        made.remote.upload(RECIPE, PACKAGE)
        yield made


def reply(value: Any, status: int = 200) -> Callable[[Handler], None]:
    """An answer of its own for a path."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return lambda handler: handler.reply(status, body)


def test_each_file_is_fetched_and_recorded_once(here: ConanWorld) -> None:
    for _ in range(3):
        assert here.files(PACKAGE).status == 200
        assert here.file(PACKAGE, "conan_package.tgz").status == 200
    assert here.remote.count(ARCHIVE) == 1
    assert here.remote.count(f"{PACKAGE.revision.path}/files") == 1
    assert here.size() == 5


def test_concurrent_requests_share_one_fetch(here: ConanWorld) -> None:
    everybody, arrived = threading.Barrier(8), threading.Event()

    def slowly(handler: Handler) -> None:
        arrived.wait(30)
        handler.reply(200, PACKAGE.files["conan_package.tgz"])

    here.remote.acts[ARCHIVE] = slowly

    def ask(_: int) -> int:
        everybody.wait(30)
        return here.files(PACKAGE).status

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(ask, number) for number in range(8)]
        arrived.set()
        assert [answer.result(60) for answer in answers] == [200] * 8
    assert here.remote.count(ARCHIVE) == 1
    assert here.size() == 5


def test_what_is_held_is_served_by_a_new_process_while_the_upstream_is_down(tmp_path: Path) -> None:
    with running_remote() as remote:
        remote.upload(RECIPE, PACKAGE)
        path = write_conan_node(tmp_path, upstream_text(remote.url))
        asked = [
            f"{TEAM}/{REFERENCE}/latest",
            f"{TEAM}/{REFERENCE}/revisions",
            f"{TEAM}/{RECIPE.revision.path}/files",
            f"{TEAM}/{RECIPE.revision.path}/packages/{PACKAGE.revision.package_id}/latest",
            f"{TEAM}/{PACKAGE.revision.path}/files",
            f"{TEAM}/{ARCHIVE}",
        ]
        with conan_node(tmp_path, remote, path) as here:
            before = [here.get(path).body for path in asked]
        remote.is_down = True
        with conan_node(tmp_path, remote, path) as here:
            answers = [here.get(path) for path in asked]
            assert [answer.status for answer in answers] == [200] * len(asked)
            assert [answer.body for answer in answers] == before
            lost = here.get(f"{TEAM}/v2/conans/free/2.0/_/_/latest")
            assert lost.status == 502
            assert "gave no usable answer" in lost.text


def test_a_404_is_believed_for_a_while(here: ConanWorld) -> None:
    path = "v2/conans/nobody/1.0/_/_/latest"
    for _ in range(3):
        assert here.get(f"{TEAM}/{path}").status == 404
    assert here.remote.count(path) == 1


def test_an_answer_is_used_again_for_some_seconds_only(
    here: ConanWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        assert here.get(f"{TEAM}/{REFERENCE}/latest").status == 200
    assert here.remote.count(f"{REFERENCE}/latest") == 1
    monkeypatch.setattr(answers_module, "FRESH_SECONDS", -1)
    newer = make_recipe("free", source=b"int two;")
    here.remote.upload(newer)
    assert here.get(f"{TEAM}/{REFERENCE}/latest").json["revision"] == newer.revision.rrev


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{REFERENCE}/latest", b"no json"),
        (f"{REFERENCE}/latest", []),
        (f"{REFERENCE}/latest", {}),
        (f"{REFERENCE}/latest", {"revision": 7, "time": TIME}),
        (f"{REFERENCE}/latest", {"revision": "../../x", "time": TIME}),
        (f"{REFERENCE}/latest", {"revision": "abc", "time": "yesterday\n"}),
        (f"{REFERENCE}/latest", {"revision": "abc", "time": None}),
        (f"{REFERENCE}/latest", {"revision": "abc", "time": "2026-02-30T08:00:00Z"}),
        (f"{REFERENCE}/latest", {"revision": "abc", "time": "2026-11-28T08:00:00+24:00"}),
        (f"{REFERENCE}/latest", {"revision": "abc", "time": "\uff12\uff10\uff12\uff16-11-28T08:00:00Z"}),
        (f"{REFERENCE}/revisions", {"revisions": {"a": 1}}),
        (f"{REFERENCE}/revisions", {"revisions": [None]}),
        (f"{REFERENCE}/revisions", b'{"revisions": [], "revisions": []}'),
        (f"{RECIPE.revision.path}/search", {"../x": {}}),
        (f"{RECIPE.revision.path}/search", {"abc": []}),
        (f"{RECIPE.revision.path}/files", {"files": ["conanfile.py"]}),
        (f"{RECIPE.revision.path}/files", {"files": None}),
        (f"{RECIPE.revision.path}/files", b"[" * 100_000),
        ("v2/conans/search", {"results": None}),
    ],
    ids=str,
)
def test_nonsense_of_an_upstream_is_a_502(here: ConanWorld, path: str, body: object) -> None:
    here.remote.acts[path] = reply(body)
    answer = here.get(f"{TEAM}/{path}")
    assert answer.status == 502
    assert "answers" in answer.text


@pytest.mark.parametrize("time", [TIME, "2026-11-28T08:00:00Z", "2026-11-28T08:00:00.123+0100"])
def test_times_are_passed_on_as_they_are(here: ConanWorld, time: str) -> None:
    answer = {"revision": "abc", "time": time}
    here.remote.acts[f"{REFERENCE}/latest"] = reply(answer)
    assert here.get(f"{TEAM}/{REFERENCE}/latest").json == answer


def test_a_search_drops_what_cannot_be_asked_for(here: ConanWorld) -> None:
    results = ["free/1.0@_/_", "free/1.0#abc", "FREE/1.0", "../x", "free", 7, "free/2.0@acme/stable"]
    here.remote.acts["v2/conans/search"] = reply({"results": results})
    found = here.get(f"{TEAM}/v2/conans/search?q=x").json["results"]
    assert found == ["free/1.0", "free/1.0", "free/2.0@acme/stable"]


def test_answers_over_the_limit_are_cut_off(here: ConanWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_module, "MAX_ANSWER_BYTES", 1000)
    here.remote.acts[f"{REFERENCE}/latest"] = reply(b" " * 2000)
    assert here.get(f"{TEAM}/{REFERENCE}/latest").status == 502


@pytest.mark.parametrize("value", ["[]", '"ab"', '{"":0}'])
def test_answers_of_very_many_values_are_not_even_parsed(here: ConanWorld, value: str) -> None:
    body = b'{"results":[' + ",".join([value] * upstream_module.MAX_ANSWER_VALUES).encode() + b"]}"
    here.remote.acts["v2/conans/search"] = reply(body)
    answer = here.get(f"{TEAM}/v2/conans/search?q=x")
    assert answer.status == 502
    assert "more than 250000 members" in answer.text


@pytest.mark.parametrize("missing", ["conanfile.py", MANIFEST])
def test_an_upload_that_is_not_complete_is_not_there_yet(here: ConanWorld, missing: str) -> None:
    recipe = make_recipe("free", "3.0")
    files = {name: data for name, data in recipe.files.items() if name != missing}
    here.remote.upload(type(recipe)(recipe.revision, files))
    answer = here.files(recipe)
    assert answer.status == 404
    assert missing in answer.text
    here.remote.upload(recipe)
    assert here.files(recipe).status == 200


def test_a_list_that_lacked_a_file_is_asked_for_again(
    here: ConanWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe("free", "4.0")
    files = {name: data for name, data in recipe.files.items() if name != "conan_export.tgz"}
    here.remote.upload(type(recipe)(recipe.revision, files))
    assert "conandata.yml" in here.files(recipe).text
    here.remote.upload(recipe)
    monkeypatch.setattr(answers_module, "FRESH_SECONDS", -1)
    assert here.files(recipe).status == 200


def test_an_archive_in_two_forms_is_refused(here: ConanWorld) -> None:
    package = make_package(RECIPE, info=b"[settings]\nos=AIX\n")
    both = package.with_files(conan_package__txz=archive({"a": b"1"}, form="txz"))
    here.remote.upload(both)
    answer = here.files(both)
    assert answer.status == 404
    assert "two forms" in answer.text


def test_other_bytes_than_those_recorded_are_refused_loudly(tmp_path: Path) -> None:
    with running_remote() as remote:
        remote.upload(RECIPE, PACKAGE)
        path = write_conan_node(tmp_path, upstream_text(remote.url), "[[gate.rule]]\nneed = []\n")
        with conan_node(tmp_path, remote, path) as here:
            assert here.files(PACKAGE).status == 200
        for name in ("links.sqlite", "links.sqlite-wal", "links.sqlite-shm"):
            (tmp_path / "data" / name).unlink(missing_ok=True)
        changed = PACKAGE.with_files(conan_package__tgz=archive({"lib/liblib.a": b"evil"}))
        remote.upload(changed)
        with conan_node(tmp_path, remote, path) as here:
            answer = here.files(PACKAGE)
            assert answer.status == 400
            assert "conan_package.tgz changed" in answer.text
            assert here.file(PACKAGE, "conan_package.tgz").status == 400
            assert here.file(PACKAGE, "conaninfo.txt").status == 400
            (alarm, *_) = here.node.alarms.list()
            assert "conan_package.tgz changed" in alarm.message
            page = here.get(f"/why/conan/team/{PACKAGE.revision.path}/files").text
            assert "refused whatever the rules say" in page
            assert "conan_package.tgz changed" in page
            remote.upload(PACKAGE)
            assert here.files(PACKAGE).status == 200


def test_a_damaged_file_is_fetched_again_and_must_be_the_same(here: ConanWorld) -> None:
    assert here.files(PACKAGE).status == 200
    link = here.node.links.find("conan:team", ARCHIVE)
    assert link is not None
    blob = here.node.blobs.path(link.sha256)
    blob.chmod(0o600)
    blob.write_bytes(b"damaged")
    assert here.file(PACKAGE, "conan_package.tgz").body == PACKAGE.files["conan_package.tgz"]
    assert here.remote.count(ARCHIVE) == 2
    assert "damaged" in here.node.alarms.list()[0].message
    blob.unlink()
    here.remote.upload(PACKAGE.with_files(conan_package__tgz=archive({"x": b"evil"})))
    answer = here.files(PACKAGE)
    assert answer.status == 400
    assert "changed" in answer.text


def test_an_answer_that_is_cut_short_leaves_nothing(here: ConanWorld) -> None:
    data = PACKAGE.files["conan_package.tgz"]
    here.remote.acts[ARCHIVE] = lambda handler: handler.raw(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data[:-1]
    )
    assert here.files(PACKAGE).status == 502
    assert here.node.links.find("conan:team", ARCHIVE) is None
    del here.remote.acts[ARCHIVE]
    assert here.files(PACKAGE).status == 200


def test_over_the_budget_of_records_clients_are_told_to_come_back(tmp_path: Path) -> None:
    with running_remote() as remote:
        remote.upload(RECIPE, PACKAGE)
        path = write_conan_node(tmp_path, upstream_text(remote.url))
        path.write_text("records_per_minute = 2\n" + path.read_text())
        with conan_node(tmp_path, remote, path) as here:
            answer = here.files(PACKAGE)
            assert answer.status == 503
            assert int(answer.headers["retry-after"]) > 0
            assert here.file(RECIPE, "conanfile.py").status == 503


def test_an_upstream_that_asks_for_a_login_gets_one_token(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("demo:p\u00e4ss\n")
    (tmp_path / "secret").chmod(0o600)
    with conan_world(tmp_path, lines=('credentials = "file:secret"',)) as here:
        here.remote.upload(RECIPE, PACKAGE)
        here.remote.login = "Basic " + base64.b64encode("demo:p\u00e4ss".encode()).decode()
        assert here.files(PACKAGE).status == 200
        assert here.remote.count("v2/users/authenticate") == 1
        here.remote.login = "Basic other"
        here.remote.acts["v2/conans/x1/1.0/_/_/latest"] = reply(b"", 401)
        answer = here.get(f"{TEAM}/v2/conans/x1/1.0/_/_/latest")
        assert answer.status == 502
        assert "credentials" in answer.text
        assert "p\u00e4ss" not in answer.text


def test_a_package_without_a_recipe_is_not_there(here: ConanWorld) -> None:
    orphan = make_package(make_recipe("free", "9.0"))
    here.remote.upload(orphan)
    assert here.files(orphan).status == 404


def test_the_bytes_of_another_revision_are_not_this_ones(tmp_path: Path) -> None:
    """An upstream gives out, under a revision that nobody rebuilt, files of one that was rebuilt."""
    with conan_world(tmp_path, rules=RULES) as here:
        recipe = make_recipe()
        good = make_package(recipe)
        here.built(good, recipe)
        other = type(good)(make_package(recipe, {"lib/x": b"1"}).revision, good.files)
        here.remote.upload(recipe, good, other)
        assert here.files(good).status == 200
        answer = here.files(other)
        assert answer.status == 400
        assert "conan_package.tgz" in answer.text


def test_no_path_leads_to_a_file_of_a_refused_revision(tmp_path: Path) -> None:
    with conan_world(tmp_path) as here:
        recipe = make_recipe()
        package = make_package(recipe)
        here.remote.upload(recipe, package)
        here.files(package)
        for published in (recipe, package):
            names = [*published.files, "metadata/sign/pkgsign-manifest.json"]
            names += [f"metadata/sign/{name}.touchplate.json" for name in published.files]
            for name in names:
                for method, headers in (("GET", {}), ("HEAD", {}), ("GET", {"Range": "bytes=0-9"})):
                    path = f"{TEAM}/{published.revision.file_path(name)}"
                    answer = here.get(path, method, **headers)
                    assert answer.status in (400, 404), (name, method)
                    assert not any(data[:10] in answer.body for data in published.files.values())
