"""Maven through a whole node in this process, over a real upstream on loopback."""

import hashlib
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.api.support import GROUP, JAR, World, world
from tests.base.support import Handler
from tests.verify.cases import comparison, provenance, second
from tests.verify.support import PUBLISHED, RECORDER

from touchplate.api.links import Link
from touchplate.verify.check import check_bundle, digest_file
from touchplate.verify.dsse import parse_envelope
from touchplate.verify.purl import parse_purl
from touchplate.verify.statements import Record, parse_predicate, parse_statement

TOOL = "org/example/tool/2.0/tool-2.0.jar"
TOOL_BYTES = b"the bytes of a tool\n" * 1000
POM = f"{GROUP}/1.0/lib-1.0.pom"
CENTRAL = "/maven/central"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        made.upstream.put(JAR, PUBLISHED)
        made.upstream.put(POM, b"<project/>")
        made.upstream.put(TOOL, TOOL_BYTES)
        yield made


def hexdigest(name: str, data: bytes) -> str:
    return hashlib.new(name, data).hexdigest()


def test_serves_a_file_once_its_record_is_in_the_log(here: World) -> None:
    answer = here.get(f"{CENTRAL}/{TOOL}")
    assert answer.status == 200
    assert answer.body == TOOL_BYTES
    assert answer.headers["content-length"] == str(len(TOOL_BYTES))
    assert answer.headers["etag"] == f'"sha256:{hexdigest("sha256", TOOL_BYTES)}"'
    assert answer.headers["x-checksum-sha1"] == hexdigest("sha1", TOOL_BYTES)
    assert answer.headers["content-type"] == "application/java-archive"
    (row,) = here.node.index.store.evidence_of_digest(hexdigest("sha256", TOOL_BYTES))
    statement = parse_statement(here.node.log.reader.entry(row.entry).payload)
    record = parse_predicate(statement)
    assert isinstance(record, Record)
    assert record.uri == f"upstream:central/{TOOL}"
    assert record.digests["md5"] == hexdigest("md5", TOOL_BYTES)
    assert (row.operator, row.kind) == (RECORDER, "record")


def test_the_log_has_the_record_before_the_file_is_linked(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever can be served has a link, so it is enough to look at the log when the link is made."""
    sizes: list[int] = []
    add = here.node.links.add

    def watched(link: Link) -> Link:
        sizes.append(here.size())
        return add(link)

    monkeypatch.setattr(here.node.links, "add", watched)
    assert here.get(f"{CENTRAL}/{TOOL}").status == 200
    assert sizes == [1]


def test_fetches_and_records_a_file_once(here: World) -> None:
    for _ in range(3):
        assert here.get(f"{CENTRAL}/{TOOL}").status == 200
    assert here.upstream.asked(TOOL) == 1
    assert here.size() == 1


def test_concurrent_requests_share_one_fetch(here: World) -> None:
    everybody = threading.Barrier(8)
    arrived = threading.Event()

    def slowly(handler: Handler) -> None:
        arrived.wait(30)
        handler.reply(200, TOOL_BYTES)

    here.upstream.act(TOOL, slowly)

    def ask(_: int) -> bytes:
        everybody.wait(30)
        return here.get(f"{CENTRAL}/{TOOL}").body

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(ask, number) for number in range(8)]
        arrived.set()
        assert [answer.result(30) for answer in answers] == [TOOL_BYTES] * 8
    assert here.upstream.asked(TOOL) == 1
    assert here.size() == 1


def test_head_has_the_same_headers_and_no_body(here: World) -> None:
    got = here.get(f"{CENTRAL}/{TOOL}")
    head = here.get(f"{CENTRAL}/{TOOL}", "HEAD")
    assert head.status == 200
    assert head.body == b""
    assert head.headers == got.headers


def test_sends_ranges(here: World) -> None:
    assert here.get(f"{CENTRAL}/{TOOL}").headers["accept-ranges"] == "bytes"
    part = here.get(f"{CENTRAL}/{TOOL}", Range="bytes=10-19")
    assert (part.status, part.body) == (206, TOOL_BYTES[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(TOOL_BYTES)}"
    assert here.get(f"{CENTRAL}/{TOOL}", Range="bytes=-5").body == TOOL_BYTES[-5:]
    assert here.get(f"{CENTRAL}/{TOOL}", Range=f"bytes={len(TOOL_BYTES) - 3}-").body == TOOL_BYTES[-3:]
    outside = here.get(f"{CENTRAL}/{TOOL}", Range=f"bytes={len(TOOL_BYTES)}-")
    assert outside.status == 416
    assert outside.headers["content-range"] == f"bytes */{len(TOOL_BYTES)}"
    assert here.get(f"{CENTRAL}/{TOOL}", Range="bytes=9-2").status == 416
    # What is no range that we take is ignored (RFC 9110 14.2).
    assert here.get(f"{CENTRAL}/{TOOL}", Range="bytes=0-1,4-5").status == 200
    assert here.get(f"{CENTRAL}/{TOOL}", Range="lines=1-2").status == 200
    assert here.get(f"{CENTRAL}/{TOOL}", Range="bytes=0-1", If_Range='"other"').status == 200


def test_an_unchanged_file_is_not_sent_again(here: World) -> None:
    etag = here.get(f"{CENTRAL}/{TOOL}").headers["etag"]
    answer = here.get(f"{CENTRAL}/{TOOL}", If_None_Match=f'"other", {etag}')
    assert (answer.status, answer.body) == (304, b"")


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
def test_computes_checksums_from_its_own_bytes(here: World, algorithm: str) -> None:
    here.upstream.put(f"{TOOL}.{algorithm}", b"a lie")
    answer = here.get(f"{CENTRAL}/{TOOL}.{algorithm}")
    assert answer.text == hexdigest(algorithm, TOOL_BYTES)
    assert here.upstream.asked(f"{TOOL}.{algorithm}") == 0


def test_refuses_with_a_problem_that_says_why(here: World) -> None:
    answer = here.get(f"{CENTRAL}/{JAR}")
    assert answer.status == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json["detail"] == "org.example:lib:jar:1.0 not reproduced: 0 of 2 operators"
    assert answer.json["reason"] == "not-reproduced"
    assert answer.json["explanation"] == f"/why/maven/central/{JAR}"


def test_a_refused_files_checksums_and_siblings_are_refused_too(here: World) -> None:
    for suffix in (".sha1", ".sha512", ".touchplate.json", ".intoto.jsonl"):
        assert here.get(f"{CENTRAL}/{JAR}{suffix}").status == 403
    assert here.get(f"{CENTRAL}/{JAR}", "HEAD").status == 403
    assert here.get(f"{CENTRAL}/{JAR}", Range="bytes=0-3").status == 403


def test_a_pom_of_a_refused_jar_is_served(here: World) -> None:
    assert here.get(f"{CENTRAL}/{POM}").status == 200


def test_two_operators_turn_the_refusal_into_success(here: World) -> None:
    assert here.get(f"{CENTRAL}/{JAR}").status == 403
    here.append(provenance())
    assert "1 of 2 operators" in here.get(f"{CENTRAL}/{JAR}").json["detail"]
    here.append(provenance(key="rebuilder-a2"))
    assert "1 of 2 operators" in here.get(f"{CENTRAL}/{JAR}").json["detail"]
    here.append(second(), comparison("rebuilder-c", "different"))
    answer = here.get(f"{CENTRAL}/{JAR}")
    assert (answer.status, answer.body) == (200, PUBLISHED)
    (file,) = here.get(f"/api/v1/artifacts/{hexdigest('sha256', PUBLISHED)}").json["files"]
    assert file["levels"] == ["recorded", "reproduced"]
    assert [found["operator"] for found in file["contradicted"]] == ["https://rebuild-c.example.org"]


def test_the_sibling_is_a_bundle_that_verifies_offline(here: World, tmp_path: Path) -> None:
    assert here.get(f"{CENTRAL}/{JAR}").status == 403
    here.append(provenance(), second())
    bundle = here.get(f"{CENTRAL}/{JAR}.touchplate.json")
    assert bundle.status == 200
    path = tmp_path / "lib-1.0.jar"
    path.write_bytes(here.get(f"{CENTRAL}/{JAR}").body)
    with path.open("rb") as file:
        digests = digest_file(file)
    package = parse_purl("pkg:maven/org.example/lib@1.0?type=jar")
    need = ("recorded", "reproduced")
    report = check_bundle(bundle.body, digests, package, here.node.trust, now=1_800_000_000, need=need)
    assert report.levels.reproduced
    assert not report.warnings
    lines = here.get(f"{CENTRAL}/{JAR}.intoto.jsonl").body.splitlines()
    assert len([parse_envelope(line) for line in lines]) == 3


def test_right_bytes_under_a_wrong_version_are_refused(here: World) -> None:
    here.append(provenance(), second())
    wrong = f"{GROUP}/1.1/lib-1.1.jar"
    here.upstream.put(wrong, PUBLISHED)
    answer = here.get(f"{CENTRAL}/{wrong}")
    assert (answer.status, answer.json["reason"]) == (403, "wrong-package")


def test_names_the_upstreams_that_there_are(here: World) -> None:
    answer = here.get(f"/maven/centrall/{TOOL}")
    assert (answer.status, answer.json["reason"]) == (404, "unknown-upstream")
    assert "there is: central" in answer.json["detail"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("org/example/tool/2.0/nothing-2.0.jar", 404),
        ("org/example/tool/2.1/tool-2.1.jar", 404),
        (".meta/prefixes.txt", 404),
        ("org/example/tool/2.0/", 400),
        ("org/../example/tool/2.0/tool-2.0.jar", 400),
        ("org/example/tool/2.0%2ftool-2.0.jar", 400),
        ("org/example/tool/2.0/tool-2.0.jar\\", 400),
    ],
)
def test_answers_bad_and_unknown_paths(here: World, path: str, status: int) -> None:
    answer = here.get(f"{CENTRAL}/{path}")
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert here.size() == 0


def test_nothing_can_be_written(here: World) -> None:
    for method in ("PUT", "POST", "DELETE"):
        assert here.get(f"{CENTRAL}/{TOOL}", method).status == 405
    assert here.size() == 0


def test_remembers_that_there_is_nothing(here: World) -> None:
    missing = "org/example/tool/2.1/tool-2.1.jar"
    assert [here.get(f"{CENTRAL}/{missing}").status for _ in range(3)] == [404] * 3
    assert here.upstream.asked(missing) == 1


def lying(handler: Handler) -> None:
    handler.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")


def redirecting(handler: Handler) -> None:
    handler.reply(302, b"", Location="http://elsewhere.example.org/file.jar")


def failing(handler: Handler) -> None:
    handler.reply(500, b"out of order")


@pytest.mark.parametrize("action", [lying, redirecting, failing, lambda handler: handler.raw(b"SSH-2.0\r\n")])
def test_an_upstream_that_misbehaves_leaves_nothing_behind(here: World, action: object) -> None:
    here.upstream.act(TOOL, action)  # type: ignore[arg-type]
    answer = here.get(f"{CENTRAL}/{TOOL}")
    assert answer.status == 502
    assert answer.json["reason"].startswith("upstream-")
    assert here.size() == 0
    here.upstream.put(TOOL, TOOL_BYTES)
    assert here.get(f"{CENTRAL}/{TOOL}").status == 200


def test_serves_what_it_holds_when_the_upstream_is_down(here: World) -> None:
    here.upstream.act(TOOL, lambda handler: handler.reply(200, TOOL_BYTES, Connection="close"))
    assert here.get(f"{CENTRAL}/{TOOL}").status == 200
    here.upstream.server.shutdown()
    here.upstream.server.server_close()
    assert here.get(f"{CENTRAL}/{TOOL}").body == TOOL_BYTES
    assert here.get(f"{CENTRAL}/{TOOL}.sha1").status == 200
    assert here.get(f"{CENTRAL}/{POM}").status == 502


def test_other_bytes_at_the_same_path_are_refused_loudly(
    here: World, caplog: pytest.LogCaptureFixture
) -> None:
    assert here.get(f"{CENTRAL}/{TOOL}").status == 200
    forget(here, TOOL_BYTES)
    here.upstream.put(TOOL, b"something else")
    answer = here.get(f"{CENTRAL}/{TOOL}")
    assert (answer.status, answer.json["reason"]) == (403, "upstream-changed")
    assert hexdigest("sha256", TOOL_BYTES) in answer.json["detail"]
    assert any(record.levelname == "ERROR" and "changed" in record.message for record in caplog.records)
    assert "changed" in here.get("/").text
    assert here.get("/api/v1/checkpoint").json["alarms"]
    assert here.size() == 1


def forget(here: World, data: bytes) -> None:
    """Lose the blob and every link, as a new node of the same log would not have them."""
    from sqlalchemy import text

    here.node.blobs.path(hexdigest("sha256", data)).unlink()
    with here.node.links._engine.begin() as connection:
        connection.execute(text("delete from links"))


def test_changed_bytes_are_refused_whatever_the_policy_says(tmp_path: Path) -> None:
    with world(tmp_path, rules='[[gate.rule]]\nneed = []\nenforce = "observe"') as here:
        here.upstream.put(TOOL, TOOL_BYTES)
        assert here.get(f"{CENTRAL}/{TOOL}").status == 200
        forget(here, TOOL_BYTES)
        here.upstream.put(TOOL, b"something else")
        assert here.get(f"{CENTRAL}/{TOOL}").json["reason"] == "upstream-changed"


def test_a_lost_blob_is_fetched_again(here: World) -> None:
    assert here.get(f"{CENTRAL}/{TOOL}").status == 200
    here.node.blobs.path(hexdigest("sha256", TOOL_BYTES)).unlink()
    assert here.get(f"{CENTRAL}/{TOOL}").body == TOOL_BYTES
    assert here.size() == 1


def test_over_the_budget_clients_are_told_to_come_back(tmp_path: Path) -> None:
    with world(tmp_path, top="records_per_minute = 1") as here:
        here.upstream.put(TOOL, TOOL_BYTES)
        here.upstream.put(POM, b"<project/>")
        assert here.get(f"{CENTRAL}/{TOOL}").status == 200
        answer = here.get(f"{CENTRAL}/{POM}")
        assert (answer.status, answer.json["reason"]) == (503, "record-budget")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        # What was recorded before is served all the same.
        assert here.get(f"{CENTRAL}/{TOOL}").status == 200


def test_a_log_that_takes_nothing_lets_nothing_through(here: World) -> None:
    here.node.log.sequencer.stop()
    answer = here.get(f"{CENTRAL}/{TOOL}")
    assert answer.status == 503
    assert "retry-after" in answer.headers
    assert here.node.links.find("central", TOOL) is None


def test_without_record_a_file_needs_somebody_elses(tmp_path: Path) -> None:
    with world(tmp_path, record=False) as here:
        here.upstream.put(TOOL, TOOL_BYTES)
        assert here.get(f"{CENTRAL}/{TOOL}").json["reason"] == "not-recorded"
        assert here.size() == 0


def test_a_rule_that_warns_says_so_in_a_header(tmp_path: Path) -> None:
    with world(tmp_path, rules='[[gate.rule]]\nneed = ["reproduced"]\nenforce = "warn"') as here:
        here.upstream.put(TOOL, TOOL_BYTES)
        answer = here.get(f"{CENTRAL}/{TOOL}")
        assert answer.status == 200
        assert answer.headers["warning"] == '299 touchplate "not reproduced: 0 of 2 operators"'
        assert "served with a warning" in here.get(f"/why/maven/central/{TOOL}").text


def test_a_rule_that_observes_lets_everything_through(tmp_path: Path) -> None:
    with world(tmp_path, rules='[[gate.rule]]\nneed = ["reproduced"]\nenforce = "observe"') as here:
        here.upstream.put(TOOL, TOOL_BYTES)
        answer = here.get(f"{CENTRAL}/{TOOL}")
        assert answer.status == 200
        assert "warning" not in answer.headers


METADATA = b"""<metadata><groupId>org.example</groupId><artifactId>%s</artifactId><versioning>
<latest>1.1</latest><release>1.1</release><versions><version>1.0</version><version>1.1</version></versions>
<lastUpdated>20270115080000</lastUpdated></versioning></metadata>"""


def test_metadata_lists_only_versions_that_would_pass(here: World) -> None:
    path = f"{GROUP}/maven-metadata.xml"
    here.upstream.put(path, METADATA % b"lib")
    assert "<version>" not in here.get(f"{CENTRAL}/{path}").text
    here.append(provenance(), second())
    answer = here.get(f"{CENTRAL}/{path}")
    assert "<version>1.0</version>" in answer.text
    assert "1.1" not in answer.text
    assert here.get(f"{CENTRAL}/{path}.sha1").text == hexdigest("sha1", answer.body)
    assert here.upstream.asked(path) == 1


def test_metadata_lists_everything_that_only_needs_to_be_recorded(here: World) -> None:
    path = "org/example/tool/maven-metadata.xml"
    here.upstream.put(path, METADATA % b"tool")
    text = here.get(f"{CENTRAL}/{path}").text
    assert "<version>1.0</version>" in text
    assert "<version>1.1</version>" in text
    assert here.size() == 0


@pytest.mark.parametrize("enforce", ["warn", "observe"])
def test_metadata_hides_nothing_that_would_be_served(tmp_path: Path, enforce: str) -> None:
    path = f"{GROUP}/maven-metadata.xml"
    with world(tmp_path, rules=f'[[gate.rule]]\nneed = ["reproduced"]\nenforce = "{enforce}"') as here:
        here.upstream.put(path, METADATA % b"lib")
        assert "<version>1.1</version>" in here.get(f"{CENTRAL}/{path}").text


def test_metadata_survives_the_upstreams_absence_but_not_its_nonsense(here: World) -> None:
    path = "org/example/tool/maven-metadata.xml"
    here.upstream.put(path, b"<html>login</html>")
    assert here.get(f"{CENTRAL}/{path}").json["reason"] == "upstream-nonsense"
    here.upstream.put(path, METADATA % b"tool")
    assert here.get(f"{CENTRAL}/{path}").status == 200
    here.upstream.act(path, failing)
    assert here.get(f"{CENTRAL}/{path}").status == 200
    assert here.get(f"{CENTRAL}/org/example/none/maven-metadata.xml").status == 404


def test_a_mutable_snapshot_is_asked_for_every_time_and_never_recorded(tmp_path: Path) -> None:
    path = "org/example/tool/3-SNAPSHOT/tool-3-SNAPSHOT.jar"
    with world(tmp_path, rules="[[gate.rule]]\nneed = []") as here:
        for body in (b"yesterday", b"today"):
            here.upstream.put(path, body)
            assert here.get(f"{CENTRAL}/{path}").body == body
        assert here.size() == 0


def test_a_disk_that_takes_no_link_is_told_without_names_of_folders(tmp_path: Path) -> None:
    with world(tmp_path, rules='[[gate.rule]]\nneed = ["recorded"]\n') as one:
        one.upstream.put(JAR, PUBLISHED)
        database = sqlite3.connect(tmp_path / "data" / "links.sqlite")
        database.execute(
            "CREATE TRIGGER full BEFORE INSERT ON links BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
        )
        database.commit()
        answer = one.get(f"/maven/central/{JAR}")
        assert (answer.status, answer.json["reason"]) == (503, "storage-failed")
        assert "disk" not in answer.json["detail"]
        database.execute("DROP TRIGGER full")
        database.commit()
        database.close()
        # Recorded it was before; now it is linked, too.
        assert one.get(f"/maven/central/{JAR}").body == PUBLISHED
        assert one.size() == 1
