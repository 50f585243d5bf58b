"""`/why/…`: a decision in sentences: every verdict, every refusal of the shared table, every kind of path."""

import html
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.api.support import JAR, Answer, World, world
from tests.verify.cases import (
    ANY_SOURCE,
    CASES,
    OPERATOR_C,
    Case,
    comparison,
    default_blocks,
    provenance,
    rebuilder_block,
    record,
    recorder_block,
    second,
)
from tests.verify.support import (
    LIB,
    LIB_OTHER_VERSION,
    OPERATOR_A,
    OPERATOR_B,
    OTHER,
    PUBLISHED,
    RECORDER,
    digests_of,
)

from touchplate.api.gate import Rule
from touchplate.api.reasons import meaning
from touchplate.api.rule_text import format_rule, format_span
from touchplate.base.config import load_file
from touchplate.log.ports import pack
from touchplate.node.checks import make_rule
from touchplate.node.config import GateSection
from touchplate.verify.entry import Entry, pack_entry

WHY = f"/why/maven/central/{JAR}"
CASE_RULES = "[[gate.rule]]\nneed = [{need}]\n"


def read(here: World, path: str = WHY) -> str:
    """What a person reads on the page: text without tags, entities and line ends."""
    return text_of(here.get(path))


def text_of(answer: Answer) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", answer.text)).split())


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        made.upstream.put(JAR, PUBLISHED)
        made.get(f"/maven/central/{JAR}")
        yield made


def test_says_who_is_missing_and_who_does_not_count(here: World) -> None:
    here.append(provenance(sources=("sources-jar",)))
    page = read(here)
    assert (
        f"Two more rebuilders of different operators must build these bytes; so far only {OPERATOR_A} did, "
        "at index 1, from the sources jar, which this policy does not count."
    ) in page
    assert (
        "Two rebuilds of exactly these bytes, each by an operator of its own, from vcs or source-release."
        in page
    )


def test_says_that_one_more_operator_is_enough(here: World) -> None:
    here.append(provenance(sources=("sources-jar",)), second())
    page = read(here)
    assert (
        f"One more rebuilder of another operator must build these bytes; so far {OPERATOR_B} did, at "
        f"index 2, from the source release; {OPERATOR_A} did, at index 1, from the sources jar, which "
        "this policy"
    ) in page
    assert f"by an operator (other than {OPERATOR_B})" in page
    assert (
        "A trust file whose sources hold sources-jar, too: then what is logged already would be enough."
        in page
    )


def test_does_not_promise_that_weaker_sources_would_be_enough(here: World) -> None:
    here.append(provenance(sources=("sources-jar",)))
    assert "then what is logged already would be enough" not in read(here)


def test_quotes_the_rule_as_it_stands_in_the_configuration(here: World) -> None:
    page = here.get(WHY).text
    quoted = html.unescape(re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)[0])
    assert quoted == '[[gate.rule]]\npackage = "pkg:maven/org.example/lib@*"\nneed = ["reproduced"]'
    assert quoted in (here.folder / "node.toml").read_text()


def test_a_rule_is_written_so_that_the_configuration_reads_the_same(tmp_path: Path) -> None:
    rules = [
        Rule(("recorded", "reproduced"), "warn", "maven", "central", 'pkg:maven/a"b/*', 90_000, 3),
        Rule((), "observe", minimum_age=7 * 86_400),
        Rule(("reproduced",), rebuild="any"),
        Rule(("recorded",)),
    ]
    for rule in rules:
        text = format_rule(rule).replace("[[gate.rule]]", "[[rule]]")
        path = tmp_path / "gate.toml"
        path.write_text(f'trust = "x"\n{text}\n' + ("" if rule.package is None else "[[rule]]\nneed = []\n"))
        if rule.package is not None:
            path.write_text(path.read_text().replace('a\\"b', "ab"))
        read_again = load_file(GateSection, path).rule[0]
        assert str(make_rule(read_again)) == str(rule).replace('a"b', "ab")
        assert make_rule(read_again).rebuild == rule.rebuild


@pytest.mark.parametrize(
    ("seconds", "text"), [(1, "1s"), (90, "90s"), (120, "2m"), (36 * 3600, "36h"), (7 * 86_400, "7d")]
)
def test_spans_are_written_in_the_largest_unit_that_fits(seconds: int, text: str) -> None:
    assert format_span(seconds) == text


def test_tells_who_rebuilt_what_of_a_file_that_is_served(here: World) -> None:
    here.append(
        provenance(), second(), comparison("rebuilder-c", "different"), comparison("rebuilder-c", "not-built")
    )
    page = read(here)
    for words in (
        "everything that its rule asks for is in the log",
        f"{OPERATOR_A} built exactly these bytes from the source release (entry 1).",
        f"{OPERATOR_B} built exactly these bytes from the source release (entry 2).",
        f"{OPERATOR_C} rebuilt it and got different bytes (entry 3): 3 differences (jdk-major).",
        "takes nothing away from what others showed",
        f"{OPERATOR_C} tried and could not build it (entry 4): build: exit-status. That says nothing",
        "a level once reached is never taken away by a further entry",
        "touchplate verify",
    ):
        assert words in page
    assert "What is missing" not in page


def test_a_rebuild_that_failed_is_never_called_a_difference(here: World) -> None:
    here.append(comparison("rebuilder-c", "not-built"))
    page = read(here)
    assert "could not build it" in page
    assert "different bytes" not in page
    assert "contradicted" not in page


def test_says_that_equal_only_after_a_stabilizer_does_not_count(here: World) -> None:
    theirs = second(data=OTHER)
    here.append(theirs, comparison("rebuilder-b", "equivalent", provenance=theirs.identity.hex()))
    assert (
        f"so far only {OPERATOR_B} rebuilt it, at index 2, equivalent by zip-entry-times@1 only, which "
        "this policy"
    ) in read(here)


def test_a_trust_file_that_lists_the_stabilizer_would_be_enough(here: World) -> None:
    theirs = second(data=OTHER)
    here.append(
        provenance(), theirs, comparison("rebuilder-b", "equivalent", provenance=theirs.identity.hex())
    )
    page = read(here)
    assert "A trust file whose stabilizers hold zip-entry-times@1, too: then what is logged already" in page


def test_names_the_stabilizers_of_what_counts(tmp_path: Path) -> None:
    with world(tmp_path, levels='stabilizers = ["zip-entry-times@1"]') as here:
        here.upstream.put(JAR, PUBLISHED)
        here.get(f"/maven/central/{JAR}")
        theirs = second(data=OTHER)
        here.append(
            provenance(), theirs, comparison("rebuilder-b", "equivalent", provenance=theirs.identity.hex())
        )
        page = read(here)
    assert f"{OPERATOR_A} built exactly these bytes from the source release (entry 1)." in page
    assert (
        f"{OPERATOR_B} built a file that is equal after zip-entry-times@1 from the source release (entry 3)."
    ) in page
    assert "everything that its rule asks for is in the log" in page


def append_unasked(made: World, entries: list[Entry]) -> None:
    """Past the admission list: a log with a laxer one, or one that lies, holds such entries, too."""
    for done in made.node.log.writer._sequencer.submit([pack(one, pack_entry(one)) for one in entries]):
        done.result(30)
    made.node.index.catch_up()


@pytest.mark.parametrize("case", [case for case in CASES if case.refused], ids=str)
def test_every_refusal_is_explained(tmp_path: Path, case: Case) -> None:
    rules = CASE_RULES.format(need=", ".join(f'"{level}"' for level in case.need))
    blocks = case.blocks()
    if not any(recorder_block(RECORDER, "recorder") == block for block in blocks):
        blocks = [*blocks, recorder_block(RECORDER, "recorder")]
    with world(tmp_path, rules=rules, record=False, blocks=blocks, levels="\n".join(case.rules)) as made:
        append_unasked(made, case.entries())
        path = JAR.replace("1.0", case.package.version)
        made.upstream.put(path, case.data)
        told = made.get(f"/maven/central/{path}")
        page = read(made, f"/why/maven/central/{path}")
    if case.package == LIB_OTHER_VERSION:
        assert "as another file than the one you asked for" in page
    assert case.refused is not None
    word = case.refused[1]
    if case.lost and told.status == 403 and told.json["reason"] == "upstream-changed":
        assert "not the one that was recorded first" in page
        return
    assert (told.status, told.json["reason"]) == (403, word)
    assert told.json["detail"].partition(" ")[2] in page
    lost = {reason for _, _, reason in case.lost}
    for reason in {word, *lost} - {"not-reproduced", "not-recorded"}:
        assert meaning(reason).what in page
    if "reproduced" in case.need:
        assert "must build these bytes" in page


def test_a_snapshot_is_told_to_be_no_release(tmp_path: Path) -> None:
    path = "org/example/lib/2-SNAPSHOT/lib-2-20270101.010203-1.jar"
    with world(tmp_path) as made:
        made.upstream.put(path, PUBLISHED)
        made.get(f"/maven/central/{path}")
        page = read(made, f"/why/maven/central/{path}")
    assert "A snapshot is not a release" in page
    assert "Nothing for this version: only a release can be reproduced." in page
    assert "must build these bytes" not in page


def test_a_young_file_is_told_when_it_will_be_old_enough(tmp_path: Path) -> None:
    with world(tmp_path, rules='[[gate.rule]]\nneed = ["recorded"]\nminimum_age = "7d"\n') as made:
        made.upstream.put(JAR, PUBLISHED)
        assert made.get(f"/maven/central/{JAR}").json["reason"] == "too-young"
        page = read(made)
        (row,) = made.node.index.store.evidence_of_file(str(LIB))
    assert "This file is refused for now" in page
    assert "The rule asks that the first sight is at least 7d ago; it was on" in page
    assert "Time alone: from" in page
    assert row.seen is not None


def test_a_file_that_nobody_recorded_is_told_what_its_age_counts_from(tmp_path: Path) -> None:
    rules = '[[gate.rule]]\nneed = []\nminimum_age = "1h"\n'
    with world(tmp_path, rules=rules, record=False) as made:
        made.upstream.put(JAR, PUBLISHED)
        made.get(f"/maven/central/{JAR}")
        page = read(made)
    assert "nobody recorded one yet" in page
    assert "A record of first sight, and then time: the age counts from it." in page


@pytest.mark.parametrize(
    ("mode", "words"), [("warn", "served with a warning"), ("observe", "the rule only observes")]
)
def test_rules_that_do_not_stop_anybody_say_so(tmp_path: Path, mode: str, words: str) -> None:
    rules = f'[[gate.rule]]\nneed = ["reproduced"]\noperators = 3\nenforce = "{mode}"\n'
    with world(tmp_path, rules=rules) as made:
        made.upstream.put(JAR, PUBLISHED)
        assert made.get(f"/maven/central/{JAR}").status == 200
        made.append(provenance(), second())
        page = read(made)
    assert words in page
    assert "Enough are 3 operators, says the rule" in page
    assert "One more rebuilder of another operator" in page


def changed_after_fetching(made: World) -> None:
    """This node linked the file before it learnt that another recorder saw other bytes first."""
    made.upstream.put(JAR, PUBLISHED)
    made.get(f"/maven/central/{JAR}")
    made.append(record(OTHER))


def changed_before_fetching(made: World) -> None:
    made.append(record(OTHER))
    made.upstream.put(JAR, PUBLISHED)
    made.get(f"/maven/central/{JAR}")


@pytest.mark.parametrize("change", [changed_after_fetching, changed_before_fetching])
def test_other_bytes_than_the_first_are_an_incident(tmp_path: Path, change: Callable[[World], None]) -> None:
    record_first = change is changed_before_fetching
    with world(tmp_path, record=record_first) as made:
        change(made)
        assert made.get(f"/maven/central/{JAR}").json["reason"] == "upstream-changed"
        page = read(made)
        start = made.get("/").text
    assert "refused whatever the rules say" in page
    assert digests_of(OTHER)["sha256"] in page
    assert digests_of(PUBLISHED)["sha256"] in page
    assert f"{RECORDER} recorded" in page
    assert "Treat this as an incident" in page
    assert f'href="{WHY}"' in start


def test_a_supporting_file_is_asked_for_less(here: World) -> None:
    pom = JAR.replace(".jar", ".pom")
    here.upstream.put(pom, b"<project/>")
    assert here.get(f"/maven/central/{pom}").status == 200
    page = read(here, f"/why/maven/central/{pom}")
    assert "Nothing more is asked of a POM, a signature, a sources or a javadoc jar." in page
    assert "“reproduced”" not in page


def test_a_file_that_was_never_fetched_is_told_what_would_happen(here: World) -> None:
    here.append(
        provenance(uri=LIB_OTHER_VERSION), second(uri=LIB_OTHER_VERSION), record(OTHER, LIB_OTHER_VERSION)
    )
    page = read(here, WHY.replace("1.0", "1.1"))
    assert "This node never fetched the file" in page
    assert "would decide" in page
    assert f"These bytes were published under this name, says the log: {digests_of(OTHER)['sha256']}" in page
    assert f"A rebuilder got these bytes, says the log: {digests_of(PUBLISHED)['sha256']}" in page
    assert "rebuilt by 2 of 2 operators" in page


def test_an_unknown_version_is_told_which_ones_there_are(here: World) -> None:
    page = read(here, WHY.replace("1.0", "9.9"))
    assert "The log says nothing about a file of this name." in page
    assert "It does speak of other versions: 1.0." in page


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        (".sha256", "A .sha256 file is computed by this node"),
        (".md5", "A .md5 file is computed by this node"),
        (".touchplate.json", "The proof bundle of a file is served where the file is"),
        (".intoto.jsonl", "The statements about a file are served where the file is"),
    ],
)
def test_siblings_share_the_decision_of_their_file(here: World, tail: str, words: str) -> None:
    answer = here.get(WHY + tail)
    page = text_of(answer)
    assert answer.status == 200
    assert words in page
    assert "0 of 2 operators" in page


def test_metadata_is_told_to_be_no_evidence(here: World) -> None:
    answer = here.get("/why/maven/central/org/example/lib/maven-metadata.xml")
    assert answer.status == 200
    assert "made by this node and is never judged" in text_of(answer)


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("central/org/example/lib/1.0/other-1.0.jar", 404, "its name must begin with 'lib-1.0'"),
        ("central/lib.jar", 404, "group/artifact/version/file is expected"),
        ("central/../etc/passwd", 400, "is no maven name"),
        ("central/org/example/lib/1.0/lib-1.0.jar.sha1.sha1", 404, "have no checksums"),
        ("central/org/example/lib/1.0/.hidden", 404, "hidden files are no packages"),
        ("nowhere/org/example/lib/1.0/lib-1.0.jar", 404, "there is: central"),
    ],
)
def test_wrong_names_are_explained(here: World, path: str, status: int, words: str) -> None:
    answer = here.get(f"/why/maven/{path}")
    page = text_of(answer)
    assert answer.status == status
    assert "there is nothing to judge" in page
    assert words in page
    assert "Upstreams of this node: central." in page


@pytest.mark.parametrize(
    "path", [JAR, JAR.replace("1.0", "9"), f"{JAR}.sha1", "org/example/lib/maven-metadata.xml"]
)
def test_the_page_stands_as_json_beside_it(here: World, path: str) -> None:
    here.append(provenance())
    page = read(here, f"/why/maven/central/{path}")
    body = here.get(f"/api/v1/why/maven/central/{path}").json
    for line in [body["summary"], *body["known"], *body["advice"], *body.get("missing", [])]:
        assert " ".join(line.replace("`", "").split()) in page


def test_json_of_a_wrong_name_has_its_status(here: World) -> None:
    answer = here.get("/api/v1/why/maven/central/lib.jar")
    assert (answer.status, answer.json["verdict"]) == (404, "none")
    assert here.get("/api/v1/why/docker/central/lib.jar").status == 404


def test_looking_at_the_page_writes_nothing_into_the_log(here: World) -> None:
    size = here.size()
    for path in (WHY, WHY.replace("1.0", "9.9"), WHY + ".sha1"):
        here.get(path)
    assert here.size() == size


def test_a_stranger_is_told_apart_from_a_rebuilder(tmp_path: Path) -> None:
    blocks = [block for block in default_blocks() if rebuilder_block(OPERATOR_B, "rebuilder-b") != block]
    with world(tmp_path, blocks=blocks, levels=ANY_SOURCE) as made:
        made.upstream.put(JAR, PUBLISHED)
        made.get(f"/maven/central/{JAR}")
        made.append(provenance(), second())
        page = read(made)
    assert "One more rebuilder of another operator" in page
    assert "Entry 2. Its key is not in this node's trust file." in page
    assert "Never take a key from an entry." in page
