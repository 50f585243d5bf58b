"""What one entry of the log says: steps 3 to 5 of the check, taken once, when the entry is indexed.

    3  its form; that it stands at its index is known, since it was read from the log in order
    4  whether the trust file believes its key for such a statement at this index
    5  its predicate; one row for each subject, so that the gate finds it by bytes and package

What step 5 asks about one file (its other digests, its package) is compared when a question comes (facts).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from touchplate.api.index.store import EvidenceRow, InputRow, LostRow
from touchplate.verify.check import TrustedEntry, check_entry_trust, gather
from touchplate.verify.dsse import MAX_ENVELOPE_BYTES
from touchplate.verify.entry import Entry, parse_packed
from touchplate.verify.errors import RefusedError, VerifyError
from touchplate.verify.files import FileDigests
from touchplate.verify.jcs import parse_json
from touchplate.verify.levels import Compared
from touchplate.verify.statements import Comparison, Predicate, Provenance, Record, Subject
from touchplate.verify.steps import parse_trusted_predicate
from touchplate.verify.subjects import parse_subject
from touchplate.verify.trust import TrustFile

ADMISSION = "admission"


@dataclass(frozen=True)
class Observation:
    """What an entry says. `kind`: of its statement, or the reason why it counts for nothing."""

    kind: str
    operator: str = ""
    evidence: tuple[EvidenceRow, ...] = ()
    lost: tuple[LostRow, ...] = ()
    inputs: tuple[InputRow, ...] = ()


class Observer:
    """Takes the steps for one trust file. Pure."""

    def __init__(self, trust: TrustFile) -> None:
        self._trust = trust

    def observe(self, index: int, packed: bytes) -> Observation:
        """What the entry at `index` says. Never raises for what stands in an entry."""
        try:
            entry = parse_packed(packed)  # 3
        except VerifyError as error:
            return Observation(error.reason)
        try:
            trusted = check_entry_trust(index, entry, self._trust)  # 4
            predicate = parse_trusted_predicate(trusted)  # 5
        except RefusedError as error:
            lost = (
                LostRow(index, subject.sha256, str(subject.uri), error.step, error.reason, str(error))
                for subject in _subjects(entry)
            )
            return Observation(error.reason, lost=tuple(lost))
        return self._rows(trusted, predicate)

    def _rows(self, trusted: TrustedEntry, predicate: Predicate) -> Observation:
        kind, detail, seen = self._detail(trusted, predicate)
        if kind == ADMISSION:
            return Observation(kind, trusted.operator)
        rows = (
            EvidenceRow(
                entry=trusted.index,
                sha256=subject.sha256,
                file=str(subject.uri),
                package=str(subject.uri.package),
                kind=kind,
                operator=trusted.operator,
                identity=trusted.entry.identity.hex(),
                detail={**detail, "digests": dict(subject.digests)},
                seen=seen,
            )
            for subject in trusted.statement.subjects
        )
        return Observation(kind, trusted.operator, tuple(rows), inputs=_inputs(trusted.index, predicate))

    def _detail(
        self, trusted: TrustedEntry, predicate: Predicate
    ) -> tuple[str, dict[str, object], int | None]:
        """Kind, what levels need of the predicate, and the time of a record."""
        match predicate:
            case Record():
                return "record", {"size": predicate.size}, predicate.seen
            case Provenance():
                detail = {
                    "sources": sorted(predicate.source_kinds),
                    "tools_pinned": not predicate.has_host_tools,
                    "definition": predicate.definition,
                }
                return "provenance", detail, None
            case Comparison():
                return "comparison", self._compared(trusted, predicate), None
            case _:
                return ADMISSION, {}, None

    def _compared(self, trusted: TrustedEntry, comparison: Comparison) -> dict[str, object]:
        (subject,) = trusted.statement.subjects
        file = FileDigests(comparison.published.size, dict(subject.digests))
        gathered = gather([(trusted.index, trusted.entry)], file, subject.uri, self._trust)
        (compared,) = (piece for piece in gathered.evidence if isinstance(piece, Compared))
        return {
            "result": compared.result,
            "stabilizers": list(compared.stabilizers),
            "detail": compared.detail,
            "provenance": comparison.provenance,
            "rebuilt": dict(comparison.rebuilt.digests) if comparison.rebuilt else None,
        }


def _inputs(index: int, predicate: Predicate) -> tuple[InputRow, ...]:
    """The package files that it was built from. Kept for Conan alone, whose recipes are judged by them."""
    if not isinstance(predicate, Provenance) or predicate.package.ecosystem != "conan":
        return ()
    return tuple(
        InputRow(index, each.digests["sha256"], each.uri)
        for each in predicate.dependencies
        if each.uri is not None and each.uri.startswith("pkg:")
    )


def _subjects(entry: Entry) -> Iterator[Subject]:
    """The files that an entry which counts for nothing claims to be about, as far as that can be read."""
    with contextlib.suppress(VerifyError):
        statement = parse_json(entry.payload, max_bytes=MAX_ENVELOPE_BYTES)
        subjects = statement.get("subject") if isinstance(statement, dict) else None
        for number, subject in enumerate(subjects if isinstance(subjects, list) else []):
            yield parse_subject(subject, f"subject {number}")
