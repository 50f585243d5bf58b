"""Every mutation, where tests/verify/test_mutations.py and tests/api/test_gate_mutations.py take a sample.

Minutes: run by `make exhaustive`.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.api.test_gate_mutations import STATEMENTS, check_gate, mutants
from tests.fuzz.bundles import signed_statement
from tests.verify.cases import trust_text
from tests.verify.mutants import FORMS, SMALL_FORMS, Form, check_mutants, check_trust_mutants
from tests.verify.mutations import text_mutations

pytestmark = pytest.mark.slow

GATE_SAMPLED = 3
"""The gate's index takes a transaction for every two entries."""


@pytest.mark.parametrize("make", [*SMALL_FORMS, *FORMS], ids=lambda make: make.__name__)
def test_no_damaged_byte_at_all_is_accepted_unless_it_means_nothing(make: Callable[[], Form]) -> None:
    form = make()
    assert check_mutants(form, text_mutations(form.data)) > 0


def test_no_damaged_byte_of_a_trust_file_makes_it_believe_more() -> None:
    assert check_trust_mutants(text_mutations(trust_text().encode())) > 0


@pytest.mark.parametrize("kind", STATEMENTS)
def test_the_gate_reads_all_changed_statements_as_verify_does(kind: str, tmp_path: Path) -> None:
    assert check_gate(kind, tmp_path, GATE_SAMPLED) > 0


def test_no_change_at_all_of_a_provenance_counts_unless_it_says_what_it_must() -> None:
    assert sum(signed_statement(payload) for _, payload in mutants("provenance", 1)) > 1
