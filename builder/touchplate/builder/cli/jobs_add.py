"""`touchplate jobs add`: of a package, a definition, or a folder of definitions; and to wait for them."""

import argparse
import hashlib
import re
import time
from collections.abc import Sequence
from pathlib import Path

from touchplate.base.progress import Progress, open_progress
from touchplate.builder.attestation.evidence import EvidenceServer
from touchplate.builder.cli.job_tables import show_table
from touchplate.builder.definitions.definition import Definition, load_definition
from touchplate.builder.definitions.folder import check_folder
from touchplate.builder.errors import DefinitionError
from touchplate.builder.queue.address import server_url
from touchplate.builder.queue.client import QueueClient, ServerError
from touchplate.builder.queue.jobs import CLOSED, MAX_PRIORITY, Job, QueueFullError
from touchplate.builder.queue.wire import format_job
from touchplate.verify.jcs import JSONValue
from touchplate.verify.output import print_json, print_line, print_note
from touchplate.verify.purl import parse_purl
from touchplate.verify.usage import OK, REFUSED, UNDETERMINED, UsageError

POLL_SECONDS = 2.0
"""Between two looks at a job that is waited for."""

PATIENCE_SECONDS = 600.0
"""How long the queue may be away meanwhile: a node that is updated comes back."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `touchplate jobs add`."""
    parser.add_argument(
        "package",
        nargs="?",
        metavar="PURL",
        help="pkg:maven/GROUP/ARTIFACT@VERSION; with --folder a pattern, with * for any characters",
    )
    parser.add_argument("--definition", type=Path, metavar="FILE", help="instead of one that is inferred")
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="a job for each definition of a folder that has none which is open or done",
    )
    parser.add_argument("--again", action="store_true", help="with --folder: for those that are done, too")
    parser.add_argument(
        "--priority", type=int, default=0, metavar="N", help=f"0 to {MAX_PRIORITY}, the greater first (0)"
    )
    parser.add_argument(
        "--wait",
        action="store_true",
        help="until it is closed: then 0 identical, 1 another result, 2 failed or cancelled",
    )


def run_add(args: argparse.Namespace, queue: QueueClient) -> int:
    """Add them. 0; with `--wait` the worst of the results' exit codes; 1 when the queue is full before."""
    if args.folder is not None:
        return _add_folder(args, queue)
    if args.again:
        raise UsageError("--again belongs to --folder: one job is always made anew")
    if (args.package is None) == (args.definition is None):
        raise UsageError("give a PURL, --definition FILE or --folder DIR: one of them")
    if args.definition is None:
        job, is_new = queue.add(args.package, "", args.priority)
    else:
        definition = load_definition(args.definition)
        _upload(args, queue, definition.data)
        job, is_new = queue.add(str(definition.package), definition.sha256, args.priority)
    note = f"job {job.number}{'' if is_new else ' is open already'}: {job.package}"
    code = OK
    if args.wait:
        print_note(note)
        (job,) = wait_for(queue, [job], quiet=args.json)
        code = exit_code(job)
    if args.json:
        print_json({"job": format_job(job), "new": is_new})
    else:
        print_line(f"job {job.number}: {_outcome(job)}: {job.package}" if args.wait else note)
    return code


def _add_folder(args: argparse.Namespace, queue: QueueClient) -> int:
    if args.definition is not None:
        raise UsageError("--definition and --folder: give one of them")
    with open_progress(quiet=args.json) as progress:
        chosen = _choose(args.folder, args.package, progress)
        task = progress.task("jobs asked for", len(chosen))
        added: list[tuple[Job, bool]] = []
        full = ""
        for definition in chosen:
            _upload(args, queue, definition.data)
            try:
                added.append(
                    queue.add(str(definition.package), definition.sha256, args.priority, again=args.again)
                )
            except QueueFullError as error:
                full = str(error)
                break
            task.advance()
        task.finish(f"{sum(is_new for _, is_new in added)} new of {len(chosen)}")
    jobs = [job for job, _ in added]
    if args.wait:
        jobs = wait_for(queue, jobs, quiet=args.json)
    _report(args, jobs, [is_new for _, is_new in added], len(chosen) - len(added))
    if full:
        print_note(f"{len(chosen) - len(added)} were not added: {full}")
    codes = [exit_code(job) for job in jobs] if args.wait else []
    return max([*codes, REFUSED if full else OK])


def _report(args: argparse.Namespace, jobs: Sequence[Job], new: Sequence[bool], refused: int) -> None:
    if args.json:
        listed: list[JSONValue] = [
            {"job": format_job(job), "new": is_new} for job, is_new in zip(jobs, new, strict=True)
        ]
        print_json({"jobs": listed, "refused": refused})
        return
    rows = [
        (str(job.number), "new" if is_new else "", job.state, job.result or "", job.package)
        for job, is_new in zip(jobs, new, strict=True)
    ]
    show_table(("job", "", "state", "result", "package"), rows)


def _choose(folder: Path, pattern: str | None, progress: Progress) -> list[Definition]:
    """The definitions of the folder whose package is of the pattern. Raises DefinitionError for mistakes in
    the folder, and when there is none."""
    task = progress.task("definitions read", unit="files")
    checked = check_folder(folder, task.advance)
    task.finish()
    if bad := [one for one in checked if one.definition is None]:
        mistake = bad[0].mistakes[0]
        raise DefinitionError(
            f"{len(bad)} definitions of {str(folder)!r} have mistakes, such as {bad[0].path}:{mistake.line}:"
            f" {mistake.text}; see `touchplate definition check {folder}`"
        )
    found = [one.definition for one in checked if one.definition is not None]
    if pattern is not None:
        found = [one for one in found if _is_of(pattern, str(one.package))]
    if not found:
        raise DefinitionError(f"no definition of {str(folder)!r} is of {pattern!r}; * is any characters")
    return found


def _is_of(pattern: str, package: str) -> bool:
    """Whether the whole package URL, or that of its package without the file, is of the pattern."""
    expression = re.compile(".*".join(re.escape(part) for part in pattern.split("*")), re.DOTALL)
    return any(expression.fullmatch(one) for one in (package, str(parse_purl(package).package)))


def _upload(args: argparse.Namespace, queue: QueueClient, data: bytes) -> None:
    """The definition goes where workers fetch it from: to the evidence."""
    server = EvidenceServer(f"{server_url(args)}/builder/evidence", queue.client, queue.token)
    server.store(hashlib.sha256(data).hexdigest(), data)


def wait_for(queue: QueueClient, jobs: Sequence[Job], *, quiet: bool = False) -> list[Job]:
    """The same jobs, once all of them are closed. Raises ServerError when the queue stays away."""
    found = {job.number: job for job in jobs}
    with open_progress(quiet=quiet) as progress:
        task = progress.task("jobs closed", len(found))
        task.advance(sum(job.state in CLOSED for job in found.values()))
        while waiting := [job for job in found.values() if job.state not in CLOSED]:
            time.sleep(POLL_SECONDS)
            for before in waiting:
                job = found[before.number] = _find(queue, before.number, progress)
                if job.state in CLOSED:
                    task.advance()
                    progress.line(f"job {job.number}: {_outcome(job)}: {job.package}")
                elif (job.state, job.phase) != (before.state, before.phase):
                    phase = job.phase if job.state == "leased" else ""  # it stays after the lease
                    progress.line(f"job {job.number}: {phase or job.state}")
        task.finish()
    return [found[job.number] for job in jobs]


def _find(queue: QueueClient, number: int, progress: Progress) -> Job:
    until = time.monotonic() + PATIENCE_SECONDS
    is_told = False
    while True:
        try:
            return queue.find(number)
        except ServerError as error:
            if error.is_final or time.monotonic() > until:
                raise
            if not is_told:
                progress.line(f"{error}; asking again")
            is_told = True
            time.sleep(POLL_SECONDS)


def exit_code(job: Job) -> int:
    """Of a closed job: as `touchplate rebuild` has it for the same result; 2 when it is not in the log."""
    if job.state != "done":
        return UNDETERMINED
    return OK if job.result == "identical" else REFUSED


def _outcome(job: Job) -> str:
    return (job.result or job.state) if job.state == "done" else f"{job.state}: {job.detail}".rstrip(": ")
