"""Log lines: one each, and without credentials."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator

import pytest

from touchplate.base.logging import LogFormat, LogLevel, mask, setup_logging

Setup = Callable[..., io.StringIO]
log = logging.getLogger("touchplate.test")


@pytest.fixture
def setup() -> Iterator[Setup]:
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)

    def begin(form: LogFormat = "plain", level: LogLevel = "info") -> io.StringIO:
        stream = io.StringIO()
        setup_logging(form=form, level=level, stream=stream)
        return stream

    yield begin
    root.setLevel(level)
    for handler in [each for each in root.handlers if each not in handlers]:
        root.removeHandler(handler)


def test_a_plain_line_has_time_level_place_message_and_facts(setup: Setup) -> None:
    stream = setup()
    log.warning("tree of %d", 7, extra={"origin": "log.example.org", "note": "a b"})
    time, rest = stream.getvalue().split(" ", 1)
    assert time.endswith("Z")
    assert rest == 'WARNING touchplate.test: tree of 7 origin=log.example.org note="a b"\n'


def test_a_json_line_is_one_object(setup: Setup) -> None:
    stream = setup("json")
    log.info("tree", extra={"size": 7, "path": "a/b", "level": "mine"})
    document = json.loads(stream.getvalue())
    assert document.pop("time").endswith("Z")
    assert document == {
        "level": "info", "logger": "touchplate.test", "message": "tree", "size": 7, "path": "a/b",
    }  # fmt: skip


@pytest.mark.parametrize("form", ["plain", "json"])
def test_an_error_is_one_line_with_its_place(setup: Setup, form: LogFormat) -> None:
    stream = setup(form)
    try:
        int("x\ny")
    except ValueError:
        log.exception("reading")
    (line,) = stream.getvalue().splitlines()
    assert "ValueError" in line
    assert "test_logging:" in line


@pytest.mark.parametrize("form", ["plain", "json"])
def test_foreign_text_cannot_begin_a_line_or_drive_the_terminal(setup: Setup, form: LogFormat) -> None:
    stream = setup(form)
    log.info("asked for %s", "a\r\nINFO forged\x1b[2J", extra={"path": "b\nforged"})
    (line,) = stream.getvalue().splitlines()
    assert line.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "https://user:hunter2@example.org/",
        "Authorization: Bearer hunter2hunter2",
        "basic aHVudGVyMjpodW50ZXIy",
        "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----",
        "PRIVATE+KEY+log.example.org+0badcafe+hunter2",
    ],
)
@pytest.mark.parametrize("form", ["plain", "json"])
def test_masks_what_looks_like_a_credential(setup: Setup, form: LogFormat, text: str) -> None:
    stream = setup(form)
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("with %s", text, extra={"fact": text})
    assert "hunter2" not in stream.getvalue()
    assert "aHVudGVyMjpodW50ZXIy" not in stream.getvalue()
    assert stream.getvalue().count("***") == 3


def test_cuts_long_messages() -> None:
    assert len(mask("x" * 100_000)) < 5000


def test_levels_are_kept_and_a_second_setup_replaces_the_first(setup: Setup) -> None:
    first = setup()
    second = setup(level="error")
    log.info("quiet")
    log.error("loud")
    assert first.getvalue() == ""
    assert second.getvalue().count("\n") == 1
