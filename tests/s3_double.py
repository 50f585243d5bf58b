"""A small S3-compatible store on loopback, in memory, that can fail before or after the effect of a request.

It knows what the export uses: path-style GET, PUT with conditions, DELETE, and list-type=2. It does not check
signatures (`tests/s3.py` starts a real server, which does), and everybody may read.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

BUCKET = "objects"

Fails = Callable[[str, str], bool]
"""Told method and name, with the bucket: whether this request fails."""

REFUSAL = (
    "<Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>{key}</AWSAccessKeyId>"
    "<StringToSign>{signed}</StringToSign></Error>"
)


def never(_method: str, _name: str) -> bool:
    """No request fails."""
    return False


@dataclass
class Object:
    """Bytes and what readers are told about them."""

    data: bytes
    headers: dict[str, str]

    @property
    def tag(self) -> str:
        return f'"{hashlib.md5(self.data).hexdigest()}"'


@dataclass
class Store:
    """The state of one store."""

    objects: dict[str, Object] = field(default_factory=dict)
    checkpoints: list[bytes] = field(default_factory=list)
    """Every checkpoint that was ever shown, in order."""
    steps: list[str] = field(default_factory=list)
    """`begin METHOD NAME` and `end METHOD NAME` of each request that changes something."""
    seen: list[dict[str, str]] = field(default_factory=list)
    """The headers of all requests."""
    fails_before: Fails = never
    fails_after: Fails = never
    refuses: bool = False
    ignores_conditions: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)
    hang: threading.Event | None = None
    """Requests wait for it."""

    def sizes(self) -> list[int]:
        return [int(note.splitlines()[1]) for note in self.checkpoints]

    def names(self) -> set[str]:
        return set(self.objects)

    def put(self, name: str, data: bytes, headers: dict[str, str]) -> int:
        there = self.objects.get(name)
        if not self.ignores_conditions:
            if "if-match" in headers and there is None:
                return 404
            if "if-match" in headers and there is not None and headers["if-match"] != there.tag:
                return 412
            if headers.get("if-none-match") == "*" and there is not None:
                return 412
        kept = {key: value for key, value in headers.items() if key in ("content-type", "cache-control")}
        self.objects[name] = Object(data, kept)
        if name.endswith("/checkpoint"):
            self.checkpoints.append(data)
        return 200


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _begin(self) -> tuple[Store, str, bytes] | None:
        """The store, the name, the body; None when the request was refused or cut."""
        store: Store = self.server.store  # type: ignore[attr-defined]
        name = urlsplit(self.path).path.removeprefix("/")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if store.hang is not None:
            store.hang.wait(60)
        with store.lock:
            store.seen.append({key.lower(): value for key, value in self.headers.items()})
            if store.refuses:
                told = self.headers.get("Authorization", "")
                self._answer(403, REFUSAL.format(key=told, signed=told).encode())
                return None
            if store.fails_before(self.command, name):
                self.close_connection = True
                self.connection.shutdown(2)
                return None
            return store, name, body

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _end(self, store: Store, name: str, status: int, headers: dict[str, str] | None = None) -> None:
        if store.fails_after(self.command, name):
            self.close_connection = True
            self.connection.shutdown(2)
        else:
            self._answer(status, headers=headers)

    def do_GET(self) -> None:
        if (begun := self._begin()) is None:
            return
        store, name, _ = begun
        with store.lock:
            if "/" not in name:
                self._list(store, name)
            elif (found := store.objects.get(name)) is None:
                self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            else:
                stamps = {"ETag": found.tag, "Last-Modified": "Fri, 01 Jan 2027 00:00:00 GMT"}
                self._answer(200, found.data, {**found.headers, **stamps})

    def _list(self, store: Store, bucket: str) -> None:
        query = parse_qs(urlsplit(self.path).query)
        prefix = f"{bucket}/{query.get('prefix', [''])[0]}"
        after = query.get("continuation-token", [""])[0]
        names = sorted(name for name in store.objects if name.startswith(prefix) and name > after)
        page = names[:7]  # several pages, however few objects there are
        rows = "".join(
            f"<Contents><Key>{escape(name.removeprefix(f'{bucket}/'))}</Key>"
            f"<LastModified>2027-01-01T00:00:00.000Z</LastModified><ETag>{escape(store.objects[name].tag)}</ETag>"
            f"<Size>{len(store.objects[name].data)}</Size></Contents>"
            for name in page
        )
        more = len(names) > len(page)
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        text = (
            f"<ListBucketResult><Name>{bucket}</Name><KeyCount>{len(page)}</KeyCount>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{rows}</ListBucketResult>"
        )
        self._answer(200, text.encode(), {"Content-Type": "application/xml"})

    def do_PUT(self) -> None:
        if (begun := self._begin()) is None:
            return
        store, name, body = begun
        headers = {key.lower(): value for key, value in self.headers.items()}
        with store.lock:
            store.steps.append(f"begin PUT {name}")
            status = store.put(name, body, headers)
            store.steps.append(f"end PUT {name}")
            tag = {"ETag": store.objects[name].tag} if status == 200 else None
            self._end(store, name, status, tag)

    def do_DELETE(self) -> None:
        if (begun := self._begin()) is None:
            return
        store, name, _ = begun
        with store.lock:
            store.steps.append(f"begin DELETE {name}")
            store.objects.pop(name, None)
            store.steps.append(f"end DELETE {name}")
            self._end(store, name, 204)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def listening(store: Store, port: int = 0) -> Iterator[str]:
    """The store answers; its URL. Left and entered again with the same port: it was gone and is back."""
    server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    server.daemon_threads = True
    server.store = store  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
