"""Proofs and single entries as JSON: asked for by people and scripts, so plain FastAPI routes will do."""

from collections.abc import Callable

from fastapi import APIRouter, Request, Response

from touchplate.log.http import proofs
from touchplate.log.http.answers import Answer, problem_of
from touchplate.log.reading import LogReader
from touchplate.verify.encoding import encode_base64

READS = ["GET", "HEAD"]
"""Methods of every route here: the server leaves out the body of an answer to HEAD."""


def make_routes(reader: LogReader, prefix: str) -> APIRouter:
    """The router for `prefix` ("/log"): /proof/inclusion, /proof/consistency, /proof/tlog, /entry/<index>,
    /lookup/<leaf hash>."""
    router = APIRouter(prefix=prefix)

    # Plain functions, not coroutines: FastAPI runs them in threads, and reading the database blocks.
    @router.api_route("/proof/inclusion", methods=READS)
    def inclusion(request: Request) -> Response:
        return _respond(lambda: proofs.inclusion(reader, request.query_params.multi_items()))

    @router.api_route("/proof/consistency", methods=READS)
    def consistency(request: Request) -> Response:
        return _respond(lambda: proofs.consistency(reader, request.query_params.multi_items()))

    @router.api_route("/proof/tlog", methods=READS)
    def tlog_proof(request: Request) -> Response:
        return _respond(lambda: proofs.tlog_proof(reader, request.query_params.multi_items()))

    @router.api_route("/lookup/{leaf_hash}", methods=READS)
    def lookup(leaf_hash: str) -> Response:
        return _respond(lambda: proofs.lookup(reader, leaf_hash))

    @router.api_route("/entry/{index}", methods=READS)
    def entry(index: str) -> Response:
        return _respond(lambda: _entry(reader, index))

    return router


def _respond(make: Callable[[], Answer]) -> Response:
    try:
        answer = make()
    except Exception as error:
        answer = problem_of(error)
    return Response(answer.body, answer.status, dict(answer.headers), media_type=answer.content_type)


def _entry(reader: LogReader, text: str) -> Answer:
    index = proofs.number(text, "index")
    entry = reader.entry(index)
    found = {"index": str(index), "envelope": encode_base64(entry.envelope), "key": encode_base64(entry.spki)}
    return proofs.json_answer(found)
