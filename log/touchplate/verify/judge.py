"""Steps 4 to 7 of the end-to-end check over many entries about one file, for `verify` and the gate alike.

Entries come with the indexes at which they are known to stand: proved from a bundle (step 3), or read from
a log whose tree the reader has recomputed. Pure. Removing an entry can only remove evidence, so it never
turns a refusal into an acceptance.
"""

from collections.abc import Iterable, Sequence

from touchplate.verify.entry import Entry
from touchplate.verify.errors import RefusedError
from touchplate.verify.files import FileDigests
from touchplate.verify.levels import (
    Compared,
    Evidence,
    FirstSight,
    Levels,
    Rebuild,
    judge_levels,
)
from touchplate.verify.purl import PackageURL
from touchplate.verify.statements import Comparison, Predicate, Provenance, Record
from touchplate.verify.steps import (
    TrustedEntry,
    check_entry_subject,
    check_entry_trust,
    parse_trusted_predicate,
    subjects_of,
)
from touchplate.verify.trust import TrustFile
from touchplate.verify.values import replace, value

NEEDS_OTHER_BYTES = ("equivalent", "different")
"""Results whose comparison names a provenance about other bytes than the published file's."""


@value
class EntryWarning:
    """An entry that counts for nothing: where it stands, the step that cost it, a stable word, one line."""

    index: int
    step: int
    reason: str
    message: str

    def __str__(self) -> str:
        return f"entry {self.index} does not count (step {self.step}, {self.reason}): {self.message}"


@value
class Gathered:
    """What steps 4 and 5 made of the entries about one file: evidence, and the entries that gave none."""

    evidence: tuple[Evidence, ...]
    warnings: tuple[EntryWarning, ...]


@value
class Judgement:
    """The verdict over one file as one package: levels (step 6), warnings of steps 3 to 5 by index."""

    package: PackageURL
    levels: Levels
    warnings: tuple[EntryWarning, ...]

    def check(self, need: Iterable[str]) -> None:
        """Step 7: every level of `need` is reached. Raises RefusedError as `refusal` describes."""
        refused = self.refusal(need)
        if refused is not None:
            raise refused

    def refusal(self, need: Iterable[str]) -> RefusedError | None:
        """What is missing of `need`, None when nothing is.

        It names the first step that cost an entry, and `wrong-package` when only that did; step 7 and
        `not-<level>` when no entry was lost. KeyError for a level that does not exist.
        """
        missing = [level for level in need if not self.levels.has(level)]
        if not missing:
            return None
        state = "; ".join(f"not {level}: {self.levels.explain(level)}" for level in missing)
        cost = first_cost(self.warnings)
        if cost is None:
            return RefusedError(7, f"not-{missing[0]}", state)
        return RefusedError(cost.step, cost.reason, f"{state}; {cost}")


def judge(
    entries: Iterable[tuple[int, Entry]],
    file: FileDigests,
    package: PackageURL,
    trust: TrustFile,
    lost: Iterable[EntryWarning] = (),
) -> Judgement:
    """Steps 4 to 6 over (index, entry) pairs; `lost` are the entries that step 3 cost already."""
    gathered = gather(entries, file, package, trust)
    warnings = sorted((*lost, *gathered.warnings), key=lambda warning: warning.index)
    return Judgement(package, judge_levels(gathered.evidence, trust.reproduced), tuple(warnings))


def gather(
    entries: Iterable[tuple[int, Entry]], file: FileDigests, package: PackageURL, trust: TrustFile
) -> Gathered:
    """Steps 4 and 5 over (index, entry) pairs about one file asked for as `package`."""
    trusted, warnings = trust_entries(entries, trust)
    good: list[tuple[TrustedEntry, Predicate]] = []
    refused: list[tuple[TrustedEntry, RefusedError]] = []
    for one in trusted:
        try:
            good.append((one, check_entry_subject(one, file, package)))
        except RefusedError as error:
            refused.append((one, error))
    others = [one for one, _ in refused if one.provenance is not None]
    evidence: list[Evidence] = []
    taken: set[int] = set()
    for one, predicate in good:
        evidence += _evidence(one, predicate)
        if isinstance(predicate, Comparison):
            named = [other for other in others if _is_named(other, one, predicate)]
            taken.update(other.index for other in named)
            evidence += _compared(one, predicate, named)
    warnings += [_warning(one.index, error) for one, error in refused if one.index not in taken]
    return Gathered(tuple(evidence), tuple(warnings))


def attested_packages(
    entries: Iterable[tuple[int, Entry]], file: FileDigests, trust: TrustFile
) -> tuple[PackageURL, ...]:
    """The packages as which good entries speak of these bytes, sorted: for whoever does not say which one."""
    packages: set[PackageURL] = set()
    for one in trust_entries(entries, trust)[0]:
        try:
            parse_trusted_predicate(one)
            packages.update(
                subject.uri for subject in subjects_of(one, file) if not file.differing(subject.digests)
            )
        except RefusedError:
            continue
    return tuple(sorted(packages, key=str))


def trust_entries(
    entries: Iterable[tuple[int, Entry]], trust: TrustFile
) -> tuple[list[TrustedEntry], list[EntryWarning]]:
    """Step 4 over (index, entry) pairs: those that passed, and the warnings about the others."""
    passed: list[TrustedEntry] = []
    warnings: list[EntryWarning] = []
    for index, entry in entries:
        try:
            passed.append(check_entry_trust(index, entry, trust))
        except RefusedError as error:
            warnings.append(_warning(index, error))
    return passed, warnings


def first_cost(warnings: Iterable[EntryWarning]) -> EntryWarning | None:
    """The warning that a refusal names: lowest step, in it `wrong-package` last, then lowest index."""
    return min(
        warnings,
        key=lambda warning: (warning.step, warning.reason == "wrong-package", warning.index),
        default=None,
    )


def _evidence(one: TrustedEntry, predicate: Predicate) -> list[Evidence]:
    """What a good entry says by itself: a record or a provenance of exactly this digest."""
    if isinstance(predicate, Record):
        return [FirstSight(one.index, one.operator)]
    if isinstance(predicate, Provenance):
        return [_rebuild(one, predicate)]
    return []


def _compared(one: TrustedEntry, comparison: Comparison, named: Sequence[TrustedEntry]) -> list[Evidence]:
    """A comparison, once with each provenance that it names, so that the best can count."""
    alone = Compared(
        one.index, one.operator, comparison.result, comparison.stabilizers, None, _detail(comparison)
    )
    rebuilds = [_rebuild(other, other.provenance) for other in named if other.provenance is not None]
    return [replace(alone, rebuild=rebuild) for rebuild in rebuilds] or [alone]


def _is_named(other: TrustedEntry, one: TrustedEntry, comparison: Comparison) -> bool:
    """Step 5: whether `other` is the provenance of other bytes that the comparison of entry `one` names."""
    if comparison.result not in NEEDS_OTHER_BYTES or comparison.rebuilt is None:
        return False
    if other.entry.identity.hex() != comparison.provenance or other.operator != one.operator:
        return False
    rebuilt = comparison.rebuilt.digests
    return any(
        subject.uri == comparison.package
        and subject.sha256 == rebuilt["sha256"]
        # Whatever else both give must agree; the rebuilt file itself is not at hand.
        and all(rebuilt.get(name, digest) == digest for name, digest in subject.digests.items())
        for subject in other.statement.subjects
    )


def _rebuild(one: TrustedEntry, provenance: Provenance) -> Rebuild:
    return Rebuild(one.index, one.operator, provenance.source_kinds, not provenance.has_host_tools)


def _detail(comparison: Comparison) -> str:
    if comparison.failure is not None:
        return f"{comparison.failure.phase}: {comparison.failure.reason}"
    if comparison.differences is not None:
        causes = ", ".join(comparison.differences.causes) or "unknown cause"
        count = comparison.differences.count
        return f"{count} difference{'' if count == 1 else 's'} ({causes})"
    return ", ".join(comparison.stabilizers)


def _warning(index: int, error: RefusedError) -> EntryWarning:
    return EntryWarning(index, error.step, error.reason, str(error))
