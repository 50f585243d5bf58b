"""Tools of the host or of a build root as a provenance names them: by digest, and whether they are pinned."""

import hashlib
from pathlib import Path

from touchplate.builder.errors import HostLack
from touchplate.builder.roots.store import Root
from touchplate.builder.roots.use import digest_of_program
from touchplate.verify.predicates.provenance import Dependency

HOST = {"root": "host"}
"""Annotations of a tool that is bound from the host: readers are told "tools not pinned"."""


def describe_program(path: str, root: Root | None = None) -> tuple[Dependency, ...]:
    """The program of a command, where it is the host's own, or that of the build root.

    Raises HostLack when it cannot be read, DefinitionError when the root has none.
    """
    if not path.startswith("/usr/"):
        return ()
    if root is not None:
        return (Dependency("tool", {"sha256": digest_of_program(root, path)}, name=path),)
    return (Dependency("tool", {"sha256": _digest(Path(path))}, name=path, annotations=HOST),)


def _digest(program: Path) -> str:
    try:
        with program.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise HostLack(f"this host has no {str(program)!r}: {error.strerror}") from error
