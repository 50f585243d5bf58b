"""A running omniwitness that knows one log, and the client's side of tlog-witness that the tests need."""

from __future__ import annotations

import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.witness_build import WitnessPrograms
from tests.e2e.demo_world import free_port

from touchplate.verify.encoding import encode_base64

NAME = "witness.example.org/w1"
"""Name of the witness and of its key."""

START_SECONDS = 60
STOP_SECONDS = 30
# Seconds between looks at a witness that is starting.
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Answer:
    """What a witness answered."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True)
class Witness:
    """A witness that listens. `key`: its public key in the text form of signed notes (type 0x04)."""

    url: str
    key: str

    def add_checkpoint(self, old_size: int, proof: Sequence[bytes], note: bytes) -> Answer:
        """POST add-checkpoint (C2SP tlog-witness): the size it knows, the proof from there, the new head."""
        lines = [f"old {old_size}\n", *(f"{encode_base64(each)}\n" for each in proof), "\n"]
        request = urllib.request.Request(
            f"{self.url}/add-checkpoint", data="".join(lines).encode() + note, method="POST"
        )
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(request, timeout=60) as response:
                return Answer(response.status, response.headers.get("Content-Type", ""), response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers.get("Content-Type", ""), error.read())


def make_key(programs: WitnessPrograms, folder: Path) -> tuple[Path, str]:
    """A new key of the witness: the file of the private one, and the public one as text."""
    private, public = folder / "witness.key", folder / "witness.pub"
    command = [
        str(programs.generate_keys),
        f"--origin={NAME}",
        f"--out_priv={private}",
        f"--out_pub={public}",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=START_SECONDS)
    return private, public.read_text().strip()


@contextmanager
def running_witness(programs: WitnessPrograms, folder: Path, log_key: str) -> Iterator[Witness]:
    """A witness on loopback that knows the log of `log_key`, with an empty memory in `folder`.

    It is given no address of anybody else, so it speaks only when it is spoken to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    private, public = make_key(programs, folder)
    origin = log_key.partition("+")[0]
    logs = folder / "logs.yaml"
    # The witness wants an address for each log, and does not use it.
    logs.write_text(f"Logs:\n  - Origin: {origin}\n    URL: http://127.0.0.1:9/\n    PublicKey: {log_key}\n")
    address = f"127.0.0.1:{free_port()}"
    flags = [
        f"--listen={address}",
        "--metrics_listen=",
        f"--db_file={folder / 'witness.db'}",
        f"--private_key_path={private}",
        f"--additional_logs={logs}",
        "--logtostderr",
    ]
    said = folder / "witness.log"
    with said.open("wb") as output:
        process = subprocess.Popen([str(programs.omniwitness), *flags], stdout=output, stderr=output)
    try:
        _wait_for(process, address, said)
        yield Witness(f"http://{address}", public)
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _wait_for(process: subprocess.Popen[bytes], address: str, said: Path) -> None:
    host, _, port = address.partition(":")
    for _ in range(int(START_SECONDS / _LOOK_SECONDS)):
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            try:
                process.wait(_LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            break
        else:
            return
    raise AssertionError(f"the witness does not listen: {said.read_text(errors='replace')[-2000:]}")
