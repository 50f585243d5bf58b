"""Run inside the sandbox in which a root is made: an archive of the locked packages, and mmdebstrap on it.

    inside.py FILE

FILE is JSON: `packages`, each with `file` (below /repo), `name`, `version` and `arch`; `architecture`. What a
package says of itself must be what the lock says. Only the standard library: it is run as `python3 -I -S`,
on the host's Python and with the host's tools, in the sandbox of images: what packages run while they are
set up has neither a network nor any right on the host.
"""

import json
import os
import subprocess
import sys
from typing import Any

BROKEN = 121
"""Exit code when a package is not what the lock says."""

ARCHIVE = "/build/archive"
ROOT = "/build/root"
_FIELDS = ("Package", "Version", "Architecture")


def main(arguments: list[str]) -> int:
    """The exit code: mmdebstrap's, or BROKEN."""
    with open(arguments[0], encoding="utf-8") as file:  # noqa: PTH123
        job = json.load(file)
    os.makedirs(ARCHIVE)  # noqa: PTH103
    os.makedirs(os.environ["TMPDIR"], exist_ok=True)  # noqa: PTH103
    os.symlink("/repo", f"{ARCHIVE}/pool")  # noqa: PTH211
    with open(f"{ARCHIVE}/Packages", "wb") as index:  # noqa: PTH123
        for one in job["packages"]:
            control = _control(one["file"])
            said = [_field(control, name) for name in _FIELDS]
            if said != [one["name"], one["version"], one["arch"]]:
                print(f"{one['file']} is {' '.join(said)}, and the lock calls it {one['name']}", flush=True)
                return BROKEN
            place = f"Filename: ./pool/{one['file']}\nSize: {one['size']}\nSHA256: {one['sha256']}\n\n"
            index.write(control.rstrip(b"\n") + b"\n" + place.encode())
    return subprocess.run(_command(job), stdin=subprocess.DEVNULL, check=False).returncode


def _command(job: dict[str, Any]) -> list[str]:
    names = ",".join(f"{one['name']}={one['version']}" for one in job["packages"])
    return [
        *("mmdebstrap", "--verbose", "--mode=root", "--variant=essential", "--format=directory"),
        *(f"--architectures={job['architecture']}", f"--include={names}"),
        # The packages were checked one by one: there is nothing left that a signature could say.
        *("", ROOT, f"deb [trusted=yes] copy:{ARCHIVE} ./"),
    ]


def _control(file: str) -> bytes:
    command = ["dpkg-deb", "--field", f"/repo/{file}"]
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True).stdout


def _field(control: bytes, name: str) -> str:
    start = f"{name}: ".encode()
    lines = [line for line in control.splitlines() if line.startswith(start)]
    return lines[0][len(start) :].decode() if len(lines) == 1 else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
