"""A log exported into a real S3 server, read over plain HTTP by our readers and by Tessera's checker."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conformance.go_programs import built, program
from tests.conformance.made_logs import KEY
from tests.conformance.readers import ask_fsck
from tests.conformance.versitygw_build import build_versitygw
from tests.log.buckets import PREFIX, config_for, export_to, look_at
from tests.log.exports import ENTRIES, fill, sqlite_log
from tests.log.mirrors import wrong_with
from tests.log.operated import Operated
from tests.log.trillian.certificates import Authority
from tests.s3 import S3Server
from tests.simkeys import solo_policy

from touchplate.base.errors import StorageError
from touchplate.base.sql import sqlite_engine
from touchplate.log.bucket.bucket import Bucket
from touchplate.log.bucket.config import BucketConfig
from touchplate.log.errors import CheckpointError
from touchplate.verify.cli import main
from touchplate.verify.policy import format_policy

pytestmark = [pytest.mark.slow, pytest.mark.long]

KILLS = 12


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    found = S3Server(built(build_versitygw, "an S3 server (versitygw)"))
    try:
        found.start()
        yield found
    finally:
        found.close()


@pytest.fixture
def bucket(server: S3Server, tmp_path: Path) -> tuple[BucketConfig, str]:
    """The configuration of a new bucket, and the URL of the log in it."""
    name = f"bucket{len(list((server.folder / 'buckets').iterdir()))}"
    url = server.make_bucket(name)
    return config_for(server.url, tmp_path / "keys", bucket=name), f"{url}/{PREFIX}"


Place = tuple[BucketConfig, str]


def test_readers_mirrors_and_tesseras_checker_accept_it(bucket: Place, tmp_path: Path) -> None:
    config, url = bucket
    for size, start in ((1, 0), (250, 1), (256, 250), (520, 256)):
        export_to(config, sqlite_engine(sqlite_log(tmp_path, size, start)))
        assert look_at(url) == (size, [])
        words = ask_fsck(program("fsck"), url, KEY, tmp_path)
        assert words.verdict.startswith(f"Successfully fsck'd log with size {size} and root"), words.text
    (tmp_path / "policy.txt").write_text(format_policy(solo_policy()))
    policy = ["--policy", str(tmp_path / "policy.txt")]
    assert main(["log", "fsck", "--url", url, *policy]) == 0
    state = ["--state", str(tmp_path / "state")]
    mirror = tmp_path / "mirror"
    assert main(["log", "follow", "--url", url, *policy, *state, "--to", str(mirror), "--once"]) == 0
    assert wrong_with(mirror, solo_policy()) == []


def test_only_what_is_needed_is_there_with_the_headers_of_its_kind(
    server: S3Server, bucket: Place, tmp_path: Path
) -> None:
    config, url = bucket
    for size, start in ((250, 0), (520, 250)):
        export_to(config, sqlite_engine(sqlite_log(tmp_path, size, start)))
    names = {name.removeprefix(f"{PREFIX}/") for name in server.names(config.bucket)}
    assert names == {"checkpoint", "tile/1/000.p/2"} | {
        f"tile/{kind}/{rest}" for kind in ("0", "entries", "envelopes") for rest in ("000", "001", "002.p/8")
    }
    for name, kind, keeping in (
        ("checkpoint", "text/plain; charset=utf-8", "no-cache"),
        ("tile/entries/000", "application/octet-stream", "public, max-age=31536000, immutable"),
        ("tile/0/002.p/8", "application/octet-stream", "public, max-age=3600"),
    ):
        with urllib.request.urlopen(f"{url}/{name}") as answer:
            assert (answer.headers["Content-Type"], answer.headers["Cache-Control"]) == (kind, keeping)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{url}/tile/0/000.p/250")


def test_exporters_that_race_never_lead_a_reader_back(bucket: Place, tmp_path: Path) -> None:
    config, url = bucket
    sizes = [*range(20, 500, 40), 520]
    databases = {size: sqlite_log(tmp_path / str(size), size) for size in sizes}
    failed: list[Exception] = []
    seen: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            try:
                with urllib.request.urlopen(f"{url}/checkpoint") as answer:
                    seen.append(int(answer.read().splitlines()[1]))
            except urllib.error.HTTPError:
                done.wait(0.005)

    def run(mine: list[int]) -> None:
        for size in mine:
            try:
                export_to(config, sqlite_engine(databases[size]))
            except (StorageError, CheckpointError) as error:
                failed.append(error)

    watcher = threading.Thread(target=watch)
    threads = [threading.Thread(target=run, args=(sizes[number::3],)) for number in range(3)]
    for thread in (watcher, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    export_to(config, sqlite_engine(databases[520]))
    done.set()
    watcher.join()
    assert {getattr(error, "reason", "") for error in failed} <= {"overtaken", "checkpoint"}, failed
    assert seen == sorted(seen)
    assert len(set(seen)) >= 2
    assert look_at(url) == (520, [])


def test_an_exporter_killed_at_any_moment_leaves_a_whole_log(
    server: S3Server, bucket: Place, tmp_path: Path
) -> None:
    config, url = bucket
    log = Operated(tmp_path)
    fill(sqlite_engine(_made(log.database)), ENTRIES[:1])
    _configure(log, config)
    assert log.run("export", "--bucket") == 0
    sizes = [1]
    step = (len(ENTRIES) - 1) // KILLS
    for kill in range(KILLS):
        fill(sqlite_engine(log.database), ENTRIES[1 + kill * step : 1 + (kill + 1) * step])
        command = [sys.executable, "-m", "touchplate.verify", "log", "export", "--bucket"]
        with subprocess.Popen(
            [*command, "--config", str(log.config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            _wait_for_changes(server, config.bucket, 1 + kill % 5, process)
            process.kill()
        size, wrong = look_at(url)
        assert wrong == []
        sizes.append(size)
    assert sizes == sorted(sizes)
    assert log.run("export", "--bucket") == 0
    assert look_at(url) == (1 + KILLS * step, [])


def _made(database: Path) -> Path:
    database.parent.mkdir(parents=True, exist_ok=True)
    return database


def _wait_for_changes(server: S3Server, bucket: str, changes: int, process: subprocess.Popen[bytes]) -> None:
    """Until the exporter has made or removed so many objects, or has ended."""
    before = server.names(bucket)
    while len(server.names(bucket) ^ before) < changes and process.poll() is None:
        threading.Event().wait(0.001)


def _configure(log: Operated, config: BucketConfig) -> None:
    log.write(
        more=f'[log.bucket]\nendpoint = "{config.endpoint}"\nbucket = "{config.bucket}"\n'
        f'prefix = "{PREFIX}"\naccess_key = "file:keys/access.key"\nsecret_key = "file:keys/secret.key"\n'
    )


def test_a_server_that_was_gone_is_written_to_when_it_is_back(
    server: S3Server, bucket: Place, tmp_path: Path
) -> None:
    config, url = bucket
    export_to(config, sqlite_engine(sqlite_log(tmp_path, 250)))
    database = sqlite_log(tmp_path, 520, 250)
    server.stop()
    try:
        with pytest.raises(StorageError) as caught:
            export_to(config, sqlite_engine(database))
        assert caught.value.reason == "store-unreachable"
    finally:
        server.start()
    assert look_at(url) == (250, [])
    assert not export_to(config, sqlite_engine(database)).healed
    assert look_at(url) == (520, [])


def test_says_what_the_server_refuses_and_nothing_else(bucket: Place, tmp_path: Path) -> None:
    config, _ = bucket
    (tmp_path / "keys" / "secret.key").write_text("not-the-secret")
    with pytest.raises(StorageError) as caught:
        Bucket(config, solo_policy()).refresh()
    assert caught.value.reason == "store-refused"
    assert str(caught.value).endswith(": 403 SignatureDoesNotMatch")
    config_for(config.endpoint, tmp_path / "keys")
    with pytest.raises(StorageError, match="404 NoSuchBucket"):
        Bucket(replace(config, bucket="not-there"), solo_policy()).refresh()


def test_a_private_authority_is_taken_from_the_environment_and_else_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ours")
    versitygw = built(build_versitygw, "an S3 server (versitygw)")
    server = S3Server(versitygw, authority.issue("server"))
    try:
        server.start()
        (server.folder / "buckets" / "private").mkdir()
        log = Operated(tmp_path)
        config = config_for(server.url, tmp_path / "keys", bucket="private")
        log.append(0, 3)
        _configure(log, config)
        command = [sys.executable, "-m", "touchplate.verify", "log", "export", "--bucket"]
        command += ["--config", str(log.config)]
        refused = subprocess.run(command, capture_output=True, text=True, check=False)
        assert refused.returncode == 2
        assert "its certificate is not accepted (UnknownIssuer)" in refused.stderr
        variables = {**os.environ, "SSL_CERT_FILE": str(authority.path)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables)
        assert done.returncode == 0, done.stderr
        assert f"{PREFIX}/checkpoint" in server.names("private")
    finally:
        server.close()
