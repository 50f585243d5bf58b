"""`touchplate log serve` with Trillian's interface, as a process."""

import re
from pathlib import Path

from tests.log.support import write_settings
from tests.node.test_log_serve import LogProcess


def write_config(folder: Path) -> Path:
    write_settings(folder)
    config = folder / "log.toml"
    config.write_text(
        'data = "data"\n[http]\nlisten = "127.0.0.1:0"\n[log]\norigin = "log.example.org"\n'
        'key = "file:log.key"\nadmission = "admission.toml"\n[log.trillian]\nlisten = "127.0.0.1:0"\n'
    )
    return config


def address(process: LogProcess) -> str:
    process.url()
    lines = "\n".join(process.lines)
    found = re.search(r"Trillian's interface listens on (127\.0\.0\.1:\d+)", lines)
    assert found is not None, lines
    return found[1]
