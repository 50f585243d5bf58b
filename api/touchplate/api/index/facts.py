"""The index as the gate sees it: it follows the log, and answers what the log says about some bytes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import cast

from touchplate.api.errors import NotReadyError
from touchplate.api.gate import Facts
from touchplate.api.index.observe import Observer
from touchplate.api.index.store import Batch, EntryRow, EvidenceRow, FileRows, IndexStore
from touchplate.api.ports import EntrySource
from touchplate.base.errors import TouchplateError
from touchplate.verify.check import EntryWarning
from touchplate.verify.files import FileDigests
from touchplate.verify.judge import NEEDS_OTHER_BYTES
from touchplate.verify.levels import Compared, Evidence, FirstSight, Rebuild
from touchplate.verify.purl import PackageURL, format_purl, parse_purl

POLL_SECONDS = 0.25
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
        """Catch up with the log, then keep following it. An index of another log is built again."""
        if not self._is_of_this_log():
            logging.getLogger(_LOG).warning(
                "the index belongs to another log or a longer one; building it again"
            )
            self.store.clear()
            self._followed = 0
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

    def facts(self, file: FileDigests, package: PackageURL) -> Facts:
        """What the log says about these bytes as this package file (steps 3 to 5 of the check)."""
        return self.facts_and_first(file, package)[0]

    def facts_and_first(self, file: FileDigests, package: PackageURL) -> tuple[Facts, EvidenceRow | None]:
        """As `facts`, and the earliest good record of this package file, both as of one moment."""
        name = format_purl(package)
        rows = self.store.rows_about(file.sha256, name)
        warnings = {
            row.entry: EntryWarning(row.entry, row.step, row.reason, row.message) for row in rows.lost
        }
        good = []
        for row in rows.mine:
            differing = file.differing(cast("dict[str, str]", row.detail["digests"]))
            if differing:
                message = f"its sha256 is right, its {', '.join(differing)} is another file's"
                warnings[row.entry] = EntryWarning(row.entry, 5, "wrong-digest", message)
            else:
                good.append(row)
        named = _named(rows)
        warnings |= _elsewhere(rows, named, file.sha256, package)
        seen = [row.seen for row in good if row.seen is not None]
        ordered = tuple(warnings[entry] for entry in sorted(warnings))
        evidence = tuple(_piece(row, named.get(row.entry)) for row in good)
        return Facts(evidence, ordered, min(seen, default=None)), rows.first

    def attested(self, sha256: str) -> FileDigests:
        """The digests that the log gives for bytes that are not at hand; of two claims the earlier one."""
        digests = {"sha256": sha256}
        for row in self.store.evidence_of_digest(sha256):
            digests = {**cast("dict[str, str]", row.detail["digests"]), **digests}
        return FileDigests(0, digests)

    def first_record(self, package: PackageURL) -> EvidenceRow | None:
        """The earliest good record of this package file."""
        return self.store.first_record(format_purl(package))

    def files_of(self, package: PackageURL) -> list[tuple[str, PackageURL]]:
        """(sha256, file) of everything that there is evidence about in one package version."""
        return [(sha256, parse_purl(file)) for file, sha256 in self.store.files_of_package(str(package))]

    def versions_of(self, package: PackageURL) -> set[str]:
        """The package URLs of all versions of `package` that there is good evidence about, in one query."""
        stem = str(package).partition("@")[0]
        # All that begins with `stem@`: `A` follows `@`.
        return self.store.packages_between(f"{stem}@", f"{stem}A")

    def _is_of_this_log(self) -> bool:
        """Whether the last entry that was taken in still stands where it stood."""
        if not self._followed:
            return True
        last = self._followed - 1
        known = self.store.entry(last)
        try:
            found = self._source.entries_after(last)
        except TouchplateError:
            return False  # the log does not reach that far
        return bool(found) and known is not None and found[0] == (last, known.packed)

    def _take(self, entries: Sequence[tuple[int, bytes]]) -> None:
        seen = [self._observer.observe(index, packed) for index, packed in entries]
        batch = Batch(
            [
                EntryRow(index, packed, one.kind, one.operator)
                for (index, packed), one in zip(entries, seen, strict=True)
            ],
            [row for one in seen for row in one.evidence],
            [row for one in seen for row in one.lost],
            [row for one in seen for row in one.inputs],
        )
        self.store.add(batch)
        # On disk; from here on requests may see it.
        self._followed = entries[-1][0] + 1

    def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                if self._source.wait_for_growth(self._followed, POLL_SECONDS) > self._followed:
                    self.catch_up()
            except Exception:
                # The index is behind but right; requests that need more say so. Try again.
                logging.getLogger(_LOG).exception("following the log failed; trying again")
                self._stopping.wait(POLL_SECONDS)


def _named(rows: FileRows) -> dict[int, EvidenceRow]:
    """The provenance that counts through a comparison, by the comparison's entry.

    One entry may give several contents of a file: at most one of its rows is about what was compared.
    """
    cited: dict[str, list[EvidenceRow]] = {}
    for row in rows.cited:
        cited.setdefault(row.identity, []).append(row)
    return {
        one.entry: row
        for one in rows.mine
        if one.kind == "comparison"
        for row in cited.get(str(one.detail["provenance"]), ())
        if _is_named(row, one)
    }


def _elsewhere(
    rows: FileRows, named: dict[int, EvidenceRow], sha256: str, package: PackageURL
) -> dict[int, EntryWarning]:
    """Good entries about these bytes as something else, or about this package file with other bytes."""
    # Whole entries that count, here or through a comparison: one may speak of several files.
    counted = {row.entry for row in (*rows.mine, *named.values())}
    warnings = {}
    for row in (*rows.of_digest, *rows.of_file, *rows.cited):
        if row.entry in counted:
            continue
        reason, message = "wrong-package", f"it speaks of these bytes as {row.file}, not as {package}"
        if row.sha256 != sha256:
            reason, message = (
                "wrong-artifact",
                f"it speaks of other bytes ({row.sha256}), not of {sha256}",
            )
        warnings[row.entry] = EntryWarning(row.entry, 5, reason, message)
    return warnings


def _piece(row: EvidenceRow, named: EvidenceRow | None) -> Evidence:
    if row.kind == "record":
        return FirstSight(row.entry, row.operator)
    if row.kind == "provenance":
        return _rebuild(row)
    return Compared(
        row.entry,
        row.operator,
        str(row.detail["result"]),
        tuple(cast("list[str]", row.detail["stabilizers"])),
        _rebuild(named) if named is not None else None,
        str(row.detail["detail"]),
    )


def _is_named(provenance: EvidenceRow, comparison: EvidenceRow) -> bool:
    """Step 5: the provenance that a comparison names counts through it only, when the same operator signed it
    for exactly what was rebuilt."""
    rebuilt = cast("dict[str, str] | None", comparison.detail["rebuilt"]) or {}
    claimed = cast("dict[str, str]", provenance.detail["digests"])
    return (
        comparison.detail["result"] in NEEDS_OTHER_BYTES
        and provenance.kind == "provenance"
        and provenance.operator == comparison.operator
        and provenance.file == comparison.file
        and provenance.sha256 == rebuilt.get("sha256")
        and all(rebuilt.get(name, digest) == digest for name, digest in claimed.items())
    )


def _rebuild(row: EvidenceRow) -> Rebuild:
    sources = cast("list[str]", row.detail.get("sources") or [])
    return Rebuild(row.entry, row.operator, frozenset(sources), bool(row.detail.get("tools_pinned", True)))
