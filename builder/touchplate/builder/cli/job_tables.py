"""Jobs and workers of a queue as people read them: tables, coloured on a terminal with `rich`."""

import importlib
import importlib.util
import sys
import time
from collections.abc import Sequence

from touchplate.builder.queue.jobs import Job, WorkerSlot
from touchplate.verify.encoding import format_time
from touchplate.verify.output import print_line, print_pairs, print_table


def print_job(job: Job) -> None:
    """Everything about one."""
    pairs = [
        ("job", str(job.number)),
        ("package", job.package),
        ("definition", job.definition or "inferred"),
        ("state", f"{job.state}{': ' + job.detail if job.detail else ''}"),
        ("result", job.result or ""),
        ("log entries", ", ".join(str(index) for index in job.indexes)),
        ("worker", job.worker),
        ("attempts", f"{job.attempts}{_counts(job)}"),
        ("priority", str(job.priority)),
        ("created", format_time(job.created)),
        ("finished", format_time(job.finished) if job.finished is not None else ""),
    ]
    if job.state == "leased":
        since = format_time(job.leased) if job.leased is not None else ""
        pairs[7:7] = [("leased", since), ("phase", job.phase)]
    print_pairs(pairs)


def print_jobs(jobs: Sequence[Job]) -> None:
    """One line each. `for`: how long its worker has had it, or until the next try."""
    now = int(time.time())
    rows = [
        (str(job.number), job.state, job.result or "", str(job.attempts), format_age(now - job.created),
         job.worker, _how_long(job, now), job.phase if job.state == "leased" else "", job.package)
        for job in jobs
    ]  # fmt: skip
    show_table(("job", "state", "result", "tries", "age", "worker", "for", "phase", "package"), rows)


def print_workers(workers: Sequence[WorkerSlot]) -> None:
    """One line for each slot."""
    now = int(time.time())
    rows = [
        (one.name, one.version, one.backend, format_age(now - one.first_seen),
         format_age(now - one.last_seen), "" if one.job is None else str(one.job), one.phase, one.package)
        for one in workers
    ]  # fmt: skip
    if not rows:
        print_line("no worker has asked for a job within a minute")
        return
    show_table(("worker", "version", "backend", "up", "seen", "job", "phase", "package"), rows)


def show_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns, for the terminal that is there."""
    if sys.stdout.isatty() and importlib.util.find_spec("rich") is not None:
        importlib.import_module("touchplate.base.table_rich").show_table(heads, rows)
    else:
        print_table(heads, rows)


def format_age(seconds: int) -> str:
    """In the largest whole unit: "2d", "3h", "5m", "0s"."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{max(0, seconds)}s"


def _how_long(job: Job, now: int) -> str:
    if job.state == "leased" and job.leased is not None:
        return format_age(now - job.leased)
    if job.state == "waiting" and job.not_before > now:
        return f"in {format_age(job.not_before - now)}"
    return ""


def _counts(job: Job) -> str:
    counts = (
        ("lost", job.lost),
        ("held too long", job.overruns),
        ("host lacks", job.lacks),
        ("not built", job.not_built),
        ("different", job.different),
    )
    told = ", ".join(f"{count} {name}" for name, count in counts if count)
    return f" ({told})" if told else ""
