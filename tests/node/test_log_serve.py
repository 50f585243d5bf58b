"""Real processes: frontends of one log on PostgreSQL, started, killed, recomputed."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.api.support import Upstream, running_upstream, write_node
from tests.log.frontends.support import until
from tests.log.support import record_envelope, write_settings
from tests.node.test_serve import Process
from tests.postgres import PASSWORD, Server
from tests.simkeys import ORIGIN
from tests.verify.cases import provenance

from touchplate.verify.cli import main


def write_frontend(folder: Path, storage: str, password: str = PASSWORD) -> Path:
    """The configuration of one frontend, with its keys."""
    write_settings(folder)
    secret = folder / "database.password"
    secret.write_text(password)
    secret.chmod(0o600)
    config = folder / "frontend.toml"
    config.write_text(
        f"""
data = "data"
[http]
listen = "127.0.0.1:0"
[log]
origin = "{ORIGIN}"
key = "file:log.key"
admission = "admission.toml"
storage = "{storage}"
storage_password = "file:database.password"
"""
    )
    return config


class LogProcess(Process):
    """`touchplate log serve`."""

    command = ("log", "serve")


def test_frontends_share_a_log_and_one_survives_the_other(
    tmp_path: Path, database: str, postgres: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = postgres.remote_url(postgres.name_of(database))
    configs = [write_frontend(tmp_path / name, storage) for name in "ab"]
    with ExitStack() as stack:
        processes = []
        for config in configs:
            processes.append(LogProcess(config))
            stack.callback(processes[-1].close)
        urls = [process.url() for process in processes]
        for number in range(6):
            answer = processes[number % 2].request(
                urls[number % 2], "/log/add", "POST", record_envelope(number)
            )
            assert answer == (200, str(number).encode())
        until(
            lambda: all(
                b"\n6\n" in process.request(url, "/log/checkpoint")[1]
                for process, url in zip(processes, urls, strict=True)
            )
        )
        processes[0].child.send_signal(signal.SIGKILL)
        until(lambda: processes[1].request(urls[1], "/log/add", "POST", record_envelope(6)) == (200, b"6"))
        assert processes[1].stop() == 0
        assert not [line for line in processes[1].lines if "Traceback" in line]
    assert main(["log", "fsck", "--config", str(configs[0]), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["size"], report["clean"], report["checkpointVerified"]) == ("7", True, True)
    postgres.sql("UPDATE leaves SET leaf_data = 'x' WHERE leaf_index = 3", postgres.name_of(database))
    assert main(["log", "fsck", "--config", str(configs[0])]) == 1
    assert "leaf 3" in capsys.readouterr().out


def test_a_database_that_cannot_be_used_is_one_line(tmp_path: Path, postgres: Server) -> None:
    for storage, password, complaint in (
        (postgres.remote_url("postgres"), "wrong-hush", "password authentication failed"),
        (postgres.remote_url("nothing"), PASSWORD, 'database "nothing" does not exist'),
        ("postgresql+psycopg://postgres@127.0.0.1:1/log", PASSWORD, "Connection refused"),
    ):
        config = write_frontend(tmp_path, storage, password)
        command = [sys.executable, "-m", "touchplate.verify", "log", "serve", "--config", str(config)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        *_, line = done.stderr.splitlines()
        assert line.startswith("touchplate: cannot open the database postgresql+psycopg://postgres:***@127")
        assert complaint in line
        assert "Traceback" not in done.stderr
        assert password not in done.stderr + done.stdout


@pytest.mark.parametrize("setting", ["fsync = off", "default_transaction_read_only = on"])
def test_refuses_a_server_that_would_lose_or_not_take_entries(tmp_path: Path, setting: str) -> None:
    server = Server()
    try:
        with (server.folder / "data" / "postgresql.conf").open("a") as file:
            file.write(f"\n{setting}\n")
        server.start()
        config = write_frontend(tmp_path, server.url("postgres"))
        command = [sys.executable, "-m", "touchplate.verify", "log", "serve", "--config", str(config)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        server.close()
    assert done.returncode == 2
    assert ("would lose" if "fsync" in setting else "only reads") in done.stderr


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running_upstream() as made:
        yield made


def test_a_whole_node_keeps_its_log_on_postgresql(
    tmp_path: Path, database: str, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_node(tmp_path, upstream.url)
    config.write_text(config.read_text().replace("[log]\n", f'[log]\nstorage = "{database}"\n', 1))
    upstream.put("org/example/tool/2.0/tool-2.0.jar", b"jar")
    for _ in range(2):  # and again, with what the first one left
        process = Process(config)
        try:
            url = process.url()
            assert process.request(url, "/maven/central/org/example/tool/2.0/tool-2.0.jar") == (200, b"jar")
            assert process.request(url, "/log/add", "POST", provenance().envelope)[0] == 200
            assert process.stop() == 0
        finally:
            process.close()
    assert main(["log", "fsck", "--config", str(config)]) == 0
    assert "2 entries" in capsys.readouterr().out
    assert not (tmp_path / "data" / "log" / "log.sqlite").exists()
