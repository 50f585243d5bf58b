"""The package and artifact pages: all that the log knows, told apart, and nothing that strangers can bend."""

import hashlib
import html
import re
import shlex
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from tests.api.support import JAR, World, world
from tests.verify.cases import OPERATOR_C, comparison, provenance, record, second, trust_text
from tests.verify.support import (
    LIB,
    LIB_OTHER_VERSION,
    OPERATOR_A,
    OPERATOR_B,
    OTHER,
    PUBLISHED,
    edited,
    make_comparison,
    sign,
    statement_signer,
)

from touchplate.api.accounts import SHOWN_LINES, SHOWN_TEXT, read_account
from touchplate.api.naming import parse_name, version_order
from touchplate.api.pages.render import SHOWN_CHARACTERS, shell_word, visible
from touchplate.api.views import LISTED_IN_FULL
from touchplate.verify.cli import main
from touchplate.verify.entry import Entry, pack_entry
from touchplate.verify.purl import maven_purl

SHA256 = hashlib.sha256(PUBLISHED).hexdigest()
OTHER_SHA256 = hashlib.sha256(OTHER).hexdigest()
PACKAGE = "/packages/pkg:maven/org.example/lib@1.0"
ARTIFACT = f"/artifacts/{SHA256}"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        made.upstream.put(JAR, PUBLISHED)
        made.get(f"/maven/central/{JAR}")
        yield made


def words(here: World, path: str) -> str:
    """What a person reads on a page."""
    answer = here.get(path)
    assert answer.status == 200
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())


def different_by_c() -> list[Entry]:
    """A rebuild of other bytes by the third operator, and the comparison that names it."""
    built = provenance(OPERATOR_C, "rebuilder-c", data=OTHER)
    return [built, comparison("rebuilder-c", "different", provenance=built.identity.hex())]


def test_a_package_page_tells_published_bytes_from_those_that_were_only_built(here: World) -> None:
    here.append(provenance(), second(), *different_by_c())
    page = words(here, PACKAGE)
    published, built = page.index("Published files"), page.index("Other bytes that rebuilders got")
    assert published < page.index(SHA256[:12]) < built
    assert page.rindex(OTHER_SHA256[:12]) > built
    assert "rebuild-c.example.org got other bytes (entry 4 )" in page
    view = here.get(f"/api/v1{PACKAGE}").json
    assert [one["result"] for one in view["rebuilds"]] == ["different", "built", "built"]


def test_the_history_has_every_rebuild_of_a_file_the_newest_first(here: World) -> None:
    first = provenance()
    again = provenance(note="2")
    here.append(
        comparison("rebuilder-a", "not-built"),
        first,
        comparison("rebuilder-a", "identical", provenance=first.identity.hex()),
        again,
        comparison("rebuilder-a", "identical", provenance=again.identity.hex()),
    )
    page = words(here, PACKAGE)
    history = page[page.index("Rebuild history") :]
    assert history.index("4 , 5") < history.index("2 , 3") < history.index("build, exit-status")
    assert "build, exit-status: the command ended with status 1" in history
    rebuilds = here.get(f"/api/v1{PACKAGE}").json["rebuilds"]
    assert [one["entries"] for one in rebuilds] == [["4", "5"], ["2", "3"], ["1"]]
    assert rebuilds[0]["builder"] == "bubblewrap"
    assert rebuilds[0]["sources"] == ["source-release"]


def test_two_contents_of_one_release_are_told_loudly(here: World) -> None:
    here.append(record(OTHER))
    page = words(here, PACKAGE)
    assert "Different bytes under one name" in page
    assert page.index("Different bytes under one name") < page.index("Published files")


def test_a_rebuild_of_other_bytes_is_no_second_content(here: World) -> None:
    here.append(*different_by_c())
    assert "Different bytes under one name" not in words(here, PACKAGE)


def test_all_versions_of_a_package_stand_on_one_page(here: World) -> None:
    here.append(provenance(uri=LIB_OTHER_VERSION), record(OTHER, maven_purl("org.example", "lib", "1.10")))
    page = words(here, "/packages/pkg:maven/org.example/lib")
    assert page.index("1.10") < page.index("1.1 ") < page.index("1.0 ")
    assert [
        version["package"]
        for version in here.get("/api/v1/packages/pkg:maven/org.example/lib").json["versions"]
    ] == [f"pkg:maven/org.example/lib@{version}" for version in ("1.10", "1.1", "1.0")]
    assert "1.10" in words(here, PACKAGE)


def test_versions_of_another_upstream_are_another_packages(here: World) -> None:
    here.append(record(OTHER, maven_purl("org.example", "lib", "7", repository_url="mirror.example.org")))
    assert " 7 " not in words(here, "/packages/pkg:maven/org.example/lib")
    assert " 7 " in words(here, "/packages/pkg:maven/org.example/lib?repository_url=mirror.example.org")


def test_there_is_no_page_of_a_package_that_nobody_knows(here: World) -> None:
    assert here.get("/packages/pkg:maven/org.example/none").status == 404
    assert "versions known here: 1.0" in here.get("/packages/pkg:maven/org.example/lib@9").json["detail"]


def test_an_artifact_page_tells_levels_operators_and_what_stands_behind_them(here: World) -> None:
    here.append(
        provenance(), second(host_tool=True), provenance(OPERATOR_C, "rebuilder-c", sources=("sources-jar",))
    )
    page = words(here, ARTIFACT)
    for text in (
        "2 of 2 operators (1 more from sources-jar only)",
        "rebuild-b.example.org yes identical, from source-release, tools not pinned",
        "rebuild-c.example.org no from sources-jar only",
        "bubblewrap",
        f"{len(PUBLISHED)} bytes",
        hashlib.sha512(PUBLISHED).hexdigest(),
        "first seen by 1 recorder",
        "upstream:central/org/example/lib/1.0/lib-1.0.jar",
        "sandbox report (not held here)",
        "in the tree of 4",
        here.node.prover.checkpoint().root.hex(),
    ):
        assert text in page


def test_differences_are_shown_with_causes_and_summary(here: World) -> None:
    here.append(*different_by_c())
    page = words(here, ARTIFACT)
    for text in ("contradicted", "jdk-major", "Build-Jdk-Spec 17 != 11", "difference report"):
        assert text in page


def test_equivalent_names_its_stabilizers(here: World) -> None:
    theirs = second(data=OTHER)
    here.append(theirs, comparison("rebuilder-b", "equivalent", provenance=theirs.identity.hex()))
    page = words(here, ARTIFACT)
    assert "equivalent rebuild-b.example.org" in page
    assert "Equal after zip-entry-times@1" in page
    assert "rebuild-b.example.org no equivalent by zip-entry-times@1 only" in page
    assert "contradicted" not in page
    package = words(here, PACKAGE)
    assert "rebuild-b.example.org (equivalent by zip-entry-times@1 only, not counted)" in package
    assert "other bytes, equal after zip-entry-times@1" in package
    (rebuild, *_) = here.get(f"/api/v1{PACKAGE}").json["rebuilds"]
    assert (rebuild["result"], rebuild["stabilizers"]) == ("equivalent", ["zip-entry-times@1"])
    assert rebuild["stabilized"] == hashlib.sha256(b"stabilized").hexdigest()
    assert "differences" not in rebuild


def test_not_built_is_information_and_no_difference(here: World) -> None:
    here.append(comparison("rebuilder-c", "not-built"))
    page = words(here, ARTIFACT)
    assert "Information only" in page
    assert "different" not in page
    assert "contradicted" not in page


def test_bytes_that_were_only_built_point_to_the_published_ones(here: World) -> None:
    here.append(*different_by_c())
    page = here.get(f"/artifacts/{OTHER_SHA256}").text
    assert "Nobody says that these bytes were published" in page
    assert f'href="{ARTIFACT}"' in page
    assert "Nobody says that these bytes were published" not in here.get(ARTIFACT).text


def test_what_this_node_got_from_an_upstream_was_published(tmp_path: Path) -> None:
    with world(tmp_path, record=False) as made:
        made.append(provenance(), second())
        assert "Nobody says that these bytes were published" in made.get(ARTIFACT).text
        made.upstream.put(JAR, PUBLISHED)
        assert made.get(f"/maven/central/{JAR}").status == 200
        assert "Nobody says that these bytes were published" not in made.get(ARTIFACT).text
        assert "Other bytes that rebuilders got" not in made.get(PACKAGE).text


def test_evidence_is_linked_where_the_node_holds_it(here: World) -> None:
    here.append(provenance())
    content = b"build-log"  # what the statement names, by its digest
    digest = hashlib.sha256(content).hexdigest()
    assert digest not in "".join(re.findall(r'href="([^"]*)"', here.get(ARTIFACT).text))
    with here.node.evidence.writer(expected=digest, max_bytes=100) as writer:
        writer.write(content)
        writer.commit()
    links = re.findall(r'href="([^"]*)"', here.get(ARTIFACT).text)
    assert f"/builder/evidence/{digest}" in links


def test_every_link_of_the_pages_leads_somewhere(here: World) -> None:
    here.append(provenance(), second(), *different_by_c(), comparison("rebuilder-a", "not-built"))
    pages = ["/", PACKAGE, "/packages/pkg:maven/org.example/lib", ARTIFACT, f"/why/maven/central/{JAR}"]
    seen: set[str] = set()
    while pages:
        path = pages.pop()
        if path in seen or len(seen) > 200:
            continue
        seen.add(path)
        answer = here.get(path)
        assert answer.status == 200, path
        if answer.headers["content-type"].startswith("text/html"):
            found = re.findall(r'(?:href|src)="(/[^"#]*)"', answer.text)
            pages += [html.unescape(one) for one in found]
    assert len(seen) > 25
    assert any("/sigstore/" in path for path in seen)
    assert any(path.startswith("/log/proof/inclusion") for path in seen)
    assert any("intoto.jsonl" in path for path in seen)


def test_the_statements_of_a_refused_file_can_be_had_as_lines(here: World) -> None:
    theirs = provenance()
    here.append(theirs)
    answer = here.get(f"/api/v1{ARTIFACT}/intoto.jsonl?package={quote(str(LIB), safe='')}")
    assert answer.status == 200
    assert answer.body.splitlines()[-1] == theirs.envelope
    assert len(answer.body.splitlines()) == 2
    assert here.get(f"/api/v1/artifacts/{'0' * 64}/intoto.jsonl").status == 404


def test_the_command_asks_for_the_level_that_can_be_reached(here: World) -> None:
    assert "--require recorded" in words(here, ARTIFACT)
    here.append(provenance(), second())
    assert "--require recorded" not in words(here, ARTIFACT)


@pytest.mark.parametrize("is_reproduced", [True, False])
def test_the_command_of_the_page_verifies_the_file_offline(
    here: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_reproduced: bool
) -> None:
    if is_reproduced:
        here.append(provenance(), second())
    page = here.get(ARTIFACT).text
    text = html.unescape(re.findall(r'<pre class="copy"[^>]*>(.*?)</pre>', page, re.DOTALL)[-1])
    fetch, check = (shlex.split(one) for one in text.replace("\\\n", " ").splitlines())
    assert (fetch[:2], check[:2]) == (["curl", "-o"], ["touchplate", "verify"])
    folder = tmp_path / "auditor"
    folder.mkdir()
    address = urlsplit(fetch[3])
    (folder / fetch[2]).write_bytes(here.get(f"{address.path}?{address.query}").body)
    (folder / check[2]).write_bytes(PUBLISHED)
    (folder / "trust.toml").write_text(trust_text())
    monkeypatch.chdir(folder)
    assert main(check[1:]) == 0
    (folder / check[2]).write_bytes(OTHER)
    assert main(check[1:]) == 1


def test_the_start_page_leads_to_what_is_contradicted(here: World) -> None:
    assert "Newest contradictions" not in words(here, "/")
    here.append(comparison("rebuilder-c", "not-built"))
    assert "Newest contradictions" not in words(here, "/")
    here.append(*different_by_c())
    page = words(here, "/")
    assert page.index("Newest contradictions") < page.rindex("org.example:lib:1.0")


def test_bytes_under_very_many_names_are_told_in_full_for_the_first_ones(here: World) -> None:
    here.append(*(provenance(uri=maven_purl("org.example", "many", f"{number:03}")) for number in range(30)))
    files = here.get(f"/api/v1{ARTIFACT}").json["files"]
    assert len(files) == 31
    assert sum(bool(file["rebuilds"]) for file in files) == LISTED_IN_FULL - 1  # the first has a record only
    assert here.get(ARTIFACT).status == 200


HOSTILE = (
    "<script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "\u202egnp.exe\u2066\u200b",
    "\x1b[31mred\x07",
    "A" * 20_000,
    "{{ 1234567*7 }}{% for x in y %}",
    "`code` & <b>",
)


def hostile_difference(text: str) -> Entry:
    payload = make_comparison("different")
    for name in ("causes", "summary"):
        payload = edited(payload, "predicate", "differences", name, value=[text[:100]] * 150)
    return sign(payload, statement_signer("rebuilder-c"))


def hostile_failure(text: str) -> Entry:
    payload = edited(make_comparison("not-built"), "predicate", "failure", "detail", value=text)
    return sign(payload, statement_signer("rebuilder-c"))


def hostile_name(text: str) -> Entry:
    name = re.sub(r"[/\x00-\x1f]", "-", text)[:300]  # a name holds neither
    return provenance(OPERATOR_B, "rebuilder-b", uri=maven_purl("org.example", "lib", name))


class Tags(HTMLParser):
    """The tags of a page, and the names of their attributes, as a browser takes them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


@pytest.mark.parametrize("text", HOSTILE, ids=["script", "quote", "bidi", "escape", "long", "jinja", "prose"])
@pytest.mark.parametrize("make", [hostile_difference, hostile_failure, hostile_name])
def test_what_strangers_write_is_shown_and_does_nothing(
    here: World, make: Callable[[str], Entry], text: str
) -> None:
    plain = Tags("".join(here.get(path).text for path in (ARTIFACT, "/", PACKAGE)))
    here.append(provenance(), make(text))
    (row,) = [row for row in here.node.index.store.evidence_of_digest(SHA256) if row.entry == 2]
    theirs = quote(f"/packages/{row.package}", safe="/:@%")
    for path in (ARTIFACT, "/", PACKAGE, theirs, f"/why/maven/central/{JAR}"):
        answer = here.get(path)
        assert answer.status == 200
        assert len(answer.body) < 150_000
        found = Tags(answer.text)
        assert found.tags - plain.tags <= {"article", "h4", "ul", "li", "strong", "div"}
        assert not [name for name in found.attributes if name.startswith("on") or name == "style"]
        assert not re.findall("[\u202a-\u202e\u2066-\u2069\u200b\x00-\x08\x0b-\x1f\x7f]", answer.text)
        assert str(1234567 * 7) not in answer.text
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    told = re.sub(r"[/\x00-\x1f]", "-", text[:15]) if make is hostile_name else text[:15]
    assert told in visible_again(here.get(ARTIFACT).text)


def visible_again(page: str) -> str:
    """The text of a page with the spelt-out characters turned back."""
    return re.sub(r"\\u\{([0-9a-f]+)\}", lambda found: chr(int(found[1], 16)), html.unescape(page))


def test_a_flood_of_lines_is_cut() -> None:
    entry = hostile_difference("A" * 50)
    account = read_account(pack_entry(entry))
    assert (len(account.causes), len(account.summary)) == (SHOWN_LINES, SHOWN_LINES)
    long = read_account(pack_entry(hostile_failure("B" * 10_000)))
    assert len(long.failure) == SHOWN_TEXT


def test_what_is_no_entry_has_an_empty_account() -> None:
    assert read_account(b"nothing").evidence == ()


def test_hidden_characters_are_spelt_out_and_long_texts_cut() -> None:
    assert visible("a\u202eb\x00c\tä\n") == "a\\u{202e}b\\u{0000}c\\u{0009}ä\n"
    assert len(str(visible("x" * 100_000))) == SHOWN_CHARACTERS
    assert visible(7) == 7
    assert shell_word("a\nrm -rf /") == "'a\\nrm -rf /'"


def test_names_are_taken_with_and_without_a_version() -> None:
    assert str(parse_name("pkg:maven/g/a@1?type=jar")[0]) == "pkg:maven/g/a@1"
    named, has_version = parse_name("pkg:maven/g/a?repository_url=x.example")
    assert (named.name, named.qualifier("repository_url"), has_version) == ("a", "x.example", False)


def test_versions_are_ordered_as_people_expect() -> None:
    ordered = ["1.0-alpha", "1.0-rc1", "1.0", "1.0.1", "1.9", "1.10", "2.0-SNAPSHOT", "2.0", "20190101"]
    shuffled = [*ordered[5:], *ordered[:5]]
    assert sorted(shuffled, key=version_order) == ordered


def test_digits_without_end_are_still_a_version() -> None:
    assert sorted(["9" * 5000, "1"], key=version_order) == ["1", "9" * 5000]


def test_other_operators_are_named(here: World) -> None:
    here.append(provenance())
    assert OPERATOR_A.removeprefix("https://") in words(here, ARTIFACT)
