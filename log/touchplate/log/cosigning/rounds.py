"""Rounds: one head, put to all witnesses at once; what each says; and whether that is enough. No I/O, no
threads.

While the log grows fast, witnesses must not be asked about different heads, or no head would ever have a
quorum. So one head stands until it has its quorum, or until nobody is left who may still answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from touchplate.log.cosigning.witness import SignedHead
from touchplate.verify.policy import Policy


class Round:
    """One head before the witnesses. The caller locks."""

    def __init__(
        self, head: SignedHead, policy: Policy, asked: Iterable[int], older: Mapping[str, str]
    ) -> None:
        """`asked`: the numbers of the witnesses of whom an answer may be expected. `older`: lines under the
        same head from before, which stand until newer ones are there, and count for nothing."""
        self.head = head
        self._older = dict(older)
        self._policy = policy
        self._lines: dict[str, str] = {}  # the witness's name in the policy -> its line
        self._pending = set(asked)

    @property
    def names(self) -> tuple[str, ...]:
        """Who has cosigned, in the policy's order."""
        return tuple(each.name for each in self._policy.witnesses if each.name in self._lines)

    @property
    def is_satisfied(self) -> bool:
        """Whether the policy lets this head be published."""
        return self._policy.is_satisfied(self.names)

    @property
    def is_over(self) -> bool:
        """Whether another head may be put: this one has its quorum, or nobody may still answer."""
        return self.is_satisfied or not self._pending

    @property
    def waits(self) -> bool:
        """Whether somebody may still answer."""
        return bool(self._pending)

    def lacks(self, names: Iterable[str]) -> bool:
        """Whether the witness that answers under these names has not cosigned."""
        return not any(name in self._lines for name in names)

    def expect(self, number: int) -> None:
        """A witness is asked (again)."""
        self._pending.add(number)

    def take(self, number: int, lines: Mapping[str, str]) -> None:
        """A witness has answered: verified lines by name, or none when it failed."""
        self._pending.discard(number)
        self._lines.update(lines)

    def note(self) -> bytes:
        """The checkpoint: the log's line, and those of all who have cosigned, now or before."""
        lines = self._older | self._lines
        order = [each.name for each in self._policy.witnesses if each.name in lines]
        return self.head.note + "".join(lines[name] for name in order).encode()
