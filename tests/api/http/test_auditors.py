"""What auditors read as JSON, and the proofs behind it."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, event
from tests.api.support import JAR, World, world
from tests.verify.cases import comparison, provenance, second
from tests.verify.support import LIB, LIB_OTHER_VERSION, OTHER, PUBLISHED

from touchplate.verify.check import check_bundle, check_sigstore_bundle, digest_file
from touchplate.verify.purl import maven_purl

SHA256 = hashlib.sha256(PUBLISHED).hexdigest()
ARTIFACT = f"/api/v1/artifacts/{SHA256}"
DIGESTS = digest_file(io.BytesIO(PUBLISHED))
NOW = 1_800_000_000


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        made.upstream.put(JAR, PUBLISHED)
        made.get(f"/maven/central/{JAR}")
        yield made


def test_tells_everything_about_an_artifact(here: World) -> None:
    here.append(provenance(), second(sources=("sources-jar",)), comparison("rebuilder-c", "different"))
    body = here.get(ARTIFACT).json
    assert body["size"] == len(PUBLISHED)
    assert body["digest"]["sha1"] == hashlib.sha1(PUBLISHED, usedforsecurity=False).hexdigest()
    assert body["served"] == [f"/maven/central/{JAR}"]
    (file,) = body["files"]
    assert file["package"] == str(LIB)
    assert file["levels"] == ["recorded"]
    assert file["explanations"]["reproduced"] == "1 of 2 operators (1 more from sources-jar only)"
    assert [entry["kind"] for entry in file["entries"]] == [
        "record",
        "provenance",
        "provenance",
        "comparison",
    ]
    assert file["contradicted"][0]["detail"] == "3 differences (jdk-major)"


def test_lists_the_files_of_a_package_however_it_is_written(here: World) -> None:
    for path in (
        "pkg:maven/org.example/lib@1.0",
        "pkg:maven/org.example/lib@1.0?type=jar",
        f"{LIB}".replace("?", "%3F"),
    ):
        body = here.get(f"/api/v1/packages/{path}").json
        assert body["package"] == "pkg:maven/org.example/lib@1.0"
        assert [file["sha256"] for file in body["files"]] == [SHA256]


def test_the_bundle_of_a_refused_file_can_be_had_here(here: World) -> None:
    here.append(provenance(), second())
    bundle = here.get(f"{ARTIFACT}/bundle?package={str(LIB).replace('?', '%3F')}")
    report = check_bundle(bundle.body, DIGESTS, LIB, here.node.trust, now=NOW)
    assert report.levels.reproduced


def test_a_bundle_asks_which_file_is_meant_when_there_are_several(here: World) -> None:
    here.append(provenance(), provenance(uri=LIB_OTHER_VERSION))
    answer = here.get(f"{ARTIFACT}/bundle")
    assert answer.status == 404
    assert str(LIB_OTHER_VERSION) in answer.json["detail"]


def test_a_bundle_carries_the_rebuild_that_an_equivalent_names(here: World) -> None:
    rebuilt = second(data=OTHER)
    here.append(
        provenance(), rebuilt, comparison("rebuilder-b", "equivalent", provenance=rebuilt.identity.hex())
    )
    bundle = here.get(f"{ARTIFACT}/bundle").json
    assert [entry["index"] for entry in bundle["entries"]] == ["0", "1", "2", "3"]


def test_every_entry_has_a_sigstore_bundle(here: World) -> None:
    here.append(provenance())
    (file,) = here.get(ARTIFACT).json["files"]
    for entry in file["entries"]:
        answer = here.get(entry["sigstore"])
        assert answer.status == 200
        need = ("recorded",) if entry["kind"] == "record" else ()
        check_sigstore_bundle(answer.body, DIGESTS, LIB, here.node.trust, now=NOW, need=need)


@pytest.mark.parametrize("name", ["7.json", "99999999999.json", "-1.json", "01.json", "x.json", ".json"])
def test_there_is_no_sigstore_bundle_of_other_entries(here: World, name: str) -> None:
    assert here.get(f"{ARTIFACT}/sigstore/{name}").status in (400, 404)


def look_ups(here: World, path: str) -> int:
    """How often one request reads the index's evidence."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "FROM evidence" in statement:
            seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        assert here.get(path).status == 200
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    return len(seen)


def test_telling_the_checkpoint_asks_for_no_package(here: World) -> None:
    versions = [maven_purl("org.example", "lib", f"2.{number}") for number in range(20)]
    here.append(*(provenance(uri=version) for version in versions))
    assert look_ups(here, "/api/v1/checkpoint") == 0
    assert look_ups(here, "/") > len(versions)


def test_tells_the_checkpoint(here: World) -> None:
    body = here.get("/api/v1/checkpoint").json
    assert (body["origin"], body["size"], body["followed"]) == ("log.example.org", "1", "1")
    assert body["note"] == here.get("/log/checkpoint").text
    assert body["alarms"] == []
