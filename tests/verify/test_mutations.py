"""Whole bundles, trust files and files under every small change: nothing else than the truth is accepted.

A sample of the damage to bytes, and all changes to members; all of both in tests/fuzz/test_exhaustive.py.
"""

import contextlib
import io
import json
from collections.abc import Callable
from itertools import chain, combinations, islice
from pathlib import Path

import pytest
from tests.verify.bundle_meaning import INSIGNIFICANT
from tests.verify.bundles import make_bundle
from tests.verify.cases import (
    ANY_SOURCE,
    STABILIZER,
    badly_signed,
    equivalent_by_b,
    make_trust,
    provenance,
    record,
    second,
    trust_text,
)
from tests.verify.mutants import (
    BOTH,
    FORMS,
    SMALL_FORMS,
    Form,
    check_mutants,
    check_trust_mutants,
    digests,
    harmless,
    ours,
    sigstore,
)
from tests.verify.mutations import mutations, text_mutations
from tests.verify.support import LIB, LIB_OTHER_VERSION, PUBLISHED

from touchplate.verify import cli, steps
from touchplate.verify.bundle import Bundle, BundleEntry, format_bundle, parse_bundle
from touchplate.verify.check import LevelsMissingError, check_bundle
from touchplate.verify.entry import Entry
from touchplate.verify.errors import RefusedError
from touchplate.verify.purl import PackageURL
from touchplate.verify.trust import TrustFile
from touchplate.verify.values import replace

SAMPLED = 11
"""Of so many changes to bytes one is tried here: a prime, so that every kind and every place comes up."""

forms = pytest.mark.parametrize("make", FORMS, ids=lambda make: make.__name__)
small_forms = pytest.mark.parametrize("make", SMALL_FORMS, ids=lambda make: make.__name__)


@forms
def test_the_good_bundle_is_accepted(make: Callable[[], Form]) -> None:
    form = make()
    assert check_mutants(form, [("nothing", form.data)]) == 1


@forms
def test_no_change_of_a_member_is_accepted_unless_it_means_nothing(make: Callable[[], Form]) -> None:
    form = make()
    found = list(mutations(form.data))
    assert len(found) > 2000
    assert check_mutants(form, found) < len(found) / 20


@small_forms
def test_no_damaged_byte_is_accepted_unless_it_means_nothing(make: Callable[[], Form]) -> None:
    form = make()
    assert check_mutants(form, text_mutations(form.data, SAMPLED)) > 0  # white space at least


@forms
def test_what_may_change_is_listed_and_accepted(make: Callable[[], Form]) -> None:
    form, examples = make(), harmless(make())
    assert set(examples) <= set(INSIGNIFICANT)
    assert all(data != form.data for data in examples.values())
    assert check_mutants(form, examples.items()) == len(examples)


def test_every_listed_change_has_an_example() -> None:
    assert set().union(*(harmless(make()) for make in FORMS)) == set(INSIGNIFICANT)


def test_a_damaged_trust_file_believes_no_more() -> None:
    text = trust_text().encode()
    lines = text.splitlines(keepends=True)
    mutants = [(f"line {at} removed", b"".join(lines[:at] + lines[at + 1 :])) for at in range(len(lines))]
    mutants += [(f"line {at} twice", b"".join(lines[: at + 1] + lines[at:])) for at in range(len(lines))]
    assert check_trust_mutants(chain(mutants, text_mutations(text, SAMPLED))) > 0


def test_no_damage_of_the_file_is_accepted() -> None:
    form = ours()
    for what, data in text_mutations(PUBLISHED):
        if data == PUBLISHED:
            continue
        with pytest.raises(RefusedError) as refused:
            check_bundle(form.data, digests(data), LIB, form.trust, now=0, need=())
        assert refused.value.step == 2, what


@forms
def test_the_command_answers_as_the_check_and_never_with_a_traceback(
    make: Callable[[], Form], tmp_path: Path
) -> None:
    form = make()
    (tmp_path / "lib.jar").write_bytes(PUBLISHED)
    (tmp_path / "trust.toml").write_text(form.trust_text)
    for what, data in chain(islice(mutations(form.data), 0, None, 29), harmless(form).items()):
        (tmp_path / "bundle").write_bytes(data)
        code, out, err = command(tmp_path, form.need)
        accepted = check_mutants(form, [(what, data)]) == 1
        assert (code, out["verdict"]) == ((0, "verified") if accepted else (1, "refused")), what
        assert accepted or err.startswith("refused: "), what
        # Without a package there is no acceptance, only what the file is attested as.
        code, out, _ = command(tmp_path, form.need, package=None)
        assert (code, out["verdict"]) in ((2, "undetermined"), (1, "refused")), what
        assert out.get("packages") == [str(LIB)] or not accepted, what


def command(
    folder: Path, need: tuple[str, ...], package: PackageURL | None = LIB
) -> tuple[int, dict[str, object], str]:
    """(exit code, JSON, stderr) of `touchplate verify` over the three files in `folder`."""
    words = ["--bundle", str(folder / "bundle"), "--trust", str(folder / "trust.toml"), "--json"]
    named = [] if package is None else ["--package", str(package)]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(["verify", str(folder / "lib.jar"), *words, *named, "--require", ",".join(need)])
    return code, json.loads(out.getvalue()), err.getvalue()


# --- subsets ----------------------------------------------------------------------------------------------


def test_no_subset_of_the_entries_is_worth_more_than_a_larger_one() -> None:
    whole = parse_bundle(make_bundle(log_with_bad_entries()))
    entries = list(whole.entries)
    entries[2] = BundleEntry(2, entries[2].envelope, entries[2].spki, entries[1].proof)
    lenient = make_trust(ANY_SOURCE, f'stabilizers = ["{STABILIZER}"]')
    seen = set()
    for trust in (make_trust(), lenient, make_trust("operators = 1")):
        reached = {
            chosen: levels(replace(whole, entries=tuple(entries[at] for at in chosen)), trust)
            for size in range(len(entries) + 1)
            for chosen in combinations(range(len(entries)), size)
        }
        seen |= set(reached.values())
        for chosen, found in reached.items():
            for more in set(range(len(entries))) - set(chosen):
                assert found <= reached[tuple(sorted((*chosen, more)))], (chosen, more)
    assert {frozenset(BOTH), frozenset(BOTH[:1]), frozenset(BOTH[1:]), frozenset()} == seen


def log_with_bad_entries() -> list[Entry]:
    """Good entries, and some that count for nothing, each in its own way."""
    return [
        record(),
        provenance(),
        second(),
        badly_signed(),
        second(uri=LIB_OTHER_VERSION),
        *equivalent_by_b(),
        second(sources=("sources-jar",)),
    ]


def levels(bundle: Bundle, trust: TrustFile) -> frozenset[str]:
    try:
        report = check_bundle(format_bundle(bundle), digests(), LIB, trust, now=0, need=BOTH)
    except LevelsMissingError as error:
        report = error.report
    return frozenset(report.levels.reached)


# --- the mutations find what they are there for -----------------------------------------------------------


@pytest.mark.parametrize("part", ["check_inclusion", "verify_entry"])
@pytest.mark.parametrize("make", [ours, sigstore], ids=lambda make: make.__name__)
def test_a_check_that_leaves_out_a_part_is_found(
    make: Callable[[], Form], part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = make()
    monkeypatch.setattr(steps, part, lambda *_: None)
    if part == "verify_entry":
        # A changed signature gives another leaf, so without inclusion nothing else would find it.
        monkeypatch.setattr(steps, "check_inclusion", lambda *_: None)
    with pytest.raises(AssertionError, match="accepted: "):
        check_mutants(form, mutations(form.data))


def test_a_label_that_is_not_compared_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from touchplate.verify import check

    monkeypatch.setattr(check, "_check_label", lambda *_: None)
    with pytest.raises(AssertionError, match="accepted: artifact"):
        check_mutants(ours(), mutations(ours().data))
