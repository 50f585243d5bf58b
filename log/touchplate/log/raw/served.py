"""All raw trees that one log serves over HTTP, and the thread that sees what others do to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from logging import getLogger
from pathlib import Path
from threading import Event, Thread

from touchplate.base.errors import ConfigError, TouchplateError
from touchplate.base.sql import Engine
from touchplate.log.errors import NotFoundError
from touchplate.log.raw.config import RawConfig
from touchplate.log.raw.tree import RawLog
from touchplate.log.storage.raw import RawTree
from touchplate.log.storage.registry import Registry, TreeRow
from touchplate.log.storage.sql import RAW

FOLLOW_SECONDS = 1.0
"""Between two looks at what others did: so long a tree that was deleted or frozen elsewhere may look as
before (what it takes is checked in every batch), and leaves that came without a key may lack a checkpoint."""

FOLDER = "raw"
"""Folder beside the database, with one of each tree in it."""

logger = getLogger(__name__)


class RawLogs:
    """The raw trees of `[[log.raw]]`. `start` before use, `stop` at the end; the engine stays open."""

    def __init__(self, configs: Sequence[RawConfig], engine: Engine, folder: Path) -> None:
        """`folder` is the log's. Raises ConfigError for a tree that is not there, and what RawLog raises."""
        self._registry = Registry(engine)
        logs = [RawLog(each, engine, self._find(each), folder / FOLDER / each.origin) for each in configs]
        self.by_origin: Mapping[str, RawLog] = {each.origin: each for each in logs}
        self._stopping = Event()
        self._thread: Thread | None = None
        self._failing: set[str] = set()  # only touched by the thread

    @property
    def trees(self) -> Mapping[int, RawTree]:
        """By the id that Trillian's interface knows."""
        return {each.public_id: each.tree for each in self.by_origin.values()}

    def start(self) -> None:
        """Take leaves, and begin to follow."""
        for each in self.by_origin.values():
            each.start()
        self._thread = Thread(target=self._run, name="raw-trees", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Append what was taken, and end. Safe to call twice."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        for each in self.by_origin.values():
            each.stop()

    def _find(self, config: RawConfig) -> TreeRow:
        try:
            row = self._registry.find(config.tree)
        except NotFoundError as error:
            what = f"tree: {error}; make one with `touchplate log tree create`"
            raise ConfigError(f"log.raw {config.origin}", (what,)) from error
        if row.kind != RAW:
            what = f"tree: {config.tree} is a log of attestations; it has its own face"
            raise ConfigError(f"log.raw {config.origin}", (what,))
        return row

    def _run(self) -> None:
        while not self._stopping.wait(FOLLOW_SECONDS):
            for each in self.by_origin.values():
                self._follow(each)

    def _follow(self, log: RawLog) -> None:
        try:
            log.follow(self._registry)
        except TouchplateError as error:
            if log.origin not in self._failing:  # said once, not every second
                self._failing.add(log.origin)
                logger.error("the raw tree %s cannot be followed: %s", log.origin, error)
            return
        if log.origin in self._failing:
            self._failing.discard(log.origin)
            logger.info("the raw tree %s is followed again", log.origin)
