"""The index as the gate sees it: it follows the log, and answers what the log says about some bytes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import cast

from touchplate.api.index.observe import Observer

from touchplate.api.errors import NotReadyError
from touchplate.api.gate import Facts, LostEntry
from touchplate.api.index.store import Batch, EntryRow, EvidenceRow, IndexStore, LostRow
from touchplate.api.ports import EntrySource
from touchplate.verify.levels import Compared, Evidence, FirstSight, Rebuild
from touchplate.verify.purl import PackageURL, format_purl, parse_purl

POLL_SECONDS = 1.0
"""How long one wait for growth lasts: also the time that stopping may take."""

_LOG = "touchplate.api.index"


class FactIndex:
    """Follows an `EntrySource` into an `IndexStore`, from a thread of its own and whenever a request needs
    it."""

    def __init__(self, store: IndexStore, source: EntrySource, observer: Observer) -> None:
        self.store = store
        self._source = source
        self._observer = observer
        self._writing = threading.Lock()
        self._followed = store.followed()  # written under self._writing only
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="index", daemon=True)

    def start(self) -> None:
        """Catch up with the log, then keep following it."""
        self.catch_up()
        self._thread.start()

    def stop(self) -> None:
        """Stop following. Returns when the last batch is stored."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def followed(self) -> int:
        """How many entries of the log are known here."""
        return self._followed

    def catch_up(self, size: int = 0) -> None:
        """Take in what the log has. Raises NotReadyError when it then holds fewer than `size` entries."""
        if size and self._followed >= size:
            return
        with self._writing:
            while entries := self._source.entries_after(self._followed):
                self._take(entries)
        if self._followed < size:
            raise NotReadyError(f"the log shows {self._followed} entries and {size} are needed; try again")

    def facts(self, sha256: str, package: PackageURL) -> Facts:
        """What the log says about these bytes as this package file (steps 3 to 5 of the check)."""
        file = format_purl(package)
        rows = self.store.evidence_of_digest(sha256)
        mine = [row for row in rows if row.file == file]
        evidence = self._evidence(mine, file)
        named = {row.entry for row in mine}
        lost = [_lost(row, file) for row in self.store.lost_of_digest(sha256) if row.entry not in named]
        lost += [_wrong_package(row, file) for row in rows if row.entry not in named]
        seen = [row.seen for row in mine if row.seen is not None]
        unique = {item.index: item for item in sorted(lost, key=lambda item: (item.index, -item.step))}
        return Facts(tuple(evidence), tuple(unique.values()), min(seen, default=None))

    def first_record(self, package: PackageURL) -> EvidenceRow | None:
        """The earliest good record of this package file."""
        return self.store.first_record(format_purl(package))

    def files_of(self, package: PackageURL) -> list[tuple[str, PackageURL]]:
        """(sha256, file) of everything that there is evidence about in one package version."""
        rows = self.store.evidence_of_package(str(package))
        return [
            (sha256, parse_purl(file)) for sha256, file in sorted({(row.sha256, row.file) for row in rows})
        ]

    def _evidence(self, rows: Sequence[EvidenceRow], file: str) -> list[Evidence]:
        named = [str(row.detail["provenance"]) for row in rows if row.detail.get("provenance")]
        provenances = {
            row.identity: row for row in self.store.evidence_of_identities(named) if row.file == file
        }
        return [_piece(row, provenances) for row in rows]

    def _take(self, entries: Sequence[tuple[int, bytes]]) -> None:
        seen = [self._observer.observe(index, packed) for index, packed in entries]
        batch = Batch(
            [
                EntryRow(index, packed, one.kind, one.operator)
                for (index, packed), one in zip(entries, seen, strict=True)
            ],
            [row for one in seen for row in one.evidence],
            [row for one in seen for row in one.lost],
        )
        self.store.add(batch)
        # On disk; from here on requests may see it.
        self._followed = entries[-1][0] + 1

    def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                if self._source.wait_for_growth(self._followed, POLL_SECONDS):
                    self.catch_up()
            except Exception:
                # The index is behind but right; requests that need more say so. Try again.
                logging.getLogger(_LOG).exception("following the log failed; trying again")
                self._stopping.wait(POLL_SECONDS)


def _piece(row: EvidenceRow, provenances: dict[str, EvidenceRow]) -> Evidence:
    if row.kind == "record":
        return FirstSight(row.entry, row.operator)
    if row.kind == "provenance":
        return _rebuild(row)
    detail = row.detail
    provenance = provenances.get(str(detail.get("provenance")))
    # Step 5: the provenance that a comparison names counts through it only, when the same operator signed it
    # for exactly what was rebuilt.
    fits = provenance is not None and (
        provenance.kind == "provenance"
        and provenance.operator == row.operator
        and provenance.sha256 == detail.get("rebuilt")
    )
    return Compared(
        row.entry,
        row.operator,
        str(detail["result"]),
        tuple(cast("list[str]", detail.get("stabilizers") or [])),
        _rebuild(provenance) if provenance is not None and fits else None,
        str(detail.get("detail") or ""),
    )


def _rebuild(row: EvidenceRow) -> Rebuild:
    sources = cast("list[str]", row.detail.get("sources") or [])
    return Rebuild(row.entry, row.operator, frozenset(sources), bool(row.detail.get("tools_pinned", True)))


def _lost(row: LostRow, file: str) -> LostEntry:
    if row.file != file and row.step == 5:
        return LostEntry(row.entry, 5, "wrong-package", f"it is about {row.file}")
    return LostEntry(row.entry, row.step, row.reason, row.message)


def _wrong_package(row: EvidenceRow, file: str) -> LostEntry:
    return LostEntry(row.entry, 5, "wrong-package", f"it is about {row.file}, not {file}")
