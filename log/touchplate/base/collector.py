"""Python's cycle collector in a server: what was made at the start stays, and what requests make is mostly
no cycle.

With its usual thresholds the collector walks through all modules and tables again and again while batches
of entries are made and dropped: more than half the cost of appending one.
"""

import gc

YOUNG_OBJECTS = 50_000
"""New objects between two collections: some tens of MB at most wait for one. Python's own is 700."""

MIDDLE, OLD = 20, 100
"""Collections of one generation between two of the next."""


def settle() -> None:
    """Call once, when a server is up: nothing that is alive now is looked at again, and the rest less
    often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, MIDDLE, OLD)
