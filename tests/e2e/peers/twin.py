"""`touchplate serve` for a validator that runs elsewhere already: `python -m tests.e2e.peers.twin CONFIG`.

What a thief does with stolen keys, or an operator with a backup: nothing asks whether the validator runs
twice.
"""

import sys
from pathlib import Path

from touchplate.log.peers import service
from touchplate.verify.cli import main


class NoLock:
    """In the place of the lock that keeps one validator from running twice on one host."""

    def __init__(self, address: str, home: Path) -> None:
        """Takes nothing."""

    def close(self) -> None:
        """Nothing to let go."""


if __name__ == "__main__":
    vars(service).update(HostLock=NoLock)
    sys.exit(main(["serve", "--config", sys.argv[1]]))
