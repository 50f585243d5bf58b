"""Containerfiles: what can be built from pinned inputs, and what is refused with line, rule and remedy."""

import pytest

from touchplate.builder.ecosystems.oci.containerfile import MAX_BYTES, MAX_STAGES, read_containerfile
from touchplate.builder.errors import ContainerfileError


def images(text: str) -> dict[str, int]:
    return read_containerfile(text.encode(), "Containerfile").images


def test_everything_that_needs_no_network_is_taken() -> None:
    text = """# a comment
    ARG BEFORE=1
    FROM host.example/team/base:1 AS tools

    RUN make \\
        # a comment in between
        all && \\
        make install
    from tools as next
    copy --chown=1:2 --chmod=644 a b /c/
    COPY ["with space", "/d/"]
    COPY --from=0 /a /b
    COPY --from=tools /a /b
    COPY --from=host.example/other@sha256:0 /a /b
    ADD archive.tar.gz /e/
    FROM scratch
    LABEL a="http://in.a.label/"
    CMD ["/x", "--mount=type=bind"]
    """
    assert images(text) == {"host.example/team/base:1": 3, "host.example/other@sha256:0": 14}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("FROM $BASE", 1, "write the image's name out"),
        (
            "FROM --platform=linux/arm64 a",
            1,
            "--platform is not supported: the definition says which platform",
        ),
        ("FROM a b", 1, "write FROM IMAGE"),
        ("FROM", 1, "write FROM IMAGE"),
        ("RUN true", 1, "before the first FROM"),
        ("FROM a\nONBUILD RUN x", 2, "triggers"),
        ("FROM a\nRUNN x", 2, "no instruction"),
        ("FROM a\nADD https://example.org/x /", 2, "fetched while building; put the file into the context"),
        ("FROM a\nADD HTTP://example.org/x /", 2, "fetched while building"),
        ('FROM a\nADD ["https://example.org/x", "/"]', 2, "fetched while building"),
        ("FROM a\nADD git@example.org:x.git /", 2, "fetched while building"),
        ("FROM a\nARG U\nADD $U /", 3, "may become an address"),
        ("FROM a\nADD --checksum=sha256:0 b /", 2, "--checksum is not supported"),
        ("FROM a\nRUN --mount=type=bind,source=/,target=/h cat /h/etc/shadow", 2, "--mount is not supported"),
        ("FROM a\nRUN --mount=type=bind\tcat /h", 2, "--mount is not supported"),
        ("FROM a\nRUN\t--network=host\tcurl a", 2, "--network is not supported"),
        ("FROM a\nRUN --Mount=type=bind true", 2, "'--Mount=type=bind' is no flag that is understood"),
        ('FROM a\nRUN --"mount"=type=bind true', 2, "is no flag that is understood"),
        ("FROM a\nCOPY --from=-x /a /a", 2, "'-x' is no name of an image"),
        ("FROM --=a.org", 1, "'--=a.org' is no flag that is understood"),
        ("FROM a\nRUN true\u2028RUN --mount=type=bind true", 2, "is no plain text"),
        ("FROM a\nENV A=1\rUSER x", 2, "is no plain text"),
        ("FROM a\nRUN --mount=type=secret,id=k cat /run/secrets/k", 2, "nothing but the image"),
        ("FROM a\nRUN \\\n  --network=host x", 2, "--network is not supported"),
        ("FROM a\nRUN --security=insecure x", 2, "--security is not supported"),
        ("FROM a\nCOPY --from=$X a /", 2, "write the name out"),
        ("FROM a\nCOPY --link a /", 2, "--link is not supported"),
        ("FROM a\nRUN <<EOF\ncurl x\nEOF", 2, "here-documents"),
        ("FROM a\nCOPY <<EOF /x\ny\nEOF", 2, "here-documents"),
        ("# syntax=docker/dockerfile:1\nFROM a", 1, "parser directives"),
        # As the builder reads them (buildah 1.28 was tried on each), and not as they look.
        ("FROM a\nLABEL a=b\\\u00a0\nFROM b", 2, "is no plain text"),
        ('FROM a\nCOPY --chown="1 2" --from=b /x /y', 2, "without quotes"),
        ("FROM a\nCOPY --chown=1\\ 2 --from=b /x /y", 2, "without quotes"),
        ('FROM a\nCOPY --from="b" /x /y', 2, "without quotes"),
        ("FROM a\nCOPY --from=b\\c /x /y", 2, "without quotes"),
        ("FROM a\nCOPY --from=\u0660 /x /y", 2, "is no name of an image"),
        ("FROM a AS b\nCOPY --from=b /x /y", 2, "is no earlier stage"),
        ("FROM a AS b\nFROM c\nCOPY --from=B /x /y", 3, "is no earlier stage"),
        ("FROM a AS B\nFROM b", 2, "is no earlier stage"),
        ("FROM Scratch", 1, "is no earlier stage"),
        ("FROM 'a'", 1, "is no name of an image"),
        ("FROM a\\b", 1, "is no name of an image"),
        ("FROM a AS 0", 1, "is no name of a stage"),
        ("FROM a AS scratch", 1, "is no name of a stage"),
        ("FROM a AS b\nFROM a AS B", 2, "a stage 'B' already"),
        ('FROM a\nADD ["https://example.org/x","/"]', 2, "fetched while building"),
        ('FROM a\nADD ["ht\\u0074ps://example.org/x", "/"]', 2, "fetched while building"),
        ('FROM a\nADD h"tt"ps://example.org/x /', 2, "without quotes"),
        ("FROM a\nADD ht\\tps://example.org/x /", 2, "without quotes"),
        ('FROM a\nADD ["a", 1]', 2, "a list of strings"),
        ("FROM a\nADD " + "[" * 100_000, 2, "a list of strings"),
        ("# platform=windows\nFROM a", 1, "parser directives"),
        ("# escape=`\nFROM a", 1, "parser directives"),
    ],
)
def test_what_needs_more_is_refused_with_its_line(text: str, line: int, said: str) -> None:
    with pytest.raises(ContainerfileError) as caught:
        images(text)
    assert str(caught.value).startswith(f"Containerfile line {line}: ")
    assert said in str(caught.value)


def test_lines_are_joined_as_the_builder_joins_them() -> None:
    assert images("FROM a\nCOPY --from=b\\\nc /x /y") == {"a": 1, "bc": 2}
    assert images("FROM a\r\nCOPY --from=b\\  \r\n  # no part of it\r\n\r\nc /x /y") == {"a": 1, "bc": 2}
    assert images("FR\\\nOM a \\\n AS b\nFROM b") == {"a": 1}


def test_stage_that_comes_later_is_an_image_and_has_to_be_pinned() -> None:
    assert images("FROM a\nCOPY --from=b /x /x\nFROM c AS b") == {"a": 1, "b": 2, "c": 3}
    assert images("FROM a\nCOPY --from=1 /x /x") == {"a": 1, "1": 2}
    assert images("FROM a\nCOPY --from=0 /x /x") == {"a": 1, "0": 2}


@pytest.mark.parametrize("data", [b"", b"# nothing\n", b"FROM \xff", b"FROM a\n" + b"#" * MAX_BYTES])
def test_file_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(ContainerfileError):
        read_containerfile(data, "Containerfile")


def test_a_file_that_only_costs_time_is_refused() -> None:
    """A quarter of a megabyte of flags took two minutes to read."""
    with pytest.raises(ContainerfileError, match="line 2: RUN: has more than 16 flags"):
        images("FROM scratch\nRUN " + "--a " * 60_000 + "x")
    stages = "".join(f"FROM scratch AS s{number}\n" for number in range(MAX_STAGES + 1))
    with pytest.raises(ContainerfileError, match="line 201: FROM: is the beginning of more than 200 stages"):
        images(stages)
    assert images("FROM scratch\nCOPY --chown=1:1\t--chmod=0644 a b\n") == {}
