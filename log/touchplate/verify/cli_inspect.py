"""`touchplate inspect`: what a node says about a package or a digest. Shown, never believed: no evidence."""

import argparse
from collections.abc import Iterator
from urllib.parse import quote

from touchplate.verify.encoding import decode_hex
from touchplate.verify.errors import MalformedError, TransportError, shown
from touchplate.verify.jcs import JSON, parse_json
from touchplate.verify.output import print_json, print_line, print_note, print_pairs
from touchplate.verify.purl import normalise_purl
from touchplate.verify.usage import OK, UsageError

MAX_ANSWER_BYTES = 4 << 20
"""Bytes of a node's answer: a package version with thousands of entries takes less."""

_DIGEST = "sha256:"


def register(parser: argparse.ArgumentParser) -> None:
    """The options of `touchplate inspect`."""
    parser.add_argument("name", metavar="PURL|sha256:HEX", help="a package URL, or the digest of a file")
    parser.add_argument("--server", required=True, metavar="URL", help="the node to ask")
    parser.add_argument("--json", action="store_true", help="print the node's answer as it is")


def run(args: argparse.Namespace) -> int:
    """Ask and print. Raises UsageError, TransportError (NotFoundError when the node knows nothing)."""
    from touchplate.verify.http_source import HTTPSource

    path = api_path(args.name)
    data = HTTPSource(args.server).read(path, MAX_ANSWER_BYTES)
    try:
        answer = parse_json(data, max_bytes=MAX_ANSWER_BYTES)
    except MalformedError as error:
        raise TransportError(f"{shown(args.server)} does not answer as a node does: {error}") from error
    if args.json:
        print_json(answer)
        return OK
    _print_answer(answer)
    print_note("a node's word is no evidence; check a file with `touchplate verify`")
    return OK


def api_path(name: str) -> str:
    """The path below a node's URL that answers about `name`. Raises UsageError."""
    try:
        if name.startswith(_DIGEST):
            return f"api/v1/artifacts/{decode_hex(name.removeprefix(_DIGEST), 32, 'the digest').hex()}"
        purl = normalise_purl(name)
    except MalformedError as error:
        raise UsageError(f"{error}; write a package URL or sha256:HEX") from error
    # Quoted as a whole: the node gets the purl back as it was, its `?` and `%` included.
    return f"api/v1/packages/{quote(str(purl), safe='/:@')}"


def _print_answer(answer: JSON) -> None:
    head = [(key, _line(value)) for key, value in _members(answer) if not isinstance(value, list | dict)]
    print_pairs(head)
    for key, value in _members(answer):
        if key == "files":
            for file in _items(value):
                print_line()
                print_pairs(list(_file_pairs(file)))
        elif isinstance(value, list | dict):
            print_pairs([(key if number == 0 else "", line) for number, line in enumerate(_lines(value))])


def _file_pairs(file: JSON) -> Iterator[tuple[str, str]]:
    """The lines about one file, in the node's order; a list has a line for each item."""
    for key, value in _members(file):
        if isinstance(value, dict):
            yield from ((f"{key} {inner}", _line(one)) for inner, one in value.items())
        elif isinstance(value, list) and value:
            yield from ((key if number == 0 else "", line) for number, line in enumerate(_lines(value)))
        elif not isinstance(value, list):
            yield key, _line(value)


def _lines(value: JSON) -> list[str]:
    if isinstance(value, dict):
        return [f"{key}: {_line(one)}" for key, one in value.items()]
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return [_line(value)]
    return [_line(one) for one in _items(value)]


def _line(value: JSON) -> str:
    """Any value on one line: texts as they are, objects as `key value` pairs, nothing for nothing."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, list):
        return ", ".join(_line(one) for one in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_line(one)}" for key, one in value.items())
    return str(value)


def _members(value: JSON) -> list[tuple[str, JSON]]:
    return list(value.items()) if isinstance(value, dict) else []


def _items(value: JSON) -> list[JSON]:
    return value if isinstance(value, list) else []
