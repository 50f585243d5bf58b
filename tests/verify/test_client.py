"""The client against real logs, honest and not, by folder and by URL."""

import json
import stat
from base64 import b64decode
from pathlib import Path

import pytest
from tests.simkeys import log_signer, solo_policy, witness_signer
from tests.simlog import SimLog, filler_envelope, serving

from touchplate.verify.checkpoints import open_checkpoint
from touchplate.verify.client import (
    MAX_BATCH_BYTES,
    MAX_CACHED_TILES,
    Appended,
    LogClient,
    Rejected,
    _parse_results,
)
from touchplate.verify.errors import (
    DamageError,
    ForkError,
    MalformedError,
    NotFoundError,
    PolicyError,
    ProofError,
    SignatureError,
    TransportError,
    TrustError,
    VerifyError,
)
from touchplate.verify.proofs import check_inclusion, is_prefix, root_of
from touchplate.verify.tiles import Tile, entries_path, envelopes_path, tile_path


@pytest.fixture
def log(tmp_path: Path) -> SimLog:
    return SimLog(tmp_path / "log")


def client_of(log: SimLog, state: Path | None = None) -> LogClient:
    return LogClient(log.folder, log.policy, state)


def grown(log: SimLog, count: int, flavour: str = "") -> SimLog:
    log.grow(count, flavour)
    log.publish()
    return log


# --- honest logs ---


def test_follows_a_log_as_it_grows(log: SimLog, tmp_path: Path) -> None:
    client = client_of(log, tmp_path / "state")
    for count in (0, 1, 1, 3, 250, 1, 1, 300):
        grown(log, count)
        head = client.checkpoint()
        assert (head.size, head.root) == (len(log.entries), log.root())
        assert client.head == head
        assert root_of(client.tile_reader(), head.size) == head.root


@pytest.mark.parametrize("size", [1, 2, 5, 256, 257, 530])
def test_every_entry_is_read_back_and_proven(log: SimLog, size: int) -> None:
    grown(log, size)
    client = client_of(log)
    assert [entry for _, entry in client.entries()] == log.entries
    for index in {0, size // 2, size - 1}:
        assert client.entry(index) == log.entries[index]
        proof = client.inclusion(index)
        check_inclusion(client.head, index, log.entries[index].leaf_hash, proof)


def test_a_range_of_entries_carries_its_indexes(log: SimLog) -> None:
    client = client_of(grown(log, 300))
    assert [index for index, _ in client.entries(250, 261)] == list(range(250, 261))
    assert list(client.entries(7, 7)) == []
    assert [index for index, _ in client.entries(298)] == [298, 299]


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (3, 2), (0, 11), (11, 11)])
def test_refuses_entries_beyond_the_tree(log: SimLog, start: int, end: int) -> None:
    client = client_of(grown(log, 10))
    with pytest.raises(NotFoundError, match="not in the tree"):
        list(client.entries(start, end))


@pytest.mark.parametrize("index", [-1, 10, 2**70])
def test_refuses_an_index_beyond_the_tree(log: SimLog, index: int) -> None:
    client = client_of(grown(log, 10))
    with pytest.raises(NotFoundError, match="not in the tree of size 10"):
        client.entry(index)
    with pytest.raises(NotFoundError, match="not in the tree of size 10"):
        client.inclusion(index)


def test_uses_the_full_tile_when_a_partial_is_gone(log: SimLog) -> None:
    client = client_of(grown(log, 70))
    client.checkpoint()
    grown(log, 230)
    log.remove_partials()
    assert not (log.folder / "tile/0/000.p").exists()
    # The head is still the one of size 70, the files are those of size 300.
    assert client.head.size == 70
    assert client.entry(69) == log.entries[69]
    assert client.inclusion(0)
    assert client.checkpoint().size == 300


def test_keeps_few_tiles_in_memory(log: SimLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("touchplate.verify.client.MAX_CACHED_TILES", 2)
    client = client_of(grown(log, 700))
    for index in (0, 300, 699, 1, 301):
        assert client.inclusion(index)
    assert len(client._tiles) == 2 <= MAX_CACHED_TILES


def test_newer_cosignatures_of_the_same_tree_are_taken(tmp_path: Path) -> None:
    log = grown(SimLog(tmp_path / "log", witnesses=(witness_signer("w.example.org"),)), 3)
    client = client_of(log)
    assert client.checkpoint().cosigners == (("w0", 1_800_000_000),)
    log.publish(time=1_800_000_500)
    assert client.checkpoint().cosigners == (("w0", 1_800_000_500),)


# --- what is remembered ---


def test_remembers_the_checkpoint_across_runs(log: SimLog, tmp_path: Path) -> None:
    state = tmp_path / "new" / "state"
    grown(log, 5)
    first = client_of(log, state).checkpoint()
    assert state.read_bytes() == log.note()
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert client_of(log, state).checkpoint() == first
    grown(log, 5)
    assert client_of(log, state).checkpoint().size == 10
    assert sorted(path.name for path in state.parent.iterdir()) == [".state.lock", "state"]


def test_a_rest_of_a_crash_does_not_disturb(log: SimLog, tmp_path: Path) -> None:
    (tmp_path / ".state.tmp").write_bytes(b"half a no")
    grown(log, 2)
    assert client_of(log, tmp_path / "state").checkpoint().size == 2
    assert (tmp_path / "state").read_bytes() == log.note()


def test_two_clients_of_one_file_never_go_back(log: SimLog, tmp_path: Path) -> None:
    state = tmp_path / "state"
    one, two = client_of(log, state), client_of(log, state)
    grown(log, 4)
    assert one.checkpoint().size == 4
    grown(log, 4)
    assert two.checkpoint().size == 8
    log.write("checkpoint", log.note(size=4))
    assert one.checkpoint().size == 8
    assert state.read_bytes() == log.note()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff" * 100, b"x" * (2 << 20)])
def test_does_not_silently_forget_a_spoilt_state(log: SimLog, tmp_path: Path, content: bytes) -> None:
    grown(log, 4)
    state = tmp_path / "state"
    state.write_bytes(content)
    with pytest.raises(TrustError, match="remove the file") as caught:
        client_of(log, state).checkpoint()
    assert caught.value.reason == "remembered-checkpoint"
    assert state.read_bytes() == content


def test_does_not_silently_forget_what_another_key_signed(log: SimLog, tmp_path: Path) -> None:
    grown(log, 4)
    (tmp_path / "state").write_bytes(SimLog(tmp_path / "b", log_signer("other")).note())
    with pytest.raises(TrustError, match="remove the file"):
        client_of(log, tmp_path / "state").checkpoint()


def test_says_when_the_state_cannot_be_kept(log: SimLog, tmp_path: Path) -> None:
    grown(log, 4)
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for state in (tmp_path / "file" / "state", tmp_path / "folder"):
        with pytest.raises(TrustError, match="cannot be"):
            client_of(log, state).checkpoint()


# --- logs that lie ---


def check_evidence(caught: ForkError, log: SimLog) -> dict[str, dict[str, str]]:
    """Anyone can check the evidence: two signed heads, and a proof of what the newer one has instead."""
    evidence = json.loads(json.dumps(caught.evidence))
    old, new = (open_checkpoint(evidence[part]["checkpoint"].encode(), log.policy) for part in ("old", "new"))
    assert (str(old.size), str(new.size)) == (evidence["old"]["size"], evidence["new"]["size"])
    if old.size == new.size:
        assert old.root != new.root
    else:
        derived = b64decode(evidence["derivedRoot"])
        assert derived != old.root
        assert is_prefix(new, old.size, derived, [b64decode(each) for each in evidence["proof"]])
    assert caught.reason == "fork"
    assert isinstance(evidence, dict)
    return evidence


@pytest.mark.parametrize("at", [0, 1, 3, 4, 6])
@pytest.mark.parametrize("more", [0, 1, 2, 9, 300])
def test_a_fork_is_reported_with_evidence(log: SimLog, tmp_path: Path, at: int, more: int) -> None:
    grown(log, 7)
    state = tmp_path / "state"
    before = client_of(log, state).checkpoint()
    other = grown(log.fork(tmp_path / "other", at), 7 - at + more, "other ")
    with pytest.raises(ForkError) as caught:
        LogClient(other.folder, log.policy, state).checkpoint()
    evidence = check_evidence(caught.value, log)
    assert evidence["old"]["checkpoint"] == before.note
    # Nothing of the fork is remembered: the honest log still is what is known.
    assert client_of(log, state).checkpoint() == before


@pytest.mark.parametrize("old", [255, 256, 257, 300])
def test_a_fork_in_place_is_seen_through_cached_tiles(log: SimLog, tmp_path: Path, old: int) -> None:
    grown(log, old)
    client = client_of(log)
    client.checkpoint()
    for index in (0, old - 1):
        client.inclusion(index)
    grown(log.fork(log.folder, 5), 300, "other ")
    with pytest.raises(ForkError) as caught:
        client.checkpoint()
    check_evidence(caught.value, log)


def test_a_fork_that_is_shorter_is_reported_when_the_tiles_show_it(log: SimLog, tmp_path: Path) -> None:
    grown(log, 9)
    client = client_of(log)
    client.checkpoint()
    other = log.fork(tmp_path / "other", 3)
    other.grow(2, "other ")
    log.write("checkpoint", other.note())
    with pytest.raises(ForkError) as caught:
        client.checkpoint()
    check_evidence(caught.value, log)


def test_an_older_head_of_the_same_history_is_ignored(log: SimLog) -> None:
    client = client_of(grown(log, 9))
    newest = client.checkpoint()
    log.write("checkpoint", log.note(size=4))
    assert client.checkpoint() == newest


def test_a_rolled_back_log_is_stale(log: SimLog, tmp_path: Path) -> None:
    grown(log, 400)
    state = tmp_path / "state"
    client_of(log, state).checkpoint()
    log.truncate(100)
    with pytest.raises(TransportError, match="offers size 100 after 400") as caught:
        client_of(log, state).checkpoint()
    assert caught.value.reason == "stale"
    assert open_checkpoint(state.read_bytes(), log.policy).size == 400


def test_damaged_tiles_are_no_fork(log: SimLog) -> None:
    client = client_of(grown(log, 5))
    client.checkpoint()
    grown(log, 5)
    log.damage("tile/0/000.p/10", at=9 * 32)
    with pytest.raises(ProofError) as caught:
        client.checkpoint()
    assert caught.value.reason == "damaged-tiles"
    log.publish()
    assert client.checkpoint().size == 10


def test_refuses_an_unknown_log_key_and_a_missing_quorum(log: SimLog) -> None:
    grown(log, 2)
    with pytest.raises(SignatureError) as caught:
        LogClient(log.folder, solo_policy(log_signer("swapped"))).checkpoint()
    assert caught.value.reason == "unknown-log-key"
    witnessed = SimLog(log.folder, witnesses=(witness_signer("w.example.org"),))
    with pytest.raises(PolicyError):
        LogClient(log.folder, witnessed.policy).checkpoint()


@pytest.mark.parametrize("size", [1, 6, 300])
def test_every_damaged_byte_of_a_tile_is_noticed(log: SimLog, size: int) -> None:
    grown(log, size)
    path = tile_path(Tile(0, 0, min(size, 256)))
    for at in (0, 31, 32 * (min(size, 256) - 1)):
        log.damage(path, at)
        with pytest.raises(ProofError) as caught:
            client_of(log).inclusion(0)
        assert caught.value.reason == "damaged-tiles"
        log.publish()


def test_a_tile_that_was_repaired_is_read_again(log: SimLog) -> None:
    grown(log, 20)
    log.damage("tile/0/000.p/20", at=40)
    client = client_of(log)
    with pytest.raises(ProofError):
        client.inclusion(3)
    log.publish()
    assert client.inclusion(3)


def test_an_envelope_that_does_not_yield_the_leaf_is_refused(log: SimLog) -> None:
    grown(log, 3)
    other = log.fork(log.folder.with_name("other"), 2)
    grown(other, 1, "other ")
    path = envelopes_path(0, 3)
    log.write(path, (other.folder / path).read_bytes())
    with pytest.raises(ProofError, match="index 2 does not yield") as caught:
        client_of(log).entry(0)
    assert caught.value.reason == "wrong-leaf"


def test_entries_of_another_tree_are_refused_even_when_they_fit_each_other(log: SimLog) -> None:
    grown(log, 300)
    other = log.fork(log.folder.with_name("other"), 299)
    grown(other, 1, "other ")
    for path in (envelopes_path(1, 44), entries_path(1, 44)):
        log.write(path, (other.folder / path).read_bytes())
    client = client_of(log)
    assert client.entry(255) == log.entries[255]
    for index in (256, 299):
        with pytest.raises(ProofError) as caught:
            client.entry(index)
        assert caught.value.reason == "damaged-tiles"


def test_every_byte_of_a_bundle_counts(log: SimLog) -> None:
    grown(log, 2)
    for path in (entries_path(0, 2), envelopes_path(0, 2)):
        whole = (log.folder / path).read_bytes()
        for bad in [whole[:cut] for cut in range(0, len(whole), 7)] + [whole + b"\x00"]:
            log.write(path, bad)
            with pytest.raises(VerifyError):
                client_of(log).entry(0)
        log.write(path, whole)
        for at in range(0, len(whole), 3):
            log.damage(path, at)
            with pytest.raises(VerifyError):
                client_of(log).entry(1)
            log.write(path, whole)


def test_a_tile_of_a_wrong_length_is_damage(log: SimLog) -> None:
    grown(log, 5)
    log.write("tile/0/000.p/5", b"\x00" * 159)
    with pytest.raises(DamageError, match="159 bytes"):
        client_of(log).inclusion(1)


def test_says_what_is_missing_in_a_folder(log: SimLog, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="'checkpoint'"):
        client_of(log).checkpoint()
    grown(log, 5)
    (log.folder / "tile/0/000.p/5").unlink()
    with pytest.raises(NotFoundError, match="tile/0/000"):
        client_of(log).inclusion(1)
    (tmp_path / "odd" / "checkpoint").mkdir(parents=True)
    with pytest.raises(TransportError, match="cannot be read"):
        LogClient(tmp_path / "odd", log.policy).checkpoint()


def test_a_folder_is_not_appended_to(log: SimLog) -> None:
    with pytest.raises(TransportError) as caught:
        client_of(grown(log, 1)).append(b"{}")
    assert caught.value.reason == "read-only"


# --- over HTTP ---


def test_reads_and_appends_over_http(log: SimLog, tmp_path: Path) -> None:
    grown(log, 3)
    with serving(log) as served:
        client = LogClient(served.url + "/", log.policy, tmp_path / "state")
        assert client.checkpoint().size == 3
        assert client.append(filler_envelope("new"), b"\xab" * 32) == 3
        assert client.append(filler_envelope("new")) == 3
        assert client.checkpoint().size == 4
        assert client.entry(3).envelope == filler_envelope("new")
        assert client.inclusion(3)
        (_, first, body), (_, second, _) = served.posts
        assert first["Touchplate-Key"] == "ab" * 32
        assert "Touchplate-Key" not in second
        assert body == filler_envelope("new")


def test_appends_many_at_once(log: SimLog) -> None:
    grown(log, 1)
    with serving(log) as served:
        client = LogClient(served.url, log.policy)
        results = client.append_batch(
            [filler_envelope("a"), b"refuse me", filler_envelope("0"), filler_envelope("b")]
        )
        assert results == [
            Appended(1, False),
            Rejected("unknown-key", "nobody knows this key"),
            Appended(0, True),
            Appended(2, False),
        ]
        assert [path for path, _, _ in served.posts] == ["/log/add-batch"]
        assert client.append_batch([]) == []


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b'{"results":[]}',
        b'{"results":{}}',
        b'{"results":[{"index":"1","duplicate":false}],"more":1}',
        b'{"results":[{"index":1,"duplicate":false}]}',
        b'{"results":[{"index":"01","duplicate":false}]}',
        b'{"results":[{"index":"9223372036854775808","duplicate":false}]}',
        b'{"results":[{"index":"1","duplicate":0}]}',
        b'{"results":[{"index":"1"}]}',
        b'{"results":[{"index":"1","duplicate":false,"more":1}]}',
        b'{"results":[{"error":{"reason":"x"}}]}',
        b'{"results":[{"error":"x"}]}',
        b'{"results":[null]}',
    ],
)
def test_refuses_an_answer_to_a_batch_that_does_not_fit(answer: bytes) -> None:
    with pytest.raises(MalformedError):
        _parse_results(answer, 1)


def test_a_missing_bundle_is_told(log: SimLog) -> None:
    grown(log, 256)
    (log.folder / entries_path(0)).unlink()
    with pytest.raises(NotFoundError, match="tile/entries/000"):
        client_of(log).entry(0)


def test_a_batch_is_cut_at_the_logs_limits(log: SimLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("touchplate.verify.client.MAX_BATCH_ENTRIES", 2)
    envelopes = [filler_envelope(f"{n}") for n in range(5)]
    with serving(log) as served:
        client = LogClient(served.url, log.policy)
        assert client.append_batch(envelopes) == [Appended(n, False) for n in range(5)]
        assert len(served.posts) == 3
        monkeypatch.setattr("touchplate.verify.client.MAX_BATCH_ENTRIES", 4096)
        monkeypatch.setattr("touchplate.verify.client.MAX_BATCH_BYTES", 3 * (len(envelopes[0]) + 4))
        client.append_batch(envelopes)
        assert len(served.posts) == 5
    assert MAX_BATCH_BYTES == 8 * 1024 * 1024


# --- age ---


def test_a_fetched_head_must_be_as_young_as_the_reader_says(tmp_path: Path) -> None:
    log = grown(SimLog(tmp_path / "log", witnesses=(witness_signer("w.example.org"),)), 3)
    signed = 1_800_000_000
    young = LogClient(log.folder, log.policy, max_age=60, clock=lambda: signed + 60.9)
    assert young.checkpoint().size == 3
    old = LogClient(log.folder, log.policy, max_age=60, clock=lambda: signed + 61)
    with pytest.raises(PolicyError, match="is 61 s, the trust file allows 60 s") as caught:
        old.checkpoint()
    assert caught.value.reason == "stale-checkpoint"


def test_a_head_whose_age_cannot_be_told_is_not_young(log: SimLog) -> None:
    grown(log, 1)
    with pytest.raises(PolicyError, match="cannot be told"):
        LogClient(log.folder, log.policy, max_age=60).checkpoint()
