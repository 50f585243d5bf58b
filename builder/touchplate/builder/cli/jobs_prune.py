"""`touchplate jobs prune`: delete jobs that ended long ago, or say how many there are."""

import argparse
from collections import Counter
from collections.abc import Mapping

from touchplate.base.progress import open_progress
from touchplate.base.values import Duration
from touchplate.builder.queue.client import QueueClient
from touchplate.builder.queue.jobs import CLOSED, BadJobError
from touchplate.builder.queue.retention import Wanted
from touchplate.verify.jcs import JSONValue
from touchplate.verify.output import print_json, print_line
from touchplate.verify.usage import OK, UsageError


def add_prune_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `touchplate jobs prune`."""
    parser.add_argument(
        "--older",
        metavar="AGE",
        help="ended longer ago, as 90d or 12h; default: what the node keeps",
    )
    parser.add_argument(
        "--state",
        choices=CLOSED,
        action="append",
        default=[],
        help="only these; may be repeated. With --older, failed ones only so",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say how many")


def run_prune(args: argparse.Namespace, queue: QueueClient) -> int:
    """Do it, call by call until nothing is left. 0, also when there was nothing."""
    wanted = _wanted(args)
    counts: Counter[str] = Counter()
    with open_progress(quiet=args.json) as progress:
        total = sum(queue.prune(wanted, dry_run=True)[0].values())
        task = progress.task("jobs deleted", total)
        is_more = True
        while is_more:
            found, is_more = queue.prune(wanted, dry_run=args.dry_run)
            counts.update(found)
            if not args.dry_run:
                task.advance(sum(found.values()))
        task.finish()
    if args.json:
        value: dict[str, JSONValue] = {"dry_run": args.dry_run, "jobs": dict(sorted(counts.items()))}
        print_json(value)
    else:
        print_line(f"{_said(counts)} {'would be deleted' if args.dry_run else 'deleted'}")
    return OK


def _wanted(args: argparse.Namespace) -> Wanted:
    """Raises UsageError."""
    try:
        older = None if args.older is None else int(Duration.parse(args.older))
        return Wanted(older, tuple(args.state))
    except (ValueError, BadJobError) as error:
        raise UsageError(f"--older: {str(error).removeprefix('older: ')}") from error


def _said(counts: Mapping[str, int]) -> str:
    parts = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()) if count)
    return f"{sum(counts.values())} jobs{f' ({parts})' if parts else ''}"
