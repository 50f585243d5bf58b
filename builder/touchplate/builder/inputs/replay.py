"""Runs inside the sandbox in Build: answers a build's proxied requests from the locked inputs, and runs it.

    python3 -I -S replay.py SETTINGS COMMAND [ARGUMENT …]

SETTINGS is a JSON file: `port` of loopback; `places`, see `locate`; `folder` with the locked files, as
`<folder>/<upstream>/<path>`; `optional`, a pattern of paths that a build does without: in Fetch they were not
there either, since a lock has everything that was. Any other path that is not in the lock ends the build,
however its command ended. The supervisor takes no part: in Build there is no socket that leads to it.

Standard library only, since the sandbox shows nothing of touchplate. `locate` is the recording mirror's, too,
so that both phases understand requests in the same way.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socketserver
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote_to_bytes

CLIENTS = 64
"""Connections served at one time, as many as in Fetch; more wait."""

SHOWN = 5
"""Requests that the last lines name."""

NOTED = 100
"""Requests of each kind that are remembered: a build may ask for ever."""

NOT_LOCKED = 123
"""Exit code when the command ended well although it had asked for what is not in the lock."""

NOT_GIVEN = "Not given: "
"""Start of the last lines, which say what was asked for and refused, or is not in the lock."""

CHECKSUM_SUFFIXES = (".md5", ".sha1", ".sha256", ".sha512")
"""Ends of names that no lock has (`lock.is_checksum`)."""

_SCHEME = "http://"


class NotServedError(Exception):
    """A request that is refused with `status`, whatever is in the lock; the text says why, and the remedy."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def locate(target: str, places: Mapping[str, str]) -> tuple[str, str]:
    """Upstream and (plain, decoded) path that a proxied request for `target` means.

    `places`: host and folder, as `archive.example.org/debian` → name of the upstream. The longest that fits
    counts. Raises NotServedError.
    """
    if not target.lower().startswith(_SCHEME) or "?" in target or "#" in target:
        raise NotServedError(400, f"{target[:200]!r} is no plain http:// address without a query")
    host, _, quoted = target[len(_SCHEME) :].partition("/")
    host = host.lower().removesuffix(":80")
    try:
        path = unquote_to_bytes(quoted).decode()
    except UnicodeDecodeError:
        raise NotServedError(400, f"{target[:200]!r} is not utf-8") from None
    # A single dot is what apt asks for where its sources name a flat repository (RFC 3986 5.2.4).
    parts = [part for part in path.split("/") if part != "."]
    whole = "/".join((host, *parts))
    place = max((place for place in places if whole.startswith(f"{place}/")), key=len, default=None)
    if place is None:
        raise NotServedError(
            403,
            # Without a semicolon, at which a failure's detail may be cut.
            f"{target[:200]!r} is in no archive that the definition names. When apt asks for it, add "
            f"{host[:80]!r} and its folder to image.apt, and put any other file into the context",
        )
    if not all(parts) or ".." in parts or "\\" in path or not path.isprintable():
        raise NotServedError(400, f"{target[:200]!r} is not a plain path")
    if path.endswith(CHECKSUM_SUFFIXES):
        # Given in Fetch and not recorded, it would be missed in Build.
        raise NotServedError(
            403, f"{target[:200]!r} is a checksum file, which no input lock has. Put it into the context"
        )
    return places[place], whole[len(place) + 1 :]


def refuse_method(method: str, target: str) -> NotServedError:
    """What is said to a method other than GET and HEAD."""
    if method == "CONNECT":
        return NotServedError(
            403,
            f"https to {target[:200]!r} is encrypted, and cannot be recorded: for apt write http:// into "
            "the image's sources (it checks signatures), and put any other file into the context",
        )
    return NotServedError(405, f"{method[:20]} {target[:200]!r}: only GET and HEAD are answered")


class Replay:
    """What is answered, and what was asked in vain."""

    def __init__(self, places: Mapping[str, str], folder: Path, optional: str) -> None:
        self._places = places
        self._folder = folder
        self._optional = re.compile(optional)
        self._lock = threading.Lock()
        self._lacking: dict[str, None] = {}  # under _lock, as the next; in order
        self._refused: dict[str, None] = {}
        self.is_short = False
        """Whether something was asked for that only a lock of another build has."""

    def find(self, target: str) -> Path | None:
        """The locked file that `target` means; None when there is none. Raises NotServedError."""
        name, path = locate(target, self._places)
        found = self._folder / name / path
        with contextlib.suppress(OSError):  # a name too long for any file
            if found.is_file():
                return found
        if self._optional.fullmatch(path) is None:
            self.is_short = True
            self._note(self._lacking, f"{name}/{path[:200]} (not in the input lock)")
        return None

    def note_refused(self, text: str) -> None:
        """Remember what was refused."""
        self._note(self._refused, text)

    def _note(self, noted: dict[str, None], text: str) -> None:
        with self._lock:
            if len(noted) < NOTED:
                noted[text] = None

    @property
    def not_given(self) -> list[str]:
        """The first of it, for people; what ends the build stands before what was refused."""
        with self._lock:
            return [*self._lacking, *self._refused][:SHOWN]


class _Handler(BaseHTTPRequestHandler):
    """One connection of the build."""

    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_GET(self) -> None:
        self._serve(with_body=True)

    def do_HEAD(self) -> None:
        self._serve(with_body=False)

    def __getattr__(self, name: str) -> object:
        # http.server looks for do_<METHOD>; what is not defined here is refused, whatever it is called.
        if name.startswith("do_"):
            return self._refuse_method
        raise AttributeError(name)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: what matters is said at the end."""

    def _serve(self, *, with_body: bool) -> None:
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            self._refuse(NotServedError(400, f"{self.path[:200]!r}: a request with a body"), with_body)
            return
        try:
            found = self.server.replay.find(self.path)
        except NotServedError as refused:
            self._refuse(refused, with_body)
            return
        if found is None:
            self._say(404, b"not in the input lock\n", with_body)
            return
        with found.open("rb") as file:
            self._head(200, os.fstat(file.fileno()).st_size)
            if with_body:
                shutil.copyfileobj(file, self.wfile)

    def _refuse_method(self) -> None:
        self.close_connection = True  # its body was not read
        self._refuse(refuse_method(self.command, self.path), with_body=True)

    def _refuse(self, refused: NotServedError, with_body: bool) -> None:
        self.server.replay.note_refused(str(refused))
        self._say(refused.status, f"{refused}\n".encode(), with_body)

    def _say(self, status: int, body: bytes, with_body: bool) -> None:
        self._head(status, len(body))
        if with_body:
            self.wfile.write(body)

    def _head(self, status: int, size: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(size))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()


class _Server(socketserver.ThreadingTCPServer):
    """A thread per connection, at most CLIENTS."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, replay: Replay) -> None:
        self.replay = replay
        self._free = threading.BoundedSemaphore(CLIENTS)
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: object, client_address: object) -> None:
        self._free.acquire()
        try:
            super().process_request(request, client_address)  # type: ignore[arg-type]
        except RuntimeError:  # no thread to be had: the client must see an end, not a silence
            self._free.release()
            self.shutdown_request(request)  # type: ignore[arg-type]

    def process_request_thread(self, request: object, client_address: object) -> None:
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a build may hang up in the middle of an answer."""


def main(arguments: list[str]) -> int:
    """Run; see the module's text."""
    settings = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    command = arguments[1:]
    replay = Replay(settings["places"], Path(settings["folder"]), settings["optional"])
    server = _Server(settings["port"], replay)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # Python ignores these two; the command must start as it does in Fetch.
    usual = [signal.SIGPIPE, signal.SIGXFSZ]
    child = os.posix_spawn(command[0], command, os.environ, setsigdef=usual)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 128 - code if code < 0 else code
    if code or replay.is_short:
        for text in replay.not_given:
            print(f"{NOT_GIVEN}{text}", flush=True)
    return code or (NOT_LOCKED if replay.is_short else 0)


if __name__ == "__main__":
    # Not sys.exit: threads that still answer must not hold the end up.
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)
