"""A whole log on a Trillian: served, recomputed, rebuilt, and turned away with a reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.log.face import Face
from tests.log.frontends.support import until
from tests.log.support import RECORDER, STRANGER, record_envelope, signed_entry, write_settings
from tests.log.trillian.certificates import Authority
from tests.log.trillian.store.process import Writers, fsck, write_config
from tests.log.trillian.store.proxy import Proxy
from tests.log.trillian.store.support import store_config
from tests.log.trillian.support import Client, running
from tests.log.trillian.test_access import TOKENS, secret, with_tokens
from tests.node.test_log_serve import LogProcess
from tests.simkeys import log_signer, verifier_key

from touchplate.base.config import load
from touchplate.base.errors import ConfigError, StorageError
from touchplate.log.cosigning.config import WitnessesConfig
from touchplate.log.errors import AdmissionError, CheckpointError, FatalError, LogError, StorageFailedError
from touchplate.log.export_thread import ExportConfig
from touchplate.log.ports import PackedEntry, pack
from touchplate.log.service import LogConfig, LogService, open_log
from touchplate.log.trillian.store.config import TrillianStoreConfig
from touchplate.log.trillian.store.service import TrillianLogService
from touchplate.log.trillian.store.tree import TrillianTree
from touchplate.node.log_node import LogNodeConfig, load_log_config
from touchplate.verify.cli import main
from touchplate.verify.entry import make_entry, pack_entry
from touchplate.verify.keys import format_public_pem


def settings(folder: Path, store: TrillianStoreConfig) -> LogConfig:
    return replace(write_settings(folder / "settings"), storage="trillian", trillian_store=store)


@contextmanager
def stored(folder: Path, store: TrillianStoreConfig) -> Iterator[LogService]:
    """A running log whose entries are kept at `store`."""
    service = open_log(settings(folder, store), folder / "data")
    try:
        service.start()
        yield service
    finally:
        service.stop()


def tree_of(service: LogService) -> TrillianTree:
    assert isinstance(service.tree, TrillianTree)
    return service.tree


def smuggle(service: LogService, entry: PackedEntry) -> None:
    """Put an entry into Trillian past the log, as whoever reaches that server can."""
    tree = tree_of(service)
    tree._remote.queue(tree.tree_id, [entry])


def test_a_log_goes_on_where_it_was(tmp_path: Path, trillian: Client) -> None:
    config = store_config(trillian.address)
    with stored(tmp_path, config) as service:
        assert isinstance(service, TrillianLogService)
        assert [one.index for one in service.append([record_envelope(n) for n in range(3)])] == [0, 1, 2]
        checkpoint = service.checkpoint()
    with stored(tmp_path, config) as service:
        assert service.checkpoint() == checkpoint
        assert [one.index for one in service.append([record_envelope(n) for n in range(5)])] == [
            0,
            1,
            2,
            3,
            4,
        ]
        assert [packed for _, packed in service.entries_after(0)] == [
            signed_entry(n).packed for n in range(5)
        ]


def test_what_follows_from_the_entries_is_made_again_when_it_is_lost(
    tmp_path: Path, trillian: Client
) -> None:
    config = store_config(trillian.address)
    with stored(tmp_path, config) as service:
        service.append([record_envelope(number) for number in range(300)])
        checkpoint, tile = service.checkpoint(), service.reader.size()
    for path in (tmp_path / "data").glob("trillian.sqlite*"):
        path.unlink()
    # Its list may have changed meanwhile: what was published was admitted.
    again = settings(tmp_path, config)
    again.admission.write_text(
        again.admission.read_text().replace(format_public_pem(RECORDER.key), format_public_pem(STRANGER.key))
    )
    service = open_log(again, tmp_path / "data")
    try:
        service.start()
        assert (service.checkpoint(), service.reader.size()) == (checkpoint, tile)
        with pytest.raises(AdmissionError):
            service.append([record_envelope(1000)])
    finally:
        service.stop()


def test_an_entry_that_a_stranger_put_there_stops_the_log_and_is_not_signed(
    tmp_path: Path, trillian: Client
) -> None:
    config = store_config(trillian.address)
    with stored(tmp_path, config) as service:
        service.append([record_envelope(0)])
        before = service.checkpoint()
        smuggle(service, signed_entry(1, STRANGER))
        (future,) = service.writer.submit([record_envelope(2)])
        error = future.exception(30)
        assert isinstance(error, CheckpointError)
        assert "leaf 1" in str(error)
        assert "may not write" in str(error)
        assert service.checkpoint() == before
    with pytest.raises(CheckpointError, match="somebody else writes that tree"):
        open_log(settings(tmp_path, config), tmp_path / "data")


def broken(entry: PackedEntry, **changes: bytes) -> PackedEntry:
    return replace(entry, **changes)


def forged() -> PackedEntry:
    """A statement under a listed key that another one signed."""
    entry = make_entry(record_envelope(1, STRANGER), RECORDER.key.spki)
    return pack(entry, pack_entry(entry))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (broken(signed_entry(1), packed=signed_entry(2).packed), "not the envelope of its leaf"),
        (broken(signed_entry(1), packed=b"nothing"), "packed entry ends"),
        (broken(signed_entry(1), packed=b""), "packed entry ends"),
        (broken(signed_entry(1), identity=bytes(32)), "not that of its statement"),
        (forged(), "signature"),
    ],
)
def test_a_leaf_that_is_no_entry_is_not_signed(
    tmp_path: Path, trillian: Client, entry: PackedEntry, words: str
) -> None:
    with stored(tmp_path, store_config(trillian.address)) as service:
        before = service.checkpoint()
        smuggle(service, entry)
        (future,) = service.writer.submit([record_envelope(5)])
        error = future.exception(30)
        assert isinstance(error, FatalError)
        assert words in str(error)
        assert service.checkpoint() == before


def test_an_entry_that_a_crash_left_in_trillian_is_taken_up(tmp_path: Path, trillian: Client) -> None:
    config = store_config(trillian.address)
    with stored(tmp_path, config) as service:
        service.append([record_envelope(0)])
        smuggle(service, signed_entry(1))  # as a log that is killed after it queued
    with stored(tmp_path, config) as service:
        assert service.reader.size() == 2
        assert b"\n2\n" in service.checkpoint()
        assert service.append([record_envelope(1)])[0].index == 1


def test_another_history_in_trillian_is_refused_at_the_start(tmp_path: Path, trillian: Client) -> None:
    config = store_config(trillian.address)
    with stored(tmp_path, config) as service:
        service.append([record_envelope(number) for number in range(3)])
    other = replace(config, tree_id=trillian.make())
    (tmp_path / "data" / "trillian.tree").unlink()
    for gone in ((), tuple((tmp_path / "data").glob("trillian.sqlite*"))):
        for path in gone:
            path.unlink()
        with pytest.raises(
            CheckpointError, match=r"went back or was exchanged|older copy or another database"
        ):
            open_log(settings(tmp_path, other), tmp_path / "data")
        (tmp_path / "data" / "trillian.tree").unlink()


def test_without_trillian_clients_are_told_to_come_again(tmp_path: Path, proxy: Proxy) -> None:
    with stored(tmp_path, store_config(proxy.address)) as service:
        face = Face(service)
        try:
            assert face("POST", "add", content=record_envelope(0)).text == "0"
            proxy.stop()
            answer = face("POST", "add", content=record_envelope(1))
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert answer.json()["reason"] == "storage-failed"
            # What was signed is shown, and a duplicate is answered, without it.
            assert face.get("checkpoint").status_code == 200
            assert face.get("tile/0/000.p/1").status_code == 200
            assert face("POST", "add", content=record_envelope(0)).text == "0"
            assert face.get("tile/envelopes/000.p/1").status_code == 503
            proxy.start()
        finally:
            face.close()
    with stored(tmp_path, store_config(proxy.address)) as service:
        assert service.append([record_envelope(1)])[0].index == 1


def test_it_is_kept_as_files_and_cosigned_as_any_log(tmp_path: Path, trillian: Client) -> None:
    policy = tmp_path / "policy.txt"
    policy.write_text(f"log {verifier_key(log_signer())}\nquorum none\n")
    config = replace(
        settings(tmp_path, store_config(trillian.address)),
        export=ExportConfig(tmp_path / "public"),
        witness=WitnessesConfig(policy),
    )
    for size in (3, 5):
        service = open_log(config, tmp_path / "data")
        service.start()
        service.append([record_envelope(number) for number in range(size)])
        until(lambda: b"\n%d\n" % size in service.checkpoint())  # noqa: B023  # called in here
        service.stop()
        assert b"\n%d\n" % size in (tmp_path / "public" / "checkpoint").read_bytes()
        assert main(["log", "fsck", "--url", str(tmp_path / "public"), "--policy", str(policy)]) == 0


def test_a_changed_envelope_is_never_served(tmp_path: Path, proxy: Proxy) -> None:
    with stored(tmp_path, store_config(proxy.address)) as service:
        face = Face(service)
        try:
            service.append([record_envelope(0), record_envelope(1)])

            def swap(answer: object) -> None:
                answer.leaves[0].extra_data = signed_entry(1).packed  # type: ignore[attr-defined]

            proxy.lie("GetLeavesByRange", swap)
            answer = face.get("tile/envelopes/000.p/2")
            assert (answer.status_code, answer.json()["reason"]) == (500, "corrupt-tree")
            assert face.get("entry/0").status_code == 500
        finally:
            face.close()


def test_a_start_without_trillian_says_so(tmp_path: Path, proxy: Proxy) -> None:
    proxy.stop()
    with pytest.raises(StorageFailedError, match="UNAVAILABLE"):
        open_log(settings(tmp_path, store_config(proxy.address)), tmp_path / "data")
    proxy.start()
    with stored(tmp_path, store_config(proxy.address)):
        # One process has it open.
        with pytest.raises(StorageError) as caught:
            open_log(settings(tmp_path, store_config(proxy.address)), tmp_path / "data")
        assert caught.value.reason == "locked"


def test_the_channel_to_trillian_has_tls_and_a_token(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path, "authority"), Authority(tmp_path, "other")
    cert, key = authority.issue("server")
    mine, my_key = authority.issue("log")
    server = replace(
        with_tokens(tmp_path),
        tls_cert=cert,
        tls_key=secret(tmp_path, "tls.key", key.read_text()),
        client_ca=authority.path,
    )
    with running(tmp_path / "server", server) as trillian:
        assert trillian.trillian is not None
        good = TrillianStoreConfig(
            f"localhost:{trillian.trillian.address[1]}",
            tls_ca=authority.path,
            tls_cert=mine,
            tls_key=secret(tmp_path, "my.key", my_key.read_text()),
            token=secret(tmp_path, "token", TOKENS["admin"]),
        )
        with stored(tmp_path, good) as service:
            assert service.append([record_envelope(0)])[0].index == 0
        for bad in (
            replace(good, tls_ca=other.path),
            replace(good, tls_cert=None, tls_key=None),
            replace(good, token=None),
            replace(good, token=secret(tmp_path, "token2", "x" * 16)),
        ):
            with pytest.raises(StorageFailedError, match=r"UNAVAILABLE|UNAUTHENTICATED"):
                open_log(settings(tmp_path, bad), tmp_path / "data")


CONFIG = """
data = "data"
[log]
origin = "log.example.org"
key = "file:log.key"
admission = "admission.toml"
storage = "trillian"
[log.trillian_store]
"""


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('address = "nowhere"', "write host:port"),
        ('address = "trillian.example.org:8090"', "is on another machine, and nothing is encrypted"),
        ('address = "t.example.org:1"\ninsecure = true\ntoken = "env:X"', "in the clear; give tls_ca"),
        ('address = "127.0.0.1:1"\ntree_id = -5', "tree_id: must be a tree's number"),
        ('address = "127.0.0.1:1"\nin_flight = 0', "in_flight: must be 1 to 1024"),
        ('address = "127.0.0.1:1"\ntimeout = "1h"', 'timeout: write "1s" to "300s"'),
        ('address = "127.0.0.1:1"\ntls_cert = "c"', "tls_cert: and tls_key belong together"),
        ('address = "127.0.0.1:1"\ntls_cert = "c"\ntls_key = "file:k"', "needs tls_ca"),
        ('address = "127.0.0.1:1"\n[log.trillian]\n', "leave [log.trillian] out"),
        ('adress = "127.0.0.1:1"', "did you mean 'address'"),
    ],
)
def test_mistakes_are_told_with_the_remedy(tmp_path: Path, table: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(LogNodeConfig, CONFIG + table, where=tmp_path / "log.toml")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('storage = "trillian"\n', "", "belong together"),
        ("[log.trillian_store]\n", "", "belong together"),
        ('storage = "trillian"', 'storage = "trillian"\nstorage_password = "env:X"', "storage_password"),
        ('storage = "trillian"', 'storage = "trillian"\nmode = "peers"', "a peer keeps its part"),
    ],
)
def test_half_a_configuration_is_told(tmp_path: Path, old: str, new: str, words: str) -> None:
    text = (CONFIG + 'address = "127.0.0.1:1"\n').replace(old, new)
    text = text if "[log.trillian_store]" in text else text.replace('address = "127.0.0.1:1"\n', "")
    with pytest.raises(ConfigError) as caught:
        load(LogNodeConfig, text, where=tmp_path / "log.toml")
    assert words in str(caught.value)


def test_a_token_that_no_header_can_carry_is_refused(tmp_path: Path, trillian: Client) -> None:
    bad = replace(store_config(trillian.address), token=secret(tmp_path, "token", "two words"))
    with pytest.raises(ConfigError, match="printable ASCII"):
        open_log(settings(tmp_path, bad), tmp_path / "data")
    missing = replace(store_config(trillian.address), tls_ca=tmp_path / "absent.pem")
    with pytest.raises(ConfigError, match=r"absent\.pem"):
        open_log(settings(tmp_path, missing), tmp_path / "data")


def test_the_commands_of_an_operator(
    tmp_path: Path, trillian: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, trillian.address)
    process = LogProcess(config)
    writers = Writers(2)
    try:
        url = process.url()
        writers.go_to(process, url)
        writers.await_more(10)
        writers.stop()
        writers.check(process, url)
        fsck(tmp_path, url)
        assert main(["log", "export", str(tmp_path / "copy"), "--config", str(config)]) == 0
        policy = str(tmp_path / "policy.txt")
        assert main(["log", "fsck", "--url", str(tmp_path / "copy"), "--policy", policy]) == 0
        assert main(["log", "freeze", "--config", str(config)]) == 0
        assert process.request(url, "/log/add", "POST", record_envelope(10_000))[0] == 403
        capsys.readouterr()
        assert main(["log", "stats", "--config", str(config), "--json"]) == 0
        stats = json.loads(capsys.readouterr().out)
        assert (int(stats["size"]), stats["state"]) == (len(writers.told), "frozen")
        database = str(tmp_path / "data" / "log" / "trillian.sqlite")
        assert main(["log", "fsck", "--db", database]) == 2
        assert "entries of the log 'log.example.org' are in a Trillian" in capsys.readouterr().err
        for command in (["backup", str(tmp_path / "file")], ["import", str(tmp_path / "copy")]):
            assert main(["log", *command, "--config", str(config)]) == 2
            assert "entries of this log are in a Trillian" in capsys.readouterr().err
        assert process.stop() == 0
        assert not [line for line in process.lines if "Traceback" in line]
    finally:
        writers.stop()
        process.close()


def test_fsck_names_what_trillian_lost_or_changed(
    tmp_path: Path, proxy: Proxy, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, proxy.address, "in_flight = 1\n")
    service = open_log(load_log_config(config).log, tmp_path / "data" / "log")
    service.start()
    service.append([record_envelope(number) for number in range(4)])
    service.stop()

    def found() -> str:
        capsys.readouterr()
        assert main(["log", "fsck", "--config", str(config)]) == 1
        return capsys.readouterr().out

    def swap(answer: object) -> None:
        answer.leaves[2].extra_data = signed_entry(1).packed  # type: ignore[attr-defined]

    proxy.lie("GetLeavesByRange", swap)
    assert "leaf 2 is not the leaf data of its envelope" in found()

    def lose(answer: object) -> None:
        leaves = answer.leaves  # type: ignore[attr-defined]
        del leaves[len([leaf for leaf in leaves if leaf.leaf_index < 3]) :]

    proxy.lie("GetLeavesByRange", lose)
    text = found()
    assert "has no leaf 3" in text
    assert "leaf 3 is missing" in text
    proxy.honest()
    assert main(["log", "fsck", "--config", str(config)]) == 0
    proxy.stop()
    assert main(["log", "fsck", "--config", str(config)]) == 2
    proxy.start()


def test_neither_kind_of_database_is_taken_for_the_other(tmp_path: Path, trillian: Client) -> None:
    with stored(tmp_path, store_config(trillian.address)):
        pass
    data = tmp_path / "data"
    (data / "trillian.sqlite").rename(data / "log.sqlite")
    with pytest.raises(LogError, match="of kind 'derived'"):
        open_log(write_settings(tmp_path / "settings"), data)
