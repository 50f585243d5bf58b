"""The end-to-end check of one file, offline. The steps have the same numbers everywhere:

    0  the trust file parses, and holds no mistake                          trust.parse_trust
    1  the bundle parses; its checkpoint: known log key, origin, quorum     check_bundle
    2  the file has every digest and the size that the bundle gives         check_bundle
    3  each entry: form, leaf, inclusion                                    steps.check_entry_form
    4  each entry: trusted key, signature, statement, listed for it         steps.check_entry_trust
    5  each entry: predicate; about this file and the package asked for     steps.check_entry_subject
    6  levels                                                               levels.judge_levels
    7  compared with what is needed                                         judge.Judgement.check

Steps 0 to 2 refuse everything. An entry that fails step 3, 4 or 5 counts for nothing and becomes a warning.
A bundle shows what is in the log, never that nothing else is.
"""

from collections.abc import Iterable

from touchplate.verify.bundle import Bundle, BundleEntry, parse_bundle
from touchplate.verify.checkpoints import Checkpoint, check_age, checkpoint_age, open_checkpoint
from touchplate.verify.entry import Entry
from touchplate.verify.errors import RefusedError
from touchplate.verify.files import FileDigests, digest_file
from touchplate.verify.judge import (
    EntryWarning,
    Gathered,
    Judgement,
    attested_packages,
    first_cost,
    gather,
    judge,
)
from touchplate.verify.levels import Levels
from touchplate.verify.purl import PackageURL
from touchplate.verify.steps import (
    TrustedEntry,
    at_step,
    check_entry_form,
    check_entry_subject,
    check_entry_trust,
)
from touchplate.verify.trust import TrustFile
from touchplate.verify.values import value

__all__ = [
    "DEFAULT_NEED",
    "EntryWarning",
    "FileDigests",
    "Gathered",
    "Judgement",
    "LevelsMissingError",
    "Proved",
    "Question",
    "Report",
    "TrustedEntry",
    "attested_packages",
    "check_bundle",
    "check_entry_form",
    "check_entry_subject",
    "check_entry_trust",
    "check_sigstore_bundle",
    "digest_file",
    "first_cost",
    "gather",
    "judge",
    "judge_proved",
    "prove_bundle",
    "prove_sigstore_bundle",
]

DEFAULT_NEED = ("reproduced",)
"""What a file needs when nobody says otherwise: the level that this project is about."""


@value
class Question:
    """What steps 1 to 3 need beside a bundle. `now`: unix seconds; `fresh`: judge the checkpoint's age."""

    file: FileDigests
    now: int
    fresh: bool = False


@value
class Proved:
    """What steps 1 to 3 leave of a bundle: a verified checkpoint, the entries in its tree, and the others."""

    checkpoint: Checkpoint
    age: int | None
    entries: tuple[tuple[int, Entry], ...]
    lost: tuple[EntryWarning, ...]


@value
class Report:
    """The whole answer about one file. `age`: seconds since the quorum vouched for the checkpoint, or None.

    A report alone is no acceptance: `check_bundle` returns one when every needed level is reached, and raises
    LevelsMissingError, which carries one, when not.
    """

    file: FileDigests
    need: tuple[str, ...]
    checkpoint: Checkpoint
    age: int | None
    judgement: Judgement

    @property
    def package(self) -> PackageURL:
        """The package that was asked for."""
        return self.judgement.package

    @property
    def levels(self) -> Levels:
        """The verdict of step 6."""
        return self.judgement.levels

    @property
    def warnings(self) -> tuple[EntryWarning, ...]:
        """The entries that count for nothing, by index."""
        return self.judgement.warnings


class LevelsMissingError(RefusedError):
    """A needed level is not reached; `report` says what is."""

    def __init__(self, refused: RefusedError, report: Report) -> None:
        super().__init__(refused.step, refused.reason, str(refused))
        self.report = report


def check_bundle(
    bundle: bytes,
    file: FileDigests,
    package: PackageURL,
    trust: TrustFile,
    *,
    now: int,
    need: tuple[str, ...] = DEFAULT_NEED,
    fresh: bool = False,
) -> Report:
    """Steps 1 to 7 over a proof bundle; step 0 made `trust`.

    `now`: unix seconds; `fresh`: the checkpoint's age is judged, else only told. Raises RefusedError at steps
    1 and 2, LevelsMissingError (a RefusedError) when a level of `need` is not reached.
    """
    question = Question(file, now, fresh)
    return judge_proved(prove_bundle(bundle, question, trust), file, package, trust, need)


def check_sigstore_bundle(
    bundle: bytes,
    file: FileDigests,
    package: PackageURL,
    trust: TrustFile,
    *,
    now: int,
    need: tuple[str, ...] = DEFAULT_NEED,
    fresh: bool = False,
) -> Report:
    """Steps 1 to 7 over one entry in Sigstore's form; everything else as `check_bundle`.

    Stricter than stock verifiers: one form of envelope, key and signature, each field of the log entry right.
    """
    question = Question(file, now, fresh)
    return judge_proved(prove_sigstore_bundle(bundle, question, trust), file, package, trust, need)


def prove_bundle(data: bytes, question: Question, trust: TrustFile) -> Proved:
    """Steps 1 to 3 over a proof bundle. Raises RefusedError at 1 and 2."""
    with at_step(1):
        bundle = parse_bundle(data)
        checkpoint = open_checkpoint(bundle.checkpoint, trust.policy)
        age = _check_age(checkpoint, question, trust)
    _check_label(bundle, question.file)  # 2
    return _prove(checkpoint, age, bundle.entries)


def prove_sigstore_bundle(data: bytes, question: Question, trust: TrustFile) -> Proved:
    """Steps 1 to 3 over one entry in Sigstore's form, which has no label for step 2. Raises RefusedError."""
    # On use, as few bundles are of this form.
    from touchplate.verify.sigstore import check_agreement, parse_sigstore_bundle

    with at_step(1):
        bundle = parse_sigstore_bundle(data)
        checkpoint = open_checkpoint(bundle.checkpoint, trust.policy)
        check_agreement(bundle, checkpoint, trust.policy)
        age = _check_age(checkpoint, question, trust)
    proved = _prove(checkpoint, age, [BundleEntry(bundle.index, bundle.envelope, bundle.spki, bundle.proof)])
    return _check_leaf(proved, bundle.index, bundle.leaf_data)


def _prove(checkpoint: Checkpoint, age: int | None, entries: Iterable[BundleEntry]) -> Proved:
    """Step 3."""
    proved: list[tuple[int, Entry]] = []
    lost: list[EntryWarning] = []
    for one in entries:
        try:
            entry = check_entry_form(checkpoint, one.index, one.envelope, one.spki, one.proof)
            proved.append((one.index, entry))
        except RefusedError as error:
            lost.append(EntryWarning(one.index, error.step, error.reason, str(error)))
    return Proved(checkpoint, age, tuple(proved), tuple(lost))


def _check_leaf(proved: Proved, index: int, leaf_data: bytes) -> Proved:
    """Step 3 for Sigstore's form: `canonicalizedBody` is the leaf, to the byte."""
    kept = tuple(pair for pair in proved.entries if pair[1].leaf_data == leaf_data)
    if len(kept) == len(proved.entries):
        return proved
    warning = EntryWarning(index, 3, "wrong-leaf", "canonicalizedBody is not the leaf of its envelope")
    return Proved(proved.checkpoint, proved.age, kept, (*proved.lost, warning))


def judge_proved(
    proved: Proved, file: FileDigests, package: PackageURL, trust: TrustFile, need: tuple[str, ...]
) -> Report:
    """Steps 4 to 7 over what the first steps left. Raises LevelsMissingError."""
    judgement = judge(proved.entries, file, package, trust, proved.lost)
    report = Report(file, need, proved.checkpoint, proved.age, judgement)
    refused = judgement.refusal(need)
    if refused is not None:
        raise LevelsMissingError(refused, report)
    return report


def _check_age(checkpoint: Checkpoint, question: Question, trust: TrustFile) -> int | None:
    """Part of step 1: the age is told, and judged only when the question asks for a fresh checkpoint."""
    age = checkpoint_age(checkpoint, trust.policy, question.now)
    if not question.fresh:
        return age
    limit = trust.max_checkpoint_age
    if limit is None:
        raise RefusedError(1, "no-age-limit", "the trust file sets no max_checkpoint_age to be fresh by")
    return check_age(checkpoint, trust.policy, limit, question.now)


def _check_label(bundle: Bundle, file: FileDigests) -> None:
    """Step 2."""
    artifact = bundle.artifact
    if file.whole and artifact.size != file.size:
        raise RefusedError(
            2, "wrong-size", f"the file has {file.size} bytes, the bundle is about one of {artifact.size}"
        )
    differing = file.differing(artifact.digests)
    if differing:
        name = differing[0]
        raise RefusedError(
            2,
            "wrong-digest",
            f"the file has {name} {file.digests.get(name)}, the bundle is about {artifact.digests[name]}",
        )
