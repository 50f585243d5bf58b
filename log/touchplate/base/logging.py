"""Log lines to stderr, one line each, plain for people or JSON for machines.

Parts use the standard library's `logging.getLogger("touchplate.…")` and give facts by `extra={…}`. Foreign
text is made harmless (one line, no control characters), and what looks like a credential is masked as a
second line of defence: the first is that nobody logs one.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import Literal, TextIO

from touchplate.base.progress import printable

LogFormat = Literal["plain", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
# Characters of one message: a whole refused file must not end up in the log.
MAX_MESSAGE = 4000
_MASK = "***"
_CREDENTIALS = (
    # User and password in a URL (RFC 3986 section 3.2.1).
    (re.compile(r"(?<=://)[^/@\s]+(?=@)"), _MASK),
    # Authorization header values (RFC 9110 section 11.4).
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9+/=._~-]{6,}", re.IGNORECASE), rf"\1 {_MASK}"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*-----|$)", re.DOTALL), _MASK),
    (re.compile(r"PRIVATE\+KEY\+\S+"), _MASK),
)
# The attributes that every record has; all else came by `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def setup_logging(
    *, form: LogFormat = "plain", level: LogLevel = "info", stream: TextIO | None = None
) -> logging.Handler:
    """Send all log lines of this process to `stream` (stderr unless given). Called once, by a main; called
    again it replaces its own earlier handler. Returns the handler.
    """
    handler = _LineHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JSONFormatter() if form == "json" else PlainFormatter())
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _LineHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    return handler


class _LineHandler(logging.StreamHandler[TextIO]):
    """Known by its class, so that a second set-up replaces it and leaves other handlers alone."""


class PlainFormatter(logging.Formatter):
    """`2026-01-02T03:04:05Z INFO touchplate.log: message key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        facts = "".join(f" {name}={_plain_value(value)}" for name, value in _facts(record).items())
        error = f" error={_plain_value(_error(record))}" if record.exc_info else ""
        message = printable(_message(record))
        return f"{_time(record)} {record.levelname} {record.name}: {message}{facts}{error}"


class JSONFormatter(logging.Formatter):
    """One JSON object: time, level, logger, message, the facts of `extra`, and `error` with its place."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        document: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        for name, value in _facts(record).items():
            plain = isinstance(value, bool | int | float) or value is None
            document.setdefault(name, value if plain else mask(str(value)))
        if record.exc_info:
            document["error"] = _error(record)
        return json.dumps(document, ensure_ascii=True)


def mask(text: str) -> str:
    """`text` without what looks like a credential, cut to a sane length."""
    for pattern, replacement in _CREDENTIALS:
        text = pattern.sub(replacement, text)
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}…"


def _message(record: logging.LogRecord) -> str:
    return mask(record.getMessage())


def _facts(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _plain_value(value: object) -> str:
    text = mask(str(value))
    return text if text and text.isprintable() and not set(text) & set(" \"'=") else json.dumps(text)


def _error(record: logging.LogRecord) -> str:
    """The exception with the innermost place in the code: enough to find it, on one line."""
    assert record.exc_info is not None
    kind, error, trace = record.exc_info
    if kind is None or error is None:
        return ""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = trace.tb_frame.f_globals.get("__name__", "?") if trace is not None else "?"
    line = trace.tb_lineno if trace is not None else 0
    return mask(f"{kind.__name__}: {error} (at {name}:{line})")


def _time(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
