"""What a witness answers to every kind of request, in the words of tlog-witness."""

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Barrier, Thread

import pytest
from tests.log.witness.support import COSIGNER, NAME, NOW, PQ_COSIGNER, SomeLog, make_witness, open_memory
from tests.simkeys import log_signer, note_signer, verifier_key, witness_signer

from touchplate.log.errors import (
    STATUS,
    BusyError,
    InconsistentError,
    LogError,
    NotFoundError,
    OtherSizeError,
    StorageFailedError,
    UntrustedError,
)
from touchplate.log.witness.config import WitnessConfig, WitnessedLog, load_signers
from touchplate.log.witness.memory import Cosigned
from touchplate.log.witness.requests import format_add_checkpoint
from touchplate.log.witness.service import Witness
from touchplate.verify.notes import open_note, sign_note

LOG = SomeLog()
FORK = SomeLog(branch="other ")
STRANGER = SomeLog("stranger.example.org")


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Witness]:
    """A witness that knows LOG and has cosigned it at size 5."""
    made = make_witness(tmp_path, [LOG.listed])
    made.add_checkpoint(LOG.request(0, 5))
    yield made
    made.close()


def status_of(witness: Witness, body: bytes) -> int:
    try:
        witness.add_checkpoint(body)
    except LogError as error:
        return STATUS.status(error).http
    return 200


def with_line(note: bytes, line: str) -> bytes:
    return note + line.encode()


def flipped(note: bytes) -> bytes:
    """The note with one bit of its (last) signature changed."""
    at = len(note) - 20
    return note[:at] + (b"A" if note[at : at + 1] != b"A" else b"B") + note[at + 1 :]


def other_line(size: int) -> str:
    return note_signer("someone.example.org", "log").sign(LOG.text(size))


PROOF = LOG.proof(5, 300)
CASES: dict[str, tuple[int, Callable[[], bytes]]] = {
    "grows": (200, lambda: LOG.request(5, 300)),
    "the same head again": (200, lambda: LOG.request(5, 5)),
    "extension lines": (200, lambda: format_add_checkpoint(5, PROOF, LOG.note(300, "more"))),
    "a stranger's line beside": (
        200,
        lambda: format_add_checkpoint(5, PROOF, with_line(LOG.note(300), other_line(300))),
    ),
    "63 lines beside": (
        200,
        lambda: format_add_checkpoint(5, PROOF, with_line(LOG.note(300), other_line(300) * 63)),
    ),
    "64 lines beside": (
        400,
        lambda: format_add_checkpoint(5, PROOF, with_line(LOG.note(300), other_line(300) * 64)),
    ),
    "old line missing": (400, lambda: LOG.note(300)),
    "64 hashes": (400, lambda: format_add_checkpoint(5, [bytes(32)] * 64, LOG.note(300))),
    "old beyond the checkpoint": (400, lambda: format_add_checkpoint(6, [], LOG.note(5))),
    "unknown origin": (404, lambda: STRANGER.request(0, 5)),
    "unknown origin, malformed": (400, lambda: STRANGER.request(0, 5)[:-1]),
    "unknown origin, signed by a known key": (
        404,
        lambda: format_add_checkpoint(0, [], sign_note(STRANGER.text(5), [LOG.signer])),
    ),
    "no known key": (
        403,
        lambda: format_add_checkpoint(5, PROOF, sign_note(LOG.text(300), [SomeLog(salt="x").signer])),
    ),
    "bad signature": (403, lambda: format_add_checkpoint(5, PROOF, flipped(LOG.note(300)))),
    "bad signature and old beyond": (403, lambda: format_add_checkpoint(9, [], flipped(LOG.note(5)))),
    "signed as a cosigner": (
        403,
        lambda: format_add_checkpoint(
            5, PROOF, sign_note(LOG.text(300), [note_signer(LOG.origin, "cosigner")], NOW)
        ),
    ),
    "a good line and a bad one of the same key": (
        403,
        lambda: format_add_checkpoint(
            5, PROOF, LOG.note(300) + flipped(LOG.note(300)).rpartition(b"\n\n")[2]
        ),
    ),
    "old too small": (409, lambda: LOG.request(4, 300)),
    "old zero": (409, lambda: LOG.request(0, 300)),
    "old too large": (409, lambda: LOG.request(6, 300)),
    "goes back": (409, lambda: LOG.request(4, 4)),
    "proof missing": (422, lambda: format_add_checkpoint(5, [], LOG.note(300))),
    "proof of another tree": (422, lambda: FORK.request(5, 300)),
    "proof where none belongs": (422, lambda: format_add_checkpoint(5, PROOF, LOG.note(5))),
    "another root of the same size": (422, lambda: format_add_checkpoint(5, [], LOG.note(5, root=bytes(32)))),
    "a fork of the same size": (422, lambda: FORK.request(5, 5)),
}


@pytest.mark.parametrize("case", CASES)
def test_each_request_has_the_status_of_the_specification(case: str, witness: Witness) -> None:
    status, make = CASES[case]
    assert status_of(witness, make()) == status
    # Whatever it was, the witness goes on from where it is.
    size = 300 if status == 200 and b"\n300\n" in make() else 5
    assert status_of(witness, LOG.request(size, 300)) == 200


NEW: dict[str, tuple[int, Callable[[], bytes]]] = {
    "first": (200, lambda: LOG.request(0, 300)),
    "first, empty tree": (200, lambda: LOG.request(0, 0)),
    "first, empty tree with another root": (
        422,
        lambda: format_add_checkpoint(0, [], LOG.note(0, root=bytes(32))),
    ),
    "first with a proof": (422, lambda: format_add_checkpoint(0, PROOF, LOG.note(300))),
    "first, from another size": (409, lambda: LOG.request(5, 300)),
}


@pytest.mark.parametrize("case", NEW)
def test_the_first_head_of_a_log_has_no_proof(case: str, tmp_path: Path) -> None:
    status, make = NEW[case]
    assert status_of(make_witness(tmp_path, [LOG.listed]), make()) == status


def test_another_size_is_told(witness: Witness) -> None:
    with pytest.raises(OtherSizeError) as caught:
        witness.add_checkpoint(LOG.request(0, 300))
    assert caught.value.size == 5


def test_a_wrong_byte_anywhere_in_the_proof_is_refused(witness: Witness) -> None:
    note = LOG.note(300)
    for number, node in enumerate(PROOF):
        for at in range(32):
            bad = node[:at] + bytes([node[at] ^ 1]) + node[at + 1 :]
            proof = [*PROOF[:number], bad, *PROOF[number + 1 :]]
            with pytest.raises(InconsistentError):
                witness.add_checkpoint(format_add_checkpoint(5, proof, note))
    for proof in (PROOF[:-1], [*PROOF, PROOF[0]], PROOF[::-1]):
        with pytest.raises(InconsistentError):
            witness.add_checkpoint(format_add_checkpoint(5, proof, note))
    assert status_of(witness, LOG.request(5, 300)) == 200


def test_a_changed_byte_anywhere_in_a_request_is_refused(witness: Witness) -> None:
    body = LOG.request(5, 300)
    for at in range(len(body)):
        changed = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        assert status_of(witness, changed) != 200, at
    assert status_of(witness, body) == 200


def test_cosigns_with_each_of_its_keys_at_its_time(tmp_path: Path) -> None:
    witness = make_witness(tmp_path, [LOG.listed], [COSIGNER, PQ_COSIGNER])
    lines = witness.add_checkpoint(LOG.request(0, 5))
    assert lines.count(b"\n") == 2
    opened = open_note(LOG.note(5) + lines, [LOG.signer.key, COSIGNER.key, PQ_COSIGNER.key])
    assert [each.timestamp for each in opened.signatures] == [None, NOW, NOW]
    assert opened.unknown == 0


def test_a_log_may_have_several_keys(tmp_path: Path) -> None:
    old, new = SomeLog(), SomeLog(salt="new")
    listed = WitnessedLog((verifier_key(old.signer), verifier_key(new.signer)))
    witness = make_witness(tmp_path, [listed])
    assert status_of(witness, old.request(0, 5)) == 200
    assert status_of(witness, new.request(5, 9)) == 200
    both = sign_note(old.text(12), [old.signer, new.signer])
    assert status_of(witness, format_add_checkpoint(9, old.proof(9, 12), both)) == 200
    # One good line does not make up for a bad one of a known key (signed-note).
    spoilt = with_line(old.note(20), new.signer.sign(old.text(21)))
    assert status_of(witness, format_add_checkpoint(12, old.proof(12, 20), spoilt)) == 403


def test_what_is_kept_is_what_was_signed_without_strangers(witness: Witness) -> None:
    from hashlib import sha256

    note = with_line(LOG.note(300), other_line(300))
    lines = witness.add_checkpoint(format_add_checkpoint(5, PROOF, note))
    digest = sha256(LOG.origin.encode()).hexdigest()
    assert witness.checkpoint(digest) == LOG.note(300) + lines
    with pytest.raises(NotFoundError):
        witness.checkpoint(sha256(b"nobody").hexdigest())


def test_nothing_is_forgotten_by_a_new_start(tmp_path: Path) -> None:
    first = make_witness(tmp_path, [LOG.listed])
    first.add_checkpoint(LOG.request(0, 5))
    first.close()
    second = make_witness(tmp_path, [LOG.listed])
    assert status_of(second, FORK.request(5, 5)) == 422
    assert status_of(second, FORK.request(0, 7)) == 409
    assert status_of(second, LOG.request(5, 300)) == 200


class FailingMemory:
    """A real memory whose next write fails, before or after it has happened."""

    def __init__(self, folder: Path) -> None:
        self._real = open_memory(folder)
        self.fail = ""

    def read(self, origin: str) -> Cosigned | None:
        return self._real.read(origin)

    def advance(self, origin: str, old: Cosigned | None, new: Cosigned) -> bool:
        failure, self.fail = self.fail, ""
        if failure == "before":
            raise StorageFailedError("failing before the effect")
        done = self._real.advance(origin, old, new)
        if failure == "after":
            raise StorageFailedError("failing after the effect")
        return done

    def close(self) -> None:
        self._real.close()


@pytest.mark.parametrize("failure", ["before", "after"])
def test_a_failed_write_lets_no_cosignature_out_and_no_fork_in(failure: str, tmp_path: Path) -> None:
    memory = FailingMemory(tmp_path)
    witness = Witness([COSIGNER], [LOG.listed], memory, now=lambda: NOW)
    witness.add_checkpoint(LOG.request(0, 5))
    memory.fail = failure
    assert status_of(witness, LOG.request(5, 9)) == 503
    size = 9 if failure == "after" else 5
    assert status_of(witness, FORK.request(size, 9)) == 422
    assert status_of(witness, LOG.request(size, 9)) == 200


def test_two_histories_at_once_give_one_cosigned_head_of_each_size(tmp_path: Path) -> None:
    witness = make_witness(tmp_path, [LOG.listed])
    signed: list[tuple[int, int]] = []
    barrier = Barrier(8)

    def client(number: int) -> None:
        log = (LOG, FORK)[number % 2]
        barrier.wait()
        size = 0
        while size < 30:
            new = size + 1
            try:
                witness.add_checkpoint(log.request(size, new))
            except OtherSizeError as error:
                size = error.size
            except InconsistentError:
                return  # the other history was first
            else:
                signed.append((new, number % 2))

    threads = [Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({branch for _, branch in signed}) == 1
    assert sorted(size for size, _ in signed) == list(range(1, 31))
    witness.close()


def test_two_processes_on_one_memory_do_not_roll_back(tmp_path: Path) -> None:
    """The lock keeps a second process out; should it fail, compare-and-swap still holds."""
    one, two = open_memory(tmp_path), open_memory(tmp_path)
    head = Cosigned(5, LOG.root(5), b"note")
    assert one.advance(LOG.origin, None, head)
    assert not two.advance(LOG.origin, None, Cosigned(5, FORK.root(5), b"note"))
    assert two.advance(LOG.origin, head, Cosigned(9, LOG.root(9), b"note"))
    assert not one.advance(LOG.origin, head, Cosigned(7, LOG.root(7), b"note"))
    found = one.read(LOG.origin)
    assert found is not None
    assert found.size == 9
    one.close()
    two.close()


# --- configuration ---


def test_mistakes_in_the_table_are_named() -> None:
    cosigner = verifier_key(COSIGNER)
    assert "not a log key" in str(WitnessedLog((cosigner,)).check())
    assert "at least one" in str(WitnessedLog(()).check())
    assert "different names" in str(
        WitnessedLog((verifier_key(log_signer()), verifier_key(STRANGER.signer))).check()
    )
    assert "ID" in str(WitnessedLog(("nonsense",)).check())
    twice = WitnessConfig((), (LOG.listed, LOG.listed)).check()
    assert any("twice" in each for each in twice)
    assert any("one cosigner key" in each for each in twice)


def test_keys_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    from touchplate.base.config import Secret
    from touchplate.verify.notes import NoteSigner

    def config(*signers: NoteSigner) -> WitnessConfig:
        secrets = []
        for number, signer in enumerate(signers):
            path = tmp_path / f"{number}.key"
            path.unlink(missing_ok=True)
            path.touch(0o600)
            path.write_text(signer.format() + "\n")
            secrets.append(Secret.parse(f"file:{path}", tmp_path))
        return WitnessConfig(tuple(secrets), (LOG.listed,))

    assert [each.key for each in load_signers(config(COSIGNER, PQ_COSIGNER))] == [
        COSIGNER.key,
        PQ_COSIGNER.key,
    ]
    for signers, word in (
        ((log_signer(),), "not a cosigner key"),
        ((COSIGNER, witness_signer("other.example.org")), "one name"),
        ((COSIGNER, note_signer(COSIGNER.key.name, "cosigner", "2")), "each algorithm"),
    ):
        with pytest.raises(LogError, match=word):
            load_signers(config(*signers))


def test_the_statuses_are_those_of_the_table() -> None:
    assert STATUS.status(UntrustedError("x")).http == 403
    assert STATUS.status(OtherSizeError("x", 1)).http == 409
    assert STATUS.status(InconsistentError("x")).http == 422


def test_signs_nothing_with_an_earlier_time_than_before(tmp_path: Path) -> None:
    times = [NOW + 50]
    other = SomeLog("other.example.org")

    def opened() -> Witness:
        listed = [LOG.listed, other.listed]
        return Witness([COSIGNER, PQ_COSIGNER], listed, open_memory(tmp_path), now=lambda: times[-1])

    witness = opened()
    assert status_of(witness, LOG.request(0, 5)) == 200
    for restarted in (False, True):
        if restarted:  # it is on disk with the head
            witness.close()
            witness = opened()
        times.append(NOW + 49)
        for request in (LOG.request(5, 9), LOG.request(5, 5)):
            with pytest.raises(BusyError, match="set the clock right") as caught:
                witness.add_checkpoint(request)
            assert (caught.value.reason, STATUS.status(caught.value).http) == ("clock", 503)
        # A wrong request is told so all the same.
        assert status_of(witness, FORK.request(5, 9)) == 422
    # Of another log nothing is known that would be later.
    assert status_of(witness, other.request(0, 5)) == 200
    times.append(NOW + 50)
    assert status_of(witness, LOG.request(5, 9)) == 200
    times.append(NOW + 49)
    assert status_of(witness, LOG.request(9, 12)) == 503
    times.append(NOW + 51)
    assert status_of(witness, LOG.request(9, 12)) == 200
    witness.close()


def test_a_witness_with_a_new_key_begins_with_its_own_times(tmp_path: Path) -> None:
    witness = make_witness(tmp_path, [LOG.listed])
    assert status_of(witness, LOG.request(0, 5)) == 200
    witness.close()
    fresh = Witness([witness_signer(NAME + "/new")], [LOG.listed], open_memory(tmp_path), now=lambda: NOW - 9)
    assert status_of(fresh, LOG.request(5, 9)) == 200
    fresh.close()
