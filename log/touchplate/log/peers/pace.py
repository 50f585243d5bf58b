"""How much a peer proposes at a time. Its own business: the others accept any proposal that keeps the rules.

A proposal has to reach everybody, and be checked, within the time of a vote; when it does not, the round
fails, and all of it is sent again. So it shrinks when rounds fail, and grows again when they do not: peers on
slow machines or lines decide small blocks, rather than large ones never.
"""

MOST_BYTES = 1024 * 1024
"""Half of what a block may have. Larger ones save nothing: a block's own cost is then a small part
already."""

FEWEST_BYTES = 128 * 1024
"""A block of some fifty entries: below that the rounds cost more than what is in them."""


class Pace:
    """The size of the next proposal. Not safe from several threads."""

    def __init__(self) -> None:
        self._bytes = MOST_BYTES

    @property
    def proposed_bytes(self) -> int:
        """Bytes that the next proposal may have."""
        return self._bytes

    def decided(self, round_number: int) -> None:
        """A block was decided in this round of its height, the first being 0."""
        self._bytes = (
            max(FEWEST_BYTES, self._bytes // 2) if round_number else min(MOST_BYTES, 2 * self._bytes)
        )
