"""`touchplate log witness` as an operator meets it, and the same witness mounted in a node."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.api.support import write_node
from tests.log.cosigning.support import cosigned_log, eventually, published, read_policy
from tests.log.support import record_envelope
from tests.log.witness.support import COSIGNER, PQ_COSIGNER, SomeLog
from tests.node.test_serve import Process
from tests.simkeys import log_signer, verifier_key

from touchplate.base.errors import ConfigError
from touchplate.node.config import load_config
from touchplate.node.witness_alone import load_witness_config
from touchplate.verify.cli import main
from touchplate.verify.notes import open_note

LOG = SomeLog()
FORK = SomeLog(branch="other ")


class WitnessProcess(Process):
    """`touchplate log witness`."""

    command = ("log", "witness")


def write_keys(folder: Path) -> None:
    for name, signer in (("witness", COSIGNER), ("witness-pq", PQ_COSIGNER)):
        path = folder / f"{name}.key"
        path.touch(0o600)
        path.write_text(signer.format() + "\n")


TABLE = """
[witness]
keys = ["file:witness.key", "file:witness-pq.key"]
"""


def table_of(*logs: SomeLog | str) -> str:
    keys = [log if isinstance(log, str) else log.listed.keys[0] for log in logs]
    return TABLE + "".join(f'[[witness.log]]\nkeys = ["{key}"]\n' for key in keys)


def write_witness(folder: Path, *logs: SomeLog | str) -> Path:
    write_keys(folder)
    path = folder / "witness.toml"
    path.write_text('data = "data"\n[http]\nlisten = "127.0.0.1:0"\n' + table_of(*logs))
    return path


@pytest.fixture
def process(tmp_path: Path) -> Iterator[WitnessProcess]:
    made = WitnessProcess(write_witness(tmp_path, LOG, verifier_key(log_signer())))
    yield made
    made.close()


def test_cosigns_over_http_and_remembers_after_a_kill(process: WitnessProcess, tmp_path: Path) -> None:
    url = process.url()
    status, lines = process.request(url, "/add-checkpoint", "POST", LOG.request(0, 5))
    assert status == 200
    opened = open_note(LOG.note(5) + lines, [LOG.signer.key, COSIGNER.key, PQ_COSIGNER.key])
    assert len(opened.signatures) == 3
    process.child.kill()
    process.child.wait()
    again = WitnessProcess(tmp_path / "witness.toml")
    try:
        url = again.url()
        assert again.request(url, "/add-checkpoint", "POST", FORK.request(0, 5)) == (409, b"5\n")
        assert again.request(url, "/add-checkpoint", "POST", FORK.request(5, 9))[0] == 422
        assert again.request(url, "/add-checkpoint", "POST", LOG.request(5, 9))[0] == 200
        assert again.request(url, "/")[0] == 404
        assert again.stop() == 0
        assert not [line for line in again.lines if "Traceback" in line]
    finally:
        again.close()


def test_our_log_is_published_by_our_witness(process: WitnessProcess, tmp_path: Path) -> None:
    """Both ends as they run: the log's client against the witness's own server."""
    url = process.url()
    keys = (verifier_key(COSIGNER), verifier_key(PQ_COSIGNER))
    lines = "".join(f"witness w{number} {key} {url}\n" for number, key in enumerate(keys))
    text = f"log {verifier_key(log_signer())}\n{lines}group w any w0 w1\nquorum w\n"
    with cosigned_log(tmp_path / "log", text) as service:
        for count in (1, 20):
            size = service.reader.size()
            service.append([record_envelope(number) for number in range(size, size + count)])
            eventually(
                lambda size=size + count: (
                    (head := published(service, read_policy(text))) is not None  # type: ignore[misc]
                    and head.size == size
                )
            )
        head = published(service, read_policy(text))
        assert head is not None
        assert [name for name, _ in head.cosigners] == ["w0", "w1"]
    assert process.stop() == 0


def test_a_second_process_on_the_same_memory_is_refused(process: WitnessProcess, tmp_path: Path) -> None:
    process.url()
    second = WitnessProcess(tmp_path / "witness.toml")
    try:
        assert second.child.wait(60) == 2
        second._reader.join()
        assert "locked by another process" in "".join(second.lines)
    finally:
        second.close()


def test_the_check_prints_who_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_witness(tmp_path, LOG)
    assert main(["log", "witness", "--config", str(config), "--check"]) == 0
    assert capsys.readouterr().out.split() == [verifier_key(COSIGNER), verifier_key(PQ_COSIGNER)]
    assert main(["log", "witness", "--config", str(config), "--check", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"keys": [verifier_key(COSIGNER), verifier_key(PQ_COSIGNER)], "logs": [LOG.origin]}
    assert not (tmp_path / "data").exists()


def test_every_mistake_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_witness(tmp_path, verifier_key(COSIGNER), "nonsense")
    assert main(["log", "witness", "--config", str(config), "--check"]) == 2
    error = capsys.readouterr().err
    assert "witness.log[0]" in error
    assert "witness.log[1]" in error
    with pytest.raises(ConfigError):
        load_witness_config(config)


def test_a_node_mounts_a_witness_and_witnesses_others_only(tmp_path: Path) -> None:
    path = write_node(tmp_path, "http://127.0.0.1:1/repository")
    write_keys(path.parent)
    text = path.read_text()
    own = load_config(path).log
    path.write_text(text + table_of(verifier_key(log_signer()).replace("log.example.org", own.origin)))
    with pytest.raises(ConfigError, match=r"ID|own log|id"):
        load_config(path)
    path.write_text(text + table_of(LOG))
    node = Process(path)
    try:
        url = node.url()
        assert node.request(url, "/witness/add-checkpoint", "POST", LOG.request(0, 5))[0] == 200
        assert node.request(url, "/witness/add-checkpoint", "POST", FORK.request(5, 7))[0] == 422
        assert node.request(url, "/log/checkpoint")[0] == 200
        assert node.stop() == 0, node.lines
    finally:
        node.close()
