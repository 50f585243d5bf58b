"""Attacks on the Maven adapter: by clients, by upstreams that lie, and by damage below it."""

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from tests.api.support import DEFAULT_RULES, JAR, World, running_node, running_upstream, world, write_node
from tests.base.support import Handler
from tests.verify.cases import default_blocks, provenance, record, recorder_block, second
from tests.verify.support import LIB, PUBLISHED, RECORDER

from touchplate.api.http.files import Span, StoredFile
from touchplate.api.links import Link
from touchplate.api.maven.layout import FileRequest, MavenFile, parse_path
from touchplate.node.config import load_config
from touchplate.node.wiring import HELD_THREADS
from touchplate.verify.purl import maven_purl

TOOL = "org/example/tool/2.0/tool-2.0.jar"
TOOL_BYTES = b"the bytes of a tool\n" * 1000
CENTRAL = "/maven/central"
MIRROR = "?repository_url=mirror.example.org&"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        made.upstream.put(JAR, PUBLISHED)
        made.upstream.put(TOOL, TOOL_BYTES)
        yield made


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def damage(here: World, data: bytes) -> None:
    """One flipped bit on the disk."""
    path = here.node.blobs.path(sha256(data))
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


@pytest.mark.parametrize(
    "path",
    [
        *(
            JAR + tail
            for tail in (".", ";x=1", "%20", "%00", "/", "%2f", "%5c", "%2e", ".touchplate.json.sha1")
        ),
        *(JAR + tail for tail in (".sha1.sha1", ".sha1.touchplate.json", ".md5.asc.x", "?x=.asc")),
        *(head + JAR for head in ("/", "./", "x/../", "%2e/", "%2e%2e/central/")),
        JAR.replace("/1.0/", "//1.0/"),
        JAR.replace("/1.0/", "/1.0/./"),
        JAR.replace("/1.0/", "/1.0/../1.0/"),
        JAR.replace("lib-1.0.jar", "lib-1%2E0.jar"),
        JAR.replace("lib-1.0.jar", "lib-1%252E0.jar"),
        JAR.replace("lib-1.0.jar", "lib%EF%BC%8D1.0.jar"),
        JAR.replace("lib-1.0.jar", "LIB-1.0.jar"),
        JAR.replace("lib-1.0.jar", "lib-1.0.JAR"),
        JAR.replace("lib-1.0.jar", "lib-1.0-1.0.jar"),
        JAR.replace("lib-1.0.jar", "lib-1.0-tests-sources.jar"),
        JAR.replace("lib-1.0.jar", "lib-1.0-sources.war"),
        JAR.replace("lib-1.0.jar", "lib-1.0-javadoc.zip"),
        "org/example/lib/1.0-sources/lib-1.0-sources.jar",
        "org.example/lib/1.0/lib-1.0.jar",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_no_spelling_of_its_path_gives_a_refused_file_away(here: World, path: str, method: str) -> None:
    def everything(handler: Handler) -> None:
        handler.reply(200, PUBLISHED)

    class Everywhere(dict[str, object]):
        def get(self, _key: object, _default: object = None) -> object:
            return everything

    here.upstream.server.actions = Everywhere()  # type: ignore[assignment]
    for headers in ({}, {"Range": "bytes=0-3"}, {"If_None_Match": f'"sha256:{sha256(PUBLISHED)}"'}):
        answer = here.get(f"{CENTRAL}/{path}", method, **headers)
        assert answer.status in (400, 403, 404)
        assert PUBLISHED not in answer.body
        assert "etag" not in answer.headers


def test_checksums_and_proofs_have_none_of_their_own_and_nothing_is_fetched_for_them(here: World) -> None:
    for tail in (
        ".sha1.md5",
        ".sha1.touchplate.json",
        ".touchplate.json.sha1",
        ".intoto.jsonl.touchplate.json",
    ):
        here.upstream.put(TOOL + tail.rpartition(".")[0], b"an upstream's own")
        assert here.get(f"{CENTRAL}/{TOOL}{tail}").status == 404
    assert here.size() == 0
    assert here.upstream.server.requests == []


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=1-9"}])
def test_a_file_that_was_damaged_on_the_disk_is_never_sent(here: World, headers: dict[str, str]) -> None:
    assert here.get(f"{CENTRAL}/{TOOL}").status == 200
    damage(here, TOOL_BYTES)
    whole = here.get(f"{CENTRAL}/{TOOL}", **headers).body
    assert whole == (TOOL_BYTES[1:10] if headers else TOOL_BYTES)
    assert here.upstream.asked(TOOL) == 2
    assert here.size() == 1
    assert "damaged" in here.get("/").text


def test_a_damaged_file_is_refused_while_the_upstream_is_down(here: World) -> None:
    assert here.get(f"{CENTRAL}/{TOOL}").status == 200
    damage(here, TOOL_BYTES)
    here.upstream.act(TOOL, lambda handler: handler.reply(500, b""))
    for method in ("GET", "HEAD"):
        assert here.get(f"{CENTRAL}/{TOOL}", method).status == 502


def test_a_crash_between_record_and_link_binds_the_upstream_to_what_it_sent(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(_: Link) -> Link:
        raise KeyboardInterrupt

    central, file = here.node.maven.repository("central"), file_of(TOOL)
    with monkeypatch.context() as patch:
        patch.setattr(here.node.links, "add", crash)
        with pytest.raises(KeyboardInterrupt):
            here.node.maven.obtain(central, file)
    assert here.size() == 1
    here.upstream.put(TOOL, b"other bytes")
    assert here.get(f"{CENTRAL}/{TOOL}").json["reason"] == "upstream-changed"
    here.upstream.put(TOOL, TOOL_BYTES)
    assert here.get(f"{CENTRAL}/{TOOL}").body == TOOL_BYTES
    assert here.size() == 1


def file_of(path: str) -> MavenFile:
    asked = parse_path(path)
    assert isinstance(asked, FileRequest)
    return asked.file


def test_of_two_first_sights_with_different_bytes_exactly_one_wins(tmp_path: Path) -> None:
    """Two mirrors of one upstream give different bytes at the same moment."""
    both = threading.Barrier(2)
    with running_upstream() as one, running_upstream() as other:
        mirror = f"""
[[upstream]]
name = "mirror"
ecosystem = "maven"
identity = "central"
url = "{other.url}"
record = true
allow_private = true
"""
        for upstream, body in ((one, b"one"), (other, b"other")):

            def answer(handler: Handler, body: bytes = body) -> None:
                both.wait(30)
                handler.reply(200, body)

            upstream.act(TOOL, answer)
        config = load_config(write_node(tmp_path, one.url, rules=DEFAULT_RULES + mirror))
        with running_node(config) as (node, app), ThreadPoolExecutor(2) as pool:
            here = World(tmp_path, one, node, app)
            asked = [pool.submit(here.get, f"/maven/{name}/{TOOL}") for name in ("central", "mirror")]
            answers = sorted((each.result(60) for each in asked), key=lambda one: one.status)
            assert [one.status for one in answers] == [200, 403]
            assert answers[1].json["reason"] == "upstream-changed"
            first = node.index.store.first_record("pkg:maven/org.example/tool@2.0?type=jar")
            assert first is not None
            assert sha256(answers[0].body) == first.sha256
            # The loser kept nothing: once it sends what was recorded, it is served there as well.
            for upstream in (one, other):
                upstream.put(TOOL, answers[0].body)
            for name in ("central", "mirror"):
                assert here.get(f"/maven/{name}/{TOOL}").body == answers[0].body


def test_an_upstream_in_a_private_network_is_asked_only_when_the_owner_says_so(tmp_path: Path) -> None:
    with running_upstream() as upstream:
        upstream.put(TOOL, TOOL_BYTES)
        path = write_node(tmp_path, upstream.url)
        path.write_text(path.read_text().replace("allow_private = true", "allow_private = false"))
        with running_node(load_config(path)) as (node, app):
            answer = World(tmp_path, upstream, node, app).get(f"{CENTRAL}/{TOOL}")
        assert (answer.status, answer.json["reason"]) == (502, "upstream-address-refused")
        assert upstream.server.requests == []


def test_another_trust_file_is_another_verdict_at_the_next_start(tmp_path: Path) -> None:
    with running_upstream() as upstream:
        upstream.put(JAR, PUBLISHED)
        verdicts = []
        for blocks in (default_blocks(), default_blocks()[1:2] + default_blocks()[3:], default_blocks()):
            config = load_config(write_node(tmp_path, upstream.url, blocks=blocks))
            with running_node(config) as (node, app):
                here = World(tmp_path, upstream, node, app)
                here.append(provenance(), second())
                verdicts.append(here.get(f"{CENTRAL}/{JAR}").status)
        assert verdicts == [200, 403, 200]


def test_a_file_that_becomes_shorter_while_it_is_sent_cuts_the_connection(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"short")
    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    answer = StoredFile(path, Span(0, 10), 200, {"Content-Length": "10"}, is_whole=True)
    with pytest.raises(OSError, match="shorter"):
        asyncio.run(answer({"method": "GET"}, None, send))
    assert not any(message.get("more_body") is False for message in sent)


def test_facts_about_one_upstream_never_answer_for_another(tmp_path: Path) -> None:
    with running_upstream() as upstream:
        upstream.put(JAR, PUBLISHED)
        path = write_node(tmp_path, upstream.url)
        path.write_text(path.read_text().replace('identity = "central"', 'identity = "mirror.example.org"'))
        with running_node(load_config(path)) as (node, app):
            here = World(tmp_path, upstream, node, app)
            here.append(provenance(), second())
            assert here.get(f"{CENTRAL}/{JAR}").json["reason"] == "wrong-package"
            (row,) = node.index.store.evidence_of(sha256(PUBLISHED), f"{LIB}".replace("?", MIRROR))
            assert row.kind == "record"


def test_what_the_log_took_a_moment_ago_counts_at_once(here: World) -> None:
    """An operator who was just told his index must not be refused because the index lags."""
    assert here.get(f"{CENTRAL}/{JAR}").status == 403
    here.node.index.stop()
    here.node.log.append([entry.envelope for entry in (provenance(), second())])
    assert here.node.index.followed == 1
    assert here.get(f"{CENTRAL}/{JAR}").status == 200


def test_a_pom_that_passes_does_not_list_its_version(here: World) -> None:
    path, pom = "org/example/lib/maven-metadata.xml", JAR.replace(".jar", ".pom")
    here.upstream.put(path, listing("1.0"))
    here.upstream.put(pom, b"<project/>")
    assert here.get(f"{CENTRAL}/{pom}").status == 200
    assert "<version>" not in here.get(f"{CENTRAL}/{path}").text
    # Not even when somebody claims to have built the POM: no build gets along with it alone.
    built, uri = b"<project/>", maven_purl("org.example", "lib", "1.0", "pom")
    here.append(provenance(data=built, uri=uri), second(data=built, uri=uri))
    assert "<version>" not in here.get(f"{CENTRAL}/{path}").text


def test_a_bundle_holds_entries_of_keys_that_only_its_reader_may_trust(tmp_path: Path) -> None:
    blocks = [block for block in default_blocks() if "rebuild-c" not in block]
    with world(tmp_path, blocks=blocks) as here:
        here.upstream.put(JAR, PUBLISHED)
        third = provenance("https://rebuild-c.example.org", "rebuilder-c")
        here.append(provenance(), second(), third)
        bundle = here.get(f"{CENTRAL}/{JAR}.touchplate.json").json
        assert [entry["index"] for entry in bundle["entries"]] == ["0", "1", "2", "3"]


def test_a_lost_file_comes_back_as_the_same_bytes_or_not_at_all(tmp_path: Path) -> None:
    """Also where nothing is recorded: this node remembers what it served."""
    with world(tmp_path, record=False, rules="[[gate.rule]]\nneed = []") as here:
        here.upstream.put(TOOL, TOOL_BYTES)
        assert here.get(f"{CENTRAL}/{TOOL}").status == 200
        here.node.blobs.path(sha256(TOOL_BYTES)).unlink()
        here.upstream.put(TOOL, b"other bytes")
        answer = here.get(f"{CENTRAL}/{TOOL}")
        assert (answer.status, answer.json["reason"]) == (403, "upstream-changed")
        here.upstream.put(TOOL, TOOL_BYTES)
        assert here.get(f"{CENTRAL}/{TOOL}").body == TOOL_BYTES


def test_what_is_held_already_is_refused_once_other_bytes_stand_in_the_log(tmp_path: Path) -> None:
    """This node records nothing itself, and another one in the same log saw another file."""
    with world(tmp_path, record=False, rules="[[gate.rule]]\nneed = []") as here:
        here.upstream.put(TOOL, TOOL_BYTES)
        assert here.get(f"{CENTRAL}/{TOOL}").status == 200
        here.append(record(b"other bytes", maven_purl("org.example", "tool", "2.0")))
        for method in ("GET", "HEAD"):
            assert here.get(f"{CENTRAL}/{TOOL}", method).status == 403
        assert here.get(f"{CENTRAL}/{TOOL}").json["reason"] == "upstream-changed"
        assert "refused whatever the rules say" in here.get(f"/why/maven/central/{TOOL}").text


def test_what_is_held_is_served_while_the_upstream_hangs(tmp_path: Path) -> None:
    with running_upstream() as upstream:
        hanging, go_on = threading.Event(), threading.Event()

        def hang(handler: Handler) -> None:
            hanging.set()
            go_on.wait(60)
            handler.reply(404, b"")

        news = [f"org/example/new/{number}/new-{number}.jar" for number in range(HELD_THREADS + 4)]
        upstream.put(TOOL, TOOL_BYTES)
        config = load_config(write_node(tmp_path, upstream.url))
        config = replace(config, http=replace(config.http, threads=1))
        with running_node(config) as (node, app), ThreadPoolExecutor(len(news) + 1) as pool:
            here = World(tmp_path, upstream, node, app)
            assert here.get(f"{CENTRAL}/{TOOL}").status == 200
            for path in news:
                upstream.act(path, hang)
            waiting = [pool.submit(here.get, f"{CENTRAL}/{path}") for path in news]
            assert hanging.wait(30)
            try:
                for path in (f"{CENTRAL}/{TOOL}", f"{CENTRAL}/{TOOL}.sha1", "/"):
                    assert pool.submit(here.get, path).result(20).status == 200
            finally:
                go_on.set()
            assert {one.result(30).status for one in waiting} == {404}


def test_a_disk_that_takes_nothing_is_a_503_that_names_no_folder(
    here: World, caplog: pytest.LogCaptureFixture
) -> None:
    temporary = here.folder / "data" / "blobs" / "tmp"
    temporary.rmdir()
    temporary.write_bytes(b"")
    answer = here.get(f"{CENTRAL}/{TOOL}")
    assert (answer.status, answer.json["reason"]) == (503, "storage-failed")
    assert "retry-after" in answer.headers
    assert str(here.folder) not in answer.text
    assert str(here.folder) in caplog.text
    assert here.size() == 0


def test_a_node_whose_records_do_not_count_stops_recording(tmp_path: Path) -> None:
    blocks = [*default_blocks()[:-1], recorder_block(RECORDER, "recorder", "until_index = 1")]
    with world(tmp_path, blocks=blocks) as here:
        for number in range(4):
            path = f"org/example/tool/{number}/tool-{number}.jar"
            here.upstream.put(path, b"%d" % number)
            assert here.get(f"{CENTRAL}/{path}").status == (503 if number else 200)
        assert here.size() == 2
        assert "does not count" in here.get("/").text


def test_no_browser_runs_what_an_upstream_published(here: World) -> None:
    page = "org/example/page/1/page-1.pom"
    here.upstream.put(page, b'<html xmlns="http://www.w3.org/1999/xhtml"><script>alert(1)</script></html>')
    for path in (page, f"{page}.sha1", TOOL, JAR, "org/example/none/1/none-1.jar"):
        headers = here.get(f"{CENTRAL}/{path}").headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in headers["content-security-policy"]


def test_no_cache_keeps_a_decision(here: World) -> None:
    here.append(provenance(), second())
    for path in (JAR, f"{JAR}.sha1", f"{JAR}.touchplate.json", f"{JAR}.intoto.jsonl", TOOL):
        assert here.get(f"{CENTRAL}/{path}").headers["cache-control"] == "no-cache"
    assert here.get(f"{CENTRAL}/org/example/lib/1.1/lib-1.1.jar").headers["cache-control"] == "no-store"


def listing(*versions: str) -> bytes:
    inner = "".join(f"<version>{version}</version>" for version in versions)
    return f"<metadata><versioning><versions>{inner}</versions></versioning></metadata>".encode()


@pytest.mark.parametrize("rules", [DEFAULT_RULES, '[[gate.rule]]\nneed = ["reproduced"]'])
def test_versions_that_cannot_be_asked_for_are_left_out(tmp_path: Path, rules: str) -> None:
    path = "org/example/tool/maven-metadata.xml"
    with world(tmp_path, rules=rules) as here:
        here.upstream.put(path, listing("[0.9,2)", "../../x", "..", "a b", "-x", "1.0"))
        answer = here.get(f"{CENTRAL}/{path}")
        assert answer.status == 200
        assert answer.text.count("<version>") == ("recorded" in rules)
        assert "&" not in answer.text


def test_a_list_of_far_too_many_versions_is_nonsense(here: World) -> None:
    path = "org/example/tool/maven-metadata.xml"
    here.upstream.put(path, listing(*map(str, range(20_001))))
    assert here.get(f"{CENTRAL}/{path}").json["reason"] == "upstream-nonsense"
