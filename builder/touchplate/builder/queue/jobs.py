"""What a job is: its states, its counts and its limits. No database here."""

from dataclasses import dataclass
from typing import Literal

from touchplate.base.errors import TouchplateError
from touchplate.builder.plan import Limits
from touchplate.verify.output import printable

State = Literal["waiting", "leased", "done", "failed", "cancelled"]
"""`waiting` for a worker; `leased` to one; `done` and in the log; `failed` for good (a dead letter, for a
person to look at); `cancelled` by a person."""

STATES: tuple[State, ...] = ("waiting", "leased", "done", "failed", "cancelled")
OPEN: tuple[State, ...] = ("waiting", "leased")
CLOSED: tuple[State, ...] = ("done", "failed", "cancelled")

Result = Literal["identical", "equivalent", "different", "not-built"]
RESULTS: tuple[Result, ...] = ("identical", "equivalent", "different", "not-built")

MAX_PRIORITY = 100
"""Priorities go from 0 to this; the greater ones first."""

MAX_LISTED = 1_000
"""Jobs of one page of a listing."""

MAX_NAME_CHARS = 100
"""Of a worker's or client's name: enough for a host name and a number."""

MAX_PACKAGE_CHARS = 2_000
"""Of a job's package URL: as many bytes as servers take in an address line, four times over."""

MAX_DETAIL_CHARS = 2_000
"""Of the reason why a job is back or failed: as long as `detail` of a failure in a statement."""

MAX_PHASE_CHARS = 100
"""Of what a worker says of where its build is: one line of a table."""

MAX_PARCEL_BYTES = 16 * 1024 * 1024
"""Signed envelopes of one job together: as large as a parcel in a worker's outbox."""

MAX_OUTPUT_BYTES = 2 * 1024 * 1024
"""Output of one job that is kept here for those who watch. The whole log (16 MiB) is evidence."""

MAX_BATCH_BYTES = 64 * 1024
"""Of output in one message of a worker."""

LONGEST_LEASE_SECONDS = 3 * int(Limits().wall_seconds)
"""Both phases of a build that uses up its wall clock, and as long again for what is fetched and compared."""

ANONYMOUS = "anonymous "
"""Begins the name of a client that is known by its address only."""

BUILT: tuple[Result, ...] = ("identical", "equivalent", "different")
"""Results of a build that came to its end: no further one is likely to have another."""


def on_one_line(said: str) -> str:
    """A worker's words as they are sent, kept and shown: part of them may come from whoever published a
    package, of whatever length."""
    return printable(" ".join(said.split()))[:MAX_DETAIL_CHARS]


@dataclass(frozen=True)
class QueueLimits:
    """How much a queue takes and how often it tries."""

    open_jobs: int = 1_000
    """Jobs that wait or run. At one minute each, two workers take most of a day for that many."""
    asked_per_hour: int = 10
    """New jobs that one client may ask for in an hour; those added by an administrator are not counted."""
    anonymous_per_hour: int = 20
    """New jobs that all clients without a token may ask for together: addresses cost nothing."""
    open_asked: int = 500
    """Jobs that wait or run because clients asked for them: the other places are administrators'."""
    open_anonymous: int = 100
    """Of those, such as clients without a token asked for: the other places are for those with one."""
    quiet_seconds: int = 24 * 3600
    """No request opens a job again that ended less than this ago: the inputs are hardly others by then."""
    lease_seconds: int = 60
    """Silence of a worker after which its job is another's: four heartbeats."""
    longest_lease_seconds: int = LONGEST_LEASE_SECONDS
    """Since its beginning, however often it is renewed: a worker that hangs, but says that it lives, must not
    keep a job for ever."""
    overruns: int = 1
    """Leases of one job that may last so long in vain: it is the job's fault when it happens again."""
    lost: int = 5
    """Leases of one job that may end in silence: a job that kills its worker must not go round for ever."""
    lacks: int = 20
    """Times that a worker may give a job back for a lack of its host; another host may do."""
    not_built: int = 1
    """Further attempts after one that built nothing: upstreams and disks have bad days."""
    different: int = 0
    """Further attempts after one that built other bytes. None: a build that is sometimes different is so."""
    retry_seconds: int = 300
    """Pause before a job is tried again."""


@dataclass(frozen=True)
class Job:
    """One job as everybody with a token may see it. Times in unix seconds."""

    number: int
    package: str
    """Package URL of what is rebuilt, as `touchplate rebuild` takes it, in its one spelling."""
    definition: str
    """sha256 of the definition, which is held as evidence; empty: the worker infers one."""
    priority: int
    state: State
    created: int
    finished: int | None
    not_before: int
    worker: str
    """Who has it, or had it last; empty when nobody."""
    lease_until: int | None
    attempts: int
    """Leases that were given."""
    lost: int
    lacks: int
    not_built: int
    different: int
    result: Result | None
    """What the last finished build came to."""
    detail: str
    indexes: tuple[int, ...]
    """Where the log holds its statements."""
    is_signed: bool
    """Whether its statements are stored here, to be sent and never to be made again."""
    leased: int | None = None
    """When the newest lease began."""
    overruns: int = 0
    """Leases that ended because they had lasted as long as one may."""
    phase: str = ""
    """What its worker said last of where the build is."""


@dataclass(frozen=True)
class WorkerSlot:
    """One slot of a worker that asked for jobs of late. Times in unix seconds."""

    name: str
    """As jobs name it: token/name.pid/slot."""
    version: str
    backend: str
    first_seen: int
    last_seen: int
    job: int | None
    """Number of the job that it has; None when it waits for one."""
    package: str
    phase: str


@dataclass(frozen=True)
class Lease:
    """What a worker gets with a job. `secret` proves that the lease is its own; `envelopes` are there when
    the statements were signed already: they are to be sent, and nothing is to be built."""

    job: Job
    secret: str
    seconds: int
    envelopes: tuple[bytes, ...]
    longest_seconds: int = LONGEST_LEASE_SECONDS
    """Since its beginning, however often it is renewed."""


class QueueError(TouchplateError):
    """Base of the queue's errors."""

    default_reason = "queue"


class BadJobError(QueueError):
    """A request that no job can come of: a package, digest, priority or name of another form."""

    default_reason = "bad-job"


class NoJobError(QueueError):
    """There is no job of this number."""

    default_reason = "no-such-job"


class DeletedJobError(NoJobError):
    """There was a job of this number: it ended, was kept for its time, and is gone."""

    default_reason = "job-deleted"


class LeaseLostError(QueueError):
    """The lease ended: the job was cancelled, finished, or is another worker's now. Stop working on it."""

    default_reason = "lease-lost"


class QueueFullError(QueueError):
    """As many jobs are open as the queue takes."""

    default_reason = "queue-full"


class TooManyRequestsError(QueueError):
    """This client asked for more rebuilds than an hour allows."""

    default_reason = "too-many-requests"
