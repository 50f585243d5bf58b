"""One Maven upstream as this node serves it: its name in paths, its identity in statements, its puller."""

from __future__ import annotations

import io
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from touchplate.api.errors import NotFoundError, UpstreamError
from touchplate.api.maven.metadata import MAX_METADATA_BYTES, Metadata, parse_metadata
from touchplate.api.ports import Fetcher
from touchplate.api.pull import Puller
from touchplate.verify.purl import DEFAULT_UPSTREAMS

METADATA_SECONDS = 60.0
"""How long an upstream's metadata is used again: a file and its checksums, asked one after the other, then
agree."""

METADATA_ENTRIES = 1_000
"""Metadata files kept in memory, a few KiB each; the oldest go first."""

METADATA_BYTES = 32 * 1024**2
"""Bytes of all those files as they came: an upstream of liars must not fill the memory."""


@dataclass(frozen=True)
class _Kept:
    """What an upstream said, when, and how much memory it costs, about. None: it has no such file."""

    at: float
    metadata: Metadata | None
    size: int = 0


@dataclass(frozen=True)
class Repository:
    """`name`: in request paths; `identity`: in statements; `record`: whether first sight goes into the
    log."""

    name: str
    identity: str
    record: bool
    puller: Puller
    metadata: MetadataSource = field(repr=False)

    @property
    def repository_url(self) -> str | None:
        """The qualifier of package URLs of this upstream; None for the default one."""
        return None if self.identity == DEFAULT_UPSTREAMS["maven"] else self.identity


class MetadataSource:
    """The metadata files of one upstream, kept for a minute. Safe to use from several threads."""

    def __init__(self, name: str, fetcher: Fetcher, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._fetcher = fetcher
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # under self._lock, as is _bytes
        self._bytes = 0

    def read(self, directory: str) -> Metadata:
        """The metadata of a group, artifact or snapshot version. Raises NotFoundError and UpstreamError.

        When the upstream is down, an older copy is used, however old: its versions were not less real then.
        """
        with self._lock:
            kept = self._kept.get(directory)
        if kept is None or self._clock() - kept.at > METADATA_SECONDS:
            try:
                kept = self._fetch(directory)
            except UpstreamError:
                if kept is None:
                    raise
                # Kept for another minute: else every request would wait for the dead upstream first.
                kept = replace(kept, at=self._clock())
            self._keep(directory, kept)
        if kept.metadata is None:
            raise NotFoundError(f"upstream {self._name!r} has no maven-metadata.xml in {directory[:200]!r}")
        return kept.metadata

    def _keep(self, directory: str, kept: _Kept) -> None:
        with self._lock:
            old = self._kept.pop(directory, None)
            self._bytes += kept.size - (old.size if old else 0)
            self._kept[directory] = kept
            while len(self._kept) > METADATA_ENTRIES or self._bytes > METADATA_BYTES:
                _, gone = self._kept.popitem(last=False)
                self._bytes -= gone.size

    def _fetch(self, directory: str) -> _Kept:
        sink = io.BytesIO()
        answer = self._fetcher.fetch(f"{directory}/maven-metadata.xml", sink, MAX_METADATA_BYTES)
        if answer.status in (404, 410):
            return _Kept(self._clock(), None)
        if answer.status != 200:
            raise UpstreamError(
                f"upstream {self._name!r} answered {answer.status} for the metadata of {directory[:200]!r}",
                reason="upstream-status",
            )
        body = sink.getvalue()
        return _Kept(self._clock(), parse_metadata(body), len(body))
