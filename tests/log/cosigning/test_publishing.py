"""A log with witnesses publishes what its policy accepts, and nothing else, whatever witnesses do."""

import logging
import shutil
from pathlib import Path

import httpx
import pytest
from tests.log.cosigning.support import (
    cosigned_log,
    eventually,
    policy_text,
    published,
    read_policy,
    witnesses,
)
from tests.log.face import Face
from tests.log.mirrors import wrong_with
from tests.log.support import record_envelope, running_log, write_settings
from tests.log.test_fsck import export
from tests.log.witness.support import PQ_COSIGNER
from tests.simkeys import ORIGIN, log_signer, verifier_key, witness_signer

from touchplate.base.sql import sqlite_engine
from touchplate.log.errors import CheckpointError, LogError, NotFoundError
from touchplate.log.export_thread import ExportConfig
from touchplate.log.fsck import check_log
from touchplate.log.service import LogService, database_path
from touchplate.log.storage.rows import TreeRows
from touchplate.verify.checkpoints import open_checkpoint
from touchplate.verify.cli import main
from touchplate.verify.notes import open_note


def grow(service: LogService, count: int = 1) -> int:
    size = service.reader.size()
    service.append([record_envelope(number) for number in range(size, size + count)])
    return size + count


def size_of(service: LogService, text: str) -> int:
    head = published(service, read_policy(text))
    return -1 if head is None else head.size


def test_the_published_checkpoint_satisfies_the_policy_and_grows(tmp_path: Path) -> None:
    with witnesses(tmp_path) as servers:
        text = policy_text(servers, 3)
        with cosigned_log(tmp_path, text) as service:
            eventually(lambda: size_of(service, text) == 0)
            for count in (1, 5, 300):
                size = grow(service, count)
                eventually(lambda size=size: size_of(service, text) == size)  # type: ignore[misc]
            head = published(service, read_policy(text))
            assert head is not None
            assert [name for name, _ in head.cosigners] == ["w1", "w2", "w3"]
            # A witness is shown the log's line and no other.
            assert servers[0].notes
            assert all(note.count("— ".encode()) == 1 for note in servers[0].notes)


@pytest.mark.parametrize(
    "mode", ["lying", "garbage", "foreign", "splicing", "early", "late", "failing", "slow", "dead"]
)
def test_two_of_three_stand_one_that_misbehaves(mode: str, tmp_path: Path) -> None:
    with witnesses(tmp_path) as servers:
        text = policy_text(servers, 2)
        if mode == "dead":
            servers.pop().stop()
        else:
            servers[2].mode = mode
        with cosigned_log(tmp_path, text) as service:
            size = grow(service, 3)
            eventually(lambda: size_of(service, text) == size)
            head = published(service, read_policy(text))
            assert head is not None
            assert [name for name, _ in head.cosigners] == ["w1", "w2"]
            size = grow(service, 3)
            eventually(lambda: size_of(service, text) == size)


@pytest.mark.parametrize("mode", ["lying", "garbage", "splicing", "late", "failing", "slow"])
def test_three_of_three_publish_nothing_until_the_third_is_well(
    mode: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with witnesses(tmp_path) as servers:
        text = policy_text(servers, 3)
        with cosigned_log(tmp_path, text, timeout=1) as service:
            eventually(lambda: size_of(service, text) == 0)
            servers[2].mode = mode
            grow(service)
            eventually(lambda: "NO QUORUM" in caplog.text)
            size = grow(service, 20)  # the log itself goes on
            assert service.reader.size() == size == 21
            assert size_of(service, text) == 0  # the old one stays published
            assert service.cosigning is not None
            assert any(each.error for each in service.cosigning.status().witnesses)
            servers[2].mode = "good"
            servers[2].go.set()
            eventually(lambda: size_of(service, text) == size)
            eventually(lambda: "the quorum is reached again" in caplog.text)
            assert not any(each.error for each in service.cosigning.status().witnesses)


def test_nothing_is_published_before_the_first_quorum(tmp_path: Path) -> None:
    with witnesses(tmp_path, 1) as servers:
        text = policy_text(servers, 1)
        servers[0].mode = "failing"
        with cosigned_log(tmp_path, text) as service:
            size = grow(service, 3)
            eventually(lambda: len(servers[0].requests) > 1)
            with pytest.raises(NotFoundError):
                service.checkpoint()
            servers[0].mode = "good"
            eventually(lambda: size_of(service, text) == size)


def test_a_witness_that_knows_more_than_we_remember_is_proven_from_there(tmp_path: Path) -> None:
    with witnesses(tmp_path, 1) as servers:
        text = policy_text(servers, 1)
        for count in (7, 5):  # the second start has no memory of the witness
            with cosigned_log(tmp_path, text) as service:
                size = grow(service, count)
                eventually(lambda service=service, size=size: size_of(service, text) == size)  # type: ignore[misc]
        assert 7 in servers[0].olds
        assert servers[0].olds.count(0) >= 2


def test_under_load_a_witness_is_asked_about_the_newest_head_only(tmp_path: Path) -> None:
    with witnesses(tmp_path, 1) as servers:
        text = policy_text(servers, 1)
        with cosigned_log(tmp_path, text) as service:
            eventually(lambda: size_of(service, text) == 0)
            servers[0].mode = "slow"
            grow(service)
            eventually(lambda: 1 in servers[0].requests)
            for _ in range(30):
                grow(service)
            servers[0].mode = "good"
            servers[0].go.set()
            eventually(lambda: size_of(service, text) == 31)
        # One question at a time: while one was under way, thirty heads went by.
        assert len(servers[0].requests) < 10
        assert servers[0].requests == sorted(servers[0].requests)


def test_two_keys_of_one_witness_are_asked_for_once(tmp_path: Path) -> None:
    with witnesses(tmp_path, 1) as servers:
        server = servers[0]
        server.signer = witness_signer(PQ_COSIGNER.key.name)
        server.witness._signers = (server.signer, PQ_COSIGNER)
        second = f"witness pq {verifier_key(PQ_COSIGNER)} {server.url}\n"
        text = f"log {verifier_key(log_signer())}\n{server.line}{second}group w any w1 pq\nquorum w\n"
        with cosigned_log(tmp_path, text) as service:
            size = grow(service, 3)
            eventually(lambda: size_of(service, text) == size)
            head = published(service, read_policy(text))
            assert head is not None
            assert [name for name, _ in head.cosigners] == ["w1", "pq"]
        assert len(server.requests) <= 2


def test_a_head_that_does_not_grow_is_cosigned_again(tmp_path: Path) -> None:
    with witnesses(tmp_path, 1) as servers:
        text = policy_text(servers, 1)
        with cosigned_log(tmp_path, text, refresh=1) as service:
            eventually(lambda: size_of(service, text) == 0)
            first = service.checkpoint()
            eventually(lambda: service.checkpoint() != first)
            assert size_of(service, text) == 0


def test_cosignatures_of_a_head_stand_until_there_are_newer_ones(tmp_path: Path) -> None:
    with witnesses(tmp_path) as servers:
        text = policy_text(servers, 2)
        with cosigned_log(tmp_path, text) as service:
            eventually(lambda: (service.tree.head().checkpoint or b"").count("— ".encode()) == 4)
            first = service.checkpoint()
        servers[0].mode = "failing"
        # Again and again: within one second the same signatures would come back.
        with cosigned_log(tmp_path, text, refresh=1) as service:
            eventually(lambda: service.checkpoint() != first)
            head = published(service, read_policy(text))
            assert head is not None
            assert [name for name, _ in head.cosigners] == ["w1", "w2", "w3"]


def test_a_policy_without_a_quorum_publishes_at_once_and_adds_lines(tmp_path: Path) -> None:
    with witnesses(tmp_path, 1) as servers:
        text = f"log {verifier_key(log_signer())}\n{servers[0].line}quorum none\n"
        servers[0].mode = "slow"
        with cosigned_log(tmp_path, text) as service:
            size = grow(service, 3)
            eventually(lambda: size_of(service, text) == size)
            servers[0].go.set()
            servers[0].mode = "good"
            eventually(lambda: (service.tree.head().checkpoint or b"").count("— ".encode()) == 2)


def test_another_log_under_our_key_is_reported_and_nothing_of_ours_published(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with witnesses(tmp_path, 1) as servers:
        text = policy_text(servers, 1)
        with running_log(tmp_path / "twin") as twin:
            twin.append([record_envelope(number) for number in range(100, 105)])
            servers[0].witness.add_checkpoint(b"old 0\n\n" + twin.checkpoint())
        with cosigned_log(tmp_path, text) as service:
            grow(service, 2)
            eventually(lambda: "somebody else signs with this log's key" in caplog.text)
            grow(service, 7)
            eventually(lambda: "it refuses the proof from size 5" in caplog.text)
            with pytest.raises(LogError):
                service.checkpoint()


def test_an_older_copy_of_the_database_is_refused_by_what_was_signed(tmp_path: Path) -> None:
    import shutil

    with witnesses(tmp_path, 1) as servers:
        text = policy_text(servers, 1)
        with cosigned_log(tmp_path, text) as service:
            grow(service, 3)
        shutil.copytree(tmp_path / "data", tmp_path / "copy")
        servers[0].mode = "failing"
        with cosigned_log(tmp_path, text) as service:
            grow(service, 3)
            eventually(lambda: 6 in servers[0].requests)  # signed and shown, never published
        database = tmp_path / "data" / "log.sqlite"
        for suffix in ("", "-wal", "-shm"):
            database.with_name(database.name + suffix).unlink(missing_ok=True)
        shutil.copy(tmp_path / "copy" / "log.sqlite", database)
        with pytest.raises(CheckpointError, match="its key has signed a head of 6"):
            LogService(write_settings(tmp_path / "settings"), tmp_path / "data")


def test_a_log_that_published_alone_goes_on_with_witnesses_and_back(tmp_path: Path) -> None:
    with running_log(tmp_path) as alone:
        grow(alone, 3)
        before = alone.checkpoint()
    with witnesses(tmp_path, 1) as servers:
        text = policy_text(servers, 1)
        servers[0].mode = "failing"
        with cosigned_log(tmp_path, text) as service:
            grow(service)
            eventually(lambda: bool(servers[0].requests))
            assert service.checkpoint() == before  # what was published is not taken back
            servers[0].mode = "good"
            eventually(lambda: service.checkpoint() != before)
            eventually(lambda: size_of(service, text) == 4)
    with running_log(tmp_path) as alone:
        assert open_note(alone.checkpoint(), [log_signer().key]).text.split("\n")[1] == "4"
        grow(alone)
        assert open_note(alone.checkpoint(), [log_signer().key]).text.split("\n")[1] == "5"


def test_fsck_takes_a_log_whose_checkpoint_lags(tmp_path: Path) -> None:
    with witnesses(tmp_path, 1) as servers:
        text = policy_text(servers, 1)
        with cosigned_log(tmp_path, text) as service:
            grow(service, 3)
            eventually(lambda: size_of(service, text) == 3)
            servers[0].mode = "failing"
            grow(service, 300)
            rows = TreeRows(sqlite_engine(database_path(tmp_path / "data")), "log.example.org")
            result = check_log(rows, policy=read_policy(text))
            rows.close()
            assert (result.clean, result.size) == (True, 303), result.findings


def test_the_status_tells_who_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from touchplate.log.cosigning import status as status_module

    with witnesses(tmp_path, 2) as servers:
        text = policy_text(servers, 2)
        with cosigned_log(tmp_path, text) as service:
            face = Face(service)

            def ask() -> httpx.Response:
                return face.get("publishing")

            eventually(lambda: ask().json()["published"] == "0")
            assert ask().status_code == 200
            servers[1].mode = "failing"
            grow(service)
            monkeypatch.setattr(status_module, "PATIENCE_SECONDS", -1.0)
            eventually(lambda: ask().json()["witnesses"][1]["error"] is not None)
            told = ask()
            assert (told.status_code, told.json()["ready"]) == (503, False)
            assert (told.json()["size"], told.json()["published"]) == ("1", "0")
            assert "500" in told.json()["witnesses"][1]["error"]
            eventually(lambda: ask().json()["witnesses"][0]["cosigned"])
            face.close()


def test_a_mirror_follows_and_proofs_hold_by_the_policy_of_the_witnesses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with witnesses(tmp_path) as servers:
        text = policy_text(servers, 2)
        with cosigned_log(tmp_path, text) as service:
            size = grow(service, 300)
            eventually(lambda: size_of(service, text) == size)
    served = str(export(tmp_path / "data", tmp_path / "served"))
    policy = tmp_path / "policy.txt"
    policy.write_text(text)
    mirror, state = str(tmp_path / "mirror"), str(tmp_path / "state")
    follow = ["log", "follow", "--url", served, "--policy", str(policy), "--to", mirror, "--once"]
    assert main([*follow, "--state", state]) == 0
    out = str(tmp_path / "17.tlog-proof")
    prove = ["prove", "--log", mirror, "--policy", str(policy), "--index", "17", "--out", out]
    assert main([*prove, "--state", state]) == 0
    assert main(["prove", "--check", out, "--policy", str(policy)]) == 0
    # One witness more than there are is a quorum that nobody reached.
    stranger = f"witness w9 {verifier_key(witness_signer('w9.example.org'))}\n"
    policy.write_text(f"log {verifier_key(log_signer())}\n{stranger}quorum w9\n")
    capsys.readouterr()
    assert main(["prove", "--check", out, "--policy", str(policy)]) != 0
    assert "quorum" in capsys.readouterr().err


def test_an_export_has_what_witnesses_cosigned_also_when_that_comes_long_after_the_entries(
    tmp_path: Path,
) -> None:
    public = tmp_path / "public"

    def exported(text: str) -> int:
        if not (public / "checkpoint").exists():
            return -1
        return open_checkpoint((public / "checkpoint").read_bytes(), read_policy(text)).size

    with witnesses(tmp_path) as servers:
        text = policy_text(servers, 3)
        with cosigned_log(tmp_path, text, export=ExportConfig(public)) as service:
            eventually(lambda: exported(text) == 0)
            servers[2].mode = "failing"
            size = grow(service, 3)
            eventually(lambda: servers[2].requests[-1] == size)
            assert exported(text) == 0
            servers[2].mode = "good"
            eventually(lambda: exported(text) == size)
            size = grow(service, 300)
            eventually(lambda: size_of(service, text) == size)
        # Written for the last time after whoever publishes has ended.
        assert exported(text) == size
        assert wrong_with(public, read_policy(text)) == []


def test_an_export_has_fresh_cosignatures_of_a_head_that_does_not_grow(tmp_path: Path) -> None:
    note, seen = tmp_path / "public" / "checkpoint", set[bytes]()

    def fresh() -> bool:
        if note.exists():
            seen.add(note.read_bytes())
        # More than there would be if only growth, the start and the end made it look.
        return len(seen) > 4

    with witnesses(tmp_path, 1) as servers:
        text = policy_text(servers, 1)
        with cosigned_log(tmp_path, text, refresh=1, export=ExportConfig(note.parent)):
            eventually(fresh)
    assert {open_checkpoint(each, read_policy(text)).size for each in seen} == {0}


def test_a_log_with_witnesses_is_not_brought_back_behind_what_its_key_has_signed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "touchplate" / "log"
    with witnesses(tmp_path) as servers:
        text = policy_text(servers, 3)
        with cosigned_log(tmp_path, text, export=ExportConfig(tmp_path / "public")) as service:
            size = grow(service, 3)
            eventually(lambda: size_of(service, text) == size)
        servers[2].mode = "failing"
        with cosigned_log(tmp_path, text) as service:  # signed and put to two, never published
            size = grow(service, 2)
            eventually(lambda: servers[0].requests[-1] == size)
    shutil.copytree(tmp_path / "data", data)
    for path in data.glob("log.sqlite*"):
        path.unlink()
    assert (data / "newest.checkpoint").read_bytes() == (tmp_path / "public" / "checkpoint").read_bytes()
    config = tmp_path / "node.toml"
    config.write_text(
        f'data = "touchplate"\n[log]\norigin = "{ORIGIN}"\nkey = "file:settings/log.key"\n[log.witness]\n'
    )
    assert main(["log", "import", str(tmp_path / "public"), "--config", str(config)]) == 1
    assert "nothing was imported" in capsys.readouterr().out
    assert not list(data.glob("log.sqlite*"))
    (data / "signed.head").unlink()
    assert main(["log", "import", str(tmp_path / "public"), "--config", str(config)]) == 0


def test_a_log_with_witnesses_is_made_no_second_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_settings(tmp_path)
    config, new = tmp_path / "node.toml", tmp_path / "new.key"
    config.write_text(f'data = "data"\n[log]\norigin = "{ORIGIN}"\nkey = "file:log.key"\n[log.witness]\n')
    assert main(["log", "rotate-key", "--new-key", str(new), "--config", str(config)]) != 0
    assert "an outside witness knows one log key per origin" in capsys.readouterr().err
    assert not new.exists()
