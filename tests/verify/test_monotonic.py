"""A bundle comes from a party that nobody trusts: leaving entries out must never help it."""

import io
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.verify.bundles import make_bundle
from tests.verify.cases import ANY_SOURCE, CASES, STABILIZER, make_trust
from tests.verify.support import LIB, PUBLISHED

from touchplate.verify.bundle import Bundle, format_bundle, parse_bundle
from touchplate.verify.check import FileDigests, check_bundle, digest_file
from touchplate.verify.entry import Entry
from touchplate.verify.errors import RefusedError
from touchplate.verify.judge import EntryWarning, first_cost, judge
from touchplate.verify.levels import LEVELS
from touchplate.verify.trust import TrustFile


@cache
def pool() -> tuple[Entry, ...]:
    """Every different entry of the shared cases."""
    return tuple(dict.fromkeys(entry for case in CASES for entry in case.entries()))


@cache
def trusts() -> tuple[TrustFile, ...]:
    """Readers who ask for much and for little."""
    lenient = f'stabilizers = ["{STABILIZER}"]'
    return (
        make_trust(),
        make_trust(lenient),
        make_trust(ANY_SOURCE, lenient),
        make_trust("operators = 1"),
        make_trust("operators = 3", ANY_SOURCE, lenient),
    )


@cache
def file() -> FileDigests:
    return digest_file(io.BytesIO(PUBLISHED))


def chosen(numbers: frozenset[int]) -> list[tuple[int, Entry]]:
    return [(number, pool()[number]) for number in sorted(numbers)]


subsets = st.frozensets(st.integers(0, 200).map(lambda number: number % len(pool())), max_size=12)


@settings(max_examples=150, deadline=None)
@given(subsets, subsets, st.integers(0, 4))
def test_removing_entries_never_adds_a_level(
    kept: frozenset[int], removed: frozenset[int], reader: int
) -> None:
    trust = trusts()[reader]
    whole = judge(chosen(kept | removed), file(), LIB, trust).levels
    part = judge(chosen(kept), file(), LIB, trust).levels
    assert set(part.reached) <= set(whole.reached)
    assert {one.operator for one in part.operators} <= {one.operator for one in whole.operators}
    assert part.slsa_reproduced <= whole.slsa_reproduced


@settings(max_examples=25, deadline=None)
@given(subsets, st.integers(0, 4))
def test_no_part_of_a_refused_bundle_is_accepted(kept: frozenset[int], reader: int) -> None:
    trust = trusts()[reader]
    whole = parse_bundle(make_bundle(list(pool())))
    part = Bundle(whole.artifact, whole.checkpoint, tuple(whole.entries[number] for number in sorted(kept)))
    for level in LEVELS:
        if accepted(part, trust, level):
            assert accepted(whole, trust, level)


def accepted(bundle: Bundle, trust: TrustFile, level: str) -> bool:
    try:
        check_bundle(format_bundle(bundle), file(), LIB, trust, now=0, need=(level,))
    except RefusedError:
        return False
    return True


@given(st.permutations([(3, "unknown-key"), (4, "wrong-package"), (5, "wrong-package"), (5, "wrong-digest")]))
def test_the_order_of_entries_does_not_change_which_cost_is_named(order: list[tuple[int, str]]) -> None:
    first = first_cost(EntryWarning(index, step, reason, "") for index, (step, reason) in enumerate(order))
    assert first is not None
    assert first.reason == "unknown-key"
