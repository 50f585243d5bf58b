"""What the series of kills has come to: kills per crash point, acknowledged entries, findings."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from threading import Lock

from tests.torture.oracle import LOST, Finding

ENOUGH = 100
"""Entries that are acknowledged before each kill, at least."""


@dataclass(frozen=True)
class Aim:
    """Where a process of one kind of log (`kind`) is to die: at `side` of `point`."""

    kind: str
    point: str
    side: str = ""
    """"before" or "after" a step; empty for what is no step: a random moment, a process of the server."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.side} {self.point}".replace(":  ", ": ")


@dataclass
class Tally:
    """Collected from all lanes."""

    aims: Sequence[Aim]
    """Each of which must be hit."""
    hits: Counter[Aim] = field(default_factory=Counter)
    acknowledged: Counter[str] = field(default_factory=Counter)
    """Entries that were answered with an index for the first time, by kind of log."""
    least: dict[str, int] = field(default_factory=dict)
    """The fewest of them before one kill, by kind."""
    heads: int = 0
    """Different heads that the witness cosigned."""
    findings: list[tuple[str, Finding]] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def hit(self, aim: Aim, acknowledged: int) -> None:
        """A process died as planned, after so many answers."""
        with self._lock:
            self.hits[aim] += 1
            self.acknowledged[aim.kind] += acknowledged
            self.least[aim.kind] = min(acknowledged, self.least.get(aim.kind, acknowledged))

    def add_heads(self, count: int) -> None:
        """The witness cosigned so many heads."""
        with self._lock:
            self.heads += count

    def report(self, where: str, found: Iterable[Finding]) -> None:
        """Take in what a check found."""
        with self._lock:
            self.findings += [(where, finding) for finding in found]

    @property
    def kinds(self) -> list[str]:
        """The kinds of logs, in order."""
        return list(dict.fromkeys(aim.kind for aim in self.aims))

    def kills(self, kind: str) -> int:
        """How many processes of this kind of log were killed."""
        return sum(count for aim, count in self.hits.items() if aim.kind == kind)

    def missed(self) -> list[str]:
        """Aims that were never hit."""
        return [str(aim) for aim in self.aims if not self.hits[aim]]

    def starved(self) -> list[str]:
        """Kinds of logs in which some kill came before enough was acknowledged."""
        return [
            f"{kind}: a kill came after {least} acknowledged entries, not {ENOUGH}"
            for kind, least in self.least.items()
            if least < ENOUGH
        ]

    def table(self) -> str:
        """A row for each crash point, then one for each kind of log."""
        rows: list[tuple[str, ...]] = [("log", "crash point", "before", "after", "at")]
        for kind, point in dict.fromkeys((aim.kind, aim.point) for aim in self.aims):
            counts = (self.hits[Aim(kind, point, side)] for side in ("before", "after", ""))
            rows.append((kind, point, *(str(count or "") for count in counts)))
        rows.append(("", "", "", "", ""))
        rows.append(("log", "acknowledged entries", "kills", "each", "least"))
        for kind in self.kinds:
            kills, entries = self.kills(kind), self.acknowledged[kind]
            each = f"{entries / kills:.0f}" if kills else ""
            rows.append((kind, str(entries), str(kills), each, str(self.least.get(kind, ""))))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        return "\n".join(_line(row, widths) for row in rows)

    def summary(self) -> str:
        """The last line."""
        lost = sum(finding.kind == LOST for _, finding in self.findings)
        return f"{lost} lost, {len(self.findings) - lost} inconsistent"

    @property
    def is_good(self) -> bool:
        """Nothing found, nothing missed, enough acknowledged."""
        return not (self.findings or self.missed() or self.starved())


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    texts = [text.ljust(width) for text, width in zip(row[:2], widths[:2], strict=True)]
    numbers = [text.rjust(width) for text, width in zip(row[2:], widths[2:], strict=True)]
    return "  ".join([*texts, *numbers]).rstrip()
