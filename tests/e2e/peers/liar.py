"""`touchplate serve` with a lying application: `python -m tests.e2e.peers.liar CONFIG`.

It proposes an entry of a key that nobody admitted, and finds that good.
"""

import sys
from collections.abc import Sequence

from tests.log.support import STRANGER, record_envelope

from touchplate.log.peers import application
from touchplate.log.peers.checks import Check
from touchplate.log.peers.machine import Known
from touchplate.log.peers.state import State
from touchplate.log.peers.transactions import format_tx
from touchplate.verify.cli import main
from touchplate.verify.entry import make_entry, pack_entry


def forbidden() -> bytes:
    """A well-formed, rightly signed entry of a stranger."""
    return format_tx([pack_entry(make_entry(record_envelope(666, STRANGER), STRANGER.key.spki))], b"liarliar")


def prepare(state: State, txs: Sequence[bytes], max_bytes: int, known: Known, check: Check) -> list[bytes]:
    print(f"liar: proposes a forbidden entry for block {state.height + 1}", flush=True)
    return [forbidden(), *txs]


def process(state: State, txs: Sequence[bytes], known: Known, check: Check) -> str | None:
    return None


if __name__ == "__main__":
    vars(application).update(prepare=prepare, process=process)
    sys.exit(main(["serve", "--config", sys.argv[1]]))
