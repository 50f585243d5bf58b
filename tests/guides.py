"""Commands of a guide, run as somebody types them: in one shell, in order, in an empty folder."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.e2e.worlds import free_port

SECONDS = 300


def commands(page: Path) -> str:
    """All `sh` blocks of a page, in order."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return "\n".join(blocks)


def on_free_ports(text: str, ports: Sequence[str]) -> str:
    """The same with ports that are free here; no other number in the text may contain one of `ports`."""
    free: set[int] = set()
    while len(free) < len(ports):
        free.add(free_port())
    for port, other in zip(ports, free, strict=True):
        text = text.replace(port, str(other))
    return text


def run_script(text: str, folder: Path, about: Mapping[str, str] | None = None, *programs: Path) -> str:
    """What the commands print. They end when one of them fails, and so does what they started.

    `about`: further environment variables; `programs`: folders of programs beside the usual ones.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), *map(str, programs), os.environ["PATH"]])
    process = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        env={"PATH": path, "HOME": str(folder), "LC_ALL": "C.UTF-8", **(about or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said = process.communicate(timeout=SECONDS)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said = process.communicate()[0]
        raise AssertionError(f"it did not end:\n{said}") from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, said
    return said
