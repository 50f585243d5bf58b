"""More real releases, rebuilt with inferred definitions: `make rebuild-sample`.

Prints package → result → seconds → cause. A row that is `different` names its cause only when a control is
`identical`: a second build, one edit of the definition apart, without that cause (`tests.e2e.controls`). Any
other such row says `unexplained`. Exit 1 on an unexplained row or a surprise, and when fewer than four of
five releases are identical. A release whose JDK this host lacks is skipped, loudly; under CI=true that fails.

After the Maven releases come Conan packages and images, which publishers make on this machine
(`tests.e2e.sample_conan`, `tests.e2e.sample_images`).

As in `tests.e2e.rebuilds`, every run is the command itself, signs, and writes to a log that is new each time;
`--data` is shared between runs, what is remembered of the log is not. Two releases are rebuilt at a time,
each beside a log of its own, so that what a run adds to its log can be counted.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tests.builder.loghost import LogHost, log_host
from tests.e2e.controls import Edit, edit_definition, is_control, published
from tests.e2e.demo_world import commit
from tests.e2e.rebuilds import CODES, Row, cause_of, command, repeat, show_head, show_row
from tests.e2e.sample_cases import CASES, Case, Variation

from touchplate.base.environment import read_environment
from touchplate.builder.ecosystems.maven.tools import find_jdks
from touchplate.builder.errors import DefinitionError
from touchplate.builder.workshop import default_data

OK = "rebuild-sample: ok"

SETUP_JDK = 17
"""The JDK that `make setup` installs: lacking it is no reason to skip."""

NAME_WIDTH = 42
"""Characters of the table's first column: rows are printed before the later names are known."""

LANES = 2
"""Rebuilds at a time, unless said otherwise: each keeps about one core busy."""

IDENTICAL_SHARE = 0.8
"""Least part of the releases that must come out identical by inference, for it to be of use."""


@dataclass(frozen=True)
class Run:
    """One `touchplate rebuild` and what it answered."""

    answer: dict[str, Any]
    seconds: float = 0.0
    entries: int = 0
    """That the log got."""
    code: int = 2
    """Exit code."""

    @property
    def result(self) -> str:
        """Of the rebuild; `host lack` or the command's own error are none."""
        return str(self.answer.get("result", "no result"))

    @property
    def lacks_jdk(self) -> bool:
        """Whether this host has no JDK of the major version that is needed."""
        return self.answer.get("reason") == "jdk-missing"


@dataclass(frozen=True)
class SampleRow(Row):
    """A row of the table. `unexplained`: it differs, and no control shows why."""

    unexplained: bool = False
    skipped: bool = False
    project: str = ""
    """Of a release with its inferred definition; empty for controls and variations."""


class Runner:
    """Where the rebuilds of one sample are run: one log, one data folder."""

    def __init__(self, host: LogHost, data: Path, folder: Path, options: Sequence[str] = ()) -> None:
        """`folder`: for edited definitions; `options`: of every command, as where packages come from."""
        self._options = tuple(options)
        self._host = host
        self._data = data
        self._folder = folder

    def infer(self, package: str) -> Run:
        """Rebuild with the definition that is inferred."""
        return self._run(package)

    def edited(self, run: Run, edit: Edit) -> Run:
        """Rebuild with the definition of `run` after `edit`."""
        definition = run.answer["definition"]
        name = f"{definition['name']}-{definition['sha256'][:12]}.json"
        return self.edited_file(self._data / "definitions" / name, edit)

    def defined(self, definition: Path) -> Run:
        """Rebuild with a definition that somebody wrote."""
        return self._run("--definition", str(definition))

    def edited_file(self, path: Path, edit: Edit) -> Run:
        """Rebuild with the definition at `path` after `edit`."""
        edited = self._folder / "edited.json"
        try:
            edited.write_bytes(edit_definition(path.read_bytes(), edit))
        except (
            ValueError,
            DefinitionError,
        ) as error:  # inference has changed: the table says so, and goes on
            return Run({"error": f"no edited definition: {error}"})
        return self._run("--definition", str(edited))

    def _run(self, *arguments: str) -> Run:
        before = len(self._host.service.entries_after(0))
        start = time.monotonic()
        try:
            done = command(*arguments, "--data", str(self._data), *self._options, *self._host.signing)
            code, answer = done.returncode, json.loads(done.stdout)
        except (subprocess.TimeoutExpired, json.JSONDecodeError) as error:
            code, answer = 2, {"error": f"no answer: {error}"}
        seconds = time.monotonic() - start
        return Run(answer, seconds, len(self._host.service.entries_after(0)) - before, code)


def rows_of(case: Case, runner: Runner) -> Iterator[SampleRow]:
    """The release, then its control or its variations: one row for each build."""
    run = runner.infer(case.package)
    if run.lacks_jdk and case.jdk != SETUP_JDK:
        yield skipped(case.name, run, in_ci=read_environment().is_ci)
        return
    control = runner.edited(run, case.control) if case.control and run.result == "different" else None
    yield released(case, run, control)
    if case.control and control:
        yield controlled(case.control, control)
    for variation in case.variations if run.result == "identical" else ():
        varied = runner.edited(run, variation.edit)
        name = f"  with {variation.edit.says}"
        if varied.lacks_jdk and variation.jdk not in (None, SETUP_JDK):
            yield skipped(name, varied, in_ci=read_environment().is_ci)
        else:
            yield different(name, varied, variation, run)


def released(case: Case, run: Run, control: Run | None) -> SampleRow:
    """The row of an inferred rebuild. `control`: the build without the cause that the row shows."""
    if case.refused:
        return refused(case, run)
    expected = "different" if case.says else "identical"
    kind = run.answer.get("source", {}).get("kind", "")
    found = {
        f"result {run.result}, not {expected}": run.result != expected,
        f"does not say {case.says!r}": case.says not in cause_of(run.answer),
        f"source {kind}, not {case.source}": kind != case.source,
        "another published file": bool(published(run.answer))
        and set(published(run.answer).values()) != {case.sha256},
    }
    row = make_row(case.name, run, found, case.control.says if case.control else "", control)
    return replace(row, project=case.project)


def refused(case: Case, run: Run) -> SampleRow:
    """The row of a release for which inference refuses to make a definition: nothing is built."""
    says = str(run.answer.get("reason"))
    found = {
        f"result {run.result}, where nothing can be built": "result" in run.answer,
        f"refused as {says}, not {case.refused}": says != case.refused,
    }
    return replace(make_row(case.name, run, found, "", None), result="not built", project=case.project)


def different(name: str, run: Run, variation: Variation, control: Run) -> SampleRow:
    """The row of a varied definition; `control` is the inferred one that it was made from."""
    found = {
        f"result {run.result}, not different": run.result != "different",
        f"does not say {variation.says!r}": variation.says not in cause_of(run.answer),
    }
    return make_row(name, run, found, "as inferred", control)


def controlled(edit: Edit, run: Run) -> SampleRow:
    """The row of a control."""
    found = {f"control is {run.result}, not identical": run.result != "identical"}
    return make_row(f"  control: {edit.says}", run, found, "", None)


def skipped(name: str, run: Run, *, in_ci: bool) -> SampleRow:
    """The row of what cannot be built on this host."""
    mistakes = ("skipped, and this is CI",) if in_ci else ()
    return SampleRow(name, "SKIPPED", run.seconds, cause_of(run.answer), mistakes, skipped=True)


def not_tested(what: str, why: str) -> SampleRow:
    """The row of an ecosystem of which nothing can be built on this host; a failure in CI."""
    return skipped(what, Run({"error": why}), in_ci=read_environment().is_ci)


def entries_of(run: Run) -> int:
    """How many entries the log gets for a run: a comparison for each output, and their provenance if there
    is any; none when this host lacks something."""
    return {"no result": 0, "not-built": 1}.get(run.result, 1 + len(run.answer.get("outputs", ())))


def make_row(name: str, run: Run, found: dict[str, bool], says: str, control: Run | None) -> SampleRow:
    """A row. `found`: mistake → whether it was made; `says`: what sets the `control` apart, if there is any.

    What is `equivalent` needs no control, since the stabilizers say what differs; one with which it becomes
    identical is shown.
    """
    entries = entries_of(run)
    code = CODES.get(run.result, CODES["host lack"])
    found = {
        **found,
        f"{run.entries} new entries, not {entries}": run.entries != entries,
        f"exit code {run.code}, not {code}": run.code != code,
    }
    mistakes = tuple(text for text, wrong in found.items() if wrong)
    cause = cause_of(run.answer)
    if run.result == "equivalent":
        cause = f"equal after {', '.join(equal_after(run.answer))}"
    if run.result != "different" and (run.result != "equivalent" or control is None):
        return SampleRow(name, run.result, run.seconds, cause, mistakes)
    if control is None or not is_control(run.answer, control.answer):
        return SampleRow(name, run.result, run.seconds, f"unexplained: {cause}", mistakes, unexplained=True)
    return SampleRow(name, run.result, run.seconds, f"control: identical ({says}); {cause}", mistakes)


def equal_after(answer: dict[str, Any]) -> list[str]:
    """The stabilizers by which the outputs of an `equivalent` rebuild are equal, each once."""
    return list(dict.fromkeys(name for one in answer["outputs"] for name in one["stabilizers"]))


def summary(rows: Sequence[Row], *, whole: bool = True) -> str:
    """The last line; it starts with `OK` only when nothing failed. `whole`: whether no release was left out,
    so that the part of them that is identical says something."""
    sample = [row for row in rows if isinstance(row, SampleRow)]
    surprises = sum(bool(row.mistakes) for row in rows)
    unexplained = sum(row.unexplained for row in sample)
    counts = [
        (sum(row.result == "identical" for row in sample), "identical"),
        (sum(row.result == "equivalent" for row in sample), "equivalent"),
        (sum(row.result == "different" and not row.unexplained for row in sample), "different and named"),
        (sum(row.result == "not built" for row in sample), "not built"),
        (sum(row.skipped for row in sample), "skipped"),
        (unexplained, "unexplained"),
        (surprises, "surprises"),
    ]
    releases = [row for row in sample if row.project]
    same = [row for row in releases if row.result == "identical"]
    # Where everything was skipped, nothing was found out.
    failed = surprises or unexplained or not any(row.result in ("identical", "equivalent") for row in sample)
    too_few = whole and len(same) < IDENTICAL_SHARE * len(releases)
    word = "rebuild-sample: FAILED" if failed or too_few else OK
    projects = len({row.project for row in same})
    inferred = f"; by inference {len(same)} of {len(releases)} releases, of {projects} projects"
    counted = ", ".join(f"{count} {what}" for count, what in counts)
    return f"{word}: {counted}{inferred if releases else ''}"


def write_page(path: Path, rows: Sequence[Row], last: str) -> None:
    """The table as a Markdown page, with where and when it was made."""
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    machine = f"{os.cpu_count()} cores ({platform.machine()}), {system}, Python {platform.python_version()}"
    jdks = ", ".join(f"{jdk.vendor} {jdk.version}" for jdk in find_jdks())
    lines = [
        "# The last sample of rebuilt releases",
        "",
        f"- commit: {commit()}",
        f"- date: {time.strftime('%Y-%m-%d', time.gmtime())}",
        f"- machine: {machine}",
        f"- JDKs: {jdks}",
        f"- {last}",
        "",
        "Made by `make rebuild-sample`. Seconds are wall clock, with whatever else ran on the machine;",
        "inputs that an earlier run had fetched came from the cache. Two rebuilds ran at a time.",
        "",
        "| package | result | seconds | cause |",
        "|---|---|---|---|",
    ]
    for row in rows:
        cells = (row.name.replace("  ", "&nbsp;&nbsp;"), row.result, f"{row.seconds:.0f}", row.cause)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def all_rows(cases: Sequence[Case], runners: Sequence[Runner]) -> Iterator[list[SampleRow]]:
    """The rows of each case, in their order; as many cases at a time as there are runners."""
    free: SimpleQueue[Runner] = SimpleQueue()
    for runner in runners:
        free.put(runner)

    def one(case: Case) -> list[SampleRow]:
        runner = free.get()
        try:
            return list(rows_of(case, runner))
        finally:
            free.put(runner)

    with ThreadPoolExecutor(len(runners)) as pool:
        yield from pool.map(one, cases)


def _maven_rows(cases: Sequence[Case], data: Path, lanes: int) -> Iterator[Row]:
    """As they come: a whole sample takes long. Then a repeat of what one of the logs holds."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        hosts = [stack.enter_context(log_host(folder / f"host-{lane}")) for lane in range(lanes)]
        runners = [Runner(host, data, host.key.parent) for host in hosts]
        for rows in all_rows(cases, runners):
            yield from rows
        if len(hosts[0].service.entries_after(0)) > 1:
            yield repeat(hosts[0], data, folder / "state")


def _made_here(data: Path, words: Sequence[str]) -> Iterator[SampleRow]:
    """What publishers make on this machine: Conan packages and images, beside a log of their own."""
    # They are written in this module's terms.
    from tests.e2e.sample_conan import conan_rows
    from tests.e2e.sample_images import image_rows

    with tempfile.TemporaryDirectory() as folder, log_host(Path(folder) / "host") as host:
        yield from conan_rows(host, data, words)
        yield from image_rows(host, words)


def main() -> int:
    """Rebuild all, or those whose name holds one of the given words."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=default_data(), help="shared cache folder")
    parser.add_argument("--lanes", type=int, default=LANES, metavar="N", help="rebuilds at a time")
    parser.add_argument("--page", type=Path, help="write the table there, as Markdown")
    parser.add_argument("words", nargs="*", help="only releases whose name holds one of these")
    args = parser.parse_args()
    cases = [case for case in CASES if not args.words or any(word in case.name for word in args.words)]
    rows: list[Row] = []
    data = args.data.absolute()
    show_head(NAME_WIDTH)
    for row in chain(_maven_rows(cases, data, max(args.lanes, 1)), _made_here(data, args.words)):
        rows.append(row)
        show_row(row, NAME_WIDTH)
    last = summary(rows, whole=not args.words)
    print(last)
    if args.page is not None:
        write_page(args.page, rows, last)
    return 0 if last.startswith(OK) else 1


if __name__ == "__main__":
    # Not this copy's: the others import the module by its name, and its rows have to be of one class.
    from tests.e2e import sample

    sys.exit(sample.main())
