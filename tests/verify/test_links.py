"""Links of rebuilderd: one form, listed keys, this very file; and nothing of it counts for a level."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.verify.cases import no_files, rebuilder_block, trust_text
from tests.verify.links import (
    DAEMON,
    DEBIAN,
    NAME,
    OTHERS,
    SECOND,
    STRANGER,
    WORKER,
    block,
    link,
    metablock,
    pem,
    trusting,
    two,
)
from tests.verify.support import OTHER, PUBLISHED, digests_of, make_provenance, sign, statement_signer

from touchplate.verify import cli
from touchplate.verify.encoding import encode_base64
from touchplate.verify.errors import MalformedError, RefusedError, VerifyError
from touchplate.verify.files import FileDigests
from touchplate.verify.jcs import JSON
from touchplate.verify.judge import gather
from touchplate.verify.keys import (
    ED25519_NULL_PREFIX,
    ED25519_PREFIX,
    StatementSigner,
    format_public_pem,
    parse_rebuilderd_pem,
)
from touchplate.verify.links import MAX_LINK_BYTES, agreeing_operators, check_link, parse_link
from touchplate.verify.purl import maven_purl
from touchplate.verify.trust import TrustFile, TrustMistakesError, parse_admission, parse_trust

FILE = FileDigests(len(PUBLISHED), digests_of(PUBLISHED))
Captured = pytest.CaptureFixture[str]


def refused(data: bytes, trust: TrustFile | None = None, file: FileDigests = FILE) -> str:
    with pytest.raises(RefusedError) as caught:
        check_link(data, file, trust or trusting())
    return f"{caught.value.step} {caught.value.reason}"


# --- good links ---


def test_a_link_of_worker_and_daemon_is_one_operators_word() -> None:
    checked = check_link(link(), FILE, trusting())
    assert checked.operators == (DEBIAN,)
    assert len(checked.signers) == 2
    assert (checked.link.product, list(checked.link.materials)) == (NAME, ["lib_1.0-1_amd64.buildinfo"])
    assert not checked.link.is_own_input


def test_one_listed_key_is_enough_and_strangers_add_nothing() -> None:
    only_daemon = trusting(block(DEBIAN, DAEMON))
    checked = check_link(link(STRANGER, WORKER, DAEMON), FILE, only_daemon)
    assert [key.operator for key in checked.signers] == [DEBIAN]


def test_operators_are_counted_once_over_many_links() -> None:
    checked = [check_link(one, FILE, trusting()) for one in (link(WORKER), link(DAEMON), link(SECOND))]
    assert agreeing_operators(checked) == (OTHERS, DEBIAN)
    assert agreeing_operators(checked[:2]) == (DEBIAN,)


def test_the_same_signature_twice_is_one_key() -> None:
    checked = check_link(link(WORKER, WORKER, WORKER), FILE, trusting())
    assert len(checked.signers) == 1


@pytest.mark.parametrize("empty", [None, {}], ids=["in-toto-rs", "in-toto"])
def test_an_empty_environment_is_taken_in_both_forms(empty: object) -> None:
    assert check_link(link(environment=empty), FILE, trusting()).operators == (DEBIAN,)


def test_an_input_that_is_the_file_itself_is_pointed_out() -> None:
    checked = check_link(link(materials={NAME: two(PUBLISHED)}), FILE, trusting())
    assert checked.link.is_own_input


def test_a_file_known_by_digest_only_is_enough() -> None:
    by_digest = FileDigests(0, {"sha256": FILE.sha256}, whole=False)
    assert check_link(link(), by_digest, trusting()).operators == (DEBIAN,)


# --- bad links ---


def test_a_key_that_is_not_listed_says_nothing() -> None:
    assert refused(link(STRANGER)) == "2 unknown-key"
    assert refused(link(), parse_trust(trust_text(), no_files)) == "2 no-rebuilderd"


def test_a_listed_keyid_with_another_keys_signature_says_nothing() -> None:
    value = metablock(STRANGER)
    value["signatures"][0]["keyid"] = metablock(DAEMON)["signatures"][0]["keyid"]
    assert refused(json.dumps(value).encode()) == "2 unknown-key"


def test_a_swapped_product_is_refused() -> None:
    assert refused(link(data=OTHER)) == "3 wrong-artifact"
    value = json.loads(link(data=OTHER))
    value["signed"]["products"][NAME] = two(PUBLISHED)  # after it was signed
    assert refused(json.dumps(value).encode()) == "2 unknown-key"
    mixed = {**two(PUBLISHED), "sha512": two(OTHER)["sha512"]}
    assert refused(link(products={NAME: mixed})) == "3 wrong-digest"


def test_every_changed_byte_of_what_is_signed_is_refused() -> None:
    good, trust = link(DAEMON), trusting()
    start = good.index(b'"signed"')
    for at in range(start, len(good)):
        bad = bytearray(good)
        bad[at] ^= 1
        with pytest.raises(VerifyError):
            check_link(bytes(bad), FILE, trust)


def test_truncated_oversized_and_duplicated_links_are_refused() -> None:
    good = link()
    for end in range(0, len(good), 7):
        assert refused(good[:end]) == "1 malformed"
    assert refused(good + b" " * MAX_LINK_BYTES).startswith("1 ")
    doubled = good.replace(b'"products":', b'"products": {}, "products":', 1)
    assert refused(doubled) == "1 malformed"
    escaped = good.replace(b'"products":', b'"products": {}, "\\u0070roducts":', 1)
    assert refused(escaped) == "1 malformed"
    assert refused(link(*[WORKER] * 17)) == "1 malformed"


@pytest.mark.parametrize(
    "changes",
    [
        {"command": ["make"]},
        {"environment": {"PATH": "/"}},
        {"byproducts": {"return-value": 0}},
        {"products": {NAME: two(PUBLISHED), "other.deb": two(OTHER)}},
        {"products": {}},
        {"materials": {}},
        {"name": "rebuild another.deb"},
        {"products": {f"out/{NAME}": two(PUBLISHED)}, "name": f"rebuild out/{NAME}"},
        {"products": {"ü.deb": two(PUBLISHED)}, "name": "rebuild ü.deb"},
        {"products": {'a".deb': two(PUBLISHED)}, "name": 'rebuild a".deb'},
        {"products": {"a\\b.deb": two(PUBLISHED)}, "name": "rebuild a\\b.deb"},
        {"products": {"..": two(PUBLISHED)}, "name": "rebuild .."},
        {"products": {"-rf": two(PUBLISHED)}, "name": "rebuild -rf"},
        {"products": {" a.deb": two(PUBLISHED)}, "name": "rebuild  a.deb"},
        {"materials": {"a.deb ": two(OTHER)}},
        {"materials": {".": two(OTHER)}},
        {"materials": {"../a.deb": two(OTHER)}},
        {"products": {NAME: {"sha256": two(PUBLISHED)["sha256"]}}},
    ],
)
def test_a_link_that_rebuilderd_would_not_make_is_refused(changes: Mapping[str, Any]) -> None:
    assert refused(link(DAEMON, **changes)) == "1 malformed"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: value.update(extra=1),
        lambda value: value["signed"].update(extra=1),
        lambda value: value["signed"].update(_type="layout"),
        lambda value: value["signed"].pop("command"),
        lambda value: value.update(signatures=[]),
        lambda value: value["signatures"][0].update(sig="00"),
        lambda value: value["signatures"][0].update(sig=value["signatures"][0]["sig"].upper()),
        lambda value: value["signatures"][0].pop("keyid"),
    ],
    ids=range(8),
)
def test_another_shape_is_refused(spoil: object) -> None:
    value: dict[str, JSON] = json.loads(link())
    spoil(value)  # type: ignore[operator]
    with pytest.raises(MalformedError):
        parse_link(json.dumps(value).encode())


def test_a_dsse_envelope_is_no_link() -> None:
    assert refused(sign(make_provenance()).envelope) == "1 malformed"


# --- trust entries ---


def test_rebuilderds_own_form_of_a_key_is_the_same_key() -> None:
    assert parse_rebuilderd_pem(pem(DAEMON)) == parse_rebuilderd_pem(pem(DAEMON, ED25519_PREFIX))
    with pytest.raises(MalformedError, match="ed25519"):
        parse_rebuilderd_pem(format_public_pem(statement_signer("p256").key))
    for bad in (pem(DAEMON, ED25519_NULL_PREFIX + b"\0"), pem(DAEMON, b"")):
        with pytest.raises(MalformedError):
            parse_rebuilderd_pem(bad)


WEAK_KEYS = {
    "identity": "01" + "00" * 31,
    "identity with a sign": "01" + "00" * 30 + "80",
    "identity above p": "ee" + "ff" * 30 + "7f",
    "order 2": "ec" + "ff" * 30 + "7f",
    "order 4": "00" * 32,
    "order 4 with a sign": "00" * 31 + "80",
    "order 4 above p": "ed" + "ff" * 30 + "7f",
    "order 8": "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "order 8 with a sign": "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "order 8, other y": "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "order 8, other y, with a sign": "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
}


@pytest.mark.parametrize("raw", WEAK_KEYS.values(), ids=WEAK_KEYS)
def test_a_key_under_which_anybody_can_sign_is_refused_in_every_block(raw: str) -> None:
    weak = pem(DAEMON, ED25519_PREFIX).replace(
        encode_base64(ED25519_PREFIX + DAEMON.public_key().public_bytes_raw()),
        encode_base64(ED25519_PREFIX + bytes.fromhex(raw)),
    )
    listed = block(DEBIAN, DAEMON, prefix=ED25519_PREFIX).replace(pem(DAEMON, ED25519_PREFIX), weak)
    with pytest.raises(TrustMistakesError, match="small order"):
        trusting(listed)
    for kind in ("verifier", "recorder"):
        with pytest.raises(TrustMistakesError, match="small order"):
            trusting(listed.replace("[[rebuilderd]]", f"[[{kind}]]") + 'ecosystems = ["maven"]\n')


def test_a_key_that_rebuilderd_cannot_have_is_refused_with_the_remedy() -> None:
    p256 = block(DEBIAN, DAEMON).replace(pem(DAEMON), format_public_pem(statement_signer("p256").key))
    with pytest.raises(TrustMistakesError, match="as the instance publishes it"):
        trusting(p256)


def test_a_key_listed_twice_is_refused_in_whatever_form() -> None:
    twice = [block(DEBIAN, DAEMON), block(DEBIAN, DAEMON, prefix=ED25519_PREFIX)]
    with pytest.raises(TrustMistakesError, match=r"stands in .* 1 already; list it once"):
        trusting(*twice)
    with pytest.raises(TrustMistakesError, match="one key speaks for one operator"):
        trusting(block(DEBIAN, DAEMON), block(OTHERS, DAEMON))


@pytest.mark.parametrize("line", ['ecosystems = ["maven"]', "from_index = 1", 'builder = "x"'])
def test_a_rebuilderd_block_has_an_operator_and_a_key(line: str) -> None:
    with pytest.raises(TrustMistakesError, match="unknown field"):
        trusting(block(DEBIAN, DAEMON, line))


def test_nobody_is_admitted_to_a_log_as_rebuilderd() -> None:
    with pytest.raises(TrustMistakesError, match="unknown field 'rebuilderd'"):
        parse_admission(block(DEBIAN, DAEMON), no_files)


def test_a_rebuilders_key_cannot_be_rebuilderds_too() -> None:
    ours = rebuilder_block(DEBIAN, "x").replace(
        format_public_pem(statement_signer("x").key), format_public_pem(StatementSigner(DAEMON).key)
    )
    with pytest.raises(TrustMistakesError, match="one key for each role"):
        trusting(ours, block(DEBIAN, DAEMON))


def test_a_rebuilderd_key_counts_for_no_level_even_when_it_signs_our_statements() -> None:
    forged = sign(make_provenance(operator=DEBIAN), StatementSigner(DAEMON))
    gathered = gather([(0, forged)], FILE, maven_purl("org.example", "lib", "1.0"), trusting())
    assert gathered.evidence == ()
    assert [warning.reason for warning in gathered.warnings] == ["wrong-kind"]


# --- the command ---


def run(folder: Path, links: Mapping[str, bytes], *arguments: str) -> int:
    (folder / "lib.deb").write_bytes(PUBLISHED)
    blocks = [block(DEBIAN, WORKER), block(DEBIAN, DAEMON), block(OTHERS, SECOND)]
    (folder / "trust.toml").write_text(trust_text(blocks=blocks))
    for name, data in links.items():
        (folder / name).write_bytes(data)
    paths = [str(folder / name) for name in links]
    fixed = ["--artifact", str(folder / "lib.deb"), "--trust", str(folder / "trust.toml")]
    return cli.main(["link", "check", *paths, *fixed, *arguments])


def test_the_command_says_who_built_it_and_that_it_counts_for_nothing(
    tmp_path: Path, capsys: Captured
) -> None:
    links = {"a.json": link(), "b.json": link(SECOND), "c.json": link(STRANGER)}
    assert run(tmp_path, links, "--operators", "2") == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("2 operators built exactly these bytes\n")
    assert "c.json says nothing about the file (step 2, unknown-key)" in shown.err
    assert "counts for no level" in shown.err
    assert run(tmp_path, links, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["operators"], told["levels"], told["refused"][0]["reason"]) == (
        [OTHERS, DEBIAN],
        [],
        "unknown-key",
    )


def test_too_few_operators_are_a_refusal_however_many_links_they_sent(
    tmp_path: Path, capsys: Captured
) -> None:
    links = {"a.json": link(WORKER), "b.json": link(DAEMON), "c.json": link()}
    assert run(tmp_path, links, "--operators", "2") == 1
    assert capsys.readouterr().out.startswith("1 operator of 2 needed")
    assert run(tmp_path, {"d.json": link(data=OTHER)}, "--json") == 1
    assert json.loads(capsys.readouterr().out)["verdict"] == "refused"


def test_each_refusal_has_its_remedy(tmp_path: Path, capsys: Captured) -> None:
    links = {"a.json": b"{}", "b.json": link(STRANGER), "c.json": link(data=OTHER)}
    assert run(tmp_path, links, "--json") == 1
    shown = capsys.readouterr()
    told = [one["remedy"] for one in json.loads(shown.out)["refused"]]
    assert ["rebuilderd serves it" in told[0], "[[rebuilderd]]" in told[1], "this very file" in told[2]] == [
        True
    ] * 3
    assert all(remedy in shown.err for remedy in told)
    bad = tmp_path / "bad.toml"
    bad.write_text("x")
    assert run(tmp_path, links, "--trust", str(bad), "--json") == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out)["step"] == 0
    assert "correct the trust file" in shown.err


@pytest.mark.parametrize(("arguments", "code"), [(["--operators", "0"], 64), (["--digest", "sha256:00"], 64)])
def test_what_is_not_understood_is_no_verdict(arguments: list[str], code: int, tmp_path: Path) -> None:
    assert run(tmp_path, {"a.json": link()}, *arguments) == code
    none = ["link", "check", "none.json", "--digest"]
    assert cli.main([*none, f"sha256:{FILE.sha256}", "--trust", "none"]) == 2
    assert cli.main([*none, "sha256:00", "--trust", "none"]) == 64  # the command line is judged first
