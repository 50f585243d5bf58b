"""What Conan's output says about a failed build, in a few lines: errors of Conan and of compilers."""

import re
from collections.abc import Iterator

from touchplate.builder.comparison.contents import printable
from touchplate.builder.errors import NOT_PINNED, HostLack
from touchplate.builder.failure import join_first

_OURS = "touchplate: "
_CONAN = "ERROR: "
_COMPILER = re.compile(r"\S+:[0-9]+:(?:[0-9]+:)? (?:fatal )?error: .*|.*: undefined reference to .*")

_REQUIRED = re.compile(
    r"ERROR: (?:Package '([^']{1,200})' not resolved: |Version range '[^']{1,200}' from requirement "
    r"'([^']{1,200})' required by |Missing binary: ([^ ]{1,300})$)"
    r"|(?:ERROR: .{0,400})?Cannot resolve python_requires '([^']{1,200})': "
)
"""What Conan says about a recipe that requires another, or a package of it, while it may ask nobody."""


def explain_failure(log: bytes) -> str | None:
    """The first distinct errors of a Conan log on one line; None when it has none.

    Raises HostLack for a recipe that requires what its definition does not pin: that says nothing about the
    package. (A hostile recipe can print it, too; it is then not built, and nothing is logged.)
    """
    for raw in _lines(log):
        if required := _REQUIRED.match(raw):
            what = printable(required[1] or required[2] or required[3] or required[4])
            raise HostLack(
                f"its recipe requires {what}, which its definition does not pin; infer it again, or add "
                "the files of the recipe and the package that are meant to `requirements`",
                reason=NOT_PINNED,
                log=log,
            )
    return explain_errors(log)


def explain_errors(log: bytes) -> str | None:
    """As `explain_failure`, whatever the errors are."""
    return join_first(_errors(log))


def _lines(log: bytes) -> list[str]:
    return log.decode("utf-8", "replace").splitlines()


def _errors(log: bytes) -> Iterator[str]:
    inside = False
    for raw in _lines(log):
        # Conan goes on in indented lines: the line of the recipe, and what it raised.
        inside = raw.startswith(_CONAN) or (inside and raw.startswith("\t"))
        if inside or raw.startswith(_OURS) or _COMPILER.fullmatch(raw):
            yield raw.removeprefix(_CONAN).removeprefix(_OURS)
