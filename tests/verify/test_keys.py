"""Statement keys: exact forms of keys and signatures, deterministic signing, PEM in and out."""

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, utils
from tests.verify.support import mangle, statement_signer

from touchplate.verify.encoding import encode_base64
from touchplate.verify.errors import MalformedError, SignatureError, VerifyError
from touchplate.verify.keys import (
    ED25519_PREFIX,
    P256_ORDER,
    P256_PREFIX,
    Algorithm,
    StatementSigner,
    check_signature_form,
    format_private_pem,
    format_public_pem,
    generate_signer,
    load_signer,
    normalise_signature,
    parse_public_pem,
    parse_spki,
)

MESSAGE = b"DSSEv1 1 a 1 b"
ALGORITHMS: list[Algorithm] = ["p256", "ed25519"]

# RFC 6979 A.2.5 (P-256, SHA-256, message "sample"); its s is a high one.
RFC6979_KEY = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
RFC6979_R = 0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716
RFC6979_S = 0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8

# RFC 8032 7.1, test 2.
RFC8032_SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
RFC8032_PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
RFC8032_SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def der(r: int, s: int) -> bytes:
    return utils.encode_dss_signature(r, s)


def spki_of(public: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> bytes:
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def test_signs_p256_as_rfc_6979_with_s_lowered() -> None:
    signer = StatementSigner(ec.derive_private_key(RFC6979_KEY, ec.SECP256R1()))
    assert signer.sign(b"sample") == der(RFC6979_R, P256_ORDER - RFC6979_S)
    with pytest.raises(SignatureError) as caught:
        signer.key.verify(der(RFC6979_R, RFC6979_S), b"sample")
    assert caught.value.reason == "high-s"


def test_signs_ed25519_as_rfc_8032() -> None:
    signer = StatementSigner(ed25519.Ed25519PrivateKey.from_private_bytes(RFC8032_SEED))
    assert signer.key.spki == ED25519_PREFIX + RFC8032_PUBLIC
    assert signer.sign(b"\x72") == RFC8032_SIGNATURE


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_signs_the_same_each_time_and_verifies(algorithm: Algorithm) -> None:
    signer = statement_signer("a", algorithm)
    signature = signer.sign(MESSAGE)
    assert signature == signer.sign(MESSAGE)
    signer.key.verify(signature, MESSAGE)
    for key, message in ((statement_signer("b", algorithm).key, MESSAGE), (signer.key, MESSAGE + b" ")):
        with pytest.raises(SignatureError, match="does not hold"):
            key.verify(signature, message)


def test_lowers_s_for_many_messages() -> None:
    signer = statement_signer("a")
    for number in range(64):
        _, s = utils.decode_dss_signature(signer.sign(str(number).encode()))
        assert s <= P256_ORDER // 2


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_damaged_signatures_give_signature_errors_only(algorithm: Algorithm) -> None:
    signer = statement_signer("a", algorithm)
    signature = signer.sign(MESSAGE)
    for damaged in mangle(signature):
        if damaged != signature:
            with pytest.raises(SignatureError):
                signer.key.verify(damaged, MESSAGE)


def test_names_a_raw_signature_as_such() -> None:
    r, s = utils.decode_dss_signature(statement_signer().sign(MESSAGE))
    for second in (s, P256_ORDER - s):
        with pytest.raises(SignatureError, match="raw r") as caught:
            check_signature_form("p256", r.to_bytes(32, "big") + second.to_bytes(32, "big"))
        assert caught.value.reason == "raw-signature"


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        der(1, 1) + b"\x00",
        bytes.fromhex("30 81 06 02 01 01 02 01 01"),  # long form of a length
        bytes.fromhex("30 07 02 02 00 01 02 01 01"),  # padded integer
        bytes.fromhex("30 06 02 01 81 02 01 01"),  # negative integer
        bytes.fromhex("30 06 02 01 00 02 01 01"),  # zero
        der(P256_ORDER, 1),
        der(1, P256_ORDER),
    ],
)
def test_refuses_signatures_that_are_not_strict_der(signature: bytes) -> None:
    with pytest.raises(SignatureError) as caught:
        check_signature_form("p256", signature)
    assert caught.value.reason == "bad-signature-form"


def test_draws_the_line_between_low_and_high_s_at_half_the_order() -> None:
    half = P256_ORDER // 2
    check_signature_form("p256", der(1, half))
    with pytest.raises(SignatureError, match="high s"):
        check_signature_form("p256", der(1, half + 1))
    assert normalise_signature(der(1, half + 1)) == der(1, half)
    assert normalise_signature(der(1, half)) == der(1, half)
    with pytest.raises(SignatureError, match="not der"):
        normalise_signature(b"x" * 64)


def test_refuses_ed25519_signatures_of_other_lengths_and_with_the_order_added() -> None:
    signer = statement_signer("a", "ed25519")
    signature = signer.sign(MESSAGE)
    order = 2**252 + 27742317777372353535851937790883648493
    added = int.from_bytes(signature[32:], "little") + order
    with pytest.raises(SignatureError):
        signer.key.verify(signature[:32] + added.to_bytes(32, "little"), MESSAGE)
    for wrong in (signature[:-1], signature + b"\x00", b""):
        with pytest.raises(SignatureError, match="has 64 bytes"):
            signer.key.verify(wrong, MESSAGE)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_reads_exactly_one_form_of_spki(algorithm: Algorithm) -> None:
    key = statement_signer("a", algorithm).key
    prefix, size = (P256_PREFIX, 91) if algorithm == "p256" else (ED25519_PREFIX, 44)
    assert key.spki.startswith(prefix)
    assert len(key.spki) == size
    assert parse_spki(key.spki) == key
    assert parse_spki(key.spki).algorithm == algorithm
    for damaged in mangle(key.spki):
        if damaged == key.spki:
            continue
        try:
            other = parse_spki(damaged)
        except MalformedError:
            continue
        assert algorithm == "ed25519"  # of which any 32 bytes may be a key
        assert other != key
        assert other.spki == damaged


def test_refuses_points_that_are_not_on_the_curve() -> None:
    spki = statement_signer().key.spki
    with pytest.raises(MalformedError, match="not a point"):
        parse_spki(spki[:-1] + bytes([spki[-1] ^ 1]))


def test_refuses_other_types_and_forms_of_keys() -> None:
    point = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    compressed = point.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    head = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    others = [
        spki_of(ec.derive_private_key(7, ec.SECP384R1()).public_key()),
        spki_of(ec.derive_private_key(7, ec.SECP256K1()).public_key()),
        spki_of(rsa.generate_private_key(65537, 2048).public_key()),
        head + compressed,
    ]
    # The library itself would take a compressed point, and another leaf would follow.
    assert serialization.load_der_public_key(others[-1]) == point
    for spki in others:
        with pytest.raises(MalformedError) as caught:
            parse_spki(spki)
        assert caught.value.reason == "bad-key"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_public_pem_reads_back_also_with_crlf(algorithm: Algorithm) -> None:
    key = statement_signer("a", algorithm).key
    text = format_public_pem(key)
    assert serialization.load_pem_public_key(text.encode())
    assert parse_public_pem(text) == parse_public_pem("\n" + text.replace("\n", "\r\n")) == key
    assert len({key, parse_public_pem(text)}) == 1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_damaged_public_pem_gives_our_errors_only(algorithm: Algorithm) -> None:
    key = statement_signer("a", algorithm).key
    for damaged in mangle(format_public_pem(key).strip().encode()):
        try:
            other = parse_public_pem(damaged.decode("latin-1"))
        except VerifyError:
            continue
        assert other != key or damaged.split() == format_public_pem(key).encode().split()


def test_refuses_pem_of_other_things() -> None:
    signer = statement_signer()
    text = format_public_pem(signer.key)
    others = [
        "",
        "hello",
        text + text,
        "x\n" + text,
        text.replace("PUBLIC KEY", "CERTIFICATE"),
        format_private_pem(signer).decode(),
        "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
        " " * 20_000,
    ]
    for other in others:
        with pytest.raises(MalformedError):
            parse_public_pem(other)


@pytest.mark.parametrize("curve", ["2b656e", "2b656f", "2b6570", "2b6571"])  # X25519, X448, Ed25519, Ed448
@pytest.mark.parametrize("length", [0, 31, 33, 56, 57])
def test_refuses_private_keys_of_other_curves_and_lengths(curve: str, length: int) -> None:
    # Found by `make fuzz`: a library that is told Ed448 and given too few bytes ends in an error of its own.
    inner = bytes([0x04, length]) + b"k" * length
    parts = bytes.fromhex(f"02010030050603{curve}") + bytes([0x04, len(inner)]) + inner
    body = encode_base64(bytes([0x30, len(parts)]) + parts)
    pem = f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"
    with pytest.raises(MalformedError) as caught:
        load_signer(pem.encode())
    assert caught.value.reason == "bad-key"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("password", [None, b"correct horse"])
def test_private_pem_reads_back(algorithm: Algorithm, password: bytes | None) -> None:
    signer = generate_signer(algorithm)
    pem = format_private_pem(signer, password)
    assert pem.startswith(b"-----BEGIN ENCRYPTED" if password else b"-----BEGIN PRIVATE KEY")
    again = load_signer(pem, password)
    assert again.key == signer.key
    assert again.sign(MESSAGE) == signer.sign(MESSAGE)


def test_two_generated_keys_differ() -> None:
    assert generate_signer().key != generate_signer().key


def test_private_keys_need_the_right_password_and_form() -> None:
    signer = statement_signer()
    plain, locked = format_private_pem(signer), format_private_pem(signer, b"x")
    old_form = ec.derive_private_key(7, ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    other_curve = ec.derive_private_key(7, ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    other_type = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    cases = [
        (locked, None, "no password was given"),
        (locked, b"y", "with this password"),
        (plain, b"x", "not encrypted"),
        (plain[:80] + b"\n", None, "cannot be read"),
        (old_form, None, "expected a pkcs#8"),
        (other_curve, None, "secp384r1 is not p-256"),
        (other_type, None, "neither p-256 nor ed25519"),
        (format_public_pem(signer.key).encode(), None, "expected a pkcs#8"),
        (b"", None, "expected a pkcs#8"),
    ]
    for pem, password, message in cases:
        with pytest.raises(MalformedError, match=message) as caught:
            load_signer(pem, password)
        assert caught.value.reason == "bad-key"
        assert pem[28:60].decode() not in str(caught.value) or not pem


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_repr_names_the_public_key_only(algorithm: Algorithm) -> None:
    signer = statement_signer("a", algorithm)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(signer.key.spki)
    assert repr(signer) == f"StatementSigner({algorithm}, spki sha256 {digest.finalize().hex()})"
    assert repr(signer.key) == repr(signer).replace("Signer", "Key")
    assert encode_base64(signer.key.spki) not in repr(signer)
