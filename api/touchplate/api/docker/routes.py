"""`/v2/…`: GET and HEAD for manifests, blobs, tags and referrers (OCI distribution specification 1.1).

Manifests are sent as they are stored, whatever the client accepts: HEAD and GET always agree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from touchplate.api.docker.blobs import ImageBlobs
from touchplate.api.docker.judge import BlobAccess, ImageJudge, Served
from touchplate.api.docker.layout import RegistryRequest, parse_registry_path
from touchplate.api.docker.manifests import INDEX_TYPES
from touchplate.api.docker.referrers import Referrers, format_referrers
from touchplate.api.docker.repository import Place
from touchplate.api.errors import BadNameError, NotReadyError
from touchplate.api.http.calls import Calls, Lanes
from touchplate.api.http.files import file_response, parse_range
from touchplate.api.http.registry import format_warning
from touchplate.api.http.streams import HELD_BACK_BYTES, Download, Downloads, StreamedFile
from touchplate.api.stores import Stores

MAX_PAGE = 1_000
"""Tags of one page."""

CACHE = "no-cache"
"""Content never changes under its digest, but the decision about it may."""

_VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}


@dataclass(frozen=True)
class Pools:
    """Threads for what blocks: `held` answers from what is here, `fetches` may wait for upstreams, `streams`
    fetches layers for minutes. A dead upstream then stops only those who want something new of it, and large
    layers nobody."""

    held: Calls
    fetches: Lanes
    streams: Lanes


class ImageRoutes:
    """Answers requests below `/v2`; made once per node."""

    def __init__(self, judge: ImageJudge, stores: Stores, referrers: Referrers, pools: Pools) -> None:
        self._judge = judge
        self._store = stores.blobs
        self._blobs = ImageBlobs(stores, judge.links)
        self._referrers = referrers
        self._calls = pools.held
        self._fetches = pools.fetches
        self._streams = pools.streams
        self._downloads = Downloads()

    def router(self) -> APIRouter:
        """The routes, to be mounted at `/v2`."""
        router = APIRouter()
        for path in ("", "/{path:path}"):
            router.add_api_route(path, self.answer, methods=["GET", "HEAD"], response_model=None, name="oci")
        return router

    async def answer(self, request: Request, path: str = "") -> Response:
        """One request. Errors go to the handler of the application."""
        raw = request.scope.get("raw_path", b"").lower()
        if b"%2f" in raw or b"%5c" in raw:
            raise BadNameError("the path holds an encoded slash; a repository's name has none")
        if not path:
            return Response("{}", headers=_VERSION, media_type="application/json")
        asked = parse_registry_path(path)
        namespace = request.query_params.get("ns")
        place = self._judge.registries.place(asked.name, namespace)
        headers = {**_VERSION, "Cache-Control": CACHE}
        if namespace is not None:
            headers["OCI-Namespace"] = namespace
        match asked.kind:
            case "manifests":
                return await self._manifest(request, place, asked, headers)
            case "blobs":
                return await self._blob(request, place, str(asked.sha256), headers)
            case "tags":
                return await self._tags(request, place, headers)
            case "referrers":
                return await self._list_referrers(request, place, str(asked.sha256), headers)

    def _fetching(self, place: Place) -> Calls:
        return self._fetches.of("oci", place.registry.name)

    def _streaming(self, place: Place) -> Calls:
        return self._streams.of("oci", place.registry.name)

    async def _manifest(
        self, request: Request, place: Place, asked: RegistryRequest, headers: dict[str, str]
    ) -> Response:
        served = await self._calls.run(lambda: self._judge.ready(place, asked))
        if served is None:
            served = await self._fetching(place).run(
                lambda: self._judge.serve(place, self._judge.digest(place, asked))
            )
        described = {
            **headers,
            **_content(served.sha256),
            **_warning(served),
            "Content-Type": served.manifest.media_type,
        }
        path = self._store.path(served.sha256)
        return file_response(request, path, served.link.size, described)

    async def _blob(self, request: Request, place: Place, sha256: str, headers: dict[str, str]) -> Response:
        access = await self._calls.run(lambda: self._judge.blob(place, sha256))
        described = {**headers, **_content(sha256), "Content-Type": "application/octet-stream"}
        stored = await self._calls.run(lambda: self._blobs.stored(access))
        if stored is None and not access.is_evidence and request.method == "HEAD":
            # What a manifest says of it: nothing need be fetched for that.
            length = {"Content-Length": str(access.size), "Accept-Ranges": "bytes"}
            return Response(None, 200, {**described, **length})
        if stored is None:
            download = await self._bring(request, access)
            if download is not None:
                return StreamedFile(download, {**described, "Accept-Ranges": "bytes"})
            stored = await self._calls.run(lambda: self._blobs.stored(self._judge.blob(place, sha256)))
        if stored is None:
            raise NotReadyError(f"the blob sha256:{sha256} did not stay in the store; try again")
        path, size = stored
        return file_response(request, path, size, described)

    async def _bring(self, request: Request, access: BlobAccess) -> Download | None:
        """Get a blob into the store. A download that may be sent while it runs, or None when all is there."""
        if access.is_evidence:
            await self._streaming(access.place).run(lambda: self._blobs.fetch_evidence(access))
            return None
        if await self._fetching(access.place).run(lambda: self._blobs.confirm(access)):
            return None
        span = parse_range(request.headers.get("range"), access.size)
        key = (access.place.repository, access.sha256)
        is_streamed = span is None and access.size > HELD_BACK_BYTES and not self._downloads.was_wrong(key)
        download = self._downloads.start(
            key,
            lambda: self._blobs.download(access),
            lambda made: self._streaming(access.place).run(made.run),
        )
        if is_streamed:
            # Nothing is answered before the first bytes are here: until then a failure can still be told.
            await download.readable(0)
            return download
        await download.finished()
        return None

    async def _tags(self, request: Request, place: Place, headers: dict[str, str]) -> Response:
        number = _number(request.query_params.get("n"))
        listed = await self._fetching(place).run(lambda: self._judge.tags.list(place))
        last = request.query_params.get("last")
        rest = [tag for tag in listed if last is None or tag > last]
        page = rest[:number]
        if number and len(rest) > number:
            query = {"n": number, "last": page[-1]}
            query |= {name: request.query_params[name] for name in ("ns",) if name in request.query_params}
            headers["Link"] = f'</v2/{place.asked}/tags/list?{urlencode(query)}>; rel="next"'
        body = json.dumps({"name": place.asked, "tags": page})
        return Response(body, headers=headers, media_type="application/json")

    async def _list_referrers(
        self, request: Request, place: Place, sha256: str, headers: dict[str, str]
    ) -> Response:
        wanted = request.query_params.getlist("artifactType")
        found = await self._fetching(place).run(lambda: self._referrers.listing(place, sha256, wanted))
        if wanted:
            headers["OCI-Filters-Applied"] = "artifactType"
        return Response(format_referrers(found), headers=headers, media_type=INDEX_TYPES[0])


def _content(sha256: str) -> dict[str, str]:
    return {"Docker-Content-Digest": f"sha256:{sha256}", "ETag": f'"sha256:{sha256}"'}


def _warning(served: Served) -> Mapping[str, str]:
    """A header for an image that only passes because its rule warns."""
    if served.decision is None or served.decision.verdict != "warn":
        return {}
    return {"Warning": format_warning(f"{served.place.asked}: {served.decision.line}")}


def _number(text: str | None) -> int:
    """The size of a page. Raises BadNameError."""
    if text is None:
        return MAX_PAGE
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise BadNameError(f"n={text[:40]!r} is no number of tags")
    return min(int(text), MAX_PAGE)
