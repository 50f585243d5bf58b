"""A log on a file system of four megabytes, which gets full and is given room again. Prints what happened.

Run as `python -m tests.log.full_disk MOUNTPOINT` in a mount namespace of its own (`unshare`).
"""

import json
import subprocess
import sys
from pathlib import Path

from tests.log.face import Face
from tests.log.support import record_envelope, write_settings
from tests.simkeys import solo_policy

from touchplate.base.sql import sqlite_engine
from touchplate.log.export_thread import ExportConfig
from touchplate.log.fsck import check_log
from touchplate.log.service import DATABASE_NAME, LogService
from touchplate.log.storage.rows import TreeRows
from touchplate.verify.values import replace

SIZE = "4m"
BALLAST = 2_000_000
"""Bytes that are given back: room for the entries after it, and for the next start."""

MOST = 3000
"""Entries that can never fit."""


def fill(face: Face, acknowledged: dict[int, int], start: int, count: int) -> tuple[int, str]:
    """Add one after the other until one is refused, or `count` are in; the last status and reason."""
    for number in range(start, start + count):
        answer = face("POST", "add", content=record_envelope(number))
        if answer.status_code != 200:
            return answer.status_code, answer.json()["reason"]
        acknowledged[number] = int(answer.text)
    return 200, ""


def main(mountpoint: Path) -> None:
    mountpoint.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(mountpoint)]
    subprocess.run(command, check=True)
    ballast = mountpoint / "ballast"
    ballast.write_bytes(bytes(BALLAST))
    export = ExportConfig(mountpoint / "site")
    config = replace(write_settings(mountpoint / "settings"), export=export)
    acknowledged: dict[int, int] = {}
    service = LogService(config, mountpoint / "data")
    service.start()
    face = Face(service)
    told = {"full": fill(face, acknowledged, 0, MOST), "before": len(acknowledged)}
    told["again"] = fill(face, acknowledged, MOST, 1)
    told["checkpoint"] = face.get("checkpoint").status_code
    ballast.unlink()
    told["room"] = fill(face, acknowledged, 2 * MOST, 20)
    face.close()
    service.stop()
    again = LogService(config, mountpoint / "data")
    again.start()
    told["size"] = again.reader.size()
    again.stop()
    engine = sqlite_engine(mountpoint / "data" / DATABASE_NAME)
    rows = TreeRows(engine)
    told["findings"] = [str(each) for each in check_log(rows, policy=solo_policy()).findings]
    told["indexes"] = sorted(acknowledged.values()) == list(range(len(acknowledged)))
    told["acknowledged"] = len(acknowledged)
    rows.close()
    engine.dispose()
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
