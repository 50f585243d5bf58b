"""Runs Tessera's hammer (1.0.4) on a log that takes raw leaves, and reads what it says."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

MAX_SECONDS = 60
"""How long hammer tries before it gives up with "Max runtime reached"."""

WRITERS = 64
"""Unlike Tessera, our log answers each at once: fewer than 256 writers are not slower."""

WRITES = 20_000
READS = 200
"""Operations a second at most: more than it gets."""

REACHED = "Reached tree size goal"
PUSHED_BACK = "requests received pushback from log"
CANCELLED = "context canceled"
"""What was under way when hammer had reached its goal, and stopped itself."""

LINE = 800
"""Characters of a line that are kept."""


@dataclass(frozen=True)
class Hammered:
    """How a run ended. `good`: by its words, its exit code, and no complaint in between."""

    code: int
    lines: tuple[str, ...]

    @property
    def complaints(self) -> list[str]:
        """Warnings and worse. Being told to come back later is none, nor is what hammer itself broke off."""
        return [
            line
            for number, line in enumerate(self.lines)
            if line[:1] in "WEF"
            and PUSHED_BACK not in line
            and not (CANCELLED in line and any(REACHED in before for before in self.lines[:number]))
        ]

    @property
    def good(self) -> bool:
        """Whether it reached its goal and had nothing to complain about. Errors of readers and writers are
        warnings in its log only: its exit code says nothing of them."""
        return self.code == 0 and any(REACHED in line for line in self.lines) and not self.complaints

    def says(self, words: str) -> bool:
        """Whether some line holds these words."""
        return any(words in line for line in self.lines)


def run_hammer(
    hammer: Path,
    url: str,
    key: str,
    goal: int,
    *,
    write_url: str | None = None,
    token: str | None = None,
    seconds: int = MAX_SECONDS,
) -> Hammered:
    """Let hammer write `goal` leaves, one in ten twice, with eight readers beside it."""
    flags = [
        f"--log_url={url}/",
        f"--write_log_url={write_url or url}/",
        f"--log_public_key={key}",
        "--show_ui=false",
        f"--num_writers={WRITERS}",
        f"--max_write_ops={WRITES}",
        f"--max_read_ops={READS}",
        "--leaf_min_size=1024",
        "--dup_chance=0.1",
        f"--leaf_write_goal={goal}",
        f"--max_runtime={seconds}s",
    ]
    flags += [] if token is None else [f"--bearer_token_write={token}"]
    done = subprocess.run(
        [str(hammer), *flags], capture_output=True, text=True, timeout=2 * MAX_SECONDS, check=False
    )
    return Hammered(done.returncode, tuple(line[:LINE] for line in done.stderr.splitlines()))
