"""What Maven's output says about a failed build, in a few lines: what it was not given, and the errors, not
the advice after them."""

import contextlib
import re
from collections.abc import Iterator

from touchplate.builder.ecosystems.maven.coordinates import Coordinates
from touchplate.builder.errors import DefinitionError
from touchplate.builder.failure import join_first
from touchplate.builder.plan import REPOSITORY_FOLDER

_ERROR = "[ERROR] "

# Printed after every failure, whatever its cause.
_ADVICE = (
    "-> [Help",
    "To see the full stack trace",
    "Re-run Maven",
    "For more information about the errors",
    "[Help ",
    "After correcting the problems",
    "COMPILATION ERROR",
)


_LACKING = re.compile(
    r"The POM for (\S{1,300}) is missing, no dependency information available"
    rf"|Could not find artifact (\S{{1,300}}) in \S+ \(file://{REPOSITORY_FOLDER}/"
)
"""Maven goes on without a POM, and fails later, at a class or an element that it would have led to."""


def explain_failure(log: bytes) -> str | None:
    """What a Maven log says was asked for and is not in the lock, and its first distinct errors, on one line;
    None when it has neither."""
    lines = log.decode("utf-8", "replace").splitlines()
    return join_first([*dict.fromkeys(_lacking(lines)), *_errors(lines)])


def missing_poms(log: bytes) -> tuple[str, ...]:
    """Paths of the POMs that a Maven log says it went on without: what they require is then not there, which
    may change the output, or may not."""
    found = []
    for line in log.decode("utf-8", "replace").splitlines():
        match = _LACKING.search(line)
        parts = match[1].split(":") if match and match[1] else []
        if len(parts) > 2:
            with contextlib.suppress(DefinitionError):  # no names of Maven's: printed by something else
                found.append(Coordinates(parts[0], parts[1], parts[-1], "pom").path)
    return tuple(dict.fromkeys(found))


def _lacking(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if match := _LACKING.search(line):
            # Maven names the artifact that the POM belongs to.
            what = f"the POM of {match[1]}" if match[1] else match[2]
            yield f"{what} is not in the input lock"


def _errors(lines: list[str]) -> Iterator[str]:
    for raw in lines:
        line = raw.removeprefix(_ERROR).strip() if raw.startswith(_ERROR) else ""
        if not line.startswith(_ADVICE):
            yield line
