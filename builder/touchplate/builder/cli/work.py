"""`touchplate builder work`: rebuild what a queue asks for, from anywhere, until stopped."""

import argparse
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from touchplate.base.progress import Progress, Task, open_progress
from touchplate.base.values import Secret
from touchplate.builder.cli.probe import add_backend
from touchplate.builder.cli.workshop import add_upstreams
from touchplate.builder.inputs.upstream_client import read_credentials
from touchplate.builder.inputs.upstream_option import parse_upstreams
from touchplate.builder.job import Settings, check_key
from touchplate.builder.queue.address import add_server, server_url
from touchplate.builder.roots.shelf import MOST_ROOTS
from touchplate.builder.worker import Worker, WorkerSettings
from touchplate.builder.workshop import default_data
from touchplate.verify.names import check_operator
from touchplate.verify.output import print_json, print_note
from touchplate.verify.usage import OK, UsageError, read_version

MAX_SLOTS = 64
"""Builds at the same time on one machine: each may take 4 GiB of memory."""


def register(parser: argparse.ArgumentParser) -> None:
    """Add the options of `touchplate builder work`."""
    add_server(parser)
    parser.add_argument("--slots", type=int, default=1, metavar="N", help="builds at the same time (1)")
    parser.add_argument("--name", default=socket.gethostname(), help="of this worker; default: the host's")
    parser.add_argument("--key", type=Path, required=True, metavar="PEM", help="rebuilder key")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="password of an encrypted key")
    parser.add_argument("--operator", required=True, metavar="URL", help="who signs, https://…")
    parser.add_argument("--log", metavar="URL", help="log to write to; default: the server's own")
    add_upstreams(parser)
    parser.add_argument("--data", type=Path, metavar="DIR", help="what is kept: inputs, tools, evidence")
    add_backend(parser)
    parser.add_argument(
        "--twice", action="store_true", help="as for touchplate rebuild: each job takes longer"
    )
    parser.add_argument(
        "--roots",
        type=int,
        default=MOST_ROOTS,
        metavar="N",
        help=f"build roots that are kept ({MOST_ROOTS}): those used last, and any in use",
    )
    parser.add_argument("--until-empty", action="store_true", help="end when no job can be had")
    parser.add_argument(
        "--json", action="store_true", help="print how many jobs were done as JSON at the end"
    )


def run(args: argparse.Namespace) -> int:
    """Work until SIGINT or SIGTERM (or the queue is empty). Returns 0."""
    if not 1 <= args.slots <= MAX_SLOTS:
        raise UsageError(f"--slots: write a number from 1 to {MAX_SLOTS}")
    if args.roots < 1:
        raise UsageError("--roots: write 1 or more")
    check_operator(args.operator)
    for one in parse_upstreams(args.upstream):
        read_credentials(one)  # as the key: told now
    server = server_url(args)
    settings = Settings(
        server=f"{server}/builder",
        log=args.log or f"{server}/log",
        token=Secret.of_file(args.token_file).resolve(),
        operator=args.operator,
        key=str(args.key.absolute()),
        password_file=str(args.password_file.absolute()) if args.password_file else None,
        upstreams=tuple(args.upstream),
        data=str((args.data or default_data()).absolute()),
        backend=args.backend,
        twice=args.twice,
        most_roots=args.roots,
    )
    # A key that cannot be used is told now, not by every job.
    check_key(settings)
    name = f"{args.name[:40]}.{os.getpid()}"
    made = WorkerSettings(settings, args.slots, name, args.until_empty, read_version())
    # Bars of what runs are for who watches; a log file has a line for each job.
    is_watched = sys.stderr.isatty()
    with open_progress(quiet=not is_watched) as progress:
        worker = Worker(made, progress.line if is_watched else print_note, show=SlotBars(progress).show)
        with _stopping(worker):
            slots = f"{args.slots} slot{'' if args.slots == 1 else 's'}"
            print_note(f"working for {settings.server} in {slots}; Ctrl-C stops")
            worker.run()
    if args.json:
        print_json({"done": worker.done})
    return OK


class SlotBars:
    """A bar for each slot that has a job, with its phase; a line for each phase that is over."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[int, tuple[Task, float]] = {}

    def show(self, slot: int, text: str) -> None:
        """What the slot does from now on; called by its thread only."""
        if (before := self._tasks.pop(slot, None)) is not None:
            task, begun = before
            task.finish(f"{time.monotonic() - begun:.0f} s")
        if text:
            self._tasks[slot] = (self._progress.task(f"slot {slot}: {text}"), time.monotonic())


@contextmanager
def _stopping(worker: Worker) -> Iterator[None]:
    """SIGINT and SIGTERM stop the worker; only the main thread can hear them."""

    def stop(_number: int, _frame: Any) -> None:
        worker.stop()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.signal(one, stop) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
