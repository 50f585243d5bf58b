"""Small XML documents without the parts of XML that are dangerous: no DTD, no entities, bounded depth."""

from __future__ import annotations

from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

# Elements inside each other: settings and POMs have about ten; a parser for trees must not be led deeper.
MAX_DEPTH = 64


def parse_xml(data: bytes) -> Element:
    """The root element, names without namespace prefixes. ValueError for what is not well-formed, has a DTD,
    or is nested deeper than 64; also for encodings that cannot be read.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    depth = 0

    def refuse(*_: object) -> None:
        raise ValueError("a document type declaration (DTD) is refused")

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"elements nested deeper than {MAX_DEPTH}")
        builder.start(_local(name), attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(_local(name))

    # Without a DTD there are no entities but the five of XML itself, so nothing can expand or be fetched.
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.buffer_text = True
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError) as error:  # LookupError: an encoding that Python does not know
        raise ValueError(f"not well-formed XML: {error}") from None
    return builder.close()


def _local(name: str) -> str:
    return name.rpartition(":")[2]
