"""A witness that lives through the whole series, and an observer who brings it every head that a log shows.

The witness is `touchplate log witness`, a process of its own that nobody kills. It cosigns a head only when a
proof leads to it from the one that it cosigned last, whatever became of the log in between.
"""

import contextlib
import http.client
import itertools
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from tests.simkeys import note_signer, verifier_key, witness_signer
from tests.torture.kills.promises import Acknowledged
from tests.torture.oracle import INCONSISTENT
from tests.torture.process import Launcher, Run, SeriesError

from touchplate.log.witness.requests import format_add_checkpoint
from touchplate.verify.checkpoints import Checkpoint, UnverifiedCheckpoint, open_checkpoint
from touchplate.verify.encoding import decode_base64
from touchplate.verify.errors import VerifyError
from touchplate.verify.notes import NoteSigner, open_note
from touchplate.verify.policy import Policy, parse_policy

NAME = "witness.kills.example.org"
SECONDS = 20.0
POLL_SECONDS = 0.02
"""Between two looks of an observer: several in each life of a log."""

FORKED = 422
"""The status of tlog-witness for a head that no proof leads to."""


def origin_of(number: int) -> str:
    """The origin of one log of the series."""
    return f"log-{number}.kills.example.org"


class Witness:
    """The process. `logs`: how many origins it knows."""

    def __init__(self, folder: Path, launcher: Launcher, logs: int) -> None:
        folder.mkdir(parents=True)
        signer = witness_signer(NAME)
        key = folder / "witness.key"
        key.touch(0o600)
        key.write_text(signer.format() + "\n")
        tables = (f'[[witness.log]]\nkeys = ["{verifier_key(log_key(origin_of(n)))}"]\n' for n in range(logs))
        config = folder / "witness.toml"
        config.write_text(
            'data = "data"\n[http]\nlisten = "127.0.0.1:0"\n[witness]\nkeys = ["file:witness.key"]\n'
            + "".join(tables)
        )
        self._run: Run = launcher.start(["log", "witness", "--config", str(config)], {"witness": folder})
        url = self._run.url()
        if url is None:
            raise SeriesError(f"the witness did not start: {self._run.err()}")
        self.url = url
        self.signer = signer

    def policy(self, origin: str, *, asked: bool) -> Policy:
        """A policy with this log's key; `asked`: the witness's cosignature is needed."""
        return parse_policy(self.policy_text(origin, asked=asked))

    def policy_text(self, origin: str, *, asked: bool) -> str:
        """The same as it stands in a file."""
        lines = f"log {verifier_key(log_key(origin))}\n"
        if not asked:
            return f"{lines}quorum none\n"
        return f"{lines}witness w {verifier_key(self.signer)} {self.url}\nquorum w\n"

    def close(self) -> list[str]:
        """End it; what it had to complain about."""
        code = self._run.stop()
        said = [line for line in self._run.err().splitlines() if "FORK" in line or "Traceback" in line]
        return said if code == 0 else [f"the witness ended with {code}: {self._run.err()[-1000:]}", *said]


class Observer:
    """Looks at one log's checkpoints all the time, and has the witness cosign each new one."""

    def __init__(
        self, witness: Witness, origin: str, told: Acknowledged, *, asked: bool = False, lagging: bool = False
    ) -> None:
        """`asked`: the log asks the witness by itself; the observer then only demands its cosignature.
        `lagging`: a frontend may show an older head than another one did."""
        self._witness = witness
        self._origin = origin
        self._asked = asked
        self._lagging = lagging
        self._policy = witness.policy(origin, asked=asked)
        self._told = told
        self.cosigned = 0
        """Size of the newest head that the witness is known to have cosigned."""
        self.heads = 0
        """Heads that were cosigned."""
        self._seen = b""

    def look(self, url: str) -> int:
        """Once; the size of the head that was seen, -1 for none."""
        status, note = request(url, "GET", "/log/checkpoint")
        if status != 200:
            return -1
        try:
            head = open_checkpoint(note, self._policy)
        except VerifyError as error:
            self._told.note(INCONSISTENT, f"a checkpoint is shown that cannot be opened: {error}")
            return -1
        if note != self._seen:
            if self._asked:
                self.heads += 1
            elif self._lagging and head.size < self.cosigned:
                pass  # the checker sees to it that it is a beginning
            elif not self._bring(url, head):
                return -1
            self._seen = note
        self._told.saw(UnverifiedCheckpoint(head.origin, head.size, head.root))
        return head.size

    def _bring(self, url: str, head: Checkpoint) -> bool:
        old, proof = self.cosigned, self._proof(url, head.size)
        status, answer = request(
            self._witness.url,
            "POST",
            "/add-checkpoint",
            format_add_checkpoint(old, proof, head.note.encode()),
        )
        if status != 200:
            kind = "a fork" if status == FORKED else f"{status} {answer[:100]!r}"
            text = f"the witness does not cosign the head of {head.size} after {old}: {kind}"
            self._told.note(INCONSISTENT, text)
            return False
        open_note(head.note.encode() + answer, [log_key(self._origin).key, self._witness.signer.key])
        self.cosigned, self.heads = head.size, self.heads + 1
        return True

    def _proof(self, url: str, size: int) -> Sequence[bytes]:
        if not self.cosigned or size <= self.cosigned:
            return []  # the same head again, or an older one, which the witness refuses

        path = f"/log/proof/consistency?old={self.cosigned}&new={size}"
        status, body = request(url, "GET", path)
        if status != 200:
            raise ConnectionError(f"no proof: {status}")
        return [decode_base64(node, "node") for node in json.loads(body)["proof"]]

    @contextlib.contextmanager
    def watching(self, *urls: str) -> Iterator[None]:
        """Look until the block ends, at one after the other."""
        stopping = threading.Event()

        def run() -> None:
            for url in itertools.cycle(urls):
                if stopping.wait(POLL_SECONDS):
                    return
                with contextlib.suppress(OSError, http.client.HTTPException):
                    self.look(url)

        thread = threading.Thread(target=run, name="observer")
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()


def log_key(origin: str) -> NoteSigner:
    """The log key of an origin."""
    return note_signer(origin, "log")


def request(url: str, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Status and body of one request. Raises OSError, HTTPException."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=SECONDS)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
