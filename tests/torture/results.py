"""What a series has come to: hits per point and side, findings, and the table that is printed."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Lock

from tests.torture.hooks import CUT, ERRORS, KILL
from tests.torture.oracle import LOST, Finding
from tests.torture.points import Point
from tests.torture.process import Kill

SIDES = ("before", "after")


@dataclass
class Results:
    """Collected from the threads of a series."""

    points: tuple[Point, ...]
    cases: tuple[tuple[str, str], ...] = ()
    """SQLite's own calls: name, and the error that takes its place."""
    only: str = ""
    """Word in the names of the points that this series is about; empty for all."""
    hits: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(point, side, action) → how often a process ended, or got an error, there."""
    random: int = 0
    """Kills at no point in particular, under load."""
    findings: list[tuple[str, Finding]] = field(default_factory=list)
    unlisted: set[str] = field(default_factory=set)
    """Durable calls that the table does not know."""
    _lock: Lock = field(default_factory=Lock)

    def note(self, lines: Iterable[str], kill: Kill | None) -> bool:
        """Take in what one process passed; whether it came to its planned end."""
        lines = list(lines)
        reached = kill is not None and any(line.startswith("! ") for line in lines)
        with self._lock:
            self.unlisted.update(line[2:] for line in lines if line.startswith("? "))
            if kill is not None and reached:
                self.hits[kill.point, kill.side, kill.action] += 1
        return reached

    def report(self, where: str, found: Iterable[Finding]) -> None:
        """Take in what the oracle found after one kill."""
        with self._lock:
            self.findings += [(where, finding) for finding in found]

    def note_random(self) -> None:
        """One more kill at a random moment."""
        with self._lock:
            self.random += 1

    def missed(self) -> list[str]:
        """Points and sides at which no process was ever killed."""
        return [
            f"{side} {point.name}"
            for point in self.points
            for side in SIDES
            if self.only in point.name and not self.hits[point.name, side, KILL]
        ] + [
            f"{action} at {name}"
            for name, error in self.cases
            for action in (KILL, error)
            if self.only in name and not self.hits[name, "before", action]
        ]

    def table(self) -> str:
        """A row for each point: kills before and after it, power cuts there, errors in its place."""
        rows = [("store", "point", "before", "after", "cuts", "errors")]
        for point in self.points:
            before, after = (self.hits[point.name, side, KILL] for side in SIDES)
            cuts = sum(self.hits[point.name, side, CUT] for side in SIDES)
            errors = sum(self.hits[point.name, side, error] for side in SIDES for error in ERRORS)
            rows.append((point.store, point.step, str(before), str(after), str(cuts), str(errors)))
        for name, error in self.cases:
            kills, errors = (self.hits[name, "before", action] for action in (KILL, error))
            rows.append(("SQLite's calls", name, str(kills), "", "", str(errors)))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = []
        for row in rows:
            texts = [text.ljust(width) for text, width in zip(row[:2], widths, strict=False)]
            numbers = [text.rjust(width) for text, width in zip(row[2:], widths[2:], strict=True)]
            lines.append("  ".join([*texts, *numbers]).rstrip())
        return "\n".join(lines)

    def summary(self) -> str:
        """The last line."""
        lost = sum(finding.kind == LOST for _, finding in self.findings)
        return f"{lost} lost, {len(self.findings) - lost} inconsistent"

    @property
    def is_good(self) -> bool:
        """Nothing found, nothing missed, nothing unlisted."""
        return not (self.findings or self.unlisted or self.missed())
