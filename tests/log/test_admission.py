"""Admission: who may write what, and which reason a refusal gives."""

from itertools import product

import pytest
from tests.log.support import (
    BUILDER,
    OPERATOR,
    REBUILDER,
    RECORDER,
    STRANGER,
    admission_list,
    listed,
    record_envelope,
    record_payload,
    signed_entry,
)
from tests.verify.support import make_provenance

from touchplate.log.admission import Admission, check_permission
from touchplate.log.errors import STATUS, AdmissionError, LogError
from touchplate.verify.dsse import PAYLOAD_TYPE, format_envelope, pae, parse_envelope, sign_envelope
from touchplate.verify.jcs import JSONValue, format_json, parse_json
from touchplate.verify.keys import P256_ORDER, generate_signer
from touchplate.verify.predicates.summary import SUMMARY_TYPE
from touchplate.verify.purl import parse_purl
from touchplate.verify.statements import (
    STATEMENT_TYPE,
    Provenance,
    make_subject,
    parse_predicate,
    parse_statement,
)
from touchplate.verify.trust import TrustedKey


def make(*blocks: TrustedKey, next_index: int = 0) -> Admission:
    return Admission(admission_list(*blocks), lambda: next_index)


def refusal(admission: Admission, envelope: bytes, hint: bytes | None = None) -> tuple[str, int]:
    """(reason, HTTP status) of a refusal."""
    with pytest.raises(AdmissionError) as caught:
        admission.admit(envelope, hint)
    return caught.value.reason, STATUS.status(caught.value).http


def changed(**members: JSONValue) -> bytes:
    value = parse_json(record_payload(1), max_bytes=65536)
    assert isinstance(value, dict)
    return format_json({**value, **members})


@pytest.mark.parametrize("hint", [None, RECORDER.key.spki_sha256], ids=["no hint", "a hint"])
def test_finds_the_key_and_makes_the_packed_entry(hint: bytes | None) -> None:
    assert make().admit(record_envelope(1), hint) == signed_entry(1)


def test_finds_an_ed25519_key_among_others() -> None:
    signer = generate_signer("ed25519")
    admission = make(listed(RECORDER), listed(signer), listed(REBUILDER, "rebuilder"))
    assert admission.admit(record_envelope(1, signer)) == signed_entry(1, signer)


def test_whoever_wrote_last_changes_no_verdict() -> None:
    """Every pair of submissions, one after the other, each judged as by a log that saw nothing before."""
    signers = [RECORDER, generate_signer(), generate_signer("ed25519"), STRANGER]
    good = [record_envelope(number, signer) for number, signer in enumerate(signers)]
    lists = [
        admission_list(*map(listed, signers[:3])),
        admission_list(listed(signers[1]), listed(signers[2])),
    ]
    lists.append(admission_list(listed(signers[2])))
    signatures = (
        b"",
        bytes(64),
        bytes(70),
        parse_envelope(good[1]).signature,
        parse_envelope(good[2]).signature,
    )
    odd = [format_envelope(record_payload(9), signature) for signature in signatures]
    for first, second in product(good + odd, repeat=2):
        admission = Admission(lists[0], lambda: 0)
        for current in lists:
            admission.follow(current)  # whoever wrote last may not be listed any more
            for envelope in (first, second):
                assert said(admission, envelope) == said(Admission(current, lambda: 0), envelope)


def said(admission: Admission, envelope: bytes) -> object:
    try:
        return admission.admit(envelope)
    except AdmissionError as error:
        return error.reason, str(error)


def test_refuses_a_stranger_with_and_without_a_hint() -> None:
    envelope = record_envelope(1, STRANGER)
    assert refusal(make(), envelope) == ("unknown-key", 403)
    assert refusal(make(), envelope, STRANGER.key.spki_sha256) == ("unknown-key", 403)
    assert refusal(make(), envelope, RECORDER.key.spki_sha256) == ("bad-signature", 400)


def test_refuses_everybody_when_nobody_is_listed() -> None:
    empty = admission_list(listed(RECORDER))
    nobody = Admission(type(empty)(()), lambda: 0)
    assert refusal(nobody, record_envelope(1)) == ("unknown-key", 403)


def test_refuses_a_key_of_another_kind() -> None:
    assert refusal(make(), record_envelope(1, REBUILDER)) == ("wrong-kind", 403)


def test_refuses_another_ecosystem() -> None:
    admission = make(listed(RECORDER, ecosystems=("conan", "oci")))
    assert refusal(admission, record_envelope(1)) == ("wrong-ecosystem", 403)


@pytest.mark.parametrize(("next_index", "admitted"), [(9, False), (10, True), (19, True), (20, False)])
def test_keeps_the_half_open_range_of_indexes(next_index: int, admitted: bool) -> None:
    admission = make(listed(RECORDER, from_index=10, until_index=20), next_index=next_index)
    if admitted:
        admission.admit(record_envelope(1))
    else:
        assert refusal(admission, record_envelope(1)) == ("wrong-index", 403)


def test_says_that_a_key_is_out_of_its_range_before_it_looks_at_the_statement() -> None:
    nothing = sign_envelope(b"{}", RECORDER)
    assert refusal(make(listed(RECORDER, until_index=20), next_index=19), nothing)[0] == "malformed"
    ended = make(listed(RECORDER, until_index=20), next_index=20)
    for hint in (None, RECORDER.key.spki_sha256):
        assert refusal(ended, nothing, hint) == ("wrong-index", 403)


def test_takes_any_of_several_blocks_of_one_key() -> None:
    blocks = (listed(RECORDER, until_index=5), listed(RECORDER, from_index=30))
    assert refusal(make(*blocks, next_index=20), record_envelope(1)) == ("wrong-index", 403)
    make(*blocks, next_index=30).admit(record_envelope(1))


def test_holds_a_rebuilder_to_its_builder() -> None:
    statement = parse_statement(record_payload(1))
    rebuilt = type(statement)(statement.subjects, "https://slsa.dev/provenance/v1", {})
    blocks = [listed(REBUILDER, "rebuilder")]
    check_permission(blocks, rebuilt, BUILDER, 0)
    with pytest.raises(AdmissionError) as caught:
        check_permission(blocks, rebuilt, BUILDER.replace("bubblewrap", "gvisor"), 0)
    assert caught.value.reason == "wrong-builder"


def test_holds_a_signed_provenance_to_its_keys_builder() -> None:
    ours = make_provenance(operator=OPERATOR)
    foreign = make_provenance(operator="https://other.example.org")
    assert parse_provenance_builder(ours) == BUILDER
    make().admit(sign_envelope(ours, REBUILDER))
    assert refusal(make(), sign_envelope(foreign, REBUILDER)) == ("wrong-builder", 403)


def parse_provenance_builder(payload: bytes) -> str:
    predicate = parse_predicate(parse_statement(payload))
    assert isinstance(predicate, Provenance)
    return predicate.builder


def test_asks_for_every_ecosystem_of_a_statement() -> None:
    statement = parse_statement(record_payload(1))
    conan = parse_purl("pkg:conan/zlib@1.3?file=conan_package.tgz&package_id=a&prev=b&rrev=c")
    both = type(statement)(
        (*statement.subjects, make_subject(conan, {"sha256": "0" * 64})), statement.predicate_type, {}
    )
    check_permission([listed(RECORDER, ecosystems=("maven", "conan"))], both, None, 0)
    with pytest.raises(AdmissionError) as caught:
        check_permission([listed(RECORDER)], both, None, 0)
    assert caught.value.reason == "wrong-ecosystem"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "malformed"),
        (b"[]", "malformed"),
        (b"{}", "malformed"),
        (b"\xef\xbb\xbf" + record_payload(1), "malformed"),
        (changed(predicateType="https://example.org/other/v1"), "unknown-predicate"),
        (changed(predicateType=SUMMARY_TYPE), "unknown-predicate"),  # a summary is no evidence
        (changed(_type="https://in-toto.io/Statement/v0.1"), "malformed"),
        (changed(predicate={}), "malformed"),
        (changed(subject=[]), "malformed"),
        (changed(extra=1), "malformed"),
    ],
)
def test_refuses_statements_that_are_not_strict(payload: bytes, reason: str) -> None:
    assert refusal(make(), sign_envelope(payload, RECORDER)) == (reason, 400)


def test_refuses_signatures_in_other_forms_with_that_word() -> None:
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

    payload = record_payload(1)
    r, s = decode_dss_signature(RECORDER.sign(pae(PAYLOAD_TYPE, payload)))
    high = encode_dss_signature(r, P256_ORDER - s)
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    only_p256 = make(listed(RECORDER))
    assert refusal(only_p256, format_envelope(payload, high)) == ("high-s", 400)
    assert refusal(make(), format_envelope(payload, high)) == ("high-s", 400)
    assert refusal(only_p256, format_envelope(payload, raw)) == ("raw-signature", 400)
    # 64 bytes could be an Ed25519 signature, so here they are somebody's unknown one.
    assert refusal(make(), format_envelope(payload, raw)) == ("unknown-key", 403)


def test_refuses_an_envelope_beyond_its_size() -> None:
    assert refusal(make(), b"x" * 65537) == ("too-large", 413)


def test_every_truncation_flip_and_extra_byte_gives_only_our_errors() -> None:
    admission = make()
    envelope = record_envelope(1)
    mangled = [envelope[:end] for end in range(0, len(envelope), 7)]
    mangled += [envelope + b"\n", b" " + envelope, STATEMENT_TYPE.encode()]
    for position in range(0, len(envelope), 3):
        mangled.append(envelope[:position] + bytes([envelope[position] ^ 1]) + envelope[position + 1 :])
    for each in mangled:
        with pytest.raises(LogError):
            admission.admit(each)


def test_a_list_that_was_changed_holds_from_the_next_entry_on() -> None:
    admission = make()
    envelope = record_envelope(1, STRANGER)
    assert refusal(admission, envelope) == ("unknown-key", 403)
    admission.follow(admission_list(listed(STRANGER)))
    assert admission.admit(envelope, STRANGER.key.spki_sha256) == signed_entry(1, STRANGER)
    assert refusal(admission, record_envelope(1)) == ("unknown-key", 403)


def test_in_a_log_of_one_process_an_administrators_statement_is_an_entry_and_nothing_more() -> None:
    from tests.log.peers.administrators import ADMINISTRATORS, admission, governed

    first = ADMINISTRATORS[0]
    one = make(listed(first, "administrator", ecosystems=()), listed(RECORDER))
    payload = admission(governed(threshold=1).rules, listed(STRANGER))
    assert one.admit(sign_envelope(payload, first)).packed
    assert refusal(one, record_envelope(1, STRANGER)) == ("unknown-key", 403)
    assert refusal(one, sign_envelope(payload, RECORDER)) == ("wrong-kind", 403)
