"""Where tags point. A tag is never evidence: it names a manifest by digest, and that one is judged.

follow   the upstream's word is taken, and every move is logged
pin      the first word stands; another one later is refused, loudly
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from touchplate.api.alarms import Alarms
from touchplate.api.docker.links import ImageLinks, Move
from touchplate.api.docker.repository import Place
from touchplate.api.errors import ChangedError, UpstreamError
from touchplate.api.pull import SingleFlight

TAG_SECONDS = 15.0
"""How long an upstream's word about a tag is used again: a client asks by HEAD and then by GET, and both must
agree."""

DOWN_SECONDS = 60.0
"""How long a dead upstream is not asked again for a tag whose place is known from before: finding out that it
is dead may take a third of that."""

MAX_TAGS = 10_000
"""Tags whose place is kept in memory, about 3 MB; the oldest go first."""

MAX_LISTED_TAGS = 200_000
"""Tags of all listings that are kept in memory, about 20 MB; the oldest listings go first."""

_log = logging.getLogger("touchplate.api.docker")


class Tags:
    """Resolves tags of all upstreams. Blocking; any thread may call it."""

    def __init__(
        self,
        links: ImageLinks,
        alarms: Alarms,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._links = links
        self._alarms = alarms
        self._now = now
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()  # under self._lock
        self._listings: OrderedDict[str, tuple[list[str], float]] = OrderedDict()  # under self._lock
        self._refused: OrderedDict[tuple[str, str], Move] = OrderedDict()  # under self._lock
        self._flights: SingleFlight[str] = SingleFlight()
        self._listing: SingleFlight[list[str]] = SingleFlight()

    def kept(self, place: Place, tag: str) -> str | None:
        """The digest (hex), when the upstream was asked a moment ago."""
        with self._lock:
            sha256, until = self._kept.get((place.repository, tag), ("", 0.0))
        return sha256 if self._clock() < until else None

    def known(self, place: Place, tag: str) -> str | None:
        """The digest at which the tag was seen last; asks nobody."""
        return self._links.tag(place.repository, tag)

    def refused(self, place: Place, tag: str) -> Move | None:
        """The move of a pinned tag that was refused when it was asked for last."""
        with self._lock:
            return self._refused.get((place.repository, tag))

    def resolve(self, place: Place, tag: str) -> str:
        """The digest (hex) of a tag. When the upstream is down: where it pointed before.

        Raises ChangedError for a pinned tag that moved, NotFoundError and UpstreamError.
        """
        key = (place.repository, tag)
        sha256 = self.kept(place, tag)
        return sha256 or self._flights.run(key, lambda: self._resolve(place, tag))

    def _list(self, place: Place) -> list[str]:
        try:
            listing = sorted(set(place.registry.client.tags(place.path)))
        except UpstreamError:
            listing = self._links.tags(place.repository)
            if not listing:
                raise
        with self._lock:
            self._listings.pop(place.repository, None)
            self._listings[place.repository] = (listing, self._clock() + TAG_SECONDS)
            while sum(len(tags) + 1 for tags, _ in self._listings.values()) > MAX_LISTED_TAGS:
                self._listings.popitem(last=False)
        return listing

    def list(self, place: Place) -> list[str]:
        """The tags of a repository, sorted; when the upstream is down, those that were asked for here."""
        with self._lock:
            listing, until = self._listings.get(place.repository, ([], 0.0))
        if self._clock() < until:
            return listing
        return self._listing.run(place.repository, lambda: self._list(place))

    def _resolve(self, place: Place, tag: str) -> str:
        known = self._links.tag(place.repository, tag)
        seconds = TAG_SECONDS
        try:
            found = self._ask(place, tag)
        except UpstreamError as error:
            if known is None:
                raise
            _log.warning("%s:%s is taken from memory: %s", place.repository, tag, error)
            found, seconds = known, DOWN_SECONDS
        if known is None:
            known = self._links.add_tag(place.repository, tag, found, int(self._now()))
        with self._lock:
            self._refused.pop((place.repository, tag), None)
        if found != known:
            self._moved(place, Move(tag, known, found, int(self._now())))
        with self._lock:
            self._kept[(place.repository, tag)] = (found, self._clock() + seconds)
            self._kept.move_to_end((place.repository, tag))
            while len(self._kept) > MAX_TAGS:
                self._kept.popitem(last=False)
        return found

    def _ask(self, place: Place, tag: str) -> str:
        found = place.registry.client.resolve(place.path, tag)
        # A registry whose HEAD says no digest is asked for the manifest; it is fetched by digest afterwards.
        return found or place.registry.client.manifest(place.path, tag).sha256

    def _moved(self, place: Place, move: Move) -> None:
        name = f"{place.repository}:{move.tag}"
        if place.registry.tags == "pin":
            message = (
                f"{name} is pinned to sha256:{move.before}, and the upstream moved it to "
                f"sha256:{move.after}; pull by digest what you mean"
            )
            self._alarms.raise_alarm(message)
            with self._lock:
                self._refused[(place.repository, move.tag)] = move
                while len(self._refused) > MAX_TAGS:
                    self._refused.popitem(last=False)
            raise ChangedError(message, reason="tag-moved", explain=place.why(move.tag))
        if self._links.move_tag(place.repository, move):
            _log.warning("%s moved from sha256:%s to sha256:%s", name, move.before, move.after)
