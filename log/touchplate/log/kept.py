"""Small files that a log keeps beside its database: texts by name, as strict JSON of mode 0600.

What they say cannot be found out anew, so a file that cannot be understood stops the log: a person looks.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from touchplate.base.durable import write_atomic
from touchplate.log.errors import CheckpointError
from touchplate.verify.errors import VerifyError
from touchplate.verify.fields import take_object, take_text
from touchplate.verify.jcs import format_json, parse_json
from touchplate.verify.reading import read_at_most

MAX_FILE_BYTES = 4096
"""Of one file: ours have 200 bytes, and an origin has 255 at most."""

ORIGIN = "origin"
"""The member of every file that names its log."""

T = TypeVar("T")


def write_kept(path: Path, origin: str, texts: Mapping[str, str]) -> None:
    """Write the file of the log `origin`; on return it is durable. Raises StorageError."""
    write_atomic(path, format_json({**texts, ORIGIN: origin}) + b"\n", 0o600)


def read_kept(
    path: Path, origin: str, names: tuple[str, ...], parse: Callable[[Mapping[str, str]], T], *, remedy: str
) -> T | None:
    """What `parse` makes of the texts `names` in the file of the log `origin`; None when there is no file.

    Raises CheckpointError for a file of another log, and for one that cannot be understood (`parse` raises
    VerifyError); `remedy` ends that sentence.
    """
    try:
        data = read_at_most(path, MAX_FILE_BYTES)
    except FileNotFoundError:
        return None
    try:
        members = take_object(parse_json(data, max_bytes=MAX_FILE_BYTES), path.name, (*names, ORIGIN))
        texts = {name: take_text(value, name) for name, value in members.items()}
        found = parse(texts)
    except VerifyError as error:
        raise CheckpointError(f"{path} cannot be understood ({error}){remedy}") from error
    if texts[ORIGIN] != origin:
        raise CheckpointError(f"{path} is of the log {texts[ORIGIN]!r}, not of {origin!r}")
    return found
