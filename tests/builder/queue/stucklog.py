"""A log that never answers: it hangs before it passes an entry on to the real one, or after. That it knows
the key it says at once."""

import base64
import contextlib
import json
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

from touchplate.builder.submit import NO_STATEMENT


def _says_nothing(body: bytes) -> bool:
    return bool(json.loads(body)["payload"] == base64.b64encode(NO_STATEMENT).decode())


@contextlib.contextmanager
def stuck_log(url: str, moment: Literal["before", "after"]) -> Iterator[tuple[str, threading.Event]]:
    """Its URL prefix, and an event that says that it hangs now."""
    hangs, over = threading.Event(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if _says_nothing(body):
                self._refuse()
                return
            if moment == "after":
                request = urllib.request.Request(f"{url}{self.path}", body, method="POST")
                request.add_header("Content-Type", "application/json")
                with urllib.request.urlopen(request) as answer:
                    answer.read()
            hangs.set()
            over.wait()
            self.close_connection = True

        def _refuse(self) -> None:
            self.send_response(400)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/log", hangs
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()
