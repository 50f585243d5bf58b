"""XML without its dangerous parts."""

from __future__ import annotations

import pytest

from touchplate.base.xml import MAX_DEPTH, parse_xml

GOOD = b'<?xml version="1.0"?><a xmlns:m="urn:x"><m:b c="1">t&amp;t</m:b><b/></a>'


def test_reads_elements_by_their_local_names() -> None:
    root = parse_xml(GOOD)
    assert [each.tag for each in root] == ["b", "b"]
    assert root.findtext("b") == "t&t"


@pytest.mark.parametrize(
    "data",
    [
        b"<!DOCTYPE a><a/>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        b'<!DOCTYPE a SYSTEM "http://example.org/a.dtd"><a/>',
        b'<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]><a/>',
    ],
)
def test_refuses_any_document_type_declaration(data: bytes) -> None:
    with pytest.raises(ValueError, match="DTD"):
        parse_xml(data)


@pytest.mark.parametrize("data", [b"", b"text", b"<a>", b"<a/><b/>", b"<a>&b;</a>", b"\xff<a/>", b"<a b=1/>"])
def test_refuses_what_is_not_well_formed(data: bytes) -> None:
    with pytest.raises(ValueError, match="XML"):
        parse_xml(data)


@pytest.mark.parametrize("encoding", ["nobody-knows", "rot13", "hex", "utf-7", "big5", "idna", "undefined"])
def test_refuses_encodings_that_are_no_plain_text(encoding: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_xml(f'<?xml version="1.0" encoding="{encoding}"?><a/>'.encode())


def test_refuses_deep_nesting() -> None:
    parse_xml(b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH)
    with pytest.raises(ValueError, match="deeper"):
        parse_xml(b"<a>" * (MAX_DEPTH + 1) + b"</a>" * (MAX_DEPTH + 1))


def test_every_cut_and_changed_byte_is_read_or_refused() -> None:
    damaged = [GOOD[:end] for end in range(len(GOOD))]
    damaged += [
        GOOD[:at] + bytes([GOOD[at] ^ bit]) + GOOD[at + 1 :] for at in range(len(GOOD)) for bit in (1, 128)
    ]
    refused = 0
    for data in damaged:
        try:
            parse_xml(data)
        except ValueError:
            refused += 1
    assert len(GOOD) <= refused < len(damaged)
