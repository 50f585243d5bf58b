"""`touchplate log serve` on a Trillian, and writers who remember what they were told."""

from __future__ import annotations

import json
import time
from http.client import HTTPException
from itertools import count
from pathlib import Path
from threading import Event, Lock, Thread

from tests.log.support import record_envelope, write_settings
from tests.node.test_log_serve import LogProcess
from tests.simkeys import log_signer, verifier_key

from touchplate.verify.cli import main
from touchplate.verify.encoding import decode_base64

WAIT_SECONDS = 60
PAUSE = 0.05
"""Between two tries of a writer who was turned away."""


def write_config(folder: Path, address: str, more: str = "") -> Path:
    """Keys, lists and configuration of a log on the Trillian at `address`; its policy as `policy.txt`."""
    write_settings(folder)
    (folder / "policy.txt").write_text(f"log {verifier_key(log_signer())}\nquorum none\n")
    config = folder / "log.toml"
    config.write_text(
        'data = "data"\n[http]\nlisten = "127.0.0.1:0"\n[log]\norigin = "log.example.org"\n'
        'key = "file:log.key"\nadmission = "admission.toml"\nstorage = "trillian"\n'
        f'[log.trillian_store]\naddress = "{address}"\n{more}'
    )
    return config


class Writers:
    """Threads that append entries, one each at a time, wherever the log is now."""

    def __init__(self, threads: int = 4) -> None:
        self.told: dict[int, int] = {}
        """Index by number of entry, of those that were acknowledged."""
        self.refused: set[tuple[int, str]] = set()
        """Status and reason of every other answer."""
        self._place: tuple[LogProcess, str] | None = None
        self._numbers = count()
        self._lock = Lock()
        self._stopping = Event()
        self._threads = [Thread(target=self._write, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def go_to(self, process: LogProcess, url: str) -> None:
        """From now on write to the log at `url`."""
        self._place = process, url

    def await_more(self, entries: int) -> None:
        """Return when so many more were acknowledged."""
        wanted, deadline = len(self.told) + entries, time.monotonic() + WAIT_SECONDS
        while len(self.told) < wanted:
            assert time.monotonic() < deadline, (len(self.told), self.refused)
            time.sleep(PAUSE)

    def stop(self) -> None:
        """Let each end what it has begun."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(WAIT_SECONDS)

    def _write(self) -> None:
        number = next(self._numbers)
        while not self._stopping.is_set():
            if self._place is None or not self._add(number):
                time.sleep(PAUSE)
            else:
                number = next(self._numbers)

    def _add(self, number: int) -> bool:
        assert self._place is not None
        process, url = self._place
        try:
            status, body = process.request(url, "/log/add", "POST", record_envelope(number))
        except (OSError, HTTPException):  # it was killed
            return False
        with self._lock:
            if status == 200:
                self.told[number] = int(body)
                return True
            self.refused.add((status, json.loads(body)["reason"]))
        return False

    def check(self, process: LogProcess, url: str) -> None:
        """Everything that was acknowledged is there, at its index, and no index was told twice."""
        assert len(set(self.told.values())) == len(self.told)
        for number, index in self.told.items():
            status, body = process.request(url, f"/log/entry/{index}")
            assert status == 200, (number, index, body)
            assert decode_base64(json.loads(body)["envelope"], "envelope") == record_envelope(number)


def fsck(folder: Path, url: str, *more: str) -> None:
    """Our own fsck by URL, and of what is stored."""
    policy = str(folder / "policy.txt")
    assert main(["log", "fsck", "--url", f"{url}/log", "--policy", policy, *more]) == 0
    assert main(["log", "fsck", "--config", str(folder / "log.toml"), *more]) == 0
