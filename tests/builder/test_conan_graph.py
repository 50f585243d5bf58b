"""What comes out of a sandbox about Conan's graph, and the references in it: read strictly."""

import json

import pytest

from touchplate.builder.ecosystems.conan.conaninfo import parse_conaninfo
from touchplate.builder.ecosystems.conan.graph import Node, parse_graph
from touchplate.builder.ecosystems.conan.required import find_required, parse_reference
from touchplate.builder.errors import DefinitionError


def node_answer(**changes: object) -> bytes:
    """An answer of one node."""
    node = {"recipe": "a/1#b", "package_id": "c", "binary": "Build", "compatible": [], "conaninfo": ""}
    return json.dumps({"nodes": [{**node, **changes}], "used": []}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{}", b'{"missing": []}', b'{"missing": [1]}', b'{"missing": "a"}', b'{"error": 1}',
        b'{"nodes": [1], "used": []}', b'{"nodes": [{}], "used": []}', b'{"nodes": []}', b'{"nodes": 1}',
        json.dumps({"missing": [f"part{number}/1.0" for number in range(1000)]}).encode(),
        json.dumps({"nodes": [{}] * 1000, "used": []}).encode(),
        b'{"error": "' + b"x" * (2 << 20) + b'"}',
    ],
    ids=lambda data: data[:24].decode(),
)  # fmt: skip
def test_an_answer_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(DefinitionError):
        parse_graph(data)


@pytest.mark.parametrize(
    "name", ["zlib/1.0#\x1b[2J", "zlib/1.0:\nab", "zlib/1.0 ", "\x9b", "a" * 600], ids=ascii
)
def test_names_that_would_disturb_a_terminal_are_refused(name: str) -> None:
    said = ascii(name)[1:20]
    for answer in (
        json.dumps({"missing": [name]}).encode(),
        json.dumps({"nodes": [], "used": [name]}).encode(),
        node_answer(recipe=name),
        node_answer(package_id=name),
        node_answer(compatible=[name]),
    ):
        with pytest.raises(DefinitionError, match="is neither a reference nor a package id") as caught:
            parse_graph(answer)
        assert said in str(caught.value)
        assert str(caught.value).isprintable()


def test_an_answer_of_one_node_is_read() -> None:
    assert parse_graph(node_answer()).nodes == (Node("a/1#b", "c", "Build"),)


def test_what_conan_says_is_printed_without_control_characters() -> None:
    assert parse_graph(b'{"error": "a\\u001b[31mb"}').error == "a\\x1b[31mb"
    long = json.dumps({"error": "begin\n" + " where it was\n" * 100 + "end"}).encode()
    said = parse_graph(long).error
    assert said.startswith("begin; where it was; ")
    assert said.endswith("; end")
    assert len(said) < 500


@pytest.mark.parametrize(
    ("pattern", "version", "fits"),
    [
        ("1.3.Z", "1.3.1", True), ("1.3.Z", "1.3", True), ("1.3.Z", "1.31", False), ("1.0.Z", "1", True),
        ("1.Y.Z", "1.9", True), ("1.Y.Z", "2.0", False), ("1.2.3", "1.2.3", True), ("1.2.3", "1.2.4", False),
        ("1.2.3", "1.2.3-rc1", True), ("cci.2020", "cci.2020", True), ("cci.2020", "cci.2021", False),
    ],
)  # fmt: skip
def test_versions_fit_as_far_as_conaninfo_says_them(pattern: str, version: str, fits: bool) -> None:
    assert parse_reference(f"zlib/{pattern}").fits(version) is fits


def test_references_are_read_as_conan_writes_them() -> None:
    info = parse_conaninfo(b"[settings]\nos=Linux\n[requires]\nb1/1.0.Z@me/dev\nzlib/1.3.1#ab:cd\n")
    assert info.requires == ("b1/1.0.Z@me/dev", "zlib/1.3.1#ab:cd")
    found = find_required(info.requires, "zlib")
    assert found is not None
    assert (found.version, found.rrev, found.package_id) == ("1.3.1", "ab", "cd")
    own = find_required(info.requires, "b1")
    assert own is not None
    assert (own.user, own.channel) == ("me", "dev")
    assert find_required(info.requires, "png") is None
