"""`touchplate jobs`: add, list, show, cancel and watch the jobs of a queue."""

import argparse
import hashlib
import importlib
import importlib.util
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from touchplate.base.http import AddressRules, HTTPClient
from touchplate.base.values import Secret
from touchplate.builder.definitions import load_definition
from touchplate.builder.evidence import EvidenceServer
from touchplate.builder.queue.address import add_server, server_url
from touchplate.builder.queue.client import QueueClient
from touchplate.builder.queue.jobs import CLOSED, MAX_LISTED, MAX_PRIORITY, STATES, Job
from touchplate.builder.queue.wire import format_job
from touchplate.verify.encoding import format_time
from touchplate.verify.output import print_json, print_line, print_pairs, print_table
from touchplate.verify.usage import OK, REFUSED, UsageError


def register(parser: argparse.ArgumentParser) -> None:
    """Add the commands of `touchplate jobs`."""
    commands = parser.add_subparsers(dest="jobs_command", required=True, metavar="COMMAND")
    lister = _command(commands, "list", "the newest jobs")
    lister.add_argument("--state", choices=STATES, help="only those of this state")
    lister.add_argument("--limit", type=int, default=50, metavar="N", help="how many (50)")
    adder = _command(commands, "add", "ask for a rebuild")
    adder.add_argument("package", nargs="?", metavar="PURL", help="pkg:maven/GROUP/ARTIFACT@VERSION")
    adder.add_argument("--definition", type=Path, metavar="FILE", help="instead of one that is inferred")
    adder.add_argument(
        "--priority", type=int, default=0, metavar="N", help=f"0 to {MAX_PRIORITY}, the greater first (0)"
    )
    for name, summary in (("show", "one job"), ("cancel", "end an open job"), ("log", "a job's output")):
        one = _command(commands, name, summary)
        one.add_argument("number", type=int, metavar="N", help="its number")
        if name == "log":
            one.add_argument("--follow", action="store_true", help="wait for more until the job is closed")
        if name == "cancel":
            one.add_argument(
                "--signed",
                action="store_true",
                help="also when it is signed: its log is gone for good",
            )


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, summary: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary)
    add_server(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def run(args: argparse.Namespace) -> int:
    """Do it. 0, or 1 when `log --follow` saw a job end that is not in the log."""
    run_command = {"list": _list, "add": _add, "show": _show, "cancel": _cancel, "log": _log}
    with _opened(args) as queue:
        return run_command[args.jobs_command](args, queue)


@contextmanager
def _opened(args: argparse.Namespace) -> Iterator[QueueClient]:
    token = Secret.parse(f"file:{args.token_file}", Path()).resolve()
    url = f"{server_url(args)}/builder/jobs"
    with HTTPClient(AddressRules(anything=True)) as client:
        yield QueueClient(url, client, token)


def _list(args: argparse.Namespace, queue: QueueClient) -> int:
    if not 1 <= args.limit <= MAX_LISTED:
        raise UsageError(f"--limit: write a number from 1 to {MAX_LISTED}")
    found = queue.list(state=args.state, limit=args.limit)
    if args.json:
        print_json({"jobs": [format_job(job) for job in found]})
    else:
        _print_jobs(found)
    return OK


def _add(args: argparse.Namespace, queue: QueueClient) -> int:
    if (args.package is None) == (args.definition is None):
        raise UsageError("give a PURL or --definition FILE: one of them")
    package, digest = args.package, ""
    if args.definition is not None:
        definition = load_definition(args.definition)
        package, digest = str(definition.package), definition.sha256
        _upload(args, queue, definition.data)
    job, is_new = queue.add(package, digest, args.priority)
    if args.json:
        print_json({"job": format_job(job), "new": is_new})
    else:
        print_line(f"job {job.number}{'' if is_new else ' is open already'}: {job.package}")
    return OK


def _upload(args: argparse.Namespace, queue: QueueClient, data: bytes) -> None:
    """The definition goes where workers fetch it from: to the evidence."""
    server = EvidenceServer(f"{server_url(args)}/builder/evidence", queue.client, queue.token)
    server.store(hashlib.sha256(data).hexdigest(), data)


def _show(args: argparse.Namespace, queue: QueueClient) -> int:
    _print_job(args, queue.find(args.number))
    return OK


def _cancel(args: argparse.Namespace, queue: QueueClient) -> int:
    _print_job(args, queue.cancel(args.number, signed=args.signed))
    return OK


def _log(args: argparse.Namespace, queue: QueueClient) -> int:
    job = queue.find(args.number)
    for line in queue.follow(args.number, wait=args.follow):
        print_json({"line": line}) if args.json else print_line(line)
    if not args.follow:
        return OK
    job = queue.find(args.number)
    return REFUSED if job.state in CLOSED and job.state != "done" else OK


def _print_job(args: argparse.Namespace, job: Job) -> None:
    if args.json:
        print_json(format_job(job))
        return
    print_pairs([
        ("job", str(job.number)),
        ("package", job.package),
        ("definition", job.definition or "inferred"),
        ("state", f"{job.state}{': ' + job.detail if job.detail else ''}"),
        ("result", job.result or ""),
        ("log entries", ", ".join(str(index) for index in job.indexes)),
        ("worker", job.worker),
        ("attempts", f"{job.attempts} ({_counts(job)})"),
        ("priority", str(job.priority)),
        ("created", format_time(job.created)),
        ("finished", format_time(job.finished) if job.finished is not None else ""),
    ])  # fmt: skip


def _counts(job: Job) -> str:
    counts = (("lost", job.lost), ("host lacks", job.lacks), ("not built", job.not_built))
    said = [f"{count} {name}" for name, count in (*counts, ("different", job.different)) if count]
    return ", ".join(said) or "none failed"


def _print_jobs(jobs: Sequence[Job]) -> None:
    heads = ("job", "state", "result", "tries", "age", "worker", "package")
    now = int(time.time())
    rows = [
        (str(job.number), job.state, job.result or "", str(job.attempts), _age(now - job.created), job.worker,
         job.package)
        for job in jobs
    ]  # fmt: skip
    if sys.stdout.isatty() and importlib.util.find_spec("rich") is not None:
        importlib.import_module("touchplate.base.table_rich").show_table(heads, rows)
    else:
        print_table(heads, rows)


def _age(seconds: int) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{max(0, seconds)}s"
