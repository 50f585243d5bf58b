"""A failed command's output in a line, whoever wrote it."""

from collections.abc import Iterator

import pytest
from tests.builder.test_conan_pins import WHOLE, definition_with

from touchplate.builder.definitions.definition import make_definition
from touchplate.builder.ecosystems.registry import find_ecosystem
from touchplate.builder.failure import MAX_LINES, join_first


def test_the_first_distinct_lines_are_joined() -> None:
    assert join_first(["a", " b ", "a", "", "\t", "c"]) == "a; b; c"
    assert join_first([]) is None
    assert join_first(["", " "]) is None


def test_no_more_lines_are_read_than_are_shown() -> None:
    def lines() -> Iterator[str]:
        yield from map(str, range(MAX_LINES))
        raise AssertionError("one more was read")

    assert join_first(lines()) == "; ".join(map(str, range(MAX_LINES)))


@pytest.mark.parametrize(
    ("ecosystem", "log"),
    [
        ("maven", b"[ERROR] \x1b[31mred\xff"),
        ("conan", b"ERROR: \x1b[31mred\xff"),
        ("oci", b"Error: an earlier one\nError: \x1b[31mred\xff"),
    ],
)
def test_what_a_build_prints_reaches_no_terminal_as_it_is(ecosystem: str, log: bytes) -> None:
    found, definition = find_ecosystem(ecosystem), make_definition(definition_with(WHOLE))
    assert found.explain_failure(definition, log) == "\\x1b[31mred\ufffd"
    assert found.explain_failure(definition, b"fine\n") is None
