"""What one good entry says in full, for people: who built how, from what, when, and what differed.

Levels need none of it, so the index does not hold it: it is read from the entry when a page is made. Texts
are their signer's own words. They are cut here, escaped where they are shown, and evidence of nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from touchplate.verify.entry import parse_packed
from touchplate.verify.errors import VerifyError
from touchplate.verify.names import parse_builder
from touchplate.verify.predicates.comparison import Differences, Failure
from touchplate.verify.statements import Comparison, Provenance, Record, parse_predicate, parse_statement

SHOWN_LINES = 20
"""Causes, and lines of a summary, that are shown of one comparison: the report has all of them."""

SHOWN_TEXT = 300
"""Characters of one such line: more is no summary any more."""


@dataclass(frozen=True)
class Evidence:
    """A file behind a statement (definition, input lock, build log, report): what it is, and its sha256."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Account:
    """One entry in full. What its kind of statement does not have is empty.

    `builder`: the kind of sandbox; `started`, `finished`: times as the builder claims them; `seen`: unix
    seconds of a record; `published`: where the file came from; `rebuilt`: sha256 of what came out;
    `stabilizers`: what made it equal to the published file, in order; `stabilized`: sha256 of both then.
    """

    builder: str = ""
    sources: tuple[str, ...] = ()
    tools_pinned: bool = True
    started: str = ""
    finished: str = ""
    published: str = ""
    seen: int | None = None
    size: int | None = None
    rebuilt: str = ""
    stabilizers: tuple[str, ...] = ()
    stabilized: str = ""
    differences: int = 0
    causes: tuple[str, ...] = ()
    summary: tuple[str, ...] = ()
    failure: str = ""
    evidence: tuple[Evidence, ...] = ()


def read_account(packed: bytes) -> Account:
    """The account in a packed entry. One that cannot be read, which no good entry is, has an empty one."""
    try:
        predicate = parse_predicate(parse_statement(parse_packed(packed).payload))
    except VerifyError:
        return Account()
    match predicate:
        case Record():
            return Account(published=cut(predicate.uri), seen=predicate.seen, size=predicate.size)
        case Provenance():
            return _built(predicate)
        case Comparison():
            return _compared(predicate)
        case _:
            return Account()


def cut(text: str) -> str:
    """`text`, at most SHOWN_TEXT characters of it."""
    return text if len(text) <= SHOWN_TEXT else f"{text[: SHOWN_TEXT - 1]}…"


def _built(provenance: Provenance) -> Account:
    files = [
        Evidence("definition", provenance.one("definition").digests["sha256"]),
        Evidence("input lock", provenance.one("input-lock").digests["sha256"]),
        *(Evidence(name.replace("-", " "), sha256) for name, sha256 in sorted(provenance.byproducts.items())),
    ]
    return Account(
        builder=parse_builder(provenance.builder)[1],
        sources=tuple(sorted(provenance.source_kinds)),
        tools_pinned=not provenance.has_host_tools,
        started=provenance.metadata.get("startedOn", ""),
        finished=provenance.metadata.get("finishedOn", ""),
        evidence=tuple(files),
    )


def _compared(comparison: Comparison) -> Account:
    differences = comparison.differences or Differences(0, (), ())
    files = [Evidence("definition", comparison.definition)]
    if differences.report is not None:
        files.append(Evidence("difference report", differences.report.sha256))
    return Account(
        published=cut(comparison.published.uri or ""),
        size=comparison.published.size,
        rebuilt=comparison.rebuilt.sha256 if comparison.rebuilt else "",
        stabilizers=_first(comparison.stabilizers),
        stabilized=comparison.stabilized or "",
        differences=differences.count,
        causes=_first(differences.causes),
        summary=_first(differences.summary),
        failure=_failure(comparison.failure),
        evidence=tuple(files),
    )


def _first(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(cut(line) for line in list(lines)[:SHOWN_LINES])


def _failure(failure: Failure | None) -> str:
    return cut(f"{failure.phase}, {failure.reason}: {failure.detail}") if failure else ""
