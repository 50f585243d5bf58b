"""A Debian root file system for base images, made by mmdebstrap from where this machine installs from."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from tests.e2e.worlds import MissingToolError, tool

PACKAGES = ("base-files", "coreutils", "dash", "libc6-dev", "tcc")
"""A shell, what sorts and lists, and a C compiler with what a program is linked with: 75 MB."""

SUITE = "bookworm"
EPOCH = "1700000000"
HOOK = Path("/usr/share/mmdebstrap/hooks/merged-usr")  # /bin and /lib as links, as Debian 12 has them
SECONDS = 1200


def debian_base() -> bytes:
    """The file system as a tar, unpacked packages without their configuration; kept below the user's cache
    folder. It is an input like any other, named by its digest. Raises MissingToolError."""
    program = tool("mmdebstrap")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "touchplate/debian"
    words = " ".join((SUITE, EPOCH, *PACKAGES))
    kept = cache / f"base-{hashlib.sha256(words.encode()).hexdigest()[:16]}.tar"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=cache) as folder:
            made = Path(folder) / "base.tar"
            _make(program, made)
            made.replace(kept)
    return kept.read_bytes()


def _make(program: str, path: Path) -> None:
    done = subprocess.run(
        [
            *(program, "--variant=extract", f"--include={','.join(PACKAGES)}", f"--hook-dir={HOOK}"),
            # Whoever unpacks it in a user namespace cannot make devices, and no build needs those.
            *("--skip=output/dev", SUITE, str(path)),
        ],
        env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode:
        raise MissingToolError(f"a Debian base image ({done.stderr.strip()[-300:]})")
