"""A build root as definitions use it: found by the digest of its lock, shown, and named in a provenance."""

from pathlib import Path
from typing import TYPE_CHECKING

from touchplate.builder.errors import DefinitionError
from touchplate.builder.plan import ShownRoot
from touchplate.builder.roots.listing import file_digest, folder_digest
from touchplate.builder.roots.store import Root
from touchplate.builder.sandbox.probe import PYTHON
from touchplate.verify.predicates.provenance import Dependency

if TYPE_CHECKING:
    from touchplate.builder.definitions.definition import Definition
    from touchplate.builder.workshop import Workshop

ROOT = "build-root"
LOCK = "root-lock"
"""Names of the two dependencies of kind `tool` that stand for a build root."""


def find_root(workshop: "Workshop", definition: "Definition") -> Root | None:
    """The root that a definition names, checked, and made when it is not there; None for the host's tools.

    Raises DefinitionError for a root in which nothing can be built, HostLack as `Roots.need`.
    """
    if not definition.root:
        return None
    root = workshop.roots.need(definition.root)
    if resolve_inside(root.path, PYTHON) is None:
        raise DefinitionError(f"the build root has no {PYTHON}, on which Fetch runs; include python3-minimal")
    return root


def shown(root: Root | None) -> ShownRoot | None:
    """As a plan has it."""
    return None if root is None else ShownRoot(root.path, root.lock.tree)


def describe_root(root: Root | None) -> tuple[Dependency, ...]:
    """The root and its lock, as dependencies of kind `tool`: by tree digest, and by the lock's own."""
    if root is None:
        return ()
    lock = root.lock
    labels = {"architecture": lock.architecture, "version": lock.suite}
    return (
        Dependency("tool", {"sha256": lock.tree}, name=ROOT, annotations=labels),
        Dependency("tool", {"sha256": lock.sha256}, name=LOCK),
    )


def digest_of_folder(root: Root, folder: Path) -> str:
    """The tree digest of a folder of the root, from its listing."""
    return folder_digest(root.listing, str(folder.relative_to(root.path)))


def digest_of_program(root: Root, path: str) -> str:
    """The sha256 of the program at the absolute inside path `path`, links followed as inside.

    Raises DefinitionError for one that the root does not have.
    """
    found = resolve_inside(root.path, path)
    digest = file_digest(root.listing, found) if found is not None else None
    if digest is None:
        raise DefinitionError(f"the build root has no program {path}; include its package in the root lock")
    return digest


def resolve_inside(top: Path, path: str) -> str | None:
    """Where `path` leads inside a root, without a leading slash; None for nowhere. Never out of `top`."""
    parts, links = path.strip("/").split("/"), 0
    done: list[str] = []
    while parts:
        part = parts.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            done = done[:-1]
            continue
        here = top.joinpath(*done, part)
        if here.is_symlink():
            links += 1
            if links > _LINKS:
                return None
            target = str(here.readlink())
            if target.startswith("/"):
                done = []
            parts = target.split("/") + parts
        elif here.exists():
            done.append(part)
        else:
            return None
    return "/".join(done)


_LINKS = 40  # as the kernel follows (path_resolution(7))


def package_label(root: Root, name: str) -> dict[str, str]:
    """`name=version` of the package that a tool comes from, as an annotation; empty for one unknown."""
    version = root.lock.version_of(name)
    return {"debian": f"{name}={version}"} if version else {}
