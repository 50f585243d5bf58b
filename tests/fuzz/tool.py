"""atheris, the fuzzer, outside the main lock: 35 MB that no other target needs."""

import hashlib
import subprocess
import sys

from tests.e2e.demo_world import ROOT

LOCK = ROOT / "tests" / "fuzz" / "requirements.lock"
PACKAGES = ROOT / "build" / "fuzz" / "packages"


class MissingToolError(Exception):
    """atheris cannot be had here."""


def ensure_atheris() -> None:
    """Install what the lock says into build/fuzz/packages, unless it is there. Raises MissingToolError."""
    stamp = PACKAGES / ".stamp"
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    options = ["--require-hashes", "--only-binary", ":all:", "--no-deps", "--upgrade"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", *options, "--target", str(PACKAGES), "-r", str(LOCK)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise MissingToolError(f"atheris cannot be installed here: {done.stderr.strip()[-500:]}")
    stamp.write_text(wanted)
