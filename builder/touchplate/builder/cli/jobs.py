"""`touchplate jobs`: add, list, show, cancel, watch and delete jobs of a queue, and see who works for it."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from touchplate.base.http import AddressRules, HTTPClient
from touchplate.base.values import Secret
from touchplate.builder.cli.job_tables import print_job, print_jobs, print_workers
from touchplate.builder.cli.jobs_add import add_options, run_add
from touchplate.builder.cli.jobs_prune import add_prune_options, run_prune
from touchplate.builder.queue.address import add_server, server_url
from touchplate.builder.queue.client import QueueClient
from touchplate.builder.queue.jobs import CLOSED, MAX_LISTED, STATES, Job
from touchplate.builder.queue.wire import format_job, format_worker
from touchplate.verify.output import print_json, print_line
from touchplate.verify.usage import OK, REFUSED, UsageError


def register(parser: argparse.ArgumentParser) -> None:
    """Add the commands of `touchplate jobs`."""
    commands = parser.add_subparsers(dest="jobs_command", required=True, metavar="COMMAND")
    lister = _command(commands, "list", "the newest jobs")
    lister.add_argument("--state", choices=STATES, help="only those of this state")
    lister.add_argument("--limit", type=int, default=50, metavar="N", help="how many (50)")
    adder = _command(commands, "add", "ask for a rebuild")
    add_options(adder)
    _command(commands, "workers", "who works for the queue")
    add_prune_options(_command(commands, "prune", "delete jobs that ended long ago"))
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
    """Do it. 0, or 1 when `log --follow` saw a job end that is not in the log; `add` has codes of its own."""
    run_command = {
        "list": _list,
        "add": run_add,
        "show": _show,
        "cancel": _cancel,
        "log": _log,
        "workers": _workers,
        "prune": run_prune,
    }
    with _opened(args) as queue:
        return run_command[args.jobs_command](args, queue)


@contextmanager
def _opened(args: argparse.Namespace) -> Iterator[QueueClient]:
    token = Secret.of_file(args.token_file).resolve()
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
        print_jobs(found)
    return OK


def _workers(args: argparse.Namespace, queue: QueueClient) -> int:
    found = queue.workers()
    if args.json:
        print_json({"workers": [format_worker(one) for one in found]})
    else:
        print_workers(found)
    return OK


def _show(args: argparse.Namespace, queue: QueueClient) -> int:
    return _show_job(args, queue.find(args.number))


def _cancel(args: argparse.Namespace, queue: QueueClient) -> int:
    return _show_job(args, queue.cancel(args.number, signed=args.signed))


def _log(args: argparse.Namespace, queue: QueueClient) -> int:
    job = queue.find(args.number)
    for line in queue.follow(args.number, wait=args.follow):
        print_json({"line": line}) if args.json else print_line(line)
    if not args.follow:
        return OK
    job = queue.find(args.number)
    return REFUSED if job.state in CLOSED and job.state != "done" else OK


def _show_job(args: argparse.Namespace, job: Job) -> int:
    print_json(format_job(job)) if args.json else print_job(job)
    return OK
