"""The rebuilds of a file or a package version: each comparison beside the provenance that it names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from touchplate.api.accounts import Account, Evidence
from touchplate.api.index.store import EvidenceRow


@dataclass(frozen=True)
class Said:
    """One good entry about one file: its row of the index, and its account."""

    row: EvidenceRow
    account: Account


@dataclass(frozen=True)
class Rebuild:
    """One attempt of one operator: what was built, what came of comparing it, or only one of the two.

    `result`: identical, equivalent, different or not-built; `built` for a provenance without a comparison.
    """

    operator: str
    file: str
    result: str
    built: Said | None
    compared: Said | None

    @property
    def entries(self) -> tuple[int, ...]:
        """Indexes of its entries."""
        return tuple(said.row.entry for said in (self.built, self.compared) if said is not None)

    @property
    def newest(self) -> int:
        """The index of its last entry."""
        return max(self.entries)

    @property
    def rebuilt(self) -> str:
        """The sha256 of what came out; empty when nothing did."""
        if self.built is not None:
            return self.built.row.sha256
        return self.compared.account.rebuilt if self.compared else ""

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """The files behind it, each once."""
        found = [one for said in (self.built, self.compared) if said for one in said.account.evidence]
        return tuple(dict.fromkeys(found))


def pair(rows: Iterable[EvidenceRow], account: Callable[[EvidenceRow], Account]) -> list[Rebuild]:
    """The rebuilds that `rows` tell of, the newest first. A comparison takes the provenance that it names
    when the same operator signed it for the same file; what is left stands alone."""
    ordered = sorted(rows, key=lambda row: row.entry)
    built = {(row.identity, row.operator, row.file): row for row in ordered if row.kind == "provenance"}
    left = dict(built)
    found = []
    for row in ordered:
        if row.kind == "comparison":
            key = (str(row.detail.get("provenance")), row.operator, row.file)
            left.pop(key, None)
            found.append(_rebuild(built.get(key), row, account))
    found += [_rebuild(row, None, account) for row in left.values()]
    return sorted(found, key=lambda one: one.newest, reverse=True)


def _rebuild(
    built: EvidenceRow | None, compared: EvidenceRow | None, account: Callable[[EvidenceRow], Account]
) -> Rebuild:
    one = compared or built
    assert one is not None  # callers give at least one
    return Rebuild(
        operator=one.operator,
        file=one.file,
        result=str(compared.detail["result"]) if compared else "built",
        built=Said(built, account(built)) if built else None,
        compared=Said(compared, account(compared)) if compared else None,
    )


def is_published(rows: Sequence[EvidenceRow]) -> bool:
    """Whether the rows about some bytes say that they were published, and not only that somebody built
    them."""
    return any(row.kind in ("record", "comparison") for row in rows)
