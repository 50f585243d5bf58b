"""Lets foreign readers check the log that `make demo` left: `python -m tests.conformance.log_demo`.

Reads `evidence.json`. The reader of this folder and Tessera's fsck must find the log whole, at the size and
root that the demo saw, and the proofs of its bundle right; and each must find what is then damaged in a copy.

Exit 0 when all is as it must be or there is no Go (a failure under CI=true), 1 after a surprise, 2 when the
evidence cannot be read.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.go_programs import NoGoError, build_program
from tests.conformance.made_logs import LogCopy
from tests.conformance.readers import read_log, run_fsck

from touchplate.base.environment import read_environment
from touchplate.verify.tiles import TILE_WIDTH, entries_path, tile_path, tiles_of

SHOWN = 150
"""Characters of an answer that are printed."""


@dataclass(frozen=True)
class Evidence:
    """What the demo left: the log with its bundle, and the size and root (hex) that the demo saw."""

    log: LogCopy
    size: int
    root: str


@dataclass(frozen=True)
class Finding:
    """One question, whether its answer is the right one, and the answer."""

    what: str
    right: bool
    answer: str


def read_evidence(path: Path) -> Evidence:
    """The evidence behind `evidence.json`; its folder counts from the file. Raises OSError, KeyError,
    ValueError.
    """
    facts = json.loads(path.read_text(encoding="utf-8"))
    folder = path.parent / facts["folder"]
    log = facts["log"]
    bundles = tuple(sorted(folder.glob("*.touchplate.json")))
    if not bundles or not log["size"]:
        raise ValueError(f"no proof bundle in {folder}, or an empty log")
    copied = LogCopy(folder / log["folder"], log["key"], bundles)
    (copied.folder / "checkpoint").read_bytes()
    return Evidence(copied, int(log["size"]), base64.b64decode(log["root"], validate=True).hex())


def findings(reader: Path, fsck: Path, evidence: Evidence, scratch: Path) -> Iterator[Finding]:
    """Every question to both readers, with its answer."""
    log = evidence.log
    reading = read_log(reader, log)
    whole = reading.checked["size"] == evidence.size and reading.root == evidence.root
    checked = ", ".join(f"{count} {name}" for name, count in reading.checked.items())
    answer = "; ".join(map(str, reading.problems)) or checked
    yield Finding("reader: as the node served it", whole and not reading.problems, answer)
    words = run_fsck(fsck, log, scratch)
    yield Finding("fsck: as the node served it", words.good, words.verdict)
    for number, (what, check, where, damage) in enumerate(damages(evidence)):
        damaged = log.copy(scratch / str(number))
        damage(damaged)
        reading = read_log(reader, damaged)
        answer = "; ".join(f"{each.where}: {each.detail}" for each in reading.problems) or "nothing found"
        yield Finding(f"reader: {what}", reading.names(check, where), answer)
        if check != "bundle":
            words = run_fsck(fsck, damaged, scratch)
            yield Finding(f"fsck: {what}", not words.good, words.verdict)


def damages(evidence: Evidence) -> Iterator[tuple[str, str, str, Callable[[LogCopy], None]]]:
    """What is done to copies: its name, the check that must fail, the path it must name, the deed."""
    tile = tile_path(next(tiles_of(evidence.size)))
    entries = entries_path(0, min(TILE_WIDTH, evidence.size))
    # The third line of the checkpoint is the root; a byte of it no longer fits the signature.
    yield "root changed", "checkpoint", "checkpoint", change_root
    yield "tile changed", "tile", tile, lambda log: log.flip(tile, 40)
    yield "tile missing", "tile", tile, lambda log: (log.folder / tile).unlink()
    yield "entry changed", "root", "checkpoint", lambda log: log.flip(entries, 40)
    bundle = evidence.log.bundles[0].name
    yield "proof changed", "bundle", f"{bundle} entry 0", change_proof


def change_root(log: LogCopy) -> None:
    """Another first character of the root."""
    lines = (log.folder / "checkpoint").read_text(encoding="utf-8").split("\n")
    lines[2] = ("B" if lines[2][0] == "A" else "A") + lines[2][1:]
    log.write("checkpoint", "\n".join(lines).encode())


def change_proof(log: LogCopy) -> None:
    """The first hash of the first proof is that of another place."""
    bundle = json.loads(log.bundles[0].read_text(encoding="utf-8"))
    proof = bundle["entries"][0]["proof"]
    proof[0] = proof[-1] if proof[0] != proof[-1] else bundle["entries"][0]["key"][:44]
    log.bundles[0].write_text(json.dumps(bundle), encoding="utf-8")


def report(found: Iterator[Finding]) -> int:
    """Print a line for each finding; 0 when all are right."""
    wrong = total = 0
    for finding in found:
        total += 1
        wrong += not finding.right
        print(f"{'ok   ' if finding.right else 'WRONG'}  {finding.what}: {finding.answer[:SHOWN]}")
    print(f"foreign readers: {total - wrong} of {total} answers as they must be")
    return 1 if wrong else 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.log_demo", description=__doc__)
    parser.add_argument("evidence", type=Path, nargs="?", default=Path("evidence.json"))
    parser.add_argument("--cache", type=Path, help="folder for the built programs")
    arguments = parser.parse_args(argv)
    environment = read_environment()
    try:
        evidence = read_evidence(arguments.evidence)
    except (OSError, KeyError, ValueError) as error:
        print(
            f"cannot read the evidence {arguments.evidence}: {error!r}; run `make demo` first",
            file=sys.stderr,
        )
        return 2
    try:
        reader, fsck = (build_program(environment, name, arguments.cache) for name in ("reader", "fsck"))
    except NoGoError as error:
        print(f"FOREIGN READERS NOT ASKED: {error}", file=sys.stderr)
        return 1 if environment.is_ci else 0
    with tempfile.TemporaryDirectory() as scratch:
        return report(findings(reader, fsck, evidence, Path(scratch)))


if __name__ == "__main__":
    sys.exit(main())
