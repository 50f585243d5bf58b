"""Answers that never change, kept in memory: full tiles and bundles need the database once.

What was asked for longest ago goes first. One event loop uses it, so there is no lock.
"""

from collections import OrderedDict

from touchplate.log.http.answers import Answer

MAX_KEPT_BYTES = 64 * 1024 * 1024
"""Bytes of kept bodies: the hash tiles of two million entries, or a few hundred bundles of 256."""


class KeptAnswers:
    """Answers by what was asked."""

    def __init__(self, max_bytes: int = MAX_KEPT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._answers: OrderedDict[tuple[str, bool], Answer] = OrderedDict()

    def get(self, path: str, *, packed: bool) -> Answer | None:
        """What was kept for `path`, gzip-encoded when `packed`."""
        found = self._answers.get((path, packed))
        if found is not None:
            self._answers.move_to_end((path, packed))
        return found

    def keep(self, path: str, answer: Answer, *, packed: bool) -> None:
        """Keep an answer that will be the same for ever; others go to make room."""
        key = (path, packed)
        if (old := self._answers.pop(key, None)) is not None:
            self._bytes -= len(old.body)
        self._answers[key] = answer
        self._bytes += len(answer.body)
        while self._bytes > self._max_bytes:
            _, gone = self._answers.popitem(last=False)
            self._bytes -= len(gone.body)
