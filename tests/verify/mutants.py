"""Whole bundles, trust files and files under mutation, through what `touchplate verify` calls: the worlds
that tests/verify/test_mutations.py samples and tests/fuzz/test_exhaustive.py goes through entirely."""

import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tests.simkeys import ORIGIN, log_signer, verifier_key
from tests.verify.bundle_meaning import meaning
from tests.verify.bundles import make_bundle, make_checkpoint, make_proof
from tests.verify.cases import good_bundle, no_files, provenance, record, second, trust_text
from tests.verify.mutations import Mutant
from tests.verify.support import LIB, PUBLISHED

from touchplate.verify.check import FileDigests, Report, check_bundle, check_sigstore_bundle, digest_file
from touchplate.verify.checkpoints import open_checkpoint
from touchplate.verify.encoding import encode_base64
from touchplate.verify.errors import RefusedError, TrustError
from touchplate.verify.policy import parse_policy
from touchplate.verify.sigstore import log_id, sigstore_bundle
from touchplate.verify.trust import TrustFile, parse_trust

SIGNERS = (log_signer(), log_signer("peer 1"))
LOGS = "".join(f"log {verifier_key(signer)}\n" for signer in SIGNERS) + "quorum none\n"
LOG_LINE = f"— {ORIGIN} "
BOTH = ("recorded", "reproduced")


def digests(data: bytes = PUBLISHED) -> FileDigests:
    """What the check knows of a file."""
    return digest_file(io.BytesIO(data))


@dataclass(frozen=True)
class Form:
    """A good bundle of which every part is needed, and how it is checked."""

    name: str
    data: bytes
    check: Callable[..., Report]
    need: tuple[str, ...]
    trust_text: str

    @property
    def trust(self) -> TrustFile:
        return parse_trust(self.trust_text, no_files)

    def meaning(self, data: bytes) -> Any:
        """What `data` says, see bundle_meaning."""
        known = {str(signer.key): encode_base64(log_id(signer.key)) for signer in SIGNERS}
        return meaning(data, PUBLISHED, known)

    def __str__(self) -> str:
        return self.name


def ours() -> Form:
    """A record and two rebuilds, all of them needed."""
    return Form("ours", good_bundle(), check_bundle, BOTH, trust_text())


def ours_small() -> Form:
    """One record: small enough to damage every byte."""
    return Form("ours-small", make_bundle([record()]), check_bundle, BOTH[:1], trust_text())


def sigstore() -> Form:
    """One rebuild, under a head that one log key signed."""
    return _sigstore("sigstore", 1, 1)


def peers() -> Form:
    """The same under a head that two log keys signed, with an element for each."""
    return _sigstore("peers", 1, 2)


def sigstore_small() -> Form:
    """One record in Sigstore's form."""
    return _sigstore("sigstore-small", 0, 1)


def _sigstore(name: str, index: int, signers: int) -> Form:
    entries, policy = [record(), provenance(), second()], parse_policy(LOGS)
    head = open_checkpoint(make_checkpoint(entries, SIGNERS[:signers]), policy)
    data = sigstore_bundle(entries[index], index, make_proof(entries, index), head, policy)
    need = BOTH[1:] if index else BOTH[:1]
    return Form(name, data, check_sigstore_bundle, need, trust_text("operators = 1", policy=LOGS))


FORMS = (ours, sigstore, peers)
SMALL_FORMS = (ours_small, sigstore_small)


def check_mutants(form: Form, mutants: Iterable[Mutant]) -> int:
    """None of `mutants` is accepted unless it says what the good bundle says. Returns how many were."""
    file, trust, good, accepted = digests(), form.trust, form.meaning(form.data), 0
    for what, data in mutants:
        try:
            form.check(data, file, LIB, trust, now=0, need=form.need)
        except RefusedError:
            continue
        assert form.meaning(data) == good, f"accepted: {what}"
        accepted += 1
    return accepted


def check_trust_mutants(mutants: Iterable[Mutant]) -> int:
    """A damaged trust file is refused, or believes no more than the good one. Returns how many parse."""
    form, file, parsed = ours(), digests(), 0
    good = form.trust
    for what, data in mutants:
        try:
            trust = parse_trust(data.decode("latin-1"), no_files)
        except TrustError:
            continue
        parsed += 1
        try:
            check_bundle(form.data, file, LIB, trust, now=0, need=form.need)
        except RefusedError:
            continue
        assert trust.policy.keys == good.policy.keys, f"another log is believed: {what}"
        assert {(key.kind, key.key) for key in trust.keys} <= {(key.kind, key.key) for key in good.keys}, what
        assert trust.reproduced.operators >= 2, what
        assert len({key.operator for key in trust.keys if key.kind == "rebuilder"}) >= 2, what
    return parsed


def harmless(form: Form) -> dict[str, bytes]:
    """For each kind of change in bundle_meaning.INSIGNIFICANT that this form can have, an example."""
    text, value = form.data, json.loads(form.data)
    unknown = log_signer("unknown").sign(f"{ORIGIN}\n3\nx\n")
    examples = {
        "white space between tokens, and how a character is escaped": b" "
        + json.dumps(value, indent=2).replace("mediaType", "m\\u0065diaType").encode()
        + b"\n",
        "the order of the members of an object": json.dumps(dict(reversed(value.items()))).encode(),
        "signature lines of unknown keys": text.replace(
            json.dumps(f"\n\n{LOG_LINE}", ensure_ascii=False)[1:-1].encode(),
            json.dumps(f"\n\n{unknown}{LOG_LINE}", ensure_ascii=False)[1:-1].encode(),
        ),
    }
    if "artifact" in value:
        known = dict(digests().digests)
        changes: dict[str, dict[str, object]] = {
            "artifact.name": {"name": "another.jar"},
            "artifact.package": {"package": "pkg:maven/g/a@1?type=pom"},
            "right digests beside artifact.digest.sha256": {"digest": known},
        }
        for name, change in changes.items():
            examples[name] = json.dumps({**value, "artifact": {**value["artifact"], **change}}).encode()
    else:
        elements = value["verificationMaterial"]["tlogEntries"]
        stranger = {**elements[0], "logId": {"keyId": encode_base64(log_id(log_signer("unknown").key))}}
        elements.append(stranger)
        examples["tlogEntries of unknown log keys"] = json.dumps(value).encode()
        if len(elements) > 2:
            del elements[1:]
            examples["all but one of the tlogEntries"] = json.dumps(value).encode()
    return examples
