"""`/maven/<upstream>/<path>`: GET and HEAD for files, checksums, metadata and siblings with proofs."""

from __future__ import annotations

import hashlib

from fastapi import APIRouter, Request, Response

from touchplate.api.blobs import BlobStore
from touchplate.api.errors import BadNameError
from touchplate.api.http.calls import Calls, Lanes
from touchplate.api.http.files import file_response
from touchplate.api.maven.judge import Judged, MavenJudge
from touchplate.api.maven.layout import FileRequest, MetadataRequest, parse_path
from touchplate.api.maven.repository import Repository
from touchplate.api.proofs import Prover

_TYPES = {
    "jar": "application/java-archive",
    "war": "application/java-archive",
    "pom": "application/xml",
    "xml": "application/xml",
    "zip": "application/zip",
    "gz": "application/gzip",
    "json": "application/json",
    "module": "application/json",
    "asc": "text/plain",
}

CACHE = "no-cache"
"""A file may be kept, and asked about with its ETag: it never changes, but the decision about it may."""


class MavenRoutes:
    """Answers requests below one prefix; made once per node."""

    def __init__(
        self, judge: MavenJudge, blobs: BlobStore, prover: Prover, *, calls: Calls, fetches: Lanes
    ) -> None:
        """`calls` answers from what is held, `fetches` may wait for upstreams: a dead one then stops only
        those who want something new."""
        self._judge = judge
        self._blobs = blobs
        self._prover = prover
        self._calls = calls
        self._fetches = fetches

    def router(self) -> APIRouter:
        """The routes, to be mounted at `/maven`."""
        router = APIRouter()
        router.add_api_route(
            "/{upstream}/{path:path}", self.answer, methods=["GET", "HEAD"], response_model=None, name="maven"
        )
        return router

    async def answer(self, request: Request, upstream: str, path: str) -> Response:
        """One request. Errors go to the handler of the application."""
        raw = request.scope.get("raw_path", b"").lower()
        if b"%2f" in raw or b"%5c" in raw:
            raise BadNameError("the path holds an encoded slash; a maven path has none")
        answer = await self._calls.run(lambda: self._answer_held(request, upstream, path))
        if answer is not None:
            return answer
        fetches = self._fetches.of("maven", upstream)
        return await fetches.run(lambda: self._answer(request, upstream, path))

    def _answer_held(self, request: Request, upstream: str, path: str) -> Response | None:
        """The answer when nobody else need be asked for it, else None. One turn of a thread for most
        requests."""
        repository, asked = self._judge.repository(upstream), parse_path(path)
        if not isinstance(asked, FileRequest):
            return None
        held = self._judge.held(repository, asked.file)
        if held is None:
            return None
        return self._judged(request, asked, self._judge.serve(repository, asked.file, held))

    def _answer(self, request: Request, upstream: str, path: str) -> Response:
        repository = self._judge.repository(upstream)
        asked = parse_path(path)
        if isinstance(asked, MetadataRequest):
            return self._metadata(repository, asked)
        return self._judged(request, asked, self._judge.serve(repository, asked.file))

    def _judged(self, request: Request, asked: FileRequest, judged: Judged) -> Response:
        headers = _warning(judged)
        match asked.aspect:
            case "checksum":
                digest = judged.link.digests[str(asked.algorithm)]
                return Response(digest, headers={**headers, "Cache-Control": CACHE}, media_type="text/plain")
            case "bundle":
                body = self._prover.bundle(judged.link, judged.package)
                return Response(
                    body, headers={**headers, "Cache-Control": CACHE}, media_type="application/json"
                )
            case "intoto":
                lines = self._prover.envelopes(judged.link.sha256, judged.package)
                body = b"".join(line + b"\n" for line in lines)
                media_type = "application/vnd.in-toto.bundle"
                return Response(body, headers={**headers, "Cache-Control": CACHE}, media_type=media_type)
            case "file":
                return self._file(request, asked, judged, headers)

    def _file(
        self, request: Request, asked: FileRequest, judged: Judged, headers: dict[str, str]
    ) -> Response:
        link = judged.link
        described = {
            **headers,
            "Content-Type": _TYPES.get(asked.file.type.rpartition(".")[2], "application/octet-stream"),
            "ETag": f'"sha256:{link.sha256}"',
            # Maven's native transports take these instead of asking for the checksum files.
            "X-Checksum-SHA1": link.sha1,
            "X-Checksum-MD5": link.md5,
            "Cache-Control": CACHE,
        }
        return file_response(request, self._blobs.path(link.sha256), link.size, described)

    def _metadata(self, repository: Repository, asked: MetadataRequest) -> Response:
        body = self._judge.metadata(repository, asked)
        headers = {"Cache-Control": CACHE}
        if asked.algorithm:
            digest = hashlib.new(asked.algorithm, body, usedforsecurity=False).hexdigest()
            return Response(digest, headers=headers, media_type="text/plain")
        return Response(body, headers=headers, media_type="application/xml")


def _warning(judged: Judged) -> dict[str, str]:
    """A header for a file that only passes because its rule warns (RFC 7234 5.5, obsolete, and still
    shown)."""
    if judged.decision.verdict != "warn":
        return {}
    line = " ".join(judged.decision.line.split()).encode("ascii", "replace").decode()
    line = line.replace("\\", "/").replace('"', "'")
    return {"Warning": f'299 touchplate "{line[:300]}"'}
