"""The queue over HTTP, mounted under `/builder`: what workers and administrators ask of it, by tokens.

`GET /jobs`, `GET /jobs/N`, `GET /jobs/workers` and the live output of a job are for every token; adding,
cancelling and deleting for those of scope `admin`; leases, and reports of whoever holds one, for those of
scope `work`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from touchplate.base.bearer import BearerTokens
from touchplate.base.errors import StorageError, TouchplateError
from touchplate.base.problem import MEDIA_TYPE, format_problem
from touchplate.base.status import (
    BAD_REQUEST,
    CONFLICT,
    FORBIDDEN,
    GONE,
    NOT_FOUND,
    OVERLOADED,
    TOO_LARGE,
    TOO_MANY,
    UNAUTHENTICATED,
    UNAVAILABLE,
    StatusTable,
)
from touchplate.builder.bodies import ClientGoneError, read_pieces
from touchplate.builder.queue import jobs as queue_jobs
from touchplate.builder.queue.housekeeping import Housekeeper
from touchplate.builder.queue.jobs import MAX_BATCH_BYTES, MAX_NAME_CHARS, BadJobError, QueueError, Result
from touchplate.builder.queue.live import EventStream, LiveOutput
from touchplate.builder.queue.outputs import Outputs
from touchplate.builder.queue.prune import Pruner, WrongClockError
from touchplate.builder.queue.retention import Retention
from touchplate.builder.queue.store import Queue
from touchplate.builder.queue.tokens import Caller, Scope
from touchplate.builder.queue.wire import (
    MAX_MESSAGE_BYTES,
    MAX_STATEMENTS_BYTES,
    format_envelopes,
    format_job,
    format_lease,
    format_worker,
    need_object,
    parse_envelopes,
    parse_wanted,
)
from touchplate.builder.queue.workers import Workers
from touchplate.verify.encoding import decode_base64, parse_decimal
from touchplate.verify.errors import VerifyError
from touchplate.verify.jcs import JSON, parse_json

RETRY_AFTER_SECONDS = 60
"""What a client is told to wait when the queue is full or has had enough of it."""

THREADS = 20
"""Calls of the queue at the same time, beside those of the watchers: together fewer than a process has
connections to one database. They have threads of their own, so that a database that hangs holds up nothing
else of the node, such as evidence."""

T = TypeVar("T")
Message = dict[str, JSON]


class UnauthorizedError(QueueError):
    """No token, or one that is nobody's."""

    default_reason = "unauthorized"


class ForbiddenError(QueueError):
    """The token has another scope."""

    default_reason = "wrong-scope"


class MessageTooLargeError(QueueError):
    """A body of more bytes than its kind may have."""

    default_reason = "too-large"


_STATUS = StatusTable().extended(
    {
        BadJobError: BAD_REQUEST,
        ClientGoneError: BAD_REQUEST,
        queue_jobs.NoJobError: NOT_FOUND,
        queue_jobs.DeletedJobError: GONE,
        WrongClockError: UNAVAILABLE,
        queue_jobs.LeaseLostError: CONFLICT,
        queue_jobs.QueueFullError: OVERLOADED,
        queue_jobs.TooManyRequestsError: TOO_MANY,
        UnauthorizedError: UNAUTHENTICATED,
        ForbiddenError: FORBIDDEN,
        MessageTooLargeError: TOO_LARGE,
        StorageError: UNAVAILABLE,
    }
)


class JobRoutes:
    """The routes over one queue."""

    def __init__(
        self,
        queue: Queue,
        tokens: BearerTokens[Caller],
        *,
        clock: Callable[[], float] | None = None,
        retention: Retention | None = None,
    ) -> None:
        self.queue = queue
        self._outputs = Outputs(queue)
        self._workers = Workers(queue)
        self.tokens = tokens
        self.clock = clock or time.time
        """What is written down as the time, also for jobs that others add to the queue of these routes."""
        self.threads = CapacityLimiter(THREADS)
        self.live = LiveOutput(queue, self._outputs, self.clock)
        self._pruner = Pruner(queue, retention)
        self._housekeeper = Housekeeper(self._pruner, self.clock)

    def start(self) -> None:
        """Begin to delete jobs whose time is over."""
        self._housekeeper.start()

    def may_store(self, request: Request) -> bool:
        """Whether the request has a worker's or administrator's token: such a one may also store evidence."""
        caller = self.tokens.find(request.headers.get("authorization"))
        return caller is not None and bool({"work", "admin"} & caller.scopes)

    def stop(self) -> None:
        """End the streams, and let go of the database."""
        self.live.stop()
        self._housekeeper.stop()
        self.queue.close()

    def router(self) -> APIRouter:
        """All routes."""
        router = APIRouter()
        for path, method, answer in (
            ("/jobs", "GET", self._list),
            ("/jobs", "POST", self._add),
            ("/jobs/lease", "POST", self._lease),
            ("/jobs/prune", "POST", self._prune),
            ("/jobs/workers", "GET", self._list_workers),
            ("/jobs/{number}", "GET", self._show),
            ("/jobs/{number}/output", "GET", self._watch),
            ("/jobs/{number}/cancel", "POST", self._cancel),
            ("/jobs/{number}/{report}", "POST", self._report),
        ):
            router.add_api_route(path, _answering(answer), methods=[method], response_model=None)
        return router

    async def _list(self, request: Request) -> Response:
        self._caller(request, None)
        asked = request.query_params
        before = _decimal(asked["before"], "before") if "before" in asked else None
        limit = _decimal(asked.get("limit", "100"), "limit")
        state: Any = asked.get("state")
        found = await self._run(lambda: self.queue.list(state=state, before=before, limit=limit))
        return JSONResponse({"jobs": [format_job(job) for job in found]})

    async def _show(self, request: Request) -> Response:
        self._caller(request, None)
        job = await self._run(lambda: self.queue.find(_number(request)))
        return JSONResponse(format_job(job))

    async def _watch(self, request: Request) -> Response:
        caller = self._caller(request, None)
        number = _number(request)
        seen = request.headers.get("last-event-id") or request.query_params.get("after", "0")
        start = _decimal(seen, "Last-Event-ID")
        await self._run(lambda: self.queue.find(number))
        wait = request.query_params.get("wait") != "0"
        return EventStream(self.live.events(number, start, wait=wait, whose=caller.name))

    async def _add(self, request: Request) -> Response:
        self._caller(request, "admin")
        message = await _body(request)
        package, definition = _text(message, "package"), _text(message, "definition", "")
        priority = message.get("priority", 0)
        if not isinstance(priority, int) or isinstance(priority, bool):
            raise BadJobError("priority: write a whole number")
        again = message.get("again", True)
        if not isinstance(again, bool):
            raise BadJobError("again: write true or false")
        now = self._now()
        job, is_new = await self._run(
            lambda: self.queue.add(package, definition, now, priority=priority, again=again)
        )
        return JSONResponse({"job": format_job(job), "new": is_new}, status_code=201 if is_new else 200)

    async def _cancel(self, request: Request) -> Response:
        self._caller(request, "admin")
        now = self._now()
        signed = request.query_params.get("signed") == "1"
        job = await self._run(lambda: self.queue.cancel(_number(request), now, signed=signed))
        return JSONResponse(format_job(job))

    async def _prune(self, request: Request) -> Response:
        self._caller(request, "admin")
        message = await _body(request)
        wanted, now = parse_wanted(message), self._now()
        if message.get("dry_run") is True:
            counts = await self._run(lambda: self._pruner.count_wanted(wanted, now))
            return JSONResponse({"jobs": counts, "more": False})
        deleted, is_more = await self._run(lambda: self._pruner.delete_wanted(wanted, now))
        return JSONResponse({"jobs": deleted, "more": is_more})

    async def _lease(self, request: Request) -> Response:
        caller = self._caller(request, "work")
        message = await _body(request)
        label = _text(message, "worker", "")
        version, backend = _text(message, "version", ""), _text(message, "backend", "")
        # The token's name comes first: nobody works under another's.
        name = f"{caller.name}/{label}" if label else caller.name
        name, now = name[:MAX_NAME_CHARS], self._now()

        def lease_job() -> queue_jobs.Lease | None:
            lease = self.queue.lease(name, now)
            # After: only a name that the queue took. And it is worth no lease that nobody hears of.
            with contextlib.suppress(StorageError):
                self._workers.note(name, version, backend, now)
            return lease

        lease = await self._run(lease_job)
        return Response(status_code=204) if lease is None else JSONResponse(format_lease(lease))

    async def _list_workers(self, request: Request) -> Response:
        self._caller(request, None)
        now = self._now()
        found = await self._run(lambda: self._workers.list(now))
        return JSONResponse({"workers": [format_worker(one) for one in found]})

    async def _report(self, request: Request) -> Response:
        """What the holder of a lease says about its job."""
        self._caller(request, "work")
        reports = {
            "heartbeat": self._heartbeat,
            "verdict": self._verdict,
            "statements": self._statements,
            "finish": self._finish,
            "return": self._return,
            "fail": self._fail,
            "output": self._output,
        }
        name = request.path_params["report"]
        if name not in reports:
            raise queue_jobs.NoJobError(f"there is nothing at {request.url.path[:200]!r}")
        number = _number(request)
        message = await _body(request, MAX_STATEMENTS_BYTES if name == "statements" else MAX_MESSAGE_BYTES)
        secret = _text(message, "secret")
        value = await self._run(lambda: reports[name](number, secret, message))
        return JSONResponse(value)

    def _heartbeat(self, number: int, secret: str, message: Message) -> dict[str, Any]:
        self.queue.heartbeat(number, secret, self._now(), phase=_text(message, "phase", ""))
        return {}

    def _verdict(self, number: int, secret: str, message: Message) -> dict[str, Any]:
        result: Result = _text(message, "result")  # type: ignore[assignment]  # the queue looks at it
        return {"final": self.queue.judge(number, secret, result, self._now())}

    def _statements(self, number: int, secret: str, message: Message) -> dict[str, Any]:
        stored = self.queue.sign(number, secret, parse_envelopes(message.get("envelopes")))
        return {"envelopes": format_envelopes(stored)}

    def _finish(self, number: int, secret: str, message: Message) -> dict[str, Any]:
        indexes = message.get("indexes")
        if not isinstance(indexes, list):
            raise BadJobError("indexes: write a list of decimal strings")
        self.queue.finish(number, secret, [_decimal(str(one), "indexes") for one in indexes], self._now())
        return {}

    def _return(self, number: int, secret: str, message: Message) -> dict[str, Any]:
        self.queue.give_back(number, secret, _text(message, "reason"), self._now())
        return {}

    def _fail(self, number: int, secret: str, message: Message) -> dict[str, Any]:
        self.queue.fail(number, secret, _text(message, "reason"), self._now())
        return {}

    def _output(self, number: int, secret: str, message: Message) -> dict[str, Any]:
        try:
            data = decode_base64(_text(message, "data"), "data")
        except VerifyError as error:
            raise BadJobError(f"data: {error}") from error
        assert MAX_BATCH_BYTES * 4 // 3 < MAX_MESSAGE_BYTES
        return {"kept": self._outputs.append(number, secret, data, self._now())}

    def _caller(self, request: Request, scope: Scope | None) -> Caller:
        caller = self.tokens.find(request.headers.get("authorization"))
        if caller is None:
            raise UnauthorizedError("the queue knows no such token; it reads them when it starts")
        if scope is not None and scope not in caller.scopes:
            raise ForbiddenError(f"the token of {caller.name} is not of scope {scope!r}")
        return caller

    async def _run(self, call: Callable[[], T]) -> T:
        return await run_sync(call, limiter=self.threads)

    def _now(self) -> int:
        return int(self.clock())


def _answering(answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
    """A route whose errors are answered as problems (RFC 9457)."""

    async def route(request: Request) -> Response:
        try:
            return await answer(request)  # type: ignore[no-any-return]
        except (QueueError, ClientGoneError, StorageError) as error:
            return _problem(error)

    return route


def _problem(error: TouchplateError) -> Response:
    status = _STATUS.status(error).http
    # What a database says is for the log lines of this node, not for its callers.
    detail = "the queue's database failed; try again" if isinstance(error, StorageError) else str(error)
    headers = {"retry-after": str(RETRY_AFTER_SECONDS)} if status in (429, 503) else {}
    if status == UNAUTHENTICATED.http:
        headers["www-authenticate"] = "Bearer"
    return Response(format_problem(status, error.reason, detail), status, headers, MEDIA_TYPE)


async def _body(request: Request, max_bytes: int = MAX_MESSAGE_BYTES) -> Message:
    data = bytearray()
    async for piece in read_pieces(request.receive):
        data += piece
        if len(data) > max_bytes:
            raise MessageTooLargeError(f"the body is limited to {max_bytes} bytes")
    try:
        return need_object(parse_json(bytes(data), max_bytes=max_bytes))
    except VerifyError as error:
        raise BadJobError(f"the body is no JSON: {error}") from error


def _number(request: Request) -> int:
    return _decimal(request.path_params["number"], "job")


def _decimal(text: str, what: str) -> int:
    try:
        return parse_decimal(text, what)
    except VerifyError as error:
        raise BadJobError(str(error)) from error


def _text(message: Message, key: str, default: str | None = None) -> str:
    value = message.get(key, default)
    if not isinstance(value, str):
        raise BadJobError(f"{key}: write a string")
    return value
