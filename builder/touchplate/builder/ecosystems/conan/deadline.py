"""How long it may take to find out what a package requires; and what a person does where that is too long."""

import time
from collections.abc import Callable, Sequence

from touchplate.builder.errors import DefinitionError
from touchplate.builder.plan import Limits

MAX_SECONDS = Limits().wall_seconds / 2
"""Of the monotonic clock, for all questions to Conan and to remotes together: half of what one phase of a
build may take, so that a worker's lease has room for both phases after it. One question takes two to ten
seconds, and real graphs need about ten."""

SHOWN = 10
"""Recipes that a message names."""

BY_HAND = (
    "write the definition by hand (`touchplate definition new PURL` begins it): each file of what is "
    "required stands in its `requirements` with uri, sha256 and size"
)
"""What to do where inference gives up; definitions.md has the steps."""


class Deadline:
    """When it has to be known. It begins when it is made; `steady`: a clock in seconds that never jumps."""

    def __init__(self, steady: Callable[[], float] = time.monotonic) -> None:
        self._steady = steady
        self._until = steady() + MAX_SECONDS

    def left(self, known: Sequence[str]) -> float:
        """Seconds that are left, more than none. `known`: what is required as far as it is known.

        Raises DefinitionError with that and the remedy when none are left.
        """
        left = self._until - self._steady()
        if left <= 0:
            raise give_up(f"after {MAX_SECONDS:g} seconds", known)
        return left


def give_up(when: str, known: Sequence[str]) -> DefinitionError:
    """The error that says how far it came, and what a person can do."""
    named = ", ".join(known[:SHOWN]) or "nothing"
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return DefinitionError(
        f"its requirements are not all known {when}; {BY_HAND}. Known so far: {named}{more}"
    )
