"""`touchplate log serve` with a raw tree: the shipped configuration, a thousand slow clients, kill -9."""

import asyncio
import json
import re
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.log.raw.support import KEY, RAW_ORIGIN, TOKEN, policy, write_key, write_token
from tests.log.support import write_settings
from tests.node.test_log_serve import LogProcess

from touchplate.node.log_node import load_log_config
from touchplate.verify.checkpoints import open_checkpoint
from touchplate.verify.cli import main

EXAMPLE = Path(__file__).resolve().parents[3] / "deploy" / "examples" / "raw.toml"
AT = f"/log/raw/{RAW_ORIGIN}"
SLOW_CLIENTS = 1_000
FILES = 4_096
"""Open files that this process and the server need for so many connections."""


def write_config(folder: Path) -> Path:
    """The shipped configuration, with keys, on a free port; its tree is made."""
    write_settings(folder)
    write_key(folder)
    write_token(folder)
    config = folder / "raw.toml"
    text = EXAMPLE.read_text().replace("keys/log.key", "log.key")
    text = text.replace("keys/raw.key", f"{RAW_ORIGIN}.key").replace("keys/raw.token", "raw.token")
    config.write_text(text.replace("\n[log]\n", '\n[http]\nlisten = "127.0.0.1:0"\n\n[log]\n', 1))
    return config


def made(config: Path, capsys: pytest.CaptureFixture[str]) -> int:
    """A tree made on the command line, put into the configuration."""
    assert main(["log", "tree", "create", "--config", str(config), "--name", "first"]) == 0
    tree = int(capsys.readouterr().out)
    config.write_text(re.sub(r"^tree = .*$", f"tree = {tree}", config.read_text(), flags=re.MULTILINE))
    return tree


@contextmanager
def serving(config: Path) -> Iterator[LogProcess]:
    process = LogProcess(config)
    try:
        yield process
    finally:
        process.close()


async def add(url: str, leaf: bytes) -> tuple[int, bytes]:
    """One request on a connection of its own."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(request(len(leaf)) + leaf)
        answer = await reader.read()
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def request(length: int) -> bytes:
    lines = [
        f"POST {AT}/add HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {TOKEN}",
        f"Content-Length: {length}",
        "Connection: close",
        "",
        "",
    ]
    return "\r\n".join(lines).encode()


def test_the_shipped_configuration_is_understood() -> None:
    (raw,) = load_log_config(EXAMPLE).log.raw
    assert (raw.origin, raw.write, len(raw.tokens)) == (RAW_ORIGIN, "tokens", 1)
    assert f"/log/raw/{raw.origin}" in EXAMPLE.read_text()


def test_from_nothing_to_a_served_tree_and_its_recomputation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path)
    tree = made(config, capsys)
    with serving(config) as process:
        url = process.url()
        assert asyncio.run(add(url, b"leaf")) == (200, b"0")
        assert process.request(url, f"{AT}/add", "POST", b"leaf")[0] == 401
        note = process.request(url, f"{AT}/checkpoint")[1]
        assert open_checkpoint(note, policy()).size == 1
        served = ["log", "fsck", "--url", url + AT, "--raw", "--policy", str(write_policy(tmp_path))]
        assert main(served) == 0
        assert "1 entries" in capsys.readouterr().out
        assert process.stop() == 0
        assert not [line for line in process.lines if "Traceback" in line]
    # The database by either name, with the tree's own key.
    for name in (RAW_ORIGIN, f"trillian/{tree}"):
        assert main(["log", "fsck", "--config", str(config), "--origin", name, "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert (report["size"], report["clean"], report["checkpointVerified"]) == ("1", True, True)
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / f"{RAW_ORIGIN}.key").write_text((tmp_path / "log.key").read_text())
    assert main(["log", "fsck", "--config", str(config), "--origin", RAW_ORIGIN]) == 1
    assert "checkpoint cannot be opened" in capsys.readouterr().out


def write_policy(folder: Path) -> Path:
    path = folder / "policy.txt"
    path.write_text(f"log {KEY}\nquorum none\n")
    return path


def test_trees_are_made_listed_frozen_and_deleted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(write_config(tmp_path))
    tree = made(Path(config), capsys)
    command = ["log", "tree"]
    assert main([*command, "list", "--config", config]) == 0
    assert capsys.readouterr().out == f"{tree} 0 leaves, active first\n"
    for action, state in (("freeze", "frozen"), ("delete", "deleted")):
        assert main([*command, action, str(tree), "--config", config, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["state"] == state
    assert main([*command, "delete", str(tree), "--config", config]) == 2
    assert "is deleted already" in capsys.readouterr().err
    assert main([*command, "freeze", str(tree), "--config", config]) == 2
    for action in ("delete", "freeze"):
        assert main([*command, action, str(tree), "--undo", "--config", config]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{tree} 0 leaves, active first"
    assert main([*command, "freeze", "5", "--config", config]) == 2
    assert "there is no tree 5" in capsys.readouterr().err
    assert main([*command, "create", "--config", config, "--name", "x" * 21]) == 2
    assert "at most 20" in capsys.readouterr().err


def test_a_thousand_slow_clients_do_not_keep_others_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path)
    made(config, capsys)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))  # the server inherits it

    async def main_(url: str) -> list[tuple[int, bytes]]:
        address = urlsplit(url)
        slow = []
        for _ in range(SLOW_CLIENTS):
            _, writer = await asyncio.open_connection(address.hostname, address.port)
            writer.write(request(60_000) + b"begun")
            slow.append(writer)
        try:
            return [await add(url, b"leaf %d" % number) for number in range(20)]
        finally:
            for writer in slow:
                writer.close()

    try:
        with serving(config) as process:
            answers = asyncio.run(main_(process.url()))
            assert answers == [(200, b"%d" % number) for number in range(20)]
            assert process.stop() == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_was_answered_before_kill_9_is_there_at_its_index(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path)
    made(config, capsys)
    answered: dict[bytes, int] = {}

    async def write(url: str, writer: int, process: LogProcess) -> None:
        for number in range(10_000):
            leaf = b"%d %d" % (writer, len(answered) * 16 + number)
            try:
                status, body = await add(url, leaf)
            except (OSError, IndexError):
                return  # it is dead
            if status == 200:
                answered[leaf] = int(body)
            if len(answered) == 200:
                process.child.send_signal(signal.SIGKILL)

    async def all_writers(url: str, process: LogProcess) -> None:
        await asyncio.gather(*(write(url, writer, process) for writer in range(8)))

    with serving(config) as process:
        asyncio.run(all_writers(process.url(), process))
    assert len(answered) >= 200
    assert main(["log", "fsck", "--config", str(config), "--origin", RAW_ORIGIN]) == 0
    with serving(config) as process:
        url = process.url()
        for leaf, index in answered.items():
            assert asyncio.run(add(url, leaf)) == (200, b"%d" % index)
        size = open_checkpoint(process.request(url, f"{AT}/checkpoint")[1], policy()).size
        assert size > max(answered.values())
        assert process.stop() == 0
