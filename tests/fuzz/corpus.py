"""What was found worth keeping, as text: tests/fuzz/corpus/<target>.json, base64 of each input.

`make test` replays it (test_targets.py). The corpus that grows lies outside the tree, see `cache_folder`.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from touchplate.verify.encoding import decode_base64, encode_base64

KEPT = Path(__file__).parent / "corpus"

MAX_KEPT = 60
"""Inputs per target in the tree: what reaches all lines that were ever reached takes fewer."""

MAX_KEPT_BYTES = 20 * 1024
"""Bytes per target in the tree, so that it stays small; what is longer stays in the cache."""


MAX_GROWN = 3000
"""Inputs per target in the cache, read at the start of each run; above it, only the best are left there."""


def cache_folder(target: str) -> Path:
    """Where the growing corpus of a target lies: outside the tree, from one run to the next."""
    return Path.home() / ".cache" / "touchplate" / "fuzz" / target


def kept(target: str) -> list[bytes]:
    """The inputs in the tree for one target."""
    path = KEPT / f"{target}.json"
    texts: list[str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return [decode_base64(text, str(path)) for text in texts]


def grown(target: str) -> list[bytes]:
    """The inputs that fuzzing on this machine has found interesting so far."""
    folder = cache_folder(target)
    return [path.read_bytes() for path in sorted(folder.iterdir())] if folder.exists() else []


def keep(target: str, inputs: Iterable[bytes]) -> int:
    """Write the smallest of `inputs` into the tree, as many as there is room for; returns how many."""
    chosen: list[bytes] = []
    for one in sorted(set(inputs), key=lambda data: (len(data), data)):
        if len(chosen) < MAX_KEPT and sum(map(len, chosen)) + len(one) <= MAX_KEPT_BYTES:
            chosen.append(one)
    KEPT.mkdir(exist_ok=True)
    text = json.dumps([encode_base64(one) for one in chosen], indent=0)
    (KEPT / f"{target}.json").write_text(text + "\n", encoding="utf-8")
    return len(chosen)


def spread(folder: Path, inputs: Iterable[bytes]) -> None:
    """One file per input, named as libFuzzer names them."""
    folder.mkdir(parents=True, exist_ok=True)
    for one in inputs:
        (folder / hashlib.sha1(one).hexdigest()).write_bytes(one)
