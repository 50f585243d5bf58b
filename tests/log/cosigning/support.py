"""Witnesses asked over real HTTP, each of which can be told to misbehave, and logs that ask them."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

from tests.log.support import write_settings
from tests.log.witness.support import open_memory
from tests.simkeys import log_signer, verifier_key, witness_signer

from touchplate.base.values import Duration
from touchplate.log.cosigning.config import WitnessesConfig
from touchplate.log.errors import STATUS, LogError, OtherSizeError
from touchplate.log.export_thread import ExportConfig
from touchplate.log.service import LogService
from touchplate.log.witness.config import WitnessedLog
from touchplate.log.witness.requests import parse_add_checkpoint
from touchplate.log.witness.service import Witness
from touchplate.verify.checkpoints import Checkpoint, open_checkpoint
from touchplate.verify.notes import NoteSigner
from touchplate.verify.policy import Policy, parse_policy

GIVE_UP_SECONDS = 60.0

Answer = tuple[int, str, bytes]
OTHER_ROOT = "log.example.org\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, kind, answer = self.server.owner.answer(body)  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


class WitnessServer:
    """One witness on loopback. `mode`: good, lying, garbage, foreign, splicing, early, late, failing, slow
    (until `go` is set)."""

    def __init__(self, folder: Path, name: str, signer: NoteSigner | None = None) -> None:
        self.name = name
        self.signer = signer or witness_signer(f"{name}.example.org")
        self.mode = "good"
        self.go = Event()
        self.requests: list[int] = []  # the sizes that were asked about
        self.olds: list[int] = []
        self.notes: list[bytes] = []
        log = WitnessedLog((verifier_key(log_signer()),))
        self.witness = Witness([self.signer], [log], open_memory(folder / name))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.owner = self  # type: ignore[attr-defined]
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def line(self) -> str:
        return f"witness {self.name} {verifier_key(self.signer)} {self.url}\n"

    def answer(self, body: bytes) -> Answer:
        request = parse_add_checkpoint(body)
        self.requests.append(request.head.size)
        self.olds.append(request.old_size)
        self.notes.append(request.note)
        if self.mode == "slow":
            self.go.wait(GIVE_UP_SECONDS)
        if self.mode == "failing":
            return 500, "text/plain", b"Unknown error"
        if self.mode == "garbage":
            return 200, "text/plain", b"\xff" * 100
        if self.mode == "lying":
            return 200, "text/plain", self.signer.sign(OTHER_ROOT, time=1_800_000_000).encode()
        if self.mode == "splicing":
            # Its signature is good, of a text that only looks like ours.
            note = request.note.decode() + "\n"
            return 200, "text/plain", b"\n" + self.signer.sign(note[:-1], time=int(time.time())).encode()
        if self.mode in ("early", "late"):
            text = request.note.decode().rpartition("\n\n")[0] + "\n"
            now = int(time.time()) + (3600 if self.mode == "late" else -3600)
            return 200, "text/plain", self.signer.sign(text, time=now).encode()
        if self.mode == "foreign":
            text = request.note.decode().rpartition("\n\n")[0] + "\n"
            return 200, "text/plain", witness_signer("stranger.example.org").sign(text, time=1).encode()
        try:
            return 200, "text/plain", self.witness.add_checkpoint(body)
        except OtherSizeError as error:
            return 409, "text/x.tlog.size", f"{error.size}\n".encode()
        except LogError as error:
            return STATUS.status(error).http, "text/plain", str(error).encode()

    def stop(self) -> None:
        self.go.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.witness.close()


@contextmanager
def witnesses(folder: Path, count: int = 3) -> Iterator[list[WitnessServer]]:
    made = [WitnessServer(folder, f"w{number}") for number in range(1, count + 1)]
    try:
        yield made
    finally:
        for each in made:
            each.stop()


def policy_text(servers: Sequence[WitnessServer], needed: int, *, extra: str = "") -> str:
    names = " ".join(server.name for server in servers)
    lines = "".join(server.line for server in servers)
    quorum = f"group them {needed} {names}\nquorum them\n"
    return f"log {verifier_key(log_signer())}\n{lines}{extra}{quorum}"


@contextmanager
def cosigned_log(
    folder: Path, text: str, *, timeout: int = 5, refresh: int = 3600, export: ExportConfig | None = None
) -> Iterator[LogService]:
    """A running log that publishes what the policy `text` accepts."""
    config = write_settings(folder / "settings")
    path = folder / "settings" / "policy.txt"
    path.write_text(text)
    asked = WitnessesConfig(path, Duration(timeout), Duration(refresh))
    config = dataclasses.replace(config, witness=asked, export=export)
    service = LogService(config, folder / "data")
    service.start()
    try:
        yield service
    finally:
        service.stop()


def published(service: LogService, policy: Policy) -> Checkpoint | None:
    """What the log serves, as a reader opens it."""
    note = service.tree.head().checkpoint
    return None if note is None else open_checkpoint(note, policy)


def eventually(what: Callable[[], bool]) -> None:
    """Wait until `what` holds; the limit only keeps a broken test from waiting for ever."""
    end = time.monotonic() + GIVE_UP_SECONDS
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def read_policy(text: str) -> Policy:
    return parse_policy(text)
