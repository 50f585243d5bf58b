"""The queue's HTTP face: tokens and scopes, leases, bounded bodies, and the live output."""

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from tests.builder.queue.paced import PacedQueue
from tests.builder.test_evidence import put_scope

from touchplate.base.bearer import BearerTokens
from touchplate.base.sql import begin_write, sqlite_engine
from touchplate.builder.queue import live
from touchplate.builder.queue.events import Events
from touchplate.builder.queue.http import THREADS, JobRoutes
from touchplate.builder.queue.jobs import QueueLimits
from touchplate.builder.queue.tokens import Caller
from touchplate.builder.queue.wire import MAX_MESSAGE_BYTES, parse_job, parse_lease

WORKER, ADMIN = "a-worker's-token-of-tests", "an-admin's-token-of-tests"
PACKAGE = "pkg:maven/org.example/a@1.0?type=jar"


class Face:
    """The routes as a node mounts them, and a clock that stands."""

    def __init__(self, folder: Path, limits: QueueLimits) -> None:
        self.now = 1_700_000_000.0
        tokens = [
            (Caller("shed", frozenset({"work"})), WORKER),
            (Caller("boss", frozenset({"admin"})), ADMIN),
        ]
        queue = PacedQueue(sqlite_engine(folder / "queue.sqlite"), limits)
        self.routes = JobRoutes(queue, BearerTokens(tokens), clock=lambda: self.now)
        self.app = FastAPI()
        self.app.include_router(self.routes.router(), prefix="/builder")

    def ask(
        self, method: str, path: str, token: str | None, body: object = None, **headers: str
    ) -> httpx.Response:
        return asyncio.run(self._ask(method, path, token, body, headers))

    async def _ask(
        self, method: str, path: str, token: str | None, body: object, headers: dict[str, str]
    ) -> httpx.Response:
        given = {"authorization": f"Bearer {token}"} if token is not None else {}
        content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        transport = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://node.test") as client:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await client.request(
                method, f"/builder/jobs{path}", content=content, headers={**given, **named}
            )

    def add(self) -> None:
        assert self.ask("POST", "", ADMIN, {"package": PACKAGE}).status_code == 201

    def lease(self) -> dict[str, Any]:
        answer = self.ask("POST", "/lease", WORKER, {"worker": "one"})
        assert answer.status_code == 200
        value: dict[str, Any] = answer.json()
        return value

    def report(self, kind: str, secret: str, **values: object) -> httpx.Response:
        return self.ask("POST", f"/1/{kind}", WORKER, {"secret": secret, **values})


@pytest.fixture
def face(tmp_path: Path) -> Iterator[Face]:
    face = Face(tmp_path, QueueLimits(open_jobs=2))
    yield face
    face.routes.stop()


def test_a_job_goes_from_its_request_to_the_log(face: Face) -> None:
    face.add()
    lease = parse_lease(face.lease())
    assert (lease.job.package, lease.job.worker, lease.seconds) == (PACKAGE, "shed/one", 60)
    assert face.ask("POST", "/lease", WORKER, {}).status_code == 204
    assert face.report("heartbeat", lease.secret).json() == {}
    assert face.report("verdict", lease.secret, result="identical").json() == {"final": True}
    envelope = base64.b64encode(b"{}").decode()
    assert face.report("statements", lease.secret, envelopes=[envelope]).json() == {"envelopes": [envelope]}
    assert face.report("finish", lease.secret, indexes=["17"]).status_code == 200
    job = parse_job(face.ask("GET", "/1", ADMIN).json())
    assert (job.state, job.indexes, job.result, job.worker) == ("done", (17,), "identical", "shed/one")


def test_a_lease_that_lasted_as_long_as_one_may_is_refused_with_that_reason(face: Face) -> None:
    face.add()
    secret = face.lease()["secret"]
    for _ in range(QueueLimits().longest_lease_seconds // 30):
        assert face.report("heartbeat", secret, phase="build").status_code == 200
        face.now += 30
    answer = face.report("heartbeat", secret)
    assert (answer.status_code, answer.json()["reason"]) == (409, "overrun")
    assert face.ask("GET", "/1", ADMIN).json()["overruns"] == 1


def test_workers_are_listed_for_every_token(face: Face) -> None:
    face.add()
    face.ask("POST", "/lease", WORKER, {"worker": "one/0", "version": "1.0", "backend": "gvisor"})
    face.ask("POST", "/lease", WORKER, {"worker": "one/1"})
    for token in (WORKER, ADMIN):
        one, other = face.ask("GET", "/workers", token).json()["workers"]
        assert (one["name"], one["version"], one["backend"], one["job"]) == ("shed/one/0", "1.0", "gvisor", 1)
        assert (other["name"], other["job"]) == ("shed/one/1", None)
    assert face.ask("GET", "/workers", None).status_code == 401


@pytest.mark.parametrize("token", [None, "", "wrong", WORKER + "x", WORKER[:-1], "ÿ"])
def test_nothing_is_told_or_done_without_a_token(face: Face, token: str | None) -> None:
    face.add()
    headers = (
        {} if token is None else {"authorization": f"Bearer {token}".encode("latin-1").decode("latin-1")}
    )
    for method, path in (("GET", ""), ("GET", "/1"), ("GET", "/1/output"), ("POST", ""), ("POST", "/lease")):

        async def ask(method: str = method, path: str = path) -> httpx.Response:
            transport = httpx.ASGITransport(app=face.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://node.test") as client:
                raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
                return await client.request(method, f"/builder/jobs{path}", headers=raw, content=b"{}")

        answer = asyncio.run(ask())
        assert answer.status_code == 401
        assert answer.json()["reason"] == "unauthorized"
        assert answer.headers["www-authenticate"] == "Bearer"
    assert face.ask("GET", "/1", ADMIN).json()["state"] == "waiting"


def test_a_token_does_what_its_scopes_say_and_no_more(face: Face) -> None:
    face.add()
    for path in ("", "/1/cancel"):
        assert face.ask("POST", path, WORKER, {"package": PACKAGE}).json()["reason"] == "wrong-scope"
    for path in ("/lease", "/1/heartbeat", "/1/finish"):
        assert face.ask("POST", path, ADMIN, {"secret": "x"}).status_code == 403
    assert face.ask("GET", "", WORKER).json()["jobs"][0]["package"] == PACKAGE


@pytest.mark.parametrize("kind", ["heartbeat", "verdict", "statements", "finish", "return", "fail", "output"])
def test_a_report_without_the_leases_secret_changes_nothing(face: Face, kind: str) -> None:
    face.add()
    face.lease()
    before = face.ask("GET", "/1", ADMIN).json()
    values = {"result": "identical", "envelopes": ["e30="], "indexes": ["0"], "reason": "x", "data": "eA=="}
    answer = face.report(kind, "0" * 64, **values)
    assert answer.status_code == 409
    assert answer.json()["reason"] == "lease-lost"
    assert face.report(kind, "ÿ", **values).status_code == 409
    assert face.ask("GET", "/1", ADMIN).json() == before


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("", b"", 400),
        ("", b"[]", 400),
        ("", b'{"package":"x","package":"y"}', 400),
        ("", b'{"package":7}', 400),
        ("", b'{"package":"pkg:maven/a/b@1","priority":true}', 400),
        ("", b'{"package":"pkg:maven/a/b@1","priority":101}', 400),
        ("", b"x" * (MAX_MESSAGE_BYTES + 1), 413),
        ("/0/cancel", b"{}", 404),
        ("/x/cancel", b"{}", 400),
        ("/99999999999999999999/cancel", b"{}", 400),
    ],
)
def test_refuses_what_is_no_message(face: Face, path: str, body: bytes, status: int) -> None:
    answer = face.ask("POST", path, ADMIN, body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"https://touchplate.dev/problems/{answer.json()['reason']}"


def test_a_worker_that_dies_in_the_middle_of_a_message_changes_nothing(face: Face) -> None:
    face.add()
    secret = face.lease()["secret"]
    message = json.dumps({"secret": secret, "reason": "x"}).encode()
    coming = [{"type": "http.request", "body": message, "more_body": True}, {"type": "http.disconnect"}]
    sent = []

    async def receive() -> Any:
        return coming.pop(0)

    async def send(part: Any) -> None:
        sent.append(part)

    path, headers = "/builder/jobs/1/fail", [(b"authorization", f"Bearer {WORKER}".encode())]
    asyncio.run(face.app({**put_scope(path, headers), "method": "POST"}, receive, send))
    assert (sent[0]["status"], json.loads(sent[1]["body"])["reason"]) == (400, "client-gone")
    assert face.ask("GET", "/1", ADMIN).json()["state"] == "leased"


def test_a_signed_job_is_cancelled_when_that_is_said(face: Face) -> None:
    face.add()
    secret = face.lease()["secret"]
    assert face.report("statements", secret, envelopes=["e30="]).status_code == 200
    assert face.ask("POST", "/1/cancel", ADMIN, {}).json()["reason"] == "too-late"
    assert face.ask("POST", "/1/cancel?signed=1", WORKER, {}).status_code == 403
    assert face.ask("POST", "/1/cancel?signed=1", ADMIN, {}).json()["state"] == "cancelled"


def test_says_when_to_come_back_when_the_queue_is_full(face: Face) -> None:
    face.add()
    face.ask("POST", "", ADMIN, {"package": "pkg:maven/org.example/b@1.0"})
    answer = face.ask("POST", "", ADMIN, {"package": "pkg:maven/org.example/c@1.0"})
    assert (answer.status_code, answer.json()["reason"]) == (503, "queue-full")
    assert int(answer.headers["retry-after"]) > 0


def output(face: Face, data: bytes, secret: str) -> None:
    assert face.report("output", secret, data=base64.b64encode(data).decode()).status_code == 200


def test_output_is_streamed_as_events_and_goes_on_where_it_broke(face: Face) -> None:
    face.add()
    secret = face.lease()["secret"]
    text = "first\nevent: end\n\nübrig\r\nlast without end"
    output(face, text.encode(), secret)
    face.ask("POST", "/1/cancel", ADMIN, {})
    face.now += live.LAST_SECONDS + 1
    answer = face.ask("GET", "/1/output", WORKER)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = Events()
    events.feed(answer.content)
    assert events.lines == ["first", "event: end", "", "übrig", "last without end"]
    assert events.is_ended
    assert b'event: end\ndata: {"state": "cancelled"' in answer.content
    again = Events()
    again.feed(face.ask("GET", "/1/output", WORKER, last_event_id="6").content)
    assert again.lines == events.lines[1:]
    # Every id is a place to go on from.
    assert events.seen == str(len(text.encode()))


def test_output_of_a_running_job_can_be_read_without_waiting(face: Face) -> None:
    face.add()
    output(face, b"one\ntwo\n", face.lease()["secret"])
    events = Events()
    events.feed(face.ask("GET", "/1/output?wait=0", WORKER).content)
    assert (events.lines, events.is_ended) == (["one", "two"], True)


def test_a_long_line_comes_in_parts_and_loses_nothing(face: Face) -> None:
    face.add()
    secret = face.lease()["secret"]
    output(face, b"x" * (live.MAX_LINE_BYTES + 5), secret)
    output(face, b"yz\n", secret)
    events = Events()
    events.feed(face.ask("GET", "/1/output?wait=0", WORKER).content)
    assert "".join(events.lines) == "x" * (live.MAX_LINE_BYTES + 5) + "yz"


def test_events_are_parsed_however_the_stream_is_cut() -> None:
    stream = b": hello\n\nid: 4\ndata: one\n\nid: 9\ndata: two\n\nevent: end\ndata: {}\n\n"
    for size in (1, 2, 3, 7, len(stream)):
        events = Events()
        for start in range(0, len(stream), size):
            events.feed(stream[start : start + size])
        assert (events.lines, events.seen, events.is_ended) == (["one", "two"], "9", True)


def test_a_database_that_hangs_holds_up_nothing_else_of_the_node(face: Face) -> None:
    async def crowd() -> str:
        # More than the framework has threads for all of a node.
        adding = [
            asyncio.create_task(face._ask("POST", "", ADMIN, {"package": PACKAGE}, {})) for _ in range(45)
        ]
        while face.routes.threads.borrowed_tokens < THREADS:
            await asyncio.sleep(0.01)
        answer = await run_in_threadpool(lambda: "evidence")
        release.set()
        await asyncio.gather(*adding)
        return answer

    release, held = threading.Event(), threading.Event()

    def hold() -> None:
        with begin_write(face.routes.queue.engine):
            held.set()
            release.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    try:
        assert asyncio.run(crowd()) == "evidence"
    finally:
        release.set()
        holder.join()
