"""Targets: signed notes, checkpoints, policies and the keys that stand in them."""

import re
from functools import partial

from tests.fuzz.target import Target, attempt, expect, text_of
from tests.simkeys import ORIGIN, head, log_signer, solo_policy, verifier_key, witness_signer

from touchplate.verify.checkpoints import (
    format_checkpoint_body,
    open_checkpoint,
    parse_checkpoint_body,
    sign_checkpoint,
)
from touchplate.verify.notes import (
    format_signer_key,
    format_verifier_key,
    open_note,
    parse_signer_key,
    parse_verifier_key,
    sign_note,
)
from touchplate.verify.policy import format_policy, parse_policy
from touchplate.verify.rfc6962 import EMPTY_ROOT, leaf_hash

TIME = 1_800_000_000
SIGNERS = (log_signer(), witness_signer("witness.example.org"))
KEYS = tuple(signer.key for signer in SIGNERS)
POLICY = solo_policy()
WITNESSED = parse_policy(f"log {verifier_key(SIGNERS[0])}\nwitness w {verifier_key(SIGNERS[1])}\nquorum w\n")


def note(data: bytes) -> bool:
    """A note that opens is text, empty line and signature lines to the byte; a text that can be signed is
    the text that comes out."""
    opened = attempt(lambda: open_note(data, KEYS))
    if opened is not None:
        lines = data.removeprefix(opened.text.encode()).decode().split("\n")
        expect(lines[0] == "" and lines[-1] == "", "bytes outside text and signature lines")
        expect(len(lines) - 2 == len(opened.signatures) + opened.unknown, "a line that nobody counted")
        expect(all(re.fullmatch(r"— \S+ [A-Za-z0-9+/]+=*", line) for line in lines[1:-1]), "an odd line")
    text = text_of(data)
    signed = attempt(lambda: sign_note(text, SIGNERS, TIME))
    if signed is not None:
        again = open_note(signed, KEYS)
        expect(again.text == text and len(again.signatures) == 2, "a signed text comes back changed")
        expect(again.signatures[1].timestamp == TIME, "the time of a cosignature is lost")
    return opened is not None


def _notes() -> list[bytes]:
    signed = sign_note("hello\n\nworld\n", SIGNERS, TIME)
    foreign = sign_note("hello\n", [log_signer("other"), SIGNERS[0]])
    return [signed, foreign, signed[:-1], b"hello\n\n", b"\n\n\n", signed.replace(b"world", b"World")]


def checkpoint(data: bytes) -> bool:
    """A body has one spelling; what is opened is what was signed, and nothing unsigned is opened."""
    text = text_of(data)
    body = attempt(lambda: parse_checkpoint_body(text))
    if body is not None:
        expect(format_checkpoint_body(body.origin, body.size, body.root) == text, "another spelling")
        if body.origin == ORIGIN:
            signed = sign_checkpoint(ORIGIN, body.size, body.root, SIGNERS[0])
            known = open_checkpoint(signed, POLICY)
            expect((known.size, known.root) == (body.size, body.root), "another head was opened")
    opened = [
        attempt(partial(open_checkpoint, data, POLICY)),
        attempt(partial(open_checkpoint, data, WITNESSED)),
    ]
    for one in opened:
        if one is not None:
            expect(one.note.encode() == data, "another note was opened")
            expect(f"\n{one.size}\n".encode() in data, "a size that is not in the note")
    return body is not None or opened[0] is not None


def _checkpoints() -> list[bytes]:
    root = leaf_hash(b"x")
    bodies = [format_checkpoint_body(ORIGIN, 0, EMPTY_ROOT), format_checkpoint_body(ORIGIN, 2**63 - 1, root)]
    notes = [sign_note(body, signers, TIME) for body in bodies for signers in (SIGNERS, SIGNERS[:1])]
    extended = bodies[1] + "extension\n"
    return [*(body.encode() for body in bodies), *notes, extended.encode(), head(3, root).note.encode()[:-2]]


def note_key(data: bytes) -> bool:
    """Public and private keys have one text form, a final newline aside; a private one is never shown."""
    text = text_of(data)
    key = attempt(lambda: parse_verifier_key(text))
    if key is not None:
        expect(format_verifier_key(key) == text.removesuffix("\n"), "another spelling")
    signer = attempt(lambda: parse_signer_key(text))
    if signer is not None:
        expect(format_signer_key(signer) == text.removesuffix("\n"), "another spelling")
        expect(text.rpartition("+")[2].strip() not in repr(signer), "the repr shows the key")
    return key is not None or signer is not None


def _keys() -> list[bytes]:
    texts = [verifier_key(signer) for signer in SIGNERS] + [signer.format() for signer in SIGNERS]
    return [text.encode() for text in (*texts, texts[0] + "\n", texts[0].upper(), "a+00000000+Aw==")]


def policy(data: bytes) -> bool:
    """What is accepted means the same after it was written and read; one log at least, one origin."""
    parsed = attempt(lambda: parse_policy(text_of(data)))
    if parsed is None:
        return False
    expect(parse_policy(format_policy(parsed)) == parsed, "means something else when written")
    expect({log.key.name for log in parsed.logs} == {parsed.origin}, "several origins")
    everybody = [witness.name for witness in parsed.witnesses]
    expect(parsed.is_satisfied(everybody), "a quorum that nobody can reach")
    expect(parsed.is_satisfied([]) == (parsed.quorum == "none"), "a quorum without a vote")
    return True


def _policies() -> list[bytes]:
    log = f"log {verifier_key(SIGNERS[0])} https://log.example.org/\n"
    names = ["a", "b", "c"]
    witnesses = "".join(f"witness {name} {verifier_key(witness_signer(name))}\n" for name in names)
    grouped = log + witnesses + "group x any a b\ngroup y 2 x c\nquorum y\n"
    two = f"{log}log {verifier_key(log_signer('other'))}\n# a peer\n\nquorum none\n"
    return [text.encode() for text in (log + "quorum none\n", grouped, two, grouped[:-1], witnesses)]


TARGETS = (
    Target("note", note, _notes, 2048, ("— ", "\n\n", ORIGIN)),
    Target("checkpoint", checkpoint, _checkpoints, 2048, ("— ", "\n\n", ORIGIN)),
    Target("note-key", note_key, _keys, 512, ("PRIVATE+KEY+", ORIGIN)),
    Target(
        "policy", policy, _policies, 4096, ("log ", "witness ", "group ", "quorum ", "none", "any", "all")
    ),
)
