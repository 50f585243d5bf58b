"""Target: what anybody may send to a witness."""

from tests.fuzz.target import Target, attempt, expect
from tests.simkeys import ORIGIN, log_signer

from touchplate.log.errors import RequestError
from touchplate.log.witness.requests import format_add_checkpoint, parse_add_checkpoint
from touchplate.verify.checkpoints import sign_checkpoint
from touchplate.verify.rfc6962 import leaf_hash


def add_checkpoint(data: bytes) -> bool:
    """A request has one spelling, and its head stands in its note."""
    request = attempt(lambda: parse_add_checkpoint(data), RequestError)
    if request is None:
        return False
    expect(format_add_checkpoint(request.old_size, request.proof, request.note) == data, "another spelling")
    expect(len(request.proof) <= 63, "a proof of more than 63 hashes")
    head = request.head
    expect(request.note.startswith(f"{head.origin}\n{head.size}\n".encode()), "a head from elsewhere")
    return True


def _requests() -> list[bytes]:
    note = sign_checkpoint(ORIGIN, 300, leaf_hash(b"x"), log_signer())
    first = format_add_checkpoint(0, [], note)
    grown = format_add_checkpoint(17, [leaf_hash(b"a"), leaf_hash(b"b")], note)
    extended = grown.replace(b"=\n\n\xe2", b"=\nextension\n\n\xe2")
    return [first, grown, extended, grown[:-1], first.replace(b"old 0", b"old 00"), b"old 0\n\n"]


TARGETS = (Target("add-checkpoint", add_checkpoint, _requests, 2048, ("old ", "\n\n", "— ", ORIGIN)),)
