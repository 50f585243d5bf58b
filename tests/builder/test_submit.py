"""What becomes of signed envelopes that a log, or something on the way to it, did not take."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.base.support import Server, running

from touchplate.builder.errors import HostLack
from touchplate.builder.submit import add_envelopes, check_admitted, is_refused_for_good
from touchplate.verify.keys import generate_signer
from touchplate.verify.sources import AnswerError


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as made:
        yield made


def answer_of(server: Server, status: int, body: bytes) -> AnswerError:
    server.actions["/log/add"] = lambda handler: handler.reply(status, body)
    with pytest.raises(AnswerError) as caught:
        add_envelopes(server.url("/log"), [b"{}"])
    return caught.value


@pytest.mark.parametrize(
    ("status", "reason", "final"),
    [
        (400, "malformed", True),
        (403, "unknown-key", True),
        (413, "too-large", True),
        (408, "too-slow", False),
        (429, "busy", False),
        (503, "overloaded", False),
        (500, "internal", False),
        (403, "frozen", False),
    ],
)
def test_what_the_log_itself_refuses_is_refused_for_good_unless_it_passes(
    server: Server, status: int, reason: str, final: bool
) -> None:
    error = answer_of(server, status, json.dumps({"reason": reason, "detail": "why"}).encode())
    assert (error.reason, is_refused_for_good(error)) == (reason, final)


@pytest.mark.parametrize("status", [400, 401, 403, 405, 407, 413, 302])
def test_what_something_on_the_way_refuses_waits(server: Server, status: int) -> None:
    assert not is_refused_for_good(answer_of(server, status, b"<html>not a log</html>"))


def ask(server: Server, status: int, body: bytes, **headers: str) -> None:
    """Whether the log takes a key."""
    server.actions["/log/add"] = lambda handler: handler.reply(status, body, **headers)
    check_admitted(server.url("/log"), generate_signer())


@pytest.mark.parametrize("reason", ["unknown-key", "wrong-index"])
def test_a_key_that_the_log_does_not_take_is_said_so(server: Server, reason: str) -> None:
    with pytest.raises(HostLack, match="does not take this key") as caught:
        ask(server, 403, json.dumps({"reason": reason}).encode())
    assert caught.value.reason == "key-refused"


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 405, 407, 429, 500, 502, 503, 504])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>log in first</html>",
        b'{"error": "unknown-key"}',
        b'["unknown-key"]',
        b'{"reason": ["unknown-key"]}',
        b'{"reason": "malformed"}',
        b"17",
        b"\xff" * 40_000,
    ],
)
def test_nothing_else_that_answers_is_taken_for_that(server: Server, status: int, body: bytes) -> None:
    ask(server, status, body)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 404, 408, 429, 500, 503])
def test_nor_is_the_word_itself_where_no_log_says_it(server: Server, status: int) -> None:
    ask(server, status, b'{"reason": "unknown-key"}', Location="/elsewhere")


@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_nor_bytes_that_are_not_what_their_head_says(server: Server, encoding: str) -> None:
    ask(server, 200, b"no such encoding", Content_Encoding=encoding)


def test_nor_is_silence(server: Server) -> None:
    server.actions["/log/add"] = lambda handler: handler.connection.close()
    check_admitted(server.url("/log"), generate_signer())
    check_admitted("http://127.0.0.1:1/log", generate_signer())
