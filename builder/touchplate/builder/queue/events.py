"""Server-sent events as a client reads them (WHATWG HTML, section 9.2), as far as a queue sends them."""

import queue
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from touchplate.base.errors import FetchError
from touchplate.base.http import HTTPClient
from touchplate.builder.queue.jobs import QueueError

MAX_STREAM_BYTES = 64 * 1024 * 1024
"""Of one connection: more than all the output that a queue keeps of a job, with the words around it."""

AGAIN_SECONDS = 2.0
"""Pause before a lost connection is made anew."""

ATTEMPTS = 5
"""Connections in a row that may bring nothing."""

MOST_AGAIN_SECONDS = 30.0
"""The longest pause that a server may ask for instead."""

_PASSING = (429, 502, 503, 504)
"""Statuses of a node whose database, or that itself, is being started again."""

_WAITING_LINES = 10_000
_OFFSET = re.compile(r"[0-9]{1,19}")  # as our queues write it; it goes back in a header
_Line = str | Exception | None  # what the reading thread hands over: lines, then why it ended


@dataclass
class Events:
    """Parses a stream that comes in pieces. `seen` is the id of the last event."""

    seen: str = "0"
    is_ended: bool = False
    is_heard: bool = False
    """Whether the server said on this connection that it has nothing new."""
    refused: str = ""
    """Why the server streams nothing now; empty while it does."""
    pause: float = AGAIN_SECONDS
    """Seconds until a lost connection is made anew, as the server wishes."""
    lines: list[str] = field(default_factory=list)
    _rest: bytes = b""
    _kind: str = ""
    _data: list[str] = field(default_factory=list)

    def feed(self, data: bytes) -> None:
        """Take some bytes; whole events are in `lines` afterwards."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            # Proxies may end lines as the standard also allows.
            self._line(line.removesuffix(b"\r").decode("utf-8", "replace"))

    def reset(self) -> None:
        """A new connection begins."""
        self._rest, self._kind, self._data = b"", "", []
        self.is_heard, self.refused, self.pause = False, "", AGAIN_SECONDS

    def _line(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if self._kind == "end":
                self.is_ended = True
            elif self._kind == "busy":
                self.refused = " ".join(self._data) or "it is busy"
            elif self._data and not self._kind:
                self.lines.append("\n".join(self._data))
            self._kind, self._data = "", []
        elif not name:  # a comment
            self.is_heard = True
        elif name == "event":
            self._kind = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and _OFFSET.fullmatch(value):
            self.seen = value
        elif name == "retry" and _OFFSET.fullmatch(value):
            self.pause = min(int(value) / 1000, MOST_AGAIN_SECONDS)


def follow(client: HTTPClient, url: str, headers: Mapping[str, str]) -> Iterator[str]:
    """The lines of a stream, connected anew where it breaks. Raises QueueError when it cannot be read."""
    events = Events()
    lines: queue.Queue[_Line] = queue.Queue(_WAITING_LINES)
    # The client passes bytes on to a function; the caller wants them one by one.
    thread = threading.Thread(target=_hand_over, args=(client, url, headers, events, lines), daemon=True)
    thread.start()
    while (line := lines.get()) is not None:
        if isinstance(line, Exception):
            raise line
        yield line


def _hand_over(
    client: HTTPClient,
    url: str,
    headers: Mapping[str, str],
    events: Events,
    lines: "queue.Queue[_Line]",
) -> None:
    try:
        _read(client, url, headers, events, lines)
    except Exception as error:
        lines.put(error)  # whatever it is: the caller waits for an end


def _read(
    client: HTTPClient,
    url: str,
    headers: Mapping[str, str],
    events: Events,
    lines: "queue.Queue[_Line]",
) -> None:
    def take(data: bytes) -> None:
        events.feed(data)
        for line in events.lines:
            lines.put(line)
        events.lines.clear()

    silent = 0
    while not events.is_ended:
        before, why = events.seen, "the stream ended"
        events.reset()
        try:
            asked = {**headers, "last-event-id": events.seen, "accept": "text/event-stream"}
            answer = client.stream(url, take, max_bytes=MAX_STREAM_BYTES, headers=asked)
            if answer.status in _PASSING:
                why = f"it answered {answer.status}"
            elif answer.status != 200:
                lines.put(QueueError(f"{url} answered {answer.status}", reason="no-output"))
                return
        except FetchError as error:
            why = str(error)
        why = events.refused or why
        silent = 0 if events.seen != before or events.is_heard else silent + 1
        if silent >= ATTEMPTS and not events.is_ended:
            lines.put(QueueError(f"the output at {url} cannot be read: {why}", reason="no-output"))
            return
        if not events.is_ended:
            time.sleep(events.pause)
    lines.put(None)
