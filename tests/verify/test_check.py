"""The numbered check: every case of the shared table, over entries and through a bundle."""

import io

import pytest
from tests.simkeys import log_signer, verifier_key, witness_signer
from tests.verify.bundles import make_bundle
from tests.verify.cases import (
    BUNDLE_CASES,
    CASES,
    BundleCase,
    Case,
    make_trust,
    no_files,
    provenance,
    record,
    second,
    trust_text,
)
from tests.verify.support import LIB, LIB_OTHER_VERSION, OTHER, PUBLISHED, digests_of, mangle

from touchplate.verify.check import (
    FileDigests,
    LevelsMissingError,
    Question,
    Report,
    attested_packages,
    check_bundle,
    digest_file,
    judge,
    prove_bundle,
)
from touchplate.verify.errors import RefusedError, TrustError
from touchplate.verify.trust import parse_trust

NOW = 1_800_000_000
WITNESS = witness_signer("witness.example.org")
WITNESSED = f"log {verifier_key(log_signer())}\nwitness w {verifier_key(WITNESS)}\nquorum w\n"


def digests(data: bytes = PUBLISHED) -> FileDigests:
    return digest_file(io.BytesIO(data))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_judges_entries(case: Case) -> None:
    judgement = judge(enumerate(case.entries()), digests(case.data), case.package, case.trust())
    refused = judgement.refusal(case.need)
    assert (None if refused is None else (refused.step, refused.reason)) == case.refused
    assert tuple((one.index, one.step, one.reason) for one in judgement.warnings) == case.lost
    assert case.says in judgement.levels.explain("reproduced")
    assert refused is None or case.says in str(refused) or "reproduced" not in case.need


@pytest.mark.parametrize("case", [case for case in CASES if case.entries()], ids=str)
def test_judges_bundles_as_entries(case: Case) -> None:
    bundle = make_bundle(case.entries(), case.data, case.package)
    try:
        report = check_bundle(bundle, digests(case.data), case.package, case.trust(), now=NOW, need=case.need)
        refused = None
    except LevelsMissingError as error:
        report, refused = error.report, (error.step, error.reason)
    assert refused == case.refused
    assert tuple((one.index, one.step, one.reason) for one in report.warnings) == case.lost


@pytest.mark.parametrize("case", BUNDLE_CASES, ids=str)
def test_refuses_damage(case: BundleCase) -> None:
    bundle = case.bundle()
    if case.refused[0] == 0:
        with pytest.raises(TrustError) as mistakes:
            parse_trust(case.trust(), no_files)
        assert mistakes.value.reason == case.refused[1]
        return
    trust = parse_trust(case.trust(), no_files)
    with pytest.raises(RefusedError) as caught:
        check_bundle(bundle, digests(case.data), LIB, trust, now=NOW)
    assert (caught.value.step, caught.value.reason) == case.refused


def test_damage_of_one_entry_refuses_no_others() -> None:
    damaged = next(case for case in BUNDLE_CASES if case.name == "an envelope that is none").bundle()
    report = check_bundle(damaged, digests(), LIB, make_trust("operators = 1"), now=NOW)
    assert [(one.index, one.step) for one in report.warnings] == [(1, 3)]
    assert report.levels.explain("reproduced") == "1 of 1 operator"


def test_every_damaged_bundle_is_refused_or_judged_by_what_is_left() -> None:
    # The note and one entry: mangling every byte of a whole bundle would take minutes.
    trust, file = make_trust("operators = 1"), digests()
    good = make_bundle([provenance()])
    for data in mangle(good):
        try:
            report = check_bundle(data, file, LIB, trust, now=NOW)
        except RefusedError:
            continue
        # Nothing but the label's file name and white space may have changed.
        assert len(report.levels.operators) == 1


def test_reports_what_was_found() -> None:
    report = check_two()
    assert report.levels.reached == ("recorded", "reproduced")
    assert report.levels.slsa_reproduced
    assert (report.checkpoint.origin, report.checkpoint.size) == ("log.example.org", 3)
    assert report.package == LIB
    assert report.age is None


def test_one_operator_is_never_slsa_reproduced() -> None:
    report = check_bundle(make_bundle([provenance()]), digests(), LIB, make_trust("operators = 1"), now=NOW)
    assert report.levels.reproduced
    assert not report.levels.slsa_reproduced


def test_a_host_tool_is_reported_as_not_pinned() -> None:
    entries = [provenance(host_tool=True), second()]
    levels = check_bundle(make_bundle(entries), digests(), LIB, make_trust(), now=NOW).levels
    assert [one.tools_pinned for one in levels.operators] == [False, True]


def test_contradictions_are_reported() -> None:
    case = next(case for case in CASES if case.name.startswith("a third operator"))
    levels = judge(enumerate(case.entries()), digests(), LIB, case.trust()).levels
    assert [(one.operator, one.index) for one in levels.contradicted_by] == [
        ("https://rebuild-c.example.org", 2)
    ]


def test_the_age_of_a_stored_checkpoint_is_told_and_judged_only_when_asked() -> None:
    bundle = make_bundle([provenance(), second()], signers=(log_signer(), WITNESS), time=NOW - 90_000)
    trust = parse_trust(trust_text(policy=WITNESSED, log='max_checkpoint_age = "24h"'), no_files)
    assert check_bundle(bundle, digests(), LIB, trust, now=NOW).age == 90_000
    with pytest.raises(RefusedError, match="the age of the checkpoint is 90000 s") as caught:
        check_bundle(bundle, digests(), LIB, trust, now=NOW, fresh=True)
    assert (caught.value.step, caught.value.reason) == (1, "stale-checkpoint")
    assert check_bundle(bundle, digests(), LIB, trust, now=NOW - 80_000, fresh=True).age == 10_000


def test_fresh_needs_an_age_in_the_trust_file() -> None:
    with pytest.raises(RefusedError, match="max_checkpoint_age") as caught:
        check_bundle(make_bundle([provenance()]), digests(), LIB, make_trust(), now=NOW, fresh=True)
    assert caught.value.reason == "no-age-limit"


def test_attested_packages_are_sorted_and_come_from_good_entries_only() -> None:
    entries = [
        second(uri=LIB_OTHER_VERSION),
        provenance(),
        record(),
        provenance("https://x.example.org", "stranger"),
    ]
    proved = prove_bundle(make_bundle(entries), Question(digests(), NOW), make_trust())
    assert attested_packages(proved.entries, digests(), make_trust()) == (LIB, LIB_OTHER_VERSION)


def check_two() -> Report:
    return check_bundle(
        make_bundle([record(), provenance(), second()]), digests(), LIB, make_trust(), now=NOW
    )


def test_an_age_that_cannot_be_told_is_not_fresh() -> None:
    # Only a clock that is an hour ahead speaks for this checkpoint.
    bundle = make_bundle([provenance(), second()], signers=(log_signer(), WITNESS), time=NOW + 3600)
    trust = parse_trust(trust_text(policy=WITNESSED, log='max_checkpoint_age = "24h"'), no_files)
    assert check_bundle(bundle, digests(), LIB, trust, now=NOW).age is None
    with pytest.raises(RefusedError, match="cannot be told") as caught:
        check_bundle(bundle, digests(), LIB, trust, now=NOW, fresh=True)
    assert caught.value.reason == "stale-checkpoint"


def test_a_package_is_not_attested_by_digests_that_disagree() -> None:
    wrong = {**digests_of(PUBLISHED), "sha512": digests_of(OTHER)["sha512"]}
    entries = enumerate([provenance(), second(uri=LIB_OTHER_VERSION, digests=wrong)])
    assert attested_packages(entries, digests(), make_trust()) == (LIB,)
