"""What a series of jobs has come to: kills by who was killed and when, jobs, findings."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.torture.oracle import LOST, Finding

NODE, WORKERS, JOBS = "the node", "all workers", "all job processes"
"""Who is killed while the queue holds at a step; at a random moment it is one worker or one job process."""

RANDOM = "a random moment"


@dataclass(frozen=True)
class Aim:
    """Who is killed with -9, and when: at `side` of the step `point`, or without a side at RANDOM."""

    victim: str
    point: str
    side: str = ""

    def __str__(self) -> str:
        return f"{self.victim}, {self.side} {self.point}".replace(",  ", ", ")


@dataclass
class Tally:
    """Of one queue."""

    kind: str
    """Its database."""
    aims: Sequence[Aim]
    hits: Counter[Aim] = field(default_factory=Counter)
    killed: int = 0
    """Processes."""
    jobs: Counter[str] = field(default_factory=Counter)
    """By the state in which they ended."""
    attempts: int = 0
    """Leases that were given for them."""
    entries: int = 0
    """In the log at the end."""
    findings: list[tuple[str, Finding]] = field(default_factory=list)
    unlisted: set[str] = field(default_factory=set)
    """Durable calls of the node that the table of points does not know."""

    def hit(self, aim: Aim, killed: int) -> None:
        """So many processes died as planned."""
        self.hits[aim] += 1
        self.killed += killed

    def report(self, where: str, found: Iterable[Finding]) -> None:
        """Take in what a check found."""
        for finding in found:
            self.findings.append((f"{self.kind}, {where}", finding))
            print(f"jobs: {self.kind}, {where}: {finding}", flush=True)  # a series takes long, and may be cut

    def missed(self) -> list[str]:
        """Aims that were never hit."""
        return [str(aim) for aim in dict.fromkeys(self.aims) if not self.hits[aim]]

    def table(self) -> str:
        """A row for each step, its kills by victim, then what became of the jobs."""
        victims = (NODE, WORKERS, JOBS)
        rows: list[tuple[str, ...]] = [(f"jobs on {self.kind}", "", *victims)]
        steps = {(aim.point, aim.side) for aim in self.aims}
        for point, side in sorted(steps, key=lambda step: (step[1] == "", step[0], step[1] == "after")):
            counts = (self.hits[Aim(victim, point, side)] for victim in victims)
            rows.append((point, side, *(str(count or "") for count in counts)))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [
            "  ".join([
                *(cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)),
                *(cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)),
            ]).rstrip()
            for row in rows
        ]  # fmt: skip
        states = ", ".join(f"{count} {state}" for state, count in sorted(self.jobs.items()))
        lines.append(
            f"{sum(self.hits.values())} kills of {self.killed} processes; jobs: {states}, in {self.attempts}"
            f" leases; {self.entries} entries in the log"
        )
        return "\n".join(lines)

    def summary(self) -> str:
        """The last line."""
        lost = sum(finding.kind == LOST for _, finding in self.findings)
        return f"{lost} lost, {len(self.findings) - lost} inconsistent"

    @property
    def is_good(self) -> bool:
        """Nothing found, nothing missed, nothing unlisted."""
        return not (self.findings or self.missed() or self.unlisted)
