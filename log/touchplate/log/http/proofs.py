"""Proofs as JSON, out of a request's parameters: for routes and hot faces.

Sizes and indexes are decimal strings, as in proof bundles: JSON numbers end at 2^53. No root hash is given:
a root comes from a checkpoint that the reader verified, never from the side.
"""

import json
from collections.abc import Mapping, Sequence

from touchplate.log.errors import RequestError
from touchplate.log.http.answers import FRESH, Answer
from touchplate.log.reading import LogReader
from touchplate.verify.encoding import decode_hex, encode_base64, parse_decimal
from touchplate.verify.errors import MalformedError
from touchplate.verify.rfc6962 import HASH_SIZE

Parameters = Sequence[tuple[str, str]]
"""Names and values in a request's query, as they came."""


def json_answer(body: Mapping[str, object]) -> Answer:
    """A JSON answer that is asked for again each time."""
    return Answer(
        json.dumps(body).encode(), content_type="application/json", headers={"Cache-Control": FRESH}
    )


def inclusion(reader: LogReader, given: Parameters) -> Answer:
    """?index=N&size=N. Raises RequestError, NotFoundError."""
    index, size = _numbers(given, "index", "size")
    proof = [encode_base64(node) for node in reader.inclusion(index, size)]
    return json_answer({"index": str(index), "size": str(size), "proof": proof})


def consistency(reader: LogReader, given: Parameters) -> Answer:
    """?old=N&new=N. Raises RequestError, NotFoundError."""
    old, new = _numbers(given, "old", "new")
    proof = [encode_base64(node) for node in reader.consistency(old, new)]
    return json_answer({"old": str(old), "new": str(new), "proof": proof})


def tlog_proof(reader: LogReader, given: Parameters) -> Answer:
    """?index=N: as one file (C2SP tlog-proof). Raises RequestError, NotFoundError."""
    if [name for name, _ in given] != ["index"]:
        raise RequestError("ask with ?index=N, once and nothing else")
    return Answer(reader.tlog_proof(number(given[0][1], "index")), headers={"Cache-Control": FRESH})


def lookup(reader: LogReader, text: str) -> Answer:
    """Where a leaf hash in hex stands. Raises RequestError, NotFoundError."""
    try:
        leaf_hash = decode_hex(text, HASH_SIZE, "the leaf hash")
    except MalformedError as error:
        raise RequestError(str(error)) from error
    return json_answer({"index": str(reader.index_of(leaf_hash)), "leafHash": text})


def number(text: str, what: str) -> int:
    """A decimal number below 2^63. Raises RequestError."""
    try:
        return parse_decimal(text, what)
    except MalformedError as error:
        raise RequestError(str(error)) from error


def _numbers(given: Parameters, first: str, second: str) -> tuple[int, int]:
    """Exactly the two named parameters, once each."""
    if sorted(name for name, _ in given) != sorted((first, second)):
        raise RequestError(f"ask with ?{first}=N&{second}=N, each once and nothing else")
    values = dict(given)
    return number(values[first], first), number(values[second], second)
