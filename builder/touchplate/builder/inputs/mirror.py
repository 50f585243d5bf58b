"""The recording mirror: HTTP over one unix socket, the only way out of a sandbox in Fetch.

GET and HEAD, plain paths `/<upstream name>/<path>`, no body, no query; nothing of the client's headers goes
on, so neither credentials nor conditions nor ranges change what is recorded. A mirror and not a proxy:
through a proxy, tools ask for encrypted tunnels, which nobody can record.
"""

import contextlib
import io
import os
import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, cast

from touchplate.builder.cache import Cache
from touchplate.builder.errors import needing_disk
from touchplate.builder.inputs.recording import CLIENTS, Answer, Recorder

SOCKET_NAME = "socket"

READY_PATH = "/-/ready"
"""What the bridge asks for before the build starts; `-` is no upstream name."""


class _Lines(io.BufferedReader):
    """What a client sends, and the last line that was read of it; empty at the end."""

    last = b""

    def readline(self, size: int | None = -1, /) -> bytes:
        self.last = super().readline(size)
        return self.last


class _Handler(BaseHTTPRequestHandler):
    """One connection of the build."""

    protocol_version = "HTTP/1.1"
    rbufsize = 0  # `_Lines` has the buffer
    wbufsize = -1  # head and body of a small answer in one piece; flushed at the end of each
    server: "_Server"

    def __getattr__(self, name: str) -> Callable[[], None]:
        # http.server looks for do_<METHOD>; what is not defined here is refused, whatever it is called.
        if name.startswith("do_"):
            return self._refuse_method
        raise AttributeError(name)

    def setup(self) -> None:
        super().setup()
        self._lines = _Lines(cast("io.RawIOBase", self.rfile))
        self.rfile = self._lines

    def parse_request(self) -> bool:
        # http.server takes the end of the stream for the end of the head: a build that is killed in the
        # middle of a request would have asked for a file after its end.
        if super().parse_request() and self._lines.last:
            return True
        self.close_connection = self.close_connection or not self._lines.last
        return False

    def do_GET(self) -> None:
        self._serve(with_body=True)

    def do_HEAD(self) -> None:
        self._serve(with_body=False)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: the recorder notes what matters."""

    def _serve(self, *, with_body: bool) -> None:
        if self.path == READY_PATH:
            self.server.recorder.ready.set()
            self._say(Answer(204), with_body=False)
        elif "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            self._say(
                self.server.recorder.refuse(400, f"{self.path[:200]!r}: a request with a body"), with_body
            )
        else:
            self._say(self.server.recorder.ask(self.path), with_body)

    def _refuse_method(self) -> None:
        self.close_connection = True  # its body was not read
        self._say(self.server.recorder.refuse_method(self.command, self.path))

    def _say(self, answer: Answer, with_body: bool = True) -> None:
        if answer.sha256:
            self._say_file(answer, with_body)
            return
        self.send_response(answer.status)
        if answer.status != 204:
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(answer.body)))
        self._end_head()
        if with_body and answer.status != 204:
            self.wfile.write(answer.body)

    def _say_file(self, answer: Answer, with_body: bool) -> None:
        with self.server.cache.inputs.open(answer.sha256) as file:
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(answer.size))
            # Maven takes it from here and does not ask for the checksum file, half of all its requests.
            self.send_header("X-Checksum-SHA1", answer.sha1)
            self._end_head()
            if with_body:
                self.wfile.flush()
                self.connection.sendfile(file)

    def _end_head(self) -> None:
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A thread per connection, at most CLIENTS; closing waits for all of them."""

    request_queue_size = 128
    daemon_threads = False

    def __init__(self, address: str, recorder: Recorder, cache: Cache) -> None:
        self.recorder = recorder
        self.cache = cache
        self._free = threading.BoundedSemaphore(CLIENTS)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._free.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a build may hang up in the middle of an answer, and its log is not ours."""


@contextlib.contextmanager
def serve_mirror(folder: Path, uid: int, recorder: Recorder, cache: Cache) -> Iterator[None]:
    """Serve `folder/socket`, which only `uid` (and root) may use, until the block ends.

    On leaving, downloads are given up and every thread has ended, so that nothing is recorded afterwards.
    The sandbox must be dead by then: a living client would be waited for.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # By descriptor: the path of a socket is limited to 107 bytes, a work folder is not (unix(7)).
        with needing_disk("cannot make a socket", folder):
            server = _Server(f"/proc/self/fd/{descriptor}/{SOCKET_NAME}", recorder, cache)
        path = folder / SOCKET_NAME
        path.chmod(0o600)
        if os.getuid() == 0:
            os.chown(path, uid, uid)
    finally:
        os.close(descriptor)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="mirror")
    thread.start()
    try:
        yield
    finally:
        recorder.close()
        server.shutdown()
        server.server_close()
        thread.join()
