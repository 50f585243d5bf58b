"""One job of the queue, in a process of its own: rebuild, have it judged, sign, store, send, report.

Started by `worker` with its task on standard input, and gone when that ends: so a killed worker leaves no job
behind, and a killed job leaves the worker alone. At whatever moment it dies, the queue gives the job to
somebody else; once statements are stored there, those are sent and none are made again.
"""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from touchplate.base.errors import StorageError, TouchplateError
from touchplate.base.http import AddressRules, HTTPClient
from touchplate.base.progress import PlainProgress
from touchplate.builder.attestation.attest import Operator
from touchplate.builder.attestation.evidence import EvidenceServer
from touchplate.builder.attestation.keys import read_signer
from touchplate.builder.definitions.definition import Definition, parse_definition
from touchplate.builder.ecosystems.registry import find_ecosystem
from touchplate.builder.errors import KEY_UNUSABLE, NOT_PINNED, UNKNOWN_FIELD, DefinitionError, HostLack
from touchplate.builder.inputs.repository import RemoteFile
from touchplate.builder.inputs.upstream_option import parse_upstreams
from touchplate.builder.queue.client import QueueClient, ServerError
from touchplate.builder.queue.jobs import Job, Lease, LeaseLostError, on_one_line
from touchplate.builder.queue.wire import format_lease, parse_lease
from touchplate.builder.rebuild import fetch_published, rebuild
from touchplate.builder.repeat import fetch_root_lock
from touchplate.builder.repeatability.report import repeatability_lines
from touchplate.builder.roots.shelf import MOST_ROOTS
from touchplate.builder.submit import (
    add_envelopes,
    check_admitted,
    is_refused_for_good,
    is_refused_key,
    make_statements,
)
from touchplate.builder.workshop import Workshop, open_workshop
from touchplate.verify.errors import VerifyError
from touchplate.verify.jcs import format_json, parse_json
from touchplate.verify.output import describe
from touchplate.verify.purl import parse_purl
from touchplate.verify.sources import AnswerError

MODULE = "touchplate.builder.job"

BAD_KEY = 3
"""Exit code: the queue knows what came of the job, and no job can be done with the worker's key (any more):
it cannot be read, or the log does not take it."""

MAX_TASK_BYTES = 32 * 1024 * 1024
"""Of the task: statements that are stored already come with it."""

AGAIN_SECONDS = 2.0
"""Pause before the queue is asked again that did not answer."""

PATIENCE_SECONDS = 600.0
"""How long the queue may be away while there is something to tell it; the lease is lost long before."""

TWICE_SHARE = 5 / 6
"""Of the longest time of a lease, after which no build of `--twice` may still run: the verdict is compared,
signed and sent in what is left."""

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """What all jobs of a worker share; paths as text."""

    server: str
    """The builder's address of a node, such as `https://packages.example.org/builder`."""
    log: str
    token: str
    operator: str
    key: str
    password_file: str | None
    upstreams: tuple[str, ...]
    data: str
    backend: str = ""
    """Which backend builds use where there is a choice; empty: the usual one."""
    twice: bool = False
    """Whether each build is made again, the same way and varied (`twice.py`)."""
    most_roots: int = MOST_ROOTS
    """Build roots that are kept; of those in use, all."""


@dataclass(frozen=True)
class Task:
    """One job, and where its builds run."""

    settings: Settings
    work: str
    lease: Lease

    def format(self) -> bytes:
        """One line for the process."""
        return (
            format_json(
                {"settings": asdict(self.settings), "work": self.work, "lease": format_lease(self.lease)}
            )
            + b"\n"
        )


def parse_task(data: bytes) -> Task:
    """What `Task.format` made. Raises KeyError, TypeError, QueueError, VerifyError."""
    parse_json(data.strip(), max_bytes=MAX_TASK_BYTES)
    value = json.loads(data)
    settings = value["settings"]
    upstreams = tuple(settings.pop("upstreams"))
    return Task(Settings(**settings, upstreams=upstreams), value["work"], parse_lease(value["lease"]))


def load_operator(settings: Settings) -> Operator:
    """The key, from its file; see `read_signer` for what is refused."""
    password_file = Path(settings.password_file) if settings.password_file else None
    return Operator(settings.operator, read_signer(Path(settings.key), password_file))


def check_key(settings: Settings) -> None:
    """Whether jobs can be done with the key. Raises as `load_operator` and `check_admitted`."""
    check_admitted(settings.log, load_operator(settings).signer)


def _load_operator(settings: Settings) -> Operator:
    try:
        return load_operator(settings)
    except (TouchplateError, VerifyError) as error:
        raise HostLack(f"the key cannot be used: {error}", reason=KEY_UNUSABLE) from error


@contextmanager
def open_queue(settings: Settings) -> Iterator[QueueClient]:
    """The queue of the settings. Its address was given by the operator, so it may be a private one."""
    with HTTPClient(AddressRules(anything=True)) as client:
        yield QueueClient(f"{settings.server}/jobs", client, settings.token)


def run_task(task: Task) -> int:
    """Do the job, and tell the queue what came of it: 0, or `BAD_KEY`.

    Raises ServerError when that cannot be told.
    """
    with open_queue(task.settings) as queue:
        try:
            _run(task, queue)
        except LeaseLostError:
            _say("the job was taken away")
        except DefinitionError as error:
            # Fleets are brought to a new version one machine after the other.
            end = queue.give_back if error.reason == UNKNOWN_FIELD else queue.fail
            _tell(end, task, str(error))
        except AnswerError as error:
            end = queue.fail if is_refused_for_good(error) else queue.give_back
            _tell(end, task, f"the log answered: {error.reason}: {error}")
            if is_refused_key(error):
                return BAD_KEY
        except HostLack as error:
            end = queue.fail if is_lacked_everywhere(error) else queue.give_back
            _tell(end, task, f"{error.reason}: {error}")
            if error.reason == KEY_UNUSABLE:
                return BAD_KEY
        except ServerError:
            raise
        except (TouchplateError, VerifyError) as error:  # this host, the way to the log or to the evidence
            _tell(queue.give_back, task, f"{error.reason}: {error}")
        except OSError as error:  # the disk, mostly: to die of it would look like a job that kills workers
            _tell(queue.give_back, task, f"{StorageError.default_reason}: {error}")
    return 0


def is_lacked_everywhere(error: HostLack) -> bool:
    """Whether another worker lacks it, too: a requirement that the definition does not pin."""
    return error.reason == NOT_PINNED


def _tell(end: Callable[[int, str, str], None], task: Task, why: str) -> None:
    """The lease ends with `fail` or `give_back`, unless it has ended already."""
    why = on_one_line(why)  # a longer message would be refused, and the job taken for one that kills workers
    _say(f"not done: {why}")
    with contextlib.suppress(LeaseLostError):
        _persist(lambda: end(task.lease.job.number, task.lease.secret, why))


def _run(task: Task, queue: QueueClient) -> None:
    number, secret = task.lease.job.number, task.lease.secret
    envelopes = task.lease.envelopes
    if envelopes:
        _say("signed already; sending")
    else:
        made = _make(task, queue)
        if made is None:
            _say("it is tried again later")
            return
        stored = made
        envelopes = _persist(lambda: queue.sign(number, secret, stored))
    indexes = add_envelopes(task.settings.log, envelopes)
    _persist(lambda: queue.finish(number, secret, indexes))
    _say(f"logged: {', '.join(str(index) for index in indexes)}")


def _make(task: Task, queue: QueueClient) -> tuple[bytes, ...] | None:
    """The signed statements of a rebuild whose evidence is stored; None when it is to be tried again."""
    settings, job = task.settings, task.lease.job
    operator = _load_operator(settings)
    server = EvidenceServer(f"{settings.server}/evidence", queue.client, settings.token)
    twice_until = time.monotonic() + TWICE_SHARE * task.lease.longest_seconds
    with open_workshop(
        Path(settings.data),
        PlainProgress(sys.stderr),
        work=Path(task.work),
        upstreams=parse_upstreams(settings.upstreams),
        verbose=True,
        backend=settings.backend,
        detailed=True,
        most_roots=settings.most_roots,
    ) as workshop:
        definition, published = _find_definition(workshop, job, server)
        done = rebuild(
            workshop, definition, published, to_sign=True, twice=settings.twice, twice_until=twice_until
        )
        _say(f"result: {done.result}")
        if done.repeatability is not None:
            for name, value in repeatability_lines(done.repeatability):
                _say(f"{name or '…'}: {value}")
        result = done.result
        if not _persist(lambda: queue.judge(job.number, task.lease.secret, result)):
            return None
        signed, evidence = make_statements(workshop, done, operator)
        for sha256 in evidence:
            server.upload(workshop.evidence, sha256)
        return tuple(each.envelope for each in signed)


def _find_definition(
    workshop: Workshop, job: Job, server: EvidenceServer
) -> tuple[Definition, tuple[RemoteFile, ...]]:
    package = parse_purl(job.package)
    if not job.definition:
        inference = find_ecosystem(package.ecosystem).infer(workshop, package, {})
        workshop.keep_definition(inference.definition)
        return inference.definition, inference.published
    definition = parse_definition(server.fetch(job.definition))
    if str(definition.package) != job.package:
        raise DefinitionError(f"the definition is of {definition.package}, and the job of {job.package}")
    if definition.root and workshop.roots.find_lock(definition.root) is None:
        root = fetch_root_lock(definition, server)
        assert root is not None
        workshop.roots.learn(root)
    return definition, fetch_published(workshop, definition)


def _persist(call: Callable[[], T]) -> T:
    """`call`, again while the queue does not answer. Raises ServerError in the end, and at once when the
    token is nobody's any more."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return call()
        except ServerError as error:
            if error.is_final or time.monotonic() > until:
                raise
            _say(f"{error}; asking again")
            time.sleep(AGAIN_SECONDS)


def _say(line: str) -> None:
    sys.stderr.write(f"job: {line}\n")
    sys.stderr.flush()


def _die_with_worker() -> None:
    """Wait for the end of standard input, which comes when the worker is gone, and end at once."""
    # Not by the buffer: a thread that waits in it would abort the interpreter's end.
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(1)


def main() -> int:
    """0, or `BAD_KEY`, when the queue knows what came of the job."""
    task = parse_task(sys.stdin.buffer.readline())
    threading.Thread(target=_die_with_worker, daemon=True).start()
    try:
        return run_task(task)
    except (TouchplateError, VerifyError) as error:
        _say(describe(error))
        return 1


if __name__ == "__main__":
    sys.exit(main())
