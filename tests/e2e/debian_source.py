"""An upstream tarball as Debian ships it, fetched by apt-get with lists and a cache of its own.

The machine's package lists stay as they are: apt is given other folders, and the same archives that the
machine installs from, as sources. What it fetches counts by its sha256 only.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path

from tests.e2e.worlds import MissingToolError

APT = Path("/etc/apt")
APT_SECONDS = 300


def fetch_source(package: str, file: str, sha256: str) -> Path:
    """The file `file` of a source package, kept below the user's cache folder. Raises MissingToolError.

    Of the newest source package that there is: Debian's own version of it changes with every fix of theirs,
    the upstream's archive does not.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "touchplate/debian"
    kept = cache / sha256
    if not kept.exists() or _digest(kept) != sha256:
        folder = cache / "apt"
        found = _fetch(folder, package) / file
        if not found.is_file() or _digest(found) != sha256:
            raise MissingToolError(f"the source of {package}, {file} with sha256 {sha256[:16]}…")
        found.replace(kept)
    return kept


def _fetch(folder: Path, package: str) -> Path:
    (folder / "lists/partial").mkdir(parents=True, exist_ok=True)
    (folder / "cache").mkdir(exist_ok=True)
    (folder / "own.sources").write_text(_sources())
    options = [
        f"Dir::Etc::sourcelist={folder}/own.sources", "Dir::Etc::sourceparts=/dev/null",
        f"Dir::State::lists={folder}/lists", f"Dir::Cache={folder}/cache", "APT::Sandbox::User=root",
        "pkgCacheFile=", "srcpkgcache=",
    ]  # fmt: skip
    apt = ["apt-get", "-qq", *(part for option in options for part in ("-o", option))]
    for command in (["update"], ["source", "--download-only", package]):
        done = subprocess.run(
            [*apt, *command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=APT_SECONDS,
            check=False,
        )
        if done.returncode:
            raise MissingToolError(f"the source of {package} ({done.stderr.strip()[-200:]})")
    return folder


def _sources() -> str:
    """Where this machine installs from, as sources, in the form of deb822 (sources.list(5))."""
    found = []
    for path in (*APT.glob("sources.list.d/*.sources"),):
        text = re.sub(r"(?m)^Types:.*$", "Types: deb-src", path.read_text(encoding="utf-8"))
        found.append(re.sub(r"(?m)^#.*\n", "", text).strip())
    for path in (APT / "sources.list", *APT.glob("sources.list.d/*.list")):
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            one = re.fullmatch(r"deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+(.+)", line.strip())
            if one:
                found.append(f"Types: deb-src\nURIs: {one[1]}\nSuites: {one[2]}\nComponents: {one[3]}")
    return "\n\n".join([*found, ""])


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
