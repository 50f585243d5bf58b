"""The queue as a worker or an administrator sees it: its HTTP face, with a token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from touchplate.base.errors import FetchError, quote
from touchplate.base.http import HTTPClient, Response
from touchplate.builder.queue.events import follow
from touchplate.builder.queue.jobs import (
    BadJobError,
    DeletedJobError,
    Job,
    Lease,
    LeaseLostError,
    NoJobError,
    QueueError,
    QueueFullError,
    Result,
    State,
    TooManyRequestsError,
    WorkerSlot,
)
from touchplate.builder.queue.retention import Wanted
from touchplate.builder.queue.wire import (
    MAX_STATEMENTS_BYTES,
    format_envelopes,
    format_wanted,
    need_object,
    parse_counts,
    parse_envelopes,
    parse_job,
    parse_lease,
    parse_worker,
)
from touchplate.verify.encoding import encode_base64
from touchplate.verify.errors import VerifyError
from touchplate.verify.jcs import JSON, JSONValue, format_json, parse_json

_KINDS = (
    BadJobError,
    NoJobError,
    DeletedJobError,
    LeaseLostError,
    QueueFullError,
    TooManyRequestsError,
)
_ERRORS: dict[str, type[QueueError]] = {
    "too-late": BadJobError,
    "overrun": LeaseLostError,
    **{one.default_reason: one for one in _KINDS},
}


class ServerError(QueueError):
    """The queue's server did not answer, or not as a queue does. What was asked may have been done."""

    default_reason = "queue-unreachable"

    @property
    def is_final(self) -> bool:
        """Whether asking again will not help: the token is nobody's (any more), or of another scope."""
        return self.reason in ("unauthorized", "wrong-scope")


@dataclass(frozen=True)
class QueueClient:
    """A queue at `<url>/jobs`, such as `https://packages.example.org/builder/jobs`.

    Everything raises ServerError, and the errors of `jobs` that the server answers with.
    """

    url: str
    client: HTTPClient
    token: str

    def lease(self, worker: str, version: str = "", backend: str = "") -> Lease | None:
        """The next job for this worker; None when there is none. What it is, is shown with the workers."""
        answer = self._post("lease", {"worker": worker, "version": version, "backend": backend})
        return None if answer is None else parse_lease(answer)

    def heartbeat(self, number: int, secret: str, phase: str = "") -> None:
        """Keep the lease, and say where the build is."""
        self._post(f"{number}/heartbeat", {"secret": secret, "phase": phase})

    def judge(self, number: int, secret: str, result: Result) -> bool:
        """Whether a build with this result is to be signed; otherwise the job is tried again later."""
        answer = need_object(self._post(f"{number}/verdict", {"secret": secret, "result": result}))
        return answer.get("final") is True

    def sign(self, number: int, secret: str, envelopes: Sequence[bytes]) -> tuple[bytes, ...]:
        """Store signed statements; answers those that are to be sent."""
        message: dict[str, JSONValue] = {"secret": secret, "envelopes": format_envelopes(envelopes)}
        answer = need_object(self._post(f"{number}/statements", message))
        return parse_envelopes(answer.get("envelopes"))

    def finish(self, number: int, secret: str, indexes: Sequence[int]) -> None:
        """The log holds the statements there."""
        self._post(f"{number}/finish", {"secret": secret, "indexes": [str(index) for index in indexes]})

    def give_back(self, number: int, secret: str, reason: str) -> None:
        """This host lacks something for the job."""
        self._post(f"{number}/return", {"secret": secret, "reason": reason})

    def fail(self, number: int, secret: str, reason: str) -> None:
        """Nobody can do the job."""
        self._post(f"{number}/fail", {"secret": secret, "reason": reason})

    def output(self, number: int, secret: str, data: bytes) -> None:
        """A piece of output for those who watch."""
        self._post(f"{number}/output", {"secret": secret, "data": encode_base64(data)})

    def add(self, package: str, definition: str, priority: int, *, again: bool = True) -> tuple[Job, bool]:
        """A job for a package and definition, and whether it is new. Not `again`: one that is done is
        answered as it is."""
        message: dict[str, JSONValue] = {
            "package": package,
            "definition": definition,
            "priority": priority,
            "again": again,
        }
        answer = need_object(self._post("", message))
        return parse_job(answer.get("job")), answer.get("new") is True

    def cancel(self, number: int, *, signed: bool = False) -> Job:
        """End an open job; one whose statements are signed only when `signed` says so."""
        return parse_job(self._post(f"{number}/cancel{'?signed=1' if signed else ''}", {}))

    def prune(self, wanted: Wanted, *, dry_run: bool = False) -> tuple[dict[str, int], bool]:
        """Delete jobs that ended, as many as one call takes, or only count them: how many of each state, and
        whether there is more."""
        return parse_counts(self._post("prune", format_wanted(wanted, dry_run=dry_run)))

    def find(self, number: int) -> Job:
        """One job."""
        return parse_job(self._get(f"/{number}"))

    def list(self, *, state: State | None = None, limit: int = 100) -> list[Job]:
        """The newest jobs."""
        scope = f"&state={state}" if state is not None else ""
        found = need_object(self._get(f"?limit={limit}{scope}")).get("jobs")
        return [parse_job(one) for one in found] if isinstance(found, list) else []

    def workers(self) -> Sequence[WorkerSlot]:
        """Who has a job, or asked for one within a minute."""
        found = need_object(self._get("/workers")).get("workers")
        return [parse_worker(one) for one in found] if isinstance(found, list) else []

    def follow(self, number: int, *, wait: bool = True) -> Iterator[str]:
        """Lines of the job's output as they come, until the job is closed, or those there are."""
        headers = {"authorization": f"Bearer {self.token}"}
        return follow(self.client, f"{self.url}/{number}/output{'' if wait else '?wait=0'}", headers)

    def _get(self, path: str) -> JSON:
        headers = {"authorization": f"Bearer {self.token}"}
        try:
            response = self.client.get(self.url + path, max_bytes=MAX_STATEMENTS_BYTES, headers=headers)
        except FetchError as error:
            raise ServerError(f"the queue at {self.url} does not answer: {error}") from error
        return self._answer(response)

    def _post(self, path: str, message: dict[str, JSONValue]) -> JSON:
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        url = f"{self.url}/{path}" if path else self.url
        try:
            response = self.client.post(
                url, format_json(message), headers=headers, max_bytes=MAX_STATEMENTS_BYTES
            )
        except FetchError as error:
            raise ServerError(f"the queue at {self.url} does not answer: {error}") from error
        return self._answer(response)

    def _answer(self, response: Response) -> JSON:
        if response.status == 204:
            return None
        try:
            value = parse_json(response.body, max_bytes=MAX_STATEMENTS_BYTES)
        except VerifyError as error:
            raise ServerError(
                f"{self.url} answered {response.status} without JSON; is a queue there?"
            ) from error
        if response.status in (200, 201):
            return value
        problem = value if isinstance(value, dict) else {}
        reason, detail = str(problem.get("reason")), str(problem.get("detail"))
        if kind := _ERRORS.get(reason):
            raise kind(detail, reason=reason)
        raise ServerError(f"{self.url} answered {response.status}: {quote(detail)}", reason=reason)
