"""A log in a bucket: what readers find there, and that nothing leads it back. `tests/conformance` asks a real
server."""

import itertools
import logging
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.log.buckets import ACCESS, PREFIX, SECRET, config_for, export_to, look_at, partials_in
from tests.log.exports import fill, sqlite_log
from tests.log.operated import Operated
from tests.log.support import record_envelope, signed_entries
from tests.s3_double import BUCKET, Store, listening
from tests.simkeys import ORIGIN, log_signer, solo_policy

from touchplate.base.config import Secret, load
from touchplate.base.errors import ConfigError, StorageError
from touchplate.base.sql import sqlite_engine
from touchplate.base.values import Duration
from touchplate.log.bucket.bucket import Bucket
from touchplate.log.bucket.config import BucketConfig
from touchplate.log.errors import CheckpointError
from touchplate.log.export import Exporter
from touchplate.log.storage.rows import TreeRows
from touchplate.verify.cli import main
from touchplate.verify.errors import TrustError
from touchplate.verify.policy import format_policy

OLD, NEW = 250, 520
"""From one partial bundle to two full ones and a third that is partial: partials come, grow and go."""


@contextmanager
def in_store(folder: Path, store: Store | None = None) -> Iterator[tuple[Store, BucketConfig, str]]:
    """A store that listens, a configuration for it, and the URL of the log in it."""
    store = store or Store()
    with listening(store) as url:
        yield store, config_for(url, folder / "keys"), f"{url}/{BUCKET}/{PREFIX}"


def test_readers_accept_it_over_plain_http(tmp_path: Path) -> None:
    with in_store(tmp_path) as (store, config, url):
        for size, start in ((1, 0), (OLD, 1), (256, OLD), (NEW, 256)):
            assert export_to(config, sqlite_engine(sqlite_log(tmp_path, size, start))).complete
            assert look_at(url) == (size, [])
            number = size // 256
            unfinished = {f"tile/{kind}/{number:03d}.p" for kind in ("0", "entries", "envelopes")}
            higher = {"tile/1/000.p"} if size >= 256 else set()
            assert partials_in(store) == higher | (unfinished if size % 256 else set())
        assert not [name for name in store.names() if "conditions" in name]


def test_each_object_says_what_it_is_and_how_long_it_may_be_kept(tmp_path: Path) -> None:
    octets = "application/octet-stream"
    expected = {
        "checkpoint": ("text/plain; charset=utf-8", "no-cache"),
        "tile/0/000": (octets, "public, max-age=31536000, immutable"),
        "tile/entries/001": (octets, "public, max-age=31536000, immutable"),
        "tile/envelopes/001": (octets, "public, max-age=31536000, immutable"),
        "tile/0/002.p/8": (octets, "public, max-age=3600"),
        "tile/envelopes/002.p/8": (octets, "public, max-age=3600"),
    }
    with in_store(tmp_path) as (_, config, url):
        export_to(config, sqlite_engine(sqlite_log(tmp_path, NEW)))
        for name, told in expected.items():
            with urllib.request.urlopen(f"{url}/{name}") as answer:
                assert (answer.headers["Content-Type"], answer.headers["Cache-Control"]) == told


def test_every_object_is_confirmed_before_the_checkpoint_is_sent(tmp_path: Path) -> None:
    with in_store(tmp_path) as (store, config, _):
        export_to(config, sqlite_engine(sqlite_log(tmp_path, NEW)))
        at = store.steps.index(f"begin PUT {BUCKET}/{PREFIX}/checkpoint")
        before = {step.removeprefix("end PUT ") for step in store.steps[:at] if step.startswith("end PUT")}
        assert store.names() - before == {f"{BUCKET}/{PREFIX}/checkpoint"}
        assert not [step for step in store.steps[at:] if step.startswith("begin PUT") and "tile" in step]


@pytest.mark.parametrize("effect", ["before", "after"])
def test_an_exporter_that_dies_at_any_request_leaves_a_whole_log_and_is_gone_on_with(
    effect: str, tmp_path: Path
) -> None:
    """From the n-th change on nothing of this process reaches the store: as if it had been killed there."""
    database = sqlite_log(tmp_path, OLD)
    begin = Store()
    with in_store(tmp_path, begin) as (_, config, _):
        export_to(config, sqlite_engine(database))
    sqlite_log(tmp_path, NEW, OLD)
    undisturbed = Store(dict(begin.objects))
    with in_store(tmp_path, undisturbed) as (_, config, _):
        export_to(config, sqlite_engine(database))
    sizes: list[int] = []
    for last in itertools.count():
        store = Store(dict(begin.objects))
        with in_store(tmp_path, store) as (_, config, url):
            died = not _export_until(store, config, database, last, effect)
            store.fails_before = store.fails_after = lambda *_: False
            size, wrong = look_at(url)
            assert wrong == [], last
            sizes.append(size)
            # As the next start does.
            assert not export_to(config, sqlite_engine(database)).healed
            assert _logs(store) == _logs(undisturbed), last
        if not died:
            break
    assert len(sizes) > 15
    assert sizes == sorted(sizes)
    assert set(sizes) == {OLD, NEW}


def _export_until(store: Store, config: BucketConfig, database: Path, last: int, effect: str) -> bool:
    changes = itertools.count()
    dead = threading.Event()

    def dies(method: str, _: str) -> bool:
        if method in ("PUT", "DELETE") and next(changes) >= last:
            dead.set()
        return dead.is_set()

    if effect == "before":
        store.fails_before = dies
    else:  # the one that is under way takes effect, and nothing after it
        store.fails_before, store.fails_after = (lambda *_: dead.is_set()), dies
    try:
        export_to(config, sqlite_engine(database))
    except StorageError:
        return False
    return True


def _logs(store: Store) -> dict[str, bytes]:
    """All objects of the log; an exporter that died may have left the one that it tried conditions with."""
    return {name: found.data for name, found in store.objects.items() if "/conditions-" not in name}


def test_a_log_that_did_not_grow_is_read_and_not_written(tmp_path: Path) -> None:
    database = sqlite_log(tmp_path, NEW)
    with in_store(tmp_path) as (store, config, _):
        export_to(config, sqlite_engine(database))
        rows = TreeRows(engine := sqlite_engine(database), ORIGIN)
        exporter = Exporter(Bucket(config, solo_policy()), solo_policy())
        exporter.update(rows)
        store.steps.clear()
        assert exporter.update(rows).complete
        assert store.steps == []
        exporter.close()
        rows.close()
        engine.dispose()


def test_the_lost_answer_of_a_checkpoint_that_was_written_is_no_failure(tmp_path: Path) -> None:
    with in_store(tmp_path) as (store, config, url):
        lost = iter([True])
        store.fails_after = lambda method, name: name.endswith("/checkpoint") and next(lost, False)
        assert export_to(config, sqlite_engine(sqlite_log(tmp_path, 3))).complete
        assert next(lost, None) is None
        assert store.sizes() == [3]
        assert look_at(url) == (3, [])


class _Paused(TreeRows):
    """Rows of a log that say when its head was read, which is after the bucket's was."""

    def __init__(self, database: Path, then: Callable[[], object]) -> None:
        self.opened = sqlite_engine(database)
        super().__init__(self.opened, ORIGIN)
        self._then = then

    def leaves(self, start: int, end: int):  # type: ignore[no-untyped-def]
        self._then()
        return super().leaves(start, end)


def test_of_two_exporters_the_later_is_overtaken_and_nothing_goes_back(tmp_path: Path) -> None:
    old, new = sqlite_log(tmp_path / "old", 300), sqlite_log(tmp_path / "new", NEW)
    with in_store(tmp_path) as (store, config, url):
        export_to(config, sqlite_engine(sqlite_log(tmp_path / "first", OLD)))
        once = iter([None])

        def other() -> None:
            for _ in once:
                export_to(config, sqlite_engine(new))

        rows = _Paused(old, other)
        exporter = Exporter(Bucket(config, solo_policy()), solo_policy())
        with pytest.raises(StorageError) as caught:
            exporter.update(rows)
        assert caught.value.reason == "overtaken"
        # Looked at again, what it has is an older copy.
        with pytest.raises(CheckpointError, match="older copy"):
            exporter.update(rows)
        exporter.close()
        rows.close()
        rows.opened.dispose()
        assert store.sizes() == [OLD, NEW]
        assert look_at(url) == (NEW, [])
        # What the loser wrote in vain goes at the next start.
        export_to(config, sqlite_engine(new))
        assert partials_in(store) == {
            "tile/1/000.p", "tile/0/002.p", "tile/entries/002.p", "tile/envelopes/002.p"
        }  # fmt: skip


def test_exporters_that_race_never_show_a_smaller_log(tmp_path: Path) -> None:
    sizes = [1, 40, 90, 200, 250, 256, 300, 400, 512, NEW]
    databases = {size: sqlite_log(tmp_path / str(size), size) for size in sizes}
    with in_store(tmp_path) as (store, config, url):
        start = threading.Barrier(3)
        failed: list[Exception] = []

        def run(mine: list[int]) -> None:
            start.wait()
            for size in mine:
                try:
                    export_to(config, sqlite_engine(databases[size]))
                except (StorageError, CheckpointError) as error:
                    failed.append(error)

        threads = [threading.Thread(target=run, args=(sizes[number::3],)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        export_to(config, sqlite_engine(databases[NEW]))
        assert {getattr(error, "reason", "") for error in failed} <= {"overtaken", "checkpoint"}, failed
        assert store.sizes() == sorted(store.sizes())
        assert len(store.sizes()) >= 2
        assert look_at(url) == (NEW, [])


def test_refuses_a_bucket_that_is_ahead_of_another_history_or_of_another_log(tmp_path: Path) -> None:
    with in_store(tmp_path) as (store, config, _):
        export_to(config, sqlite_engine(sqlite_log(tmp_path / "new", 300)))
        before = dict(store.objects)
        with pytest.raises(CheckpointError, match="older copy"):
            export_to(config, sqlite_engine(sqlite_log(tmp_path / "old", 299)))
        engine = sqlite_engine(tmp_path / "other.sqlite")
        fill(engine, signed_entries(400, 1))
        with pytest.raises(CheckpointError, match="another history"):
            export_to(config, engine)
        bucket = Bucket(config, solo_policy(log_signer("another")))
        with pytest.raises(TrustError, match="is not of this log"):
            bucket.refresh()
        bucket.close()
        assert store.objects == before


def test_a_store_that_knows_no_conditions_is_refused_and_taken_when_said(tmp_path: Path) -> None:
    with in_store(tmp_path, Store(ignores_conditions=True)) as (store, config, url):
        database = sqlite_log(tmp_path, OLD)
        with pytest.raises(StorageError, match="conditional = false") as caught:
            export_to(config, sqlite_engine(database))
        assert caught.value.reason == "no-conditions"
        assert store.objects == {}
        alone = replace(config, conditional=False)
        export_to(alone, sqlite_engine(database))
        export_to(alone, sqlite_engine(sqlite_log(tmp_path, NEW, OLD)))
        assert look_at(url) == (NEW, [])


def test_a_lost_edge_is_written_again_and_a_lost_checkpoint_stops_it(tmp_path: Path) -> None:
    database = sqlite_log(tmp_path, 300)
    with in_store(tmp_path) as (store, config, url):
        export_to(config, sqlite_engine(database))
        whole = _logs(store)
        del store.objects[f"{BUCKET}/{PREFIX}/tile/0/001.p/44"]
        store.objects[f"{BUCKET}/{PREFIX}/tile/entries/000"].data = b"rotten"
        assert export_to(config, sqlite_engine(database)).healed
        assert _logs(store) == whole
        bucket = Bucket(config, solo_policy())
        bucket.refresh()
        del store.objects[f"{BUCKET}/{PREFIX}/checkpoint"]
        with pytest.raises(StorageError, match="somebody removed it"):
            bucket.refresh()
        bucket.close()
        export_to(config, sqlite_engine(database))
        assert look_at(url) == (300, [])


def test_keys_are_in_no_message_whatever_the_store_says(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with in_store(tmp_path, Store(refuses=True)) as (store, config, _):
        log = _operated(tmp_path, config)
        log.append(0, 3)
        assert log.run("export", "--bucket") == 2
        assert ACCESS in store.seen[-1]["authorization"]
        said = caplog.text + "".join(capsys.readouterr()) + repr(config)
    assert "403 SignatureDoesNotMatch" in said
    assert ACCESS not in said
    assert SECRET not in said


def test_keys_that_others_can_read_are_refused(tmp_path: Path) -> None:
    config = config_for("http://127.0.0.1:1", tmp_path)
    (tmp_path / "secret.key").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        Bucket(config, solo_policy())


def test_keys_are_read_again_and_may_be_missing_meanwhile(tmp_path: Path) -> None:
    with in_store(tmp_path) as (_, config, _):
        bucket = Bucket(config, solo_policy())
        (tmp_path / "keys" / "secret.key").unlink()
        with pytest.raises(StorageError, match="cannot read the secret"):
            bucket.refresh()
        config_for(config.endpoint, tmp_path / "keys")
        bucket.refresh()
        assert bucket.head is None
        bucket.close()


def test_the_environment_leads_no_request_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_BUCKET": "another",
        "AWS_ACCESS_KEY_ID": "another",
        "AWS_SESSION_TOKEN": "another",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
        "AWS_UNSIGNED_PAYLOAD": "true",
        "AWS_REGION": "another",
    }.items():
        monkeypatch.setenv(name, value)
    with in_store(tmp_path) as (store, config, url):
        export_to(config, sqlite_engine(sqlite_log(tmp_path, 3)))
        assert look_at(url) == (3, [])
        sent = [headers for headers in store.seen if "authorization" in headers]
        assert sent
        assert all(f"Credential={ACCESS}/" in headers["authorization"] for headers in sent)
        assert not any("another" in " ".join(headers.values()) for headers in sent)


def test_a_store_that_hangs_is_given_up(tmp_path: Path) -> None:
    with in_store(tmp_path, Store(hang=threading.Event())) as (store, config, _):
        bucket = Bucket(replace(config, timeout=Duration(1)), solo_policy())
        with pytest.raises(StorageError) as caught:
            bucket.refresh()
        assert caught.value.reason == "store-unreachable"
        assert store.hang is not None
        store.hang.set()
        bucket.refresh()
        bucket.close()


def test_an_object_that_is_too_large_for_a_checkpoint_is_not_read(tmp_path: Path) -> None:
    with in_store(tmp_path) as (store, config, _):
        store.put(f"{BUCKET}/{PREFIX}/checkpoint", b"x" * (1024 * 1024 + 1), {})
        bucket = Bucket(config, solo_policy())
        with pytest.raises(StorageError) as caught:
            bucket.refresh()
        assert caught.value.reason == "too-large"
        bucket.close()


# --- the running log, and the command -----------------------------------------------------------------------


def _operated(folder: Path, config: BucketConfig) -> Operated:
    log = Operated(folder)
    log.write(
        more=f'[log.bucket]\nendpoint = "{config.endpoint}"\nbucket = "{BUCKET}"\nprefix = "{PREFIX}"\n'
        'access_key = "file:keys/access.key"\nsecret_key = "file:keys/secret.key"\ninterval = "1s"\n'
    )
    return log


def test_a_log_goes_on_without_its_store_and_is_exported_when_that_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store = Store()
    with listening(store) as url:
        port = int(url.rpartition(":")[2])
    config = config_for(url, tmp_path / "keys")  # nobody listens there now
    log = _operated(tmp_path, config)
    with log.running() as service:
        service.append([record_envelope(number) for number in range(3)])
        _until(lambda: "could not be exported" in caplog.text)
        service.append([record_envelope(number) for number in range(3, 7)])
        with listening(store, port):
            _until(lambda: 7 in store.sizes())
            _until(lambda: "is exported to" in caplog.text)
            service.append([record_envelope(7)])
            _until(lambda: 8 in store.sizes())
    assert caplog.text.count("could not be exported") == 1


def test_a_log_that_ends_writes_its_newest_checkpoint(tmp_path: Path) -> None:
    with in_store(tmp_path) as (store, config, _):
        log = _operated(tmp_path, config)
        with log.running() as service:
            service.append([record_envelope(number) for number in range(3)])
            _until(lambda: bool(store.sizes()))
            service.append([record_envelope(number) for number in range(3, 9)])
        assert store.sizes()[-1] == 9


def _until(condition: Callable[[], bool]) -> None:
    """Wait for something that is sure to come."""
    ever = threading.Event()
    for _ in range(6000):
        if condition():
            return
        ever.wait(0.01)
    pytest.fail("it did not come")


def test_the_command_exports_follows_and_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with in_store(tmp_path) as (_, config, url):
        log = _operated(tmp_path, config)
        log.append(0, 300)  # exported by itself
        told = log.told(capsys, "export", "--bucket")
        assert (told["bucket"], told["size"], told["new"]) == (url, "300", "0")
        assert log.run("export") == 64
        assert log.run("export", "folder", "--bucket") == 64
        log.write()
        assert log.run("export", "--bucket") == 2
        assert "log.bucket: is missing" in capsys.readouterr().err
        (tmp_path / "policy.txt").write_text(format_policy(solo_policy()))
        policy = ["--policy", str(tmp_path / "policy.txt")]
        assert main(["log", "fsck", "--url", url, *policy]) == 0


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ('endpoint = "http://s3.example.org"', "is not encrypted"),
        ('endpoint = "ftp://127.0.0.1"', "no URL of a store"),
        ('endpoint = "https://me:word@s3.example.org"', "user or password"),
        ('bucket = "Upper_Case"', "no name of a bucket"),
        ('prefix = "/log"', "single slashes"),
        ('prefix = "a/../b"', "single slashes"),
        ('interval = "0s"', "interval"),
        ('timeout = "1h"', "timeout"),
        ('secret_key = "the secret itself"', "by reference"),
    ],
)
def test_mistakes_in_the_table_are_named(change: str, word: str, tmp_path: Path) -> None:
    lines = {
        "endpoint": '"https://s3.example.org"',
        "bucket": '"log-example-org"',
        "access_key": '"env:KEY"',
        "secret_key": '"file:secret"',
    }
    key, _, value = change.partition(" = ")
    text = "".join(f"{name} = {written}\n" for name, written in (lines | {key: value}).items())
    with pytest.raises(ConfigError, match=word) as caught:
        load(BucketConfig, text, where=tmp_path / "node.toml")
    assert "the secret itself" not in str(caught.value)
    assert load(
        BucketConfig, "".join(f"{name} = {value}\n" for name, value in lines.items()), where=tmp_path / "x"
    ).access_key == Secret.parse("env:KEY", tmp_path)
