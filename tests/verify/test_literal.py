"""The quick readers say what the literal ones say: the same value or the same refusal, word for word."""

import random
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.fuzz.jsonmutator import mutate_json
from tests.fuzz.statements import statement_seeds
from tests.verify import cases, literal
from tests.verify.support import mangle

from touchplate.verify import dsse, fields, names, purl
from touchplate.verify.blocks import TrustedKey
from touchplate.verify.errors import VerifyError
from touchplate.verify.jcs import JSON, parse_json
from touchplate.verify.predicates import comparison
from touchplate.verify.trust import AdmissionList

LIMIT = 64 * 1024

WORDS = (
    *(
        "pkg:",
        "maven",
        "conan",
        "oci",
        "/",
        "@",
        "?",
        "&",
        "=",
        "%",
        "%41",
        "%2F",
        "%00",
        "%C3%A9",
        ".",
        "..",
    ),
    *(
        "type",
        "jar",
        "classifier",
        "repository_url",
        "file",
        "rrev",
        "user",
        "central",
        "docker.io",
        "A",
        "a",
    ),
    *("1.0", "#", "\x1f", "\x7f", "\x80", "\u00a0", "\u00e9", "\u200b", "\ud800", "sha256:" + "ab" * 32, ":"),
)
"""What names are made of, and what must not be in them."""

PURLS = (
    "pkg:maven/org.example/lib@1.0?classifier=sources&type=jar",
    "pkg:maven/org.example/lib@1.0?repository_url=host/x&type=tar.gz",
    "pkg:conan/zlib@1.3?channel=c&file=a/conaninfo.txt&package_id=a&prev=b&rrev=c&user=u",
    "pkg:oci/app@sha256:" + "ab" * 32 + "?repository_url=docker.io/library/app",
)

KEYS = ("sha256", "sha512", "md5", "other", "kind", "root", "\u00e9", "")

DIGESTS = ("ab" * 32, "AB" * 32, "ab" * 16, "ab" * 64)

texts = st.lists(st.sampled_from(WORDS) | st.text(max_size=3), max_size=12).map("".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3) | st.sampled_from(DIGESTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=6,
)  # fmt: skip


def outcome(read: Callable[[], object], *, words: bool = True) -> object:
    """What a reader makes of its input: a value, or its refusal."""
    try:
        return "taken", read()
    except VerifyError as error:
        return type(error), error.reason, str(error) if words else ""


def damaged_statements(seed: int, count: int) -> list[bytes]:
    """Statements of every kind, changed member by member and byte by byte: the same for one `seed`."""
    chance = random.Random(seed)
    seeds = statement_seeds()
    found = [mutate_json(chance.choice(seeds), chance) or b"" for _ in range(count)]
    for _ in range(count):
        data, place = chance.choice(seeds), 0
        place = chance.randrange(len(data))
        piece = chance.choice(
            (b"", b'"', b"\\u0061", b"\\ud800", b'{"a":1,"a":2}', b"-0", b"1e5", b"[" * 40, b"\xff")
        )
        found.append(data[:place] + piece + data[place + chance.randrange(3) :])
    return seeds + found


def test_json_is_read_alike_whatever_is_wrong_with_it() -> None:
    taken = 0
    for data in damaged_statements(1, 1500):
        said = outcome(partial(parse_json, data, max_bytes=LIMIT))
        assert said == outcome(partial(literal.parse_json, data, LIMIT)), data
        taken += isinstance(said, tuple) and said[0] == "taken"
    assert 500 < taken < 2900


@given(st.text(alphabet='[]{}",:\\ud80 1-.e\n\ufeff', max_size=80))
@example('{"a":"' + "[" * 40 + '"}')
@example("[" * 32 + "]" * 32)
@example("[" * 33 + "]" * 33)
@example('["' + "{" * 33 + '\\"' + "[" * 33 + '"]')
def test_json_texts_are_read_alike(text: str) -> None:
    data = text.encode()
    assert outcome(lambda: parse_json(data, max_bytes=LIMIT)) == outcome(
        lambda: literal.parse_json(data, LIMIT)
    )


def test_the_decoder_keeps_nothing_of_a_text_that_it_refused() -> None:
    for bad in (b'{"a":1,"a":2}', b'{"a":-0}', b'{"a":{"b":1e5}', b"[" * 33):
        with pytest.raises(VerifyError):
            parse_json(bad, max_bytes=LIMIT)
        assert parse_json(b'{"a":{"b":1},"b":{}}', max_bytes=LIMIT) == {"a": {"b": 1}, "b": {}}


def test_every_damage_to_an_envelope_is_judged_alike() -> None:
    envelope = dsse.format_envelope(b"{}", cases.record().signature)
    for data in (cases.provenance().envelope, envelope, *mangle(envelope)):
        check_envelope(data)


PIECES = (
    dsse._BEFORE_PAYLOAD,
    dsse._BEFORE_SIGNATURE,
    dsse._AFTER_SIGNATURE,
    b"AAAA",
    b"AA==",
    b"AB==",
    b'"',
)


@given(st.lists(st.tuples(st.sampled_from(PIECES), st.integers(0, 3)), max_size=8))
@example([(dsse._BEFORE_PAYLOAD, 0), (dsse._BEFORE_SIGNATURE, 1), (dsse._AFTER_SIGNATURE, 1)])
@example([(dsse._BEFORE_PAYLOAD, 0), (dsse._BEFORE_SIGNATURE, 0), (dsse._AFTER_SIGNATURE, 1)])
@example([(dsse._BEFORE_PAYLOAD, 0), (dsse._BEFORE_SIGNATURE, 1), (dsse._AFTER_SIGNATURE, 0)])
@example([(dsse._BEFORE_PAYLOAD, 0), (dsse._BEFORE_SIGNATURE, 0), (dsse._AFTER_SIGNATURE, 0)])
def test_envelopes_whose_parts_overlap_are_judged_alike(pieces: list[tuple[bytes, int]]) -> None:
    check_envelope(b"".join(piece[cut:] for piece, cut in pieces))


def check_envelope(data: bytes) -> None:
    said = outcome(lambda: dsse.parse_envelope(data), words=False)
    assert said == outcome(lambda: literal.parse_envelope(data), words=False), data


@given(texts)
def test_paths_are_judged_alike(text: str) -> None:
    assert names.is_path(text) == literal.is_path(text)


def test_every_single_character_is_a_path_for_both_or_for_neither() -> None:
    for code in range(0x110000):
        character = chr(code)
        assert names.is_path(character) == literal.is_path(character), hex(code)


@given(texts.map(lambda text: "pkg:" + text) | texts)
def test_package_urls_are_read_alike(text: str) -> None:
    check_purl(text)


@given(st.sampled_from(PURLS), st.integers(0, 200), st.integers(0, 12), texts)
def test_damaged_package_urls_are_read_alike(text: str, place: int, cut: int, piece: str) -> None:
    check_purl(text[:place] + piece + text[place + cut :])


@pytest.mark.parametrize("key", ["channel", "file", "package_id", "prev", "rrev", "user", "other"])
@pytest.mark.parametrize("value", ["a/b", "a//b", "/", "..", "a/..", "%00", "%7F", "%C2%80", "A", ""])
def test_every_qualifier_of_an_odd_value_is_judged_alike(key: str, value: str) -> None:
    pairs = {"file": "x", "rrev": "y", key: value}
    check_purl("pkg:conan/z@1?" + "&".join(f"{name}={pairs[name]}" for name in sorted(pairs)))


def check_purl(text: str) -> None:
    said = outcome(lambda: purl.parse_purl(text))
    assert said == outcome(lambda: literal.parse_purl(text))
    assert said == outcome(lambda: purl.parse_purl(text))  # remembered


@given(values)
@example({"sha256": "ab" * 32, "md5": "ab" * 16, "label": "x"})
@example({"sha256": "ab" * 32, "label": ""})
@example({"sha256": 1})
def test_members_are_taken_alike(value: JSON) -> None:
    assert outcome(lambda: fields.take_digests(value, "a")) == outcome(
        lambda: literal.take_digests(value, "a")
    )
    assert outcome(lambda: fields.take_texts(value, "a", "b")) == outcome(
        lambda: literal.take_texts(value, "a", "b")
    )


@given(
    st.dictionaries(st.sampled_from(KEYS), st.none(), max_size=6),
    st.lists(st.sampled_from(KEYS), unique=True, max_size=4).map(tuple),
    st.lists(st.sampled_from(KEYS), unique=True, max_size=4).map(tuple),
)
def test_objects_are_taken_alike(
    value: dict[str, JSON], required: tuple[str, ...], optional: tuple[str, ...]
) -> None:
    said = outcome(lambda: fields.take_object(value, "a", required, optional))
    assert said == outcome(lambda: literal.take_object(value, "a", required, optional))


MEMBERS = (*comparison._ALWAYS, *sorted(comparison._SOMETIMES), "unknown")


@given(st.sampled_from((*comparison.RESULTS, "other", None)), st.sets(st.sampled_from(MEMBERS)))
def test_the_table_of_results_is_kept_alike(result: str | None, present: set[str]) -> None:
    predicate: dict[str, JSON] = {**dict.fromkeys(present), "result": result}
    said = outcome(lambda: comparison._take_members(predicate))
    assert said == outcome(lambda: literal.take_comparison(predicate))


def test_a_digest_set_is_a_copy_that_no_later_reader_sees_changed() -> None:
    given_digests: JSON = {"sha256": "ab" * 32}
    fields.take_digests(given_digests, "a").clear()
    fields.take_texts(given_digests, "a", "b").clear()
    assert given_digests == {"sha256": "ab" * 32}


def test_blocks_of_a_key_are_found_in_their_order() -> None:
    one, other = cases.provenance().key, cases.record().key
    keys = tuple(
        TrustedKey("rebuilder", "https://a.example.org", None, key, ("maven",), start, start + 1)
        for start, key in enumerate((one, other, one, one, other))
    )
    listed = AdmissionList(keys)
    for spki in (one.spki, other.spki, one.spki[:-1], b""):
        assert listed.find(spki) == literal.find(keys, spki)
    assert listed == AdmissionList(keys)  # what is remembered is no part of the value
    assert hash(listed) == hash(AdmissionList(keys))
