"""Trust files and admission lists: what is refused at step 0, with every mistake at once."""

from pathlib import Path

import pytest
from tests.simkeys import log_signer, note_signer, verifier_key, witness_signer
from tests.verify.cases import (
    default_blocks,
    make_trust,
    no_files,
    rebuilder_block,
    recorder_block,
    trust_text,
)
from tests.verify.support import OPERATOR_A, OPERATOR_B, RECORDER, statement_signer

from touchplate.verify.blocks import TrustMistakesError
from touchplate.verify.encoding import encode_base64
from touchplate.verify.errors import TrustError
from touchplate.verify.keys import ED25519_PREFIX, format_private_pem, format_public_pem
from touchplate.verify.levels import ReproducedRule
from touchplate.verify.trust import load_admission, load_trust, parse_admission, parse_trust


def refused(text: str) -> tuple[str, ...]:
    """The mistakes in a trust file, each as one line."""
    with pytest.raises(TrustMistakesError) as caught:
        parse_trust(text, no_files)
    assert caught.value.reason == "trust-file"
    return tuple(str(mistake) for mistake in caught.value.mistakes)


def test_reads_policy_levels_and_keys() -> None:
    trust = parse_trust(
        trust_text("operators = 3", 'sources = ["vcs"]', 'stabilizers = ["zip-entry-times@1"]'), no_files
    )
    assert trust.policy.origin == "log.example.org"
    assert trust.max_checkpoint_age is None
    assert trust.reproduced == ReproducedRule(3, ("vcs",), ("zip-entry-times@1",))
    (key,) = trust.find(statement_signer("rebuilder-a").key.spki)
    assert (key.kind, key.operator, key.ecosystems) == ("rebuilder", OPERATOR_A, ("maven",))
    assert key.builder == f"{OPERATOR_A}/touchplate/bubblewrap/v1"
    assert trust.find(statement_signer("stranger").key.spki) == ()


def test_levels_have_defaults() -> None:
    text = trust_text().replace("[levels.reproduced]", "")
    assert parse_trust(text, no_files).reproduced == ReproducedRule(2, ("vcs", "source-release"), ())


def test_the_age_is_a_number_with_a_unit() -> None:
    policy = witnessed("w0")
    for age, seconds in (("90s", 90), ("5m", 300), ("24h", 86_400), ("2d", 172_800)):
        text = trust_text(policy=policy, log=f'max_checkpoint_age = "{age}"')
        assert parse_trust(text, no_files).max_checkpoint_age == seconds
    for age in ("24", "0h", "-1h", "1.5h", "24 h", "024h", "1w", ""):
        (mistake,) = refused(trust_text(policy=policy, log=f'max_checkpoint_age = "{age}"'))
        assert mistake.startswith("[log]: max_checkpoint_age is ")


def witnessed(*names: str) -> str:
    lines = [f"witness {name} {verifier_key(witness_signer(f'{name}.example.org'))}" for name in names]
    return "\n".join([f"log {verifier_key(log_signer())}", *lines, f"quorum {names[0]}", ""])


def test_an_age_needs_witnesses() -> None:
    (mistake,) = refused(trust_text(log='max_checkpoint_age = "24h"'))
    assert "quorum none" in mistake


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("color = 1\n" + trust_text(), "top level", "unknown field 'color'"),
        (trust_text(log="url = 1"), "[log]", "unknown field 'url'"),
        (trust_text("operator = 2"), "[levels.reproduced]", "unknown field 'operator'"),
        (trust_text("operators = 0"), "[levels.reproduced]", "operators is 0"),
        (trust_text("operators = true"), "[levels.reproduced]", "operators is True"),
        (trust_text('operators = "2"'), "[levels.reproduced]", "operators is '2'"),
        (trust_text('sources = ["git"]'), "[levels.reproduced]", "sources ['git'] are unknown"),
        (trust_text("sources = []"), "[levels.reproduced]", "sources is empty"),
        (trust_text('sources = "vcs"'), "[levels.reproduced]", "sources is 'vcs'"),
        (trust_text('sources = ["vcs", "vcs"]'), "[levels.reproduced]", "names one thing twice"),
        (trust_text('stabilizers = ["zip"]'), "[levels.reproduced]", "has no version"),
        (trust_text("[levels.signed]"), "[levels]", "there is no level 'signed'"),
        (trust_text("[levels.recorded]"), "[levels]", "recorded has no settings"),
        (trust_text(policy="quorum none\n"), "[log]", "policy: the policy has no log line"),
        (trust_text() + "\n[rebuilder]\n", "toml", ""),
        ("rebuilder = 1\n" + trust_text(blocks=[]), "rebuilder", "is not an array of tables"),
        ("log = 1\n" + "\n".join(default_blocks()), "[log]", "is 1"),
        ("[[", "toml", ""),
        ("a = " + "[" * 5000, "toml", ""),
        ("a = " + "9" * 5000, "toml", ""),
    ],
)
def test_refuses_a_mistake_and_says_where(text: str, where: str, what: str) -> None:
    mistakes = refused(text)
    assert any(mistake.startswith(f"{where}: ") and what in mistake for mistake in mistakes), mistakes


def block(**fields: str) -> str:
    """A rebuilder's block with TOML values replaced, added, or left out when empty."""
    pem = format_public_pem(statement_signer().key)
    values = {
        "operator": f'"{OPERATOR_A}"',
        "builder": f'"{OPERATOR_A}/touchplate/bubblewrap/v1"',
        "key": f'"""\n{pem}"""',
        "ecosystems": '["maven"]',
        **fields,
    }
    lines = [f"{name} = {value}" for name, value in values.items() if value]
    return "\n".join(["[[rebuilder]]", *lines, ""])


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"operator": ""}, "operator is missing"),
        ({"operator": '"https://A.example.org"'}, "operator 'https://A.example.org'"),
        ({"operator": '"https://a.example.org/"'}, "operator 'https://a.example.org/'"),
        ({"builder": ""}, "builder is missing"),
        ({"builder": f'"{OPERATOR_B}/touchplate/bubblewrap/v1"'}, "one of another operator"),
        ({"builder": f'"{OPERATOR_A}/touchplate/bubblewrap/v2"'}, "builder "),
        ({"ecosystems": ""}, "ecosystems is missing"),
        ({"ecosystems": "[]"}, "ecosystems is empty"),
        ({"ecosystems": '["npm"]'}, "ecosystems ['npm'] are unknown"),
        ({"key": ""}, "key is missing"),
        ({"key": '"-----BEGIN nothing"'}, "key: expected one block"),
        ({"key": '"/etc/key.pem"'}, "without '..'"),
        ({"key": '"../key.pem"'}, "without '..'"),
        ({"key": '"keys/../../key.pem"'}, "without '..'"),
        ({"key": '"missing.pem"'}, "no such file or directory"),
        ({"from_index": "-1"}, "from_index is -1"),
        ({"from_index": "9223372036854775808"}, "from_index is 9223372036854775808"),
        ({"from_index": "5", "until_index": "5"}, "until_index 5 is not above from_index 5"),
        ({"until_index": "0"}, "until_index 0 is not above from_index 0"),
        ({"name": '"x"'}, "unknown field 'name'"),
    ],
)
def test_refuses_a_block(fields: dict[str, str], what: str) -> None:
    (mistake,) = refused(trust_text(blocks=[block(**fields)]))
    assert mistake.startswith("[[rebuilder]] 1: ")
    assert what in mistake


def test_refuses_a_private_key_without_showing_it() -> None:
    pem = format_private_pem(statement_signer()).decode()
    (mistake,) = refused(trust_text(blocks=[block(key=f'"""\n{pem}"""')]))
    assert "is a private key" in mistake
    assert pem.splitlines()[1] not in mistake


def test_lists_all_mistakes_at_once() -> None:
    mistakes = refused(
        trust_text("operators = 0", log="url = 1", blocks=[block(operator=""), block(ecosystems="[]")])
    )
    assert len(mistakes) == 4


def test_a_key_stands_under_one_operator() -> None:
    (mistake,) = refused(
        trust_text(blocks=[rebuilder_block(OPERATOR_A, "same"), rebuilder_block(OPERATOR_B, "same")])
    )
    assert f"under the operator '{OPERATOR_A}' too, in [[rebuilder]] 1" in mistake


def test_a_key_has_one_kind() -> None:
    (mistake,) = refused(
        trust_text(blocks=[rebuilder_block(OPERATOR_A, "same"), recorder_block(OPERATOR_A, "same")])
    )
    assert "is a rebuilder's too" in mistake


def test_a_statement_key_is_no_key_of_the_policy() -> None:
    spki = encode_base64(ED25519_PREFIX + log_signer().key.public)
    pem = f"-----BEGIN PUBLIC KEY-----\n{spki}\n-----END PUBLIC KEY-----\n"
    (mistake,) = refused(trust_text(blocks=[block(key=f'"""\n{pem}"""')]))
    assert "is the log key" in mistake


@pytest.mark.parametrize(
    ("first", "second", "overlap"),
    [
        ((), (), True),
        (("until_index = 5",), ("from_index = 5",), False),
        (("until_index = 6",), ("from_index = 5",), True),
        (("from_index = 5",), ("until_index = 5",), False),
        (("from_index = 2", "until_index = 4"), ("from_index = 3", "until_index = 9"), True),
        (("from_index = 2",), ("from_index = 9",), True),
    ],
)
def test_ranges_of_one_key_do_not_overlap(
    first: tuple[str, ...], second: tuple[str, ...], overlap: bool
) -> None:
    text = trust_text(
        blocks=[rebuilder_block(OPERATOR_A, "same", *first), rebuilder_block(OPERATOR_A, "same", *second)]
    )
    if overlap:
        (mistake,) = refused(text)
        assert "overlaps" in mistake
    else:
        assert len(parse_trust(text, no_files).keys) == 2


def test_a_key_may_have_several_builders_at_once() -> None:
    other = rebuilder_block(OPERATOR_A, "same").replace("/bubblewrap/", "/gvisor/")
    trust = make_trust(blocks=[rebuilder_block(OPERATOR_A, "same"), other])
    assert len(trust.find(statement_signer("same").key.spki)) == 2


def test_ranges_are_half_open() -> None:
    (key,) = make_trust(blocks=[rebuilder_block(OPERATOR_A, "x", "from_index = 3", "until_index = 5")]).keys
    assert [index for index in range(8) if key.covers(index)] == [3, 4]


def test_two_keys_of_one_cosigner_are_one_voice() -> None:
    same = [
        verifier_key(witness_signer("w.example.org")),
        verifier_key(note_signer("w.example.org", "cosigner", "second")),
    ]
    lines = [f"log {verifier_key(log_signer())}", *(f"witness w{n} {key}" for n, key in enumerate(same))]
    apart = "\n".join([*lines, "group g 2 w0 w1", "quorum g", ""])
    together = "\n".join([*lines, "group g any w0 w1", "quorum g", ""])
    (mistake,) = refused(trust_text(policy=apart))
    assert "one voice" in mistake
    assert parse_trust(trust_text(policy=together), no_files).policy.quorum == "g"


def test_an_admission_list_has_blocks_only() -> None:
    keys = parse_admission("\n".join(default_blocks()), no_files).keys
    assert {key.kind for key in keys} == {"rebuilder", "recorder"}
    with pytest.raises(TrustMistakesError, match="admission list: top level: unknown field 'log'"):
        parse_admission(trust_text(), no_files)


def test_an_administrator_has_no_ecosystems() -> None:
    lines = recorder_block(OPERATOR_A, "admin").replace("recorder", "administrator")
    with pytest.raises(TrustMistakesError, match="unknown field 'ecosystems'"):
        parse_admission(lines, no_files)
    (key,) = parse_admission(lines.replace('ecosystems = ["maven"]', ""), no_files).keys
    assert (key.kind, key.ecosystems) == ("administrator", ())


def test_files_are_read_beside_the_list(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "recorder.pem").write_text(format_public_pem(statement_signer("recorder").key))
    (tmp_path / "policy.txt").write_text(f"log {verifier_key(log_signer())}\nquorum none\n")
    lines = f'[[recorder]]\noperator = "{RECORDER}"\nkey = "keys/recorder.pem"\necosystems = ["oci"]\n'
    (tmp_path / "trust.toml").write_text(f'[log]\npolicy = "policy.txt"\n{lines}')
    (tmp_path / "admission.toml").write_text(lines)
    assert load_trust(tmp_path / "trust.toml").keys == load_admission(tmp_path / "admission.toml").keys


def test_a_file_that_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "trust.toml").write_text('[log]\npolicy = "policy.txt"\n')
    for content in (b"\xff\xfe", b"x" * (2 << 20), None):
        if content is not None:
            (tmp_path / "policy.txt").write_bytes(content)
        else:
            (tmp_path / "policy.txt").unlink()
        with pytest.raises(TrustMistakesError, match="cannot be read"):
            load_trust(tmp_path / "trust.toml")


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trust.toml"
    for content in (b"\xff", b"#" * (2 << 20)):
        path.write_bytes(content)
        with pytest.raises(TrustError, match=r"trust\.toml is "):
            load_trust(path)


@pytest.mark.parametrize(
    "text",
    [
        "a." * 200_000 + "b = 1",  # a tuple for each prefix of the key: 160 GB
        "log.policy" + ".a" * 1000 + " = 1",  # deeper than Python's repr goes
        "[" + "a." * 500 + "b]",
        "a = " + "{a=" * 100_000,
        "from_index = 0x" + "f" * 900_000,
        "a = " + "9" * 900_000,
    ],
    ids=["dots", "deep", "head", "tables", "hex", "digits"],
)
def test_hostile_toml_is_a_mistake_and_fills_no_memory(text: str) -> None:
    with pytest.raises(TrustError) as caught:
        parse_trust(text, no_files)
    assert len(str(caught.value)) < 10_000
