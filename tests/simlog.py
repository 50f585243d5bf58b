"""A small real log in a folder: real keys, entries, tiles, bundles and signed checkpoints, and no server
behind.

It can also misbehave as logs do: fork, fall back to an older head, lose entries, damage a file. `serving`
shows a folder over HTTP on a loopback port and takes `add` and `add-batch`.
"""

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.simkeys import ORIGIN, log_signer
from tests.simtiles import tiles_from

from touchplate.verify.checkpoints import format_checkpoint_body
from touchplate.verify.dsse import sign_envelope
from touchplate.verify.entry import Entry, make_entry, pack_entry
from touchplate.verify.keys import StatementSigner
from touchplate.verify.notes import NoteSigner, format_verifier_key, sign_note
from touchplate.verify.policy import Policy, parse_policy
from touchplate.verify.rfc6962 import CompactRange
from touchplate.verify.tiles import (
    TILE_WIDTH,
    entries_path,
    envelopes_path,
    format_entry_bundle,
    format_envelope_bundle,
    tile_path,
)

WRITER = StatementSigner(Ed25519PrivateKey.from_private_bytes(b"\x07" * 32))
"""Signs the entries that `grow` makes."""


def filler_envelope(text: str) -> bytes:
    """An envelope over a payload that names `text` and says nothing."""
    return sign_envelope(json.dumps({"filler": text}).encode(), WRITER)


class SimLog:
    """A log whose files are written by `publish`; until then growing it changes nothing that can be seen."""

    def __init__(
        self, folder: Path, signer: NoteSigner | None = None, witnesses: tuple[NoteSigner, ...] = ()
    ) -> None:
        self.folder = folder
        self.signer = signer or log_signer()
        self.witnesses = witnesses
        self.entries: list[Entry] = []

    @property
    def policy(self) -> Policy:
        """The policy under which this log's checkpoints open: all its witnesses are needed."""
        lines = [f"log {format_verifier_key(self.signer.key)}\n"]
        lines += [f"witness w{n} {format_verifier_key(each.key)}\n" for n, each in enumerate(self.witnesses)]
        if not self.witnesses:
            return parse_policy("".join(lines) + "quorum none\n")
        members = " ".join(f"w{n}" for n in range(len(self.witnesses)))
        return parse_policy("".join(lines) + f"group all-of-them all {members}\nquorum all-of-them\n")

    def add(self, entry: Entry) -> int:
        """Append one entry; its index."""
        self.entries.append(entry)
        return len(self.entries) - 1

    def grow(self, count: int, flavour: str = "") -> None:
        """Append `count` entries that say nothing; another `flavour` makes other ones."""
        for _ in range(count):
            text = f"{flavour}{len(self.entries)}"
            self.add(make_entry(filler_envelope(text), WRITER.key.spki))

    def root(self, size: int | None = None) -> bytes:
        """Root of the first `size` entries (default: all)."""
        grown = CompactRange()
        for entry in self.entries[:size]:
            grown.append(entry.leaf_hash)
        return grown.root()

    def note(self, size: int | None = None, time: int = 1_800_000_000) -> bytes:
        """The signed checkpoint of the first `size` entries (default: all), cosigned at `time`."""
        size = len(self.entries) if size is None else size
        body = format_checkpoint_body(ORIGIN, size, self.root(size))
        return sign_note(body, [self.signer, *self.witnesses], time)

    def publish(self, time: int = 1_800_000_000) -> None:
        """Write tiles and bundles of all entries, then the checkpoint; files of earlier sizes stay."""
        for tile, data in tiles_from([entry.leaf_hash for entry in self.entries]).items():
            self.write(tile_path(tile), data)
        for begin in range(0, len(self.entries), TILE_WIDTH):
            part = self.entries[begin : begin + TILE_WIDTH]
            number, width = begin // TILE_WIDTH, len(part)
            self.write(entries_path(number, width), format_entry_bundle([each.leaf_data for each in part]))
            self.write(
                envelopes_path(number, width), format_envelope_bundle([pack_entry(each) for each in part])
            )
        self.write("checkpoint", self.note(time=time))

    def write(self, path: str, data: bytes) -> None:
        """Put any bytes at a path, right or wrong."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def damage(self, path: str, at: int = 0) -> None:
        """Flip one bit of a file."""
        data = bytearray((self.folder / path).read_bytes())
        data[at] ^= 1
        self.write(path, bytes(data))

    def remove_partials(self) -> None:
        """Remove every partial of which the full tile or bundle exists, as tlog-tiles allows."""
        for folder in list(self.folder.rglob("*.p")):
            if folder.with_suffix("").exists():
                shutil.rmtree(folder)

    def fork(self, folder: Path, size: int) -> "SimLog":
        """Another log in `folder` with the same keys and the same first `size` entries."""
        twin = SimLog(folder, self.signer, self.witnesses)
        twin.entries = self.entries[:size]
        return twin

    def truncate(self, size: int) -> None:
        """Forget all entries from `size` on and every file: a log restored from an old copy."""
        del self.entries[size:]
        shutil.rmtree(self.folder)
        self.publish()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_GET(self) -> None:
        file = self.server.log.folder / self.path.removeprefix("/log/")
        if not self.path.startswith("/log/") or ".." in self.path or not file.is_file():
            self.answer(404, b"nothing here")
        else:
            self.answer(200, file.read_bytes())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.append((self.path, dict(self.headers), body))
        if self.path == "/log/add":
            index = self.server.add(body)
            self.answer(200, b"%d" % index)
        elif self.path == "/log/add-batch":
            self.answer(200, json.dumps({"results": self.server.add_batch(body)}).encode())
        else:
            self.answer(404, b"nothing here")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    # With the default of 5, a reader with many connections waits for seconds: its lost SYNs are sent again.
    request_queue_size = 128

    def __init__(self, log: SimLog) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.log = log
        self.posts: list[tuple[str, dict[str, str], bytes]] = []

    def add(self, envelope: bytes) -> int:
        """Append and publish; a known envelope keeps its index."""
        known = [entry.envelope for entry in self.log.entries]
        if envelope in known:
            return known.index(envelope)
        index = self.log.add(make_entry(envelope, WRITER.key.spki))
        self.log.publish()
        return index

    def add_batch(self, body: bytes) -> list[dict[str, object]]:
        results: list[dict[str, object]] = []
        while body:
            end = 4 + int.from_bytes(body[:4], "big")
            size = len(self.log.entries)
            if body[4:end] == b"refuse me":
                results.append({"error": {"reason": "unknown-key", "detail": "nobody knows this key"}})
            else:
                index = self.add(body[4:end])
                results.append({"index": str(index), "duplicate": index < size})
            body = body[end:]
        return results


class Served:
    """A log that is being served: its URL prefix and the POSTs that came in."""

    def __init__(self, server: _Server) -> None:
        self.url = f"http://127.0.0.1:{server.server_port}/log"
        self.posts = server.posts


@contextmanager
def serving(log: SimLog) -> Iterator[Served]:
    """Serve the log's folder over HTTP for the length of the block."""
    server = _Server(log)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Served(server)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
