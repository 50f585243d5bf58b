"""Definitions: what is refused, with line and remedy."""

import json

import pytest

from touchplate.builder.definitions.definition import MOST, Definition, make_definition, parse_definition
from touchplate.builder.definitions.yamlcore import MAX_BYTES, MAX_MISTAKES, parse_yaml
from touchplate.builder.ecosystems.maven.definition import details_of
from touchplate.builder.errors import BuilderError, DefinitionError
from touchplate.verify.jcs import format_json

SHA = "ab" * 32

VALID = f"""\
version: 1
name: demo-1.0
package: "pkg:maven/org.example/demo@1.0?type=jar"
source:
  kind: sources-jar
  files:
    - uri: "upstream:central/org/example/demo/1.0/demo-1.0-sources.jar"
      sha256: {SHA}
      size: 17
tools:
  jdk: 17
  maven: {{version: 3.9.11, sha256: {SHA}}}
command: [mvn, -B, package]
umask: "022"
outputs:
  - path: target/demo-1.0.jar
    package: "pkg:maven/org.example/demo@1.0?type=jar"
"""


def changed(old: str, new: str) -> bytes:
    assert old in VALID
    return VALID.replace(old, new).encode()


def test_reads_a_definition_written_by_hand() -> None:
    definition = parse_definition(VALID.encode())
    assert definition.name == "demo-1.0"
    assert details_of(definition).jdk == 17
    assert definition.umask == 0o022
    assert definition.upstreams == ("central",)
    assert definition.environment == {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def test_digest_is_over_the_saved_bytes() -> None:
    one, two = parse_definition(VALID.encode()), parse_definition(VALID.encode() + b"# a comment\n")
    assert one.sha256 != two.sha256


def test_inferred_definition_is_canonical_json_with_one_line_end() -> None:
    value = parse_yaml(VALID.encode()).value
    assert isinstance(value, dict)
    definition = make_definition(value)
    assert definition.data == format_json(value) + b"\n"
    assert parse_definition(definition.data) == definition


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version: 1", "version: 2", "line 1: version: 2 is not a number from 1 to 1"),
        ("name: demo-1.0", "name: ../demo", "line 2: name: '../demo' is not letters, digits"),
        ("name: demo-1.0\n", "", "line 1: definition: lacks name; add it"),
        (
            "kind: sources-jar",
            "kind: tarball",
            "line 5: source.kind: 'tarball' is unknown; use source-release",
        ),
        ("size: 17", "size: -1", "line 9: source.files.0.size: -1 is not a number from 1"),
        ("upstream:central/org", "https://example.org/org", "line 7: source.files.0.uri: uri"),
        (f"sha256: {SHA}\n", "sha256: AB\n", "line 8: source.files.0.sha256: 'AB' is not a sha256"),
        ("jdk: 17", "jdk: seventeen", "line 11: tools.jdk: 'seventeen' is not a number from 5 to 99"),
        (
            "[mvn, -B, package]",
            "[sh, -c, true]",
            "line 13: command: starts with 'sh'; use mvn or an absolute",
        ),
        (
            'umask: "022"',
            "umask: 022",
            'line 14: 022 is octal to some readers and not to others; write "022"',
        ),
        ('umask: "022"', "umask: 18", 'line 14: umask: 18 is not three octal digits in quotes; write "022"'),
        ("jdk: 17", "jdk:", "line 11: tools.jdk: has no value; give it one, or leave the line out"),
        ("path: target/", "path: ../target/", "'../target/demo-1.0.jar' is not a plain relative path"),
        ('demo@1.0?type=jar"\n', 'demo@1.0"\n', "has no type"),
        ("umask:", "shell: true\numask:", "line 14: shell: is unknown; known here: version, name"),
        (
            f"sha256: {SHA}}}",
            f"sha256: {SHA}, url: x}}",
            "tools.maven.url: is unknown; known here: version, sha256",
        ),
    ],
)
def test_names_line_and_remedy(old: str, new: str, message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        parse_definition(changed(old, new))
    assert message in str(caught.value)


def test_lists_all_mistakes_at_once() -> None:
    data = changed("size: 17", "size: none").replace(b"jdk: 17", b"jdk: 1")
    with pytest.raises(DefinitionError) as caught:
        parse_definition(data)
    assert "source.files.0.size" in str(caught.value)
    assert "tools.jdk" in str(caught.value)


def test_refuses_an_output_of_another_package() -> None:
    data = VALID.replace(
        '    package: "pkg:maven/org.example/demo@1.0', '    package: "pkg:maven/org.example/other@1.0'
    )
    with pytest.raises(DefinitionError, match="one definition, one package"):
        parse_definition(data.encode())


def test_a_package_that_is_called_like_our_stand_in_is_a_package_like_any_other() -> None:
    data = VALID.replace("pkg:maven/org.example/demo@1.0", "pkg:maven/invalid/invalid@0", 1)
    with pytest.raises(DefinitionError, match="one definition, one package"):
        parse_definition(data.encode())


def test_mvn_needs_its_tools() -> None:
    with pytest.raises(DefinitionError, match=r"needs tools\.jdk and tools\.maven"):
        parse_definition(changed("  jdk: 17\n", ""))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", "line 2: the key 'a' stands twice"),
        ("a: &x 1\nb: *x\n", "line 1: anchors and aliases are refused"),
        ("a: !!str 1\n", "line 1: tags are refused"),
        ("a: !local 1\n", "line 1: tags are refused"),
        ("%YAML 1.1\n---\na: 1\n", "directives are refused"),
        ("a: 1.5\n", "line 1: '1.5' is a fraction"),
        ("a: [1, 2\n", "not yaml"),
        ("1: a\n", "line 1: the key '1' is not text; quote it"),
        ("a: 1\n---\nb: 2\n", "not yaml"),
        ("", "definition is empty"),
        ("[" * 40 + "]" * 40, "nested deeper than 32"),
        ('a: "\\ud800"\n', "lone surrogate"),
    ],
)
def test_refuses_yaml_that_two_readers_understand_differently(text: str, message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        parse_yaml(text.encode())
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["yes", "No", "ON", "off", "y", "N", "012", "-007", "0o17", "0b11", "1_000", "0x1_0", "1:20",
     "190:20:30.15", "2024-01-01", "2024-01-01 10:00:00", "=", "<<"],
)  # fmt: skip
@pytest.mark.parametrize("place", ["a: {}\n", "a: [1, {}]\n", "{}: 1\n"])
def test_refuses_plain_text_that_means_two_things(place: str, text: str) -> None:
    with pytest.raises(DefinitionError, match="to some readers and not to others") as caught:
        parse_yaml(place.format(text).encode())
    assert f'write "{text}"' in str(caught.value)
    assert parse_yaml(place.format(f'"{text}"').encode()).value is not None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: \xff\n", "not utf-8 at byte 3; save it as utf-8"),
        ("a: 1\n".encode("utf-16"), "utf-16"),
        ("a: 1\n".encode("utf-16-le"), "utf-16"),
        ("a: 1\n".encode("utf-32-be"), "utf-16"),
        (b"\xef\xbb\xbfa: 1\n", "byte order mark; remove it"),
        ("# a\u2028b: 2\na: 1\n".encode(), r"line 1: the character U\+2028 is refused"),
        ("a: 1\n# \u202e evil\n".encode(), r"line 2: the character U\+202E is refused"),
        (b"a: 1\n# \x85b: 2\n", "not utf-8 at byte 7"),
        ("a: 1\n# \x85b: 2\n".encode(), r"line 2: the character U\+0085 is refused"),
        (b"a: 1\nb: \x00\n", "line 2: not yaml.*remove the control character"),
        (b'a: "\\UFFFFFFFF"\n', "names no character"),
        (b"a: 12345678901234567890\n", "too long a number"),
        (b"a: 0x11111111111111111\n", "too long a number"),
        (b"a: " + b"9" * 10_000, "too long a number"),
        (b" " * (MAX_BYTES + 1), f"longer than {MAX_BYTES} bytes"),
        (b"\ta: 1\n", "indent with spaces"),
        (b"a: b: c\n", "line 1: not yaml.*quote text that holds"),
        (b"a: 'b\n", "close the quotes"),
        (b"a: [b\n", "close the bracket"),
        (b"a: @b\n", "quote the text"),
    ],
)
def test_refuses_encodings_and_text_that_readers_see_differently(data: bytes, message: str) -> None:
    with pytest.raises(DefinitionError, match=message) as caught:
        parse_yaml(data)
    assert len(caught.value.mistakes) == 1


def test_a_bomb_of_aliases_is_refused_without_being_unfolded() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    with pytest.raises(DefinitionError, match="write the value out") as caught:
        parse_yaml("\n".join(lines).encode())
    assert len(caught.value.mistakes) == MAX_MISTAKES


def test_what_is_missing_is_said_once_and_not_of_its_parts() -> None:
    with pytest.raises(DefinitionError) as caught:
        parse_definition(b"version: 1\nsource: [a]\ntools: ~\ncommand: [/bin/true]\n")
    assert [str(one) for one in caught.value.mistakes] == [
        "line 1: definition: lacks name; add it",
        "line 1: definition: lacks outputs; add it",
        "line 1: definition: lacks package; add it",
        "line 2: source: is not a mapping; it takes kind, files",
        "line 3: tools: has no value; give it one, or leave the line out",
    ]


def test_lists_mistakes_of_the_text_and_of_the_definition_together() -> None:
    data = changed("kind: sources-jar", "kind: yes\n  kind: vcs").replace(b"jdk: 17", b"jdk: !!str 1.5")
    with pytest.raises(DefinitionError) as caught:
        parse_definition(data.replace(b"version: 1", b"version: 1\n1: one", 1))
    found = [(one.line, one.column, one.path) for one in caught.value.mistakes]
    assert found == [
        (2, 1, ""),  # the key that is a number
        (6, 9, ""),  # yes
        (6, 9, "source.kind"),
        (7, 3, ""),  # twice
        (13, 8, ""),  # the tag
        (13, 8, ""),  # the fraction
        (13, 8, "tools.jdk"),
    ]
    assert all(";" in one.text or "not a number" in one.text for one in caught.value.mistakes)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0x1F", 31),
        ("0", 0),
        ("-17", -17),
        ("True", True),
        ("true", True),
        ("~", None),
        ("3.9.11", "3.9.11"),
        ("yes sir", "yes sir"),
        ('"yes"', "yes"),
        ('"2024-01-01"', "2024-01-01"),
        ('"1"', "1"),
    ],
)
def test_scalars_follow_yaml_1_2_core(text: str, value: object) -> None:
    assert parse_yaml(f"a: {text}\n".encode()).value == {"a": value}


def test_no_key_is_left_out_in_silence() -> None:
    assert parse_yaml(b'"?": 1\n"": 2\n"a.b": {}\n').value == {"?": 1, "": 2, "a.b": {}}


def test_json_is_read_as_yaml() -> None:
    value = {"a": ["x", 1, None, True, {"é": '𝄞/\\"\n'}], "b": {}}
    assert parse_yaml(json.dumps(value, ensure_ascii=False).encode()).value == value


def test_damaged_definitions_give_only_our_errors() -> None:
    data = VALID.encode()
    read = [_parse_or_refuse(data[:length]) for length in range(len(data))]
    for position in range(len(data)):
        for flip in (0x01, 0x20, 0x80):
            mutated = bytearray(data)
            mutated[position] ^= flip
            read.append(_parse_or_refuse(bytes(mutated)))
    assert 0 < read.count(None) < len(read)


def _parse_or_refuse(data: bytes) -> Definition | None:
    try:
        return parse_definition(data)
    except BuilderError:
        return None


@pytest.mark.parametrize("name", sorted(MOST))
def test_limits_have_an_upper_end_whoever_wrote_the_definition(name: str) -> None:
    text = f"{VALID}limits: {{{name}: {MOST[name]}}}\n"
    assert getattr(parse_definition(text.encode()).limits, name) == MOST[name]
    with pytest.raises(DefinitionError, match=f"limits.{name}"):
        parse_definition(text.replace(str(MOST[name]), str(MOST[name] + 1)).encode())


def test_mistakes_beyond_what_anybody_reads_are_not_listed() -> None:
    data = VALID.encode() + b"".join(b"k%d: 1\n" % number for number in range(10_000))
    with pytest.raises(DefinitionError) as caught:
        parse_definition(data)
    assert len(caught.value.mistakes) == MAX_MISTAKES


def test_a_name_as_long_as_the_file_is_cut_in_what_is_said() -> None:
    with pytest.raises(DefinitionError) as caught:
        parse_definition(VALID.encode() + b"? " + b"k" * 200_000 + b"\n: 1\n")
    assert len(str(caught.value)) < 1000
    assert "kkk…: is unknown" in str(caught.value)
