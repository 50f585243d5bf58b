"""A log on PostgreSQL, wired: one of any number of frontends that serve it."""

from __future__ import annotations

import time
from logging import getLogger
from pathlib import Path

from touchplate.log.frontends.decider import SharedDecider
from touchplate.log.ports import Decider, Head
from touchplate.log.service import LogConfig, LogService, open_address
from touchplate.log.storage.election import Seat
from touchplate.log.storage.shared import SharedTree, open_shared

FIRST_SECONDS = 10.0
"""How long a start waits for the log's first checkpoint, which the first elected frontend signs."""

LOOK_SECONDS = 0.05

logger = getLogger(__name__)


class FrontendService(LogService):
    """To its faces and to the node like any other log. Its folder holds what this frontend remembers; the log
    itself is in the database."""

    tree: SharedTree

    def _open_tree(self, config: LogConfig, folder: Path) -> SharedTree:
        self._engine = open_address(config.storage, config.storage_password)
        return open_shared(self._engine, config.origin)

    def _make_decider(self, config: LogConfig) -> Decider:
        self._shared = SharedDecider(
            self.tree,
            lambda: Seat(self._engine, self.tree.tree_id),
            lambda entries, results: self.sequencer.answer(entries, results),
            on_election=self._elected,
            limits=config.limits,
        )
        return self._shared

    def _elected(self) -> None:
        """Sign the head if need be; with witnesses, begin to ask them."""
        if self.cosigning is None:
            self._publisher.start()
        else:
            self.cosigning.wake()

    def _leads(self) -> bool:
        return self._shared.is_writing

    def start(self) -> None:
        """Take entries, and stand for election."""
        self.sequencer.start()
        if self.cosigning is None:
            self._wait_for_first()
        self._start_beside()

    def _wait_for_first(self) -> None:
        deadline = time.monotonic() + FIRST_SECONDS
        while self.tree.head().checkpoint is None and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        if self.tree.head().checkpoint is None:
            logger.warning("this log has no checkpoint yet: no frontend was elected so far")

    def _newest_head(self) -> Head:
        return self.tree.follow()
