"""One witness asked: what it says of time is looked at before it counts."""

import pytest
from tests.simkeys import log_signer

from touchplate.base.http import Response
from touchplate.log.cosigning.config import Asked
from touchplate.log.cosigning.witness import AskedWitness, NotCosignedError, SignedHead
from touchplate.verify import mldsa
from touchplate.verify.checkpoints import sign_checkpoint
from touchplate.verify.encoding import encode_base64
from touchplate.verify.notes import generate_note_signer, unverified_text
from touchplate.verify.policy import Witness
from touchplate.verify.rfc6962 import EMPTY_ROOT

NOW = 1_800_000_000
NOTE = sign_checkpoint("log.example.org", 0, EMPTY_ROOT, log_signer())
HEAD = SignedHead(0, EMPTY_ROOT, NOTE)
SIGNER = generate_note_signer("w.example.org", "cosigner", "mldsa44")


class Answering:
    """A witness that gives one answer to everything."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def post(self, body: bytes) -> Response:
        return Response("http://w.example.org/add-checkpoint", 200, {}, self._body)

    def close(self) -> None:
        pass


def line(time: int) -> bytes:
    """The witness's line at `time`; 0 is for subtrees (tlog-cosignature), and our signer refuses it."""
    private, _ = mldsa.load_seed(SIGNER._seed)
    message = mldsa.cosigned_message(SIGNER.key.name, time, unverified_text(NOTE))
    payload = SIGNER.key.key_id + time.to_bytes(8, "big") + private.sign(message)
    return f"— {SIGNER.key.name} {encode_base64(payload)}\n".encode()


def ask(body: bytes) -> list[str]:
    asked = Asked("http://w.example.org", (Witness("w", SIGNER.key, "http://w.example.org"),))
    return list(AskedWitness(asked, Answering(body), now=lambda: NOW).ask(HEAD, lambda old, new: []))


def test_a_line_of_now_counts() -> None:
    assert ask(line(NOW)) == ["w"]


@pytest.mark.parametrize("time", [0, 1, NOW - 3600, NOW + 3600])
def test_a_line_without_a_time_or_of_another_one_does_not(time: int) -> None:
    with pytest.raises(NotCosignedError, match="no good"):
        ask(line(time))
