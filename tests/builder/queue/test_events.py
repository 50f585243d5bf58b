"""A job's output as a client follows it, from a server that is not quite ours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.base.support import Handler, Server, client, running

from touchplate.base.errors import FetchError
from touchplate.builder.queue import events
from touchplate.builder.queue.events import follow
from touchplate.builder.queue.jobs import QueueError

FIRST = "id: 4\ndata: one\n\n"
LAST = "id: 8\ndata: two\n\nevent: end\ndata: {}\n\n"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(events, "AGAIN_SECONDS", 0.0)
    with running() as made:
        yield made


def serve(server: Server, *bodies: str) -> None:
    """Answer with these streams, one after the other."""
    waiting = [body.encode() for body in bodies]

    def answer(handler: Handler) -> None:
        handler.reply(200, waiting.pop(0), Content_Type="text/event-stream")

    server.actions["/output"] = answer


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_stream_that_breaks_is_gone_on_with_however_its_lines_end(server: Server, end: str) -> None:
    serve(server, FIRST.replace("\n", end), LAST.replace("\n", end))
    with client() as http:
        assert list(follow(http, server.url("/output"), {})) == ["one", "two"]
    assert [headers["last-event-id"] for headers in server.seen_headers] == ["0", "4"]


@pytest.mark.parametrize("strange", ["4\rx: y", "\u2603", "-1", "9" * 40, ""])
def test_an_id_that_is_no_place_in_the_output_is_not_sent_back(server: Server, strange: str) -> None:
    serve(server, FIRST, f"id: {strange}\ndata: strange\n\n", LAST)
    with client() as http:
        assert list(follow(http, server.url("/output"), {})) == ["one", "strange", "two"]
    assert [headers["last-event-id"] for headers in server.seen_headers] == ["0", "4", "4"]


def test_a_request_that_cannot_be_made_is_told_and_not_waited_for(server: Server) -> None:
    with client() as http, pytest.raises(QueueError, match="cannot be read"):
        list(follow(http, server.url("/output"), {"authorization": "Bearer two\nlines"}))


def test_whatever_ends_the_reading_reaches_who_waits_for_it(server: Server) -> None:
    def stumble(*_: object, **__: object) -> None:
        raise RuntimeError("nobody foresaw this")

    with client() as http:
        http.stream = stumble  # type: ignore[method-assign,assignment]  # fails before the effect
        with pytest.raises(RuntimeError, match="nobody foresaw this"):
            list(follow(http, server.url("/output"), {}))


def test_a_secret_that_no_header_can_have_is_not_repeated(server: Server) -> None:
    for secret in ("two\nlines", "snow\u2603"):
        with client() as http, pytest.raises(FetchError, match="authorization") as caught:
            http.get(server.url("/output"), max_bytes=1, headers={"authorization": secret})
        assert secret not in str(caught.value)
        assert ascii(secret)[1:-1] not in str(caught.value)


BUSY = "retry: 0\nevent: busy\ndata: too many watch already\n\n"


def test_a_server_that_is_busy_is_asked_again_and_its_reason_told_in_the_end(server: Server) -> None:
    serve(server, BUSY, FIRST, BUSY, BUSY, LAST)
    with client() as http:
        assert list(follow(http, server.url("/output"), {})) == ["one", "two"]
    serve(server, *[BUSY] * events.ATTEMPTS)
    with client() as http, pytest.raises(QueueError, match="too many watch already"):
        list(follow(http, server.url("/output"), {}))


def test_a_server_may_ask_for_a_pause_within_bounds() -> None:
    one = events.Events()
    one.feed(BUSY.replace("retry: 0", "retry: 10000").encode())
    assert (one.refused, one.pause) == ("too many watch already", 10.0)
    one.feed(b"retry: 9999999\nretry: soon\n\n")
    assert one.pause == events.MOST_AGAIN_SECONDS
    one.reset()
    assert (one.refused, one.pause) == ("", events.AGAIN_SECONDS)


def test_a_job_that_says_nothing_for_hours_is_followed_as_long_as_its_server_is_heard(
    server: Server,
) -> None:
    serve(server, *[": nothing new\n\n"] * (2 * events.ATTEMPTS), LAST)
    with client() as http:
        assert list(follow(http, server.url("/output"), {})) == ["two"]


def test_a_node_that_is_being_started_again_is_waited_for(server: Server) -> None:
    waiting = [503, 502, 504, 200]

    def answer(handler: Handler) -> None:
        status = waiting.pop(0)
        handler.reply(status, LAST.encode() if status == 200 else b"", Content_Type="text/event-stream")

    server.actions["/output"] = answer
    with client() as http:
        assert list(follow(http, server.url("/output"), {})) == ["two"]
    waiting += [404]
    with client() as http, pytest.raises(QueueError, match="answered 404"):
        list(follow(http, server.url("/output"), {}))
