"""What becomes of signed envelopes that a log, or something on the way to it, did not take."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.base.support import Server, running

from touchplate.builder.submit import add_envelopes, is_refused_for_good
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
