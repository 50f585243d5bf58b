"""Tools from the host as a provenance names them, whatever the ecosystem: by digest, and as not pinned."""

import hashlib
from pathlib import Path

from touchplate.builder.errors import HostLack
from touchplate.verify.predicates.provenance import Dependency

HOST = {"root": "host"}
"""Annotations of a tool that is bound from the host: readers are told "tools not pinned"."""


def describe_program(path: str) -> tuple[Dependency, ...]:
    """The program of a command, where it is the host's own. Raises HostLack when it cannot be read."""
    if not path.startswith("/usr/"):
        return ()
    return (Dependency("tool", {"sha256": _digest(Path(path))}, name=path, annotations=HOST),)


def _digest(program: Path) -> str:
    try:
        with program.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise HostLack(f"this host has no {str(program)!r}: {error.strerror}") from error
