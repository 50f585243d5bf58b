"""Runs the foreign readers of a log: our Go command on foreign libraries, and Tessera's fsck."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.made_logs import LogCopy
from tests.simlog import SimLog, serving

# Seconds. 70,000 entries take the reader four and fsck two, on two idle cores.
RUN_SECONDS = 300
# A worker of fsck ends at its first difference, and when all have ended it waits for ever: so there are more
# workers than damaged tiles.
WORKERS = 8
GOOD = "Successfully fsck'd log with size"
BAD = "fsck failed"
# Characters of a line that are kept: fsck prints both versions of a tile in hexadecimal.
LINE = 400


@dataclass(frozen=True)
class Problem:
    """What the reader found: in which check, at which path (or index or size), and what."""

    check: str
    where: str
    detail: str


@dataclass(frozen=True)
class Reading:
    """What the reader says about a log: the problems that it wrote out, and what it checked by name."""

    problems: tuple[Problem, ...]
    checked: dict[str, int]
    root: str

    def names(self, check: str, where: str, detail: str = "") -> bool:
        """Whether one of the problems is this one."""
        return any(
            problem.check == check and problem.where == where and detail in problem.detail
            for problem in self.problems
        )


def read_log(reader: Path, log: LogCopy) -> Reading:
    """Let the reader check a log and its bundles (its form: see reader/main.go)."""
    flags = ["-key", log.key, *(["-envelopes"] if log.envelopes else [])]
    done = subprocess.run(
        [str(reader), *flags, str(log.folder), *map(str, log.bundles)],
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.returncode in (0, 1), f"the reader failed: {done.stderr.strip()}"
    *lines, summary = [json.loads(line) for line in done.stdout.splitlines()]
    root = summary.pop("root")
    assert (done.returncode == 1) == (summary["problems"] > 0) == bool(lines), "the exit code contradicts"
    return Reading(tuple(Problem(**line) for line in lines), summary, root)


@dataclass(frozen=True)
class Words:
    """What fsck says: whether it calls the log good, in which words, and all that it printed."""

    good: bool
    verdict: str
    text: str


def run_fsck(fsck: Path, log: LogCopy, scratch: Path) -> Words:
    """Let Tessera's fsck read the copy of a log over HTTP on loopback."""
    with serving(SimLog(log.folder)) as served:
        return ask_fsck(fsck, served.url, log.key, scratch)


def ask_fsck(fsck: Path, url: str, key: str, scratch: Path) -> Words:
    """What Tessera's fsck says about the log at `url`; `scratch` is a folder for the file of its key.

    Its exit code says nothing: 1.0.4 ends with 0 after "fsck failed" too. So its words decide.
    """
    file = scratch / "log.pub"
    file.write_text(key)
    flags = [f"--storage_url={url}/", f"--public_key={file}", f"--N={WORKERS}", "--ui=false"]
    done = subprocess.run(
        [str(fsck), *flags], capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )
    lines = [line[:LINE] for line in done.stderr.splitlines()]
    verdicts = [line for line in lines if any(words in line for words in (GOOD, BAD))]
    assert len(verdicts) == 1, f"fsck said neither that the log is good nor that it is not: {lines}"
    # Before it stand time, process and line of the source.
    verdict = verdicts[0].partition("] ")[2]
    return Words(verdict.startswith(GOOD), verdict, "\n".join(lines))
