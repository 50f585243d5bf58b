"""The remote's calls through a whole node in this process: status, headers, JSON, proofs, pages."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.api.conan.support import TIME, ConanWorld, conan_world
from tests.conan_packages import IDENTITY, make_package, make_recipe
from tests.verify.support import OPERATOR_A, OPERATOR_B, RECORDER

from touchplate.api.conan import answers
from touchplate.verify.check import check_bundle, digest_file
from touchplate.verify.dsse import parse_envelope
from touchplate.verify.purl import parse_purl
from touchplate.verify.statements import parse_statement

RECIPE = make_recipe()
PACKAGE = make_package(RECIPE)
NEWER = make_recipe(version="2.0")
NEWER_PACKAGE = make_package(NEWER)
FREE = make_recipe("free")
FREE_PACKAGE = make_package(FREE)
TEAM = "/conan/team"
REVISION = RECIPE.revision


@pytest.fixture
def here(tmp_path: Path) -> Iterator[ConanWorld]:
    with conan_world(tmp_path) as made:
        made.remote.upload(RECIPE, PACKAGE, NEWER, NEWER_PACKAGE, FREE, FREE_PACKAGE)
        made.built(PACKAGE, RECIPE)
        yield made


def test_the_ping_tells_that_this_is_a_remote_with_revisions(here: ConanWorld) -> None:
    for method in ("GET", "HEAD"):
        answer = here.get(f"{TEAM}/v1/ping", method)
        assert answer.status == 200
        assert answer.headers["x-conan-server-capabilities"] == "revisions"


def test_json_has_exactly_the_type_that_clients_take(here: ConanWorld) -> None:
    for path in (
        f"{REVISION.reference.path}/latest",
        f"{REVISION.path}/files",
        f"{REVISION.path}/search?list_only=True",
        "v2/conans/search?q=*",
    ):
        assert here.get(f"{TEAM}/{path}").headers["content-type"] == "application/json"


def test_revisions_are_those_of_the_upstream(here: ConanWorld) -> None:
    base = f"{TEAM}/{REVISION.reference.path}"
    entry = {"revision": REVISION.rrev, "time": TIME}
    assert here.get(f"{base}/latest").json == entry
    assert here.get(f"{base}/revisions").json == {"revisions": [entry]}
    packages = f"{base}/revisions/{REVISION.rrev}/packages/{PACKAGE.revision.package_id}"
    assert here.get(f"{packages}/latest").json == {"revision": PACKAGE.revision.prev, "time": TIME}
    assert here.get(f"{packages}/revisions").json["revisions"][0]["revision"] == PACKAGE.revision.prev
    assert here.get(f"{TEAM}/v2/conans/nobody/1.0/_/_/latest").status == 404


def test_the_latest_revision_is_the_newest_that_passes(
    here: ConanWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "FRESH_SECONDS", -1)
    recipe = make_recipe(source=b"int two;\n")
    here.remote.upload(recipe, make_package(recipe))
    base = f"{TEAM}/{REVISION.reference.path}"
    assert [one["revision"] for one in here.get(f"{base}/revisions").json["revisions"]] == [
        recipe.revision.rrev, REVISION.rrev,
    ]  # fmt: skip
    assert here.get(f"{base}/latest").json["revision"] == REVISION.rrev
    here.built(make_package(recipe), recipe)
    assert here.get(f"{base}/latest").json["revision"] == recipe.revision.rrev


def test_the_latest_package_is_the_newest_that_passes(here: ConanWorld) -> None:
    other = make_package(RECIPE, {"lib/liblib.a": b"again"})
    assert other.revision.package_id == PACKAGE.revision.package_id
    here.remote.upload(other)
    path = f"{TEAM}/{REVISION.path}/packages/{PACKAGE.revision.package_id}/latest"
    assert here.get(path).json["revision"] == PACKAGE.revision.prev


def test_when_nothing_passes_the_latest_is_the_upstreams(here: ConanWorld) -> None:
    assert here.get(f"{TEAM}/{NEWER.revision.reference.path}/latest").json["revision"] == NEWER.revision.rrev
    here.remote.acts[f"{FREE.revision.reference.path}/revisions"] = lambda handler: handler.reply(404, b"")
    assert here.get(f"{TEAM}/{FREE.revision.reference.path}/latest").json["revision"] == FREE.revision.rrev


def test_packages_are_listed_with_their_settings(here: ConanWorld) -> None:
    found = here.get(f"{TEAM}/{REVISION.path}/search?list_only=False").json
    assert found == {PACKAGE.revision.package_id: {"content": PACKAGE.files["conaninfo.txt"].decode()}}
    assert here.remote.queries[-1] == "list_only=False"


def test_a_search_leaves_out_what_would_be_refused(here: ConanWorld) -> None:
    assert here.get(f"{TEAM}/v2/conans/search?q=lib%2F%2A").json == {"results": ["free/1.0", "lib/1.0"]}
    assert here.remote.queries[-1] == "q=lib%2F%2A"
    here.built(NEWER_PACKAGE, NEWER)
    assert here.get(f"{TEAM}/v2/conans/search?q=lib%2F%2A").json["results"] == [
        "free/1.0", "lib/1.0", "lib/2.0",
    ]  # fmt: skip
    here.get(f"{TEAM}/v2/conans/search?q=x&ignorecase=False")
    assert here.remote.queries[-1] == "q=x&ignorecase=False"
    assert here.get(f"{TEAM}/v2/conans/search?q={'a' * 300}").status == 400


def test_an_upstreams_own_metadata_is_not_passed_on(here: ConanWorld) -> None:
    names = here.files(RECIPE).json["files"]
    assert "metadata/sign/x.sig" not in names
    assert here.file(RECIPE, "metadata/sign/x.sig").status == 404


def test_every_file_that_is_listed_can_be_had(here: ConanWorld) -> None:
    for published in (RECIPE, PACKAGE, FREE, FREE_PACKAGE):
        names = here.files(published).json["files"]
        assert set(published.files) < set(names)
        for name in names:
            assert here.file(published, name).status == 200, name


def test_files_have_length_checksums_and_ranges(here: ConanWorld) -> None:
    data = PACKAGE.files["conan_package.tgz"]
    answer = here.file(PACKAGE, "conan_package.tgz")
    assert answer.body == data
    assert answer.headers["content-length"] == str(len(data))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["etag"] == f'"sha256:{answer.headers["x-checksum-sha256"]}"'
    assert re.fullmatch("[0-9a-f]{40}", answer.headers["x-checksum-sha1"])
    path = f"{TEAM}/{PACKAGE.revision.file_path('conan_package.tgz')}"
    head = here.get(path, "HEAD")
    assert (head.status, head.body, head.headers) == (200, b"", answer.headers)
    part = here.get(path, Range="bytes=10-")
    assert (part.status, part.body) == (206, data[10:])
    assert part.headers["content-range"] == f"bytes 10-{len(data) - 1}/{len(data)}"
    assert here.get(path, Range=f"bytes={len(data)}-").status == 416
    assert here.get(path, If_None_Match=answer.headers["etag"]).status == 304


def test_a_refusal_is_400_in_plain_text_for_anonymous_clients_and_403_for_others(here: ConanWorld) -> None:
    path = f"{TEAM}/{NEWER.revision.path}/files"
    answer = here.get(path)
    assert answer.status == 400
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.startswith(
        f"touchplate refuses lib/2.0#{NEWER.revision.rrev}, conanfile.py: not reproduced: 0 of 2 operators"
    )
    assert f"(why: /why/conan/team/{NEWER.revision.path}/files)" in answer.text
    assert "\n" not in answer.text  # clients go on in the same line
    known = here.get(path, Authorization="Bearer of-something")
    assert (known.status, known.body) == (403, answer.body)


def test_names_that_nothing_has_are_400_and_what_is_not_there_is_404(here: ConanWorld) -> None:
    for path, status in (
        ("v2/conans/LIB/1.0/_/_/latest", 400),
        ("v2/conans/lib/1.0%2F..%2F2.0/_/_/latest", 400),
        ("v2/conans/lib/1.0%5C/_/_/latest", 400),
        ("v2/conans/%2e%2e/1.0/_/_/latest", 400),
        (f"{REVISION.reference.path}/revisions/{'0' * 32}/files", 404),
        ("v2/anything", 404),
        ("", 404),
    ):
        answer = here.get(f"{TEAM}/{path}")
        assert answer.status == status, path
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.text.startswith("touchplate: ")
    answer = here.get("/conan/other/v1/ping")
    assert answer.status == 404
    assert "there is: team" in answer.text


def test_nothing_is_taken_and_nobody_logs_in(here: ConanWorld) -> None:
    for method in ("PUT", "POST", "DELETE", "PATCH"):
        answer = here.get(f"{TEAM}/{REVISION.file_path('conanfile.py')}", method)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    for call in ("authenticate", "check_credentials"):
        answer = here.get(f"{TEAM}/v2/users/{call}", Authorization="Basic ZGVtbzpkZW1v")
        assert answer.status == 403
        assert "without an account" in answer.text


def test_proofs_check_offline(here: ConanWorld) -> None:
    for name in ("conan_package.tgz", "conaninfo.txt"):
        body = here.file(PACKAGE, f"metadata/sign/{name}.touchplate.json").body
        data, package = PACKAGE.files[name], PACKAGE.revision.package_url(name, IDENTITY)
        path = here.folder / name
        path.write_bytes(data)
        with path.open("rb") as file:
            digests = digest_file(file)
        need = ("recorded", "reproduced")
        report = check_bundle(body, digests, package, here.node.trust, now=1_800_000_000, need=need)
        assert [one.operator for one in report.levels.operators] == [OPERATOR_A, OPERATOR_B]
        assert not report.warnings
        lines = here.file(PACKAGE, f"metadata/sign/{name}.intoto.jsonl").body.splitlines()
        kinds = [parse_statement(parse_envelope(line).payload).kind for line in lines]
        assert sorted(kinds) == ["rebuilder", "rebuilder", "recorder"]


def test_the_list_of_files_for_verifying_plugins_has_all_of_them(here: ConanWorld) -> None:
    for published in (RECIPE, PACKAGE):
        listed = json.loads(here.file(published, "metadata/sign/pkgsign-manifest.json").body)["files"]
        expected = {name: hashlib.sha256(data).hexdigest() for name, data in published.files.items()}
        assert {one["file"]: one["sha256"] for one in listed} == expected


def test_records_say_where_a_file_was_seen(here: ConanWorld) -> None:
    here.files(FREE_PACKAGE)
    purl = FREE_PACKAGE.revision.package_url("conan_package.tgz", IDENTITY)
    row = here.node.index.first_record(purl)
    assert row is not None
    assert (row.operator, row.file) == (RECORDER, str(purl))
    payload = json.loads(here.node.log.reader.entry(row.entry).payload)
    assert payload["predicate"]["uri"] == (
        f"upstream:{IDENTITY}/{FREE_PACKAGE.revision.file_path('conan_package.tgz')}"
    )
    assert parse_purl(payload["subject"][0]["uri"]) == purl


def test_pages_explain_revisions(here: ConanWorld) -> None:
    def why(path: str) -> str:
        answer = here.get(f"/why/conan/team/{path}")
        assert answer.status == 200, answer.text
        return answer.text

    assert "Nobody asked this node for this revision yet" in why(f"{PACKAGE.revision.path}/files")
    here.files(PACKAGE)
    here.files(NEWER_PACKAGE)
    text = why(f"{PACKAGE.revision.path}/files")
    assert "This package is served: everything that its rule asks for is in the log" in text
    assert "built exactly these bytes from the source release" in text
    assert "Only rebuilds whose provenance names this very recipe" in text
    assert "This recipe is served" in why(f"{RECIPE.revision.path}/files/conanfile.py")
    text = why(f"{NEWER_PACKAGE.revision.path}/files")
    assert "This package is refused" in text
    assert "Two operators, independent of each other, must build these bytes from source" in text
    told = here.get(f"/api/v1/why/conan/team/{NEWER_PACKAGE.revision.path}/files").json
    assert (told["verdict"], told["path"]) == ("refuse", f"{NEWER_PACKAGE.revision.path}/files")
    assert "not reproduced: 0 of 2 operators" in told["detail"]
    assert here.get(f"/why/conan/team/{REVISION.reference.path}/latest").status == 404
    assert here.get("/why/conan/other/v1/ping").status == 404


def test_pages_and_json_know_packages(here: ConanWorld) -> None:
    here.files(PACKAGE)
    start = here.get("/", Accept="text/html").text
    assert "conan remote add touchplate-team http://127.0.0.1/conan/team" in start
    assert "lib/1.0" in start
    package = f"pkg:conan/lib@1.0?repository_url={IDENTITY}"
    assert here.get(f"/packages/{package}").status == 200
    link = here.node.links.find("conan:team", PACKAGE.revision.file_path("conan_package.tgz"))
    assert link is not None
    view = here.get(f"/api/v1/artifacts/{link.sha256}").json
    assert view["served"] == [f"{TEAM}/{PACKAGE.revision.file_path('conan_package.tgz')}"]
    assert view["files"][0]["levels"] == ["recorded", "reproduced"]
    assert here.get(f"/artifacts/{link.sha256}").status == 200


def test_a_held_file_is_held_as_its_own_package_file(here: ConanWorld) -> None:
    assert here.files(PACKAGE).status == 200
    files = here.node.conan.known(here.node.conan.remote("team"), PACKAGE.revision)
    assert files is not None
    for file in files.files:
        assert here.node.views.file(file.link.sha256, str(file.package)).is_held
        other = str(file.package).replace("rrev=", "rrev=0")
        assert not here.node.views.file(file.link.sha256, other).is_held
