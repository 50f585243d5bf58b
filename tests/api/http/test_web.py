"""The pages: plain HTML that escapes everything, needs no script, and explains decisions in prose."""

import contextlib
import hashlib
import html
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.api.support import JAR, World, world
from tests.verify.cases import comparison, provenance, second
from tests.verify.support import PUBLISHED

from touchplate.api.pages.render import prose
from touchplate.verify.purl import maven_purl

SHA256 = hashlib.sha256(PUBLISHED).hexdigest()
PACKAGE = "pkg:maven/org.example/lib@1.0"
HTML = {"Accept": "text/html,*/*"}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        made.upstream.put(JAR, PUBLISHED)
        made.get(f"/maven/central/{JAR}")
        yield made


def test_the_start_page_shows_the_checkpoint_and_what_was_rebuilt(here: World) -> None:
    empty = here.get("/").text
    assert "log.example.org" in empty
    assert "Nobody rebuilt a package yet" in empty
    here.append(provenance(), second(), comparison("rebuilder-c", "different"))
    page = here.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for word in (
        "org.example:lib:1.0",
        "reproduced",
        "contradicted",
        "4 entries",
        "mirrorOf",
        here.node.prover.checkpoint().root.hex(),
    ):
        assert word in page.text


def test_no_page_needs_a_script(here: World) -> None:
    here.append(provenance())
    for path in ("/", f"/packages/{PACKAGE}", f"/artifacts/{SHA256}", f"/why/maven/central/{JAR}"):
        page = here.get(path)
        assert page.status == 200
        assert "<script" not in page.text
        assert "script" not in page.headers["content-security-policy"]
        assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "prefers-color-scheme: dark" in here.get("/style.css").text


def test_explains_a_refusal(here: World) -> None:
    here.append(provenance(), comparison("rebuilder-c", "not-built"))
    page = here.get(f"/why/maven/central/{JAR}").text
    for words in (
        "This file is refused",
        "Rule 1 of 2 decides",
        "enough operators, independent of each other, built these very bytes from source",
        "https://recorder.example.org saw these bytes first",
        "https://rebuild-a.example.org built exactly these bytes from the source release",
        "https://rebuild-c.example.org tried and could not build it",
        "1 of 2 operators",
        "One more rebuilder of another operator must build these bytes",
        SHA256,
    ):
        assert words in page


def test_explains_what_is_served(here: World) -> None:
    here.append(provenance(), second())
    assert "everything that its rule asks for" in here.get(f"/why/maven/central/{JAR}").text


def test_explaining_fetches_and_writes_nothing(here: World) -> None:
    path = "org/example/lib/9.9/lib-9.9.jar"
    here.upstream.put(path, b"new")
    size = here.size()
    assert "This node never fetched the file" in here.get(f"/why/maven/central/{path}").text
    assert here.upstream.asked(path) == 0
    assert here.size() == size


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/why/maven/nowhere/a/b/1/b-1.jar", 404),
        ("/why/docker/central/a/b/1/b-1.jar", 404),
        ("/why/maven/central/../etc", 400),
        ("/artifacts/abc", 400),
        (f"/artifacts/{'0' * 64}", 404),
        ("/packages/pkg:maven/org.example/none@1", 404),
        ("/packages/lib", 400),
        ("/find?q=", 400),
        ("/nothing", 404),
    ],
)
def test_answers_what_is_not_there(here: World, path: str, status: int) -> None:
    assert here.get(path).status == status
    page = here.get(path, **HTML)
    assert page.status == status
    assert page.headers["content-type"] == "text/html; charset=utf-8"


def test_pages_and_problems_keep_browsers_from_the_rest(here: World) -> None:
    for path in ("/", "/nothing", f"/why/maven/central/{JAR}", "/packages/lib"):
        headers = here.get(path, **HTML).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] in ("no-cache", "no-store")


def test_a_page_about_an_unforeseen_error_tells_nothing_of_it(
    here: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(here.node.views, "overview", fail)
    sent = []
    for headers in ({}, HTML):
        with contextlib.suppress(RuntimeError):  # the framework raises it again for the server's own log
            sent.append(here.get("/", **headers).text)
    assert "secret detail" not in "".join(sent)
    assert "secret detail" in caplog.text


def test_commands_to_copy_hold_no_others(here: World) -> None:
    evil = maven_purl("org.example", "lib", "1.0;touch x $(id) `id`")
    here.append(provenance(uri=evil))
    page = html.unescape(here.get(f"/artifacts/{SHA256}").text)
    commands = [line for line in page.splitlines() if "touchplate verify lib" in line or "verify '" in line]
    assert any("'lib-1.0;touch x $(id) `id`.jar'" in line for line in commands)
    assert "verify lib-1.0;" not in page


def test_prose_escapes_text_and_code_alike() -> None:
    assert prose("<b> `<i>` &") == "&lt;b&gt; <code>&lt;i&gt;</code> &amp;"


def test_what_a_supporting_file_will_be_asked_for_is_said_before_it_is_seen(here: World) -> None:
    pom = JAR.replace(".jar", ".pom")
    assert "The file must be “recorded”" in here.get(f"/why/maven/central/{pom}").text


def test_escapes_what_strangers_write(here: World) -> None:
    page = here.get("/%3Cscript%3E", **HTML)
    assert page.status == 404
    assert "<script>" not in here.get("/packages/pkg:maven/a/<script>@1", **HTML).text
    assert "<script>" not in here.get("/nothing/<script>", **HTML).text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("org.example:lib:1.0", f"/packages/{PACKAGE}"),
        ("org.example:lib", "/packages/pkg:maven/org.example/lib"),
        ("pkg:maven/org.example/lib", "/packages/pkg:maven/org.example/lib"),
        ("pkg:maven/org.example/lib@1.0", f"/packages/{PACKAGE}"),
        (SHA256, f"/artifacts/{SHA256}"),
        (f"sha256:{SHA256}", f"/artifacts/{SHA256}"),
    ],
)
def test_finds_packages_and_artifacts(here: World, query: str, found: str) -> None:
    answer = here.get(f"/find?q={query}")
    assert (answer.status, answer.headers["location"]) == (303, found)
    assert here.get(found).status == 200
