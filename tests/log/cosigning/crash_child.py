"""A log with witnesses that dies by SIGKILL at one step of publishing. Arguments: FOLDER POLICY STEP."""

import dataclasses
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.log.support import record_envelope, write_settings

from touchplate.base.values import Duration
from touchplate.log.cosigning.config import WitnessesConfig
from touchplate.log.service import LogService

STEPS = ("before-signing", "after-the-guard", "before-storing", "after-storing")
ENTRIES = 5


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path, policy: Path, step: str) -> None:
    config = dataclasses.replace(
        write_settings(folder / "settings"), witness=WitnessesConfig(policy, Duration(5))
    )
    service = LogService(config, folder / "data")
    made = service.cosigning
    assert made is not None
    guard, tree = made._guard, service.tree
    permit, store = guard.permit, tree.store_checkpoint

    def dying_permit(size: int, root: bytes, root_at: Any) -> None:
        if size == ENTRIES and step == "before-signing":
            die()
        permit(size, root, root_at)
        if size == ENTRIES and step == "after-the-guard":
            die()

    def dying_store(size: int, checkpoint: bytes) -> None:
        if size == ENTRIES and step == "before-storing":
            die()
        store(size, checkpoint)
        if size == ENTRIES and step == "after-storing":
            die()

    guard.permit = dying_permit  # type: ignore[method-assign]
    tree.store_checkpoint = dying_store  # type: ignore[method-assign]
    service.start()
    service.append([record_envelope(number) for number in range(ENTRIES)])
    sys.stdout.write("acknowledged\n")
    sys.stdout.flush()
    signal.pause()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
