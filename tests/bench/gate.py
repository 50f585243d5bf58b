"""The gate's answer for one held file, SQL look-ups included, with a million facts in the index.

What is timed is `MavenJudge.judge`, which every request for a held file runs: first record of the file, facts
about these bytes as this package, rules, levels.
"""

from __future__ import annotations

import hashlib
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.api.support import ListLog
from tests.bench.caches import cached
from tests.bench.harness import Goal, Row, WrongResultError, check, percentile
from tests.verify.cases import make_trust

from touchplate.api.alarms import Alarms
from touchplate.api.blobs import DIGESTS, BlobStore
from touchplate.api.gate import Gate, Rule
from touchplate.api.index.facts import FactIndex
from touchplate.api.index.observe import Observer
from touchplate.api.index.store import CACHE_KIB, Batch, EntryRow, EvidenceRow, IndexStore
from touchplate.api.index.tables import VERSION
from touchplate.api.links import Link, Links
from touchplate.api.maven.judge import MavenJudge
from touchplate.api.maven.layout import MavenFile
from touchplate.api.maven.repository import MetadataSource, Repository
from touchplate.api.ports import Fetched
from touchplate.api.pull import Puller
from touchplate.api.stores import FirstSights, Stores
from touchplate.base.durable import DigestFolder
from touchplate.base.sql import sqlite_engine
from touchplate.verify.purl import maven_purl

FILES = 250_000
FACTS_PER_FILE = 4
"""A record, the provenances of two operators, and the first one's comparison: one entry and one fact each."""

ASKED = 4_000
WARM_UP = 200
BATCH_FILES = 5_000
TRUST = "bench"
RECIPE = 1
"""Goes up when the made index changes: it is kept between runs."""

GOAL = Goal("<", 1, " ms")
OPERATORS = ("https://rebuild-a.example.org", "https://rebuild-b.example.org", "https://recorder.example.org")


def gate(files: int = FILES, asked: int = ASKED) -> list[Row]:
    """Known files and, one in five, files that nobody knows, which must be refused."""
    name = f"gate-{files}-{VERSION}-{RECIPE}"
    made = cached(name, lambda folder: make_index(folder / "index.sqlite", files))
    with tempfile.TemporaryDirectory() as folder:
        judge, repository = _open(made / "index.sqlite", Path(folder))
        cpu, wall = [], []
        numbers = random.Random(1)
        for turn in range(asked + WARM_UP):
            known = turn % 5 != 4
            file, link = _question(numbers.randrange(files) + (0 if known else files))
            began, used = time.perf_counter(), time.thread_time()
            judged = judge.judge(repository, file, link)
            used, began = time.thread_time() - used, time.perf_counter() - began
            right = judged.decision.verdict == ("allow" if known else "refuse")
            check(right, f"{file.path}: the gate said {judged.decision}")
            if turn >= WARM_UP:
                cpu.append(used * 1000)
                wall.append(began * 1000)
    p99 = percentile(cpu, 0.99)
    note = (
        f"CPU; p50 {percentile(cpu, 0.5):.3f} ms; wall p50 {percentile(wall, 0.5):.3f} ms,"
        f" p99 {percentile(wall, 0.99):.3f} ms"
    )
    return [Row(f"gate, {files * FACTS_PER_FILE:,} facts, p99", f"{p99:.3f} ms", "", p99, GOAL, note)]


def make_index(path: Path, files: int) -> None:
    """An index as the follower leaves it, through its own store; the rows are made up, their form is real."""
    store = IndexStore(sqlite_engine(path), TRUST)
    for start in range(0, files, BATCH_FILES):
        rows = [row for number in range(start, min(files, start + BATCH_FILES)) for row in evidence(number)]
        store.add(Batch([EntryRow(row.entry, b"-", row.kind, row.operator) for row in rows], rows, []))
    store.close()


def evidence(number: int) -> Iterator[EvidenceRow]:
    """The four facts about file `number`, each of an entry of its own."""
    file, package = names(number)
    digests = {"sha256": digest_of(number, "sha256"), "sha512": digest_of(number, "sha512")}
    identities = [hashlib.sha256(b"identity %d %d" % (number, one)).hexdigest() for one in range(4)]
    built = {"sources": ["source-release"], "tools_pinned": True, "definition": digests["sha256"]}
    compared = {
        "result": "identical",
        "stabilizers": [],
        "detail": "",
        "provenance": identities[1],
        "rebuilt": {"sha256": digests["sha256"]},
    }
    said: list[tuple[str, str, dict[str, object]]] = [
        ("record", OPERATORS[2], {"size": number}),
        ("provenance", OPERATORS[0], dict(built)),
        ("comparison", OPERATORS[0], dict(compared)),
        ("provenance", OPERATORS[1], dict(built)),
    ]
    for place, (kind, operator, detail) in enumerate(said):
        yield EvidenceRow(
            entry=number * FACTS_PER_FILE + place,
            sha256=digests["sha256"],
            file=file,
            package=package,
            kind=kind,
            operator=operator,
            identity=identities[place],
            detail={**detail, "digests": digests},
            seen=1_800_000_000 if kind == "record" else None,
        )


def digest_of(number: int, algorithm: str) -> str:
    """A digest of file `number`: random to any index."""
    return hashlib.new(algorithm, b"file %d" % number, usedforsecurity=False).hexdigest()


def names(number: int) -> tuple[str, str]:
    """The package URLs of file `number` and of its package version: 50 versions of each artifact."""
    purl = maven_purl(f"org.example.g{number // 1000}", f"a{number // 50}", f"1.{number % 50}")
    return str(purl), str(purl.package)


def _question(number: int) -> tuple[MavenFile, Link]:
    group, artifact, version = f"org.example.g{number // 1000}", f"a{number // 50}", f"1.{number % 50}"
    path = f"{group.replace('.', '/')}/{artifact}/{version}/{artifact}-{version}.jar"
    digests = {name: digest_of(number, name) for name in DIGESTS}
    link = Link("central", path, size=number, by="upstream", seen=0, **digests)
    return MavenFile(path, group, artifact, version, version, None, "jar"), link


def _open(made: Path, folder: Path) -> tuple[MavenJudge, Repository]:
    """A judge as the node wires it, over the made index."""
    trust = make_trust()
    index = FactIndex(IndexStore(sqlite_engine(made, cache_kib=CACHE_KIB), TRUST), ListLog(), Observer(trust))
    check(index.followed > 0, f"{made} is not the index that was made; remove its folder")
    blobs = BlobStore(DigestFolder(folder / "blobs"))
    stores = Stores(blobs, Links(sqlite_engine(folder / "links.sqlite")), index, Alarms())
    rules = [Rule(("recorded",), package="pkg:maven/org.other/*"), Rule(("recorded", "reproduced"))]
    unasked = _NoUpstream()
    repository = Repository(
        "central", "central", True, Puller("central", unasked, blobs), MetadataSource("central", unasked)
    )
    sights = FirstSights(stores, None)
    return MavenJudge([repository], stores, Gate(rules, trust.reproduced), sights), repository


class _NoUpstream:
    """A `Fetcher` that is never asked: everything is held."""

    def fetch(self, path: str, sink: object, max_bytes: int) -> Fetched:
        """See `Fetcher.fetch`."""
        raise WrongResultError(f"the gate asked the upstream for {path}")
