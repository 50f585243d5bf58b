"""The example of the stubs runs, and the shipped configuration starts a log that answers it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.log.support import record_envelope, write_settings
from tests.log.trillian.support import connected, running
from tests.node.test_log_serve import LogProcess

import touchplate.proto.trillian as stubs
from touchplate.base.config import load
from touchplate.log.trillian.roots import parse_log_root
from touchplate.node.log_node import LogNodeConfig, load_log_config
from touchplate.verify.cli import main

README = Path(__file__).resolve().parents[3] / "proto" / "README.md"
STORE_EXAMPLE = Path(__file__).resolve().parents[3] / "deploy" / "examples" / "trillian-store.toml"
EXAMPLE = Path(__file__).resolve().parents[3] / "deploy" / "examples" / "trillian.toml"


def example() -> str:
    """The code in the docstring of the stubs."""
    (found,) = re.findall(r"\n\n((?:    .*\n|\n)+)", stubs.__doc__ or "")
    return re.sub(r"^    ", "", found, flags=re.MULTILINE).strip() + "\n"


def run_example(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    code = example()
    assert "127.0.0.1:8090" in code
    capsys.readouterr()
    exec(code.replace("127.0.0.1:8090", f"127.0.0.1:{port}"), {})
    status, extra, root = capsys.readouterr().out.split()
    assert (status, extra) == ("0", "what-is-kept-beside-it")
    assert parse_log_root(bytes.fromhex(root)).size == 1


def test_the_readme_shows_the_same_example_in_some_fifteen_lines() -> None:
    assert f"```python\n{example()}```" in README.read_text()
    assert len(example().splitlines()) <= 17


def test_the_example_of_the_stubs_writes_a_leaf(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running(tmp_path) as service, connected(service):
        assert service.trillian is not None
        run_example(service.trillian.address[1], capsys)


def test_the_shipped_configuration_is_understood() -> None:
    config = load_log_config(EXAMPLE)
    assert config.log.trillian is not None
    assert config.log.trillian.address == ("127.0.0.1", 8090)
    text = re.sub(
        r"^# ((?:tls_|client_ca|\[\[|user|secret|may).*)$", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE
    )
    everything = load(LogNodeConfig, text, where=EXAMPLE)
    assert everything.log.trillian is not None
    assert [token.may for token in everything.log.trillian.tokens] == ["write"]
    assert everything.log.trillian.client_ca is not None


def test_touchplate_log_serve_answers_trillians_clients(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_settings(tmp_path)
    config = tmp_path / "trillian.toml"
    text = EXAMPLE.read_text().replace("keys/log.key", "log.key")
    text = re.sub(r'^(listen|metrics) = ".*"$', r'\1 = "127.0.0.1:0"', text, flags=re.MULTILINE)
    config.write_text(text.replace("\n[log]\n", '\n[http]\nlisten = "127.0.0.1:0"\n\n[log]\n', 1))
    process = LogProcess(config)
    try:
        process.url()
        (port,) = (
            int(found[1])
            for line in process.lines
            if (found := re.search(r"Trillian's interface listens on 127\.0\.0\.1:(\d+)", line))
        )
        run_example(port, capsys)
        assert process.stop() == 0
        assert not [line for line in process.lines if "Traceback" in line]
    finally:
        process.close()
    assert main(["log", "fsck", "--config", str(config)]) == 0


@pytest.fixture
def trillian_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("trillian")) as service, connected(service) as client:
        yield client.address


def test_the_shipped_configuration_of_a_log_in_a_trillian_starts_one(
    tmp_path: Path, trillian_address: str
) -> None:
    text = STORE_EXAMPLE.read_text()
    shown = re.sub(r"^# ((?:tls_|token).*)$", r"\1", text, flags=re.MULTILINE)
    everything = load(LogNodeConfig, shown, where=STORE_EXAMPLE).log.trillian_store
    assert everything is not None
    assert None not in (everything.tls_ca, everything.tls_cert, everything.tls_key, everything.token)
    write_settings(tmp_path)
    config = tmp_path / "trillian-store.toml"
    text = text.replace("keys/log.key", "log.key").replace("127.0.0.1:8350", "127.0.0.1:0")
    config.write_text(text.replace("127.0.0.1:8090", trillian_address))
    process = LogProcess(config)
    try:
        assert process.request(process.url(), "/log/add", "POST", record_envelope(0)) == (200, b"0")
        assert process.stop() == 0
    finally:
        process.close()
    assert main(["log", "fsck", "--config", str(config)]) == 0
