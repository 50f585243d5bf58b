"""Defects read in the source of an older system for the same purpose (Pyrsia 0.2.4, archived): none is ours.

Each test names the defect and fails on it. It runs a whole node where the defect would show in one.
"""

import ast
import re
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.api.support import JAR, World, world
from tests.base.support import Handler, running
from tests.log.support import open_sqlite, raw_entries, signed_entries
from tests.verify.cases import default_blocks, provenance, record, second
from tests.verify.support import LIB, PUBLISHED

from touchplate.log.errors import StorageFailedError
from touchplate.log.ports import PackedEntry, Sequenced, Sign
from touchplate.log.sequencer import SoloDecider, TreeSequencer
from touchplate.verify.checkpoints import open_checkpoint
from touchplate.verify.cli import main
from touchplate.verify.entry import parse_packed
from touchplate.verify.purl import maven_purl

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 20
CENTRAL = "/maven/central"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        made.upstream.put(JAR, PUBLISHED)
        yield made


# --- "the latest artifact record": sorted ascending, then the first taken: the oldest ---------------------


def test_the_newest_is_not_the_oldest(here: World) -> None:
    older, newer = (maven_purl("org.example", "lib", version, "jar") for version in ("0.9", "0.10"))
    here.append(provenance(uri=older))
    here.append(provenance(uri=newer))
    newest = here.node.index.store.rebuilt_packages(1)
    assert newest == [str(newer.package)]
    assert here.get("/").text.index("0.10") < here.get("/").text.index("0.9")
    # The record is the one thing of which the oldest counts: everybody gets what was seen first.
    here.append(record(uri=older), record(b"other bytes", uri=older))
    first = here.node.index.first_record(older)
    assert first is not None
    assert first.entry == 2


def test_the_newest_checkpoint_is_served(here: World) -> None:
    for size in (1, 2, 3):
        here.append(provenance(note=str(size)))
        note = here.get("/log/checkpoint").body
        assert open_checkpoint(note, here.node.trust.policy).size == size


def test_the_newest_version_is_the_latest_of_the_metadata(here: World) -> None:
    path = "org/example/tool/maven-metadata.xml"
    versions = "".join(f"<version>{version}</version>" for version in ("1.9", "1.10", "1.2"))
    here.upstream.put(
        path,
        b"<metadata><groupId>org.example</groupId><artifactId>tool</artifactId><versioning>"
        b"<latest>1.10</latest><release>1.10</release><versions>%s</versions></versioning></metadata>"
        % versions.encode(),
    )
    text = here.get(f"{CENTRAL}/{path}").text
    assert "<latest>1.10</latest>" in text
    assert "<release>1.10</release>" in text


# --- SQL put together from what users type ----------------------------------------------------------------

INJECTED = (
    "x' OR '1'='1",
    "'; DROP TABLE entries; --",
    '" OR ""="',
    "x' UNION SELECT packed FROM entries --",
    "%",
    "_" * 8,
    "*",
)


@pytest.mark.parametrize("text", INJECTED)
def test_what_users_type_is_never_sql(here: World, text: str) -> None:
    here.append(provenance())
    before = tables(here)
    quoted = quote(text, safe="")
    for path in (
        f"/api/v1/packages/pkg:maven/org.example/{quoted}@1.0",
        f"/api/v1/packages/pkg:maven/org.example/lib@{quoted}",
        f"/api/v1/packages/{quoted}",
        f"/api/v1/artifacts/{quoted}",
        f"/api/v1/artifacts/{quoted}/sigstore/0.json",
        f"/find?q={quoted}",
        f"/packages/{quoted}",
        f"/artifacts/{quoted}",
        f"{CENTRAL}/org/example/{quoted}/1.0/{quoted}-1.0.jar",
        f"/why{CENTRAL}/org/example/{quoted}/1.0/{quoted}-1.0.jar",
        f"/log/proof/inclusion?index={quoted}&size=1",
        f"/log/entry/{quoted}",
    ):
        answer = here.get(path)
        # To explain why there is nothing is an answer, too.
        fine = {200, 400} if path.startswith("/why") else {400, 403, 404, 422}
        assert answer.status in fine, (path, answer.status)
    assert tables(here) == before


def test_a_name_that_reads_like_sql_is_a_name(here: World) -> None:
    odd = maven_purl("org.example", "lib", "1' OR '1'='1", "jar")
    here.append(provenance(), provenance(uri=odd, note="2"))
    answer = here.get(f"/api/v1/packages/{quote(str(odd.package), safe='/:@')}")
    assert answer.status == 200
    assert [file["package"] for file in answer.json["files"]] == [str(odd)]


def tables(here: World) -> dict[str, list[tuple[str, int]]]:
    """Per database: its tables and how many rows they have; links may only grow by what was asked for."""
    counted = {}
    for path in sorted(here.folder.rglob("*.sqlite")):
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type='table'")]
            counted[path.name] = [
                (name, database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]) for name in names
            ]
        database.close()
    assert {"log.sqlite", "index.sqlite", "links.sqlite"} <= counted.keys()
    return counted


# --- written to the local log before the others took it; the local log is then ahead ----------------------


class FailingOnce:
    """A real tree of which one `apply` fails, before or after its effect."""

    def __init__(self, folder: Path, when: str) -> None:
        self.real = open_sqlite(folder)
        self.when = when

    def apply(
        self, entries: "list[PackedEntry]", sign: Sign | None = None, decided: bytes | None = None
    ) -> list[Sequenced]:
        when, self.when = self.when, ""
        if when == "before":
            raise StorageFailedError("the disk is full")
        done = self.real.apply(entries, sign, decided)
        if when == "after":
            raise StorageFailedError("the connection was lost")
        return done

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)


@pytest.mark.parametrize("when", ["before", "after"])
def test_nobody_is_told_of_an_entry_that_may_not_be_there(tmp_path: Path, when: str) -> None:
    tree = FailingOnce(tmp_path, when)
    sequencer = TreeSequencer(tree, SoloDecider(), sign=None)  # type: ignore[arg-type]
    sequencer.start()
    try:
        (entry,) = raw_entries(1)
        with pytest.raises(StorageFailedError):
            sequencer.submit([entry])[0].result(SECONDS)
        # What everybody sees is what the database holds, not what this process had in mind.
        assert tree.real.head().size == (1 if when == "after" else 0)
        again = sequencer.submit([entry])[0].result(SECONDS)
        assert again == Sequenced(0, duplicate=when == "after")
        assert tree.real.head().size == 1
    finally:
        sequencer.stop()
        tree.real.close()


def test_a_file_whose_record_was_not_taken_is_not_served(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "org/example/tool/2.0/tool-2.0.jar"
    here.upstream.put(path, b"bytes of a tool")
    apply = here.node.log.tree.apply

    def fails(entries: object, sign: object = None) -> list[Sequenced]:
        raise StorageFailedError("the disk is full")

    monkeypatch.setattr(here.node.log.tree, "apply", fails)
    assert here.get(f"{CENTRAL}/{path}").status == 503
    assert here.size() == 0
    monkeypatch.setattr(here.node.log.tree, "apply", apply)
    assert here.get(f"{CENTRAL}/{path}").body == b"bytes of a tool"
    assert here.size() == 1


# --- blocks with more or fewer transactions than one are silently ignored ---------------------------------


def test_batches_of_any_size_are_taken_whole(tmp_path: Path) -> None:
    tree = open_sqlite(tmp_path)
    sequencer = TreeSequencer(tree, SoloDecider(), sign=None)
    sequencer.start()
    try:
        assert sequencer.submit([]) == []
        size = 0
        for count in (1, 2, 3, 255, 300):
            entries = signed_entries(count, start=size)
            answers = [future.result(SECONDS) for future in sequencer.submit(entries)]
            assert [answer.index for answer in answers] == list(range(size, size + count))
            assert tree.read_packed(size, size + count) == [entry.packed for entry in entries]
            size += count
        assert tree.head().size == size
    finally:
        sequencer.stop()
        tree.close()


# --- panics: no authority is known, or a name without its parts -------------------------------------------


def test_with_no_rebuilder_known_the_answer_is_a_reason(tmp_path: Path) -> None:
    recorders = [block for block in default_blocks() if block.startswith("[[recorder]]")]
    with world(tmp_path, blocks=recorders) as made:
        made.upstream.put(JAR, PUBLISHED)
        answer = made.get(f"{CENTRAL}/{JAR}")
        assert answer.status == 403
        assert "0 of 2 operators" in answer.json["detail"]
        assert made.get(f"/why{CENTRAL}/{JAR}", Accept="text/html").status == 200


@pytest.mark.parametrize(
    "name",
    [
        *("", ":", "::", ":::", "a", "a:b", "a:b:", "pkg:", "pkg:maven", "pkg:maven/", "pkg:maven/a"),
        *("pkg:maven/a@1", "pkg:maven/a/b", "pkg:maven/a/b@", "pkg:maven//b@1", "pkg:maven/a/b/c@1"),
        *("org.example:lib", "\x00", "é" * 5000, "pkg:maven/a/b@1?type", "pkg:maven/a/b@1#sub"),
    ],
)
def test_a_name_that_lacks_its_parts_is_refused_with_a_reason(
    here: World, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (f"/api/v1/packages/{quote(name, safe='')}", f"/find?q={quote(name, safe='')}"):
        answer = here.get(path)
        assert answer.status in {400, 404}, (path, answer.status)
    arguments = [name] if name else [""]
    assert main(["rebuild", "--data", str(here.folder / "r"), "--quiet", *arguments]) in {2, 64}
    assert main(["inspect", "--server", "http://127.0.0.1:9", *arguments]) in {2, 64}
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert all(line.startswith("touchplate: ") for line in said.splitlines() if line)


# --- `todo!()` behind a command, `expect()` on what the network does --------------------------------------


def test_no_function_is_only_promised() -> None:
    """Every function does something, or its docstring says that doing nothing is what it is for.

    Left out: Protocols, which name what others do, and overloads, which name types.
    """
    promised = []
    for root in ("log", "builder", "api", "proto"):
        for path in sorted((ROOT / root).rglob("*.py")):
            if path.name.endswith(("_pb2.py", "_pb2_grpc.py")):
                continue
            tree = ast.parse(path.read_text(encoding="utf-8"))
            protocols = {
                id(member)
                for node in ast.walk(tree)
                if isinstance(node, ast.ClassDef) and any("Protocol" in ast.dump(one) for one in node.bases)
                for member in node.body
            }
            promised += [
                f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
                for node in ast.walk(tree)
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                and id(node) not in protocols
                and not any("overload" in ast.dump(one) for one in node.decorator_list)
                and is_empty(node)
                and not SAYS_SO.match(ast.get_docstring(node) or "")
            ]
    assert promised == []


SAYS_SO = re.compile(r"(Nothing|Say nothing|No |Not )")


def is_empty(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Nothing but a docstring, `pass`, `...` or NotImplementedError."""
    body = [one for one in function.body if not (isinstance(one, ast.Expr) and is_text(one.value))]
    return all(
        isinstance(one, ast.Pass)
        or (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
        or (isinstance(one, ast.Raise) and "NotImplementedError" in ast.dump(one))
        for one in body
    )


def is_text(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def test_the_search_for_promises_finds_them() -> None:
    texts = (
        "def f(): ...",
        "def f():\n  '''Doc.'''\n  pass",
        "def f():\n  raise NotImplementedError('later')",
    )
    parsed = [ast.parse(text).body[0] for text in (*texts, "def f():\n  return None")]
    assert [isinstance(one, ast.FunctionDef) and is_empty(one) for one in parsed] == [True, True, True, False]


def test_what_the_network_does_is_an_answer_and_never_the_end(here: World) -> None:
    def hang_up(handler: Handler) -> None:
        handler.connection.shutdown(socket.SHUT_RDWR)

    def nonsense(handler: Handler) -> None:
        handler.wfile.write(b"\x00\xff nonsense\r\n\r\n")
        hang_up(handler)

    def half(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly half")
        hang_up(handler)

    path = "org/example/tool/2.0/tool-2.0.jar"
    for action in (hang_up, nonsense, half):
        here.upstream.act(path, action)
        answer = here.get(f"{CENTRAL}/{path}")
        assert answer.status in {502, 503, 504}
        assert answer.json["reason"]
    here.upstream.put(path, b"bytes of a tool")
    assert here.get(f"{CENTRAL}/{path}").body == b"bytes of a tool"


# --- a second build of the same package is forbidden ------------------------------------------------------


def test_a_package_can_be_rebuilt_again_and_the_history_stays(here: World) -> None:
    first, again = provenance(), provenance(note="2")
    here.append(first, again, second())
    logged = [parse_packed(packed) for _, packed in here.node.log.entries_after(0)]
    assert [entry.identity for entry in logged] == [first.identity, again.identity, second().identity]
    (file,) = here.get(f"/api/v1/packages/{quote(str(LIB.package), safe='/:@')}").json["files"]
    assert {entry["index"] for entry in file["entries"]} == {"0", "1", "2"}
    # The history has three rebuilds; two operators stand behind them.
    assert here.node.views.package(str(LIB.package)).files[0].levels.reproduced
    assert len(here.node.views.package(str(LIB.package)).files[0].levels.operators) == 2


# --- a `ping` that is content with any answer -------------------------------------------------------------


def test_any_answer_is_not_a_nodes_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running() as server:
        for path in ("/api/v1/packages/pkg:maven/a/b@1", "/checkpoint"):
            server.actions[path] = lambda handler: handler.reply(200, b"<html>it works!</html>")
        assert main(["inspect", "pkg:maven/a/b@1", "--server", server.url("")]) == 2
        assert main(["log", "checkpoint", "--url", server.url("")]) == 2
    said = capsys.readouterr()
    assert "verified" not in said.out
    assert "Traceback" not in said.err
