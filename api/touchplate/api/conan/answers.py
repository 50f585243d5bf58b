"""What upstream remotes last said about revisions and files, kept so that a dead one stops nobody who asks
for what is held.

These answers are never evidence: they say where to look, and the gate judges what is found there.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, delete, insert, select

from touchplate.api.conan.layout import Revision, RevisionsRequest, check_revision
from touchplate.api.conan.upstream import RemoteClient
from touchplate.api.errors import BadNameError, NotFoundError, UpstreamError
from touchplate.api.pull import SingleFlight
from touchplate.base.sql import begin_write, database_errors

FRESH_SECONDS = 15.0
"""How long an answer is used again: one install asks for the same revisions several times."""

MAX_KEPT = 2_000
"""Answers in memory, a few KiB each."""

KEPT_BYTES = 32 * 1024**2
"""Bytes of those answers."""

MAX_REVISIONS = 10_000
"""Revisions or packages taken from one answer."""

# fromisoformat of Python 3.11 takes more; this is what conan_server and Artifactory write.
_ZONE = r"(\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):?[0-5][0-9])"
_TIME = re.compile(rf"([0-9]{{4}}(-[0-9]{{2}}){{2}}T[0-9]{{2}}(:[0-9]{{2}}){{2}}){_ZONE}\Z")

_METADATA = MetaData()
_ANSWERS = Table(
    "conan_answers",
    _METADATA,
    Column("repository", String, primary_key=True),
    Column("path", String, primary_key=True),
    Column("body", String, nullable=False),
    Column("seen", Integer, nullable=False),
)

Answer = dict[str, Any]
Check = Callable[[Answer], Answer]


@dataclass(frozen=True)
class _Kept:
    at: float
    body: Answer
    size: int


class Answers:
    """The answers of one upstream. Safe to use from several threads."""

    def __init__(
        self,
        name: str,
        client: RemoteClient,
        engine: Engine,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._name = name
        self._client = client
        self._engine = engine
        self._clock = clock
        self._now = now
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # under self._lock, as is _bytes
        self._bytes = 0
        self._flights: SingleFlight[Answer] = SingleFlight()
        with database_errors("opening the answers of upstreams"):
            _METADATA.create_all(engine)

    def revisions(self, asked: RevisionsRequest) -> Answer:
        """The revisions of a recipe or package, newest first, or the newest one.

        Raises NotFoundError, UpstreamError.
        """
        check = _check_latest if asked.latest else _check_revisions
        return self._read(asked.path, check, durable=True)

    def packages(self, path: str, query: str) -> Answer:
        """The packages of a recipe revision, by package id. Raises NotFoundError, UpstreamError."""
        return self._read(path, _check_packages, query)

    def search(self, query: str) -> list[str]:
        """References that match. Raises UpstreamError."""
        found = self._read("v2/conans/search", _check_search, query)["results"]
        return [str(one) for one in found]

    def files(self, revision: Revision, *, again: bool = False) -> list[str]:
        """The files of one revision, in the order in which they are judged. Once all were there, nobody is
        asked any more, unless `again`.

        Raises NotFoundError for an upload that is not complete, UpstreamError.
        """
        known = None if again else self.known_files(revision)
        if known is not None:
            return known

        def check(answer: Answer) -> Answer:
            names = [name for name in revision.file_names if name in dict(answer["files"])]
            _check_complete(revision, names)
            return {"files": {name: {} for name in names}}

        return list(self._read(f"{revision.path}/files", check, durable=True)["files"])

    def known_files(self, revision: Revision) -> list[str] | None:
        """The same from what is stored; None when nobody asked before. Asks nobody."""
        stored = self._stored(f"{revision.path}/files")
        return None if stored is None else [name for name in revision.file_names if name in stored["files"]]

    def _read(self, path: str, check: Check, query: str = "", *, durable: bool = False) -> Answer:
        key = f"{path}?{query}"
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None and self._clock() - kept.at <= FRESH_SECONDS:
            return kept.body
        last = kept.body if kept is not None else None
        return self._flights.run(key, lambda: self._ask(path, check, query, last, durable=durable))

    def _ask(self, path: str, check: Check, query: str, last: Answer | None, *, durable: bool) -> Answer:
        """What the upstream says now; when it says nothing, `last`, or what it said before this start."""
        try:
            raw = self._client.answer(path, query)
            try:
                body = check(raw)
            except (BadNameError, KeyError, TypeError, ValueError, AttributeError) as error:
                raise self._client.useless(path, f"something else than asked for ({error})") from error
            if durable:
                self._store(path, body)
        except UpstreamError:
            last = self._stored(path) if last is None and durable else last
            if last is None:
                raise
            # Used for another while: else every request would wait for the dead upstream first.
            body = last
        self._keep(f"{path}?{query}", body)
        return body

    def _keep(self, key: str, body: Answer) -> None:
        made = _Kept(self._clock(), body, len(json.dumps(body)))
        with self._lock:
            old = self._kept.pop(key, None)
            self._bytes += made.size - (old.size if old else 0)
            self._kept[key] = made
            while len(self._kept) > MAX_KEPT or self._bytes > KEPT_BYTES:
                _, gone = self._kept.popitem(last=False)
                self._bytes -= gone.size

    def _stored(self, path: str) -> Answer | None:
        query = select(_ANSWERS.c.body).where(_ANSWERS.c.repository == self._name, _ANSWERS.c.path == path)
        with database_errors("reading the answers of upstreams"), self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else json.loads(row.body)

    def _store(self, path: str, body: Answer) -> None:
        if self._stored(path) == body:
            return
        with database_errors("storing an answer of an upstream"), begin_write(self._engine) as connection:
            where = (_ANSWERS.c.repository == self._name, _ANSWERS.c.path == path)
            connection.execute(delete(_ANSWERS).where(*where))
            row = {"repository": self._name, "path": path, "body": json.dumps(body), "seen": int(self._now())}
            connection.execute(insert(_ANSWERS).values(**row))


def _check_complete(revision: Revision, names: list[str]) -> None:
    """The manifest is uploaded last: without it the upload goes on, or broke off."""
    required = {name for name in revision.file_names if name.endswith((".py", ".txt"))}
    missing = sorted(required - set(names))
    stems = [name.partition(".")[0] for name in names if not name.endswith((".py", ".txt"))]
    if revision.is_package and not stems:
        missing.append("conan_package.tgz")
    if missing:
        raise NotFoundError(f"{revision} is not complete at its upstream: there is no {', '.join(missing)}")
    if len(set(stems)) != len(stems):
        raise NotFoundError(f"{revision} has the same archive in two forms at its upstream")


def _check_latest(answer: Answer) -> Answer:
    found = _TIME.match(answer["time"])
    if found is None:
        raise ValueError("no time")
    datetime.fromisoformat(found[1])  # of a day that there is: clients end in a traceback else
    return {"revision": check_revision(answer["revision"]), "time": answer["time"]}


def _check_revisions(answer: Answer) -> Answer:
    return {"revisions": [_check_latest(one) for one in answer["revisions"][:MAX_REVISIONS]]}


def _check_packages(answer: Answer) -> Answer:
    """Package ids with the text of their conaninfo.txt, which clients show and never install."""
    found: Answer = {}
    for package_id, one in list(answer.items())[:MAX_REVISIONS]:
        content = one.get("content")
        found[check_revision(package_id)] = {"content": content} if isinstance(content, str) else {}
    return found


def _check_search(answer: Answer) -> Answer:
    return {"results": [one for one in answer["results"] if isinstance(one, str)]}


CHECKS: tuple[Check, ...] = (_check_latest, _check_revisions, _check_packages, _check_search)
"""What an answer has to be, of each call. They raise BadNameError, KeyError, TypeError, ValueError and
AttributeError for others."""
