"""Conan's graph of what a recipe requires, made in a sandbox by Conan itself (`inside/resolve_graph.py`).

What comes out of there is a stranger's word: it is read strictly, and names nothing but what is then asked of
upstreams and pinned.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from touchplate.builder.comparison.contents import printable
from touchplate.builder.ecosystems.conan.deadline import Deadline
from touchplate.builder.ecosystems.conan.requirements import MAX_REQUIREMENTS, FetchedRequirement
from touchplate.builder.errors import DefinitionError
from touchplate.verify.errors import VerifyError
from touchplate.verify.jcs import JSON, parse_json

MAX_ANSWER_BYTES = 1024 * 1024
"""Of one answer: a hundred recipes with their ids and settings have 200 kB."""

NAME = re.compile(r"[!-~]{0,512}")
"""A reference, or the id of a package: Conan's have 400 characters at most. They are shown to people."""

ERROR_CHARS = 400
"""Of what Conan says is wrong with a graph."""


@dataclass(frozen=True)
class Question:
    """What is known so far. `versions`: references that the range of a name may choose among, by `name/*`."""

    requirements: tuple[FetchedRequirement, ...]
    versions: Mapping[str, tuple[str, ...]]

    @property
    def known(self) -> tuple[str, ...]:
        """What is required, as far as it is known, for people."""
        return tuple(str(one.requirement) for one in self.requirements)


@dataclass(frozen=True)
class Node:
    """One package of the graph."""

    recipe: str
    """Reference with the recipe revision."""
    package_id: str
    binary: str
    """What Conan would do for it: its own word."""
    compatible: tuple[str, ...] = ()
    """Ids of packages that it would take in its place."""
    conaninfo: str = ""
    """Text of the conaninfo.txt that it would get."""

    @property
    def is_built(self) -> bool:
        """Whether it is the package itself."""
        return self.binary == "Build"

    @property
    def is_used(self) -> bool:
        """Whether the build needs its package; of others Conan reads only the recipe."""
        return self.binary not in ("Build", "Skip")


@dataclass(frozen=True)
class Graph:
    """Conan's answer: what is missing, or what is wrong, or the graph."""

    missing: tuple[str, ...] = ()
    """References without a recipe; of a range `name/*`."""
    error: str = ""
    nodes: tuple[Node, ...] = ()
    used: frozenset[str] = frozenset()
    """Recipes that were read, with their revisions."""


Run = Callable[[Question, Deadline], Graph]
"""Ask Conan in a sandbox. Raises DefinitionError for a recipe that fails or takes too long, HostLack."""


def parse_graph(data: bytes) -> Graph:
    """Read an answer. Raises DefinitionError for one that is not in its form."""
    try:
        value = parse_json(data, max_bytes=MAX_ANSWER_BYTES)
    except VerifyError as error:
        raise DefinitionError(f"the graph of its requirements cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise _malformed("no object")
    if "error" in value:
        return Graph(error=_on_one_line(_text(value["error"])) or "Conan does not say why")
    if "missing" in value:
        missing = _names(value["missing"])
        if not 1 <= len(missing) <= MAX_REQUIREMENTS:
            raise DefinitionError(
                f"it requires {len(missing)} recipes more, and {MAX_REQUIREMENTS} are the most"
            )
        return Graph(missing=missing)
    nodes = _list(value.get("nodes"))
    if len(nodes) > 2 * MAX_REQUIREMENTS + 1:  # once to run with, once to build with
        raise DefinitionError(f"it requires {len(nodes) - 1} packages, and {MAX_REQUIREMENTS} are the most")
    return Graph(nodes=tuple(map(_node, nodes)), used=frozenset(_names(value.get("used"))))


def _on_one_line(text: str) -> str:
    """Begin and end of what Conan says: between them may stand where in a recipe it was."""
    line = printable("; ".join(part.strip() for part in text.splitlines() if part.strip()))
    half = ERROR_CHARS // 2
    return line if len(line) <= ERROR_CHARS else f"{line[:half]} … {line[-half:]}"


def _node(value: JSON) -> Node:
    if not isinstance(value, dict):
        raise _malformed("a node is no object")
    return Node(
        recipe=_name(value.get("recipe")),
        package_id=_name(value.get("package_id")),
        binary=_text(value.get("binary")),
        compatible=_names(value.get("compatible")),
        conaninfo=_text(value.get("conaninfo")),
    )


def _text(value: JSON) -> str:
    if not isinstance(value, str):
        raise _malformed("something else stands where text belongs")
    return value


def _name(value: JSON) -> str:
    text = _text(value)
    if NAME.fullmatch(text) is None:
        raise _malformed(f"{text[:80]!r} is neither a reference nor a package id")
    return text


def _names(value: JSON) -> tuple[str, ...]:
    return tuple(_name(one) for one in _list(value))


def _list(value: JSON) -> list[JSON]:
    if not isinstance(value, list):
        raise _malformed("something else stands where a list belongs")
    return value


def _malformed(why: str) -> DefinitionError:
    return DefinitionError(f"the graph of its requirements cannot be read: {why}")
