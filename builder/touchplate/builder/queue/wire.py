"""Jobs and leases as JSON, for both ends of the HTTP face."""

from collections.abc import Sequence
from dataclasses import MISSING, asdict, fields
from typing import Any, cast

from touchplate.builder.queue.jobs import (
    LONGEST_LEASE_SECONDS,
    RESULTS,
    STATES,
    BadJobError,
    Job,
    Lease,
    State,
    WorkerSlot,
)
from touchplate.builder.queue.retention import Wanted
from touchplate.verify.encoding import decode_base64, encode_base64
from touchplate.verify.errors import VerifyError
from touchplate.verify.jcs import JSON, JSONValue

MAX_MESSAGE_BYTES = 128 * 1024
"""Of a message without statements: a piece of output in base64 is the largest."""

MAX_STATEMENTS_BYTES = 17 * 1024 * 1024
"""Of a message with the statements of a job."""

_NULLABLE = ("finished", "lease_until", "result", "leased")
_TEXTS = ("package", "definition", "worker", "detail", "phase")


def format_job(job: Job) -> dict[str, JSONValue]:
    """A job; indexes are decimal strings, as everywhere."""
    return {**asdict(job), "indexes": [str(index) for index in job.indexes]}


def parse_job(value: JSON) -> Job:
    """What `format_job` made; fields that this version does not know are passed over, those that older ones
    do not know have their defaults. Raises BadJobError."""
    message = need_object(value)
    try:
        found: dict[str, Any] = {
            field.name: message[field.name]
            for field in fields(Job)
            if field.name in message or field.default is MISSING
        }
    except KeyError as error:
        raise BadJobError(f"a job without {error}") from error
    for name, part in found.items():
        kind: type = str if name in _TEXTS or name in ("state", "result") else int
        if name in ("indexes", "is_signed") or (part is None and name in _NULLABLE):
            continue
        if not isinstance(part, kind):
            raise BadJobError(f"a job whose {name} is of another type")
    if found["state"] not in STATES or found["result"] not in (*RESULTS, None):
        raise BadJobError("a job of an unknown state or result")
    indexes = found["indexes"]
    if not isinstance(indexes, list) or not all(str(one).isdecimal() for one in indexes):
        raise BadJobError("a job whose indexes are no numbers")
    return Job(**{**found, "indexes": tuple(int(one) for one in indexes)})


def format_worker(worker: WorkerSlot) -> dict[str, JSONValue]:
    """A slot of a worker."""
    return asdict(worker)


def parse_worker(value: JSON) -> WorkerSlot:
    """What `format_worker` made; fields that this version does not know are passed over. Raises
    BadJobError."""
    message = need_object(value)
    found: dict[str, Any] = {field.name: message.get(field.name) for field in fields(WorkerSlot)}
    for name, part in found.items():
        kind: type = int if name in ("first_seen", "last_seen", "job") else str
        if not isinstance(part, kind) and not (name == "job" and part is None):
            raise BadJobError(f"a worker without {name}, or with one of another type")
    return WorkerSlot(**found)


def format_wanted(wanted: Wanted, *, dry_run: bool) -> dict[str, JSONValue]:
    """What a person wants to have deleted, or only counted."""
    return {"older": wanted.older, "states": list(wanted.states), "dry_run": dry_run}


def parse_wanted(value: JSON) -> Wanted:
    """What `format_wanted` made; each member may be missing. Raises BadJobError."""
    message = need_object(value)
    older, states, dry = message.get("older"), message.get("states", []), message.get("dry_run", False)
    if older is not None and (not isinstance(older, int) or isinstance(older, bool)):
        raise BadJobError("older: write a whole number of seconds")
    if not isinstance(states, list) or not all(isinstance(one, str) for one in states):
        raise BadJobError("states: write a list of states")
    if not isinstance(dry, bool):
        raise BadJobError("dry_run: write true or false")
    return Wanted(older, tuple(cast(State, one) for one in states))


def parse_counts(value: JSON) -> tuple[dict[str, int], bool]:
    """How many jobs of each state were deleted, or would be, and whether there is more. Raises
    BadJobError."""
    message = need_object(value)
    counts = need_object(message.get("jobs"))
    found = {state: count for state, count in counts.items() if isinstance(count, int)}
    if found.keys() != counts.keys():
        raise BadJobError("counts of jobs that are no numbers")
    return found, message.get("more") is True


def format_lease(lease: Lease) -> dict[str, JSONValue]:
    """A lease."""
    return {
        "job": format_job(lease.job),
        "secret": lease.secret,
        "seconds": lease.seconds,
        "longest_seconds": lease.longest_seconds,
        "envelopes": format_envelopes(lease.envelopes),
    }


def parse_lease(value: JSON) -> Lease:
    """What `format_lease` made; older ones do not say how long a lease may last. Raises BadJobError."""
    message = need_object(value)
    secret, seconds = message.get("secret"), message.get("seconds")
    longest = message.get("longest_seconds", LONGEST_LEASE_SECONDS)
    if not isinstance(secret, str) or not isinstance(seconds, int) or seconds < 1:
        raise BadJobError("a lease without secret or seconds")
    if not isinstance(longest, int) or longest < 1:
        raise BadJobError("a lease whose longest time is no number")
    envelopes = parse_envelopes(message.get("envelopes"))
    return Lease(parse_job(message.get("job")), secret, seconds, envelopes, longest)


def format_envelopes(envelopes: Sequence[bytes]) -> list[JSONValue]:
    """Envelopes in base64."""
    return [encode_base64(one) for one in envelopes]


def parse_envelopes(value: JSON) -> tuple[bytes, ...]:
    """A list of envelopes in base64. Raises BadJobError."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise BadJobError("envelopes: write a list of base64 texts")
    try:
        return tuple(decode_base64(str(one), "envelope") for one in value)
    except VerifyError as error:
        raise BadJobError(f"envelopes: {error}") from error


def need_object(value: JSON) -> dict[str, JSON]:
    """A JSON object. Raises BadJobError."""
    if not isinstance(value, dict):
        raise BadJobError("write a JSON object")
    return value
