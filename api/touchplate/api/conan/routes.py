"""`/conan/<upstream>/…`: the reading half of a Conan 2 remote with revisions, GET and HEAD.

Clients print the text of an error when they asked for JSON, and only the status when they asked for a file.
So a revision is judged as a whole when its list of files is asked for, and again for each file.
"""

from __future__ import annotations

import json
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from touchplate.api.blobs import BlobStore
from touchplate.api.conan.judge import ConanJudge, JudgedRevision
from touchplate.api.conan.layout import (
    ConanRequest,
    FileRequest,
    FilesRequest,
    PackagesRequest,
    PingRequest,
    ProofRequest,
    RevisionsRequest,
    UserRequest,
    parse_conan_path,
)
from touchplate.api.conan.listing import Listing
from touchplate.api.conan.proofs import ConanProofs
from touchplate.api.conan.repository import Remote
from touchplate.api.errors import BadNameError, RefusedError
from touchplate.api.http.calls import Calls, Lanes
from touchplate.api.http.files import file_response
from touchplate.api.http.registry import format_warning

CAPABILITIES = {"X-Conan-Server-Capabilities": "revisions"}
"""Read by clients before anything else; without this header they say that it is no Conan remote."""

CACHE = "no-cache"
"""Content never changes under its revision, but the decision about it may."""

MAX_PATTERN = 256
"""Characters of a search pattern; a reference has 200."""

# Clients compare this text: another parameter or order is "not json" to them.
JSON_TYPE = "application/json"


class ConanRoutes:
    """Answers requests below one prefix; made once per node."""

    def __init__(
        self,
        judge: ConanJudge,
        blobs: BlobStore,
        proofs: ConanProofs,
        listing: Listing,
        *,
        calls: Calls,
        fetches: Lanes,
    ) -> None:
        """`calls` answers from what is held, `fetches` may wait for upstreams: a dead one then stops only
        those who want something new."""
        self._judge = judge
        self._blobs = blobs
        self._proofs = proofs
        self._listing = listing
        self._calls = calls
        self._fetches = fetches

    def router(self) -> APIRouter:
        """The routes, to be mounted at `/conan`."""
        router = APIRouter()
        router.add_api_route(
            "/{upstream}/{path:path}", self.answer, methods=["GET", "HEAD"], response_model=None, name="conan"
        )
        return router

    async def answer(self, request: Request, upstream: str, path: str) -> Response:
        """One request. Errors go to the handler of the application."""
        raw = request.scope.get("raw_path", b"").lower()
        if b"%2f" in raw or b"%5c" in raw:
            raise BadNameError("the path holds an encoded slash; a conan path has none")
        remote, asked = self._judge.remote(upstream), parse_conan_path(path)
        if isinstance(asked, PingRequest):
            return Response(b"", headers={**CAPABILITIES, "Cache-Control": CACHE}, media_type="text/plain")
        if isinstance(asked, UserRequest):
            raise RefusedError(
                "to log in: packages are read here without an account, and uploads are not taken",
                reason="no-accounts",
            )
        is_held = await self._calls.run(lambda: self._is_held(remote, asked))
        pool = self._calls if is_held else self._fetches.of("conan", remote.name)
        return await pool.run(lambda: self._answer(request, remote, asked))

    def _is_held(self, remote: Remote, asked: ConanRequest) -> bool:
        if not isinstance(asked, FilesRequest | FileRequest | ProofRequest):
            return False
        return self._judge.is_held(remote, asked.revision)

    def _answer(self, request: Request, remote: Remote, asked: ConanRequest) -> Response:
        match asked:
            case FilesRequest():
                return self._files(self._judge.serve(remote, asked.revision))
            case FileRequest():
                return self._file(request, self._judge.serve(remote, asked.revision), asked.name)
            case ProofRequest():
                judged = self._judge.serve(remote, asked.revision)
                body = self._proofs.body(judged, asked)
                return Response(body, headers={**CAPABILITIES, "Cache-Control": CACHE}, media_type=JSON_TYPE)
            case RevisionsRequest(latest=True):
                return _json(self._listing.latest(remote, asked))
            case RevisionsRequest():
                return _json(remote.answers.revisions(asked))
            case PackagesRequest():
                is_list = _flag(request.query_params.get("list_only", "False"))
                return _json(remote.answers.packages(asked.path, urlencode({"list_only": is_list})))
            case _:
                return self._search(request, remote)

    def _search(self, request: Request, remote: Remote) -> Response:
        pattern = request.query_params.get("q", "")
        if len(pattern) > MAX_PATTERN or not pattern.isprintable():
            raise BadNameError(f"pattern of {len(pattern)} characters: at most {MAX_PATTERN} are taken")
        query = {"q": pattern} if pattern else {}
        if not _flag(request.query_params.get("ignorecase", "True")):
            query["ignorecase"] = "False"
        found = remote.answers.search(urlencode(query))
        return _json({"results": self._listing.only_passing(remote, found)})

    def _files(self, judged: JudgedRevision) -> Response:
        names = [*(file.name for file in judged.files), *self._proofs.names(judged)]
        return _json({"files": {name: {} for name in names}}, _warning(judged))

    def _file(self, request: Request, judged: JudgedRevision, name: str) -> Response:
        link = judged.file(name).link
        described = {
            **CAPABILITIES,
            **_warning(judged),
            "Content-Type": "text/plain" if name.endswith((".py", ".txt")) else "application/octet-stream",
            "ETag": f'"sha256:{link.sha256}"',
            "X-Checksum-Sha1": link.sha1,
            "X-Checksum-Sha256": link.sha256,
            "X-Checksum-Md5": link.md5,
            "Cache-Control": CACHE,
        }
        return file_response(request, self._blobs.path(link.sha256), link.size, described)


def _json(body: object, headers: dict[str, str] | None = None) -> Response:
    named = {**CAPABILITIES, "Cache-Control": CACHE, **(headers or {})}
    return Response(json.dumps(body), headers=named, media_type=JSON_TYPE)


def _warning(judged: JudgedRevision) -> dict[str, str]:
    """A header for a revision that only passes because its rule warns. Clients do not show it; proxies log
    it."""
    if judged.decision.verdict != "warn":
        return {}
    return {"Warning": format_warning(f"{judged.revision}, {judged.worst.name}: {judged.decision.line}")}


def _flag(text: str) -> bool:
    return text.lower() not in ("false", "0", "no")
