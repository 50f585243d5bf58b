"""C2SP tlog-proof: one strict form, and nothing passes that was changed."""

from pathlib import Path

import pytest
from tests.simkeys import log_signer, solo_policy, witness_signer
from tests.simlog import SimLog
from tests.simtiles import tiles_from
from tests.verify.support import mangle

from touchplate.verify.entry import pack_entry
from touchplate.verify.errors import MalformedError, PolicyError, ProofError, SignatureError, VerifyError
from touchplate.verify.notes import MAX_NOTE_BYTES
from touchplate.verify.proofs import prove_inclusion
from touchplate.verify.tiles import TileReader
from touchplate.verify.tlog_proof import (
    MAX_EXTRA_BYTES,
    MAX_TLOG_PROOF_BYTES,
    TlogProof,
    check_tlog_proof,
    format_tlog_proof,
    parse_tlog_proof,
)
from touchplate.verify.values import replace

HASH = b"\1" * 32


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> SimLog:
    made = SimLog(tmp_path_factory.mktemp("log"), witnesses=(witness_signer("w.example.org"),))
    made.grow(11)
    return made


def proof_of(log: SimLog, index: int, extra: bytes | None = None) -> TlogProof:
    tiles = tiles_from([entry.leaf_hash for entry in log.entries])
    reader = TileReader(tiles.__getitem__, len(log.entries))
    hashes = prove_inclusion(reader, index, len(log.entries))
    return TlogProof(index, tuple(hashes), log.note(), extra)


@pytest.mark.parametrize("extra", [None, b"x", b"\0" * 1000], ids=["none", "one", "many"])
@pytest.mark.parametrize("index", [0, 7, 10])
def test_formats_parses_and_checks(log: SimLog, index: int, extra: bytes | None) -> None:
    proof = proof_of(log, index, extra)
    data = format_tlog_proof(proof)
    assert parse_tlog_proof(data) == proof
    assert format_tlog_proof(parse_tlog_proof(data)) == data
    head = check_tlog_proof(proof, log.entries[index].leaf_data, log.policy)
    assert (head.size, head.root) == (11, log.root())


def test_has_the_lines_of_the_specification(log: SimLog) -> None:
    lines = format_tlog_proof(proof_of(log, 10, b"hello")).decode().split("\n")
    assert lines[:3] == ["c2sp.org/tlog-proof@v1", "extra aGVsbG8=", "index 10"]
    assert lines[5:8] == ["", "log.example.org", "11"]


def test_a_tree_of_one_needs_no_hashes(tmp_path: Path) -> None:
    log = SimLog(tmp_path)
    log.grow(1)
    data = format_tlog_proof(TlogProof(0, (), log.note()))
    assert data.startswith(b"c2sp.org/tlog-proof@v1\nindex 0\n\nlog.example.org\n1\n")
    assert check_tlog_proof(parse_tlog_proof(data), log.entries[0].leaf_data, log.policy).size == 1


def test_no_changed_byte_passes_unless_it_changes_nothing(log: SimLog) -> None:
    """Every truncation, flip and insertion: refused, or the same claim about the same leaf."""
    proof = proof_of(log, 5)
    leaf = log.entries[5].leaf_data
    good = format_tlog_proof(proof)
    for changed in mangle(good):
        try:
            read = parse_tlog_proof(changed)
            head = check_tlog_proof(read, leaf, log.policy)
        except VerifyError:
            continue
        raise AssertionError(f"{changed!r} was taken: {read}, {head}")


def test_changed_extra_data_is_seen_as_such_and_changes_no_claim(log: SimLog) -> None:
    good = format_tlog_proof(proof_of(log, 5, b"label"))
    begin, end = good.index(b"extra "), good.index(b"index")
    for at in range(begin + len(b"extra "), end - 1):
        changed = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
        try:
            read = parse_tlog_proof(changed)
        except MalformedError:
            continue
        assert read.extra != b"label"
        assert replace(read, extra=b"label") == proof_of(log, 5, b"label")
        assert check_tlog_proof(read, log.entries[5].leaf_data, log.policy).size == 11


def test_a_line_of_an_unknown_signer_may_come_go_and_change(log: SimLog) -> None:
    stranger = witness_signer("stranger.example.org")
    proof = proof_of(log, 3)
    text = proof.checkpoint.decode().partition("\n\n")[0] + "\n"
    longer = replace(proof, checkpoint=proof.checkpoint + stranger.sign(text, time=1).encode())
    head = check_tlog_proof(longer, log.entries[3].leaf_data, log.policy)
    assert head.cosigners == check_tlog_proof(proof, log.entries[3].leaf_data, log.policy).cosigners


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        b"c2sp.org/tlog-proof@v1\n\nnote\n",
        b"c2sp.org/tlog-proof@v2\nindex 0\n\nnote\n",
        b"c2sp.org/tlog-proof@v1 \nindex 0\n\nnote\n",
        b"c2sp.org/tlog-proof@v1\r\nindex 0\r\n\r\nnote\r\n",
        b"c2sp.org/tlog-proof@v1\nindex 0\n\n",
        b"c2sp.org/tlog-proof@v1\nindex 00\n\nnote\n",
        b"c2sp.org/tlog-proof@v1\nindex +1\n\nnote\n",
        b"c2sp.org/tlog-proof@v1\nindex  1\n\nnote\n",
        b"c2sp.org/tlog-proof@v1\nindex -1\n\nnote\n",
        b"c2sp.org/tlog-proof@v1\nindex 9223372036854775808\n\nnote\n",
        b"c2sp.org/tlog-proof@v1\nextra \nindex 1\n\nnote\n",
        b"c2sp.org/tlog-proof@v1\nextra eA\nindex 1\n\nnote\n",
        b"c2sp.org/tlog-proof@v1\nextra eA==\nextra eA==\nindex 1\n\nnote\n",
        b"c2sp.org/tlog-proof@v1\nindex 1\nextra eA==\n\nnote\n",
        b"c2sp.org/tlog-proof@v1\nindex 1\nAAAA\n\nnote\n",
        b"c2sp.org/tlog-proof@v1\nindex 1\nindex 1\n\nnote\n",
        b"c2sp.org/tlog-proof@v1\nindex 1\n\xc3\xa9\n\nnote\n",
    ],
)
def test_refuses_every_other_form(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_tlog_proof(data)


def test_keeps_to_its_limits(log: SimLog) -> None:
    proof = proof_of(log, 0)
    note = b"n" * MAX_NOTE_BYTES
    largest = TlogProof(2**63 - 1, (HASH,) * 63, note, b"e" * MAX_EXTRA_BYTES)
    assert parse_tlog_proof(format_tlog_proof(largest)) == largest
    for wrong in (
        replace(proof, hashes=(HASH,) * 64),
        replace(proof, hashes=(HASH[1:],)),
        replace(proof, checkpoint=note + b"n"),
        replace(proof, checkpoint=b""),
        replace(proof, extra=b"e" * (MAX_EXTRA_BYTES + 1)),
        replace(proof, extra=b""),
        replace(proof, index=2**63),
        replace(proof, index=-1),
    ):
        with pytest.raises(MalformedError):
            format_tlog_proof(wrong)
    with pytest.raises(MalformedError, match="at most"):
        parse_tlog_proof(b"x" * (MAX_TLOG_PROOF_BYTES + 1))


def test_a_packed_entry_fits_into_the_extra_data(log: SimLog) -> None:
    packed = pack_entry(log.entries[0])
    assert parse_tlog_proof(format_tlog_proof(proof_of(log, 0, packed))).extra == packed


def test_another_leaf_index_log_or_quorum_is_refused(log: SimLog, tmp_path: Path) -> None:
    proof, leaf = proof_of(log, 4), log.entries[4].leaf_data
    with pytest.raises(ProofError):
        check_tlog_proof(proof, log.entries[5].leaf_data, log.policy)
    with pytest.raises(ProofError):
        check_tlog_proof(replace(proof, index=5), leaf, log.policy)
    with pytest.raises(ProofError):
        check_tlog_proof(replace(proof, hashes=proof.hashes[:-1]), leaf, log.policy)
    with pytest.raises(SignatureError, match="not signed by a log"):
        check_tlog_proof(proof, leaf, solo_policy(log_signer("another")))
    alone = SimLog(tmp_path)
    alone.entries = log.entries
    with pytest.raises(PolicyError, match="quorum"):
        check_tlog_proof(replace(proof, checkpoint=alone.note()), leaf, log.policy)
