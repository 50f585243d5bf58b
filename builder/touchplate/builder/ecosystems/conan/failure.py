"""What Conan's output says about a failed build, in a few lines: errors of Conan and of compilers."""

import re
from collections.abc import Iterator

from touchplate.builder.comparison.contents import printable
from touchplate.builder.errors import HostLack
from touchplate.builder.failure import join_first

_OURS = "touchplate: "
_CONAN = "ERROR: "
_COMPILER = re.compile(r"\S+:[0-9]+:(?:[0-9]+:)? (?:fatal )?error: .*|.*: undefined reference to .*")

_REQUIRED = re.compile(r"ERROR: Package '([^']{1,200})' not resolved: ")
"""What Conan says about a recipe that requires another, while it may ask nobody."""


def explain_failure(log: bytes) -> str | None:
    """The first distinct errors of a Conan log on one line; None when it has none.

    Raises HostLack for a recipe that requires others: that is beyond this touchplate, and says nothing about
    the package. (A hostile recipe can print it, too; it is then not built, and nothing is logged.)
    """
    return join_first(_errors(log))


def _errors(log: bytes) -> Iterator[str]:
    inside = False
    for raw in log.decode("utf-8", "replace").splitlines():
        if required := _REQUIRED.match(raw):
            raise HostLack(
                f"its recipe requires {printable(required[1])}: packages with requirements cannot be rebuilt "
                "yet",
                reason="not-supported",
                log=log,
            )
        # Conan goes on in indented lines: the line of the recipe, and what it raised.
        inside = raw.startswith(_CONAN) or (inside and raw.startswith("\t"))
        if inside or raw.startswith(_OURS) or _COMPILER.fullmatch(raw):
            yield raw.removeprefix(_CONAN).removeprefix(_OURS)
