"""What figures keep between runs: outside the tree, whole or not there."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from touchplate.base.environment import read_environment

UNKEPT = Path(tempfile.gettempdir()) / "touchplate-bench"
"""For users without a home folder."""


def cache_folder() -> Path:
    """`~/.cache/touchplate/bench`."""
    caches = read_environment().cache_folder
    folder = caches / "touchplate" / "bench" if caches else UNKEPT
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cached(name: str, make: Callable[[Path], object]) -> Path:
    """The folder `name` of the cache; `make` fills it when it is not there. A broken-off making leaves
    nothing under that name."""
    target = cache_folder() / name
    if not target.is_dir():
        say(f"making {target}, once")
        with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            filled = Path(temporary) / "filled"
            filled.mkdir()
            make(filled)
            filled.rename(target)
    return target


def say(text: str) -> None:
    """What is being prepared, for whoever waits."""
    print(f"bench: {text}", file=sys.stderr, flush=True)
