"""`touchplate peer rules|admit|members|approve` against a peer's answers; with engines in tests/e2e/peers."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.log.peers.administrators import ADMINISTRATORS, governed
from tests.log.peers.support import Chain, state, tx, tx_of
from tests.log.support import OPERATOR, STRANGER, signed_entry
from tests.node.test_peer_cli import init

from touchplate.log.peers.machine import OK
from touchplate.log.peers.overview import format_overview
from touchplate.log.ports import pack
from touchplate.verify.cli import main
from touchplate.verify.dsse import parse_envelope
from touchplate.verify.encoding import encode_base64
from touchplate.verify.entry import assemble_entry, pack_entry, parse_packed
from touchplate.verify.keys import StatementSigner, format_private_pem, format_public_pem, generate_signer

NEW = generate_signer()


class OnePeer:
    """The machine behind the three paths that administrators use: a peer that decides alone, at once."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}/log"
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()

    def add(self, envelope: bytes, key: bytes) -> tuple[int, bytes]:
        known = {block.key.spki_sha256: block.key for block in self.chain.state.admission.keys}
        entry = assemble_entry(envelope, parse_envelope(envelope), known[key])
        (verdict,) = self.chain.run(tx_of(pack(entry, pack_entry(entry)))).verdicts
        if verdict.code != OK:
            return 403, json.dumps({"reason": "not-admitted", "detail": verdict.reason}).encode()
        return 200, str(self.chain.state.size - 1).encode()

    def entry(self, index: int) -> tuple[int, bytes]:
        if index >= len(self.chain.entries):
            return 404, b""
        found = parse_packed(self.chain.entries[index].packed)
        envelope = encode_base64(found.envelope)
        return 200, json.dumps({"index": str(index), "envelope": envelope, "key": "…"}).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        peer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/log/peers/rules":
                    self._answer(200, format_overview(peer.chain.state))
                else:
                    self._answer(*peer.entry(int(self.path.rpartition("/")[2])))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self._answer(*peer.add(body, bytes.fromhex(self.headers["Touchplate-Key"])))

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header(
                    "Content-Type", "application/json" if status == 200 else "application/problem+json"
                )
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


@pytest.fixture
def peer() -> Iterator[OnePeer]:
    made = OnePeer(Chain(governed()))
    yield made
    made.stop()


def key_file(folder: Path, number: int, signer: StatementSigner | None = None) -> str:
    path = folder / f"administrator-{number}.pem"
    path.write_bytes(format_private_pem(signer or ADMINISTRATORS[number]))
    path.chmod(0o600)
    return str(path)


def new_block(folder: Path) -> str:
    path = folder / "new.toml"
    pem = format_public_pem(NEW.key)
    path.write_text(f'[[recorder]]\noperator = "{OPERATOR}"\necosystems = ["maven"]\nkey = """\n{pem}"""\n')
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    capsys.readouterr()
    code = main(["peer", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_two_administrators_admit_a_key(
    peer: OnePeer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = ["--url", peer.url]
    admit = ["admit", *url, "--add", new_block(tmp_path)]
    code, shown = run(capsys, *admit)
    assert (code, shown["signed"], peer.chain.state.size) == (0, False, 0)
    code, made = run(capsys, *admit, "--key", key_file(tmp_path, 0))
    assert (code, made["approvals"], made["threshold"], made["index"]) == (0, 1, 2, "0")
    assert made["statement"] == shown["statement"]
    code, told = run(capsys, "rules", *url)
    assert (told["approvals"][0]["statement"], told["scheduled"]) == (made["statement"], None)
    approve = ["approve", *url, "--index", "0", "--statement", made["statement"]]
    code, done = run(capsys, *approve, "--key", key_file(tmp_path, 1))
    assert (code, done["revision"]) == (0, 1)
    assert peer.chain.state.admission.find(NEW.key.spki)
    assert peer.chain.run(tx(1, signer=NEW)).verdicts[0].code == OK


def test_a_change_that_waits_for_its_index_is_shown_as_such(
    peer: OnePeer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = ["--url", peer.url]
    admit = ["admit", *url, "--add", new_block(tmp_path), "--from-index", "40"]
    _, made = run(capsys, *admit, "--key", key_file(tmp_path, 0))
    approve = ["approve", *url, "--index", "0", "--statement", made["statement"]]
    _, done = run(capsys, *approve, "--key", key_file(tmp_path, 2))
    assert (done["scheduled"], done["approvals"], done["revision"]) == ("40", 2, 0)
    assert main(["peer", "rules", *url]) == 0
    assert f"{made['statement']}, from entry 40 on" in capsys.readouterr().out


def test_a_peer_joins_by_its_card(peer: OnePeer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(tmp_path, "e", 5) == 0
    members = ["members", "--url", peer.url, "--add", str(tmp_path / "e/card.json")]
    _, made = run(capsys, *members, "--key", key_file(tmp_path, 0))
    assert main(["peer", "approve", "--url", peer.url, "--index", "0"]) == 0
    shown = capsys.readouterr().out
    assert made["statement"] in shown
    assert "5 peers, of which 4 decide and cosign" in shown
    approve = ["approve", "--url", peer.url, "--index", "0", "--statement", made["statement"]]
    assert run(capsys, *approve, "--key", key_file(tmp_path, 1))[0] == 0
    assert [each.name for each in peer.chain.state.rules.peers] == ["a", "b", "c", "d", "e"]
    assert main(["peer", "rules", "--url", peer.url]) == 0
    assert "e (" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["approve", "--index", "0", "--key", "KEY"], 64, "usage"),  # what was not looked at is not signed
        (["approve", "--index", "0", "--statement", "00" * 32, "--key", "KEY"], 64, "usage"),
        (["approve", "--index", "1"], 2, "malformed"),  # no administrator's statement
        (["approve", "--index", "9"], 2, "not-found"),
        (["admit", "--remove", "00" * 32], 2, "bad-change"),
        (["admit", "--add", "NEW", "--from-index", "-1"], 64, "usage"),
        (["admit", "--add", "NEW", "--key", "STRANGER"], 2, "bad-request"),
        (["members"], 2, "malformed"),  # neither adds nor removes
        (["members", "--remove", "x"], 2, "bad-change"),
        (["members", "--remove", "a", "--remove", "b"], 2, "bad-change"),
        (["admit", "--add", "missing.toml"], 2, None),
    ],
)
def test_mistakes_are_told_before_anything_is_signed(
    peer: OnePeer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    reason: str | None,
) -> None:
    admit = ["admit", "--url", peer.url, "--add", new_block(tmp_path), "--key", key_file(tmp_path, 0)]
    assert run(capsys, *admit)[0] == 0
    peer.chain.run(tx_of(signed_entry(1)))
    names = {
        "KEY": key_file(tmp_path, 1),
        "NEW": new_block(tmp_path),
        "STRANGER": key_file(tmp_path, 9, STRANGER),
    }
    found, told = run(
        capsys, arguments[0], "--url", peer.url, *(names.get(each, each) for each in arguments[1:])
    )
    assert found == code, told
    if reason is not None:
        assert told["reason"] == reason, told
    assert peer.chain.state.size == 2


def test_a_log_without_administrators_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = OnePeer(Chain(state()))
    try:
        assert main(["peer", "rules", "--url", made.url]) == 0
        assert "nobody: it has no administrators" in capsys.readouterr().out
        code, told = run(capsys, "admit", "--url", made.url, "--add", new_block(tmp_path))
        assert (code, told["reason"]) == (2, "bad-request")
    finally:
        made.stop()


def test_a_key_that_others_can_read_is_not_used(
    peer: OnePeer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = Path(key_file(tmp_path, 0))
    key.chmod(0o644)
    admit = ["admit", "--url", peer.url, "--add", new_block(tmp_path), "--key", str(key)]
    assert run(capsys, *admit)[0] == 2
    assert peer.chain.state.size == 0
