"""Proofs and single entries as JSON: asked for by people and scripts, so plain FastAPI routes will do.

Sizes and indexes are decimal strings, as in proof bundles: JSON numbers end at 2^53. No root hash is given:
a root comes from a checkpoint that the reader verified, never from the side.
"""

import json
from collections.abc import Callable

from fastapi import APIRouter, Request, Response

from touchplate.log.errors import RequestError
from touchplate.log.http.answers import FRESH, Answer, problem_of
from touchplate.log.reading import LogReader
from touchplate.verify.encoding import decode_hex, encode_base64, parse_decimal
from touchplate.verify.errors import MalformedError
from touchplate.verify.rfc6962 import HASH_SIZE

READS = ["GET", "HEAD"]
"""Methods of every route here: the server leaves out the body of an answer to HEAD."""


def make_routes(reader: LogReader, prefix: str) -> APIRouter:
    """The router for `prefix` ("/log"): /proof/inclusion, /proof/consistency, /proof/tlog, /entry/<index>,
    /lookup/<leaf hash>."""
    router = APIRouter(prefix=prefix)

    # Plain functions, not coroutines: FastAPI runs them in threads, and reading the database blocks.
    @router.api_route("/proof/inclusion", methods=READS)
    def inclusion(request: Request) -> Response:
        return _respond(lambda: _inclusion(reader, request))

    @router.api_route("/proof/consistency", methods=READS)
    def consistency(request: Request) -> Response:
        return _respond(lambda: _consistency(reader, request))

    @router.api_route("/proof/tlog", methods=READS)
    def tlog_proof(request: Request) -> Response:
        return _answer(lambda: _tlog_proof(reader, request))

    @router.api_route("/lookup/{leaf_hash}", methods=READS)
    def lookup(leaf_hash: str) -> Response:
        return _respond(lambda: _lookup(reader, leaf_hash))

    @router.api_route("/entry/{index}", methods=READS)
    def entry(index: str) -> Response:
        return _respond(lambda: _entry(reader, index))

    return router


def _respond(make: Callable[[], dict[str, object]]) -> Response:
    def answer() -> Answer:
        body = json.dumps(make()).encode()
        return Answer(body, content_type="application/json", headers={"Cache-Control": FRESH})

    return _answer(answer)


def _answer(make: Callable[[], Answer]) -> Response:
    try:
        answer = make()
    except Exception as error:
        answer = problem_of(error)
    return Response(answer.body, answer.status, dict(answer.headers), media_type=answer.content_type)


def _inclusion(reader: LogReader, request: Request) -> dict[str, object]:
    index, size = _numbers(request, "index", "size")
    proof = reader.inclusion(index, size)
    return {"index": str(index), "size": str(size), "proof": [encode_base64(node) for node in proof]}


def _consistency(reader: LogReader, request: Request) -> dict[str, object]:
    old, new = _numbers(request, "old", "new")
    proof = reader.consistency(old, new)
    return {"old": str(old), "new": str(new), "proof": [encode_base64(node) for node in proof]}


def _tlog_proof(reader: LogReader, request: Request) -> Answer:
    given = request.query_params.multi_items()
    if [name for name, _ in given] != ["index"]:
        raise RequestError("ask with ?index=N, once and nothing else")
    return Answer(reader.tlog_proof(_number(given[0][1], "index")), headers={"Cache-Control": FRESH})


def _lookup(reader: LogReader, text: str) -> dict[str, object]:
    try:
        leaf_hash = decode_hex(text, HASH_SIZE, "the leaf hash")
    except MalformedError as error:
        raise RequestError(str(error)) from error
    return {"index": str(reader.index_of(leaf_hash)), "leafHash": text}


def _entry(reader: LogReader, text: str) -> dict[str, object]:
    index = _number(text, "index")
    entry = reader.entry(index)
    return {
        "index": str(index),
        "envelope": encode_base64(entry.envelope),
        "key": encode_base64(entry.spki),
    }


def _numbers(request: Request, first: str, second: str) -> tuple[int, int]:
    """Exactly the two named parameters, once each."""
    given = request.query_params.multi_items()
    if sorted(name for name, _ in given) != sorted((first, second)):
        raise RequestError(f"ask with ?{first}=N&{second}=N, each once and nothing else")
    values = dict(given)
    return _number(values[first], first), _number(values[second], second)


def _number(text: str, what: str) -> int:
    try:
        return parse_decimal(text, what)
    except MalformedError as error:
        raise RequestError(str(error)) from error
