"""Statements under every small change, signed by a trusted key: the gate finds in them what verify finds,
and nothing counts that a literal reading does not find there."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from tests.api.support import ListLog
from tests.fuzz.bundles import signed_statement
from tests.verify.cases import make_trust, provenance
from tests.verify.mutants import digests
from tests.verify.mutations import mutations
from tests.verify.support import (
    LIB,
    OPERATOR_B,
    make_comparison,
    make_provenance,
    make_record,
    sign,
    statement_signer,
)

from touchplate.api.index.facts import FactIndex
from touchplate.api.index.observe import Observer
from touchplate.api.index.store import IndexStore
from touchplate.base.sql import sqlite_engine
from touchplate.verify.check import gather
from touchplate.verify.dsse import MAX_ENVELOPE_BYTES
from touchplate.verify.levels import judge_levels

SAMPLED = 11
"""Of so many changes one is tried here; all of them in tests/fuzz/test_exhaustive.py."""

STATEMENTS = {
    "provenance": (make_provenance(operator=OPERATOR_B), "rebuilder-b"),
    "equivalent": (make_comparison("equivalent"), "rebuilder-b"),
    "different": (make_comparison("different"), "rebuilder-b"),
    "record": (make_record(), "recorder"),
}
"""A good payload of each kind, and the key that may sign it."""

kinds = pytest.mark.parametrize("kind", STATEMENTS)


def mutants(kind: str, every: int) -> Iterator[tuple[str, bytes]]:
    """The good payload of a kind, and the changed ones that fit into an envelope."""
    yield "nothing", STATEMENTS[kind][0]
    for what, payload in islice(mutations(STATEMENTS[kind][0]), 0, None, every):
        if len(payload) < MAX_ENVELOPE_BYTES // 2:
            yield what, payload


def check_gate(kind: str, folder: Path, every: int) -> int:
    """One log of all mutants of a kind, behind a good rebuild. Returns how many count for something."""
    signer = statement_signer(STATEMENTS[kind][1])
    entries = [provenance(), *(sign(payload, signer) for _, payload in mutants(kind, every))]
    trust, file = make_trust(), digests()
    index = FactIndex(
        IndexStore(sqlite_engine(folder / "index.sqlite"), "trust"), ListLog(entries), Observer(trust)
    )
    index.catch_up()
    facts, found = index.facts(file, LIB), gather(enumerate(entries), file, LIB, trust)
    assert sorted(facts.evidence, key=repr) == sorted(found.evidence, key=repr)
    known = {(one.index, one.step, one.reason) for one in found.warnings}
    assert {(one.index, one.step, one.reason) for one in facts.warnings} <= known
    levels = judge_levels(facts.evidence, trust.reproduced)
    assert levels == judge_levels(found.evidence, trust.reproduced)
    return len(found.evidence) - 1


@kinds
def test_the_gate_reads_changed_statements_as_verify_does(kind: str, tmp_path: Path) -> None:
    assert check_gate(kind, tmp_path, SAMPLED) > 0


def test_no_change_of_a_provenance_counts_unless_it_says_what_it_must() -> None:
    assert sum(signed_statement(payload) for _, payload in mutants("provenance", SAMPLED)) > 1
