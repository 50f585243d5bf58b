"""`touchplate log follow`: keep a verified mirror. `touchplate log report`: check a report about one."""

import argparse
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

from touchplate.base.progress import open_progress
from touchplate.base.values import Duration
from touchplate.log.follow import Follower, Update
from touchplate.log.mirror import Mirror, MirrorFirst
from touchplate.verify.cli_reader import add_policy, add_state, open_log, require_reader
from touchplate.verify.encoding import encode_base64
from touchplate.verify.errors import MalformedError, ProofError, ReportedError, TrustError, VerifyError
from touchplate.verify.forks import FORK, MAX_REPORT_BYTES, open_report
from touchplate.verify.jcs import JSONValue
from touchplate.verify.output import (
    flush_output,
    print_error,
    print_json,
    print_line,
    print_note,
    print_pairs,
)
from touchplate.verify.reading import read_at_most
from touchplate.verify.sources import open_source
from touchplate.verify.usage import OK, REFUSED, UNDETERMINED, UsageError

DEFAULT_INTERVAL = Duration(10)
"""Seconds between two looks at a log: what witnesses and monitors of other logs do."""

MAX_RETRY_SECONDS = 600
"""The longest time that a log can make a follower wait by Retry-After: it may not put a monitor to sleep."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def register(commands: Any) -> None:
    """Add `follow` and `report` to the commands of `touchplate log`."""
    follow = commands.add_parser(
        "follow",
        help="keep a verified mirror of a log in a folder",
        description="Keep a verified mirror of a log in a folder. A fork, or files that are not what was "
        "signed, end it with exit code 1 and a report in that folder; what may be better later is tried "
        "again, with --once exit code 2.",
    )
    follow.add_argument(
        "--url", required=True, metavar="URL", help="the log's URL, or a folder with the same paths"
    )
    follow.add_argument(
        "--to", required=True, type=Path, metavar="FOLDER", help="the mirror; made if missing"
    )
    often = follow.add_mutually_exclusive_group()
    often.add_argument("--once", action="store_true", help="end when the newest head is mirrored")
    often.add_argument(
        "--interval", metavar="TIME", help=f"between two looks: 30s, 5m… (default: {DEFAULT_INTERVAL}s)"
    )
    follow.add_argument("--recheck", action="store_true", help="first check the whole mirror, and mend it")
    add_policy(follow, required=True)
    add_state(follow)
    follow.set_defaults(run_log=_follow)
    report = commands.add_parser(
        "report",
        help="check the report of a fork, offline",
        description="Check a report about a log, offline. Exit code 0 when it proves a fork, 1 when it "
        "claims one and does not prove it, 2 when it only tells of damage, which proves nothing.",
    )
    report.add_argument("file", metavar="FILE", help="fork-….json or damage-….json")
    add_policy(report, required=True)
    report.set_defaults(run_log=_report)


# --- follow -----------------------------------------------------------------------------------------------


def _follow(args: argparse.Namespace) -> int:
    interval = read_interval(args.interval)
    reader = require_reader(args)
    remote = open_source(args.url)
    if "://" not in args.url and Path(args.url).resolve() == args.to.resolve():
        raise UsageError("--url and --to are the same folder; a mirror cannot follow itself")
    with stopping() as stop, Mirror(args.to, reader.policy) as mirror:
        source = MirrorFirst(remote, args.to)
        follower = Follower(mirror, source, open_log(args, source, reader, reports=args.to))

        def update() -> Update:
            return follower.update(
                stopping=stop.is_set, progress=lambda: open_progress(quiet=args.json), recheck=args.recheck
            )

        if args.once:
            done = update()
            _print_update(done, args)
            return OK if done.complete else UNDETERMINED
        _keep_following(args, update, stop, interval)
    return OK


def _keep_following(
    args: argparse.Namespace, update: Callable[[], Update], stop: Event, interval: int
) -> None:
    """Update until `stop`. What may be better next time is said once; what a log may not do is raised."""
    said = ""
    shown: str | None = None
    while not stop.is_set():
        wait: float = interval
        try:
            done = update()
        except (ReportedError, TrustError):
            raise
        except VerifyError as error:
            # Not reachable, not cosigned yet, an older copy: nothing was accepted, and later it may be well.
            asked = getattr(error, "retry_after", None) or 0
            wait = max(interval, min(asked, MAX_RETRY_SECONDS))
            if str(error) != said:
                print_note(f"{error.reason}: {error}; trying again")
            said = str(error)
        else:
            said, args.recheck = "", args.recheck and not done.complete
            note = None if done.head is None else done.head.note
            if note != shown or not done.complete:
                _print_update(done, args)
                flush_output()  # whoever reads this reads it now, not when a buffer is full
            shown = note
        stop.wait(wait)


def _print_update(done: Update, args: argparse.Namespace) -> None:
    size = 0 if done.head is None else done.head.size
    if args.json:
        told: dict[str, JSONValue] = {
            "complete": done.complete,
            "folder": str(args.to),
            "healed": done.healed,
            "new": str(size - done.since),
            "size": str(size),
        }
        if done.head is not None:
            told |= {"origin": done.head.origin, "root": encode_base64(done.head.root)}
        print_json(told)
        return
    if done.healed:
        print_note("files of the mirror were missing or damaged: all of it was checked again, and mended")
    if not done.complete:
        print_note(f"stopped; the mirror is at size {size}, and goes on from there when started again")
        return
    assert done.head is not None
    print_line(f"{done.head.origin}: {size} entries (+{size - done.since}), root {done.head.root.hex()}")


def read_interval(text: str | None) -> int:
    if text is None:
        return DEFAULT_INTERVAL
    try:
        interval = Duration.parse(text)
    except ValueError as error:
        raise UsageError(f"--interval: {error}") from error
    if interval < 1:
        raise UsageError("--interval: at least one second")
    return interval


@contextmanager
def stopping() -> Iterator[Event]:
    """An event that SIGTERM and SIGINT set, so that work ends between two steps; the second one kills."""
    stop = Event()
    before: dict[signal.Signals, Any] = {}

    def on_signal(number: int, frame: object) -> None:
        stop.set()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in SIGNALS:
        before[number] = signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        restore()


# --- report -----------------------------------------------------------------------------------------------


def _report(args: argparse.Namespace) -> int:
    reader = require_reader(args)
    try:
        report = open_report(read_at_most(args.file, MAX_REPORT_BYTES), reader.policy)
    except MalformedError as error:
        raise MalformedError(f"{args.file} is no report about a log: {error}", reason=error.reason) from error
    except ProofError as error:
        print_error(error, as_json=args.json)
        return REFUSED
    forked = report.finding == FORK
    heads = [head for head in (report.old, report.new) if head is not None]
    if args.json:
        print_json(
            {
                "finding": report.finding,
                "proven": forked,
                "what": report.what,
                "origin": report.new.origin,
                "heads": [{"size": str(head.size), "root": encode_base64(head.root)} for head in heads],
            }
        )
        return OK if forked else UNDETERMINED
    if forked:
        print_line(f"proven: the log {report.new.origin} signed two histories")
    else:
        print_line(f"not proven: what {report.new.origin} served is not signed; the heads are genuine")
    pairs = [(f"size {head.size}", f"root {head.root.hex()}") for head in heads]
    print_pairs([*pairs, ("what", report.what)])
    return OK if forked else UNDETERMINED
