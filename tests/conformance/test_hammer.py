"""Tessera's own load on a raw tree: hammer writes and reads it, fsck recomputes it over HTTP.

Each is also run on a log that is wrong, since both end with exit code 0 after some kinds of failure.
"""

from __future__ import annotations

import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.conformance.go_programs import program
from tests.conformance.hammer import run_hammer
from tests.conformance.readers import ask_fsck
from tests.log.raw.support import KEY, RAW_ORIGIN, TOKEN, policy
from tests.log.raw.test_process import AT, serving, write_config
from tests.node.test_log_serve import LogProcess
from tests.simkeys import note_signer, verifier_key

from touchplate.verify.checkpoints import open_checkpoint
from touchplate.verify.cli import main

pytestmark = pytest.mark.slow

GOAL = 2_000
SMALL = 300
SECONDS = 60
OUT_OF_REACH = 1_000_000
"""A goal that leaves time to meet damage."""

SHORT = 3
"""Seconds after which a run that cannot reach its goal gives up."""


@pytest.fixture
def config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Of a log with a raw tree that takes leaves with TOKEN."""
    path = write_config(tmp_path)
    assert main(["log", "tree", "create", "--config", str(path)]) == 0
    tree = capsys.readouterr().out.strip()
    (tmp_path / "tree").write_text(tree)
    path.write_text(path.read_text().replace("5577006791947779410", tree))
    return path


@contextmanager
def spoiling(url: str, path: str, bits: int = 0) -> Iterator[str]:
    """A proxy that passes a log on, with what stands at `path` changed: in every byte by `bits`, and in the
    last bit; its URL. One file only: fsck waits for ever when all its workers have met damage."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            try:
                with urllib.request.urlopen(url + self.path, timeout=SECONDS) as answer:
                    status, body = answer.status, answer.read()
            except urllib.error.HTTPError as error:
                status, body = error.code, error.read()
            if self.path.partition(".p/")[0].endswith(path) and status == 200:
                body = bytes(one ^ bits for one in body[:-1]) + bytes([body[-1] ^ 1])
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def read_checkpoint(process: LogProcess, url: str) -> bytes:
    return process.request(url.removesuffix(AT), f"{AT}/checkpoint")[1]


def test_hammer_and_fsck_pass_a_raw_tree(config: Path, tmp_path: Path) -> None:
    with serving(config) as process:
        url = process.url() + AT
        ran = run_hammer(program("hammer"), url, KEY, GOAL, token=TOKEN)
        assert ran.good, ran
        words = ask_fsck(program("fsck"), url, KEY, tmp_path)
        found = re.match(r"Successfully fsck'd log with size (\d+) and root", words.verdict)
        # More than the goal: what hammer's writers had under way when it left was taken, too.
        assert found is not None, words.text
        assert GOAL <= int(found[1]) <= open_checkpoint(read_checkpoint(process, url), policy()).size
        assert process.stop() == 0
        assert not [line for line in process.lines if "Traceback" in line]
    assert main(["log", "fsck", "--config", str(config), "--origin", RAW_ORIGIN]) == 0


def test_hammer_fails_on_a_spoiled_tile(config: Path, tmp_path: Path) -> None:
    with serving(config) as process:
        base = process.url()
        with spoiling(base, "/tile/1/000", 1) as proxy:
            ran = run_hammer(
                program("hammer"), proxy + AT, KEY, OUT_OF_REACH, write_url=base + AT, token=TOKEN, seconds=15
            )
            assert not ran.good, ran
            assert ran.code != 0
            assert ran.says("inconsistent") or ran.says("consistency"), ran
            words = ask_fsck(program("fsck"), proxy + AT, KEY, tmp_path)
            assert not words.good, words.text
        # Nothing but the way there was wrong.
        assert ask_fsck(program("fsck"), base + AT, KEY, tmp_path).good


def test_hammer_fails_on_spoiled_bundles_by_fsck_only(config: Path, tmp_path: Path) -> None:
    """It reads bundles and does not hash them: fsck is what finds this, so both are run."""
    with serving(config) as process:
        base = process.url()
        with spoiling(base, "/tile/entries/000") as proxy:
            ran = run_hammer(program("hammer"), proxy + AT, KEY, SMALL, write_url=base + AT, token=TOKEN)
            assert ran.good, ran
            assert not ask_fsck(program("fsck"), proxy + AT, KEY, tmp_path).good


def test_hammer_fails_under_another_key(config: Path) -> None:
    other = verifier_key(note_signer(RAW_ORIGIN, "log", "another"))
    with serving(config) as process:
        ran = run_hammer(program("hammer"), process.url() + AT, other, SMALL, token=TOKEN, seconds=SHORT)
        assert not ran.good
        assert ran.code != 0
        assert ran.says("note has no verifiable signatures"), ran


def test_hammer_fails_when_nothing_is_taken(config: Path, tmp_path: Path) -> None:
    with serving(config) as process:
        url = process.url()
        for status, token in ((401, TOKEN + "x"), (403, TOKEN)):
            if status == 403:
                tree = (tmp_path / "tree").read_text()
                assert main(["log", "tree", "freeze", tree, "--config", str(config)]) == 0
            ran = run_hammer(program("hammer"), url + AT, KEY, SMALL, token=token, seconds=SHORT)
            assert not ran.good
            assert ran.code == 1
            assert ran.says("Max runtime reached"), ran
            assert ran.says(f"Status code: {status}"), ran
