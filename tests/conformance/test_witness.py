"""A foreign witness cosigns our growing log, and our verifier believes a head only with its line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.go_programs import built
from tests.conformance.made_logs import KEY
from tests.conformance.witness import NAME, Witness, running_witness
from tests.conformance.witness_build import WitnessPrograms, build_witness
from tests.log.support import record_envelope, running_log, sign
from tests.simkeys import log_signer, verifier_key, witness_signer

from touchplate.log.service import LogService
from touchplate.verify.checkpoints import open_checkpoint, sign_checkpoint
from touchplate.verify.errors import PolicyError, SignatureError
from touchplate.verify.policy import Policy, parse_policy

FIRST = 5
SECOND = 300


@pytest.fixture(scope="session")
def programs() -> WitnessPrograms:
    return built(build_witness, "omniwitness")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LogService]:
    """A log of five entries."""
    with running_log(tmp_path / "log") as service:
        grow(service, FIRST)
        yield service


@pytest.fixture
def witness(programs: WitnessPrograms, tmp_path: Path) -> Iterator[Witness]:
    """A witness that has seen nothing yet."""
    with running_witness(programs, tmp_path / "witness", KEY) as running:
        yield running


def grow(service: LogService, size: int) -> None:
    """Append until the log has `size` entries."""
    service.append([record_envelope(number) for number in range(service.reader.size(), size)])


def demanding(witness: Witness) -> Policy:
    """The policy that asks for this witness."""
    return parse_policy(f"log {KEY}\nwitness w1 {witness.key}\nquorum w1\n")


@pytest.mark.slow
def test_cosigns_our_log_as_it_grows(log: LogService, witness: Witness) -> None:
    policy = demanding(witness)
    first = log.checkpoint()
    answer = witness.add_checkpoint(0, [], first)
    assert answer.status == 200, answer
    assert answer.body.startswith(f"— {NAME} ".encode())
    opened = open_checkpoint(first + answer.body, policy)
    assert (opened.size, [name for name, _ in opened.cosigners]) == (FIRST, ["w1"])

    grow(log, SECOND)
    second = log.checkpoint()
    again = witness.add_checkpoint(FIRST, log.reader.consistency(FIRST, SECOND), second)
    assert again.status == 200, again
    opened = open_checkpoint(second + again.body, policy)
    assert (opened.size, [name for name, _ in opened.cosigners]) == (SECOND, ["w1"])

    # A cosignature is of one head.
    with pytest.raises(SignatureError):
        open_checkpoint(second + answer.body, policy)


@pytest.mark.slow
def test_a_head_without_its_cosignature_is_refused(log: LogService, witness: Witness) -> None:
    note = log.checkpoint()
    with pytest.raises(PolicyError) as caught:
        open_checkpoint(note, demanding(witness))
    assert caught.value.reason == "quorum"
    # Nor does its line count where another witness is asked for.
    line = witness.add_checkpoint(0, [], note).body
    other = verifier_key(witness_signer("other.example.org"))
    with pytest.raises(PolicyError) as caught:
        open_checkpoint(note + line, parse_policy(f"log {KEY}\nwitness w2 {other}\nquorum w2\n"))
    assert caught.value.reason == "quorum"


@pytest.mark.slow
def test_says_which_size_it_knows(log: LogService, witness: Witness) -> None:
    assert witness.add_checkpoint(0, [], log.checkpoint()).status == 200
    answer = witness.add_checkpoint(0, [], log.checkpoint())
    assert (answer.status, answer.content_type, answer.body) == (409, "text/x.tlog.size", b"5\n")
    # The same head again, from the size it knows, is cosigned again.
    answer = witness.add_checkpoint(FIRST, [], log.checkpoint())
    assert answer.status == 200
    assert open_checkpoint(log.checkpoint() + answer.body, demanding(witness)).size == FIRST


@pytest.mark.slow
def test_does_not_take_a_wrong_proof(log: LogService, witness: Witness) -> None:
    assert witness.add_checkpoint(0, [], log.checkpoint()).status == 200
    grow(log, SECOND)
    proof = log.reader.consistency(FIRST, SECOND)
    for wrong in ([], proof[:-1], [*proof, proof[0]], [proof[1], proof[0], *proof[2:]]):
        assert witness.add_checkpoint(FIRST, wrong, log.checkpoint()).status == 422
    assert witness.add_checkpoint(FIRST, proof, log.checkpoint()).status == 200


@pytest.mark.slow
def test_does_not_follow_a_fork(log: LogService, witness: Witness, tmp_path: Path) -> None:
    """What a witness is for: the log's own key on two histories."""
    assert witness.add_checkpoint(0, [], log.checkpoint()).status == 200
    with running_log(tmp_path / "fork") as fork:
        fork.append([record_envelope(number) for number in range(1000, 1000 + SECOND)])
        proof = fork.reader.consistency(FIRST, SECOND)
        assert witness.add_checkpoint(FIRST, proof, fork.checkpoint()).status == 422
    assert witness.add_checkpoint(FIRST, [], sign(FIRST, bytes(32))).status != 200


@pytest.mark.slow
def test_does_not_cosign_for_a_stranger(log: LogService, witness: Witness) -> None:
    head = log.tree.head()
    other_key = sign_checkpoint("log.example.org", head.size, head.root, log_signer("stranger"))
    for note in (other_key, log.checkpoint().replace(b"\n5\n", b"\n6\n")):
        assert witness.add_checkpoint(0, [], note).status != 200
