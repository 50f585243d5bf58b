"""What Conan's output says about a failed build, in a few lines: errors of Conan and of compilers."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from touchplate.builder.comparison.contents import printable
from touchplate.builder.ecosystems.conan.misfit import explain_other_id, is_of_requirement
from touchplate.builder.ecosystems.conan.reference import CONANINFO
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


_LYING = re.compile(r"touchplate: the recipe of the requirement (.{1,300} says that it is .{1,300})")
"""What `inside/build_package.py` says about it."""


_PROFILE = re.compile(
    r"ERROR: (?:Invalid setting |option |'settings\.|'[^']{0,100}' is not a valid 'options\.).*"
)
"""What Conan says about lines of a profile."""


@dataclass(frozen=True)
class Pinned:
    """What a definition says that errors may be about. `own`: settings and options of the package itself;
    `packages`: those that it pins, each as `zlib/1.3:PACKAGE_ID`."""

    own: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()


def explain_failure(log: bytes, pinned: Pinned) -> str | None:
    """The first distinct errors of a Conan log on one line; None when it has none.

    Raises HostLack for a recipe that requires what its definition does not pin, or pins wrongly: that says
    nothing about the package. (A hostile recipe can print it, too; it is then not built, and nothing is
    logged.)
    """
    for raw in _lines(log):
        if why := _why_not_pinned(raw, pinned):
            raise HostLack(why, reason=NOT_PINNED, log=log)
    return explain_errors(log)


def _why_not_pinned(raw: str, pinned: Pinned) -> str | None:
    if lying := _LYING.fullmatch(raw):
        said = printable(lying[1])
        return f"of its requirements, the recipe of {said}; pin the one that is meant, or infer it again"
    if pinned.packages and _PROFILE.fullmatch(raw) and is_of_requirement(raw, pinned.own):
        return (
            f"{printable(raw.removeprefix(_CONAN))}: {CONANINFO} of a requirement says it, of "
            f"{', '.join(pinned.packages)}; pin another package of that, its recipe does not take this one"
        )
    required = _REQUIRED.match(raw)
    if required is None:
        return None
    what = printable(required[1] or required[2] or required[3] or required[4])
    if other := explain_other_id(what, pinned.packages):
        return f"its recipe requires {other}"
    return (
        f"its recipe requires {what}, which its definition does not pin; infer it again, or add "
        "the files of the recipe and the package that are meant to `requirements`"
    )


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
