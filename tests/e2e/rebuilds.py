"""Real releases rebuilt with inferred definitions: `make e2e-maven`. Prints a table with causes.

Each run is the command itself, signs, and writes to a log of its own; a host lack must log nothing. Exit 1 on
any surprise. `--data` is shared between runs: inputs that two releases have in common are fetched once. The
log is new each time under the same origin and key, so what is remembered of it may not be shared: an earlier
run's checkpoint would rightly be called a fork. What came out identical is verified offline by the entries of
that very run, and a flipped byte of it refused (`tests.e2e.offline`).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.builder.loghost import LogHost, log_host
from tests.e2e.offline import offline_mistakes

from touchplate.base.environment import read_environment
from touchplate.base.progress import open_progress
from touchplate.builder.ecosystems.registry import find_ecosystem
from touchplate.builder.workshop import default_data, open_workshop
from touchplate.verify.purl import parse_purl

RUN_SECONDS = 900  # one rebuild on a busy machine, ten times what it takes on an idle one


@dataclass(frozen=True)
class Case:
    """One run and what it must find. `says`: text that causes, summary, failure or error must hold."""

    name: str
    package: str
    result: str
    says: str = ""
    options: tuple[str, ...] = ()
    entries: int = 2
    """How many entries the log gets: provenance and comparison, one comparison, or none."""
    sha256: str = ""
    """Of the published file."""
    refetch: bool = True
    """Both phases each time, though the shared folder knows the inputs from an earlier run."""
    backend: str = "bubblewrap"


CASES = (
    Case(
        "commons-lang3 3.17.0",
        "pkg:maven/org.apache.commons/commons-lang3@3.17.0",
        "identical",
        sha256="6ee731df5c8e5a2976a1ca023b6bb320ea8d3539fbe64c8a1d5cb765127c33b4",
    ),
    Case(
        "commons-csv 1.12.0",
        "pkg:maven/org.apache.commons/commons-csv@1.12.0",
        "identical",
        sha256="e11a33d65e5f2e92769c0b13c548e0c2da01e37c1581417ea3fd7d5d9474fee6",
    ),
    Case(
        # Build alone where the inputs are known, half a minute: gVisor takes twice the time.
        "commons-csv 1.12.0 in gVisor",
        "pkg:maven/org.apache.commons/commons-csv@1.12.0",
        "identical",
        options=("--backend", "gvisor"),
        sha256="e11a33d65e5f2e92769c0b13c548e0c2da01e37c1581417ea3fd7d5d9474fee6",
        refetch=False,
        backend="gvisor",
    ),
    Case(
        "sling.discovery.api 1.0.6, made where lines end with CRLF",
        "pkg:maven/org.apache.sling/org.apache.sling.discovery.api@1.0.6",
        "identical",
        sha256="fed0893109ab91fcdfdda8d0ad60452173e7a1e8fbd91daa37da04a99c536d3e",
    ),
    Case(
        "maven-jar-plugin 3.4.2",
        "pkg:maven/org.apache.maven.plugins/maven-jar-plugin@3.4.2",
        "host lack",
        "needs JDK 21",
        entries=0,
    ),
    Case(
        "maven-jar-plugin 3.4.2 --jdk 17",
        "pkg:maven/org.apache.maven.plugins/maven-jar-plugin@3.4.2",
        "different",
        "Build-Jdk-Spec 21 != 17",
        options=("--jdk", "17"),
        sha256="e02b19fb8e7ea10baed4878a8c51e4ea21f16ef927efcfb2681a8faea86c7abb",
    ),
    Case(
        "jackson-core 2.18.10",
        "pkg:maven/com.fasterxml.jackson.core/jackson-core@2.18.10",
        "not-built",
        "phase build",
        entries=1,
    ),
)

CODES = {"identical": 0, "equivalent": 1, "different": 1, "not-built": 1, "host lack": 2}


@dataclass(frozen=True)
class Row:
    """What one run gave."""

    name: str
    result: str
    seconds: float
    cause: str
    mistakes: tuple[str, ...]


def command(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    """`touchplate rebuild … --json` in a process of its own; its progress goes to our stderr."""
    program = Path(sys.executable).with_name("touchplate")
    return subprocess.run(
        [program, "rebuild", "--json", *arguments], stdout=subprocess.PIPE, timeout=RUN_SECONDS, check=False
    )


def run(case: Case, host: LogHost, data: Path, folder: Path) -> Row:
    """Rebuild, and compare with what is expected. `folder`: for what the offline check leaves."""
    before = len(host.service.entries_after(0))
    start = time.monotonic()
    anew = ("--refetch",) if case.refetch else ()
    done = command(case.package, *anew, *case.options, "--data", str(data), *host.signing)
    seconds = time.monotonic() - start
    answer = json.loads(done.stdout)
    result = str(answer.get("result", "host lack"))
    cause = cause_of(answer)
    found = {
        f"exit code {done.returncode}, not {CODES[case.result]}": done.returncode != CODES[case.result],
        f"result {result}, not {case.result}": result != case.result,
        f"does not say {case.says!r}": case.says not in cause,
        f"not under {case.backend}": answer.get("backend", case.backend) != case.backend,
        "another published file": bool(case.sha256) and _published(answer) != case.sha256,
        f"not {case.entries} new entries": len(host.service.entries_after(0)) - before != case.entries,
    }
    mistakes = [text for text, wrong in found.items() if wrong]
    if result == "identical" and not mistakes:
        log = f"{host.url}/log"
        mistakes += offline_mistakes(answer, read_published(answer, data), folder, log=log, trust=host.reader)
    return Row(case.name, result, seconds, cause, tuple(mistakes))


def read_published(answer: dict[str, Any], data: Path) -> bytes:
    """The published file that a rebuild was compared with, from its upstream."""
    package = parse_purl(answer["outputs"][0]["package"])
    with open_progress(quiet=True) as display, open_workshop(data, display) as workshop:
        file = find_ecosystem(package.type).fetch_published(workshop, package, _published(answer))
    return file.data


def cause_of(answer: dict[str, Any]) -> str:
    """What a rebuild says about its result: an error, a failure, or what differs; empty when identical."""
    if "error" in answer:
        return str(answer["error"])
    if failure := answer.get("failure"):
        return f"phase {failure['phase']}, {failure['reason']}: {failure['detail']}"
    different = [one for one in answer["outputs"] if one["causes"]]
    return "; ".join(f"{', '.join(one['causes'])}: {' | '.join(one['summary'])}" for one in different)


def _published(answer: dict[str, Any]) -> str:
    outputs = answer.get("outputs") or [{}]
    return str(outputs[0].get("published", {}).get("sha256", ""))


def repeat(host: LogHost, data: Path, state: Path) -> Row:
    """Repeat the first logged rebuild from its evidence: Build only, the same bytes."""
    start = time.monotonic()
    done = command("--from", "1", "--data", str(data), "--state", str(state), *host.reading)
    answer = json.loads(done.stdout)
    same = answer.get("same") is True and done.returncode == 0
    word = "the same" if same else str(answer.get("error", "not the same"))
    mistakes = () if same else (f"not repeated (exit code {done.returncode})",)
    return Row("repeat of index 1", word, time.monotonic() - start, "", mistakes)


def show(rows: list[Row]) -> None:
    """The table."""
    width = max(len(row.name) for row in rows)
    show_head(width)
    for row in rows:
        show_row(row, width)


def show_head(width: int) -> None:
    """The table's first line; `width` of the names."""
    print(f"{'package':<{width}}  {'result':<10}  {'seconds':>7}  cause", flush=True)


def show_row(row: Row, width: int) -> None:
    """One line of the table, and one for each mistake."""
    cause = row.cause if len(row.cause) <= 110 else row.cause[:109] + "…"
    print(f"{row.name:<{width}}  {row.result:<10}  {row.seconds:>7.1f}  {cause}".rstrip(), flush=True)
    for mistake in row.mistakes:
        print(f"{'':<{width}}  SURPRISE: {mistake}", flush=True)


def main() -> int:
    """Run all cases, or those whose name holds one of the given words."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=default_data(), help="shared cache folder")
    parser.add_argument("words", nargs="*", help="only cases whose name holds one of these")
    args = parser.parse_args()
    cases = [case for case in CASES if not args.words or any(word in case.name for word in args.words)]
    environment = read_environment()
    if environment.find_program("runsc") is None and not environment.is_ci:
        print("e2e: GVISOR NOT TESTED: this needs runsc", flush=True)
        cases = [case for case in cases if case.backend != "gvisor"]
    with tempfile.TemporaryDirectory() as folder, log_host(Path(folder) / "host") as host:
        rows = [run(case, host, args.data.absolute(), Path(folder)) for case in cases]
        if len(host.service.entries_after(0)) > 1:
            rows.append(repeat(host, args.data.absolute(), Path(folder) / "state"))
    show(rows)
    surprises = sum(bool(row.mistakes) for row in rows)
    print(f"e2e: {surprises} surprises" if surprises else "e2e: ok")
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
